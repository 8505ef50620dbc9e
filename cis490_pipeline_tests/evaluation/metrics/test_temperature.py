import numpy as np
import pytest
from scipy.optimize import brentq
from scipy.special import softmax

from cis490_pipeline.errors import EvaluationError
from cis490_pipeline.evaluation.metrics.probability_scores import log_loss
from cis490_pipeline.evaluation.metrics.temperature import (
    COLDEST,
    HOTTEST,
    fit_temperature,
    tempered,
)


def honest(n=20_000, seed=0):
    """Classes drawn by exactly the probabilities that are said."""
    rng = np.random.default_rng(seed)
    logits = 2 * rng.normal(size=(n, 5))
    proba = softmax(logits, axis=1)
    return (rng.random((n, 1)) > proba.cumsum(axis=1)).sum(axis=1), logits, proba


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.5])
def test_the_temperature_that_spoilt_honest_probabilities_is_found(temperature):
    y_true, logits, proba = honest()
    spoilt = softmax(logits / temperature, axis=1)

    found = fit_temperature(y_true, spoilt)

    assert 1 / found == pytest.approx(temperature, rel=0.05)
    np.testing.assert_allclose(tempered(spoilt, 1 / temperature), proba, atol=1e-9)


@pytest.mark.parametrize("seed", range(5))
def test_it_is_where_the_slope_of_the_log_loss_is_zero(seed):
    y_true, logits, _ = honest(n=300, seed=seed)
    proba = softmax(1.7 * logits, axis=1)
    log_p = np.log(proba)

    def slope(beta):
        weights = softmax(beta * log_p, axis=1)
        return ((weights * log_p).sum(axis=1) - log_p[np.arange(y_true.size), y_true]).mean()

    assert fit_temperature(y_true, proba) == pytest.approx(1 / brentq(slope, 0.05, 20), rel=1e-4)


def test_a_temperature_of_one_changes_nothing_and_none_changes_the_ranking():
    _, _, proba = honest(n=200)

    np.testing.assert_allclose(tempered(proba, 1.0), proba, atol=1e-12)
    for temperature in (COLDEST, 0.5, 3.0, HOTTEST):
        changed = tempered(proba, temperature)
        np.testing.assert_array_equal(changed.argmax(axis=1), proba.argmax(axis=1))
        np.testing.assert_allclose(changed.sum(axis=1), 1)


def test_it_never_makes_the_windows_it_is_fitted_on_worse():
    y_true, _, proba = honest(n=30, seed=3)

    fitted = tempered(proba, fit_temperature(y_true, proba))

    assert log_loss(y_true, fitted) <= log_loss(y_true, proba)


def test_what_is_always_right_stays_within_bounds():
    proba = np.tile([0.6, 0.4], (10, 1))

    assert fit_temperature(np.zeros(10, dtype=int), proba) == pytest.approx(COLDEST, rel=1e-3)


def test_uniform_guesses_have_no_better_temperature():
    assert fit_temperature(np.arange(5), np.full((5, 5), 0.2)) == 1.0


def test_a_probability_of_zero_has_a_temperature_too():
    proba = np.array([[1.0, 0.0], [1.0, 0.0], [0.9, 0.1]])

    assert np.isfinite(fit_temperature(np.array([0, 1, 0]), proba))


def test_without_windows_nothing_is_fitted():
    with pytest.raises(EvaluationError, match="there are none"):
        fit_temperature(np.zeros(0, dtype=int), np.zeros((0, 5)))
