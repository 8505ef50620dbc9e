"""Load checkpoint folders as models for live inference."""

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from cis490_pipeline.alarm.alarm import Alarm, AlarmSettings
from cis490_pipeline.checkpoints.alarm_file import alarm_beside
from cis490_pipeline.checkpoints.checkpoint import FORMAT_VERSION
from cis490_pipeline.checkpoints.runnable import RunnableModel, load_runnables
from cis490_pipeline.domain import Source
from cis490_pipeline.errors import CheckpointError, EvaluationError
from cis490_pipeline.features.calibration.cleanliness import CleanlinessCheck
from cis490_pipeline.live.models import LiveModel

AlarmOf = Callable[[Path, RunnableModel], AlarmSettings | None]


@dataclass(frozen=True, kw_only=True)
class LoadedModels:
    """Models to run, and the check that detects a baseline taken while infected."""

    models: tuple[LiveModel, ...]
    runnable: tuple[RunnableModel, ...]
    check: CleanlinessCheck | None
    of_bundle: str | None = None
    """Notice on what an older bundle version does not guarantee."""

    def notices(self) -> Iterator[str]:
        """Yield notices on the alarms in use and on what the models lack."""
        if self.of_bundle is not None:
            yield self.of_bundle
        for model in self.models:
            if model.alarm is not None:
                rule = model.alarm.settings
                yield (
                    f"{model.name} alarms from {rule.threshold:.4g} on, until {rule.hold_windows} "
                    f"windows below {rule.release:.4g}"
                )
        for source, names in _seen_alone(self.models).items():
            yield f"{', '.join(names)} see {source} alone: what else the device does is unknown"
        without = [model.name for model in self.models if model.alarm is None]
        if without:
            yield f"without an alarm, since they are not evaluated: {', '.join(without)}"
        if self.check is None:
            yield (
                "no model has a check of the baseline: one taken while infected will not be "
                "detected"
            )


def _seen_alone(models: Sequence[LiveModel]) -> dict[Source, list[str]]:
    """Names of the models with a single source, by source."""
    alone: dict[Source, list[str]] = {}
    for model in models:
        if len(model.sees) == 1:
            alone.setdefault(model.sees[0], []).append(model.name)
    return alone


def load_models(
    folders: Sequence[Path],
    *,
    alarm_of: AlarmOf | None = None,
    formats: Collection[int] = (FORMAT_VERSION,),
) -> LoadedModels:
    """Open checkpoints for live inference.

    Parameters
    ----------
    alarm_of : reads the alarm of a checkpoint; by default the file that its evaluation wrote.
    formats : accepted versions of a checkpoint's manifest.

    Raises
    ------
    CheckpointError
        If there is none, one is damaged or given twice, an alarm's settings cannot be used, or
        models of one split have different checks of a baseline.
    SchemaMismatchError
        If one was trained on other features than this code builds.
    """
    if not folders:
        raise CheckpointError("no model to run: give the folder of a bundle or of a checkpoint")
    runnable = load_runnables(folders, formats=formats)
    names = [model.name for model in runnable]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise CheckpointError(f"models given twice: {', '.join(twice)}; give each once")
    models = []
    for folder, model in zip(folders, runnable, strict=True):
        try:
            settings = (alarm_of or _alarm_beside)(folder, model)
        except EvaluationError as fault:
            raise CheckpointError(str(fault)) from fault
        models.append(
            LiveModel(
                name=model.name,
                calibrator=model.calibrator,
                classifier=model.classifier,
                alarm=None if settings is None else Alarm(settings),
            )
        )
    return LoadedModels(models=tuple(models), runnable=runnable, check=_check_of(runnable))


def _alarm_beside(folder: Path, model: RunnableModel) -> AlarmSettings | None:
    return alarm_beside(folder, model.manifest.digest)


def _check_of(runnable: Sequence[RunnableModel]) -> CleanlinessCheck | None:
    """Return the check of the baseline; all models of a split must share it."""
    by_split: dict[str, dict[str | None, str]] = {}
    for model in runnable:
        digest = None if model.cleanliness is None else model.cleanliness.digest
        of_split = by_split.setdefault(model.manifest.split_digest, {})
        of_split[digest] = model.name
        if len(of_split) > 1:
            raise CheckpointError(
                f"{' and '.join(sorted(of_split.values()))} are of one split, but have different "
                "checks of a baseline; train both again"
            )
    checks = (model.cleanliness for model in runnable if model.cleanliness is not None)
    return next(checks, None)
