"""The same telemetry under two ids."""

from types import SimpleNamespace

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cis490_pipeline.errors import DatasetError
from cis490_pipeline.features.copies import assert_no_copies, copies_on_two_sides
from cis490_pipeline.features.resample import STEP_NS

T0 = 1_700_000_000 * 10**9


def recording(seed, n_steps=600):
    rng = np.random.default_rng(seed)
    grid = rng.normal(size=(n_steps, 46)).astype(np.float32)
    grid[:, :10] = 0.0
    grid[:, 45] = np.nan
    return grid


def store_of(*episodes):
    """Grids as a store has them: (id, grid, start in steps)."""
    grids = {name: grid for name, grid, _ in episodes}
    frame = pl.DataFrame(
        {
            "episode_id": list(grids),
            "t0_wall_ns": [T0 + int(at * STEP_NS) for *_, at in episodes],
            "n_steps": [len(grid) for grid in grids.values()],
            "baseline_median": [np.median(g[:150], axis=0).tolist() for g in grids.values()],
            "baseline_iqr": [np.ptp(g[:150], axis=0).tolist() for g in grids.values()],
        }
    )
    return SimpleNamespace(frame=frame, grid=grids.__getitem__)


def sides(*names):
    ids = [chr(ord("a") + i) for i in range(len(names))]
    return pl.DataFrame({"episode_id": ids, "side": list(names)})


def test_a_copy_moved_in_time_is_found_by_name():
    grid = recording(0)
    grids = store_of(("a", grid, 0), ("b", recording(1), 0), ("c", grid.copy(), 90_000))

    found = copies_on_two_sides(grids, sides("train", "train", "test"))

    assert [(c.first, c.second, c.first_side, c.second_side) for c in found] == [
        ("a", "c", "train", "test")
    ]
    assert found[0].share == 1.0


@settings(max_examples=30)
@given(cut=st.integers(1, 450), keep=st.integers(130, 600))
def test_windows_that_overlap_in_time_are_found_wherever_they_were_cut(cut, keep):
    grid = recording(0)
    grids = store_of(("a", grid, 0), ("b", grid[cut:][:keep], cut))

    found = copies_on_two_sides(grids, sides("train", "test"))

    assert [(c.first, c.second) for c in found] == [("a", "b")]
    assert found[0].n_steps == min(keep, 600 - cut)


def test_recordings_of_the_same_time_are_not_copies():
    grids = store_of(*((name, recording(i), 7 * i) for i, name in enumerate("abcd")))

    assert copies_on_two_sides(grids, sides("train", "val", "test", "test")) == []


def test_two_idle_devices_are_not_copies():
    idle = np.zeros((600, 46), dtype=np.float32)

    assert copies_on_two_sides(store_of(("a", idle, 0), ("b", idle, 0)), sides("val", "test")) == []


@pytest.mark.parametrize("names", [("train", "train"), ("train", "excluded")])
def test_a_copy_on_the_same_side_or_on_none_is_no_leak(names):
    grid = recording(0)

    assert copies_on_two_sides(store_of(("a", grid, 0), ("b", grid, 5)), sides(*names)) == []


def test_the_error_names_both_and_says_what_to_do():
    grid = recording(0)

    with pytest.raises(
        DatasetError,
        match=r"a \(train\) and b \(test\) hold the same telemetry: 100% .*index.jsonl",
    ):
        assert_no_copies(store_of(("a", grid, 0), ("b", grid, 0)), sides("train", "test"))
