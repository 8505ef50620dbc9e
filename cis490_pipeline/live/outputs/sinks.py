"""Where windows and states go: lines for people, lines of JSON, a table that stands still."""

import json
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol

from cis490_pipeline.domain import NS_PER_S
from cis490_pipeline.live.outputs.line_output import LineOutput, PathTarget, SinkReport
from cis490_pipeline.live.outputs.reports import Faults, LiveState, Stage, WindowReport

_FAULTS_EACH = 20
_FAULTS_EVERY = 1000
REPLAY_WAIT_S = 30.0
"""Seconds that a recording waits for a slow reader of its output; a device waits for none."""


class Sink(Protocol):
    """Is told what a live device has to say."""

    def window(self, report: WindowReport) -> None:
        """Take what the models say of one window."""
        ...

    def state(self, state: LiveState, faults: Faults, *, changed: bool) -> None:
        """Take how the device is doing; ``changed`` where more than counters and ages did."""
        ...

    def note(self, text: str) -> None:
        """Take what happened, in words."""
        ...

    def report(self) -> SinkReport | None:
        """Return how the output is; None where nothing can be wrong with it."""
        ...

    def close(self) -> None:
        """Bring to an end what was begun."""
        ...


class FaultTeller:
    """Names the first faulty lines, then one in a thousand: a flood of them floods nobody."""

    def __init__(self, tell: Callable[[str], None]) -> None:
        self._tell = tell

    def fault(self, faults: Faults) -> None:
        """Tell of the newest one, if it is its turn."""
        if faults.n <= _FAULTS_EACH or faults.n % _FAULTS_EVERY == 0:
            self._tell(f"line left out ({faults.n} so far): {faults.last[-1]}")

    def sink(self, report: SinkReport) -> None:
        """Tell how an output is, now that it changed."""
        self._tell(str(report))


class JsonLines:
    """One JSON object a line, appended to a file or a named pipe, each written as a whole.

    A full disk or a pipe that nothing reads ends nothing: lines wait, the oldest are dropped and
    counted, and what was lost stands in the file once it can be written again.

    Parameters
    ----------
    path : of the file.
    wait_s : seconds to wait for a slow reader before a line is dropped.

    Raises
    ------
    OSError
        If the file cannot be opened.
    """

    def __init__(self, path: Path, *, wait_s: float = 0.0) -> None:
        self._output = LineOutput(str(path), PathTarget(path), gap=_gap, wait_s=wait_s)

    def window(self, report: WindowReport) -> None:
        """Append a window."""
        self._write(report.to_dict())

    def state(self, state: LiveState, faults: Faults, *, changed: bool) -> None:
        """Append a state, where it changed; else write what waits."""
        if changed:
            self._write(state_line(state, faults))
        else:
            self._output.flush()

    def note(self, text: str) -> None:
        """Append a note."""
        self._write({"type": "note", "text": text})

    def report(self) -> SinkReport:
        """Return how the file is."""
        return self._output.report()

    def close(self) -> None:
        """Close the file."""
        self._output.close()

    def _write(self, value: dict[str, object]) -> None:
        self._output.write(_json_line(value))


class PrintedJson:
    """The same lines through a function that prints; ``output`` is where it prints to, if known."""

    def __init__(self, write: Callable[[str], None], output: LineOutput | None = None) -> None:
        self._write, self._output = write, output

    def window(self, report: WindowReport) -> None:
        """Print a window."""
        self._write(json.dumps(report.to_dict(), ensure_ascii=False, allow_nan=False))

    def state(self, state: LiveState, faults: Faults, *, changed: bool) -> None:
        """Print a state, where it changed."""
        if changed:
            line = state_line(state, faults)
            self._write(json.dumps(line, ensure_ascii=False, allow_nan=False))
        elif self._output is not None:
            self._output.flush()

    def note(self, text: str) -> None:
        """Print a note."""
        self._write(json.dumps({"type": "note", "text": text}, ensure_ascii=False))

    def report(self) -> SinkReport | None:
        """Return how the output is, if it is known."""
        return None if self._output is None else self._output.report()

    def close(self) -> None:
        """Print what waits."""
        if self._output is not None:
            self._output.close()


class PlainLines:
    """Lines for a person, or for a log."""

    def __init__(
        self, write: Callable[[str], None], lead: str, output: LineOutput | None = None
    ) -> None:
        """Begin to print.

        Parameters
        ----------
        write : prints a line.
        lead : the model whose phase comes first.
        output : where ``write`` prints to, if that is known.
        """
        self._write, self._lead, self._output = write, lead, output

    def window(self, report: WindowReport) -> None:
        """Print a window, and each alarm that rises with it."""
        self._write(window_line(report, self._lead))
        for out in report.outputs:
            if out.alarm is not None and out.alarm.rising:
                self._write(f"ALARM {out.model}: infected with p = {out.alarm.infected:.3f}")

    def state(self, state: LiveState, faults: Faults, *, changed: bool) -> None:
        """Print a state, where it changed."""
        if changed:
            self._write(words_of(state, faults))
        elif self._output is not None:
            self._output.flush()

    def note(self, text: str) -> None:
        """Print a note."""
        self._write(text)

    def report(self) -> SinkReport | None:
        """Return how the output is, if it is known."""
        return None if self._output is None else self._output.report()

    def close(self) -> None:
        """Print what waits."""
        if self._output is not None:
            self._output.close()


def _json_line(value: dict[str, object]) -> bytes:
    return json.dumps(value, ensure_ascii=False, allow_nan=False).encode() + b"\n"


def _gap(n_lines: int, why: str) -> bytes:
    """Return the line that stands where others were lost."""
    return _json_line({"type": "note", "text": f"{n_lines} lines were lost here: {why}"})


def state_line(state: LiveState, faults: Faults) -> dict[str, object]:
    """Return a state as JSON carries it, with the lines left out."""
    return {**state.to_dict(), "malformed": {"n": faults.n, "last": list(faults.last)}}


def window_line(report: WindowReport, lead: str) -> str:
    """Say one window in one line: the leading model, how many say what, whose alarm stands."""
    votes = Counter(str(out.phase) if out.phase else "nothing" for out in report.outputs)
    leading = next((out for out in report.outputs if out.model == lead), report.outputs[0])
    confidence = "" if leading.confidence is None else f" {leading.confidence:.2f}"
    said = ", ".join(f"{phase} {n}" for phase, n in votes.most_common())
    standing = [out.model for out in report.outputs if out.alarm and out.alarm.alarming]
    parts = [
        f"{clock_text(report.t_end_ns)} window {report.window_idx}:",
        f"{leading.phase or 'nothing known'}{confidence} ({leading.model})",
        f"of {len(report.outputs)}: {said}",
        f"alarm: {', '.join(standing) or 'none'}",
    ]
    if report.suspect_baseline:
        parts.append("SUSPECT BASELINE")
    return "  ".join(parts)


def words_of(state: LiveState, faults: Faults) -> str:
    """Say how a device is doing, in one line."""
    stage = str(state.stage)
    if state.stage is Stage.CALIBRATING and state.calibration_s is not None:
        stage = f"calibrating, {state.calibration_s:.0f} of 15 s"
    sources = ", ".join(
        f"{source} {said.health}"
        + (f" (clock {said.offset_s:+.1f} s)" if said.offset_s else "")
        + (f" ({said.n_set_aside} rows set aside)" if said.n_set_aside else "")
        for source, said in state.sources.items()
    )
    left_out = f"; {faults.n} lines left out" if faults.n else ""
    jumps = f"; the clock jumped {state.n_jumps} times" if state.n_jumps else ""
    sinks = "".join(f"; {sink}" for sink in state.sinks if sink.trouble or sink.n_lost)
    return f"{stage}; {sources}{jumps}{left_out}{sinks}"


def clock_text(t_ns: int) -> str:
    """Give the time of day of a Unix time, UTC; the time itself where no calendar has it."""
    try:
        return datetime.fromtimestamp(t_ns / NS_PER_S, UTC).strftime("%H:%M:%S")
    except (OverflowError, OSError, ValueError):
        return f"{t_ns} ns"
