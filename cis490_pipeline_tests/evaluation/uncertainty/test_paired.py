from itertools import product

import numpy as np
import pytest
from scipy import stats

from cis490_pipeline.errors import EvaluationError
from cis490_pipeline.evaluation.confusion import episode_confusions, macro_f1
from cis490_pipeline.evaluation.uncertainty.paired import compare, holm, require_identical_windows
from cis490_pipeline_tests.evaluation.made_up import predictions, windows


def two_models(rng, n_episodes=12, skills=(0.6, 0.6), n_windows=12):
    ids = np.repeat([f"e{i:03d}" for i in range(n_episodes)], n_windows)
    y_true = rng.integers(5, size=ids.size)
    wrong = rng.integers(5, size=(2, ids.size))
    guesses = [
        np.where(rng.random(ids.size) < s, y_true, w) for s, w in zip(skills, wrong, strict=True)
    ]
    return [episode_confusions(y_true, y_pred, ids).counts for y_pred in guesses]


def test_a_model_does_not_differ_from_itself():
    first, _ = two_models(np.random.default_rng(0))

    paired = compare(first, first, seed=0)

    assert (paired.difference, paired.low, paired.high, paired.p_value) == (0, 0, 0, 1)


def test_the_p_value_is_the_share_of_all_swaps_that_go_as_far():
    first, second = two_models(np.random.default_rng(3), n_episodes=6, skills=(0.8, 0.55))
    differences = [
        macro_f1(np.where(kept, first, second).sum(axis=0))
        - macro_f1(np.where(kept, second, first).sum(axis=0))
        for kept in (np.array(s).reshape(-1, 1, 1) for s in product([True, False], repeat=6))
    ]

    exact = np.mean(np.abs(differences) >= abs(differences[0]) - 1e-12)

    assert compare(first, second, seed=0).p_value == pytest.approx(exact, abs=0.015)


def test_two_episodes_that_both_prefer_one_model_can_show_no_more_than_a_half():
    better, worse = np.diag([4, 4]), np.array([[2, 2], [2, 2]])

    paired = compare(np.stack([better, better]), np.stack([worse, worse]), seed=0)

    # Of the four ways to swap, keeping both and swapping both go as far.
    assert paired.difference == 0.5
    assert paired.p_value == pytest.approx(0.5, abs=0.02)


def test_p_values_of_equal_models_are_uniform():
    rng = np.random.default_rng(5)

    p_values = [
        compare(*two_models(rng, n_episodes=20), seed=k, n_resamples=300).p_value
        for k in range(200)
    ]

    assert stats.kstest(p_values, "uniform").pvalue > 0.01
    assert np.mean(np.array(p_values) <= 0.05) <= 0.1


def test_a_clear_difference_is_shown_and_its_sign_is_firsts_gain():
    first, second = two_models(np.random.default_rng(1), n_episodes=30, skills=(0.9, 0.5))

    paired = compare(first, second, seed=0)

    assert 0 < paired.low < paired.difference < paired.high
    assert paired.p_value < 0.001


def test_exchanging_the_models_turns_the_sign_and_keeps_the_p_value():
    first, second = two_models(np.random.default_rng(2), n_episodes=30, skills=(0.7, 0.6))

    one, other = compare(first, second, seed=0), compare(second, first, seed=0)

    assert one.difference == -other.difference
    assert (one.low, one.high) == pytest.approx((-other.high, -other.low))
    assert one.p_value == pytest.approx(other.p_value, abs=0.02)


def test_a_class_only_one_model_predicts_counts_for_both():
    first = np.array([[[2, 0], [0, 0]]] * 2)
    second = np.array([[[1, 1], [0, 0]]] * 2)

    # Over both classes: first has 1 and 0, second 2/3 and 0.
    assert compare(first, second, seed=0).difference == pytest.approx((1 - 2 / 3) / 2)


def test_a_single_episode_is_not_tested():
    first, second = two_models(np.random.default_rng(0), n_episodes=1)

    assert compare(first, second, seed=0).to_dict()["p_value"] is None


def test_matrices_of_other_windows_are_refused():
    first, _ = two_models(np.random.default_rng(0))
    second, _ = two_models(np.random.default_rng(1))

    with pytest.raises(EvaluationError, match="12 of 12 episodes have other true classes"):
        compare(first, second, seed=0)


def test_other_numbers_of_episodes_are_refused():
    first, second = two_models(np.random.default_rng(0))

    with pytest.raises(EvaluationError, match="need the same episodes"):
        compare(first, second[1:], seed=0)


def test_predictions_of_other_windows_are_refused_by_name():
    keys = windows()
    frames = {
        "gbt_oracle": predictions(keys, skill=1),
        "cnn_oracle": predictions(keys.head(40), skill=1),
    }

    with pytest.raises(EvaluationError, match=r"gbt_oracle \(120 windows\) and cnn_oracle \(40\)"):
        require_identical_windows(frames)


def test_the_order_of_the_windows_does_not_matter():
    keys = windows()
    frame = predictions(keys, skill=1)

    require_identical_windows({"a": frame, "b": frame.reverse()})


@pytest.mark.parametrize(
    ("raw", "adjusted"),
    [
        ([0.01, 0.02, 0.03], [0.03, 0.04, 0.04]),
        ([0.04, 0.01, 0.03, 0.005], [0.06, 0.03, 0.06, 0.02]),
        ([0.5, 0.6], [1.0, 1.0]),
        ([0.01, float("nan"), 0.04], [0.02, float("nan"), 0.04]),
        ([], []),
    ],
)
def test_holm_gives_the_values_worked_out_by_hand(raw, adjusted):
    assert holm(raw) == pytest.approx(adjusted, nan_ok=True)
