"""The area under a score over time."""

import numpy as np
import pytest
from scipy.integrate import trapezoid

from cis490_pipeline.errors import EvaluationError
from cis490_pipeline.evaluation.generalization.area_under_time import area_under_time, decay
from cis490_pipeline.evaluation.uncertainty.intervals import episode_interval


def episodes(rng, n, right=0.7):
    counts = np.zeros((n, 5, 5), dtype=np.int64)
    for matrix in counts:
        for true in range(5):
            for _ in range(4):
                matrix[true, true if rng.random() < right else rng.integers(5)] += 1
    return counts


@pytest.mark.parametrize("n_slots", [2, 3, 7])
def test_area_is_scipys_trapezoid_over_the_time(n_slots):
    scores = np.random.default_rng(n_slots).random(n_slots)

    assert area_under_time(scores) == pytest.approx(trapezoid(scores) / (n_slots - 1))


def test_a_constant_score_is_its_own_area():
    assert area_under_time([0.3] * 6) == pytest.approx(0.3)


def test_one_slot_has_no_area():
    with pytest.raises(EvaluationError, match="needs two slots, got 1"):
        area_under_time([0.3])


def test_each_slot_has_its_own_interval_and_the_area_lies_in_one():
    rng = np.random.default_rng(0)
    slots = [episodes(rng, 8, right) for right in (0.9, 0.6, 0.4)]

    scored, found = decay(slots, seed=4)

    assert scored == [episode_interval(m, seed=4).to_dict() for m in slots]
    scores = [row["macro_f1"] for row in scored]
    assert found["aut"] == pytest.approx(area_under_time(scores))
    assert found["ci_low"] < found["aut"] < found["ci_high"]
    assert (found["n_episodes"], found["n_windows"]) == (24, 480)


def test_a_slot_of_one_episode_leaves_the_area_without_an_interval():
    rng = np.random.default_rng(0)

    _, found = decay([episodes(rng, 1), episodes(rng, 3)], seed=0)

    assert found["aut"] is not None
    assert (found["ci_low"], found["why"]) == (None, "an interval needs two episodes in each slot")
