"""Doubt as a score for what was never trained on."""

import numpy as np
import pytest
from scipy.stats import entropy
from sklearn.metrics import roc_auc_score

from cis490_pipeline.errors import EvaluationError
from cis490_pipeline.evaluation.generalization.out_of_distribution import (
    energy_score,
    episode_auroc,
    max_softmax_score,
    share_of,
)


def made_up(rng, n_episodes, shift=0.0):
    sizes = rng.integers(1, 9, n_episodes)
    episodes = np.repeat([f"e{i:03d}" for i in range(n_episodes)], sizes)
    level = np.repeat(rng.normal(shift, 1, n_episodes), sizes)
    # Rounded, so that there are ties.
    return np.round(level + rng.normal(0, 1, sizes.sum()), 1), episodes


@pytest.mark.parametrize("seed", range(25))
def test_area_is_scikit_learns(seed):
    rng = np.random.default_rng(seed)
    novel, novel_episodes = made_up(rng, int(rng.integers(1, 12)), 0.5)
    known, known_episodes = made_up(rng, int(rng.integers(1, 12)))

    found = episode_auroc(novel, novel_episodes, known, known_episodes, seed=0, n_resamples=50)

    truth = np.r_[np.ones(novel.size), np.zeros(known.size)]
    assert found["auroc"] == pytest.approx(roc_auc_score(truth, np.r_[novel, known]), abs=1e-12)


def test_resampled_areas_are_those_of_the_drawn_episodes():
    rng = np.random.default_rng(7)
    novel, of_novel = made_up(rng, 30, 0.5)
    known, of_known = made_up(rng, 30)

    found = episode_auroc(novel, of_novel, known, of_known, seed=3, n_resamples=400)

    draws = np.random.default_rng(11)
    areas = []
    for _ in range(400):
        parts = [
            np.concatenate([scores[names == name] for name in draws.choice(np.unique(names), 30)])
            for scores, names in ((novel, of_novel), (known, of_known))
        ]
        truth = np.r_[np.ones(parts[0].size), np.zeros(parts[1].size)]
        areas.append(roc_auc_score(truth, np.concatenate(parts)))
    low, high = np.quantile(areas, (0.025, 0.975))
    assert (found["ci_low"], found["ci_high"]) == pytest.approx((low, high), abs=0.02)


def test_one_episode_has_an_area_and_no_interval():
    names = np.array(["a", "a"])

    found = episode_auroc(np.array([2.0, 3.0]), names, np.array([1.0, 2.0]), names, seed=0)

    assert found["auroc"] == 0.875
    assert (found["ci_low"], found["ci_high"]) == (None, None)
    assert "two episodes" in found["why"]


def test_without_novel_windows_there_is_nothing_to_tell():
    none, names = np.zeros(0), np.zeros(0, dtype=np.str_)

    found = episode_auroc(none, names, np.ones(2), np.array(["a", "b"]), seed=0)

    assert (found["auroc"], found["why"]) == (None, "there is no novel window")


def test_a_score_that_is_no_number_is_refused():
    with pytest.raises(EvaluationError, match="known: the score of window 1 is nan"):
        episode_auroc(
            np.ones(1), np.array(["a"]), np.array([1.0, np.nan]), np.array(["b", "b"]), seed=0
        )


def test_energy_of_equal_logits_is_minus_level_minus_log_of_classes():
    assert energy_score(np.full((1, 5), 2.0)) == pytest.approx(-2 - np.log(5))
    assert energy_score(np.full((1, 5), 2.0), 2.0) == pytest.approx(-2 - 2 * np.log(5))


def test_doubt_is_least_where_one_phase_is_certain():
    proba = np.array([[1.0, 0, 0, 0, 0], [0.2] * 5, [0.6, 0.4, 0, 0, 0]])

    assert max_softmax_score(proba) == pytest.approx([0.0, 0.8, 0.4])
    assert np.argsort(max_softmax_score(proba)).tolist() == np.argsort(entropy(proba.T)).tolist()


def test_wilsons_interval_of_five_in_ten():
    found = share_of(5, 10)

    assert (found["share_low"], found["share_high"]) == pytest.approx((0.2366, 0.7634), abs=1e-4)


def test_a_share_of_nothing_is_null():
    assert share_of(0, 0)["share"] is None
