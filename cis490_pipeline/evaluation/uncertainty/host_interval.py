"""Confidence interval of a macro F1 over other hosts: hosts are resampled, and their episodes."""

from collections.abc import Iterator, Sequence
from typing import Final

import numpy as np
import numpy.typing as npt
import scipy

from cis490_pipeline.domain.arrays import Floats, Ints
from cis490_pipeline.errors import EvaluationError
from cis490_pipeline.evaluation.confusion import macro_f1_over, seen_classes
from cis490_pipeline.evaluation.uncertainty.intervals import N_RESAMPLES, Interval

MIN_HOSTS: Final = 5
"""Fewer hosts say next to nothing of how hosts differ: there is no interval over them."""

_CHUNK: Final = 500
METHOD: Final = "bootstrap SE by host and episode, t"


def host_interval(
    matrices: Ints,
    hosts: Sequence[str],
    *,
    seed: int,
    n_resamples: int = N_RESAMPLES,
    level: float = 0.95,
) -> Interval | None:
    """Macro F1 over all windows, with an interval that resamples hosts, and episodes within them.

    Parameters
    ----------
    matrices : (E, K, K) one confusion matrix per episode.
    hosts : (E,) the host of each episode.
    level : share of repetitions that should cover the truth, 0 to 1.

    Returns
    -------
    Estimate ± t(H − 1) × the resamples' standard error, within 0 to 1; None of fewer than five
    hosts, or without a class.

    Raises
    ------
    EvaluationError
        If there is not one host for each matrix.

    Notes
    -----
    A drawn host gives as many episodes as it has. The label set is the point estimate's, in every
    resample. Percentiles over a dozen hosts would be too narrow, hence t.
    """
    matrices, of_host = np.asarray(matrices), np.asarray(hosts, dtype=np.str_)
    if len(of_host) != len(matrices):
        raise EvaluationError(f"{len(matrices)} episodes need a host each, got {len(of_host)}")
    names, index = np.unique(of_host, return_inverse=True)
    labels = seen_classes(matrices.sum(axis=0)) if len(matrices) else np.zeros(0, dtype=np.bool_)
    if names.size < MIN_HOSTS or not labels.any():
        return None
    n_episodes, n_classes = matrices.shape[:2]
    flat = matrices.reshape(n_episodes, -1).astype(np.float64)
    resamples = np.concatenate(
        [
            macro_f1_over((weights @ flat).reshape(-1, n_classes, n_classes), labels)
            for weights in host_weights(np.random.default_rng(seed), index, n_resamples)
        ]
    )
    estimate = float(macro_f1_over(matrices.sum(axis=0), labels))
    reach = float(resamples.std(ddof=1) * scipy.stats.t.ppf((1 + level) / 2, names.size - 1))
    return Interval(
        estimate=estimate,
        low=max(0.0, estimate - reach),
        high=min(1.0, estimate + reach),
        level=level,
        n_episodes=n_episodes,
        n_windows=int(matrices.sum()),
        method=METHOD,
    )


def host_weights(
    rng: np.random.Generator, host_of: npt.NDArray[np.int64], n_resamples: int
) -> Iterator[Floats]:
    """Draw H hosts with replacement B times, and of each drawn host its number of episodes.

    Parameters
    ----------
    host_of : (E,) index of each episode's host, 0 to H − 1, none of them without an episode.

    Yields
    ------
    (b, E) how often each episode was drawn, over B rows together.
    """
    members = [np.flatnonzero(host_of == k) for k in range(int(host_of.max()) + 1)]
    n_hosts = len(members)
    for start in range(0, n_resamples, _CHUNK):
        size = min(_CHUNK, n_resamples - start)
        drawn = rng.multinomial(n_hosts, np.full(n_hosts, 1 / n_hosts), size=size)
        weights = np.zeros((size, host_of.size))
        for k, episodes in enumerate(members):
            # k draws of n episodes each, of the same n, are one draw of k times as many.
            share = np.full(episodes.size, 1 / episodes.size)
            weights[:, episodes] = rng.multinomial(drawn[:, k] * episodes.size, share)
        yield weights
