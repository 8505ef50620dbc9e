import io

from rich.console import Console

from cis490_pipeline.cli.devices.live_table import LiveTable
from cis490_pipeline.live.engine import LiveEngine
from cis490_pipeline.live.outputs.reports import Faults
from cis490_pipeline_tests.live.made_up import Certain, device_rows, make_alarm, make_model
from cis490_pipeline_tests.store.episodes import T0_NS


def shown(name="e"):
    """What the table last showed, for a device that is infected."""
    text = io.StringIO()
    console = Console(file=text, force_terminal=True, width=100, height=40, color_system=None)
    table = LiveTable(console, name)
    model = make_model(classifier=Certain(2), alarm=make_alarm())
    engine = LiveEngine([model], start_ns=lambda: T0_NS)
    for row in device_rows(60):
        for report in engine.feed(row, row.t_wall_ns - T0_NS):
            table.window(report)
    table.note("calibrated by the first 15 s")
    table.state(engine.state(60 * 10**9), Faults(), changed=True)
    table.close()
    return text.getvalue()


def test_the_table_shows_phase_probability_alarm_state_and_notes():
    text = shown().rpartition("window 10")[2]

    assert "summary_realistic" in text
    assert "infecting" in text
    assert "0.98" in text
    assert "ALARM" in text
    assert "running; " in text
    assert "calibrated by the first 15 s" in text


def test_names_from_outside_are_no_markup():
    assert "[red]x[/red]" in shown("[red]x[/red]")
