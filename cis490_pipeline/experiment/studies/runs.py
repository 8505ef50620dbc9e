"""One training on episodes of one's choice, kept, so that a study that was killed goes on."""

from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Final, NotRequired, TypedDict

import numpy as np
import numpy.typing as npt
import polars as pl

from cis490_pipeline.domain import PHASES, Architecture, Side, Variant
from cis490_pipeline.domain.catalogue import ARCHITECTURE_VERSIONS, input_kind
from cis490_pipeline.domain.terms import Setting, model_name
from cis490_pipeline.errors import DatasetError, StoreError
from cis490_pipeline.evaluation.predictions import PREDICTIONS_VERSION, prediction_frame
from cis490_pipeline.experiment.pipeline.training import (
    CALIBRATION,
    GAUGES,
    SCALING,
    models_calibrator,
)
from cis490_pipeline.experiment.stages.workspace import Workspace
from cis490_pipeline.experiment.studies.all_windows import Arrangement, WindowPool, chosen
from cis490_pipeline.features.datasets.load import load_windows
from cis490_pipeline.features.datasets.manifest import part_digest
from cis490_pipeline.features.schema import feature_schema
from cis490_pipeline.storage.files import digest
from cis490_pipeline.storage.parquet import read_table, write_parquet

RUNS_VERSION: Final = "1"
"""Raised when the same arrangement would be trained or scored in another way."""

LOGIT_COLUMNS: Final = tuple(f"logit_{phase}" for phase in PHASES)
_BATCH: Final = 512


@dataclass
class Tally:
    """Trainings done in this run, and trainings found already done."""

    trained: int = 0
    kept: int = 0
    opened: dict[str, int] = field(default_factory=dict)
    """Arrangements trained in this run, by name: each has looked at its scored episodes."""


class RunInputs(TypedDict):
    """Inputs of a training besides its episodes."""

    dataset: str | None
    model: str
    architecture: int
    feature_schema: str
    seed: int
    settings: dict[str, Setting]
    calibration: list[str]
    predictions: str
    runs: str
    quarantine: NotRequired[list[str]]


class StudyRuns:
    """Trainings of one model on one pool of windows; a tally is shared by a study's models.

    Parameters
    ----------
    seed : of the trainings; by default the settings' seed.
    """

    def __init__(
        self,
        workspace: Workspace,
        architecture: Architecture,
        variant: Variant,
        tally: Tally | None = None,
        *,
        seed: int | None = None,
    ) -> None:
        self.workspace = workspace
        self.architecture, self.variant = architecture, variant
        self.kind = input_kind(architecture, workspace.settings.features)
        self.pool = WindowPool(workspace, self.kind)
        self.tally = tally if tally is not None else Tally()
        self.seed = workspace.settings.seed if seed is None else seed

    @property
    def name(self) -> str:
        """Name of the model, such as ``gbt_realistic``."""
        return model_name(self.architecture, self.variant)

    @property
    def settings(self) -> dict[str, Setting]:
        """What the user set of this architecture, as its own training takes it."""
        settings = self.workspace.settings
        return {"threads": settings.threads, **settings.models.get(str(self.architecture), {})}

    @cached_property
    def about(self) -> RunInputs:
        """All that a training depends on but its episodes, as JSON values.

        Raises
        ------
        DatasetError
            If the pool of windows does not exist yet.
        """
        record = self.pool.record()
        if record is None:
            raise DatasetError(f"{self.pool.key}: not made yet; run cis490 study")
        about: RunInputs = {
            "dataset": part_digest(record.parts, self.kind, self.variant),
            "model": self.name,
            "architecture": ARCHITECTURE_VERSIONS[self.architecture],
            "feature_schema": feature_schema(self.kind, self.variant).hash,
            "seed": self.seed,
            "settings": self.settings,
            "calibration": [str(CALIBRATION), str(GAUGES), str(SCALING)],
            "predictions": PREDICTIONS_VERSION,
            "runs": RUNS_VERSION,
        }
        if self.workspace.settings.quarantine:
            about["quarantine"] = sorted(self.workspace.settings.quarantine)
        return about

    def path(self, arrangement: Arrangement) -> Path:
        """Return where the predictions of an arrangement are kept: named by all they are of."""
        parts = {k: sorted(v) for k, v in asdict(arrangement).items() if k != "name"}
        key = digest({**self.about, "episodes": parts})
        return self.workspace.paths.studies / "runs" / f"{self.name}-{key[:32]}.parquet"

    def predictions(self, arrangement: Arrangement) -> pl.DataFrame:
        """Train and score an arrangement, unless that was done before.

        Returns
        -------
        A prediction frame of the ``val`` and the ``scored`` episodes (as ``test``), with the
        logits beside the probabilities.

        Raises
        ------
        DatasetError, TrainingError
            If train or val has no window, or train lacks a phase.
        """
        path = self.path(arrangement)
        if (kept := _read(path)) is not None:
            self.tally.kept += 1
            return kept
        frame = self._train_and_score(arrangement)
        write_parquet(path, frame)
        self.tally.trained += 1
        opened = self.tally.opened
        opened[arrangement.name] = opened.get(arrangement.name, 0) + 1
        return frame

    def _train_and_score(self, arrangement: Arrangement) -> pl.DataFrame:
        from cis490_pipeline.models.registry import create

        dataset = self.pool.open()
        parts = [chosen(ids) for ids in (arrangement.train, arrangement.val, arrangement.scored)]
        settings = self.workspace.settings
        calibrator = models_calibrator(settings, dataset, self.variant, only=parts[0])
        train, val, scored = (
            load_windows(dataset, Side.TRAIN, calibrator, only=part) for part in parts
        )
        model = create(
            self.architecture, self.variant, kind=self.kind, seed=self.seed, config=self.settings
        )
        model.fit(train, val)
        frames = []
        for side, windows in ((Side.VAL, val), (Side.TEST, scored)):
            keys = windows.frame.with_columns(windows.calibration_ids, side=pl.lit(str(side)))
            frame = prediction_frame(keys, model.predict_windows(windows))
            logits = [model.logits(windows.take(rows)) for rows in _batches(len(windows))]
            joined = np.concatenate([np.zeros((0, len(PHASES))), *logits])
            columns = {
                name: pl.Series(np.ascontiguousarray(joined[:, k]))
                for k, name in enumerate(LOGIT_COLUMNS)
            }
            frames.append(frame.with_columns(**columns))
        return pl.concat(frames)


def logits_of(frame: pl.DataFrame) -> npt.NDArray[np.float64]:
    """(n_windows, K) logits of a frame of ``StudyRuns``."""
    logits: npt.NDArray[np.float64] = frame.select(LOGIT_COLUMNS).to_numpy()
    return logits


def _batches(n: int) -> list[npt.NDArray[np.int64]]:
    return [np.arange(start, min(start + _BATCH, n)) for start in range(0, n, _BATCH)]


def _read(path: Path) -> pl.DataFrame | None:
    """Return what is kept at a path, or None: half a file is as good as none."""
    try:
        return read_table(path)
    except (FileNotFoundError, StoreError):
        return None
