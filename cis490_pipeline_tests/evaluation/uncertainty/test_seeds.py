import numpy as np
import pytest
from scipy import stats

from cis490_pipeline.evaluation.uncertainty.seeds import seed_summary


def reports(*scores):
    return [{"seed": seed, "macro_f1": score} for seed, score in enumerate(scores)]


def test_interval_over_seeds_is_scipys_t_interval():
    scores = [0.61, 0.64, 0.58, 0.66]

    told = seed_summary(reports(*scores))

    low, high = stats.t.interval(0.95, 3, np.mean(scores), stats.sem(scores))
    assert told["mean"] == pytest.approx(np.mean(scores))
    assert (told["ci_low"], told["ci_high"]) == pytest.approx((low, high))
    assert told["seeds"] == [0, 1, 2, 3]


def test_one_seed_has_no_interval_and_says_so():
    told = seed_summary(reports(0.6))

    assert (told["n_seeds"], told["mean"]) == (1, 0.6)
    assert told["sd"] is told["ci_low"] is told["ci_high"] is None
    assert told["ci_method"] == "none: needs two seeds"


def test_a_seed_without_a_score_is_counted_and_not_averaged():
    told = seed_summary(reports(0.5, None, 0.7))

    assert (told["n_seeds"], told["mean"]) == (3, pytest.approx(0.6))
