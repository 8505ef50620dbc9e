"""Small made-up windows that every architecture can learn from."""

import numpy as np

from cis490_pipeline.features.datasets.window_data import ArrayWindows

QUICK = {"gbt": {"max_rounds": 6}}


def quick_config(architecture):
    return QUICK.get(architecture, {"max_epochs": 2})


def make_windows(shape, n=60, seed=0, shift=2.0):
    """Windows whose first five columns tell the phase; some readings and sources are unknown."""
    rng = np.random.default_rng(seed)
    y = np.arange(n) % 5
    X = rng.normal(size=(n, *shape)).astype(np.float32)
    X[np.arange(n), y] += shift
    X[rng.random(X.shape) < 0.01] = np.nan
    X[::9, -10:] = np.nan
    groups = np.array([f"episode-{i // 6:03d}" for i in range(n)])
    return ArrayWindows(X.clip(-8, 8), y.astype(np.int64), groups)
