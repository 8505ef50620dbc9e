import numpy as np
import pytest

from cis490_pipeline.errors import EvaluationError
from cis490_pipeline.evaluation.probes.recording_block import block_prediction

N = 24
EPISODES = np.repeat([f"e{k:02}" for k in range(N)], 5)
BLOCKS = np.repeat(np.arange(N) % 3 + 1, 5)
HOSTS = np.repeat([f"host-{k // 3 % 4}" for k in range(N)], 5)


def features(drift):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(BLOCKS.size, 4)).astype(np.float32)
    X[:, 0] += 20 * np.unique(HOSTS, return_inverse=True)[1]
    X[:, 1] += drift * BLOCKS
    return X


def predict(X, blocks=BLOCKS, hosts=HOSTS, episodes=EPISODES):
    return block_prediction(X, blocks, hosts, episodes, features="made up", seed=0)


def test_a_machine_that_drifts_from_block_to_block_is_seen():
    found = predict(features(drift=9.0))

    assert found["scores"]["balanced_accuracy"] == 1.0
    assert found["chance_balanced"] == pytest.approx(1 / 3)
    # Each host is as often in each block.
    assert found["host_balanced"] == pytest.approx(1 / 3)
    assert found["episodes_by_block"] == {"1": 8, "2": 8, "3": 8}


def test_a_steady_machine_is_at_chance():
    scores = predict(features(drift=0.0))["scores"]

    assert scores["balanced_low"] < 1 / 3 < scores["balanced_high"]


def test_blocks_of_other_hosts_are_known_by_the_host():
    hosts = np.where(BLOCKS == 1, "host-0", "host-1")

    found = predict(features(drift=0.0), hosts=hosts)

    assert found["host_balanced"] == pytest.approx(2 / 3)


def test_a_block_of_few_episodes_is_left_out_and_one_alone_is_no_score():
    begun = np.where(EPISODES == "e00", 4, BLOCKS)

    found = predict(features(drift=9.0), blocks=begun)
    alone = predict(features(drift=0.0), blocks=np.full(BLOCKS.size, 2))
    empty = predict(features(0.0)[:0], BLOCKS[:0], HOSTS[:0], EPISODES[:0])

    assert found["blocks_left_out"] == ["4"]
    assert found["n_windows"] == 5 * (N - 1)
    assert alone["why"] == "1 blocks of 5 episodes with clean windows, two are needed"
    assert (alone["scores"], alone["chance_balanced"]) == (None, None)
    assert empty["why"] == "0 blocks of 5 episodes with clean windows, two are needed"


def test_arrays_of_other_windows_are_refused():
    with pytest.raises(EvaluationError, match="got 120 windows, 120 blocks, 119 hosts"):
        predict(features(0.0), hosts=HOSTS[1:])
