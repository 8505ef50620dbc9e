"""Resampling by episode: windows of one run are correlated, so episodes are the unit."""

from collections.abc import Iterator

import numpy as np

from cis490_pipeline.domain.arrays import Floats

_CELLS_PER_CHUNK = 2_000_000
"""Draws held at once: 16 MB, whatever the number of episodes."""


def resample_weights(
    rng: np.random.Generator, n_episodes: int, n_resamples: int
) -> Iterator[Floats]:
    """Draw E episodes with replacement B times: how often each was drawn, in chunks of resamples.

    Yields
    ------
    (b, E) whole numbers, rows summing to E, over B rows together.
    """
    for n in _chunks(n_episodes, n_resamples):
        drawn = rng.integers(n_episodes, size=(n, n_episodes))
        drawn += np.arange(n)[:, None] * n_episodes
        counts = np.bincount(drawn.ravel(), minlength=n * n_episodes)
        yield counts.reshape(n, n_episodes).astype(np.float64)


def swap_signs(rng: np.random.Generator, n_episodes: int, n_resamples: int) -> Iterator[Floats]:
    """Toss a fair coin for each episode: 1 keeps the two models' names, 0 swaps them.

    Yields
    ------
    (b, E) zeros and ones, over ``n_resamples`` rows together.
    """
    for n in _chunks(n_episodes, n_resamples):
        yield rng.integers(2, size=(n, n_episodes)).astype(np.float64)


def _chunks(n_episodes: int, n_resamples: int) -> Iterator[int]:
    size = max(1, _CELLS_PER_CHUNK // n_episodes)
    for start in range(0, n_resamples, size):
        yield min(size, n_resamples - start)
