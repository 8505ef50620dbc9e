import numpy as np
import pytest
from sklearn import metrics

from cis490_pipeline.evaluation.metrics.probability_scores import brier, calibration_error, log_loss


def random_case(n=400, seed=0):
    rng = np.random.default_rng(seed)
    proba = rng.dirichlet(np.full(5, 0.7), size=n)
    return np.array([rng.choice(5, p=row) for row in proba]), proba


def test_log_loss_is_scikit_learns():
    y, proba = random_case()

    assert log_loss(y, proba) == pytest.approx(metrics.log_loss(y, proba, labels=range(5)))


def test_brier_of_two_classes_is_twice_scikit_learns():
    rng = np.random.default_rng(0)
    p, y = rng.random(100), rng.integers(2, size=100)

    both = np.column_stack([1 - p, p])

    assert brier(y, both) == pytest.approx(2 * metrics.brier_score_loss(y, p))


def test_probabilities_that_mean_what_they_say_have_little_calibration_error():
    assert calibration_error(*random_case(n=20_000)) < 0.02


def test_certainty_that_is_wrong_has_an_error_of_one():
    assert calibration_error(np.ones(30, dtype=int), np.tile([1.0, 0.0], (30, 1))) == 1.0


def test_calibration_error_by_hand():
    proba = np.array([[0.6, 0.4], [0.6, 0.4], [0.9, 0.1], [0.9, 0.1]])

    # Two bins: .6 said and .5 right; .9 said and 1 right.
    assert calibration_error(np.array([0, 1, 0, 0]), proba, n_bins=2) == pytest.approx(0.1)


@pytest.mark.parametrize("measure", [brier, log_loss, calibration_error])
def test_without_windows_nothing_is_defined(measure):
    assert np.isnan(measure(np.zeros(0, dtype=int), np.zeros((0, 5))))
