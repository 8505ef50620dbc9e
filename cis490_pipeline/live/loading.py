"""From checkpoint folders to models that a live device runs."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from cis490_pipeline.checkpoints.runnable import RunnableModel, load_runnable
from cis490_pipeline.errors import CheckpointError, EvaluationError
from cis490_pipeline.evaluation.alarm import Alarm, AlarmSettings
from cis490_pipeline.features.cleanliness import CleanlinessCheck
from cis490_pipeline.live.models import LiveModel
from cis490_pipeline.store.files import read_json

ALARM_FILE: Final = "alarm.json"
"""Beside a checkpoint, once it is evaluated: the settings of its alarm."""
NO_ALARM: Final = "not evaluated yet, so its alarm has no settings: cis490 evaluate"


@dataclass(frozen=True, kw_only=True)
class LoadedModels:
    """Models to run, and what tells a baseline taken while infected."""

    models: tuple[LiveModel, ...]
    runnable: tuple[RunnableModel, ...]
    check: CleanlinessCheck | None


def load_models(folders: Sequence[Path]) -> LoadedModels:
    """Open checkpoints for a live device.

    Parameters
    ----------
    folders : of checkpoints, whole or as a bundle holds them.

    Raises
    ------
    CheckpointError
        If there is none, one is damaged or given twice, or an alarm's settings cannot be used.
    SchemaMismatchError
        If one was trained on other features than this code builds.
    """
    if not folders:
        raise CheckpointError("no model to run: give the folder of a bundle or of a checkpoint")
    runnable = tuple(load_runnable(folder) for folder in folders)
    names = [model.name for model in runnable]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise CheckpointError(f"models given twice: {', '.join(twice)}; give each once")
    checks = [model.cleanliness for model in runnable if model.cleanliness is not None]
    return LoadedModels(
        models=tuple(map(_live, folders, runnable)),
        runnable=runnable,
        check=checks[0] if checks else None,
    )


def _live(folder: Path, runnable: RunnableModel) -> LiveModel:
    settings = alarm_settings(folder)
    return LiveModel(
        name=runnable.name,
        calibrator=runnable.calibrator,
        classifier=runnable.classifier,
        alarm=None if settings is None else Alarm(settings),
        no_alarm=NO_ALARM if settings is None else None,
    )


def alarm_settings(folder: Path) -> AlarmSettings | None:
    """Read the settings of a model's alarm; None if it was not evaluated yet.

    Raises
    ------
    CheckpointError
        If they are damaged or of another version.
    """
    path = folder / ALARM_FILE
    if not path.is_file():
        return None
    saved = read_json(path)
    try:
        return AlarmSettings.from_dict(saved if isinstance(saved, dict) else {})
    except EvaluationError as fault:
        raise CheckpointError(f"{path}: {fault}") from fault
