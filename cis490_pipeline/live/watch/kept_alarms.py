"""Alarms of a watched device on disk, so that a restart neither forgets nor repeats one."""

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

import msgspec

from cis490_pipeline.domain import NS_PER_S
from cis490_pipeline.errors import EvaluationError, StoreError
from cis490_pipeline.live.models import LiveModel
from cis490_pipeline.live.outputs.line_output import SinkReport
from cis490_pipeline.live.outputs.reports import WindowReport
from cis490_pipeline.live.outputs.sinks import Sink
from cis490_pipeline.storage.files import digest, read_json, write_json

FILE: Final = "alarms.json"
FORMAT: Final = "live_alarms"
VERSION: Final = 1
EVERY_NS: Final = 60 * NS_PER_S
"""Time between two writes while no alarm changes: one a minute spares a memory card."""
MAX_MISSED: Final = 720
"""Missing windows, at most, by which a filter is advanced: an hour forgets a filter's state."""


class _SavedAlarm(msgspec.Struct, forbid_unknown_fields=True):
    """State of one model's alarm."""

    settings: str
    """Digest of its settings."""
    phases: tuple[float, ...]
    alarming: bool
    n_below: int


class _Saved(msgspec.Struct, forbid_unknown_fields=True):
    """``alarms.json``."""

    format: str
    version: int
    t_end_ns: int
    """End of the last window, Unix ns on the device."""
    models: dict[str, _SavedAlarm]


class AlarmKeeper(Sink):
    """Sink that stores filters and alarms when an alarm changes, each minute, and at the end.

    Parameters
    ----------
    folder : folder of the device's state.
    models : their alarms are stored.
    """

    def __init__(self, folder: Path, models: Sequence[LiveModel]) -> None:
        self._path = folder / FILE
        self._models = models
        self._alarms: dict[str, bool] = {}
        self._t_end_ns: int | None = None
        self._written_ns: int | None = None
        self._trouble: str | None = None

    def restore(self, wall_ns: Callable[[], int] = time.time_ns) -> str | None:
        """Continue with stored alarms; return what to say about it, None if there are none.

        The windows missed since then advance each filter without evidence. What is damaged, of
        another version or of other settings is not used: the alarm then starts clean.
        """
        try:
            saved = msgspec.convert(read_json(self._path), type=_Saved)
        except StoreError as fault:
            return None if not self._path.exists() else f"{fault}; alarms start clean"
        except (OSError, msgspec.ValidationError) as fault:
            return f"{self._path}: {fault}; alarms start clean"
        if (saved.format, saved.version) != (FORMAT, VERSION):
            return f"{self._path}: not the alarms of this version; alarms start clean"
        on = []
        for model in self._models:
            kept = saved.models.get(model.name)
            if model.alarm is None or kept is None:
                continue
            if kept.settings != digest(model.alarm.settings.to_dict()):
                continue
            try:
                model.alarm.restore(kept.phases, alarming=kept.alarming, n_below=kept.n_below)
            except EvaluationError as fault:
                return f"{self._path}: {fault}; alarms start clean"
            step_ns = model.alarm.settings.filter.step_s * NS_PER_S
            missed = max(int((wall_ns() - saved.t_end_ns) / step_ns), 0)
            for _ in range(min(missed, MAX_MISSED)):
                model.alarm.update(None)
            if kept.alarming:
                on.append(model.name)
        return f"alarms that were on before the restart: {', '.join(on)}" if on else None

    def window(self, report: WindowReport) -> None:
        """Store the alarms if one changed, or a minute has passed."""
        alarms = {out.model: out.alarm.alarming for out in report.outputs if out.alarm is not None}
        self._t_end_ns = report.t_end_ns
        due = self._written_ns is None or report.t_end_ns - self._written_ns >= EVERY_NS
        if due or alarms != self._alarms or self._trouble is not None:
            self._alarms = alarms
            self._store()

    def report(self) -> SinkReport:
        """Return whether the alarms could be stored."""
        n_waiting = 0 if self._trouble is None else 1
        return SinkReport(
            name=str(self._path), trouble=self._trouble, n_waiting=n_waiting, n_lost=0
        )

    def close(self) -> None:
        """Store the last state."""
        if self._t_end_ns is not None and self._t_end_ns != self._written_ns:
            self._store()

    def _store(self) -> None:
        assert self._t_end_ns is not None
        saved = _Saved(
            format=FORMAT,
            version=VERSION,
            t_end_ns=self._t_end_ns,
            models={
                model.name: _SavedAlarm(digest(model.alarm.settings.to_dict()), *model.alarm.kept())
                for model in self._models
                if model.alarm is not None
            },
        )
        try:
            write_json(self._path, msgspec.to_builtins(saved))
        except OSError as fault:
            self._trouble = f"the alarms cannot be stored: {fault.strerror}"
            return
        self._written_ns, self._trouble = self._t_end_ns, None
