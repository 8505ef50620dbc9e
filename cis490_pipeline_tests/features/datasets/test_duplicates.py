"""The same telemetry under two ids."""

from types import SimpleNamespace

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cis490_pipeline.errors import DatasetError
from cis490_pipeline.experiment.pipeline.corpus import GridShards
from cis490_pipeline.features.datasets.duplicates import assert_no_near_duplicates, near_duplicates
from cis490_pipeline.features.grids.store import GridStore
from cis490_pipeline.features.resample import episode_grid
from cis490_pipeline.store.episode import load_episode
from cis490_pipeline.store.receiver import LocalStore
from cis490_pipeline_tests.experiment.runs import SAMPLE, SIX


def recording(seed, n_steps=600):
    rng = np.random.default_rng(seed)
    grid = rng.normal(size=(n_steps, 46)).astype(np.float32)
    grid[:, 12:17] = 0.0
    grid[:, 45] = np.nan
    return grid


def store_of(*episodes):
    return SimpleNamespace(grid=dict(episodes).__getitem__)


def sides(*names):
    ids = [chr(ord("a") + i) for i in range(len(names))]
    return pl.DataFrame({"episode_id": ids, "side": list(names)})


def test_a_copy_is_found_by_name():
    grid = recording(0)
    grids = store_of(("a", grid), ("b", recording(1)), ("c", grid.copy()))

    found = near_duplicates(grids, sides("train", "train", "test"))

    assert [(c.first, c.second, c.first_side, c.second_side) for c in found] == [
        ("a", "c", "train", "test")
    ]
    assert found[0].share == 1.0


@settings(max_examples=30)
@given(cut=st.integers(1, 450), keep=st.integers(130, 600))
def test_windows_that_overlap_are_found_wherever_they_were_cut(cut, keep):
    grid = recording(0)
    grids = store_of(("a", grid), ("b", grid[cut:][:keep]))

    found = near_duplicates(grids, sides("train", "test"))

    assert [(c.first, c.second) for c in found] == [("a", "b")]
    assert found[0].n_steps == min(keep, 600 - cut)


def test_recordings_of_their_own_are_not_copies():
    grids = store_of(*((name, recording(i)) for i, name in enumerate("abcd")))

    assert near_duplicates(grids, sides("train", "val", "test", "test")) == []


def test_two_idle_devices_are_not_copies():
    idle = np.zeros((600, 46), dtype=np.float32)

    assert near_duplicates(store_of(("a", idle), ("b", idle)), sides("val", "test")) == []


@pytest.mark.parametrize("names", [("train", "train"), ("train", "excluded")])
def test_a_copy_on_the_same_side_or_on_none_is_no_leak(names):
    grid = recording(0)

    assert near_duplicates(store_of(("a", grid), ("b", grid)), sides(*names)) == []


def test_the_error_names_both_and_says_what_to_do():
    grid = recording(0)

    with pytest.raises(
        DatasetError,
        match=r"a \(train\) and b \(test\) hold the same telemetry: 100% .*index.jsonl",
    ):
        assert_no_near_duplicates(store_of(("a", grid), ("b", grid)), sides("train", "test"))


@pytest.mark.parametrize("dead", [slice(0, 12), slice(17, 36)])
def test_a_copy_that_lost_a_source_is_found(dead):
    grid = recording(0)
    copied = grid.copy()
    copied[:, dead] = np.nan

    found = near_duplicates(store_of(("a", grid), ("b", copied)), sides("train", "test"))

    assert [(c.first, c.second, c.share) for c in found] == [("a", "b", 1.0)]


def test_each_of_many_copies_is_named():
    grid = recording(0)
    names = "abcdefgh"

    found = near_duplicates(
        store_of(*((name, grid) for name in names)), sides(*["train", "test"] * 4)
    )

    assert {name for copy in found for name in (copy.first, copy.second)} == set(names)


@pytest.mark.parametrize("later_ms", [3, 37, 50, 98, 2537, 10_063])
def test_a_copy_whose_grid_begins_between_two_steps_is_found(later_ms):
    store = LocalStore(SAMPLE)
    episode = load_episode(store, SIX[0], store.read_index().rows[SIX[0]])
    grid = episode_grid(episode.columns, episode.t0_ns, 600)
    copied = episode_grid(episode.columns, episode.t0_ns + later_ms * 10**6, 500)

    found = near_duplicates(store_of(("a", grid), ("b", copied)), sides("train", "test"))

    assert [(c.first, c.second) for c in found] == [("a", "b")]


def test_no_two_recorded_episodes_are_copies(finished):
    grids = GridStore(GridShards(finished).folder)
    every = grids.frame.select("episode_id", side=pl.col("episode_id"))

    assert near_duplicates(grids, every) == []
