"""Made-up predictions for the evaluation tests."""

import numpy as np
import polars as pl

from cis490_pipeline.domain import PHASES
from cis490_pipeline.evaluation.predictions import prediction_frame

SPLIT = {
    "recipe": "host",
    "digest": "5p1i7" * 4,
    "version": 1,
    "selected_on": "same host",
    "untested_profiles": {"lab-nuc": ["io-walk"]},
    "shared": {"hosts": [], "samples": ["flood-1"], "profiles": ["flood"]},
    "counts": {"train": 9, "val": 4, "test": 8, "excluded": 1},
    "excluded": {"no_clean_baseline": 1},
}

PLOT = (0, 0, 0, 1, 2, 2, 3, 3, 3, 4)
"""True classes of an episode's windows."""


def windows(n_test=8, n_val=4, hosts=("garage-pi", "lab-nuc"), profiles=("flood", "io-walk")):
    """Keys of every window: hosts and profiles take turns; lab-nuc never runs io-walk."""
    rows = []
    for episode in range(n_test + n_val):
        host = hosts[episode % len(hosts)]
        profile = profiles[episode // len(hosts) % len(profiles)]
        rows += [
            {
                "episode_id": f"01EP{episode:04d}",
                "host_id": host,
                "profile": "flood" if (host, profile) == ("lab-nuc", "io-walk") else profile,
                "sample_name": f"{profile}-1",
                "side": "test" if episode < n_test else "val",
                "window_idx": 3 + k,
                "t_start_wall_ns": (3 + k) * 5_000_000_000,
                "t_end_wall_ns": (5 + k) * 5_000_000_000,
                "purity": 1.0,
                "touches_baseline": False,
                "y_true": str(PHASES[phase]),
            }
            for k, phase in enumerate(PLOT)
        ]
    return pl.DataFrame(rows)


def predictions(keys, *, skill, seed=0):
    """Probabilities that point at the truth the more, the higher the skill."""
    rng = np.random.default_rng(seed)
    truth = np.eye(5)[[PHASES.index(phase) for phase in keys["y_true"]]]
    logits = skill * truth + rng.normal(size=truth.shape)
    proba = np.exp(logits)
    return prediction_frame(keys, proba / proba.sum(axis=1, keepdims=True))
