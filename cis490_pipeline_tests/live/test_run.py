import json
from dataclasses import replace
from pathlib import Path

import pytest

from cis490_pipeline.domain import NS_PER_S, Source
from cis490_pipeline.events.contract import (
    Episode,
    PhaseNow,
    Prediction,
    SourceState,
    Telemetry,
    decode,
    encode,
)
from cis490_pipeline.live.engine import LiveEngine
from cis490_pipeline.live.outputs.publishing import Publishing
from cis490_pipeline.live.outputs.sinks import JsonLines, PlainLines
from cis490_pipeline.live.run import _Loop, run_live
from cis490_pipeline.store.rows.row import RowFault
from cis490_pipeline_tests.live.feeds.test_agent_status import status
from cis490_pipeline_tests.live.made_up import Certain, device_rows, make_alarm, make_model
from cis490_pipeline_tests.store.episodes import T0_NS

S = NS_PER_S


class Script:
    """A feed of given arrivals, some at a time."""

    name = "e"
    pace = 1.0

    def __init__(self, arrivals, at_once=97):
        self._pieces = [arrivals[i : i + at_once] for i in range(0, len(arrivals), at_once)]
        self.closed = False

    @property
    def ended(self):
        return not self._pieces

    def start_ns(self):
        return T0_NS

    def poll(self, wait_s):
        return self._pieces.pop(0)

    def close(self):
        self.closed = True


class Collected:
    """Stands where an outbox does."""

    def __init__(self):
        self.events = []
        self.closed = False
        self.n_dropped = 0

    def put(self, events, slot=None):
        self.events += decode(encode(events))

    def close(self):
        self.closed = True
        return 0


def run(feed, sinks, models=None, tell=lambda text: None):
    engine = LiveEngine(models or [make_model(alarm=make_alarm())], start_ns=feed.start_ns)
    ticks = iter(range(0, 10**15, S // 50))
    return run_live(feed, engine, sinks, tell, clock_ns=lambda: next(ticks))


def test_lines_left_out_are_counted_named_and_do_not_end_the_run(tmp_path):
    rows = list(device_rows(40))
    faulty = [RowFault("stdin", n, None, "broken") for n in range(1, 2101)]
    told = []

    ended = run(Script([*rows[:300], *faulty, *rows[300:]]), [], tell=told.append)

    assert (ended.faults.n, ended.state.n_windows) == (2100, 4)
    assert len(told) == 20 + 2
    assert told[0] == "line left out (1 so far): stdin line 1: broken"
    assert len(ended.faults.last) == 20


def test_after_a_minute_without_one_a_faulty_line_is_named_again():
    flood = [RowFault("stdin", n, None, "broken") for n in range(1, 91)]
    refused = RowFault("connection 2", 1, None, "device b is refused")
    told, now = [], [0]
    loop = _Loop(LiveEngine([make_model()]), [], told.append, lambda: now[0])

    for faults, after_s in ((flood, 0), ([refused], 59), ([refused], 61), ([refused], 62)):
        now[0] = after_s * S
        loop.turn(Script(faults))

    assert len(told) == 21
    assert told[-1] == "line left out (92 so far): connection 2 line 1: device b is refused"


def test_a_faulty_line_cannot_write_to_the_terminal_by_itself():
    hostile = RowFault("stdin", 1, "\x1b[2J\x07name", "is given\r twice")
    told = []

    run(Script([hostile, *device_rows(1)]), [], tell=told.append)

    assert told == [r"line left out (1 so far): stdin line 1: \x1b[2J\x07name: is given\r twice"]


def test_json_lines_are_appended_and_hold_windows_states_and_notes(tmp_path):
    path = tmp_path / "folder" / "out.jsonl"

    for _ in range(2):
        run(Script(list(device_rows(40))), [JsonLines(path)])

    lines = [json.loads(line) for line in path.read_text().splitlines()]
    windows = [line["window_idx"] for line in lines if line["type"] == "window"]
    assert windows == [3, 4, 5, 6] * 2
    stages = [line["stage"] for line in lines if line["type"] == "state"]
    assert stages[0] == "calibrating"
    assert "running" in stages
    assert any(line["type"] == "note" and "calibrated" in line["text"] for line in lines)


def test_a_full_disk_ends_no_run_and_is_told_by_the_other_outputs():
    told, printed = [], []

    ended = run(
        Script(list(device_rows(60))),
        [JsonLines(Path("/dev/full")), PlainLines(printed.append, "m")],
        tell=told.append,
    )

    (report,) = ended.state.sinks
    assert ended.state.n_windows == 8
    assert report.trouble == "No space left on device"
    assert report.n_lost > 8
    assert told[0].startswith("/dev/full: No space left on device: ")
    assert any("/dev/full: No space left on device" in line for line in printed)


def test_a_monitor_that_was_stopped_for_long_closes_no_window_on_that_time():
    rows = [r for r in device_rows(60) if r.source in (Source.GUEST, Source.NETFLOW)]
    halves = rows[:330], rows[330:]
    now = [0]

    class Stopped(Script):
        def poll(self, wait_s):
            piece = super().poll(wait_s)
            # A minute in which the process did not run, while rows waited.
            now[0] += 60 * S if piece and piece[0] is halves[1][0] else 0
            return piece

    def ended(feed):
        reports = []

        class Windows(PlainLines):
            def window(self, report):
                reports.append(report)

        engine = LiveEngine([make_model()], start_ns=feed.start_ns)
        sink = Windows(lambda text: None, "m")
        run_live(feed, engine, [sink], print, clock_ns=lambda: now[0])
        return [report.known_share for report in reports]

    assert ended(Stopped(rows, at_once=10)) == ended(Script(rows, at_once=10))


def test_plain_lines_tell_phase_votes_and_the_alarm_that_rises():
    told = []
    model = make_model(classifier=Certain(2), alarm=make_alarm())

    run(Script(list(device_rows(60))), [PlainLines(told.append, model.name)], [model])

    assert any("infecting 0.98 (summary_realistic)  of 1: infecting 1" in line for line in told)
    (alarm,) = [line for line in told if line.startswith("ALARM")]
    assert alarm.startswith("ALARM summary_realistic: infected with p = 0.")
    assert any(line.startswith("running; ") for line in told)


def test_feed_and_sinks_are_closed_when_the_run_is_interrupted(tmp_path):
    class Interrupted(Script):
        def poll(self, wait_s):
            raise KeyboardInterrupt

    feed, outbox = Interrupted([1, 2]), Collected()
    sink = Publishing(outbox, "e", ["m"], "m", None)

    with pytest.raises(KeyboardInterrupt):
        run(feed, [sink])

    assert feed.closed
    assert outbox.closed
    assert outbox.events[-1] == Episode(episode_id="e", state="ended", origin="live")


def test_a_dashboard_is_told_predictions_phase_telemetry_and_states():
    outbox = Collected()
    model = make_model(classifier=Certain(2), alarm=make_alarm())

    run(
        Script(list(device_rows(60))),
        [Publishing(outbox, "e", [model.name], model.name, "h")],
        [model],
    )

    of = {kind: [e for e in outbox.events if isinstance(e, kind)] for kind in (
        Episode, PhaseNow, Prediction, SourceState, Telemetry)}  # fmt: skip
    assert [e.state for e in of[Episode]] == ["running", "ended"]
    assert {(p.predicted, p.actual, p.model) for p in of[Prediction]} == {
        ("infecting", None, model.name)
    }
    assert [p.window_idx for p in of[Prediction]] == [3, 4, 5, 6, 7, 8, 9, 10]
    assert of[Prediction][-1].alarm is True
    assert {e.phase for e in of[PhaseNow]} == {"infecting"}
    calibration = [e.state for e in of[SourceState] if e.source == "calibration"]
    assert calibration[0] == "calibrating"
    assert calibration[-1] == "ok"
    t_s = [t for e in of[Telemetry] for t in e.t_s]
    assert t_s == [float(t) for t in range(21, 61)]


def test_every_output_is_told_of_a_clock_that_is_off_and_of_rows_set_aside(tmp_path):
    outbox, printed, out = Collected(), [], tmp_path / "out.jsonl"
    rows = [r for r in device_rows(40) if r.source in (Source.GUEST, Source.NETFLOW)]
    moved = [
        replace(row, t_wall_ns=row.t_wall_ns + 20 * S) if row.source is Source.NETFLOW else row
        for row in rows
    ]
    stray = replace(rows[0], t_wall_ns=4 * 10**18)

    ended = run(
        Script([stray, *moved]),
        [
            JsonLines(out),
            Publishing(outbox, "e", ["m"], "m", None),
            PlainLines(printed.append, "m"),
        ],
    )

    last = [json.loads(line) for line in out.read_text().splitlines()][-1]["sources"]["netflow"]
    (told,) = {
        e.why for e in outbox.events if isinstance(e, SourceState) and e.state == "clock_jump"
    }
    assert (last["clock_offset_s"], last["set_aside"], last["rows"]) == (20.0, 1, 400)
    assert told == "its clock is +20.0 s off and corrected; 1 rows set aside"
    assert "netflow alive (clock +20.0 s) (1 rows set aside)" in printed[-1]
    assert any("the clock of netflow is 20.0 s ahead of that of guest" in line for line in printed)
    assert ended.state.sources[Source.NETFLOW].offset_s == 20.0


def test_telemetry_is_in_the_channels_own_units():
    outbox = Collected()

    run(Script(list(device_rows(40))), [Publishing(outbox, "e", ["m"], "m", None)])

    telemetry = next(e for e in outbox.events if isinstance(e, Telemetry))
    rows = [r for r in device_rows(40) if r.source == "guest" and r.t_wall_ns <= T0_NS + 25 * S]
    # A gauge that is read once a second: 21 s to 25 s.
    wanted = [row.values[11] for row in rows][-6:-1]
    got = telemetry.values["guest.procs_running"]
    for value, before, after in zip(got, wanted, [*wanted[1:], rows[-1].values[11]], strict=True):
        assert before - 1 <= value <= after + 1


def test_an_agents_status_shows_in_the_state_and_each_change_of_it_is_written(tmp_path):
    rows = list(device_rows(20))
    first, second = status(), status(seq=1, rows_dropped=7, fields_lost=["tcp_total"])
    out, printed = tmp_path / "out.jsonl", []
    feed = Script([first, *rows[:200], second, *rows[200:]])

    ended = run(feed, [JsonLines(out), PlainLines(printed.append, "made up")])

    states = [x for x in map(json.loads, out.read_text().splitlines()) if x["type"] == "state"]
    assert ended.state.agent == second
    assert {x["agent"]["rows_dropped"] for x in states if x["agent"]} == {0, 7}
    assert states[-1]["agent"]["device"] == "garage-pi"
    assert any("; agent garage-pi (without tcp_total; 7 rows dropped)" in text for text in printed)
    assert ended.faults.n == 0


class Pause(Script):
    """Arrivals, then silence for a number of turns, then more."""

    def __init__(self, before, n_turns, after):
        super().__init__(before)
        self._pieces += [[]] * n_turns + [after]


def test_a_dashboard_is_told_each_status_of_an_agent_and_its_silence(tmp_path):
    first = status(seq=0, t_mono_ns=0, rows=0)
    second, third = (
        status(seq=n, t_mono_ns=n * 10 * S, rows=110 * n, rows_dropped=7) for n in (1, 2)
    )
    outbox, out, printed = Collected(), tmp_path / "out.jsonl", []
    sinks = [
        Publishing(outbox, "e", ["m"], "m", None),
        JsonLines(out),
        PlainLines(printed.append, "m"),
    ]
    rows = list(device_rows(20))

    # Each turn takes 20 ms of the clock that `run` makes.
    run(Pause([first, *rows[:200], second, *rows[200:]], 2000, [third]), sinks)

    seen = [e for e in outbox.events if isinstance(e, SourceState) and e.source == "agent"]
    assert [(e.state, e.why) for e in seen] == [
        ("ok", None),
        ("ok", "7 rows dropped"),
        ("dead", "silent since 09:19:19 UTC; 7 rows dropped"),
        ("ok", "7 rows dropped"),
    ]
    assert seen[1].detail.startswith("11.0 rows/s, late p99 1 ms")
    states = [x for x in map(json.loads, out.read_text().splitlines()) if x["type"] == "state"]
    assert any(30 <= x["agent_age_s"] < 32 for x in states if x["agent"])
    assert any("; agent garage-pi (7 rows dropped), silent for 3" in text for text in printed)


def test_what_an_agent_says_of_itself_fits_into_an_event():
    outbox = Collected()
    wordy = status(netflow="x" * 300, fields_lost=["y" * 300] * 64)

    run(Script([wordy, *device_rows(5)]), [Publishing(outbox, "e", ["m"], "m", None)])

    (seen,) = [e for e in outbox.events if isinstance(e, SourceState) and e.source == "agent"]
    assert seen.why.startswith("without yyy")


def test_a_device_without_an_agent_has_no_status():
    ended = run(Script(list(device_rows(5))), [])

    assert ended.state.to_dict()["agent"] is None
