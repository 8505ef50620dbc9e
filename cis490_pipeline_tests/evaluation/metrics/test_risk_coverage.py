import numpy as np
import pytest

from cis490_pipeline.evaluation.metrics.risk_coverage import MAX_POINTS, risk_coverage


def random_case(n, seed):
    rng = np.random.default_rng(seed)
    proba = rng.dirichlet(np.ones(5), size=n)
    return rng.integers(5, size=n), proba


def test_risk_by_hand():
    proba = np.array([[0.9, 0.1], [0.8, 0.2], [0.7, 0.3], [0.6, 0.4]])

    # The second most confident is wrong, and the last: 0, 1/2, 1/3, 2/4.
    curve = risk_coverage(np.array([0, 1, 0, 1]), proba)

    assert curve.risk == pytest.approx([0, 1 / 2, 1 / 3, 1 / 2])
    assert curve.area == pytest.approx((0 + 1 / 2 + 1 / 3 + 1 / 2) / 4)
    np.testing.assert_allclose(curve.points(), [(0.25, 0), (0.5, 0.5), (0.75, 1 / 3), (1, 0.5)])


@pytest.mark.parametrize("seed", range(10))
def test_risk_is_the_share_of_mistakes_among_the_most_confident(seed):
    y_true, proba = random_case(73, seed)
    order = np.argsort(-proba.max(axis=1))

    curve = risk_coverage(y_true, proba)

    wanted = [np.mean(proba[order[:k]].argmax(axis=1) != y_true[order[:k]]) for k in range(1, 74)]
    np.testing.assert_allclose(curve.risk, wanted)
    assert curve.area == pytest.approx(np.mean(wanted))


def test_windows_of_equal_confidence_count_alike_in_any_order():
    y_true = np.array([0, 1, 0, 1, 0])
    proba = np.tile([0.7, 0.3], (5, 1))

    curves = [risk_coverage(y_true[order], proba) for order in (range(5), [1, 3, 0, 2, 4])]

    for curve in curves:
        np.testing.assert_allclose(curve.risk, 0.4)


def test_a_long_curve_is_drawn_with_few_points_that_end_at_all_windows():
    y_true, proba = random_case(1234, 0)

    points = risk_coverage(y_true, proba).points()

    assert len(points) == MAX_POINTS
    assert points[-1] == (1.0, pytest.approx(np.mean(proba.argmax(axis=1) != y_true)))
    coverages = [coverage for coverage, _ in points]
    np.testing.assert_allclose(np.diff(coverages), 1 / MAX_POINTS, atol=1 / 1234)


def test_without_windows_there_is_no_curve():
    curve = risk_coverage(np.zeros(0, dtype=int), np.zeros((0, 5)))

    assert np.isnan(curve.area)
    assert curve.points() == []
