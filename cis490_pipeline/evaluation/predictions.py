"""Stored predictions of a checkpoint on val and test: the one file every metric reads.

Written once per checkpoint and split, with both digests beside it, so that no score can be
computed from predictions of another model or of other sides. Windows that touch the baseline are
in the file and marked; readers get the scored windows alone unless they ask for these too.
"""

from pathlib import Path
from typing import Any, Final, TypedDict, cast

import msgspec
import numpy as np
import numpy.typing as npt
import polars as pl

from cis490_pipeline.domain import PHASES, Side
from cis490_pipeline.domain.arrays import class_indices
from cis490_pipeline.errors import EvaluationError, StoreError
from cis490_pipeline.evaluation.confusion import EpisodeMatrices, episode_confusions
from cis490_pipeline.storage.files import file_sha256, read_json, write_json
from cis490_pipeline.storage.parquet import read_table, write_parquet

PROBABILITY_COLUMNS: Final = tuple(f"p_{phase}" for phase in PHASES)

PREDICTION_SCHEMA: Final = pl.Schema(
    {
        "episode_id": pl.String(),
        "host_id": pl.String(),
        "profile": pl.String(),
        "sample_name": pl.String(),
        "side": pl.String(),
        "window_idx": pl.Int64(),
        "t_start_wall_ns": pl.Int64(),
        "t_end_wall_ns": pl.Int64(),
        "purity": pl.Float64(),
        "touches_baseline": pl.Boolean(),
        "y_true": pl.String(),
        **{column: pl.Float64() for column in PROBABILITY_COLUMNS},
        "calibration_id": pl.String(),
        "baseline_suspect": pl.Boolean(),
    }
)
"""``touches_baseline`` marks windows that overlap the readings an episode is calibrated by; only
``subsets`` scores them. ``calibration_id`` identifies the reference (``episode:<id>``, or the id of
a calibration record), ``baseline_suspect`` whether the cleanliness check flagged it. Both are null
without calibration, the latter also if it could not be checked."""

PREDICTION_COLUMNS: Final = tuple(PREDICTION_SCHEMA)

PREDICTIONS_VERSION: Final = "4"
"""Raised when the columns or their meaning change; ``_READABLE`` lists the versions still read."""

_READABLE: Final = ("3", PREDICTIONS_VERSION)
_OTHER_NAMES: Final = {"split": "side", "phase": "y_true", "baseline": "touches_baseline"}
"""Columns as datasets call them; version 3 also called the side ``split``."""

_PARQUET, _MANIFEST = "predictions.parquet", "predictions.json"
_SUM_TOLERANCE = 1e-3


class PredictionsManifest(TypedDict, total=False):
    """Content of ``predictions.json``; earlier versions lack some of it."""

    version: str | None
    checkpoint_digest: str | None
    split_digest: str | None
    n_test_openings: int
    test_openings: dict[str, int]
    n_windows: int
    n_windows_scored: int
    sha256: str | None
    alarm_sha256: str


def prediction_frame(windows: pl.DataFrame, proba: npt.NDArray[np.floating[Any]]) -> pl.DataFrame:
    """Join a model's probabilities to the keys of their windows, as a checked frame.

    Parameters
    ----------
    windows : the key columns of ``PREDICTION_COLUMNS``, or a dataset's names for them
        (``phase``, ``baseline``); ``calibration_id`` and ``baseline_suspect`` are optional.
    proba : (n_windows, K) in the order of ``PHASES``.

    Raises
    ------
    EvaluationError
        As ``checked_predictions``, or if there is not one row of probabilities per window.
    """
    if proba.shape != (windows.height, len(PHASES)):
        raise EvaluationError(
            f"{windows.height} windows need probabilities of shape "
            f"({windows.height}, {len(PHASES)}), got {proba.shape}"
        )
    windows = _with_current_names(windows)
    for name in ("calibration_id", "baseline_suspect"):
        if name not in windows.columns:
            windows = windows.with_columns(pl.lit(None, dtype=PREDICTION_SCHEMA[name]).alias(name))
    columns = {
        name: np.ascontiguousarray(proba[:, k], dtype=np.float64)
        for k, name in enumerate(PROBABILITY_COLUMNS)
    }
    return checked_predictions(
        windows.with_columns(**{k: pl.Series(v) for k, v in columns.items()})
    )


def _with_current_names(frame: pl.DataFrame) -> pl.DataFrame:
    columns = frame.columns
    return frame.rename(
        {old: new for old, new in _OTHER_NAMES.items() if old in columns and new not in columns}
    )


def checked_predictions(frame: pl.DataFrame) -> pl.DataFrame:
    """Convert a frame to ``PREDICTION_SCHEMA`` and validate it.

    EvaluationError names every fault: absent columns, unknown phases or sides, duplicate windows,
    or probabilities that are not finite, are negative, or do not sum to one.
    """
    absent = [name for name in PREDICTION_COLUMNS if name not in frame.columns]
    if absent:
        raise EvaluationError(f"predictions lack the columns {absent}, got {frame.columns}")
    frame = frame.select(PREDICTION_COLUMNS).cast(PREDICTION_SCHEMA)
    faults = []
    for column, known in (("y_true", [*PHASES]), ("side", [Side.VAL, Side.TEST])):
        allowed = [str(value) for value in known]
        strange = sorted(str(value) for value in set(frame[column]) - set(allowed))
        if strange:
            faults.append(f"{column} holds {strange}, known are {allowed}")
    n_unmarked = frame["touches_baseline"].null_count()
    if n_unmarked:
        faults.append(f"of {n_unmarked} windows nothing says whether they touch the baseline")
    n_twice = frame.height - frame.select("episode_id", "window_idx").n_unique()
    if n_twice:
        faults.append(f"{n_twice} windows are there twice")
    proba = frame.select(PROBABILITY_COLUMNS).to_numpy()
    wrong = ~np.isfinite(proba).all(axis=1) | (proba < 0).any(axis=1)
    wrong |= ~(np.abs(proba.sum(axis=1) - 1) < _SUM_TOLERANCE)
    if wrong.any():
        row = int(np.flatnonzero(wrong)[0])
        faults.append(
            f"{int(wrong.sum())} rows are no probabilities, first row {row}: {proba[row].tolist()}"
        )
    if faults:
        raise EvaluationError("predictions cannot be scored: " + "; ".join(faults))
    return frame


def write_predictions(
    folder: Path, frame: pl.DataFrame, *, checkpoint_digest: str, split_digest: str
) -> PredictionsManifest:
    """Store a checkpoint's predictions, counting each opening of the test side.

    Returns
    -------
    The manifest as written. ``n_test_openings`` accumulates over trainings on the same split,
    because each opening is a chance to select on the test side; ``test_openings`` counts them by
    checkpoint.

    Raises
    ------
    EvaluationError
        If the frame cannot be scored.
    """
    frame = checked_predictions(frame)
    opened = frame.filter(pl.col("side") == Side.TEST).height > 0
    before: PredictionsManifest = _manifest(folder) if (folder / _MANIFEST).is_file() else {}
    same_split = before.get("split_digest") == split_digest
    openings = dict(before.get("test_openings", {})) if same_split else {}
    openings[checkpoint_digest] = openings.get(checkpoint_digest, 0) + opened
    write_parquet(folder / _PARQUET, frame)
    manifest: PredictionsManifest = {
        "version": PREDICTIONS_VERSION,
        "checkpoint_digest": checkpoint_digest,
        "split_digest": split_digest,
        "n_test_openings": (before.get("n_test_openings", 0) if same_split else 0) + opened,
        "test_openings": openings,
        "n_windows": frame.height,
        "n_windows_scored": scored_windows(frame).height,
        "sha256": file_sha256(folder / _PARQUET),
    }
    if before.get("checkpoint_digest") == checkpoint_digest and "alarm_sha256" in before:
        # The alarm settings in the folder still belong to this model.
        manifest["alarm_sha256"] = before["alarm_sha256"]
    write_json(folder / _MANIFEST, manifest)
    return manifest


def read_predictions(
    folder: Path,
    *,
    checkpoint_digest: str | None = None,
    split_digest: str | None = None,
    include_baseline: bool = False,
) -> pl.DataFrame:
    """Read and verify stored predictions.

    Parameters
    ----------
    checkpoint_digest, split_digest : expected checkpoint and split; None accepts any.
    include_baseline : whether to include windows that touch the baseline (for replay and
        ``subsets``, never for a score).

    Raises
    ------
    EvaluationError
        If they are missing, damaged, or of another checkpoint or split.
    """
    manifest = _manifest(folder)
    if manifest.get("version") not in _READABLE:
        raise EvaluationError(
            f"{folder}: predictions of version {manifest.get('version')!r}, this code reads "
            f"{' and '.join(_READABLE)}; evaluate the checkpoint again"
        )
    wanted = {"checkpoint_digest": checkpoint_digest, "split_digest": split_digest}
    differing = [
        f"{name} is {manifest.get(name)}, expected {value}"
        for name, value in wanted.items()
        if value is not None and manifest.get(name) != value
    ]
    if differing:
        raise EvaluationError(
            f"{folder}: the predictions are of something else: {'; '.join(differing)}. "
            f"Evaluate the checkpoint again"
        )
    path = folder / _PARQUET
    if not path.is_file() or file_sha256(path) != manifest.get("sha256"):
        raise EvaluationError(
            f"{path}: missing, or not the file {_MANIFEST} describes; evaluate the checkpoint again"
        )
    try:
        frame = checked_predictions(_with_current_names(read_table(path)))
    except (pl.exceptions.PolarsError, StoreError) as wrong:
        raise EvaluationError(
            f"{path}: no table of predictions: {wrong}; evaluate the checkpoint again"
        ) from wrong
    return frame if include_baseline else scored_windows(frame)


def scored_windows(frame: pl.DataFrame) -> pl.DataFrame:
    """Select the windows that do not touch the baseline, which all scores are computed on."""
    return frame.filter(~pl.col("touches_baseline"))


def require_scored(name: str, frame: pl.DataFrame) -> None:
    """Raise EvaluationError if a frame to be scored has windows that touch the baseline."""
    n_touching = int(frame["touches_baseline"].sum())
    if n_touching:
        raise EvaluationError(
            f"{name}: {n_touching} of {frame.height} windows touch the baseline their episode is "
            f"calibrated by, and such are never scored; take scored_windows of the predictions"
        )


def _manifest(folder: Path) -> PredictionsManifest:
    try:
        manifest = read_json(folder / _MANIFEST)
    except StoreError as fault:
        raise EvaluationError(f"no predictions to read: {fault}") from fault
    try:
        msgspec.convert(manifest, type=PredictionsManifest)
    except msgspec.ValidationError as wrong:
        raise EvaluationError(
            f"{folder / _MANIFEST}: no manifest of predictions: {wrong}; "
            "remove it, and evaluate the checkpoint again"
        ) from wrong
    return cast("PredictionsManifest", manifest)


def probabilities(frame: pl.DataFrame) -> npt.NDArray[np.float64]:
    """(n_windows, K) probabilities of a prediction frame."""
    proba: npt.NDArray[np.float64] = frame.select(PROBABILITY_COLUMNS).to_numpy()
    return proba


def true_classes(frame: pl.DataFrame) -> npt.NDArray[np.int64]:
    """(n_windows,) true class indices of a prediction frame."""
    return class_indices(frame["y_true"])


def predicted_classes(frame: pl.DataFrame) -> npt.NDArray[np.int64]:
    """(n_windows,) classes of the highest probability; ties go to the earlier phase."""
    return probabilities(frame).argmax(axis=1) if frame.height else np.zeros(0, dtype=np.int64)


def matrices_of(frame: pl.DataFrame) -> EpisodeMatrices:
    """Per-episode confusion matrices of a prediction frame."""
    return episode_confusions(
        true_classes(frame), predicted_classes(frame), frame["episode_id"].to_numpy()
    )
