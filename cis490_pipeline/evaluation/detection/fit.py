"""Fitting an alarm: its transitions on training labels, its thresholds on validation."""

from dataclasses import dataclass
from itertools import product
from typing import Final

import numpy as np
import polars as pl

from cis490_pipeline.alarm.alarm import (
    MAX_LOG_ODDS,
    AlarmSettings,
    alarm_is_on,
    infected_probability,
)
from cis490_pipeline.alarm.forward_filter import PhaseFilter, filter_sequences
from cis490_pipeline.domain import PHASES
from cis490_pipeline.domain.arrays import Bools, Floats, Ints, class_indices
from cis490_pipeline.errors import EvaluationError
from cis490_pipeline.evaluation.detection.outcomes import Outcomes, outcomes
from cis490_pipeline.evaluation.detection.windows import AlarmWindows
from cis490_pipeline.evaluation.uncertainty.rates import poisson_upper
from cis490_pipeline.features.windows import STRIDE_S
from cis490_pipeline.storage.files import digest

PRIOR_PER_DAY: Final = 1.0
"""Assumed rate at which a clean device leaves ``clean``; in the lab it does within a minute."""

SMOOTHING: Final = 1.0
"""Transitions added to each phase's row, spread evenly over the phases: none is impossible."""

EMISSION_POWER: Final = 1.5
"""Above 1: label smoothing and early stopping make the models underconfident.

On eight simulated hosts, of 0.3 to 3, the most infections found at two false alarms."""

ALLOWED_PER_DAY: Final = 10.0
"""False alarms of a clean device-day that the choice of a threshold may cost on validation. On
little clean time that is none at all."""

_K: Final = len(PHASES)
_DAY_S: Final = 86_400.0
_DAY_H: Final = 24.0


@dataclass(frozen=True, kw_only=True)
class Budget:
    """False alarms in clean time that a choice of thresholds may cost on validation.

    Attributes
    ----------
    per_day : at most so many a clean device-day; on little clean time that is none at all.
    upper_per_hour : also, the one-sided 95 % upper bound of the rate is at most this. A rate that
        was chosen to be just low enough on validation is higher on other devices; the bound leaves
        room for that, the more the less was watched. Where no count meets it, none is allowed.
    emission_powers : powers of the filter to choose from, in order of preference. A busy device is
        the same mistake window after window, which a power fit for independent ones takes for ever
        more evidence: no threshold keeps such an alarm quiet, a lower power does.
    text : the budget in words, after "at most".
    """

    per_day: float
    upper_per_hour: float | None = None
    emission_powers: tuple[float, ...] = (EMISSION_POWER,)
    text: str

    def allowed(self, clean_days: float) -> int:
        """Return how many false alarms so much clean time may have."""
        most = int(self.per_day * clean_days + 1e-9)
        hours = clean_days * _DAY_H
        while self.upper_per_hour is not None and most > 0:
            if poisson_upper(most, hours) <= self.upper_per_hour:
                break
            most -= 1
        return most


def daily(per_day: float) -> Budget:
    """Return the budget of so many false alarms a clean device-day."""
    return Budget(per_day=per_day, text=f"{per_day:g} false alarms a clean device-day of val")


DAILY: Final = daily(ALLOWED_PER_DAY)
HOURLY: Final = Budget(
    per_day=_DAY_H,
    upper_per_hour=2.0,
    emission_powers=(EMISSION_POWER, 1.0, 0.7, 0.5),
    text="1 false alarm a clean device-hour of val, and its one-sided 95 % bound at most 2",
)
"""What an alarm must keep on devices it has not seen, asked of validation."""


_LOG_ODDS: Final = tuple(np.arange(-2 * MAX_LOG_ODDS, 2 * MAX_LOG_ODDS + 1) / 2)
_RELEASE_ODDS: Final = (0.25, 1.0)
_HOLD_WINDOWS: Final = (2, 1, 3)


@dataclass(frozen=True, eq=False)
class Candidates:
    """Thresholds to choose from, (C,) each, in order of preference where several do equally well.

    Even odds come first, then ever farther ones: even odds are what the filter means by itself, and
    a few validation episodes are weak evidence for anything else.
    """

    threshold: Floats
    release: Floats
    hold_windows: Ints

    @classmethod
    def grid(cls) -> "Candidates":
        """Odds of e^−6 to e^6, release at a quarter of the odds or the same, hold of 1 to 3."""
        log_odds = sorted(_LOG_ODDS, key=lambda value: (abs(value), -value))
        rows = np.array(list(product(log_odds, _RELEASE_ODDS, _HOLD_WINDOWS)))
        odds = np.exp(rows[:, 0])
        low = odds * rows[:, 1]
        return cls(odds / (1 + odds), low / (1 + low), rows[:, 2].astype(np.int64))


@dataclass(frozen=True, eq=False)
class LabelSequences:
    """Transition counts of phases in the training labels.

    Attributes
    ----------
    steps : (K, K) how often a window of one phase (row) was followed by one of another (column).
    windows : (K,) windows of each phase.
    """

    steps: Floats
    windows: Floats

    @property
    def class_prior(self) -> Floats:
        """(K,) share of each phase in the training windows."""
        shares: Floats = self.windows / self.windows.sum()
        return shares

    @property
    def digest(self) -> str:
        """SHA-256 of both."""
        return digest({"steps": self.steps.tolist(), "windows": self.windows.tolist()})


def label_sequences(train: pl.DataFrame) -> LabelSequences:
    """Count phases and their order in the training windows.

    Raises
    ------
    EvaluationError
        If a phase has no window.
    """
    column = "phase" if "phase" in train.columns else "y_true"
    rows = train.sort("episode_id", "window_idx")
    y = class_indices(rows[column])
    windows = np.bincount(y, minlength=_K)
    if (windows == 0).any():
        absent = [str(PHASES[k]) for k in np.flatnonzero(windows == 0)]
        raise EvaluationError(f"an alarm learns from every phase, but training has no {absent}")
    same = rows["episode_id"].to_numpy()[1:] == rows["episode_id"].to_numpy()[:-1]
    next_one = np.diff(rows["window_idx"].to_numpy()) == 1
    pairs = y[:-1] * _K + y[1:]
    steps = np.bincount(pairs[same & next_one], minlength=_K * _K).reshape(_K, _K)
    return LabelSequences(steps.astype(np.float64), windows.astype(np.float64))


def transition_matrix(sequences: LabelSequences, prior_per_day: float | None) -> Floats:
    """Probability of each phase one window after each: (K, K), rows summing to 1.

    ``prior_per_day`` is how often a clean device leaves ``clean``, whichever way; which way is
    learnt. None learns how often, too.
    """
    counts = sequences.steps + SMOOTHING / _K
    matrix: Floats = counts / counts.sum(axis=1, keepdims=True)
    if prior_per_day is not None:
        leaving = -np.expm1(-prior_per_day * STRIDE_S / _DAY_S)
        away = matrix[0, 1:] / matrix[0, 1:].sum()
        matrix[0] = [1 - leaving, *(leaving * away)]
    return matrix


def phase_filter(
    sequences: LabelSequences, prior_per_day: float | None, emission_power: float = EMISSION_POWER
) -> PhaseFilter:
    """Build the filter; nothing of it is fitted on validation."""
    return PhaseFilter(
        transition=transition_matrix(sequences, prior_per_day),
        class_prior=sequences.class_prior,
        emission_power=emission_power,
        step_s=STRIDE_S,
    )


@dataclass(frozen=True, eq=False)
class Trial:
    """A filter and what every candidate's alarm did on validation."""

    filter: PhaseFilter
    prior_per_day: float | None
    candidates: Candidates
    on_val: Outcomes
    fitted_on: dict[str, str]

    def best(self, budget: Budget = DAILY) -> int:
        """Index of the candidate that finds most infections within a budget of false alarms.

        Where every candidate has more false alarms than that, those with the fewest are left. Ties
        go to the first (``Candidates``).
        """
        too_many, missed = self._costs(budget)
        # lexsort sorts by its last key first and is stable, so ties keep the order of preference.
        return int(np.lexsort((missed, too_many))[0])

    def cost(self, candidate: int, budget: Budget) -> tuple[int, int]:
        """Return what the choice is made by, less is better: excess false alarms, then −found."""
        too_many, missed = (int(values[candidate]) for values in self._costs(budget))
        return too_many, missed

    def _costs(self, budget: Budget) -> tuple[Ints, Ints]:
        allowed = budget.allowed(self.on_val.clean_days)
        too_many: Ints = np.maximum(self.on_val.n_false - allowed, 0)
        return too_many, -self.on_val.detected.sum(axis=1)

    def settings(self, candidate: int) -> AlarmSettings:
        """Return the settings of one candidate."""
        return AlarmSettings(
            filter=self.filter,
            threshold=float(self.candidates.threshold[candidate]),
            release=float(self.candidates.release[candidate]),
            hold_windows=int(self.candidates.hold_windows[candidate]),
            prior_per_day=self.prior_per_day,
            fitted_on=self.fitted_on,
        )


def replay(
    windows: AlarmWindows, model: PhaseFilter, limits: AlarmSettings | Candidates
) -> tuple[Floats, Bools]:
    """Filter the phases of n windows, (n, K), and apply C limits to them: on or off, (C, n)."""
    states = filter_sequences(model, windows.proba, windows.present, windows.lengths)
    stands = alarm_is_on(
        infected_probability(states),
        windows.present,
        windows.lengths,
        threshold=limits.threshold,
        release=limits.release,
        hold_windows=limits.hold_windows,
    )
    return states, stands


def evaluate_candidates(
    windows: AlarmWindows,
    sequences: LabelSequences,
    prior_per_day: float | None,
    emission_power: float = EMISSION_POWER,
) -> Trial:
    """Try every candidate on the windows of validation; nothing of the test side enters."""
    model = phase_filter(sequences, prior_per_day, emission_power)
    candidates = Candidates.grid()
    _, stands = replay(windows, model, candidates)
    fitted_on = {
        "thresholds": "val",
        "transitions": "train",
        "val_digest": windows.digest,
        "train_digest": sequences.digest,
    }
    return Trial(model, prior_per_day, candidates, outcomes(windows, stands), fitted_on)


def fit_alarm(
    windows: AlarmWindows,
    sequences: LabelSequences,
    prior_per_day: float | None,
    budget: Budget = DAILY,
) -> tuple[Trial, int]:
    """Choose a filter's power and an alarm's thresholds on the windows of validation.

    Returns
    -------
    The trial of the power, and its candidate: the one that finds the most infections within the
    budget. Ties go to the power that the budget names first.
    """
    trials = [
        evaluate_candidates(windows, sequences, prior_per_day, power)
        for power in budget.emission_powers
    ]
    choices = [(trial, trial.best(budget)) for trial in trials]
    return min(choices, key=lambda choice: choice[0].cost(choice[1], budget))
