"""Resampled macro F1 from per-episode confusion matrices, against a loop over scikit-learn."""

from typing import Any

import numpy as np
from sklearn.metrics import f1_score

from benchmarks.made_episodes import MEAN_WINDOWS, Population, draw_ease, draw_windows
from benchmarks.measuring import interleaved, ratio
from cis490_pipeline.evaluation.confusion import episode_confusions
from cis490_pipeline.evaluation.uncertainty.intervals import episode_interval

N_WINDOWS = 100_000
N_RESAMPLES = 10_000
LOOPED = 50
"""Resamples of the loop that are timed; all would take minutes, and each costs the same."""


def measure(repetitions: int) -> dict[str, Any]:
    """CPU seconds of both for 10,000 resamples of the same windows."""
    rng = np.random.default_rng(0)
    # A few more than that, then cut: how many windows an episode has is drawn.
    y_true, episode = draw_windows(rng, round(1.02 * N_WINDOWS / MEAN_WINDOWS.sum()))
    y_true, episode = y_true[:N_WINDOWS], episode[:N_WINDOWS]
    n_episodes = int(episode[-1]) + 1
    y_pred = Population(0.1).predicted(rng, y_true, draw_ease(rng, n_episodes)[episode])
    rows_of = np.split(np.arange(y_true.size), np.flatnonzero(np.diff(episode)) + 1)

    def ours() -> None:
        matrices = episode_confusions(y_true, y_pred, episode).counts
        episode_interval(matrices, seed=0, n_resamples=N_RESAMPLES)

    def peers() -> None:
        for _ in range(LOOPED):
            rows = np.concatenate([rows_of[e] for e in rng.integers(n_episodes, size=n_episodes)])
            f1_score(y_true[rows], y_pred[rows], average="macro", zero_division=0)

    seconds = interleaved({"ours": ours, "peers": peers}, repetitions=repetitions)
    scale = N_RESAMPLES / LOOPED
    return {
        "n_windows": int(y_true.size),
        "n_episodes": n_episodes,
        "n_resamples": N_RESAMPLES,
        "n_looped": LOOPED,
        "ours_s": float(np.median(seconds["ours"])),
        "loop_s": float(np.median(seconds["peers"])) * scale,
        "times_faster": ratio(seconds, "peers", "ours") * scale,
    }
