"""A checkpoint's predictions under ``host_baseline``, stored beside its own, and their account.

A device that is watched is measured against a record of its own, not against the first 15 s of an
episode. The checkpoint stays as it was trained; only what its windows are measured against changes,
as on a device with a kept calibration.
"""

from collections.abc import Callable, Collection
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Final

import polars as pl

from cis490_pipeline.checkpoints.checkpoint import Checkpoint
from cis490_pipeline.domain import Side
from cis490_pipeline.evaluation.detection.report import AlarmInputs
from cis490_pipeline.evaluation.host_baseline import (
    LENGTHS_S,
    compare_calibrations,
    flagged_rows,
    missing_length,
    score_length,
)
from cis490_pipeline.evaluation.predictions import prediction_frame, scored_windows
from cis490_pipeline.evaluation.schema.host_baseline import (
    BaselineLength,
    FlaggedClean,
    HostBaseline,
)
from cis490_pipeline.evaluation.scoring import score_sides, stored_predictions
from cis490_pipeline.experiment.pipeline.calibration import HostRecords, host_records
from cis490_pipeline.experiment.pipeline.corpus import GridShards
from cis490_pipeline.experiment.pipeline.training import TrainedCheckpoint
from cis490_pipeline.features.calibration.calibrator import CalibrationMode
from cis490_pipeline.features.calibration.false_flags import flagged_segments
from cis490_pipeline.features.datasets.load import CalibratedWindows, load_windows
from cis490_pipeline.features.datasets.window_data import Predict, predict_in_batches
from cis490_pipeline.features.grids.store import GridStore
from cis490_pipeline.storage.files import digest, read_object

FOLDER: Final = str(CalibrationMode.HOST_BASELINE)
"""Folder of the predictions, within the checkpoint's."""


@dataclass(frozen=True, kw_only=True)
class HostBaselineReport:
    """Account of one checkpoint with a record of each scored host.

    Attributes
    ----------
    own : its predictions with episode baselines, of the windows that may be scored.
    split_digest : of the sides.
    lock : gives the lock of the recipe, under which predictions are made.
    """

    stage: TrainedCheckpoint
    own: pl.DataFrame
    checkpoint_digest: str
    split_digest: str
    lock: Callable[[], AbstractContextManager[object]]

    @property
    def folder(self) -> Path:
        """Where the predictions are stored."""
        return self.stage.folder / FOLDER

    @property
    def files(self) -> tuple[Path, ...]:
        """The files of the predictions, once they are stored."""
        return (self.folder / "predictions.parquet", self.folder / "predictions.json")

    @cached_property
    def records(self) -> HostRecords:
        """Records of all scored hosts, from all of each one's clean run."""
        return self._records(sorted(self.own["host_id"].unique()))

    def make(self, inputs: AlarmInputs, *, seed: int) -> HostBaseline:
        """Predict, unless it is stored, and compare; measure nothing if a host has no record."""
        made = self.records
        account: HostBaseline = {
            "why": None,
            "hosts_without": dict(made.refused),
            "records": [
                {
                    "host_id": host,
                    "episode_id": record.telemetry[0].episode_id,
                    "duration_s": record.duration_s,
                    "record": record.id,
                    "suspect": record.suspect,
                }
                for host, record in sorted(made.found.items())
            ],
            "excluded": sorted(set(made.episodes) & set(self.own["episode_id"])),
            "n_test_openings": 0,
            "rows": [],
            "lengths": [],
            "flagged_clean": self._flagged(),
            "detection": None,
        }
        own = self.own.filter(~pl.col("episode_id").is_in(made.episodes))
        left = {side: own.filter(pl.col("side") == side) for side in (Side.VAL, Side.TEST)}
        empty = [str(side) for side, frame in left.items() if frame.is_empty()]
        if made.refused:
            return {**account, "why": f"n/a: no clean record of {', '.join(sorted(made.refused))}"}
        if empty:
            return {**account, "why": f"n/a: without the records' episodes no {', '.join(empty)}"}
        host = self.predictions()
        frames = {CalibrationMode.EPISODE_BASELINE: own, CalibrationMode.HOST_BASELINE: host}
        rows, detection = compare_calibrations(frames, inputs, seed=seed)
        openings = read_object(self.files[1], "n_test_openings")["n_test_openings"]
        return {
            **account,
            "n_test_openings": openings,
            "rows": rows,
            "detection": detection,
            "lengths": self._lengths(host, inputs, seed),
        }

    def predictions(self) -> pl.DataFrame:
        """Return the predictions of val and test, without the episodes of the records.

        They are those of a checkpoint, a split and records: with others they are made again.
        """
        of = {
            "split": self.split_digest,
            "records": {h: r.id for h, r in self.records.found.items()},
        }
        frame = stored_predictions(
            self.folder,
            self._predict,
            checkpoint_digest=self.checkpoint_digest,
            split_digest=digest(of),
            lock=self.lock,
        )
        return scored_windows(frame)

    def _flagged(self) -> list[FlaggedClean]:
        """Judge the clean time of each scored side; nothing without a check."""
        check = self._checkpoint.cleanliness
        if check is None:
            return []
        grids = GridStore(GridShards(self.stage.workspace).folder)
        rows = []
        for side in (Side.VAL, Side.TEST):
            episodes = self.own.filter(pl.col("side") == side)["episode_id"].unique()
            rows += flagged_rows(side, flagged_segments(grids, check, episodes.to_list()))
        return rows

    @cached_property
    def _checkpoint(self) -> Checkpoint:
        return self.stage.load()

    @cached_property
    def _predict_proba(self) -> Predict:
        from cis490_pipeline.models.registry import restore

        return restore(self._checkpoint).predict_proba

    def _records(self, hosts: Collection[str], seconds: float | None = None) -> HostRecords:
        check = self._checkpoint.cleanliness
        return host_records(
            self.stage.workspace,
            self.stage.recipe,
            hosts=hosts,
            seconds=seconds,
            checked=(check, "the checkpoint has no cleanliness check" if check is None else ""),
        )

    def _windows(self, side: Side, records: HostRecords, only: pl.Expr) -> CalibratedWindows:
        """Open windows of a side, measured against records; none of the records' episodes."""
        calibrator = replace(self._checkpoint.calibrator, mode=CalibrationMode.HOST_BASELINE)
        return load_windows(
            self.stage.dataset.open(),
            side,
            calibrator,
            include_baseline=True,
            records=records.found,
            only=only & ~pl.col("episode_id").is_in(self.records.episodes),
        )

    def _predict(self) -> pl.DataFrame:
        def opened(side: Side, *, touches: bool) -> CalibratedWindows:
            return self._windows(side, self.records, pl.col("baseline") == touches)

        workspace = self.stage.workspace
        return score_sides(
            self._predict_proba,
            opened,
            grids=GridStore(GridShards(workspace).folder),
            cleanliness=self._checkpoint.cleanliness,
            progress=workspace.progress,
            task=f"score {self.stage.name} with host baselines",
        )

    def _lengths(self, host: pl.DataFrame, inputs: AlarmInputs, seed: int) -> list[BaselineLength]:
        """Compare records of each length on validation; nothing of the test side is read."""
        val = host.filter(pl.col("side") == Side.VAL)
        hosts = sorted(val["host_id"].unique())
        whole = [self.records.found[name].duration_s for name in hosts]
        rows = [score_length(val, inputs, seconds=None, durations_s=whole, seed=seed)]
        for seconds in LENGTHS_S:
            records = self._records(hosts, seconds)
            if records.refused:
                rows.append(missing_length(seconds, "; ".join(records.refused.values())))
                continue
            windows = self._windows(Side.VAL, records, ~pl.col("baseline"))
            proba = predict_in_batches(self._predict_proba, windows)
            keys = windows.frame.with_columns(windows.calibration_ids, windows.baseline_suspect)
            durations_s = [records.found[name].duration_s for name in hosts]
            predicted = prediction_frame(keys, proba)
            rows.append(
                score_length(predicted, inputs, seconds=seconds, durations_s=durations_s, seed=seed)
            )
        return rows
