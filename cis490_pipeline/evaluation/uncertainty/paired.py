"""Paired comparison of two models by episode, with Holm's correction over all pairs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import polars as pl

from cis490_pipeline.domain.arrays import Floats, Ints
from cis490_pipeline.errors import EvaluationError
from cis490_pipeline.evaluation.confusion import macro_f1_over, seen_classes
from cis490_pipeline.evaluation.schema.parts import Pair, Tested
from cis490_pipeline.evaluation.uncertainty.intervals import (
    N_RESAMPLES,
    finite_or_none,
    interval_of,
)
from cis490_pipeline.evaluation.uncertainty.resampling import resample_weights, swap_signs

_SAME = 1e-12
"""Two orders of adding the same counts may differ by rounding; they are still a tie."""


@dataclass(frozen=True, kw_only=True)
class Paired:
    """Difference of two macro F1, first minus second; NaN where the episodes do not allow it."""

    difference: float
    low: float
    high: float
    p_value: float
    n_episodes: int

    def to_dict(self) -> Tested:
        """Return it as a leaderboard carries it; what is undefined is null."""
        return {
            "difference": finite_or_none(self.difference),
            "ci_low": finite_or_none(self.low),
            "ci_high": finite_or_none(self.high),
            "p_value": finite_or_none(self.p_value),
            "n_episodes": self.n_episodes,
        }


def compare(
    first: Ints, second: Ints, *, seed: int, n_resamples: int = N_RESAMPLES, level: float = 0.95
) -> Paired:
    """Compare two models on identical windows.

    Parameters
    ----------
    first, second : (E, K, K) confusion matrices of the same episodes in the same order.
    n_resamples : B, for the interval and for the permutations.

    Returns
    -------
    The interval resamples episodes, both models together. The p-value is two-sided, from swapping
    the models' names episode by episode: (1 + as far or farther) / (B + 1). Both average over the
    classes that either model or the truth has.

    Raises
    ------
    EvaluationError
        If the two are not of the same windows.

    Notes
    -----
    Type I error by swapping .04 to .057; a p-value read off the bootstrap .067 to .077; swapping
    windows rather than episodes up to .19.
    """
    first, second = np.asarray(first), np.asarray(second)
    _require_same_windows(first, second)
    n_episodes, n_classes = first.shape[:2]
    labels = seen_classes(first.sum(axis=0)) | seen_classes(second.sum(axis=0))
    if n_episodes < 2 or not labels.any():
        nan = float("nan")
        return Paired(difference=nan, low=nan, high=nan, p_value=nan, n_episodes=n_episodes)
    flat_first, flat_second = (m.reshape(n_episodes, -1).astype(float) for m in (first, second))

    def score(flat: Floats) -> Floats:
        return macro_f1_over(flat.reshape(-1, n_classes, n_classes), labels)

    difference = float((score(flat_first.sum(axis=0)) - score(flat_second.sum(axis=0)))[0])
    rng = np.random.default_rng(seed)
    resamples = np.concatenate(
        [
            score(weights @ flat_first) - score(weights @ flat_second)
            for weights in resample_weights(rng, n_episodes, n_resamples)
        ]
    )
    _, low, high = interval_of(resamples, difference, n_episodes, level)
    total = flat_first.sum(axis=0) + flat_second.sum(axis=0)
    n_as_far = 0
    for kept in swap_signs(rng, n_episodes, n_resamples):
        one = flat_second.sum(axis=0) + kept @ (flat_first - flat_second)
        permuted = score(one) - score(total - one)
        n_as_far += int((np.abs(permuted) >= abs(difference) - _SAME).sum())
    return Paired(
        difference=difference,
        low=low,
        high=high,
        p_value=(1 + n_as_far) / (n_resamples + 1),
        n_episodes=n_episodes,
    )


def _require_same_windows(first: Ints, second: Ints) -> None:
    if first.shape != second.shape or first.ndim != 3:
        raise EvaluationError(
            f"paired models need the same episodes and classes, got {first.shape} and "
            f"{second.shape}"
        )
    differing = np.flatnonzero((first.sum(axis=2) != second.sum(axis=2)).any(axis=1))
    if differing.size:
        raise EvaluationError(
            f"paired models need identical windows, but {differing.size} of {len(first)} episodes "
            f"have other true classes, first episode {differing[0]}"
        )


def require_identical_windows(frames: dict[str, pl.DataFrame]) -> None:
    """Refuse prediction frames, by model, that are not of the same windows with the same truth.

    Raises
    ------
    EvaluationError
        Naming the first two models that differ.
    """
    keys = ["episode_id", "window_idx", "y_true"]
    first_name, first = None, pl.DataFrame()
    for name, frame in frames.items():
        windows = frame.select(keys).sort(keys)
        if first_name is None:
            first_name, first = name, windows
        elif not windows.equals(first):
            n_other = windows.join(first, on=keys, how="anti").height
            raise EvaluationError(
                f"{first_name} ({first.height} windows) and {name} ({windows.height}) were not "
                f"scored on identical windows ({n_other} of the latter's are not the former's); "
                f"evaluate both again on one split"
            )


def holm(p_values: Sequence[float]) -> list[float]:
    """Adjust p-values of one family by Holm's step-down method; NaN is not tested, and not counted.

    Examples
    --------
    >>> [round(p, 3) for p in holm([0.01, 0.04, 0.03])]
    [0.03, 0.06, 0.06]
    """
    raw: npt.NDArray[np.float64] = np.asarray(p_values, dtype=np.float64)
    tested = np.flatnonzero(~np.isnan(raw))
    order = tested[np.argsort(raw[tested], kind="stable")]
    stepped = raw[order] * np.arange(order.size, 0, -1)
    adjusted = np.full(raw.size, np.nan)
    adjusted[order] = np.minimum(1.0, np.maximum.accumulate(stepped))
    return [float(p) for p in adjusted]


def compare_family(
    name: str,
    pairs: Sequence[tuple[str, str]],
    counts: Mapping[str, Ints],
    *,
    seed: int,
    n_resamples: int = N_RESAMPLES,
) -> list[Pair]:
    """Compare pairs of models on identical windows, their p-values corrected together by Holm.

    Parameters
    ----------
    name : what the pairs are called as a family.
    counts : (E, K, K) confusion matrices by model, of the same episodes in the same order.
    """
    tested = [compare(counts[a], counts[b], seed=seed, n_resamples=n_resamples) for a, b in pairs]
    adjusted = holm([pair.p_value for pair in tested])
    return [
        {"family": name, "a": a, "b": b, **pair.to_dict(), "p_holm": finite_or_none(p)}
        for (a, b), pair, p in zip(pairs, tested, adjusted, strict=True)
    ]
