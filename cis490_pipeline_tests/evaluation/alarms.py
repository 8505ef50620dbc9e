"""Made-up filters, alarms and labels for the tests of detection."""

import numpy as np
import polars as pl

from cis490_pipeline.alarm.alarm import AlarmSettings
from cis490_pipeline.alarm.forward_filter import PhaseFilter

NS_PER_S = 1_000_000_000


def any_proba(rng, n):
    """(n, 5) probabilities, none so small that the filter would raise it."""
    return 0.99 * rng.dirichlet(np.full(5, 0.5), size=n) + 0.002


def any_filter(rng):
    return PhaseFilter(
        transition=rng.dirichlet(np.full(5, 0.7), size=5),
        class_prior=rng.dirichlet(np.full(5, 3.0)),
        emission_power=float(rng.uniform(0.3, 2)),
        step_s=5.0,
    )


def settings_of(model, *, threshold=0.5, release=0.3, hold_windows=2):
    return AlarmSettings(
        filter=model,
        threshold=threshold,
        release=release,
        hold_windows=hold_windows,
        prior_per_day=1.0,
        fitted_on={"val_digest": "abc"},
    )


def labels_of(plots):
    """Labels of episodes from ``{episode_id: [(second, phase), …]}``."""
    return pl.DataFrame(
        {
            "episode_id": list(plots),
            "label_t_wall_ns": [[round(t * NS_PER_S) for t, _ in plot] for plot in plots.values()],
            "label_phase": [[phase for _, phase in plot] for plot in plots.values()],
        }
    )
