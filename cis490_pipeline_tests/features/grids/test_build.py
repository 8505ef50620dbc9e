import json

import numpy as np
import polars as pl
import pytest

from cis490_pipeline.compute import SerialCompute
from cis490_pipeline.domain import EpisodeRef, Variant
from cis490_pipeline.errors import DatasetError, SchemaMismatchError
from cis490_pipeline.features.baseline import baseline_statistics
from cis490_pipeline.features.extract import extract_episode
from cis490_pipeline.features.grids import build as grids_module
from cis490_pipeline.features.grids.build import build_grids
from cis490_pipeline.features.grids.store import GridStore
from cis490_pipeline.store.episode import load_episode
from cis490_pipeline_tests.features.grids.changed import changed_shards


class Backwards:
    """Finishes the last task first, as processes may."""

    def map(self, function, tasks):
        return [(i, function(tasks[i])) for i in reversed(range(len(tasks)))]


class Refusing:
    def map(self, function, tasks):
        raise AssertionError("there was nothing to do")


def shard_files(folder):
    return {path.name: path.read_bytes() for path in folder.glob("shard-*.npy")}


def test_the_grid_of_an_episode_is_the_one_extracted_on_demand(store, episodes, grids):
    rows = store.read_index().rows
    for host_id, episode_id in episodes.select("host_id", "episode_id").rows():
        ref = EpisodeRef(host_id, episode_id)
        extracted = extract_episode(load_episode(store, ref, rows[ref]), Variant.ORACLE)

        np.testing.assert_array_equal(grids.grid(episode_id), extracted.grid)


def test_the_index_is_in_the_order_received_and_carries_the_baselines(episodes, grids):
    assert grids.frame["episode_id"].to_list() == episodes["episode_id"].to_list()
    assert grids.frame["baseline_clean"].all()
    for row in grids.frame.iter_rows(named=True):
        median, iqr = baseline_statistics(grids.grid(row["episode_id"]))
        np.testing.assert_array_equal(np.float32(row["baseline_median"]), median)
        np.testing.assert_array_equal(np.float32(row["baseline_iqr"]), iqr)


def test_a_second_run_builds_nothing_and_changes_no_byte(store, episodes, tmp_path):
    build_grids(store, episodes, tmp_path, SerialCompute())
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}

    again = build_grids(store, episodes, tmp_path, Refusing())

    assert (again.n_built, again.n_reused) == (0, episodes.height)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_new_episodes_are_appended_and_old_shards_never_change(
    store, episodes, tmp_path, monkeypatch
):
    monkeypatch.setattr(grids_module, "SHARD_EPISODES", 3)
    first = build_grids(store, episodes.head(4), tmp_path / "grown", SerialCompute())
    before = shard_files(tmp_path / "grown")

    grown = build_grids(store, episodes, tmp_path / "grown", SerialCompute())

    after = shard_files(tmp_path / "grown")
    assert {name: after[name] for name in before} == before
    assert grown.frame["episode_id"].to_list() == episodes["episode_id"].to_list()
    assert grown.frame.group_by("shard").len()["len"].max() <= 3
    assert grown.n_reused == first.n_built == 4
    at_once = build_grids(store, episodes, tmp_path / "at_once", SerialCompute())
    assert grown.frame.equals(at_once.frame)
    assert grown.digest == at_once.digest


def test_the_index_does_not_depend_on_which_episodes_were_away_for_a_while(
    store, episodes, tmp_path, grids
):
    for there in (episodes[3:], episodes[:5], episodes):
        built = build_grids(store, episodes=there, folder=tmp_path, compute=SerialCompute())

    place = ["shard", "row_start"]
    assert built.frame.drop(place).equals(grids.frame.drop(place))
    assert built.digest == grids.digest
    for episode_id in episodes["episode_id"]:
        np.testing.assert_array_equal(GridStore(tmp_path).grid(episode_id), grids.grid(episode_id))


def test_an_index_of_version_1_is_completed_without_building_a_grid(
    store, episodes, tmp_path, grids
):
    build_grids(store, episodes, tmp_path, SerialCompute())
    path = tmp_path / "index.parquet"
    older = pl.read_parquet(path).drop("grid_realistic", "grid_oracle")
    older.reverse().write_parquet(path)

    completed = build_grids(store, episodes, tmp_path, Refusing())

    assert completed.frame.equals(grids.frame)
    assert GridStore(tmp_path).digest == grids.digest


def test_a_night_touches_the_last_open_shard_only(store, episodes, tmp_path, monkeypatch):
    monkeypatch.setattr(grids_module, "SHARD_EPISODES", 3)
    evening = build_grids(store, episodes.head(7), tmp_path, SerialCompute()).frame
    written = []
    write = grids_module.write_named
    monkeypatch.setattr(
        grids_module, "write_named", lambda *args: written.append(write(*args)) or written[-1]
    )

    morning = build_grids(store, episodes.head(8), tmp_path, SerialCompute()).frame

    assert written == [morning["shard"][-1]]
    assert morning["shard"][:6].equals(evening["shard"][:6])
    assert morning["shard"][6:].unique().to_list() == written


def test_grids_do_not_depend_on_which_episode_is_finished_first(store, episodes, tmp_path, grids):
    built = build_grids(store, episodes, tmp_path, Backwards())

    assert built.frame.equals(grids.frame)


def test_an_unreadable_episode_is_named_and_the_others_are_gridded(store, episodes, tmp_path):
    lost = EpisodeRef("garage-pi", "01M81AAAAAAAAAAAAAAAAAAAAA")
    changed = EpisodeRef(*episodes.row(1)[:2])
    rows = episodes.with_columns(
        sha256=pl.when(pl.col("episode_id") == changed.episode_id)
        .then(pl.lit("0" * 64))
        .otherwise("sha256")
    )
    missing = rows.head(1).with_columns(
        host_id=pl.lit(lost.host_id), episode_id=pl.lit(lost.episode_id)
    )

    result = build_grids(store, pl.concat([rows.head(3), missing]), tmp_path, SerialCompute())

    assert set(result.failed) == {lost, changed}
    assert "changed since the sweep" in result.failed[changed]
    assert result.frame.height == 2
    assert (result.n_built, result.n_reused) == (2, 0)


def test_progress_counts_every_episode(store, episodes, tmp_path):
    seen = []

    build_grids(store, episodes.head(3), tmp_path, SerialCompute(), lambda *at: seen.append(at))

    assert seen == [("cut grids", done, 3) for done in (0, 1, 2, 3)]


def test_a_shard_with_other_bytes_is_found_by_verify(store, episodes, tmp_path):
    build_grids(store, episodes.head(2), tmp_path, SerialCompute())
    opened = GridStore(tmp_path)
    assert changed_shards(opened) == []
    (shard,) = tmp_path.glob("shard-*.npy")
    shard.write_bytes(shard.read_bytes()[:-1] + b"?")

    assert changed_shards(opened) == [shard.name]


def test_a_folder_without_a_manifest_is_refused(tmp_path):
    with pytest.raises(DatasetError, match="no grids here yet"):
        GridStore(tmp_path)


def test_an_index_that_is_not_the_manifests_is_refused(store, episodes, tmp_path):
    build_grids(store, episodes.head(1), tmp_path, SerialCompute())
    (tmp_path / "index.parquet").write_bytes(b"")

    with pytest.raises(DatasetError, match="not the index of its manifest"):
        GridStore(tmp_path)


def test_grids_of_other_features_are_refused_by_their_first_difference(store, episodes, tmp_path):
    build_grids(store, episodes.head(1), tmp_path, SerialCompute())
    manifest = json.loads((tmp_path / "manifest.json").read_text())
    manifest["schema"]["channels"][0]["unit"] = "ticks"
    (tmp_path / "manifest.json").write_text(json.dumps(manifest))

    with pytest.raises(SchemaMismatchError, match=r"unit was 'ticks', is 'jiffies'"):
        GridStore(tmp_path)


def test_an_episode_without_a_grid_is_refused_by_name(grids):
    with pytest.raises(DatasetError, match="no grid of episode 'nobody'"):
        grids.grid("nobody")
