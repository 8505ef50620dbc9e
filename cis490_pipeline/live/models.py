"""Live models: calibrator, ONNX session and alarm behind one ``predict``."""

from dataclasses import dataclass
from functools import cached_property
from typing import Final, Protocol

import numpy as np
import numpy.typing as npt

from cis490_pipeline.alarm.alarm import Alarm, AlarmState
from cis490_pipeline.domain import PHASES, Phase, Source, Variant
from cis490_pipeline.domain.arrays import Float32s
from cis490_pipeline.domain.catalogue import VARIANT_SOURCES, InputKind
from cis490_pipeline.features.calibration.calibrator import Calibrator
from cis490_pipeline.features.channels import channel_indices
from cis490_pipeline.features.columns import per_channel, stored_columns
from cis490_pipeline.features.history import history
from cis490_pipeline.features.summary import STATISTICS, summarize, summary_columns
from cis490_pipeline.features.windows import STEPS
from cis490_pipeline.live.calibration import Baseline
from cis490_pipeline.storage.json_text import Json

ALARM_SHARE: Final = 0.5
"""Share of a model's channels that must be known for its alarm to move. On a device that sends
netflow alone (10 of 29 channels) two of six realistic models raised false alarms; a network model
has these 10 alone."""

_RELATIVE: Final = np.array([name != "zero_fraction" for name in STATISTICS])
"""Statistics that are unknown where the baseline is unknown."""


class Classifier(Protocol):
    """Predicts phase probabilities of calibrated windows."""

    def predict_proba(self, X: Float32s) -> npt.NDArray[np.float64]:
        """(n_windows, *shape) -> (n_windows, 5)."""
        ...


@dataclass(frozen=True, kw_only=True)
class Output:
    """Prediction of one model for one window.

    Attributes
    ----------
    probabilities : (5,) in the order of ``PHASES``; None if no input value is known, in which case
        nothing is predicted.
    alarm : alarm state after this window; None without alarm settings.
    known_share : share of the model's channels with a known input value.
    sees : sources whose channels the model has.
    """

    model: str
    probabilities: npt.NDArray[np.float64] | None
    alarm: AlarmState | None
    known_share: float = 1.0
    sees: tuple[Source, ...] = ()

    @property
    def phase(self) -> Phase | None:
        """The most probable phase."""
        if self.probabilities is None:
            return None
        return PHASES[int(self.probabilities.argmax())]

    @property
    def confidence(self) -> float | None:
        """Probability of the most probable phase."""
        return None if self.probabilities is None else float(self.probabilities.max())

    def to_dict(self) -> dict[str, Json]:
        """As JSON carries it."""
        proba, alarm = self.probabilities, self.alarm
        return {
            "phase": None if self.phase is None else str(self.phase),
            "probabilities": None if proba is None else [round(float(p), 6) for p in proba],
            "known_share": round(self.known_share, 4),
            "sees": [str(source) for source in self.sees],
            "why": self._why(),
            "alarm": None
            if alarm is None
            else {
                "standing": alarm.alarming,
                "rising": alarm.rising,
                "p_infected": round(alarm.infected, 6),
                "p_armed": round(alarm.armed, 6),
            },
        }

    def _why(self) -> str | None:
        """Return what too few known channels prevented, if anything."""
        if self.probabilities is None:
            return "no reading of the model's channels is known relative to the baseline"
        if self.known_share < ALARM_SHARE and self.alarm is not None:
            return f"{self.known_share:.0%} of the channels are known: too few to move the alarm"
        return None


class RawWindow:
    """One uncalibrated window, summarized once for all models.

    Parameters
    ----------
    seen : (n_steps, 46) log1p values: the window's 100 steps, and before them the up to 200 that
        models of history need.

    Attributes
    ----------
    grid : (100, 46) the window's.
    """

    def __init__(self, seen: Float32s) -> None:
        self.seen = seen
        self.grid = seen[-STEPS:]

    @cached_property
    def _summary(self) -> Float32s:
        # Statistics are per channel, so those of 29 channels are a subset of those of 46.
        summary: Float32s = summarize(self.grid[None])[0]
        return summary

    @cached_property
    def _history(self) -> Float32s:
        of_all: Float32s = history(self.seen, np.array([len(self.seen) - STEPS]))[0]
        return of_all

    def of(self, kind: InputKind, variant: Variant) -> Float32s:
        """Return a variant's input: a row of features, or (n_channels, 100) steps."""
        channels = channel_indices(variant)
        if kind == "history":
            of_variant: Float32s = self._history[stored_columns(kind, channels, kind)]
            return of_variant
        if kind == "summary":
            summary: Float32s = self._summary[summary_columns(channels)]
            return summary
        return np.ascontiguousarray(self.grid[:, channels].T)


@dataclass(kw_only=True)
class LiveModel:
    """One model with its calibrator, and its alarm if it was evaluated."""

    name: str
    calibrator: Calibrator
    classifier: Classifier
    alarm: Alarm | None = None

    @property
    def variant(self) -> Variant:
        """Variant, which fixes the channels the model sees."""
        return self.calibrator.variant

    @property
    def sees(self) -> tuple[Source, ...]:
        """Sources whose channels the model has."""
        return VARIANT_SOURCES[self.variant]

    def calibrated(self, window: RawWindow, baseline: Baseline) -> Float32s:
        """Return the classifier's input: the variant's channels, calibrated, (1, *shape)."""
        X = window.of(self.calibrator.kind, self.variant)[None]
        calibrated = self.calibrator.apply(X, *baseline.of_variant(self.variant))
        return calibrated.astype(np.float32)

    def known_share(self, calibrated: Float32s) -> float:
        """Return the share of channels with a known input value, of a calibrated (1, *shape).

        Taken from the calibrated window: a channel without a baseline gives the classifier nothing,
        however many readings it has. One in quarantine is none of the model's.
        """
        kind = self.calibrator.kind
        if kind == "tensor":
            known = np.isfinite(calibrated[0])
        else:
            # Of the window itself: what is known of its past alone gives no answer now.
            rows = calibrated.reshape(-1, per_channel(kind))
            known = np.isfinite(rows[:, : len(STATISTICS)])[:, _RELATIVE]
        return float(known.any(axis=1)[self.calibrator.seen].mean())

    def predict(self, window: RawWindow, baseline: Baseline) -> Output:
        """Classify a window and advance the alarm by one step.

        The alarm treats a window with less than half of its channels known as missing.
        """
        X = self.calibrated(window, baseline)
        share = self.known_share(X)
        probabilities = self.classifier.predict_proba(X)[0] if share > 0 else None
        state = None
        if self.alarm is not None:
            state = self.alarm.update(probabilities if share >= ALARM_SHARE else None)
        return Output(
            model=self.name,
            probabilities=probabilities,
            alarm=state,
            known_share=share,
            sees=self.sees,
        )
