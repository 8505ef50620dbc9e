"""How often intervals cover the truth, and how often equal models are called different."""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from benchmarks.bca import Method, macro_f1_ends
from benchmarks.made_episodes import Population, draw_ease, draw_windows
from cis490_pipeline.evaluation.confusion import (
    episode_confusions,
    macro_f1_over,
    seen_classes,
)
from cis490_pipeline.evaluation.uncertainty.intervals import episode_interval
from cis490_pipeline.evaluation.uncertainty.paired import compare

EPISODES = (20, 40, 100)
ALSO_EPISODES = (5, 10, 30)
"""Few ones, and the number from which on percentiles are reported."""
ICC = (0.0, 0.1, 0.3)
LEVEL = 0.95
ALPHA = 0.05
N_RESAMPLES = 2_000
N_PERMUTATIONS = 1_000

METHODS: Final[tuple[Method, ...]] = ("percentile", "bca")

Progress = Callable[[str], None]
Counts = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Share:
    """Share of simulations in which something happened."""

    value: float
    n: int

    @property
    def two_se(self) -> float:
        """Two standard errors."""
        return float(2 * np.sqrt(self.value * (1 - self.value) / self.n))

    def __str__(self) -> str:
        """Return it with two standard errors, in percent."""
        return f"{100 * self.value:.1f} ± {100 * self.two_se:.1f} %"

    def to_dict(self) -> dict[str, float]:
        """Return it as JSON has it."""
        return {**asdict(self), "two_se": self.two_se}


def coverage(
    n_episodes: int, icc: float, n_simulations: int, *, seed: int, n_resamples: int = N_RESAMPLES
) -> dict[str, Share]:
    """Share of simulated corpora whose 95 % interval holds the population's macro F1.

    Returns
    -------
    By method: ``used`` (what reports print), ``percentile``, ``bca``, and ``by window``.
    """
    population, rng = Population(icc), np.random.default_rng(seed)
    truth = population.macro_f1
    hits = dict.fromkeys(("used", *METHODS, "by window"), 0)
    for k in range(n_simulations):
        y_true, episode = draw_windows(rng, n_episodes)
        y_pred = population.predicted(rng, y_true, draw_ease(rng, n_episodes)[episode])
        matrices = episode_confusions(y_true, y_pred, episode).counts
        ends = {"by window": _interval_by_window(rng, matrices.sum(axis=0), n_resamples)}
        used = episode_interval(matrices, seed=k, n_resamples=n_resamples, level=LEVEL)
        ends["used"] = used.low, used.high
        for method in METHODS:
            ends[method] = macro_f1_ends(
                matrices, method, seed=k, n_resamples=n_resamples, level=LEVEL
            )
        for name, (low, high) in ends.items():
            hits[name] += low <= truth <= high
    return {name: Share(n / n_simulations, n_simulations) for name, n in hits.items()}


def _interval_by_window(
    rng: np.random.Generator, pooled: Counts, n_resamples: int
) -> tuple[float, float]:
    """Percentiles of resamples of single windows, as if they were independent."""
    n_windows = int(pooled.sum())
    drawn = rng.multinomial(n_windows, pooled.ravel() / n_windows, size=n_resamples)
    scores = macro_f1_over(drawn.reshape(-1, *pooled.shape), seen_classes(pooled))
    low, high = np.quantile(scores, ((1 - LEVEL) / 2, (1 + LEVEL) / 2))
    return float(low), float(high)


def false_differences(
    n_episodes: int,
    icc: tuple[float, float],
    n_simulations: int,
    *,
    seed: int,
    n_by_window: int,
    n_permutations: int = N_PERMUTATIONS,
) -> dict[str, Share]:
    """Share of simulated corpora on which two models of equal macro F1 are called different.

    Parameters
    ----------
    icc : of the two models. Half of the episodes are as easy to the one as to the other.
    n_by_window : simulations in which the test by window is tried too; 0 for none.

    Returns
    -------
    ``by episode``: p ≤ .05 of the test that reports print; ``interval``: its 95 % interval leaves
    out zero; ``by window``: p ≤ .05 if the names are swapped window by window.
    """
    models, rng = [Population(value) for value in icc], np.random.default_rng(seed)
    hits = {"by episode": 0, "interval": 0, "by window": 0}
    for k in range(n_simulations):
        y_true, episode = draw_windows(rng, n_episodes)
        ease = np.stack([draw_ease(rng, n_episodes) for _ in models])
        alike = rng.random(n_episodes) < 0.5
        ease[1, alike] = ease[0, alike]
        predicted = [
            m.predicted(rng, y_true, e[episode]) for m, e in zip(models, ease, strict=True)
        ]
        first, second = (episode_confusions(y_true, y_pred, episode).counts for y_pred in predicted)
        found = compare(first, second, seed=k, n_resamples=n_permutations, level=LEVEL)
        hits["by episode"] += found.p_value <= ALPHA
        hits["interval"] += not found.low <= 0 <= found.high
        if k < n_by_window:
            alone = [_one_by_one(y_true, y_pred, first.shape[1]) for y_pred in predicted]
            found = compare(*alone, seed=k, n_resamples=n_permutations, level=LEVEL)
            hits["by window"] += found.p_value <= ALPHA
    tried = {"by episode": n_simulations, "interval": n_simulations, "by window": n_by_window}
    return {name: Share(hits[name] / n, n) for name, n in tried.items() if n}


def _one_by_one(y_true: Counts, y_pred: Counts, n_classes: int) -> Counts:
    """Confusion matrix of each window alone: (n_windows, K, K)."""
    matrices = np.zeros((y_true.size, n_classes, n_classes), dtype=np.int64)
    matrices[np.arange(y_true.size), y_true, y_pred] = 1
    return matrices


def simulate(n_simulations: int, progress: Progress) -> dict[str, list[dict[str, Any]]]:
    """Run every cell of both tables; a seed each, so that no cell depends on another."""
    covered, differing = [], []
    for n_episodes in sorted((*ALSO_EPISODES, *EPISODES)):
        for icc in ICC:
            progress(f"coverage, {n_episodes} episodes, ICC {icc:g}")
            found = coverage(n_episodes, icc, n_simulations, seed=_seed(n_episodes, icc))
            covered.append({"n_episodes": n_episodes, "icc": icc} | _as_json(found))
    for n_episodes in EPISODES:
        for pair in (*((icc, icc) for icc in ICC), (0.0, 0.3)):
            progress(f"false differences, {n_episodes} episodes, ICC {pair[0]:g} and {pair[1]:g}")
            found = false_differences(
                n_episodes,
                pair,
                n_simulations,
                seed=_seed(n_episodes, pair[1]),
                n_by_window=min(2000, n_simulations),
            )
            differing.append({"n_episodes": n_episodes, "icc": list(pair)} | _as_json(found))
    return {"coverage": covered, "false_differences": differing}


def _seed(n_episodes: int, icc: float) -> int:
    return 1000 * n_episodes + round(100 * icc)


def _as_json(shares: dict[str, Share]) -> dict[str, dict[str, float]]:
    return {name: share.to_dict() for name, share in shares.items()}
