import numpy as np
import pytest

from cis490_pipeline.errors import EvaluationError
from cis490_pipeline.evaluation.uncertainty.survival import time_to_event

# Remission under 6-mercaptopurine, weeks (Freireich et al. 1963), as every textbook has it.
RELAPSE = [6, 6, 6, 7, 10, 13, 16, 22, 23]
IN_REMISSION = [6, 9, 10, 11, 17, 19, 20, 25, 32, 32, 34, 35]


def test_the_curve_is_the_textbooks():
    curve = time_to_event(RELAPSE, IN_REMISSION)

    assert curve.t.tolist() == [6, 7, 10, 13, 16, 22, 23]
    np.testing.assert_allclose(
        1 - curve.share, [0.857, 0.807, 0.753, 0.690, 0.627, 0.538, 0.448], atol=5e-4
    )
    assert curve.quantile(0.5) == 23


def test_its_interval_is_greenwoods_on_the_log_log_scale():
    curve = time_to_event(RELAPSE, IN_REMISSION)

    # At 6 weeks: S = 18/21, variance of log S = 3 / (21 × 18).
    s, z = 18 / 21, 1.959963984540054
    reach = z * np.sqrt(3 / (21 * 18)) / np.log(s)
    assert curve.low[0] == pytest.approx(1 - s ** np.exp(reach))
    assert curve.high[0] == pytest.approx(1 - s ** np.exp(-reach))


def test_by_hand_with_a_censored_time_between():
    curve = time_to_event([5, 10], [7, 20])

    # A quarter by 5; of the two left after 7 one more by 10.
    assert curve.share.tolist() == pytest.approx([1 / 4, 1 - 3 / 4 * 1 / 2])
    assert (curve.quantile(0.5), curve.quantile(0.9)) == (10, None)


def test_without_censoring_the_curve_is_the_share():
    times = [4.0, 1.0, 3.0, 2.0]

    assert time_to_event(times, []).share.tolist() == pytest.approx([0.25, 0.5, 0.75, 1.0])
    assert time_to_event(times, []).quantile(0.5) == 2.0


def test_what_never_happened_has_no_curve():
    curve = time_to_event([], [5.0, 9.0])

    assert (curve.points(), curve.quantile(0.5)) == ([], None)


def test_the_interval_of_the_median_holds_the_median():
    rng = np.random.default_rng(0)
    curve = time_to_event(rng.exponential(10, 80).tolist(), rng.exponential(20, 40).tolist())

    low, high = curve.quantile_bounds(0.5)
    assert low < curve.quantile(0.5) < high


def test_a_long_curve_is_told_in_fifty_points_that_keep_its_ends():
    points = time_to_event(np.arange(1, 301).tolist(), []).points()

    assert len(points) == 50
    assert (points[0]["t_s"], points[-1]["t_s"]) == (1, 300)
    assert points[-1]["low"] is None


@pytest.mark.parametrize("times", [[-1.0], [float("nan")], [float("inf")]])
def test_times_that_cannot_be_are_refused(times):
    with pytest.raises(EvaluationError, match="finite and 0 or more"):
        time_to_event(times, [])
