import numpy as np
import polars as pl
import pytest

from cis490_pipeline.domain import Side, Variant
from cis490_pipeline.errors import DatasetError
from cis490_pipeline.features.calibration.calibrator import CalibrationMode
from cis490_pipeline.features.datasets import raw_windows
from cis490_pipeline.features.datasets.build import build_feature_dataset
from cis490_pipeline.features.datasets.load import fit_calibrator, load_windows
from cis490_pipeline.features.datasets.opened import open_dataset
from cis490_pipeline.features.datasets.summary_rows import row_file
from cis490_pipeline.features.datasets.window_keys import read_window_keys
from cis490_pipeline.features.summary import summary_names

NAMES = summary_names(Variant.ORACLE)
LIMIT = "cis490_pipeline.features.datasets.window_data.IN_MEMORY_BYTES"


def write_shard(path, n_windows=50, seed=0):
    X = np.random.default_rng(seed).normal(size=(n_windows, len(NAMES))).astype(np.float32)
    X[3, 5] = np.nan
    frame = pl.DataFrame(X, schema=list(NAMES)).with_columns(episode_id=pl.lit("e"))
    # The order of a parquet file's columns is nobody's promise.
    frame.select(reversed(frame.columns)).write_parquet(path)
    return X


def read(shard):
    rows = row_file(shard)
    return rows.take(np.arange(rows.n_rows))[:, 0]


def opened(folder, variant, side, kind="summary"):
    opened = open_dataset(folder, kind)
    calibrator = fit_calibrator(opened, variant, CalibrationMode.EPISODE_BASELINE)
    return load_windows(opened, side, calibrator)


@pytest.fixture
def dataset(grids, index, tmp_path):
    build_feature_dataset(grids, index, tmp_path / "features", split_digest="split")
    return tmp_path / "features"


def test_rows_are_the_summaries_of_their_shard(tmp_path):
    X = write_shard(tmp_path / "train-00000-abc.parquet")

    np.testing.assert_array_equal(read(tmp_path / "train-00000-abc.parquet"), X)
    assert sorted(path.suffix for path in tmp_path.iterdir()) == [".parquet", ".rows"]


def test_rows_are_written_once(tmp_path):
    shard = tmp_path / "a.parquet"
    write_shard(shard)
    row_file(shard)
    before = (tmp_path / "a.rows").stat()

    row_file(shard)

    after = (tmp_path / "a.rows").stat()
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


@pytest.mark.parametrize(
    "damage",
    [
        lambda rows: rows[:-1],
        lambda rows: rows + b"\0",
        lambda rows: rows[:100] + bytes([rows[100] ^ 1]) + rows[101:],
        lambda rows: rows[:-1] + bytes([rows[-1] ^ 1]),
        lambda rows: b"",
    ],
)
def test_damaged_rows_are_written_again(tmp_path, damage):
    shard, rows = tmp_path / "a.parquet", tmp_path / "a.rows"
    X = write_shard(shard)
    row_file(shard)
    sound = rows.read_bytes()
    rows.write_bytes(damage(sound))

    np.testing.assert_array_equal(read(shard), X)
    assert rows.read_bytes() == sound


def test_rows_that_cannot_be_written_are_refused_by_name(tmp_path):
    write_shard(tmp_path / "a.parquet")
    (tmp_path / "a.rows").mkdir()

    with pytest.raises(DatasetError, match=r"a\.rows: cannot be written .* must be writable"):
        row_file(tmp_path / "a.parquet")


@pytest.mark.parametrize("kind", ["summary", "history"])
@pytest.mark.parametrize("variant", Variant)
def test_features_that_are_not_held_are_the_same_to_the_byte(
    grids, index, tmp_path, monkeypatch, variant, kind
):
    dataset = tmp_path / "features"
    build_feature_dataset(grids, index, dataset, split_digest="split", kind=kind)
    for side in (Side.TRAIN, Side.VAL):
        held = opened(dataset, variant, side, kind)
        indices = np.random.default_rng(0).integers(len(held), size=3 * len(held))
        wanted = held.take(indices)
        digest = held.calibrator.digest
        with monkeypatch.context() as lowered:
            lowered.setattr(LIMIT, 1000)
            read_windows = opened(dataset, variant, side, kind)

        assert isinstance(read_windows._raw, raw_windows.WindowsInFiles)
        read_windows.read_ahead(indices)
        assert read_windows.take(indices).tobytes() == wanted.tobytes()
        assert read_windows.calibrator.digest == digest
        assert read_windows.frame.equals(held.frame)


def test_small_sets_leave_no_rows_behind(dataset):
    opened(dataset, Variant.ORACLE, Side.TRAIN)

    assert not list(dataset.glob("*.rows"))


def test_a_rebuilt_dataset_leaves_no_rows_of_the_old_one(dataset, grids, index, monkeypatch):
    monkeypatch.setattr(LIMIT, 1000)
    opened(dataset, Variant.ORACLE, Side.TRAIN)
    assert list(dataset.glob("*.rows"))

    build_feature_dataset(grids, index, dataset, split_digest="another")

    assert not list(dataset.glob("*.rows"))


def test_windows_of_several_shards_come_from_the_right_rows(tmp_path):
    shards = [tmp_path / f"{name}.parquet" for name in "abcd"]
    X = np.concatenate([write_shard(path, 40 + i, seed=i) for i, path in enumerate(shards)])
    wanted = np.array([*range(3, 39), *range(45, 79, 3), 125, 163], dtype=np.uint32)
    columns = [NAMES.index(name) for name in summary_names(Variant.REALISTIC)]
    windows = raw_windows.windows_in_tables(shards, wanted, "summary", np.array(columns))
    order = np.random.default_rng(0).permutation(wanted.size)

    np.testing.assert_array_equal(windows.take(order), X[wanted[order]][:, columns])
    assert not (tmp_path / "c.rows").exists(), "no window of it was wanted"


def test_keys_read_in_pieces_are_the_keys_read_at_once(tmp_path, monkeypatch):
    rng = np.random.default_rng(0)
    tables, frames = [], []
    for name in "ab":
        ids = np.repeat([f"{name}-{i}" for i in rng.permutation(9)], rng.integers(1, 6, 9))
        frame = pl.DataFrame({"episode_id": ids}).with_columns(
            host_id=pl.lit("h-") + pl.col("episode_id"),
            y=pl.Series(rng.choice(["clean", "dormant"], ids.size)),
            baseline=pl.Series(rng.random(ids.size) < 0.3),
            row_start=pl.Series(rng.integers(2**33, size=ids.size)),
        )
        frame.write_parquet(tmp_path / f"{name}.parquet")
        tables.append(tmp_path / f"{name}.parquet")
        frames.append(frame)
    whole = pl.concat(frames).with_row_index("row").filter(~pl.col("baseline"))
    monkeypatch.setattr("cis490_pipeline.features.datasets.window_keys._PIECE_ROWS", 4)

    keys = read_window_keys(tables, ~pl.col("baseline"))
    starts = read_window_keys(tables, ~pl.col("baseline"), row="row_start").row

    of_window = keys.episodes[keys.episode_index]
    assert of_window["episode_id"].equals(whole["episode_id"])
    assert of_window["host_id"].equals(whole["host_id"])
    assert keys.episodes["episode_id"].is_unique().all()
    np.testing.assert_array_equal(np.unique(keys.episode_index), np.arange(keys.episodes.height))
    np.testing.assert_array_equal(keys.y, whole["y"].replace_strict({"clean": 0, "dormant": 4}))
    np.testing.assert_array_equal(keys.row, whole["row"])
    np.testing.assert_array_equal(starts, whole["row_start"])


def test_keys_of_a_dataset_made_anew_under_open_windows_are_refused(dataset, grids, index):
    windows = opened(dataset, Variant.ORACLE, Side.TRAIN)
    fewer = index.filter(pl.col("episode_id") != windows.episode_ids[0])
    build_feature_dataset(grids, fewer, dataset, split_digest="another")

    with pytest.raises(DatasetError, match="written again since its windows were opened"):
        windows.frame  # noqa: B018
