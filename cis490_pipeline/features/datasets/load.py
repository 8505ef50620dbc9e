"""Windows of a recipe's side, read from its datasets and calibrated as they are taken."""

from collections.abc import Callable, Collection, Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Final, TypeVar

import numpy as np
import numpy.typing as npt
import polars as pl

from cis490_pipeline.domain import Side, Variant
from cis490_pipeline.domain.arrays import Float32s
from cis490_pipeline.domain.catalogue import InputKind
from cis490_pipeline.errors import CalibrationError, DatasetError
from cis490_pipeline.features.calibration.calibrator import CalibrationMode, Calibrator, Scaling
from cis490_pipeline.features.calibration.drifting_gauges import GaugeTreatment
from cis490_pipeline.features.calibration.moments import Batch
from cis490_pipeline.features.calibration.references import Records, calibration_references
from cis490_pipeline.features.datasets.opened import OpenDataset, open_dataset
from cis490_pipeline.features.datasets.raw_windows import RawWindows, open_windows
from cis490_pipeline.features.datasets.window_keys import WindowKeys
from cis490_pipeline.storage.parquet import scan_table

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

T = TypeVar("T")


class CalibratedWindows:
    """Windows of one side, calibrated by their episodes' baselines as they are taken.

    Of each window are held its class, its episode's number and its place on disk: 16 bytes; names
    are held once per episode, and the other keys are read when they are asked for.

    Attributes
    ----------
    calibrator : what calibrates them.
    y : (n_windows,) class index.
    episode_ids : (n_episodes,) in the order of their first windows.
    episode_numbers : (n_windows,) place of each window's episode among them.
    """

    def __init__(
        self,
        keys: WindowKeys,
        raw: RawWindows,
        calibrator: Calibrator,
        baselines: npt.NDArray[np.void],
        records: Records | None,
        read_frame: Callable[[], pl.DataFrame],
    ) -> None:
        self.calibrator = calibrator
        self.y = keys.y
        self.episode_ids: list[str] = keys.episodes["episode_id"].to_list()
        self.episode_numbers = keys.episode_index
        self._raw = raw
        self._read_frame = read_frame
        self._devices = calibration_references(
            keys.episodes, baselines, calibrator.variant, calibrator.mode, records
        )

    @property
    def groups(self) -> npt.NDArray[np.str_]:
        """(n_windows,) episode ids, 104 bytes each: built on each access, for small sets."""
        ids: npt.NDArray[np.str_] = np.array(self.episode_ids, dtype=np.str_)[self.episode_numbers]
        return ids

    @cached_property
    def frame(self) -> pl.DataFrame:
        """Keys of the windows, in their order; read when first asked for.

        Raises
        ------
        DatasetError
            If the dataset was written again since these windows were opened.
        """
        frame = self._read_frame()
        ids = pl.Series(self.episode_ids, dtype=pl.String).gather(self.episode_numbers)
        if not frame["episode_id"].equals(ids):
            raise DatasetError(
                "the dataset was written again since its windows were opened; open it again"
            )
        return frame

    def __len__(self) -> int:
        """Return the number of windows."""
        return len(self.y)

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one calibrated window: (n_channels, 100) or (n_features,)."""
        return self.calibrator.shape

    def take(self, indices: npt.NDArray[np.integer[Any]]) -> Float32s:
        """Calibrated windows at ``indices``, in that order: (n_indices, *shape); NaN is unknown."""
        devices = self._devices
        rows = devices.row[self.episode_numbers[indices]]
        return self.calibrator.apply(
            self._raw.take(indices), devices.median[rows], devices.iqr[rows]
        )

    @property
    def calibration_ids(self) -> pl.Series:
        """What each window was measured against: ``episode:<id>``, or the id of a record."""
        ids = self._devices.ids
        return pl.Series("calibration_id", self._of_each_window(ids), pl.String)

    @property
    def baseline_suspect(self) -> pl.Series:
        """Whether each window's record says that it may not be clean; null without a record."""
        suspect = self._devices.suspect
        return pl.Series("baseline_suspect", self._of_each_window(suspect), pl.Boolean)

    def _of_each_window(self, of_device: Sequence[T]) -> list[T]:
        return [of_device[row] for row in self._devices.row[self.episode_numbers]]

    def read_ahead(self, indices: npt.NDArray[np.integer[Any]]) -> None:
        """Have the readings at ``indices`` read from disk in the background."""
        self._raw.read_ahead(indices)


def load_windows(
    dataset: OpenDataset,
    side: Side,
    calibrator: Calibrator,
    *,
    include_baseline: bool = False,
    records: Records | None = None,
    only: pl.Expr | None = None,
) -> CalibratedWindows:
    """Open one side of a dataset, as a model with this calibrator reads it.

    Parameters
    ----------
    calibrator : fitted on this dataset's train side, or restored from a checkpoint.
    include_baseline : also the windows that overlap the first 15 s (for replay; never for training,
        selection or scores).
    records : by host; read in mode ``host_baseline`` alone.
    only : further condition on the key columns, such as the hosts.

    Raises
    ------
    DatasetError
        If the side has no file, or the grids changed since the dataset was made.
    CalibrationError
        If the calibrator is of another kind, or a host has no record of its own.
    """
    if not dataset.holds(calibrator.kind):
        raise CalibrationError(
            f"{dataset.folder}: {dataset.kind} windows, with a calibrator of {calibrator.kind} "
            f"windows, {calibrator.variant}"
        )
    wanted = _wanted(side, include_baseline, only)
    keys, raw = open_windows(dataset, calibrator.variant, side, wanted, calibrator.kind)

    def read_frame() -> pl.DataFrame:
        now = open_dataset(dataset.folder, dataset.kind)
        return _read_keys(now.tables(side), wanted)

    return CalibratedWindows(keys, raw, calibrator, dataset.baselines, records, read_frame)


def fit_calibrator(
    dataset: OpenDataset,
    variant: Variant,
    mode: CalibrationMode,
    *,
    gauges: GaugeTreatment = GaugeTreatment.RECORDED,
    scaling: Scaling = Scaling.TRAIN,
    quarantine: Collection[str] = (),
    records: Records | None = None,
    only: pl.Expr | None = None,
    kind: InputKind | None = None,
) -> Calibrator:
    """Fit a calibrator on the train side's windows after the baseline, and on nothing else.

    ``records`` and ``only`` are as in ``load_windows``, ``kind`` is the dataset's by default, the
    others as in ``Calibrator.fit``.

    Raises
    ------
    DatasetError
        As ``load_windows``.
    CalibrationError
        If train has no window after the baseline, or a host has no record where the mode needs one.
    """
    wanted = _wanted(Side.TRAIN, include_baseline=False, only=only)
    kind = kind or dataset.kind
    keys, raw = open_windows(dataset, variant, Side.TRAIN, wanted, kind)
    n_windows = len(keys.y)
    if n_windows == 0:
        raise CalibrationError(
            f"{dataset.folder}: train has no window after the baseline to fit on"
        )
    devices = calibration_references(keys.episodes, dataset.baselines, variant, mode, records)

    def batches() -> Iterator[Batch]:
        for start in range(0, n_windows, _FIT_BATCH):
            rows = np.arange(start, min(start + _FIT_BATCH, n_windows))
            of = devices.row[keys.episode_index[rows]]
            yield raw.take(rows), devices.median[of], devices.iqr[of]

    return Calibrator.fit(mode, variant, kind, devices.iqr, batches, gauges, scaling, quarantine)


def window_keys(
    dataset: OpenDataset, side: Side, *, include_baseline: bool = False
) -> pl.DataFrame:
    """Keys of a side's windows without their readings, in the order ``load_windows`` has them."""
    return _read_keys(dataset.tables(), _wanted(side, include_baseline, None))


def _wanted(side: Side, include_baseline: bool, only: pl.Expr | None) -> pl.Expr:
    wanted = pl.col("split") == side
    if not include_baseline:
        wanted &= ~pl.col("baseline")
    return wanted if only is None else wanted & only


def _read_keys(tables: Sequence[Path], wanted: pl.Expr) -> pl.DataFrame:
    windows = pl.concat(scan_table(table) for table in tables).filter(wanted)
    return windows.rename({"y": "phase"}).select(FRAME_COLUMNS).collect()
