import json

import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import f1_score

from cis490_pipeline.errors import EvaluationError
from cis490_pipeline.evaluation.confusion import episode_confusions
from cis490_pipeline.evaluation.uncertainty.intervals import episode_interval
from cis490_pipeline.evaluation.uncertainty.resampling import resample_weights, swap_signs


def episodes(n_episodes, n_windows=20, seed=0):
    rng = np.random.default_rng(seed)
    ids = np.repeat([f"e{i:03d}" for i in range(n_episodes)], n_windows)
    y_true = rng.integers(5, size=ids.size)
    skill = np.repeat(rng.uniform(0.2, 0.95, size=n_episodes), n_windows)
    y_pred = np.where(rng.random(ids.size) < skill, y_true, rng.integers(5, size=ids.size))
    return y_true, y_pred, ids


def resampled_by_hand(y_true, y_pred, ids, *, seed, n_resamples):
    """Draw the same episodes, but gather their windows and ask scikit-learn."""
    names = np.unique(ids)
    rng = np.random.default_rng(seed)
    scores = []
    for weights in resample_weights(rng, names.size, n_resamples):
        for row in weights.astype(int):
            rows = np.concatenate(
                [np.flatnonzero(ids == names[e]) for e in np.repeat(np.arange(names.size), row)]
            )
            scores.append(
                f1_score(
                    y_true[rows], y_pred[rows], labels=range(5), average="macro", zero_division=0
                )
            )
    return np.array(scores)


def test_percentiles_are_those_of_scikit_learn_on_the_same_episodes():
    y_true, y_pred, ids = episodes(30)
    matrices = episode_confusions(y_true, y_pred, ids)

    interval = episode_interval(matrices.counts, seed=4, n_resamples=150)

    scores = resampled_by_hand(y_true, y_pred, ids, seed=4, n_resamples=150)
    assert interval.low == pytest.approx(np.quantile(scores, 0.025), abs=1e-12)
    assert interval.high == pytest.approx(np.quantile(scores, 0.975), abs=1e-12)
    assert interval.estimate == f1_score(y_true, y_pred, average="macro")
    assert (interval.n_episodes, interval.n_windows) == (30, 600)


@pytest.mark.parametrize("n_episodes", [2, 8, 29])
def test_below_thirty_episodes_it_is_a_t_interval_on_the_resamples_error(n_episodes):
    y_true, y_pred, ids = episodes(n_episodes)
    matrices = episode_confusions(y_true, y_pred, ids)

    interval = episode_interval(matrices.counts, seed=2, n_resamples=150)

    scores = resampled_by_hand(y_true, y_pred, ids, seed=2, n_resamples=150)
    reach = scores.std(ddof=1) * stats.t.ppf(0.975, n_episodes - 1)
    assert interval.high == pytest.approx(min(1, interval.estimate + reach), abs=1e-12)
    assert interval.low == pytest.approx(max(0, interval.estimate - reach), abs=1e-12)


def of_pooled(pooled):
    """Macro F1 of (..., 5, 5) matrices, written anew."""
    hits = np.diagonal(pooled, axis1=-2, axis2=-1)
    return (2 * hits / (pooled.sum(axis=-1) + pooled.sum(axis=-2))).mean(axis=-1)


def scipys(matrices, n_resamples, seed):
    """Its bootstrap over episodes; it draws the same ones from an equal generator."""

    def statistic(drawn, axis):
        return of_pooled(matrices[drawn].sum(axis=drawn.ndim - 1))

    return stats.bootstrap(
        (np.arange(len(matrices)),),
        statistic,
        vectorized=True,
        method="percentile",
        n_resamples=n_resamples,
        rng=np.random.default_rng(seed),
    ).confidence_interval


def test_it_is_scipys_bootstrap_over_episodes_from_thirty_on():
    matrices = episode_confusions(*episodes(30)).counts

    interval = episode_interval(matrices, seed=3, n_resamples=2000)

    wanted = scipys(matrices, 2000, 3)
    assert interval.low == pytest.approx(wanted.low, rel=0, abs=1e-12)
    assert interval.high == pytest.approx(wanted.high, rel=0, abs=1e-12)
    assert interval.method == "percentile bootstrap by episode"


def test_windows_said_twice_make_nobody_surer():
    matrices = episode_confusions(*episodes(30)).counts

    once, tenfold = (episode_interval(m, seed=1) for m in (matrices, 10 * matrices))

    assert (once.low, once.high) == (tenfold.low, tenfold.high)


def test_nominal_intervals_cover_the_truth_about_as_often_as_they_say():
    rng = np.random.default_rng(0)
    population = episode_confusions(*episodes(3000, n_windows=15, seed=9)).counts
    truth = episode_interval(population, seed=0, n_resamples=2).estimate

    covered = [
        (i := episode_interval(population[rng.choice(3000, 40)], seed=k, n_resamples=400)).low
        <= truth
        <= i.high
        for k in range(150)
    ]

    assert 0.88 <= np.mean(covered) <= 1.0


def test_equal_seeds_give_equal_intervals():
    matrices = episode_confusions(*episodes(30)).counts

    assert episode_interval(matrices, seed=7) == episode_interval(matrices, seed=7)


def test_a_single_episode_has_a_score_and_no_interval():
    matrices = episode_confusions(*episodes(1)).counts

    interval = episode_interval(matrices, seed=0).to_dict()

    assert interval["ci_low"] is None
    assert interval["macro_f1"] is not None
    assert interval["ci_method"] == "none: needs two episodes"


def test_nothing_to_score_is_null_in_json():
    interval = episode_interval(np.zeros((0, 5, 5), dtype=np.int64), seed=0)

    assert json.loads(json.dumps(interval.to_dict(), allow_nan=False))["macro_f1"] is None


def test_pooled_matrices_are_refused():
    with pytest.raises(EvaluationError, match=r"must be \(episodes, K, K\), got \(5, 5\)"):
        episode_interval(np.eye(5, dtype=np.int64), seed=0)


@pytest.mark.parametrize("n_episodes", [1, 7, 900])
def test_every_resample_draws_as_many_episodes_as_there_are(n_episodes):
    chunks = list(resample_weights(np.random.default_rng(0), n_episodes, 3000))

    weights = np.concatenate(chunks)
    assert weights.shape == (3000, n_episodes)
    assert (weights.sum(axis=1) == n_episodes).all()


def test_memory_is_bounded_by_chunks_however_many_episodes():
    first = next(iter(resample_weights(np.random.default_rng(0), 100_000, 10_000)))

    assert first.nbytes <= 16_000_000


def test_swaps_are_fair_coins():
    signs = np.concatenate(list(swap_signs(np.random.default_rng(0), 50, 4000)))

    assert set(np.unique(signs)) == {0, 1}
    assert signs.mean() == pytest.approx(0.5, abs=0.01)
