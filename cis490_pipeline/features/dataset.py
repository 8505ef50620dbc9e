"""Windows of a recipe's side, read from its datasets and calibrated as they are taken."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final, Protocol

import numpy as np
import numpy.typing as npt
import polars as pl

from cis490_pipeline.domain import PHASES, Side, Variant
from cis490_pipeline.errors import CalibrationError, DatasetError
from cis490_pipeline.features.calibration import Array, Batch, CalibrationMode, Calibrator
from cis490_pipeline.features.channels import channel_indices
from cis490_pipeline.features.dataset_build import (
    INDEX_FILE,
    MANIFEST_FILE,
    SCHEMA_FILE,
    build_feature_dataset,
    build_tensor_dataset,
)
from cis490_pipeline.features.grid_store import GridStore, read_ahead
from cis490_pipeline.features.schema import FeatureSchema, InputKind, feature_schema, require_same
from cis490_pipeline.features.summary import summary_names
from cis490_pipeline.features.window_data import ArrayWindows, WindowData
from cis490_pipeline.features.window_index import assert_no_leak, check_leaks
from cis490_pipeline.features.windows import STEPS
from cis490_pipeline.store.files import digest, file_sha256, read_json

__all__ = [
    "ArrayWindows",
    "CalibratedWindows",
    "WindowData",
    "assert_no_leak",
    "build_feature_dataset",
    "build_tensor_dataset",
    "check_leaks",
    "fit_calibrator",
    "load_windows",
    "read_manifest",
    "window_keys",
]

FRAME_COLUMNS: Final = (
    "episode_id",
    "host_id",
    "profile",
    "sample_name",
    "window_idx",
    "t_start_wall_ns",
    "t_end_wall_ns",
    "purity",
    "phase",
    "split",
    "scorable",
    "baseline",
)

_FIT_BATCH: Final = 512
_GAP_STEPS: Final = 4 * STEPS
"""Windows no farther apart are read together with what lies between: cheaper than a seek."""


class _RawWindows(Protocol):
    """Uncalibrated windows by their place in the key frame."""

    @property
    def shape(self) -> tuple[int, ...]: ...

    def take(self, indices: npt.NDArray[np.integer[Any]]) -> Array: ...

    def read_ahead(self, indices: npt.NDArray[np.integer[Any]]) -> None: ...


class CalibratedWindows:
    """Windows of one side, calibrated by their episodes' baselines as they are taken.

    Attributes
    ----------
    frame : keys of the windows, in their order.
    calibrator : what calibrates them.
    y : (n_windows,) class index.
    groups : (n_windows,) episode ids.
    """

    def __init__(
        self,
        frame: pl.DataFrame,
        raw: _RawWindows,
        calibrator: Calibrator,
        baselines: npt.NDArray[np.void],
    ) -> None:
        self.frame = frame
        self.calibrator = calibrator
        self._raw = raw
        class_of = {str(phase): i for i, phase in enumerate(PHASES)}
        self.y: npt.NDArray[np.int64] = np.array(
            [class_of[phase] for phase in frame["phase"]], dtype=np.int64
        )
        self.groups: npt.NDArray[np.str_] = np.array(frame["episode_id"].to_list(), dtype=np.str_)
        self._baseline_of, self._median, self._iqr = _baselines_of(
            frame, baselines, calibrator.variant
        )

    def __len__(self) -> int:
        """Return the number of windows."""
        return self.frame.height

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one window: (n_channels, 100) or (n_features,)."""
        return self._raw.shape

    def take(self, indices: npt.NDArray[np.integer[Any]]) -> Array:
        """Calibrated windows at ``indices``, in that order: (n_indices, *shape); NaN is unknown."""
        rows = self._baseline_of[indices]
        return self.calibrator.apply(self._raw.take(indices), self._median[rows], self._iqr[rows])

    def read_ahead(self, indices: npt.NDArray[np.integer[Any]]) -> None:
        """Have the readings at ``indices`` read from disk in the background."""
        self._raw.read_ahead(indices)


def load_windows(
    folder: Path,
    kind: InputKind,
    variant: Variant,
    side: Side,
    calibrator: Calibrator,
    *,
    include_baseline: bool = False,
) -> CalibratedWindows:
    """Open one side of a dataset.

    Parameters
    ----------
    folder : of the feature dataset ("summary") or the tensor dataset ("tensor").
    kind, variant : what the model reads; the calibrator's.
    side : train, val or test.
    calibrator : fitted on this dataset's train side, or restored from a checkpoint.
    include_baseline : also the windows that overlap the first 15 s (for replay; never for training,
        selection or scores).

    Raises
    ------
    DatasetError
        If the dataset is missing, changed since its manifest was written, or leaks.
    SchemaMismatchError
        If its features mean something else than this code builds.
    CalibrationError
        If the calibrator is of another kind or variant.
    """
    if (calibrator.kind, calibrator.variant) != (kind, variant):
        raise CalibrationError(
            f"{folder}: asked for {kind} windows, {variant}, with a calibrator of "
            f"{calibrator.kind} windows, {calibrator.variant}"
        )
    frame, raw, baselines = _open_side(folder, kind, variant, side, include_baseline)
    return CalibratedWindows(frame, raw, calibrator, baselines)


def fit_calibrator(
    folder: Path, kind: InputKind, variant: Variant, mode: CalibrationMode
) -> Calibrator:
    """Fit a calibrator on the train side's windows after the baseline, and on nothing else.

    Raises
    ------
    DatasetError, SchemaMismatchError
        As ``load_windows``.
    CalibrationError
        If train has no window after the baseline.
    """
    frame, raw, baselines = _open_side(folder, kind, variant, Side.TRAIN, include_baseline=False)
    if frame.is_empty():
        raise CalibrationError(f"{folder}: train has no window after the baseline to fit on")
    baseline_of, median, iqr = _baselines_of(frame, baselines, variant)

    def batches() -> Iterator[Batch]:
        for start in range(0, frame.height, _FIT_BATCH):
            rows = np.arange(start, min(start + _FIT_BATCH, frame.height))
            episodes = baseline_of[rows]
            yield raw.take(rows), median[episodes], iqr[episodes]

    return Calibrator.fit(mode, variant, kind, iqr, batches)


def window_keys(
    folder: Path, kind: InputKind, side: Side, *, include_baseline: bool = False
) -> pl.DataFrame:
    """Keys of a side's windows without their readings, in the order ``load_windows`` has them.

    Raises
    ------
    DatasetError, SchemaMismatchError
        As ``load_windows``.
    """
    names = read_manifest(folder, kind)["files"]
    # The index of a tensor dataset is its only parquet file; a feature dataset has only shards.
    tables = [name for name in sorted(names) if name.endswith(".parquet")]
    wanted = pl.col("split") == side
    if not include_baseline:
        wanted &= ~pl.col("baseline")
    windows = pl.concat(pl.scan_parquet(folder / name) for name in tables).filter(wanted)
    return windows.rename({"y": "phase"}).select(FRAME_COLUMNS).collect()


def read_manifest(folder: Path, kind: InputKind) -> dict[str, Any]:
    """Read and check a dataset's manifest: its own digest, its schema, its files, no leak.

    Raises
    ------
    DatasetError
        Naming what is missing or was changed.
    SchemaMismatchError
        If the features mean something else than this code builds.
    """
    path = folder / MANIFEST_FILE
    if not path.is_file():
        raise DatasetError(f"{path}: no dataset here yet; extract the recipe's features first")
    manifest: dict[str, Any] = read_json(path)
    content = {k: v for k, v in manifest.items() if k not in ("digest", "grids_folder")}
    if digest(content) != manifest.get("digest") or manifest.get("kind") != kind:
        raise DatasetError(
            f"{path}: kind {manifest.get('kind')!r}, wanted {kind!r}, with its own digest intact; "
            "cut them again (cis490 extract --force)"
        )
    changed = [
        name
        for name, sha256 in sorted(manifest["files"].items())
        if not (folder / name).is_file() or file_sha256(folder / name) != sha256
    ]
    if changed:
        raise DatasetError(
            f"{folder}: missing or changed since the manifest was written: {changed}; "
            "cut them again (cis490 extract --force)"
        )
    saved = FeatureSchema.from_dict(read_json(folder / SCHEMA_FILE))
    require_same(folder, saved, feature_schema(kind, Variant.ORACLE), None)
    if manifest["leaks"] != 0:
        raise DatasetError(f"{path}: {manifest['leaks']} leaks between sides; make the split again")
    return manifest


def _open_side(
    folder: Path, kind: InputKind, variant: Variant, side: Side, include_baseline: bool
) -> tuple[pl.DataFrame, _RawWindows, npt.NDArray[np.void]]:
    manifest = read_manifest(folder, kind)
    names = list(manifest["files"])
    baselines = np.load(
        folder / next(n for n in names if n.startswith("baselines-")), allow_pickle=False
    )
    wanted = pl.col("split") == side
    if not include_baseline:
        wanted &= ~pl.col("baseline")
    if kind == "summary":
        shards = sorted(n for n in names if n.startswith(f"{side}-") and n.endswith(".parquet"))
        if not shards:
            raise DatasetError(f"{folder}: no window on side {side}")
        features = summary_names(variant)
        windows = pl.concat(pl.scan_parquet(folder / n) for n in shards).filter(wanted).collect()
        X = windows.select(features).to_numpy().astype(np.float32, copy=False)
        raw: _RawWindows = _InMemory(np.ascontiguousarray(X))
    else:
        windows = pl.read_parquet(folder / INDEX_FILE).filter(wanted)
        raw = _InShards(_grids_of(folder, manifest), windows, channel_indices(variant))
    frame = windows.rename({"y": "phase"}).select(FRAME_COLUMNS)
    return frame, raw, baselines


def _grids_of(folder: Path, manifest: Mapping[str, Any]) -> GridStore:
    grids = GridStore(folder / manifest["grids_folder"])
    lost = sorted(
        name for name, sha in manifest["shards"].items() if grids.shard_sha256.get(name) != sha
    )
    if lost:
        raise DatasetError(
            f"{folder}: grid shards {lost} are not those its windows were cut from; "
            "build the tensor dataset again"
        )
    return grids


def _baselines_of(
    frame: pl.DataFrame, baselines: npt.NDArray[np.void], variant: Variant
) -> tuple[npt.NDArray[np.intp], Array, Array]:
    """Row of each window's episode, and the median and IQR of the episodes the frame has."""
    place = {str(episode_id): i for i, episode_id in enumerate(baselines["episode_id"])}
    episode_ids = list(dict.fromkeys(frame["episode_id"]))
    row = {episode_id: i for i, episode_id in enumerate(episode_ids)}
    chosen = baselines[[place[episode_id] for episode_id in episode_ids]]
    channels = channel_indices(variant)
    baseline_of = np.array([row[episode_id] for episode_id in frame["episode_id"]], dtype=np.intp)
    return baseline_of, chosen["median"][:, channels], chosen["iqr"][:, channels]


class _InMemory:
    """Summaries: (n_windows, n_features)."""

    def __init__(self, X: Array) -> None:
        self._X = X

    @property
    def shape(self) -> tuple[int, ...]:
        return (self._X.shape[1],)

    def take(self, indices: npt.NDArray[np.integer[Any]]) -> Array:
        chosen: Array = self._X[indices]
        return chosen

    def read_ahead(self, indices: npt.NDArray[np.integer[Any]]) -> None:
        """Do nothing: in memory there is nothing to wait for."""


class _InShards:
    """Tensors cut from memory-mapped grid shards as they are asked for."""

    def __init__(
        self, grids: GridStore, windows: pl.DataFrame, channels: npt.NDArray[np.intp]
    ) -> None:
        self._channels = channels
        names = sorted(windows["shard"].unique())
        self._shards = [grids.shard(name) for name in names]
        number = {name: i for i, name in enumerate(names)}
        self._shard_of = np.array([number[name] for name in windows["shard"]], dtype=np.intp)
        self._row_start = windows["row_start"].to_numpy()

    @property
    def shape(self) -> tuple[int, ...]:
        return (self._channels.size, STEPS)

    def take(self, indices: npt.NDArray[np.integer[Any]]) -> Array:
        out = np.empty((len(indices), *self.shape), dtype=np.float32)
        shard_of = self._shard_of[indices]
        for shard in np.unique(shard_of):
            here = np.flatnonzero(shard_of == shard)
            steps = self._row_start[indices[here]][:, None] + np.arange(STEPS)
            # Steps first, channels second: whole rows are read from the map, then thinned out.
            out[here] = self._shards[shard][steps][..., self._channels].transpose(0, 2, 1)
        return out

    def read_ahead(self, indices: npt.NDArray[np.integer[Any]]) -> None:
        shard_of, start = self._shard_of[indices], self._row_start[indices]
        for shard in np.unique(shard_of):
            starts = np.unique(start[shard_of == shard])
            parts = np.split(starts, np.flatnonzero(np.diff(starts) > _GAP_STEPS) + 1)
            for part in parts:
                read_ahead(self._shards[shard], int(part[0]), int(part[-1]) + STEPS)
