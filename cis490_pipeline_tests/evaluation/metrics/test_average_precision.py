import numpy as np
import pytest
from sklearn.metrics import average_precision_score

from cis490_pipeline.evaluation.metrics.average_precision import average_precision


@pytest.mark.parametrize("n_levels", [2, 7, 10_000])
@pytest.mark.parametrize("seed", range(20))
def test_it_is_scikit_learns_also_with_equal_scores(seed, n_levels):
    rng = np.random.default_rng(seed)
    n = int(rng.integers(2, 120))
    is_phase = rng.random(n) < 0.3
    is_phase[0] = True
    score = rng.integers(n_levels, size=n) / n_levels

    wanted = average_precision_score(is_phase, score)

    assert average_precision(is_phase, score) == pytest.approx(wanted, abs=1e-12)


def test_one_score_for_all_has_the_prevalence():
    assert average_precision(np.array([True, False, False, False]), np.full(4, 0.5)) == 0.25


@pytest.mark.parametrize("n", [0, 3])
def test_without_a_window_of_the_phase_it_is_undefined(n):
    assert np.isnan(average_precision(np.zeros(n, dtype=bool), np.zeros(n)))
