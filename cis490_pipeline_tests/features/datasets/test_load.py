import json
import shutil
from functools import partial
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from cis490_pipeline.compute import SerialCompute
from cis490_pipeline.domain import PHASES, EpisodeRef, Side, Variant
from cis490_pipeline.errors import CalibrationError, DatasetError, SchemaMismatchError
from cis490_pipeline.features.calibration.calibrator import CalibrationMode
from cis490_pipeline.features.channels import channel_names
from cis490_pipeline.features.datasets import rows_in_grids
from cis490_pipeline.features.datasets.build import build_feature_dataset, build_tensor_dataset
from cis490_pipeline.features.datasets.load import fit_calibrator, load_windows, window_keys
from cis490_pipeline.features.datasets.opened import dataset_kind, open_dataset
from cis490_pipeline.features.datasets.window_index import assert_no_leak, check_leaks
from cis490_pipeline.features.extract import extract_episode
from cis490_pipeline.features.grids import build as grids_build
from cis490_pipeline.features.grids.build import build_grids
from cis490_pipeline.features.grids.store import GridStore
from cis490_pipeline.features.resample import episode_grid
from cis490_pipeline.features.summary import summarize, summary_names
from cis490_pipeline.store.episode import load_episode

EPISODE = CalibrationMode.EPISODE_BASELINE
ROW_BYTES = 46 * 4
KINDS = ("summary", "history", "tensor")


def opened(folders, kind, variant, side, **options):
    calibrator = fit_calibrator(open_dataset(folders[kind], kind), variant, EPISODE)
    return load_windows(open_dataset(folders[kind], kind), side, calibrator, **options)


def everything(windows):
    return windows.take(np.arange(len(windows)))


@pytest.mark.parametrize("variant", Variant)
@pytest.mark.parametrize("kind", KINDS)
def test_windows_read_from_files_equal_those_extracted_on_demand(
    folders, grids, store, kind, variant
):
    windows = opened(folders, kind, variant, Side.TRAIN, include_baseline=True)
    index_rows = store.read_index().rows
    X, y, purity = [], [], []
    for host_id, episode_id in (
        windows.frame.select("host_id", "episode_id").unique(maintain_order=True).rows()
    ):
        ref = EpisodeRef(host_id, episode_id)
        extracted = extract_episode(load_episode(store, ref, index_rows[ref]), variant)
        baseline = extract_episode(load_episode(store, ref, index_rows[ref]), variant).grid[:150]
        raw = extracted.tensors if kind == "tensor" else getattr(extracted, kind)
        median = np.nanpercentile(baseline.astype(np.float64), 50, axis=0).astype(np.float32)
        low, high = np.nanpercentile(baseline.astype(np.float64), [25, 75], axis=0)
        X.append(windows.calibrator.apply(raw, median, (high - low).astype(np.float32)))
        y.append(extracted.y)
        purity.append(extracted.purity)

    np.testing.assert_allclose(everything(windows), np.concatenate(X), atol=1e-4)
    np.testing.assert_array_equal(windows.y, np.concatenate(y))
    np.testing.assert_array_equal(windows.frame["purity"], np.concatenate(purity))
    assert windows.shape == X[0].shape[1:]


def test_summaries_on_file_are_those_of_the_tensors(folders, grids):
    frame = pl.read_parquet(folders["summary"] / "*.parquet")
    for (episode_id,), rows in frame.group_by("episode_id"):
        grid = grids.grid(episode_id)
        for row in rows.iter_rows(named=True):
            start = row["window_idx"] * 50
            (wanted,) = summarize(grid[None, start : start + 100])
            values = np.float32([row[name] for name in summary_names(Variant.ORACLE)])
            np.testing.assert_array_equal(values, wanted)


def test_the_mean_of_a_summary_is_the_mean_of_its_tensor(store, episodes):
    ref = EpisodeRef(*episodes.row(0)[:2])
    extracted = extract_episode(
        load_episode(store, ref, store.read_index().rows[ref]), Variant.REALISTIC
    )

    means = extracted.summary[:, ::5]

    np.testing.assert_allclose(means, np.nanmean(extracted.tensors, axis=2), rtol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_windows_that_touch_the_baseline_are_left_out_unless_asked_for(folders, kind):
    scored = opened(folders, kind, Variant.REALISTIC, Side.TEST)
    replayed = opened(folders, kind, Variant.REALISTIC, Side.TEST, include_baseline=True)

    assert scored.frame["window_idx"].min() == 3
    assert replayed.frame["window_idx"].min() == 0
    assert len(replayed) == len(scored) + 3
    np.testing.assert_array_equal(everything(replayed)[3:], everything(scored))


@pytest.mark.parametrize("kind", ["summary", "history"])
def test_both_datasets_hold_the_same_windows(folders, kind):
    for side in (Side.TRAIN, Side.VAL, Side.TEST):
        rows, tensor = (opened(folders, kind, Variant.ORACLE, side) for kind in (kind, "tensor"))

        assert rows.frame.equals(tensor.frame)
        np.testing.assert_array_equal(rows.y, tensor.y)
        np.testing.assert_array_equal(rows.groups, tensor.groups)


@pytest.mark.parametrize("limit", [None, 1000])
def test_summaries_read_from_a_dataset_of_history_are_those_of_summaries(
    folders, tmp_path, monkeypatch, limit
):
    wanted = opened(folders, "summary", Variant.REALISTIC, Side.TRAIN)
    if limit is not None:
        monkeypatch.setattr("cis490_pipeline.features.datasets.window_data.IN_MEMORY_BYTES", limit)
    # A copy: rows are written beside the shards.
    folder = shutil.copytree(folders["history"], tmp_path / "history")
    kind = dataset_kind(folder, "summary")
    dataset = open_dataset(folder, kind)

    calibrator = fit_calibrator(dataset, Variant.REALISTIC, EPISODE, kind="summary")
    windows = load_windows(dataset, Side.TRAIN, calibrator)

    assert kind == "history"
    assert calibrator.digest == wanted.calibrator.digest
    assert windows.shape == (145,)
    assert everything(windows).tobytes() == everything(wanted).tobytes()


@pytest.mark.parametrize("kind", ["summary", "history"])
@pytest.mark.parametrize("at_a_time", [256, 2])
def test_features_cut_from_the_grids_behind_tensors_are_those_of_their_own_dataset(
    folders, monkeypatch, kind, at_a_time
):
    monkeypatch.setattr(rows_in_grids, "_WINDOWS", at_a_time)
    wanted = opened(folders, kind, Variant.REALISTIC, Side.TRAIN, include_baseline=True)
    tensors = open_dataset(folders["tensor"], "tensor")

    calibrator = fit_calibrator(tensors, Variant.REALISTIC, EPISODE, kind=kind)
    windows = load_windows(tensors, Side.TRAIN, calibrator, include_baseline=True)
    order = np.random.default_rng(0).permutation(len(windows))

    assert calibrator.digest == wanted.calibrator.digest
    assert windows.shape == wanted.shape
    assert windows.take(order).tobytes() == wanted.take(order).tobytes()
    windows.read_ahead(order)


def test_history_cannot_be_read_from_a_dataset_of_summaries(folders):
    dataset = open_dataset(folders["summary"], "summary")
    calibrator = opened(folders, "history", Variant.REALISTIC, Side.TRAIN).calibrator

    with pytest.raises(DatasetError, match="summary windows, wanted history"):
        fit_calibrator(dataset, Variant.REALISTIC, EPISODE, kind="history")
    with pytest.raises(CalibrationError, match="with a calibrator of history windows"):
        load_windows(dataset, Side.VAL, calibrator)


@pytest.mark.parametrize("kind", KINDS)
def test_windows_are_taken_in_the_order_asked_for(folders, kind):
    windows = opened(folders, kind, Variant.ORACLE, Side.TRAIN)
    order = np.random.default_rng(0).permutation(len(windows))

    np.testing.assert_array_equal(windows.take(order), everything(windows)[order])


@pytest.mark.parametrize("kind", KINDS)
def test_reading_ahead_changes_nothing_that_is_taken(folders, kind):
    windows = opened(folders, kind, Variant.ORACLE, Side.TRAIN)
    wanted = everything(windows)

    windows.read_ahead(np.arange(len(windows))[::-3])

    np.testing.assert_array_equal(everything(windows), wanted)


def test_reading_ahead_asks_for_the_rows_of_the_windows_and_joins_neighbours(
    folders, grids, monkeypatch
):
    windows = opened(folders, "tensor", Variant.ORACLE, Side.TRAIN)
    index = pl.read_parquet(folders["tensor"] / "index.parquet").filter(
        pl.col("split") == Side.TRAIN, ~pl.col("baseline")
    )
    asked = []
    monkeypatch.setattr(
        "os.posix_fadvise",
        lambda file, at, size, _: asked.append(
            (Path(f"/proc/self/fd/{file}").resolve().name, at, size)
        ),
    )
    chosen = np.flatnonzero(np.arange(len(windows)) % 5 != 3)

    windows.read_ahead(np.random.default_rng(0).permutation(chosen))

    for episode_id, number in index[chosen].select("episode_id", "window_idx").rows():
        shard, start = grids.place(episode_id)
        start += number * 50
        header = (grids.folder / shard).stat().st_size % ROW_BYTES
        first, end = header + start * ROW_BYTES, header + (start + 100) * ROW_BYTES
        here = sorted((at, at + size) for name, at, size in asked if name == shard)
        covered = sum(max(0, min(end, stop) - max(first, at)) for at, stop in here)
        assert covered == end - first
    assert sum(size for _, _, size in asked) < chosen.size * 100 * ROW_BYTES


@pytest.mark.parametrize("kind", KINDS)
def test_windows_stand_in_the_order_received(folders, episodes, kind):
    for side in (Side.TRAIN, Side.VAL, Side.TEST):
        keys = window_keys(open_dataset(folders[kind], kind), side, include_baseline=True)
        rank = dict(zip(episodes["episode_id"], range(episodes.height), strict=True))

        places = [(rank[e], n) for e, n in keys.select("episode_id", "window_idx").iter_rows()]

        assert places == sorted(places)


def test_datasets_are_the_same_bytes_though_episodes_went_and_came_back(
    store, episodes, index, folders, tmp_path
):
    history = tmp_path / "grids"
    for there in (episodes[2:], episodes[::2], episodes):
        build_grids(store, there, history, SerialCompute())
    grids = GridStore(history)
    assert grids.frame["row_start"].to_list() != sorted(grids.frame["row_start"])

    for kind in ("summary", "history"):
        build_feature_dataset(grids, index, tmp_path / kind, split_digest="split", kind=kind)
    build_tensor_dataset(grids, index, tmp_path / "tensor", split_digest="split")

    for kind in KINDS:
        there = {path.name for path in (tmp_path / kind).iterdir()}
        assert there == {path.name for path in folders[kind].iterdir()}
        for name in there - {"manifest.json"}:
            assert (tmp_path / kind / name).read_bytes() == (folders[kind] / name).read_bytes()
        # The manifest's bytes differ by where the grids lie, which is no part of its digest.
        assert (
            open_dataset(tmp_path / kind, kind).manifest.digest
            == open_dataset(folders[kind], kind).manifest.digest
        )
    windows = [
        opened(of, "tensor", Variant.ORACLE, Side.TRAIN)
        for of in ({"tensor": tmp_path / "tensor"}, folders)
    ]
    np.testing.assert_array_equal(*map(everything, windows))


def test_a_tensor_dataset_over_grids_of_other_telemetry_is_refused(
    store, episodes, index, tmp_path
):
    grids = tmp_path / "grids"
    build_grids(store, episodes, grids, SerialCompute())
    build_tensor_dataset(GridStore(grids), index, tmp_path / "tensor", split_digest="split")
    build_grids(store, episodes.tail(-1), grids, SerialCompute())

    with pytest.raises(DatasetError, match="of its 7 episodes they hold 6"):
        fit_calibrator(open_dataset(tmp_path / "tensor", "tensor"), Variant.ORACLE, EPISODE)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("channel", ["proc.cpu_user_jiffies", "guest.cpu_user"])
def test_a_channel_that_only_the_lab_has_is_in_the_oracles_digest_alone(
    store, episodes, index, folders, tmp_path, monkeypatch, kind, channel
):
    column = channel_names(Variant.ORACLE).index(channel)

    def other(*args):
        grid = episode_grid(*args).copy()
        grid[:, column] *= 2
        return grid

    monkeypatch.setattr(grids_build, "episode_grid", other)
    build_grids(store, episodes, tmp_path / "grids", SerialCompute())
    build = build_tensor_dataset if kind == "tensor" else partial(build_feature_dataset, kind=kind)

    changed = build(GridStore(tmp_path / "grids"), index, tmp_path / kind, split_digest="split")

    before = open_dataset(folders[kind], kind).manifest.variants
    differs = {variant for variant in before if changed.variants[variant] != before[variant]}
    assert differs == {"oracle"} if channel.startswith("proc.") else {"oracle", "realistic"}


def test_a_label_is_in_the_digest_of_every_variant(grids, index, folders, tmp_path, monkeypatch):
    first = grids.frame.with_columns(
        label_phase=pl.lit(["clean"]), label_t_wall_ns=pl.col("label_t_wall_ns").list.head(1)
    )
    monkeypatch.setattr(grids, "frame", first)

    relabelled = build_tensor_dataset(grids, index, tmp_path, split_digest="split")

    before = open_dataset(folders["tensor"], "tensor").manifest.variants
    assert all(relabelled.variants[variant] != before[variant] for variant in before)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("include_baseline", [False, True])
def test_keys_alone_are_those_of_the_windows_in_their_order(folders, kind, include_baseline):
    for side in (Side.TRAIN, Side.VAL, Side.TEST):
        windows = opened(folders, kind, Variant.ORACLE, side, include_baseline=include_baseline)

        keys = window_keys(
            open_dataset(folders[kind], kind), side, include_baseline=include_baseline
        )

        assert keys.equals(windows.frame)


def test_no_excluded_episode_is_in_a_dataset(folders, index):
    (excluded,) = index.filter(side="excluded")["episode_id"]
    frame = pl.read_parquet(folders["summary"] / "*.parquet")

    assert excluded not in set(frame["episode_id"])
    assert frame["episode_id"].n_unique() == index.height - 1


def test_the_frame_tells_phase_split_and_whether_a_window_may_be_scored(folders, index):
    windows = opened(folders, "summary", Variant.ORACLE, Side.TRAIN)

    assert [PHASES.index(phase) for phase in windows.frame["phase"]] == windows.y.tolist()
    assert set(windows.frame["split"]) == {"train"}
    unscorable = set(index.filter(~pl.col("scorable"))["episode_id"])
    assert set(windows.frame.filter(~pl.col("scorable"))["episode_id"]) == unscorable
    assert (windows.frame["t_end_wall_ns"] - windows.frame["t_start_wall_ns"] == 10**10).all()


def test_a_guest_that_died_is_unknown_and_everything_else_is_known(folders):
    windows = opened(folders, "tensor", Variant.REALISTIC, Side.TRAIN)
    X = everything(windows)
    dead = windows.groups == "01M8191HDYZ10ET1VZ9NJ1HDR1"

    assert np.isnan(X[dead][-1, :19]).all()
    assert not np.isnan(X[dead][-1, 19:]).any()
    assert not np.isinf(X).any()


def test_a_calibrator_is_fitted_on_train_alone(folders, grids, index, tmp_path):
    (test,) = index.filter(side="test")["episode_id"]
    without = index.filter(pl.col("episode_id") != test)
    build_tensor_dataset(grids, without, tmp_path / "tensors", split_digest="other")

    for mode in (EPISODE, CalibrationMode.TRAIN_Z):
        assert (
            fit_calibrator(
                open_dataset(tmp_path / "tensors", "tensor"), Variant.ORACLE, mode
            ).digest
            == fit_calibrator(
                open_dataset(folders["tensor"], "tensor"), Variant.ORACLE, mode
            ).digest
        )


def test_a_calibrator_of_another_kind_is_refused(folders):
    calibrator = fit_calibrator(open_dataset(folders["tensor"], "tensor"), Variant.ORACLE, EPISODE)

    with pytest.raises(
        CalibrationError, match="summary windows, with a calibrator of tensor windows, oracle"
    ):
        load_windows(open_dataset(folders["summary"], "summary"), Side.VAL, calibrator)


def test_a_rebuilt_dataset_is_the_same_to_the_byte(folders, grids, index, tmp_path):
    manifest = build_feature_dataset(grids, index, tmp_path, split_digest="split")

    written = json.loads((folders["summary"] / "manifest.json").read_text())
    assert manifest.digest == written["digest"]
    assert manifest.files == written["files"]
    after = manifest.n_windows_after_baseline
    assert {side: n - after[side] for side, n in manifest.n_windows.items()} == {
        side: 3 * n for side, n in manifest.n_episodes.items()
    }
    assert manifest.leaks == 0


def test_another_split_leaves_no_stale_shard_behind(grids, index, tmp_path):
    build_feature_dataset(grids, index, tmp_path, split_digest="one")
    moved = index.with_columns(
        side=pl.when(pl.col("side") == "val").then(pl.lit("test")).otherwise("side")
    )

    manifest = build_feature_dataset(grids, moved, tmp_path, split_digest="two")

    there = {p.name for p in tmp_path.iterdir()} - {"manifest.json"}
    assert there == set(manifest.files)
    assert manifest.n_windows["val"] == 0


@pytest.mark.parametrize("kind", KINDS)
def test_a_changed_file_is_refused_by_name(folders, tmp_path, kind):
    copy = tmp_path / "copy"
    shutil.copytree(folders[kind], copy)
    victim = min(copy.glob("baselines-*.npy"))
    victim.write_bytes(victim.read_bytes()[:-1] + b"?")

    with pytest.raises(DatasetError, match=rf"changed since .*{victim.name}"):
        fit_calibrator(open_dataset(copy, kind), Variant.ORACLE, EPISODE)


def test_a_file_changed_after_a_dataset_was_opened_is_refused_when_it_is_opened_again(
    folders, tmp_path
):
    copy = tmp_path / "copy"
    shutil.copytree(folders["summary"], copy)
    first = open_dataset(copy, "summary")
    assert open_dataset(copy, "summary") is first
    victim = min(copy.glob("train-*.parquet"))
    victim.write_bytes(victim.read_bytes()[:-1] + b"?")

    with pytest.raises(DatasetError, match=rf"changed since .*{victim.name}"):
        open_dataset(copy, "summary")


def test_an_edited_manifest_is_refused(folders, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(folders["summary"], copy)
    manifest = json.loads((copy / "manifest.json").read_text())
    manifest["split_digest"] = "another"
    (copy / "manifest.json").write_text(json.dumps(manifest))

    with pytest.raises(DatasetError, match="its own digest intact"):
        fit_calibrator(open_dataset(copy, "summary"), Variant.ORACLE, EPISODE)


def test_a_dataset_of_other_features_is_refused_by_its_first_difference(
    grids, index, tmp_path, monkeypatch
):
    from cis490_pipeline.features.datasets import build as dataset_build
    from cis490_pipeline.features.schema import FeatureSchema, feature_schema

    older = feature_schema("summary", Variant.ORACLE).to_dict()
    older["statistics"] = ["mean", "std", "p95", "slope", "max"]
    monkeypatch.setattr(dataset_build, "feature_schema", lambda *_: FeatureSchema.from_dict(older))
    build_feature_dataset(grids, index, tmp_path, split_digest="split")

    with pytest.raises(SchemaMismatchError, match="statistics was"):
        fit_calibrator(open_dataset(tmp_path, "summary"), Variant.ORACLE, EPISODE)


def test_a_missing_dataset_says_what_to_do(tmp_path):
    with pytest.raises(DatasetError, match="extract the recipe's features first"):
        fit_calibrator(open_dataset(tmp_path, "summary"), Variant.ORACLE, EPISODE)


def test_an_unscorable_episode_outside_train_is_refused(grids, index, tmp_path):
    wrong = index.with_columns(scorable=pl.lit(False))

    with pytest.raises(DatasetError, match="2 episodes never to be scored, yet in val or test"):
        build_tensor_dataset(grids, wrong, tmp_path, split_digest="split")


def test_an_episode_without_a_grid_is_refused(grids, index, tmp_path):
    unknown = index.head(1).with_columns(episode_id=pl.lit("01M81AAAAAAAAAAAAAAAAAAAAA"))

    with pytest.raises(DatasetError, match="1 episodes without a grid"):
        build_tensor_dataset(grids, pl.concat([index, unknown]), tmp_path, split_digest="split")


def test_an_episode_without_a_clean_baseline_is_refused(grids, index, tmp_path, monkeypatch):
    first = grids.frame["episode_id"][0]
    dirty = grids.frame.with_columns(baseline_clean=pl.col("episode_id") != first)
    monkeypatch.setattr(grids, "frame", dirty)

    with pytest.raises(DatasetError, match=f"without a clean baseline, yet not excluded: {first}"):
        build_tensor_dataset(grids, index, tmp_path, split_digest="split")


def test_an_index_without_a_column_is_refused_by_name(grids, index, tmp_path):
    with pytest.raises(DatasetError, match=r"no column \['scorable'\]"):
        build_tensor_dataset(grids, index.drop("scorable"), tmp_path, split_digest="split")


def test_an_episode_on_two_sides_is_a_leak():
    frame = pl.DataFrame(
        {"episode_id": ["a", "a", "b"], "window_idx": [0, 1, 0], "split": ["train", "test", "val"]}
    )

    assert check_leaks(frame) == 1
    assert check_leaks(frame.filter(pl.col("split") != "test")) == 0
    with pytest.raises(DatasetError, match="1 leaks"):
        assert_no_leak(frame)


def test_a_window_listed_twice_is_a_leak():
    frame = pl.DataFrame({"episode_id": ["a"] * 2, "window_idx": [4] * 2, "split": ["train"] * 2})

    assert check_leaks(frame) == 2
