"""Windows of a recipe's side, read from its datasets and calibrated as they are taken."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import polars as pl

from cis490_pipeline.domain import PHASES, Side, Variant
from cis490_pipeline.errors import CalibrationError, DatasetError
from cis490_pipeline.features.calibration import Array, Batch, CalibrationMode, Calibrator, Scaling
from cis490_pipeline.features.dataset_build import (
    MANIFEST_FILE,
    SCHEMA_FILE,
    build_feature_dataset,
    build_tensor_dataset,
)
from cis490_pipeline.features.devices import Records, devices_of
from cis490_pipeline.features.gauges import GaugeTreatment
from cis490_pipeline.features.raw_windows import RawWindows, open_windows
from cis490_pipeline.features.schema import FeatureSchema, InputKind, feature_schema, require_same
from cis490_pipeline.features.window_data import ArrayWindows, WindowData
from cis490_pipeline.features.window_index import assert_no_leak, check_leaks
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
        raw: RawWindows,
        calibrator: Calibrator,
        baselines: npt.NDArray[np.void],
        records: Records | None = None,
    ) -> None:
        self.frame = frame
        self.calibrator = calibrator
        self._raw = raw
        class_of = {str(phase): i for i, phase in enumerate(PHASES)}
        self.y: npt.NDArray[np.int64] = np.array(
            [class_of[phase] for phase in frame["phase"]], dtype=np.int64
        )
        self.groups: npt.NDArray[np.str_] = np.array(frame["episode_id"].to_list(), dtype=np.str_)
        self._devices = devices_of(frame, baselines, calibrator.variant, calibrator.mode, records)

    def __len__(self) -> int:
        """Return the number of windows."""
        return self.frame.height

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one window: (n_channels, 100) or (n_features,)."""
        return self._raw.shape

    def take(self, indices: npt.NDArray[np.integer[Any]]) -> Array:
        """Calibrated windows at ``indices``, in that order: (n_indices, *shape); NaN is unknown."""
        devices = self._devices
        rows = devices.row[indices]
        return self.calibrator.apply(
            self._raw.take(indices), devices.median[rows], devices.iqr[rows]
        )

    @property
    def calibration_ids(self) -> pl.Series:
        """What each window was measured against: ``episode:<id>``, or the id of a record."""
        ids = self._devices.ids
        return pl.Series("calibration_id", [ids[row] for row in self._devices.row], pl.String)

    @property
    def baseline_suspect(self) -> pl.Series:
        """Whether each window's record says that it may not be clean; null without a record."""
        said = self._devices.suspect
        return pl.Series("baseline_suspect", [said[row] for row in self._devices.row], pl.Boolean)

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
    records: Records | None = None,
    only: pl.Expr | None = None,
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
    records : by host; read in mode ``host_baseline`` alone.
    only : further condition on the key columns, such as the hosts.

    Raises
    ------
    DatasetError
        If the dataset is missing, changed since its manifest was written, or leaks.
    SchemaMismatchError
        If its features mean something else than this code builds.
    CalibrationError
        If the calibrator is of another kind or variant, or a host has no record of its own.
    """
    if (calibrator.kind, calibrator.variant) != (kind, variant):
        raise CalibrationError(
            f"{folder}: asked for {kind} windows, {variant}, with a calibrator of "
            f"{calibrator.kind} windows, {calibrator.variant}"
        )
    frame, raw, baselines = _open_side(folder, kind, variant, side, include_baseline, only)
    return CalibratedWindows(frame, raw, calibrator, baselines, records)


def fit_calibrator(
    folder: Path,
    kind: InputKind,
    variant: Variant,
    mode: CalibrationMode,
    *,
    gauges: GaugeTreatment = GaugeTreatment.RECORDED,
    scaling: Scaling = Scaling.TRAIN,
    records: Records | None = None,
    only: pl.Expr | None = None,
) -> Calibrator:
    """Fit a calibrator on the train side's windows after the baseline, and on nothing else.

    Parameters
    ----------
    folder, kind, variant : as ``load_windows``.
    mode : by what telemetry a device is calibrated.
    gauges : what is left of the gauges that creep after a start.
    scaling : by what the distance from the baseline is divided.
    records, only : as ``load_windows``.

    Raises
    ------
    DatasetError, SchemaMismatchError
        As ``load_windows``.
    CalibrationError
        If train has no window after the baseline, or a host has no record where the mode needs one.
    """
    frame, raw, baselines = _open_side(
        folder, kind, variant, Side.TRAIN, include_baseline=False, only=only
    )
    if frame.is_empty():
        raise CalibrationError(f"{folder}: train has no window after the baseline to fit on")
    devices = devices_of(frame, baselines, variant, mode, records)

    def batches() -> Iterator[Batch]:
        for start in range(0, frame.height, _FIT_BATCH):
            rows = np.arange(start, min(start + _FIT_BATCH, frame.height))
            of = devices.row[rows]
            yield raw.take(rows), devices.median[of], devices.iqr[of]

    return Calibrator.fit(mode, variant, kind, devices.iqr, batches, gauges, scaling)


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
    folder: Path,
    kind: InputKind,
    variant: Variant,
    side: Side,
    include_baseline: bool,
    only: pl.Expr | None,
) -> tuple[pl.DataFrame, RawWindows, npt.NDArray[np.void]]:
    manifest = read_manifest(folder, kind)
    baselines = np.load(
        folder / next(n for n in manifest["files"] if n.startswith("baselines-")),
        allow_pickle=False,
    )
    wanted = pl.col("split") == side
    if not include_baseline:
        wanted &= ~pl.col("baseline")
    if only is not None:
        wanted &= only
    windows, raw = open_windows(folder, manifest, kind, variant, side, wanted)
    return windows.rename({"y": "phase"}).select(FRAME_COLUMNS), raw, baselines
