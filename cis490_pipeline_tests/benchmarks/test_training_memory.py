import numpy as np
import pytest

from benchmarks.training_memory import make_datasets, train
from cis490_pipeline.domain import PHASES, Architecture, Side
from cis490_pipeline.features.datasets import window_data
from cis490_pipeline.features.datasets.load import window_keys
from cis490_pipeline.features.datasets.opened import open_dataset


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("made")
    make_datasets(folder, 10)
    return folder


@pytest.mark.parametrize("kind", ["summary", "tensor"])
def test_both_sides_of_a_made_up_set_have_every_phase(folder, kind):
    for side, n_episodes in ((Side.TRAIN, 8), (Side.VAL, 2)):
        keys = window_keys(open_dataset(folder / kind, kind), side)
        assert keys["episode_id"].n_unique() == n_episodes
        assert set(keys["phase"]) == set(map(str, PHASES))


@pytest.mark.parametrize("architecture", [Architecture.GBT, Architecture.MLP])
def test_a_peak_is_told_with_the_size_of_what_was_trained_on(folder, monkeypatch, architecture):
    # What the training sets for its whole process is put back here.
    monkeypatch.setattr(window_data, "IN_MEMORY_BYTES", window_data.IN_MEMORY_BYTES)

    told = train(folder, architecture, 0.1)

    assert int(0.1 * 2**20) == window_data.IN_MEMORY_BYTES
    assert told["n_windows"] == 10 * 31
    assert told["data"] == 10 * 31 * 230 * np.float32().nbytes
    assert told["peak"] >= told["before"] > 0
    assert list((folder / "summary").glob("train-*.rows"))
