"""The one scorer: a checkpoint's predictions of val and test, made once and stored beside it.

Whatever predicts (a network, trees, ONNX) is handed in, so that no runtime is imported here.
"""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Final, Protocol

import numpy as np
import polars as pl

from cis490_pipeline.compute.progress import Progress, no_progress
from cis490_pipeline.domain import Side
from cis490_pipeline.errors import EvaluationError
from cis490_pipeline.evaluation.predictions import (
    prediction_frame,
    read_predictions,
    write_predictions,
)
from cis490_pipeline.features.calibration.cleanliness import CleanlinessCheck, checked_baselines
from cis490_pipeline.features.datasets.load import CalibratedWindows
from cis490_pipeline.features.datasets.window_data import Predict, predict_in_batches
from cis490_pipeline.features.grids.store import GridStore

SCORED_SIDES: Final = (Side.VAL, Side.TEST)


class OpenSide(Protocol):
    """Opens the calibrated windows of a side."""

    def __call__(self, side: Side, *, touches: bool) -> CalibratedWindows:
        """Return those that touch the baseline of their episode, or those that do not."""


def stored_predictions(
    folder: Path,
    score: Callable[[], pl.DataFrame],
    *,
    checkpoint_digest: str,
    split_digest: str,
    lock: Callable[[], AbstractContextManager[object]],
) -> pl.DataFrame:
    """Return all predictions of a checkpoint; where none are stored, score the held-out sides now.

    Parameters
    ----------
    score : makes the predictions, as `score_sides` does.
    lock : gives the lock of the recipe. It is held while predictions are made and written: the test
        side is opened once, however many processes ask, and never of a half-written checkpoint.
    """

    def stored() -> pl.DataFrame:
        return read_predictions(
            folder,
            checkpoint_digest=checkpoint_digest,
            split_digest=split_digest,
            include_baseline=True,
        )

    try:
        return stored()
    except EvaluationError:
        pass  # none stored yet, or of another checkpoint or split
    with lock():
        try:
            return stored()
        except EvaluationError:
            frame = score()
            write_predictions(
                folder, frame, checkpoint_digest=checkpoint_digest, split_digest=split_digest
            )
            return frame


def score_sides(
    predict: Predict,
    opened: OpenSide,
    *,
    grids: GridStore,
    cleanliness: CleanlinessCheck | None,
    progress: Progress = no_progress,
    task: str = "score",
) -> pl.DataFrame:
    """Predict every window of val and test: a frame of ``PREDICTION_SCHEMA``.

    Parameters
    ----------
    predict : gives (n_windows, K) probabilities of (n_windows, *shape) calibrated windows.
    grids : what the baselines are read from, to be checked.
    cleanliness : the check of the checkpoint, if it has one.
    progress, task : informed of the sides done, under the name of the task.
    """
    frames = []
    for done, side in enumerate(SCORED_SIDES):
        progress(task, done, len(SCORED_SIDES))
        # Apart: what a batch holds besides changes a network's last bits.
        parts = [opened(side, touches=touches) for touches in (False, True)]
        proba = [predict_in_batches(predict, windows) for windows in parts]
        keys = _with_baselines(parts, grids, cleanliness)
        frames.append(prediction_frame(keys, np.concatenate(proba)))
    progress(task, len(SCORED_SIDES), len(SCORED_SIDES))
    return pl.concat(frames)


def _with_baselines(
    parts: Sequence[CalibratedWindows], grids: GridStore, check: CleanlinessCheck | None
) -> pl.DataFrame:
    """Keys of windows, with what each was measured against and whether that is suspect."""
    keys = pl.concat(part.frame.with_columns(part.calibration_ids) for part in parts)
    episode_ids = keys["episode_id"].to_list()
    of_records = pl.concat(part.baseline_suspect for part in parts)
    if of_records.null_count() < of_records.len():
        # Measured against records of hosts: those were checked when they were made.
        return keys.with_columns(of_records)
    verdicts = checked_baselines(grids, check, episode_ids)
    suspect = [None if (found := verdicts[i]) is None else found.suspect for i in episode_ids]
    return keys.with_columns(pl.Series("baseline_suspect", suspect, pl.Boolean))
