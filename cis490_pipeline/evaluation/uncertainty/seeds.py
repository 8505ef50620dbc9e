"""Variance of a score over training seeds."""

import math
from collections.abc import Sequence

import numpy as np
import scipy

from cis490_pipeline.evaluation.schema.parts import Seeds, SeedScore
from cis490_pipeline.evaluation.uncertainty.intervals import finite_or_none


def seed_summary(reports: Sequence[SeedScore], *, level: float = 0.95) -> Seeds:
    """Mean macro F1 over the seeds of one model, with the t interval mean ± t(k − 1) SD / √k.

    The test episodes are the same for every seed: this interval covers other seeds, the reports'
    own intervals cover other episodes. One seed has neither spread nor interval.
    """
    scores = [report["macro_f1"] for report in reports]
    known = np.array([score for score in scores if score is not None], dtype=np.float64)
    mean = float(known.mean()) if known.size else math.nan
    sd = float(known.std(ddof=1)) if known.size > 1 else math.nan
    reach = math.nan
    if known.size > 1:
        quantile = float(scipy.stats.t.ppf((1 + level) / 2, known.size - 1))
        reach = quantile * sd / math.sqrt(known.size)
    return {
        "n_seeds": len(scores),
        "seeds": [report["seed"] for report in reports],
        "macro_f1": scores,
        "mean": finite_or_none(mean),
        "sd": finite_or_none(sd),
        "ci_low": finite_or_none(mean - reach),
        "ci_high": finite_or_none(mean + reach),
        "ci_level": level,
        "ci_method": "t over seeds" if known.size > 1 else "none: needs two seeds",
    }
