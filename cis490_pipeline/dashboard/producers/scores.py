"""Predictions of every model of a split: read where they are stored, made where they are not."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path

import polars as pl
from filelock import Timeout

from cis490_pipeline.checkpoints.manifest import MANIFEST, Manifest
from cis490_pipeline.checkpoints.members import read_manifest, read_member
from cis490_pipeline.checkpoints.runnable import RunnableModel, load_runnable
from cis490_pipeline.dashboard.producers.places import Places
from cis490_pipeline.domain import Architecture, Side, Variant
from cis490_pipeline.domain.terms import model_name
from cis490_pipeline.errors import CheckpointError, EvaluationError, PipelineError, SplitError
from cis490_pipeline.evaluation.predictions import scored_windows
from cis490_pipeline.evaluation.report import evaluate
from cis490_pipeline.evaluation.schema.report import EvalReport
from cis490_pipeline.evaluation.scoring import score_sides, stored_predictions
from cis490_pipeline.features.datasets.load import CalibratedWindows, load_windows
from cis490_pipeline.features.datasets.opened import dataset_kind, open_dataset
from cis490_pipeline.features.grids.store import GridStore
from cis490_pipeline.splits.split import Split
from cis490_pipeline.storage.files import digest
from cis490_pipeline.storage.scope_lock import lock_of

LOCK_WAIT_S = 10.0
"""How long a tick waits for the pipeline to end its work on the split."""
MAX_WHY = 400
"""Characters of a reason that are published."""


@dataclass(frozen=True)
class Failed:
    """A model that has no score, and why."""

    why: str


class Scores:
    """Reports on a split's models, each made once for each state of its files.

    ``n_scored_now`` counts test sides that were scored here, because no predictions were stored.
    """

    def __init__(self, places: Places) -> None:
        self.places = places
        self.n_scored_now = 0
        self._windows: dict[tuple[str, Variant, str, Side, bool], CalibratedWindows] = {}
        self._stamps: list[list[int] | None] | None = None
        self._whole: dict[str, list[list[int] | None]] = {}
        self._reports: dict[str, tuple[str, EvalReport]] = {}

    @cached_property
    def split(self) -> Split:
        """The split, over the episodes of its index, as `Places.split` reads it."""
        return self.places.split()

    @property
    def instance(self) -> str:
        """Digest of the split; empty if it cannot be read."""
        try:
            return self.split.digest
        except SplitError:
            return ""

    def reports(self) -> dict[str, EvalReport | Failed]:
        """Return the report of every model, or why it failed."""
        self._look_again()
        found: dict[str, EvalReport | Failed] = {}
        for architecture, variant in self.places.models():
            name = model_name(architecture, variant)
            try:
                found[name] = self._report(name, architecture, variant)
            except (PipelineError, OSError) as fault:
                found[name] = Failed(str(fault))
        return found

    def _look_again(self) -> None:
        """Forget the split and what was opened for it, if its files or the datasets changed."""
        files = (
            self.places.validation,
            self.places.split_file,
            self.places.summary / "manifest.json",
            self.places.tensors / "manifest.json",
        )
        stamps = [_stamp(path) for path in files]
        if stamps != self._stamps:
            self._windows.clear()
            for name in ("split", "_grids"):
                self.__dict__.pop(name, None)
        self._stamps = stamps

    def _report(self, name: str, architecture: Architecture, variant: Variant) -> EvalReport:
        folder = self.places.artifacts / name
        if not folder.is_dir():
            raise CheckpointError(f"{folder}: not trained yet")
        manifest = read_manifest(folder)
        require_named(folder, manifest)
        if manifest.split_digest != self.split.digest:
            raise EvaluationError(
                f"{folder}: trained on split {manifest.split_digest:.12}, "
                f"{self.places.validation.parent} holds {self.split.digest:.12}; train it again"
            )
        self._require_whole(folder, manifest)
        state = self._state(folder, manifest.digest)
        kept = self._reports.get(name)
        if kept is None or kept[0] != state:
            frame = self._predictions(name, manifest.digest)
            report = evaluate(
                frame,
                model=name,
                architecture=str(architecture),
                variant=str(variant),
                split=self.split.summary(),
                checkpoint_digest=manifest.digest,
                seed=manifest.seed,
            )
            self._reports[name] = kept = self._state(folder, manifest.digest), report
        return kept[1]

    def _require_whole(self, folder: Path, manifest: Manifest) -> None:
        """Refuse a checkpoint of which a file is missing or changed; unchanged ones are not read.

        The predictions would tell a score all the same, of a model that is no more.
        """
        stamps = [_stamp(folder / file) for file in (MANIFEST, *sorted(manifest.files))]
        if self._whole.get(folder.name) != stamps:
            for file in sorted(manifest.files):
                read_member(folder, manifest, file)
            self._whole[folder.name] = stamps

    def _state(self, folder: Path, checkpoint_digest: str) -> str:
        """Digest of all that a model's report depends on."""
        return digest([checkpoint_digest, self.split.digest, _stamp(folder / "predictions.json")])

    def _predictions(self, name: str, checkpoint_digest: str) -> pl.DataFrame:
        folder = self.places.artifacts / name
        frame = stored_predictions(
            folder,
            lambda: self._scored(folder, checkpoint_digest),
            checkpoint_digest=checkpoint_digest,
            split_digest=self.split.digest,
            lock=self._recipe_lock,
        )
        return scored_windows(frame)

    @contextmanager
    def _recipe_lock(self) -> Iterator[None]:
        lock = lock_of(self.places.records)
        try:
            lock.acquire(timeout=LOCK_WAIT_S)
        except Timeout as held:
            raise EvaluationError(
                f"{self.places.records}: the pipeline is at work on this split and holds its lock; "
                "predictions that are missing are made once it has ended"
            ) from held
        try:
            yield
        finally:
            lock.release()

    def _scored(self, folder: Path, checkpoint_digest: str) -> pl.DataFrame:
        model = load_runnable(folder)
        if model.manifest.digest != checkpoint_digest:
            raise EvaluationError(
                f"{folder}: trained again since it was looked at (was {checkpoint_digest:.12}, is "
                f"{model.manifest.digest:.12}); it is scored the next time"
            )
        self.n_scored_now += 1
        return score_sides(
            model.classifier.predict_proba,
            partial(self._opened, model),
            grids=self._grids,
            cleanliness=model.cleanliness,
        )

    def _opened(self, model: RunnableModel, side: Side, *, touches: bool) -> CalibratedWindows:
        """Windows of a side, opened once for all models of a kind, variant and calibrator."""
        kind, variant = model.schema.input_kind, model.schema.variant
        folder = self.places.tensors if kind == "tensor" else self.places.summary
        dataset = open_dataset(folder, dataset_kind(folder, kind))
        saved = dataset.manifest.split_digest
        if saved != self.split.digest:
            raise EvaluationError(
                f"{folder}: cut for split {saved:.12}, the split is {self.split.digest:.12}; "
                "build the dataset again"
            )
        key = (str(kind), variant, model.calibrator.digest, side, touches)
        if key not in self._windows:
            self._windows[key] = load_windows(
                dataset,
                side,
                model.calibrator,
                include_baseline=touches,
                only=pl.col("baseline") == touches,
            )
        return self._windows[key]

    @cached_property
    def _grids(self) -> GridStore:
        manifest = open_dataset(self.places.tensors, "tensor").manifest
        return GridStore(self.places.tensors / manifest.grids_folder)


def require_named(folder: Path, manifest: Manifest) -> None:
    """Refuse a checkpoint that lies in another model's folder, with a `CheckpointError`."""
    held = f"{manifest.architecture}_{manifest.variant}"
    if held != folder.name:
        raise CheckpointError(f"{folder}: holds the checkpoint of {held}; copy or train it again")


def _stamp(path: Path) -> list[int] | None:
    """Return what changes when a file does; None if it is not there."""
    try:
        found = path.stat()
    except FileNotFoundError:
        return None
    return [found.st_mtime_ns, found.st_size, found.st_ino]
