"""The verdict on a watched device: one state at a time, printed as a sentence when it changes.

The bundle's leading model decides; the others are detail. While no source delivers, nothing is
known of the device, and no alarm stands.
"""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from cis490_pipeline.domain import NS_PER_S, Phase, Source
from cis490_pipeline.live.calibration import Baseline, duration_text
from cis490_pipeline.live.clocks.source_clock import Health
from cis490_pipeline.live.models import Output
from cis490_pipeline.live.outputs.line_output import LineOutput
from cis490_pipeline.live.outputs.reports import Faults, LiveState, WindowReport
from cis490_pipeline.live.outputs.sinks import LineSink, clock_text
from cis490_pipeline.live.watch.drift import DriftMonitor

_SILENT: Final = (Health.DEAD, Health.AWAITED)
_BETTER_S: Final = 3600
"""Learning time that is recommended, s."""
_LEARNING_EVERY: Final = 4
"""Parts of the learning time after which its progress is printed."""

_SENTENCES: Final = {
    Phase.CLEAN: "it behaves like an infected device",
    Phase.ARMED: "it behaves like a device that is about to be infected",
    Phase.INFECTING: "it behaves like a device that is being infected",
    Phase.INFECTED_RUNNING: "it behaves like a device on which malware is running",
    Phase.DORMANT: "it behaves like an infected device whose malware is dormant",
}


class Verdict(StrEnum):
    """State of a watched device."""

    WAITING = "waiting"
    """No row yet."""
    LEARNING = "learning"
    CLEAN = "clean"
    """No alarm is on."""
    ALARM = "alarm"
    NO_TELEMETRY = "no_telemetry"
    """Every source that the leading model reads is silent: nothing is known."""


@dataclass(frozen=True, kw_only=True)
class Change:
    """A new verdict.

    Attributes
    ----------
    t_ns : device time, Unix ns; None before the first row.
    text : the sentence that says it.
    phase : the leading model's phase; None without a prediction.
    without : sources that the leading model reads and that are not there.
    """

    before: Verdict
    verdict: Verdict
    t_ns: int | None
    text: str
    phase: Phase | None
    without: tuple[Source, ...]


class VerdictSink(LineSink):
    """Sink that turns reports into one verdict, and prints and passes on its changes."""

    def __init__(
        self,
        lead: str,
        read: tuple[Source, ...],
        write: Callable[[str], None],
        *,
        output: LineOutput | None = None,
        drift: DriftMonitor | None = None,
        alarming: bool = False,
        on_change: Callable[[Change], None] = lambda change: None,
    ) -> None:
        """Create the sink.

        Parameters
        ----------
        lead : name of the leading model, which has an alarm.
        read : sources that it reads.
        write : prints a line.
        output : stream behind ``write``, if known.
        drift : notices that the device has moved away from what was learnt.
        alarming : whether an alarm was on before a restart; it goes on, and is no change.
        on_change : called with each new verdict, after it was printed.
        """
        super().__init__(write, output)
        self.verdict = Verdict.ALARM if alarming else Verdict.WAITING
        self._lead, self._read = lead, read
        self._drift, self._on_change = drift, on_change
        self._since_ns: int | None = None
        self._alarming = alarming
        self._agreeing = ""
        self._phase: Phase | None = None
        self._now_ns: int | None = None
        self._quarter = -1
        self._without: tuple[Source, ...] = ()
        self._baseline: Baseline | None = None

    def window(self, report: WindowReport) -> None:
        """Take the alarms of a window; the verdict follows with the next state."""
        lead = next(out for out in report.outputs if out.model == self._lead)
        if lead.alarm is not None:
            self._alarming = lead.alarm.alarming
        self._phase = lead.phase
        self._agreeing = _agreeing(report.outputs)
        self._now_ns = report.t_end_ns
        if self.verdict in (Verdict.CLEAN, Verdict.ALARM):
            self._set(Verdict.ALARM if self._alarming else Verdict.CLEAN)
        if self._drift is not None and not self._alarming:
            text = self._drift.add(report.grid, report.t_end_ns)
            if text is not None:
                self._write(f"{clock_text(report.t_end_ns)} {text}")

    def state(self, state: LiveState, faults: Faults, *, changed: bool) -> None:
        """Derive the verdict from the device's state."""
        self._now_ns = state.now_ns
        if state.now_ns is None:
            return
        silent = [s for s in self._read if state.sources[s].health in _SILENT]
        if state.baseline is None:
            self._learning(state)
            return
        self._learnt(state.baseline)
        missing = (*silent, *(s for s in state.baseline.unknown_sources if s in self._read))
        self._without = tuple(s for s in self._read if s in missing)
        if len(silent) == len(self._read):
            self._set(Verdict.NO_TELEMETRY)
        else:
            self._set(Verdict.ALARM if self._alarming else Verdict.CLEAN)
        if self._output is not None:
            self._output.flush()

    def note(self, text: str) -> None:
        """Print a message of the engine; those on the calibration have other words here."""
        if not text.startswith("calibrat"):
            self._write(text)

    def _learnt(self, baseline: Baseline) -> None:
        if baseline is self._baseline:
            return
        self._baseline = baseline
        if self._drift is not None:
            self._drift.use(baseline)
        if baseline.suspect:
            self._write(
                "caution: what was learnt resembles an infected device. The check often errs on "
                "machines unlike those of the training; if in doubt, learn again on a clean one"
            )

    def _learning(self, state: LiveState) -> None:
        if state.calibration_s is None or state.learn_s is None:
            return
        quarter = int(state.calibration_s / state.learn_s * _LEARNING_EVERY)
        self.verdict = Verdict.LEARNING
        if quarter == self._quarter:
            return
        self._quarter = quarter
        better = "" if state.learn_s >= _BETTER_S else "; an hour is better"
        self._write(
            f"learning what is usual here: {state.calibration_s:.0f} s of "
            f"{duration_text(state.learn_s)}{better}"
        )

    def _set(self, verdict: Verdict) -> None:
        before = self.verdict
        if verdict is before:
            return
        self.verdict = verdict
        text = self._sentence(before, verdict)
        at = "" if self._now_ns is None else f"{clock_text(self._now_ns)} "
        self._write(f"{at}{text}")
        change = Change(
            before=before,
            verdict=verdict,
            t_ns=self._now_ns,
            text=text,
            phase=self._phase,
            without=self._without,
        )
        self._since_ns = self._now_ns
        self._on_change(change)

    def _sentence(self, before: Verdict, verdict: Verdict) -> str:
        if verdict is Verdict.NO_TELEMETRY:
            was = "; an alarm was on" if before is Verdict.ALARM else ""
            return f"no telemetry: nothing is known of this device{was}"
        blind = _without_text(self._without)
        if verdict is Verdict.ALARM:
            sentence = _SENTENCES[self._phase or Phase.CLEAN]
            return f"ALARM: {sentence}{blind} ({self._agreeing})"
        if before is Verdict.ALARM:
            lasted = self._lasted()
            return f"the alarm is over{lasted}{blind}"
        if before is Verdict.NO_TELEMETRY:
            return f"telemetry is back, no alarm{blind}"
        return f"ready: no sign of an infection{blind}; silent until that changes"

    def _lasted(self) -> str:
        if self._since_ns is None or self._now_ns is None:
            return ""
        return f" after {max(self._now_ns - self._since_ns, 0) / NS_PER_S:.0f} s"


def _agreeing(outputs: tuple[Output, ...]) -> str:
    """Return how many of the models that have an alarm raise it now."""
    alarms = [out.alarm.alarming for out in outputs if out.alarm is not None]
    return f"{sum(alarms)} of {len(alarms)} models"


def _without_text(sources: tuple[Source, ...]) -> str:
    names = {Source.NETFLOW: "network", Source.GUEST: "guest rows"}
    missing = " and ".join(names.get(source, str(source)) for source in sources)
    return f", without {missing}" if missing else ""
