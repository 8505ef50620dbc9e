import math

import numpy as np
import pytest
from scipy import stats

from cis490_pipeline.errors import EvaluationError
from cis490_pipeline.evaluation.uncertainty.rates import (
    hourly_dict,
    poisson_bounds,
    predictive_value,
    rate_dict,
    share_dict,
    wilson,
)


@pytest.mark.parametrize(("hits", "n"), [(0, 7), (3, 7), (7, 7), (19, 26), (980, 1000)])
def test_wilson_is_its_closed_form(hits, n):
    z, p = stats.norm.ppf(0.975), hits / n
    middle = (p + z**2 / (2 * n)) / (1 + z**2 / n)
    reach = z / (1 + z**2 / n) * math.sqrt(p * (1 - p) / n + z**2 / (4 * n**2))

    bounds = wilson(hits, n)

    assert (bounds.low, bounds.high) == pytest.approx((middle - reach, middle + reach), abs=1e-12)


@pytest.mark.parametrize("n", [0, 1, 4, 30])
def test_poisson_bounds_are_the_means_at_which_the_count_is_just_as_rare_as_allowed(n):
    bounds = poisson_bounds(n, exposure=2.0)

    assert stats.poisson.cdf(n, bounds.high * 2) == pytest.approx(0.025)
    if n:
        assert stats.poisson.sf(n - 1, bounds.low * 2) == pytest.approx(0.025)
    else:
        assert bounds.low == 0


@pytest.mark.parametrize("mean", [0.2, 1.0, 3.7, 12.0])
def test_poisson_bounds_cover_in_at_least_the_stated_share(mean):
    counts = np.arange(60)
    inside = [(b := poisson_bounds(int(k), 1.0)).low <= mean <= b.high for k in counts]

    assert stats.poisson.pmf(counts, mean)[inside].sum() >= 0.95


def test_a_rate_needs_three_events():
    few, enough = rate_dict(2, 0.5), rate_dict(3, 0.5)

    assert few["per_day"] is None
    assert "2 in 0.5000 device-days" in few["why"]
    assert few["high"] == pytest.approx(stats.chi2.ppf(0.975, 6) / 2 / 0.5)
    assert (enough["per_day"], enough["why"]) == (6.0, None)


def test_without_clean_time_there_is_no_rate_and_no_bound():
    found = rate_dict(0, 0.0)

    assert (found["per_day"], found["low"], found["high"]) == (None, None, None)
    assert "no clean device-time" in found["why"]


def test_a_share_of_nothing_is_null():
    assert share_dict(0, 0) == {"share": None, "low": None, "high": None, "why": "there is none"}


def test_few_alarms_are_true_where_infections_are_rare():
    # One infection in 100 days, half of them found, one false alarm in two days: .005 of .505.
    assert predictive_value(0.01, 0.5, 0.5) == pytest.approx(0.005 / 0.505)
    assert predictive_value(0.01, 0.0, 0.0) is None


@pytest.mark.parametrize(("hits", "n"), [(1, 0), (3, 2), (-1, 2)])
def test_a_share_that_cannot_be_is_refused(hits, n):
    with pytest.raises(EvaluationError, match="a share needs"):
        wilson(hits, n)


@pytest.mark.parametrize(("n", "exposure"), [(1, 0.0), (-1, 1.0), (1, float("inf"))])
def test_a_rate_that_cannot_be_is_refused(n, exposure):
    with pytest.raises(EvaluationError, match="a rate needs an exposure"):
        poisson_bounds(n, exposure)


@pytest.mark.parametrize(("n", "hours"), [(0, 6.0), (6, 6.0), (40, 3.5)])
def test_the_upper_bound_is_the_mean_at_which_so_few_have_probability_five_percent(n, hours):
    found = hourly_dict(n, hours)

    assert stats.poisson.cdf(n, found["upper"] * hours) == pytest.approx(0.05)
    assert found["low"] <= found["per_hour"] == n / hours < found["upper"] < found["high"]


def test_no_hour_has_no_hourly_rate():
    found = hourly_dict(0, 0.0)

    assert (found["per_hour"], found["upper"]) == (None, None)
    assert found["why"] == "n/a: no clean device-time was watched"
