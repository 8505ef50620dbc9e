"""Forward filter: hidden Markov model of the phases, updated window by window.

Needs only numpy, so that a small device runs the same code as the evaluation.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from cis490_pipeline.domain import PHASES
from cis490_pipeline.domain.arrays import Bools, Floats, Ints
from cis490_pipeline.errors import EvaluationError

_K: Final = len(PHASES)
_FLOOR: Final = 1e-6
"""Lower bound on probabilities: a zero in one window would rule a phase out forever."""


@dataclass(frozen=True, kw_only=True)
class PhaseFilter:
    """Hidden Markov model of the phases, with one step per window.

    Attributes
    ----------
    transition : (K, K) probability of moving from a phase (row) to another (column) in one step.
    class_prior : (K,) share of each phase in the classifier's training windows.
    emission_power : exponent of the likelihoods; the filter assumes independent windows, but
        consecutive windows overlap.
    step_s : time between windows, s.
    """

    transition: Floats
    class_prior: Floats
    emission_power: float
    step_s: float

    def __post_init__(self) -> None:
        for name, shape in (("transition", (_K, _K)), ("class_prior", (_K,))):
            value = np.asarray(getattr(self, name), dtype=np.float64)
            object.__setattr__(self, name, value)
            if value.shape != shape or not (value >= 0).all():
                raise EvaluationError(f"{name} must be {shape} probabilities, got {value.tolist()}")
            if not np.allclose(value.sum(axis=-1), 1, atol=1e-9):
                raise EvaluationError(f"{name} must sum to 1, got {value.sum(axis=-1).tolist()}")
        if not (self.class_prior > 0).all():
            raise EvaluationError(
                f"class_prior must be positive for every phase, got {self.class_prior.tolist()}"
            )
        for name in ("emission_power", "step_s"):
            if not (0 < getattr(self, name) < math.inf):
                raise EvaluationError(f"{name} must be positive, got {getattr(self, name)}")

    @staticmethod
    def start() -> Floats:
        """(K,) initial distribution: the device is clean, as during its baseline."""
        start: Floats = np.eye(_K)[0]
        return start

    def advance(self, state: Floats, proba: Floats | None) -> Floats:
        """Advance the filter by one window.

        Parameters
        ----------
        state : (..., K) phase probabilities after the previous window.
        proba : (..., K) classifier probabilities of this window; None if it is missing, which
            makes a prediction step without an update.

        Returns
        -------
        (..., K) phase probabilities given all windows so far.

        Notes
        -----
        The forward algorithm (Rabiner 1989), with a classifier's probabilities divided by the
        class prior as scaled likelihoods (Bourlard and Morgan 1994).
        """
        # A sum has a fixed order, while a matrix product's depends on the number of rows: online
        # and batch results must be equal to the bit.
        predicted: Floats = np.sum(state[..., :, None] * self.transition, axis=-2)
        if proba is None:
            return predicted
        scaled = np.maximum(proba, _FLOOR) / self.class_prior
        joint: Floats = predicted * np.power(scaled, self.emission_power)
        posterior: Floats = joint / joint.sum(axis=-1, keepdims=True)
        return posterior


def filter_sequences(
    model: PhaseFilter, proba: Floats, present: Bools, lengths: npt.NDArray[np.integer[Any]]
) -> Floats:
    """Filter many sequences at once, with the same result as ``Alarm`` on each.

    Parameters
    ----------
    proba : (n_windows, K) sequences concatenated, each in time order.
    present : (n_windows,) False where a window is missing; its probabilities are ignored.
    lengths : (n_sequences,) number of windows, including missing ones.

    Returns
    -------
    (n_windows, K) filtered probabilities.
    """
    filtered = np.empty((len(present), _K))
    states = np.tile(PhaseFilter.start(), (len(lengths), 1))
    for rows in lockstep_rows(lengths):
        before = states[: rows.size]
        seen = model.advance(before, np.where(present[rows, None], proba[rows], 1.0))
        unseen = model.advance(before, None)
        states[: rows.size] = np.where(present[rows, None], seen, unseen)
        filtered[rows] = states[: rows.size]
    return filtered


def lockstep_rows(lengths: npt.NDArray[np.integer[Any]]) -> Iterator[Ints]:
    """Yield the rows of all first windows, then of all second ones; longest sequences first."""
    lengths = np.asarray(lengths, dtype=np.int64)
    starts = np.cumsum(lengths) - lengths
    order = np.argsort(-lengths, kind="stable")
    for step in range(int(lengths.max(initial=0))):
        going_on = int((lengths > step).sum())
        yield starts[order[:going_on]] + step
