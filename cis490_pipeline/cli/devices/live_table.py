"""Terminal table of live predictions: each model's phase and alarm, and the device's state."""

from collections import deque

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from cis490_pipeline.live.models import Output
from cis490_pipeline.live.outputs.reports import Faults, LiveState, WindowReport
from cis490_pipeline.live.outputs.sinks import Sink, clock_text, state_text

_NOTES = 6


class LiveTable(Sink):
    """Sink that redraws a table once a second and with each window."""

    def __init__(self, console: Console, name: str) -> None:
        self._name = name
        self._report: WindowReport | None = None
        self._state = "waiting for the first row"
        self._notes: deque[str] = deque(maxlen=_NOTES)
        # Redrawn on new reports only: automatic refresh would cost more than the models.
        self._live = Live(console=console, auto_refresh=False, transient=False)
        self._live.start()

    def window(self, report: WindowReport) -> None:
        """Show a window."""
        self._report = report
        for out in report.outputs:
            if out.alarm is not None and out.alarm.rising:
                when = clock_text(report.t_end_ns)
                self._notes.append(
                    f"{when} ALARM {out.model}: infected with p = {out.alarm.infected:.3f}"
                )
        self._draw()

    def state(self, state: LiveState, faults: Faults, *, changed: bool) -> None:
        """Show the device's state."""
        self._state = state_text(state, faults)
        self._draw()

    def note(self, text: str) -> None:
        """Show the last few notes."""
        self._notes.append(text)

    def close(self) -> None:
        """Stop drawing; the last table stays visible."""
        self._live.stop()

    def _draw(self) -> None:
        # Text, not markup: names and notes are untrusted.
        notes = [Text(note) for note in self._notes]
        self._live.update(Group(self._table(), Text(self._state), *notes), refresh=True)

    def _table(self) -> Table:
        report = self._report
        title = self._name
        if report is not None:
            title += f", window {report.window_idx} to {clock_text(report.t_end_ns)}"
            title += ", SUSPECT BASELINE" if report.suspect_baseline else ""
        table = Table(title=Text(title))
        for column in ("model", "phase", "probability", "p infected", "alarm"):
            table.add_column(column)
        for out in report.outputs if report is not None else ():
            table.add_row(*_cells(out))
        return table


def _cells(out: Output) -> tuple[Text, ...]:
    alarm = out.alarm
    state = "none" if alarm is None else "ALARM" if alarm.alarming else "quiet"
    return (
        Text(out.model),
        Text(str(out.phase or "nothing known")),
        Text("" if out.confidence is None else f"{out.confidence:.2f}"),
        Text("" if alarm is None else f"{alarm.infected:.3f}"),
        Text(state, style="bold red" if state == "ALARM" else ""),
    )
