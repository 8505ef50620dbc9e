"""Host identity: accuracy of predicting the device from its features, a shortcut to the phase."""

from collections.abc import Sequence
from typing import Final

import numpy as np
import numpy.typing as npt

from cis490_pipeline.domain.arrays import Float32s
from cis490_pipeline.errors import EvaluationError
from cis490_pipeline.evaluation.schema.board import LargestHost
from cis490_pipeline.evaluation.schema.parts import HostScores
from cis490_pipeline.evaluation.uncertainty.intervals import (
    N_RESAMPLES,
    interval_of,
)
from cis490_pipeline.evaluation.uncertainty.resampling import resample_weights

N_FOLDS: Final = 5
_N_TREES = 100


def host_prediction_hits(
    X: Float32s, hosts: npt.NDArray[np.str_], episodes: npt.NDArray[np.str_], *, seed: int
) -> npt.NDArray[np.bool_]:
    """Whether trees not trained on a window's episode predict its host: (n_windows,).

    Cross-validated by episode over 5 folds (fewer where there are fewer episodes), hosts spread
    over the folds.

    Parameters
    ----------
    X : (n_windows, n_columns); NaN is unknown.
    hosts, episodes : (n_windows,) names.

    Raises
    ------
    EvaluationError
        If there are fewer than two hosts or two episodes, or the lengths differ.
    """
    from sklearn.ensemble import ExtraTreesClassifier
    from sklearn.model_selection import StratifiedGroupKFold

    n_episodes, n_hosts = len(set(episodes)), len(set(hosts))
    if not len(X) == len(hosts) == len(episodes) or n_hosts < 2 or n_episodes < 2:
        raise EvaluationError(
            f"predicting hosts takes two hosts and two episodes, got {n_hosts} and {n_episodes} "
            f"({len(X)} windows, {len(hosts)} hosts, {len(episodes)} episodes)"
        )
    right = np.zeros(len(X), dtype=np.bool_)
    folds = StratifiedGroupKFold(min(N_FOLDS, n_episodes), shuffle=True, random_state=seed)
    for seen, unseen in folds.split(X, hosts, episodes):
        trees = ExtraTreesClassifier(
            n_estimators=_N_TREES, min_samples_leaf=2, class_weight="balanced", random_state=seed
        ).fit(X[seen], hosts[seen])
        right[unseen] = trees.predict(X[unseen]) == hosts[unseen]
    return right


def score_hosts(
    right: npt.NDArray[np.bool_],
    hosts: npt.NDArray[np.str_],
    episodes: npt.NDArray[np.str_],
    *,
    seed: int,
    n_resamples: int = N_RESAMPLES,
    level: float = 0.95,
) -> HostScores:
    """Accuracy, and mean recall over hosts, with intervals that resample episodes.

    Parameters
    ----------
    right : (n_windows,) what ``host_prediction_hits`` gave.
    hosts, episodes : (n_windows,) names.
    """
    ids, first, number = np.unique(episodes, return_index=True, return_inverse=True)
    names, host_of_window = np.unique(hosts, return_inverse=True)
    by_host = np.eye(names.size)[host_of_window[first]]
    n = np.bincount(number, minlength=ids.size).astype(np.float64)
    n_right = np.bincount(number, weights=right, minlength=ids.size)

    def scores(weights: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """(b, E) draws -> (b, 2) accuracy and balanced accuracy over the hosts that were drawn."""
        of_host, right_of_host = (
            weights @ (by_host * n[:, None]),
            weights @ (by_host * n_right[:, None]),
        )
        drawn = of_host > 0
        recall = np.divide(right_of_host, of_host, out=np.zeros_like(of_host), where=drawn)
        accuracy = (weights @ n_right) / (weights @ n)
        return np.stack([accuracy, recall.sum(axis=1) / drawn.sum(axis=1)], axis=1)

    point = scores(np.ones((1, ids.size)))[0]
    rng = np.random.default_rng(seed)
    resamples = np.concatenate([scores(w) for w in resample_weights(rng, ids.size, n_resamples)])
    ends = [interval_of(resamples[:, i], point[i], ids.size, level) for i in (0, 1)]
    (method, low, high), (_, balanced_low, balanced_high) = ends
    return {
        "accuracy": float(point[0]),
        "accuracy_low": max(0.0, low),
        "accuracy_high": min(1.0, high),
        "balanced_accuracy": float(point[1]),
        "balanced_low": max(0.0, balanced_low),
        "balanced_high": min(1.0, balanced_high),
        "ci_method": method,
    }


def largest_host(hosts: Sequence[str] | npt.NDArray[np.str_]) -> LargestHost:
    """Return the host with the most windows and its share: the score of always guessing it."""
    names, counts = np.unique(np.asarray(hosts), return_counts=True)
    most = int(counts.argmax())
    return {"host_id": str(names[most]), "share": float(counts[most] / counts.sum())}
