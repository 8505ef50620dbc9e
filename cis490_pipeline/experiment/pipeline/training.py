"""The stage that makes one checkpoint: calibrate on train, fit, keep golden vectors, save."""

from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Final

import numpy as np
import polars as pl

from cis490_pipeline.checkpoints.checkpoint import FORMAT_VERSION, Checkpoint
from cis490_pipeline.checkpoints.loading import load_checkpoint
from cis490_pipeline.checkpoints.saving import save_checkpoint
from cis490_pipeline.compute.process import memory_bytes
from cis490_pipeline.config import Settings, available_processors
from cis490_pipeline.domain import Architecture, Recipe, Side, Variant
from cis490_pipeline.domain.catalogue import ARCHITECTURE_VERSIONS, InputKind, input_kind
from cis490_pipeline.domain.terms import Setting, model_name
from cis490_pipeline.errors import DatasetError
from cis490_pipeline.evaluation.confusion import confusion, macro_f1
from cis490_pipeline.experiment.pipeline.calibration import fitted_check
from cis490_pipeline.experiment.pipeline.dataset import (
    RecipeStage,
    ValidationIndex,
    WindowShards,
    shards_of,
)
from cis490_pipeline.experiment.stages.provenance import commit
from cis490_pipeline.experiment.stages.record import Metrics
from cis490_pipeline.experiment.stages.stage import Stage, StageOutput
from cis490_pipeline.experiment.stages.workspace import Workspace
from cis490_pipeline.features.calibration.calibrator import CalibrationMode, Calibrator, Scaling
from cis490_pipeline.features.calibration.cleanliness import METHOD, METHOD_BY_HOST, MIN_HOSTS
from cis490_pipeline.features.calibration.drifting_gauges import GaugeTreatment
from cis490_pipeline.features.datasets.load import fit_calibrator, load_windows
from cis490_pipeline.features.datasets.manifest import part_digest
from cis490_pipeline.features.datasets.opened import OpenDataset
from cis490_pipeline.features.datasets.window_data import IN_MEMORY_BYTES, WindowData
from cis490_pipeline.features.schema import feature_schema
from cis490_pipeline.storage.files import digest

if TYPE_CHECKING:
    from cis490_pipeline.models.base import BaseModel
    from cis490_pipeline.training.history import EpochRecord
    from cis490_pipeline.training.snapshot import Snapshots

N_GOLDEN = 8
"""Validation windows whose probabilities a checkpoint must reproduce whenever it is loaded."""

SERIAL_WINDOWS: Final = 20_000
"""Training windows up to which models are trained one after another by default: starting a
process takes as long as training trees or an mlp on a thousand."""

PROCESS_BYTES: Final = 3 * IN_MEMORY_BYTES
"""Memory to allow for each training: two sides in memory, libraries and batches."""

REPORT_FILES = ("predictions.", "alarm.")
"""How names of files begin that an evaluation leaves in a checkpoint's folder."""

FURTHER: Final = "seed-"
"""How the folder and the key of a further seed of a model begin, before its number."""

CALIBRATION = CalibrationMode.EPISODE_BASELINE
GAUGES = GaugeTreatment.RECORDED
"""As recorded: no treatment was better on the sides one may choose by; see docs/decisions.md."""

SCALING = Scaling.TRAIN
"""Dividing by a device's spread over 15 s costs nearly everywhere: see docs/decisions.md."""


def quarantine_input(settings: Settings) -> dict[str, str]:
    """Return the channels in quarantine as an input of stages: nothing where there are none.

    Without the reasons: they change no number.
    """
    return {"quarantine": ", ".join(sorted(settings.quarantine))} if settings.quarantine else {}


def models_calibrator(
    settings: Settings,
    dataset: OpenDataset,
    variant: Variant,
    *,
    only: pl.Expr | None = None,
    kind: InputKind | None = None,
) -> Calibrator:
    """Fit a calibrator as models get it; ``only`` and ``kind`` as in ``fit_calibrator``."""
    return fit_calibrator(
        dataset,
        variant,
        CALIBRATION,
        gauges=GAUGES,
        scaling=SCALING,
        quarantine=settings.quarantine,
        only=only,
        kind=kind,
    )


class ModelStage(RecipeStage):
    """A stage of one model of a recipe.

    Parameters
    ----------
    seed : of its training; by default the settings' seed. Another makes it a further seed of the
        same model, with files of its own beside the model's.
    """

    artefact: ClassVar[str]
    """Last part of the key."""

    def __init__(
        self,
        workspace: Workspace,
        recipe: Recipe,
        architecture: Architecture,
        variant: Variant,
        *,
        seed: int | None = None,
    ) -> None:
        super().__init__(workspace, recipe)
        self.architecture = architecture
        self.variant = variant
        settings = workspace.settings
        self.input_kind = input_kind(architecture, settings.features)
        self.seed = settings.seed if seed is None else seed
        self.further = "" if self.seed == settings.seed else f"{FURTHER}{self.seed}"

    @property
    def name(self) -> str:
        """Name of the model in files, events and reports."""
        return model_name(self.architecture, self.variant)

    @property
    def full_name(self) -> str:
        """Name of the model and, if it is a further one, of the seed: ``gru_oracle.seed-1``."""
        return ".".join(part for part in (self.name, self.further) if part)

    @property
    def key(self) -> str:
        """Asset key with slashes."""
        parts = ("model", self.architecture, self.variant, self.further, self.artefact)
        return "/".join(part for part in parts if part)


class TrainedCheckpoint(ModelStage):
    """``model/<architecture>/<variant>/checkpoint``: one trained model in a folder."""

    artefact = "checkpoint"

    @property
    def group(self) -> str | None:
        """The models of one seed: a further seed's folder lies within its model's own."""
        return f"checkpoints of seed {self.seed}"

    def at_once(self) -> int:
        """Return how many models of the split to train at the same time, as set.

        By default as many as processors and memory allow, once the data are so large that starting
        processes is nothing beside training; one where networks train on a GPU, which they would
        share. It changes no byte of a model.
        """
        settings = self.workspace.settings
        if settings.parallel_models:
            return settings.parallel_models
        if any(of.get("device", "cpu") != "cpu" for of in settings.models.values()):
            return 1
        dataset = self.dataset.record()
        n_windows = dataset.numbers.get("windows_train") if dataset is not None else None
        if not isinstance(n_windows, int) or n_windows < SERIAL_WINDOWS:
            return 1
        processors = available_processors() // settings.threads
        return max(1, min(processors, memory_bytes() // PROCESS_BYTES))

    def above(self) -> tuple[Stage, ...]:
        """Return the split and the dataset."""
        return (ValidationIndex(self.workspace, self.recipe), self.dataset)

    @property
    def folder(self) -> Path:
        """Folder of the checkpoint; further seeds lie within the model's own."""
        return self.workspace.paths.checkpoint(self.recipe, self.name) / self.further

    def further_seeds(self) -> list[int]:
        """Return, in order, the other seeds this model was trained with here."""
        names = (folder.name for folder in self.folder.glob(f"{FURTHER}*"))
        found = (int(n) for name in names if (n := name.removeprefix(FURTHER)).isdecimal())
        return sorted(seed for seed in found if seed != self.seed)

    @property
    def dataset(self) -> WindowShards:
        """The dataset the architecture reads."""
        return shards_of(self.input_kind)(self.workspace, self.recipe)

    def inputs(self) -> dict[str, str] | None:
        """Return digests of data, split, features, code version and settings."""
        index, dataset = (stage.record() for stage in self.above())
        if index is None or dataset is None:
            return None
        return {
            "dataset": part_digest(dataset.parts, self.input_kind, self.variant) or "",
            "split": index.digest,
            "feature_schema": feature_schema(self.input_kind, self.variant).hash,
            "architecture": str(ARCHITECTURE_VERSIONS[self.architecture]),
            "checkpoint_format": str(FORMAT_VERSION),
            "training": digest(
                {
                    "seed": self.seed,
                    "calibration": CALIBRATION,
                    "gauges": GAUGES,
                    "scaling": SCALING,
                    # Of few hosts the method is as it was, and so are their checkpoints.
                    "cleanliness": METHOD_BY_HOST
                    if len(self.workspace.settings.train_hosts) >= MIN_HOSTS
                    else METHOD,
                    "settings": self.settings(),
                }
            ),
            **quarantine_input(self.workspace.settings),
        }

    def settings(self) -> dict[str, Setting]:
        """Return what the user set of this architecture."""
        settings = self.workspace.settings
        return {
            "threads": self.workspace.settings.threads,
            **settings.models.get(str(self.architecture), {}),
        }

    def make(self) -> StageOutput:
        """Train, and save what was learnt with all it was learnt from."""
        from cis490_pipeline.models.nets.packing import pack
        from cis490_pipeline.training.snapshot import Snapshots

        dataset, variant = self.dataset.open(), self.variant
        inputs = self.inputs()
        assert inputs is not None, "training needs a dataset"
        data_digest = part_digest(dataset.manifest.variants, dataset.kind, variant)
        if data_digest != inputs["dataset"]:
            raise DatasetError(
                f"{dataset.folder}: the manifest has digest {data_digest!s:.12} for {variant}, the "
                f"record says {inputs['dataset']:.12}; build the dataset again before training on "
                "it"
            )
        calibrator = models_calibrator(self.workspace.settings, dataset, variant)
        train = load_windows(dataset, Side.TRAIN, calibrator)
        val = load_windows(dataset, Side.VAL, calibrator)
        check, checked_on = fitted_check(self.workspace, self.recipe)
        model = self._unfitted()
        snapshots = Snapshots(self.snapshot_path, {**inputs, "calibrator": calibrator.digest})
        self._fit(model, train, val, snapshots)
        val_scores = _scores(model.predict_windows(val).argmax(axis=1), val.y)
        rows = np.linspace(0, len(val) - 1, num=min(N_GOLDEN, len(val))).round().astype(np.int64)
        checkpoint = pack(
            model,
            schema=feature_schema(dataset.kind, variant),
            calibrator=calibrator,
            golden_windows=val.take(rows),
            data_digest=data_digest,
            split_digest=inputs["split"],
            metrics=val_scores,
            commit=commit(),
            cleanliness=check,
        )
        save_checkpoint(self.folder, checkpoint)
        numbers: Metrics = {
            **val_scores,
            "epochs": len(model.history_["epochs"]),
            "best_epoch": model.history_["best_epoch"],
            "resumed_after_epoch": snapshots.resumed_epoch,
            "train_windows": len(train),
            "train_episodes": len(train.episode_ids),
            "val_windows": len(val),
            "val_episodes": len(val.episode_ids),
            "seed": self.seed,
            "threads": self.workspace.settings.threads,
            "calibration": str(CALIBRATION),
            "drifting_gauges": str(GAUGES),
            "scaling": str(SCALING),
            "cleanliness_check": checked_on,
            **quarantine_input(self.workspace.settings),
        }
        return StageOutput(checkpoint.digest, self._own_files(), numbers)

    def _unfitted(self) -> "BaseModel":
        """Return the model with its settings and seed."""
        from cis490_pipeline.models.registry import create

        return create(
            self.architecture,
            self.variant,
            kind=self.input_kind,
            seed=self.seed,
            config=self.settings(),
        )

    def _own_files(self) -> tuple[Path, ...]:
        """List the folder's files but the report's, which are written after this."""
        files = (path for path in self.folder.iterdir() if path.is_file())
        return tuple(path for path in files if not path.name.startswith(REPORT_FILES))

    @property
    def snapshot_path(self) -> Path:
        """Where an unfinished training of a network left its state."""
        return self.folder.with_name(f".{self.folder.name}.training.safetensors")

    def after_record(self) -> None:
        """Remove the state of the unfinished training: the checkpoint is whole and recorded."""
        self.snapshot_path.unlink(missing_ok=True)

    def _fit(
        self, model: "BaseModel", train: WindowData, val: WindowData, snapshots: "Snapshots"
    ) -> None:
        """Train, telling of each epoch or boosting round and its score."""
        what, config = f"train {self.name}", model.config
        most = getattr(config, "max_epochs", None) or config.max_rounds

        def report(record: "EpochRecord") -> None:
            detail = f"val macro F1 {record.val_macro_f1:.3f}"
            self.workspace.progress(what, record.epoch, most, detail)

        model.fit(train, val, progress=report, snapshots=snapshots)
        # Patience may have ended before the last epoch.
        self.workspace.progress(what, most, most)

    def load(self) -> Checkpoint:
        """Read the checkpoint back, refusing one made with other features."""
        return load_checkpoint(self.folder, feature_schema(self.input_kind, self.variant))


def _scores(y_pred: Any, y_true: Any) -> dict[str, float]:
    return {"val_macro_f1": float(macro_f1(confusion(y_true, y_pred)))}
