"""Sinks of live reports: plain lines and JSON lines, to files, pipes or the terminal."""

import json
from collections import Counter
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path

from cis490_pipeline.domain import NS_PER_S
from cis490_pipeline.live.models import Output
from cis490_pipeline.live.outputs.line_output import LineOutput, PathTarget, SinkReport
from cis490_pipeline.live.outputs.reports import Faults, LiveState, WindowReport
from cis490_pipeline.storage.json_text import Json

REPLAY_WAIT_S = 30.0
"""Seconds that a replay waits for a slow reader of its output; live rows never wait."""


class Sink:
    """Receives the reports of live inference; what a sink does not override, it ignores."""

    def window(self, report: WindowReport) -> None:
        """Take the predictions for one window."""

    def state(self, state: LiveState, faults: Faults, *, changed: bool) -> None:
        """Take the device's state; ``changed`` if more than counters and ages changed."""

    def note(self, text: str) -> None:
        """Take a message."""

    def report(self) -> SinkReport | None:
        """Return the state of the output; None if it cannot fail."""
        return None

    def close(self) -> None:
        """Flush and close the output."""


class LineSink(Sink):
    """Writes lines; ``output`` is the stream behind ``write``, if known."""

    def __init__(self, write: Callable[[str], None], output: LineOutput | None = None) -> None:
        self._write, self._output = write, output

    def state(self, state: LiveState, faults: Faults, *, changed: bool) -> None:
        """Write a changed state; otherwise flush waiting lines."""
        if changed:
            self._write(self._state_line(state, faults))
        elif self._output is not None:
            self._output.flush()

    def _state_line(self, state: LiveState, faults: Faults) -> str:
        return state_text(state, faults)

    def note(self, text: str) -> None:
        """Write a note."""
        self._write(text)

    def report(self) -> SinkReport | None:
        """Return the state of the output, if known."""
        return None if self._output is None else self._output.report()

    def close(self) -> None:
        """Flush and close the output."""
        if self._output is not None:
            self._output.close()


class PrintedJson(LineSink):
    """Prints one JSON object per line."""

    def window(self, report: WindowReport) -> None:
        """Print a window."""
        self._write(_json_line(report.to_dict()))

    def _state_line(self, state: LiveState, faults: Faults) -> str:
        return _json_line(state_line(state, faults))

    def note(self, text: str) -> None:
        """Print a note."""
        self._write(_json_line({"type": "note", "text": text}))


class JsonLines(PrintedJson):
    """Appends the same JSON lines to a file or a named pipe, never a partial line.

    A full disk or an unread pipe stops nothing: lines wait, the oldest are dropped and counted, and
    a note in the file gives their number once it can be written again. A slow reader is waited for
    up to ``wait_s`` before a line is dropped.

    Raises `OSError` if the file cannot be opened.
    """

    def __init__(self, path: Path, *, wait_s: float = 0.0) -> None:
        output = LineOutput(str(path), PathTarget(path), gap=_gap, wait_s=wait_s)
        super().__init__(lambda line: output.write(f"{line}\n".encode()), output)


class PlainLines(LineSink):
    """Prints human-readable lines, of a window first the phase of the model ``lead``."""

    def __init__(
        self, write: Callable[[str], None], lead: str, output: LineOutput | None = None
    ) -> None:
        super().__init__(write, output)
        self._lead = lead

    def window(self, report: WindowReport) -> None:
        """Print a window, and each alarm that rises with it."""
        self._write(window_line(report, self._lead))
        for out in report.outputs:
            if out.alarm is not None and out.alarm.rising:
                seen, p = _alone(out), out.alarm.infected
                self._write(f"ALARM {out.model}{seen}: infected with p = {p:.3f}")


def _json_line(value: Mapping[str, Json]) -> str:
    return json.dumps(value, ensure_ascii=False, allow_nan=False)


def _gap(n_lines: int, reason: str) -> bytes:
    """Return the note that replaces lost lines."""
    text = f"{n_lines} lines were lost here: {reason}"
    return f"{_json_line({'type': 'note', 'text': text})}\n".encode()


def state_line(state: LiveState, faults: Faults) -> dict[str, Json]:
    """Return a state as a JSON object, with the faulty lines."""
    return {**state.to_dict(), "malformed": {"n": faults.n, "last": list(faults.last)}}


def window_line(report: WindowReport, lead: str) -> str:
    """Format a window as one line: the leading model, the votes, the alarms that are on."""
    votes = Counter(str(out.phase) if out.phase else "nothing" for out in report.outputs)
    leading = next((out for out in report.outputs if out.model == lead), report.outputs[0])
    confidence = "" if leading.confidence is None else f" {leading.confidence:.2f}"
    counts = ", ".join(f"{phase} {n}" for phase, n in votes.most_common())
    alarming = [out.model for out in report.outputs if out.alarm and out.alarm.alarming]
    parts = [
        f"{clock_text(report.t_end_ns)} window {report.window_idx}:",
        f"{leading.phase or 'nothing known'}{confidence} ({leading.model}{_alone(leading)})",
        f"of {len(report.outputs)}: {counts}",
        f"alarm: {', '.join(alarming) or 'none'}",
    ]
    if report.suspect_baseline:
        parts.append("SUSPECT BASELINE")
    return "  ".join(parts)


def _alone(output: Output) -> str:
    """Name the source of a model that has but one."""
    return f", {output.sees[0]} alone" if len(output.sees) == 1 else ""


def state_text(state: LiveState, faults: Faults) -> str:
    """Format a device's state as one line."""
    stage = str(state.stage)
    if state.calibration_s is not None and state.learn_s is not None:
        stage = f"calibrating, {state.calibration_s:.0f} of {state.learn_s:.0f} s"
    sources = ", ".join(
        f"{source} {report.health}"
        + (f" (clock {report.offset_s:+.1f} s)" if report.offset_s else "")
        + (f" ({report.n_set_aside} rows set aside)" if report.n_set_aside else "")
        for source, report in state.sources.items()
    )
    left_out = f"; {faults.n} lines left out" if faults.n else ""
    jumps = f"; the clock jumped {state.n_jumps} times" if state.n_jumps else ""
    sinks = "".join(f"; {sink}" for sink in state.sinks if sink.trouble or sink.n_lost)
    agent = "" if state.agent is None else f"; {state.agent}"
    if state.agent_is_silent:
        agent += f", silent for {state.agent_age_s:.0f} s"
    return f"{stage}; {sources}{jumps}{left_out}{agent}{sinks}"


def clock_text(t_ns: int) -> str:
    """Format the time of day of a Unix time, UTC; in ns if it is out of the calendar's range."""
    try:
        return datetime.fromtimestamp(t_ns / NS_PER_S, UTC).strftime("%H:%M:%S")
    except (OverflowError, OSError, ValueError):
        return f"{t_ns} ns"
