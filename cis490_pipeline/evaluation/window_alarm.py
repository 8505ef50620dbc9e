"""An alarm by single windows: probability of an infection over a threshold fixed on validation.

Whatever has ``fires`` and ``to_dict`` may stand in its place: see :class:`Alarm`.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final, Protocol

import numpy as np
import numpy.typing as npt
import polars as pl

from cis490_pipeline.domain import Side
from cis490_pipeline.errors import EvaluationError
from cis490_pipeline.evaluation.predictions import PROBABILITY_COLUMNS
from cis490_pipeline.features.stretches import INFECTED

MAX_FALSE_SHARE: Final = 0.05
"""Share of validation's windows not labelled infected that may be over the threshold."""

RULE: Final = (
    "the lowest threshold that at most 5 % of validation's windows labelled clean or armed reach"
)

Bools = npt.NDArray[np.bool_]


class Alarm(Protocol):
    """What says of each window of a prediction frame whether an alarm stands at its end."""

    def fires(self, frame: pl.DataFrame) -> Bools:
        """Whether the alarm stands: (n_windows,), in the order of the frame."""
        ...

    def to_dict(self) -> dict[str, Any]:
        """As a report carries it."""
        ...


FitAlarm = Callable[[pl.DataFrame, Sequence[str]], Alarm]
"""Fixes an alarm on the validation rows of a prediction frame, and the ids of train's episodes."""


@dataclass(frozen=True, kw_only=True)
class WindowAlarm:
    """P(infecting) + P(infected_running) + P(dormant) of one window ≥ ``threshold``."""

    threshold: float
    n_windows: int
    """Windows of validation it was fixed on: those labelled clean or armed."""
    n_episodes: int
    fitted_on: str = str(Side.VAL)
    rule: str = RULE

    def fires(self, frame: pl.DataFrame) -> Bools:
        """Whether the alarm stands: (n_windows,)."""
        over: Bools = infected_probability(frame) >= self.threshold
        return over

    def to_dict(self) -> dict[str, Any]:
        """As a report carries it."""
        return asdict(self)


def fit_window_alarm(val: pl.DataFrame, train: Sequence[str] = ()) -> WindowAlarm:
    """Fix the threshold on validation.

    Parameters
    ----------
    val : prediction frame of the validation side alone.
    train : ids of the training episodes, which other alarms learn the order of phases from; this
        one has no order, and refuses only an episode that is also in val.

    Raises
    ------
    EvaluationError
        If a row is of another side or of a training episode, or none is labelled clean or armed.
    """
    if trained := sorted(set(val["episode_id"]) & set(train)):
        raise EvaluationError(f"a threshold may not be fixed on episode {trained[0]}, of train")
    if strange := sorted(set(val["split"]) - {str(Side.VAL)}):
        raise EvaluationError(f"a threshold is fixed on val alone, got windows of {strange}")
    quiet = val.filter(~is_infected())
    if quiet.is_empty():
        raise EvaluationError("no window of val is labelled clean or armed: no threshold to fix")
    ordered = np.sort(infected_probability(quiet))[::-1]
    first_refused = int(MAX_FALSE_SHARE * ordered.size)
    return WindowAlarm(
        threshold=math.nextafter(float(ordered[first_refused]), math.inf),
        n_windows=quiet.height,
        n_episodes=quiet["episode_id"].n_unique(),
    )


def infected_probability(frame: pl.DataFrame) -> npt.NDArray[np.float64]:
    """(n_windows,) probability of any phase from infecting on."""
    names = [name for name in PROBABILITY_COLUMNS if name.removeprefix("p_") in set(INFECTED)]
    total: npt.NDArray[np.float64] = frame.select(names).to_numpy().sum(axis=1)
    return total


def is_infected() -> pl.Expr:
    """Whether a window of a prediction frame is labelled infecting, infected_running or dormant."""
    return pl.col("y_true").is_in([str(phase) for phase in INFECTED])
