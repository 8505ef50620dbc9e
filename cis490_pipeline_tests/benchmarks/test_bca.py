import numpy as np
import pytest
from scipy import stats

from benchmarks.bca import bca_ends, macro_f1_ends
from benchmarks.made_episodes import Population, draw_ease, draw_windows
from cis490_pipeline.evaluation.confusion import episode_confusions, macro_f1_over, seen_classes


def matrices_of(n_episodes, seed=0):
    rng = np.random.default_rng(seed)
    y_true, episode = draw_windows(rng, n_episodes)
    y_pred = Population(0.1).predicted(rng, y_true, draw_ease(rng, n_episodes)[episode])
    return episode_confusions(y_true, y_pred, episode).counts


def scipys(matrices, method, n_resamples, seed):
    """Its bootstrap over episodes; it draws the same ones from an equal generator."""
    labels = seen_classes(matrices.sum(axis=0))

    def statistic(drawn, axis):
        return macro_f1_over(matrices[drawn].sum(axis=drawn.ndim - 1), labels)

    return stats.bootstrap(
        (np.arange(len(matrices)),),
        statistic,
        vectorized=True,
        method=method,
        n_resamples=n_resamples,
        rng=np.random.default_rng(seed),
    ).confidence_interval


@pytest.mark.parametrize(("ours", "theirs"), [("percentile", "percentile"), ("bca", "BCa")])
@pytest.mark.parametrize("n_episodes", [6, 25, 60])
@pytest.mark.parametrize("seed", range(5))
def test_it_is_scipys_bootstrap_over_episodes_on_the_same_draws(ours, theirs, n_episodes, seed):
    matrices = matrices_of(n_episodes, seed)

    ends = macro_f1_ends(matrices, ours, seed=seed, n_resamples=500)

    wanted = scipys(matrices, theirs, 500, seed)
    assert ends == pytest.approx((wanted.low, wanted.high), rel=0, abs=1e-12)


def test_bca_of_episodes_that_are_all_alike_falls_back_to_percentiles():
    matrices = np.tile(matrices_of(1), (30, 1, 1))

    bca, percentile = (
        macro_f1_ends(matrices, method, seed=0, n_resamples=200) for method in ("bca", "percentile")
    )

    assert bca == percentile


@pytest.mark.parametrize(
    ("resamples", "left_out", "why"),
    [
        (np.full(50, 0.7), np.array([0.4, 0.5, 0.6]), "one side of the estimate"),
        (np.linspace(0, 1, 50), np.full(3, 0.5), "no episode changes the score"),
        (np.eye(1, 9999)[0], np.append(np.full(999, 0.5), -5.0), "acceleration is too strong"),
    ],
)
def test_where_bca_is_undefined_it_says_why(resamples, left_out, why):
    assert why in bca_ends(resamples, 0.5, left_out, 0.9999)
