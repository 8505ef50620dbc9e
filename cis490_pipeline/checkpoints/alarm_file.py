"""Alarm settings on disk: tied to one model by a manifest and verified to be functional."""

import hashlib
import math
from pathlib import Path
from typing import Final

import msgspec
import numpy as np

from cis490_pipeline.alarm.alarm import MAX_LOG_ODDS, Alarm, AlarmSettings, SavedSettings
from cis490_pipeline.domain import CLASS_INDEX, PHASES, Phase
from cis490_pipeline.domain.arrays import Floats
from cis490_pipeline.errors import EvaluationError, StoreError
from cis490_pipeline.features.windows import STRIDE_S
from cis490_pipeline.storage.files import read_bounded, read_object, write_json
from cis490_pipeline.storage.json_text import Json, decode_json

ALARM_FILE: Final = "alarm.json"
"""Alarm settings in the folder of an evaluated checkpoint."""
EVALUATED: Final = "predictions.json"
"""Manifest of the files an evaluation adds to a checkpoint's folder."""

_MAX_BYTES: Final = 1 << 20
_MAX_HOLD: Final = 12
"""Windows (one minute); fitting tries at most three."""
_CERTAIN: Final = 0.98
_SOON: Final = 24
"""Windows (two minutes) within which certain infected windows must turn the alarm on."""
_LATER: Final = 240
"""Windows (twenty minutes) within which certain clean windows must turn it off."""
_AGAIN: Final = "evaluate the model again: cis490 evaluate"


def write_alarm(folder: Path, settings: SavedSettings) -> Path:
    """Write alarm settings beside stored predictions and record them in their manifest."""
    manifest = read_object(folder / EVALUATED, "checkpoint_digest")
    path = folder / ALARM_FILE
    write_json(path, {**settings, "checkpoint_digest": manifest["checkpoint_digest"]})
    named = {**manifest, "alarm_sha256": hashlib.sha256(path.read_bytes()).hexdigest()}
    write_json(folder / EVALUATED, named)
    return path


def alarm_beside(folder: Path, checkpoint_digest: str) -> AlarmSettings | None:
    """Read the alarm settings beside an evaluated checkpoint; None if it was not evaluated.

    Raises `EvaluationError` if the file does not match the evaluation's manifest, belongs to
    another model, or is invalid.
    """
    path, named = folder / ALARM_FILE, _named_sha256(folder)
    exists = path.exists() or path.is_symlink()
    if named is None and not exists:
        return None
    if named is None:
        raise EvaluationError(f"{path}: {EVALUATED} does not name it; remove it, or {_AGAIN}")
    try:
        content = read_bounded(path, _MAX_BYTES)
    except StoreError as fault:
        raise EvaluationError(f"{fault}, though {EVALUATED} names it; {_AGAIN}") from fault
    actual = hashlib.sha256(content).hexdigest()
    if actual != named:
        raise EvaluationError(
            f"{path}: sha256 is {actual:.12}, {EVALUATED} says {named:.12}; it was changed, "
            f"{_AGAIN}"
        )
    return read_alarm(path, content, checkpoint_digest)


def read_alarm(path: Path, content: bytes, checkpoint_digest: str | None) -> AlarmSettings:
    """Restore alarm settings from a file's bytes, whose digest was checked.

    Raises `EvaluationError` if they are invalid or belong to another model than the one with
    ``checkpoint_digest``; None for files without that entry.
    """
    try:
        saved = decode_json(content, dict[str, Json])
        settings = AlarmSettings.from_dict(saved)
    except msgspec.DecodeError as wrong:
        raise EvaluationError(f"{path}: not JSON: {wrong}; {_AGAIN}") from wrong
    except EvaluationError as fault:
        raise EvaluationError(f"{path}: {fault}") from fault
    of_model = saved.get("checkpoint_digest")
    if checkpoint_digest is not None and of_model != checkpoint_digest:
        raise EvaluationError(
            f"{path}: is of the model {of_model!s:.12}, this one is {checkpoint_digest:.12}; "
            f"{_AGAIN}"
        )
    problems = alarm_problems(settings)
    if problems:
        raise EvaluationError(f"{path}: {'; '.join(problems)}; {_AGAIN}")
    return settings


def alarm_problems(settings: AlarmSettings) -> list[str]:
    """Describe settings that keep an alarm from turning on or off; empty for fitted settings."""
    problems = []
    log_odds = math.log(settings.threshold / (1 - settings.threshold))
    if abs(log_odds) > MAX_LOG_ODDS + 1e-6:
        problems.append(f"threshold is {settings.threshold!r}, which no fit chooses")
    if settings.hold_windows > _MAX_HOLD:
        problems.append(f"hold_windows is {settings.hold_windows}, at most {_MAX_HOLD}")
    if settings.filter.step_s != STRIDE_S:
        problems.append(f"step_s is {settings.filter.step_s}, windows are {STRIDE_S} s apart")
    return problems or _shown_problems(Alarm(settings))


def _shown_problems(alarm: Alarm) -> list[str]:
    """Simulate an alarm on certain clean, then infected, then clean windows."""
    clean, infected = (_certain(phase) for phase in (Phase.CLEAN, Phase.INFECTED_RUNNING))
    with np.errstate(all="ignore"):
        if any(alarm.update(clean).alarming for _ in range(_SOON)):
            return ["it alarms on windows that are certain to be clean"]
        if not any(alarm.update(infected).alarming for _ in range(_SOON)):
            return [f"{_SOON} windows that are certain to be infected do not raise it"]
        if all(alarm.update(clean).alarming for _ in range(_LATER)):
            return [f"{_LATER} windows that are certain to be clean do not end it"]
    return []


def _certain(phase: Phase) -> Floats:
    proba = np.full(len(PHASES), (1 - _CERTAIN) / (len(PHASES) - 1))
    proba[CLASS_INDEX[phase]] = _CERTAIN
    return proba


def _named_sha256(folder: Path) -> str | None:
    path = folder / EVALUATED
    if not path.exists():
        return None
    try:
        named = read_object(path).get("alarm_sha256")
    except StoreError as fault:
        raise EvaluationError(f"{fault}; {_AGAIN}") from fault
    if named is not None and not isinstance(named, str):
        raise EvaluationError(f"{path}: alarm_sha256 is {named!r:.60}; {_AGAIN}")
    return named
