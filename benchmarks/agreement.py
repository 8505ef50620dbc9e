"""How far the evaluation's numbers lie from those of scikit-learn and SciPy on random cases."""

import warnings
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import stats
from sklearn import metrics

from benchmarks.bca import Method, macro_f1_ends
from benchmarks.made_episodes import Population, draw_ease, draw_windows
from cis490_pipeline.evaluation.confusion import (
    balanced_accuracy,
    confusion,
    episode_confusions,
    macro_f1,
    macro_f1_over,
    matthews,
    seen_classes,
)
from cis490_pipeline.evaluation.metrics.average_precision import average_precision

N_CASES = 2_000
N_CORPORA = 200
N_RESAMPLES = 500
ROUNDING = 1e-12


@dataclass(frozen=True)
class Agreement:
    """The farthest of many comparisons with a second implementation."""

    what: str
    peer: str
    n: int
    farthest: float
    allowed: float

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON has it."""
        return asdict(self)


def measure(n_cases: int = N_CASES, n_corpora: int = N_CORPORA) -> list[dict[str, Any]]:
    """Compare every number that has a second implementation."""
    cases = [_case(seed) for seed in range(n_cases)]
    found = [
        _scores("macro F1", "scikit-learn `f1_score`", cases, macro_f1, _their_f1, allowed=0.0),
        _scores(
            "balanced accuracy",
            "scikit-learn",
            cases,
            balanced_accuracy,
            metrics.balanced_accuracy_score,
        ),
        _scores("Matthews", "scikit-learn", cases, matthews, metrics.matthews_corrcoef),
        _average_precisions(n_cases),
        _intervals("percentile interval", "percentile", "percentile", n_corpora),
        _intervals("BCa interval", "bca", "BCa", n_corpora),
    ]
    return [agreement.to_dict() for agreement in found]


def _case(seed: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Few windows of skewed classes, so that absent classes are common."""
    rng = np.random.default_rng(seed)
    n = int(rng.integers(1, 200))
    weights = rng.dirichlet(np.full(5, 0.4))
    y_true = rng.choice(5, size=n, p=weights)
    guess = rng.choice(5, size=n, p=weights[::-1])
    return y_true, np.where(rng.random(n) < 0.6, y_true, guess)


def _their_f1(y_true: npt.NDArray[np.int64], y_pred: npt.NDArray[np.int64]) -> float:
    return float(metrics.f1_score(y_true, y_pred, average="macro", zero_division=0))


def _scores(
    what: str,
    peer: str,
    cases: list[tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]],
    ours: Callable[[npt.NDArray[np.int64]], float],
    theirs: Callable[[npt.NDArray[np.int64], npt.NDArray[np.int64]], float],
    allowed: float = ROUNDING,
) -> Agreement:
    with warnings.catch_warnings():
        # It warns of predicted classes that are not in the truth, and computes what we do.
        warnings.simplefilter("ignore", UserWarning)
        farthest = max(abs(ours(confusion(*case)) - float(theirs(*case))) for case in cases)
    return Agreement(what, peer, len(cases), farthest, allowed)


def _average_precisions(n_cases: int) -> Agreement:
    farthest = 0.0
    for seed in range(n_cases):
        rng = np.random.default_rng(seed)
        is_phase = rng.random(int(rng.integers(2, 200))) < 0.3
        is_phase[0] = True
        # Coarse, so that equal scores are common.
        score = rng.integers(30, size=is_phase.size) / 30
        theirs = float(metrics.average_precision_score(is_phase, score))
        farthest = max(farthest, abs(average_precision(is_phase, score) - theirs))
    peer = "scikit-learn `average_precision_score`"
    return Agreement("average precision", peer, n_cases, farthest, ROUNDING)


def _intervals(what: str, method: Method, theirs: str, n_corpora: int) -> Agreement:
    """Compare both ends, on the same draws: equal generators draw equal episodes."""
    farthest = 0.0
    for seed in range(n_corpora):
        rng = np.random.default_rng(seed)
        n_episodes = int(rng.integers(20, 101))
        y_true, episode = draw_windows(rng, n_episodes)
        y_pred = Population(0.1).predicted(rng, y_true, draw_ease(rng, n_episodes)[episode])
        matrices = episode_confusions(y_true, y_pred, episode).counts
        labels = seen_classes(matrices.sum(axis=0))

        def statistic(
            drawn: npt.NDArray[np.int64],
            axis: int,
            matrices: npt.NDArray[np.int64] = matrices,
            labels: npt.NDArray[np.bool_] = labels,
        ) -> npt.NDArray[np.float64]:
            return macro_f1_over(matrices[drawn].sum(axis=drawn.ndim - 1), labels)

        wanted = stats.bootstrap(
            (np.arange(n_episodes),),
            statistic,
            vectorized=True,
            method=theirs,
            n_resamples=N_RESAMPLES,
            rng=np.random.default_rng(seed),
        ).confidence_interval
        low, high = macro_f1_ends(matrices, method, seed=seed, n_resamples=N_RESAMPLES)
        farthest = max(farthest, abs(low - wanted.low), abs(high - wanted.high))
    peer = "`scipy.stats.bootstrap` over episodes"
    return Agreement(what, peer, n_corpora, float(farthest), ROUNDING)
