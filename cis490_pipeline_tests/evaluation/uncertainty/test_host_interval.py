import numpy as np
import pytest

from cis490_pipeline.errors import EvaluationError
from cis490_pipeline.evaluation.uncertainty.host_interval import (
    METHOD,
    host_interval,
    host_weights,
)
from cis490_pipeline.evaluation.uncertainty.intervals import episode_interval

HOSTS = [f"host-{k}" for k in range(6) for _ in range(8)]


def matrices(skill_of_host, rng=None):
    """One matrix for each of 48 episodes, whose share of right windows is its host's."""
    rng = rng or np.random.default_rng(0)
    counts = np.zeros((len(HOSTS), 2, 2), dtype=np.int64)
    for k, host in enumerate(HOSTS):
        right = rng.binomial(20, skill_of_host[int(host.removeprefix("host-"))], size=2)
        counts[k] = [[right[0], 20 - right[0]], [20 - right[1], right[1]]]
    return counts


def test_hosts_are_drawn_with_replacement_and_give_as_many_episodes_as_they_have():
    host_of = np.array([0, 0, 0, 1, 2, 2])
    sizes = np.array([3, 1, 2])

    weights = np.concatenate(list(host_weights(np.random.default_rng(0), host_of, 2000)))

    drawn = np.stack([weights[:, host_of == k].sum(axis=1) for k in range(3)], axis=1) / sizes
    np.testing.assert_array_equal(drawn, drawn.round())
    np.testing.assert_array_equal(drawn.sum(axis=1), 3)
    np.testing.assert_allclose(weights.mean(axis=0), 1, atol=0.1)


def test_it_equals_drawing_hosts_and_then_episodes_one_by_one():
    counts = matrices([0.9, 0.5, 0.8, 0.6, 0.95, 0.7])
    rng, of_host = np.random.default_rng(1), np.repeat(np.arange(6), 8)
    scores = []
    for _ in range(1500):
        hosts = rng.integers(6, size=6)
        episodes = np.concatenate([rng.choice(np.flatnonzero(of_host == h), 8) for h in hosts])
        (a, b), (c, d) = counts[episodes].sum(axis=0)
        scores.append((2 * a / (2 * a + b + c) + 2 * d / (2 * d + b + c)) / 2)

    found = host_interval(counts, HOSTS, seed=0, n_resamples=1500)

    # t of 5 degrees of freedom: 2.571.
    assert (found.high - found.low) / 2 == pytest.approx(2.571 * np.std(scores, ddof=1), rel=0.1)
    assert found.method == METHOD


def test_it_is_wider_than_by_episode_where_hosts_differ():
    counts = matrices([0.95, 0.5, 0.9, 0.55, 0.95, 0.6])

    over_hosts = host_interval(counts, HOSTS, seed=0, n_resamples=500)
    by_episode = episode_interval(counts, seed=0, n_resamples=500)

    assert over_hosts.estimate == by_episode.estimate
    assert over_hosts.high - over_hosts.low > 3 * (by_episode.high - by_episode.low)


def test_fewer_than_five_hosts_have_no_interval():
    counts = matrices([0.9] * 6)

    assert host_interval(counts[:32], HOSTS[:32], seed=0) is None


def test_an_episode_without_a_host_is_refused():
    with pytest.raises(EvaluationError, match="48 episodes need a host each, got 47"):
        host_interval(matrices([0.9] * 6), HOSTS[1:], seed=0)
