import warnings

import numpy as np
import pytest
from sklearn import metrics

from cis490_pipeline.errors import EvaluationError
from cis490_pipeline.evaluation.confusion import (
    accuracy,
    balanced_accuracy,
    class_scores,
    confusion,
    episode_confusions,
    macro_f1,
    macro_f1_over,
    matthews,
    seen_classes,
)

CASES = range(2000)
BLOCK = 100


def random_case(seed):
    """Few windows and skewed classes: absent classes are the common case."""
    rng = np.random.default_rng(seed)
    n = int(rng.integers(1, 40))
    weights = rng.dirichlet(np.full(5, 0.4))
    y_true = rng.choice(5, size=n, p=weights)
    y_pred = np.where(rng.random(n) < 0.6, y_true, rng.choice(5, size=n, p=weights[::-1]))
    return y_true, y_pred


@pytest.mark.parametrize("start", CASES[::BLOCK])
def test_macro_f1_is_scikit_learns_to_the_last_bit(start):
    cases = [random_case(seed) for seed in CASES[start : start + BLOCK]]

    expected = [metrics.f1_score(*case, average="macro", zero_division=0) for case in cases]

    assert [macro_f1(confusion(*case)) for case in cases] == expected


@pytest.mark.parametrize("seed", range(100))
def test_other_scores_are_scikit_learns(seed):
    y_true, y_pred = random_case(seed)
    matrix = confusion(y_true, y_pred)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        expected = [
            metrics.accuracy_score(y_true, y_pred),
            metrics.balanced_accuracy_score(y_true, y_pred),
            metrics.matthews_corrcoef(y_true, y_pred),
        ]

    got = [accuracy(matrix), balanced_accuracy(matrix), matthews(matrix)]
    np.testing.assert_allclose(got, expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("seed", range(50))
def test_class_scores_are_scikit_learns_and_undefined_ones_are_nan(seed):
    y_true, y_pred = random_case(seed)

    precision, recall, f1, support = metrics.precision_recall_fscore_support(
        y_true, y_pred, labels=range(5), zero_division=np.nan
    )

    scores = class_scores(confusion(y_true, y_pred))
    np.testing.assert_allclose(scores.precision, precision)
    np.testing.assert_allclose(scores.recall, recall)
    np.testing.assert_allclose(scores.f1, f1)
    np.testing.assert_array_equal(scores.support, support)


def test_an_absent_class_is_no_part_of_the_average():
    # Fixed labels with zero_division=1 would say (0 + 2/3 + 1) / 3 here.
    matrix = confusion([0, 1], [1, 1], n_classes=3)

    assert macro_f1(matrix) == pytest.approx((0 + 2 / 3) / 2)


def test_without_windows_every_score_is_nan():
    empty = np.zeros((5, 5), dtype=np.int64)

    scores = [macro_f1(empty), accuracy(empty), balanced_accuracy(empty), matthews(empty)]
    assert np.isnan(scores).all()


def test_a_frozen_label_set_counts_a_class_the_resample_missed_as_zero():
    matrix = np.diag([3, 0, 2])

    assert macro_f1_over(matrix, np.array([True, True, True])) == pytest.approx(2 / 3)


def test_matrices_of_episodes_add_up_to_the_whole():
    rng = np.random.default_rng(0)
    y_true, y_pred = rng.integers(5, size=(2, 300))
    ids = rng.choice(["b", "a", "c"], size=300)

    matrices = episode_confusions(y_true, y_pred, ids)

    np.testing.assert_array_equal(matrices.pooled, confusion(y_true, y_pred))
    assert matrices.episode_ids.tolist() == ["a", "b", "c"]
    np.testing.assert_array_equal(
        matrices.counts[0], confusion(y_true[ids == "a"], y_pred[ids == "a"])
    )


def test_many_matrices_are_scored_as_one_by_one():
    rng = np.random.default_rng(1)
    stacked = rng.integers(0, 9, size=(6, 5, 5))
    labels = np.ones(5, dtype=bool)

    np.testing.assert_array_equal(macro_f1_over(stacked, labels), [macro_f1(m) for m in stacked])
    np.testing.assert_array_equal(seen_classes(stacked)[0], seen_classes(stacked[0]))


@pytest.mark.parametrize(("y_true", "y_pred"), [([5], [0]), ([0], [-1])])
def test_an_index_that_is_no_class_is_refused(y_true, y_pred):
    with pytest.raises(EvaluationError, match="classes are 0 to 4"):
        confusion(y_true, y_pred)


def test_truth_and_prediction_of_different_lengths_are_refused():
    with pytest.raises(EvaluationError, match="3 truths, 2 predictions"):
        confusion([0, 1, 2], [0, 1])
