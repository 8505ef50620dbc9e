"""Online alarm on phase probabilities: a forward filter followed by a hysteresis threshold.

Needs only numpy, so that a small device runs the same code as the evaluation.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal, TypedDict

import numpy as np
import numpy.typing as npt

from cis490_pipeline.alarm.forward_filter import PhaseFilter, lockstep_rows
from cis490_pipeline.domain import CLASS_INDEX, INFECTED_PHASES, PHASES, Phase
from cis490_pipeline.domain.arrays import Bools, Floats
from cis490_pipeline.errors import EvaluationError

ALARM_VERSION: Final = "1"
"""Raised when the meaning of the settings changes; other versions are refused."""

INFECTED: Final = np.array([phase in INFECTED_PHASES for phase in PHASES])
ARMED: Final = CLASS_INDEX[Phase.ARMED]

_K: Final = len(PHASES)
_SUM_TOLERANCE: Final = 1e-3

MAX_LOG_ODDS: Final = 6.0
"""Limit on a threshold's log odds in either direction; beyond it, the alarm never changes."""


class SavedSettings(TypedDict):
    """Settings of an alarm as JSON carries them."""

    format: Literal["alarm"]
    version: str
    phases: list[str]
    transition: list[list[float]]
    class_prior: list[float]
    emission_power: float
    step_s: float
    threshold: float
    release: float
    hold_windows: int
    prior_per_day: float | None
    fitted_on: dict[str, str]


@dataclass(frozen=True, kw_only=True)
class AlarmSettings:
    """Forward filter, alarm thresholds, and the data they were fitted on.

    Attributes
    ----------
    threshold : the alarm turns on once the infection probability reaches this.
    release : it turns off after ``hold_windows`` consecutive windows below this.
    prior_per_day : assumed infections of a clean device per day; None: as often as in training.
    fitted_on : names and digests of the data used for fitting.
    """

    filter: PhaseFilter
    threshold: float
    release: float
    hold_windows: int
    prior_per_day: float | None
    fitted_on: Mapping[str, str]

    def __post_init__(self) -> None:
        if not 0 < self.release <= self.threshold < 1:
            raise EvaluationError(
                "an alarm needs 0 < release <= threshold < 1, got "
                f"release {self.release}, threshold {self.threshold}"
            )
        if self.hold_windows < 1:
            raise EvaluationError(f"hold_windows must be at least 1, got {self.hold_windows}")

    def to_dict(self) -> SavedSettings:
        """Convert to JSON values."""
        return {
            "format": "alarm",
            "version": ALARM_VERSION,
            "phases": [str(phase) for phase in PHASES],
            "transition": self.filter.transition.tolist(),
            "class_prior": self.filter.class_prior.tolist(),
            "emission_power": self.filter.emission_power,
            "step_s": self.filter.step_s,
            "threshold": self.threshold,
            "release": self.release,
            "hold_windows": self.hold_windows,
            "prior_per_day": self.prior_per_day,
            "fitted_on": dict(self.fitted_on),
        }

    @classmethod
    def from_dict(cls, saved: Mapping[str, Any]) -> "AlarmSettings":
        """Restore settings from ``to_dict``.

        EvaluationError if the format, version or phases differ, or a value is missing or invalid.
        """
        wanted = {
            "format": "alarm",
            "version": ALARM_VERSION,
            "phases": [str(phase) for phase in PHASES],
        }
        other = [
            f"{name} is {saved.get(name)!r}, wanted {value!r}"
            for name, value in wanted.items()
            if saved.get(name) != value
        ]
        if other:
            raise EvaluationError(
                f"not an alarm this code can run: {'; '.join(other)}. Evaluate the model again"
            )
        try:
            return cls(
                filter=PhaseFilter(
                    transition=np.array(saved["transition"], dtype=np.float64),
                    class_prior=np.array(saved["class_prior"], dtype=np.float64),
                    emission_power=float(saved["emission_power"]),
                    step_s=float(saved["step_s"]),
                ),
                threshold=float(saved["threshold"]),
                release=float(saved["release"]),
                hold_windows=int(saved["hold_windows"]),
                prior_per_day=saved["prior_per_day"],
                fitted_on=dict(saved["fitted_on"]),
            )
        except (KeyError, TypeError, ValueError, OverflowError) as fault:
            raise EvaluationError(
                f"the alarm's settings are damaged ({fault!r}); evaluate the model again"
            ) from fault


@dataclass(frozen=True, kw_only=True)
class AlarmState:
    """Alarm state after one window: (K,) filtered phases, and what follows from them."""

    phases: Floats
    """(K,) filtered probabilities of the phases."""
    infected: float
    """Total probability of ``INFECTED_PHASES``."""
    armed: float
    """Probability of ``armed``."""
    alarming: bool
    rising: bool
    """Whether the alarm turned on with this window."""


class Alarm:
    """Online alarm of one device, updated window by window.

    Examples
    --------
    >>> alarm = Alarm(
    ...     AlarmSettings(
    ...         filter=PhaseFilter(
    ...             transition=0.9 * np.eye(5) + 0.02,
    ...             class_prior=np.full(5, 0.2),
    ...             emission_power=1.0,
    ...             step_s=5.0,
    ...         ),
    ...         threshold=0.8,
    ...         release=0.5,
    ...         hold_windows=2,
    ...         prior_per_day=None,
    ...         fitted_on={},
    ...     )
    ... )
    >>> surely_infected = np.array([0.01, 0.01, 0.01, 0.96, 0.01])
    >>> [alarm.update(surely_infected).alarming for _ in range(2)]
    [False, True]
    >>> alarm.update(None).rising  # a missing window moves no alarm
    False
    """

    def __init__(self, settings: AlarmSettings) -> None:
        self.settings = settings
        self.reset()

    def reset(self) -> None:
        """Reset to the initial state: the device is known to be clean, as after a new baseline."""
        self._state = PhaseFilter.start()
        self._alarming = False
        self._n_below = 0

    def update(self, probabilities: npt.ArrayLike | None) -> AlarmState:
        """Advance by one window.

        Parameters
        ----------
        probabilities : (K,) of the classifier, in the order of ``PHASES``; None for a missing
            window. Windows are ``step_s`` apart: call once for each, missing or not.

        Raises
        ------
        EvaluationError
            If they are not K probabilities.
        """
        proba = None if probabilities is None else _checked(probabilities)
        self._state = self.settings.filter.advance(self._state, proba)
        infected = float(infected_probability(self._state))
        before = self._alarming
        if proba is not None:
            self._decide(infected)
        return AlarmState(
            phases=self._state.copy(),
            infected=infected,
            armed=float(self._state[ARMED]),
            alarming=self._alarming,
            rising=self._alarming and not before,
        )

    def kept(self) -> tuple[tuple[float, ...], bool, int]:
        """Return what ``restore`` takes: phases (K,), whether it is on, windows below release."""
        return tuple(float(p) for p in self._state), self._alarming, self._n_below

    def restore(self, phases: npt.ArrayLike, *, alarming: bool, n_below: int) -> None:
        """Continue from an earlier state, as after a restart.

        Parameters
        ----------
        phases : (K,) filtered probabilities.
        alarming : whether the alarm was on.
        n_below : consecutive windows below the release, from 0.

        Raises
        ------
        EvaluationError
            If the phases are not K probabilities, or the count is negative.
        """
        if n_below < 0:
            raise EvaluationError(f"windows below the release must be at least 0, got {n_below}")
        self._state, self._alarming, self._n_below = _checked(phases), alarming, n_below

    def _decide(self, infected: float) -> None:
        if not self._alarming:
            self._alarming = infected >= self.settings.threshold
            self._n_below = 0
            return
        self._n_below = self._n_below + 1 if infected < self.settings.release else 0
        self._alarming = self._n_below < self.settings.hold_windows


def infected_probability(phases: Floats) -> Floats:
    """Sum the probabilities of the infected phases: (..., K) to (...)."""
    total: Floats = phases[..., INFECTED].sum(axis=-1)
    return total


def alarm_is_on(
    infected: Floats,
    present: Bools,
    lengths: npt.NDArray[np.integer[Any]],
    *,
    threshold: npt.ArrayLike,
    release: npt.ArrayLike,
    hold_windows: npt.ArrayLike,
) -> Bools:
    """Windows at which the alarm is on, for several settings at once.

    Parameters
    ----------
    infected : (n_windows,) infection probability, sequences concatenated.
    present, lengths : as in ``filter_sequences``.
    threshold, release, hold_windows : (n_settings,) each.

    Returns
    -------
    (n_settings, n_windows).
    """
    up, low, hold = (np.atleast_1d(value)[:, None] for value in (threshold, release, hold_windows))
    stands = np.zeros((len(up), len(present)), dtype=np.bool_)
    alarming = np.zeros((len(up), len(lengths)), dtype=np.bool_)
    n_below = np.zeros(alarming.shape, dtype=np.int64)
    for rows in lockstep_rows(lengths):
        k, score, there = rows.size, infected[rows], present[rows]
        was = alarming[:, :k]
        below = np.where(was & (score < low), n_below[:, :k] + 1, 0)
        now = np.where(was, below < hold, score >= up)
        n_below[:, :k] = np.where(there, below, n_below[:, :k])
        alarming[:, :k] = np.where(there, now, was)
        stands[:, rows] = alarming[:, :k]
    return stands


def _checked(probabilities: npt.ArrayLike) -> Floats:
    proba = np.asarray(probabilities, dtype=np.float64)
    if (
        proba.shape != (_K,)
        or not np.isfinite(proba).all()
        or (proba < 0).any()
        or abs(proba.sum() - 1) > _SUM_TOLERANCE
    ):
        raise EvaluationError(
            f"an alarm wants {_K} probabilities that sum to 1, in the order of "
            f"{', '.join(PHASES)}; got {proba.tolist()}. Pass None for a window that is missing"
        )
    return proba
