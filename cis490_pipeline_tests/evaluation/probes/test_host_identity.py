import numpy as np
import pytest

from cis490_pipeline.errors import EvaluationError
from cis490_pipeline.evaluation.probes.host_identity import (
    host_prediction_hits,
    largest_host,
    score_hosts,
)

HOSTS = np.repeat(["lab-nuc", "garage-pi"], [60, 40])
EPISODES = np.array([f"e{i // 5}" for i in range(100)])


def features(mark):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(100, 3)).astype(np.float32)
    if mark == "host":
        X[:, 1] += 9 * (HOSTS == "lab-nuc")
    if mark == "episode":
        X[:, 1] += 50 * rng.normal(size=20)[np.arange(100) // 5]
    return X


def test_a_marked_host_is_told_and_noise_is_not():
    marked = host_prediction_hits(features("host"), HOSTS, EPISODES, seed=0)
    noise = host_prediction_hits(features("none"), HOSTS, EPISODES, seed=0)
    again = host_prediction_hits(features("none"), HOSTS, EPISODES, seed=0)

    assert marked.all()
    assert np.array_equal(noise, again)
    assert noise.mean() < 0.75


def test_a_mark_of_the_episode_tells_nothing_of_unseen_episodes():
    right = host_prediction_hits(features("episode"), HOSTS, EPISODES, seed=0)

    assert right.mean() < 0.75


def test_accuracy_and_mean_recall_by_hand():
    right = np.zeros(100, dtype=np.bool_)
    right[:45] = True  # 45 of 60
    right[60:70] = True  # 10 of 40

    scores = score_hosts(right, HOSTS, EPISODES, seed=0, n_resamples=500)

    assert scores["accuracy"] == pytest.approx(0.55)
    assert scores["balanced_accuracy"] == pytest.approx((0.75 + 0.25) / 2)
    assert scores["accuracy_low"] < 0.55 < scores["accuracy_high"]
    assert scores["balanced_low"] < 0.5 < scores["balanced_high"]
    assert scores["ci_method"] == "bootstrap SE by episode, t"


def test_interval_resamples_episodes_and_not_windows():
    right = np.repeat(np.arange(20) % 2 == 0, 5)

    scores = score_hosts(right, HOSTS, EPISODES, seed=0, n_resamples=4000)

    # Whole episodes are right or wrong: the SE is that of 20 tosses of a coin, and not of 100.
    reach = (scores["accuracy_high"] - scores["accuracy_low"]) / 2
    assert reach == pytest.approx(1.96 * 0.5 / np.sqrt(20), rel=0.1)


def test_one_host_cannot_be_told():
    with pytest.raises(EvaluationError, match="takes two hosts and two episodes, got 1 and 20"):
        host_prediction_hits(features("none"), np.full(100, "lab-nuc"), EPISODES, seed=0)


def test_largest_host_is_what_always_guessing_it_scores():
    assert largest_host(HOSTS) == {"host_id": "lab-nuc", "share": 0.6}
