"""Calibration of a live device on disk, so that a restart continues with it.

A second calibration after a restart would take whatever the device then does, infected or not, for
its usual behaviour.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec
import numpy as np

from cis490_pipeline.domain import Variant
from cis490_pipeline.errors import CalibrationError, StoreError
from cis490_pipeline.features.calibration.cleanliness import Cleanliness
from cis490_pipeline.features.channels import channel_names
from cis490_pipeline.features.schema import FeatureSchema, grid_schema, require_same
from cis490_pipeline.live.calibration import Baseline
from cis490_pipeline.live.outputs.line_output import SinkReport
from cis490_pipeline.live.outputs.reports import Faults, LiveState
from cis490_pipeline.live.outputs.sinks import Sink
from cis490_pipeline.storage.files import digest, read_json, write_json
from cis490_pipeline.storage.json_text import Json

FILE: Final = "calibration.json"
FORMAT: Final = "live_calibration"
VERSION: Final = 1


class _Channel(msgspec.Struct, forbid_unknown_fields=True):
    """Baseline of one channel; null where it was never known."""

    name: str
    median: float | None
    iqr: float | None


class _Saved(msgspec.Struct, forbid_unknown_fields=True):
    """``calibration.json`` of a live device."""

    format: str
    version: int
    id: str
    taken_at_ns: int
    """End of the first 15 s, Unix ns on the device."""
    channels: tuple[_Channel, ...]
    cleanliness: Cleanliness | None
    schema: dict[str, Json]
    digest: str
    """Digest of all other fields."""


@dataclass(frozen=True, kw_only=True)
class KeptCalibration:
    """Stored baseline, and the device time at which it was taken."""

    baseline: Baseline
    taken_at_ns: int


def keep_calibration(folder: Path, kept: KeptCalibration) -> None:
    """Write a device's calibration atomically; if it fails, the previous file is unchanged."""
    baseline = kept.baseline
    names = channel_names(Variant.ORACLE)
    values = zip(names, baseline.median, baseline.iqr, strict=True)
    saved = _Saved(
        format=FORMAT,
        version=VERSION,
        id=baseline.id,
        taken_at_ns=kept.taken_at_ns,
        channels=tuple(_Channel(name, _known(m), _known(i)) for name, m, i in values),
        cleanliness=baseline.cleanliness,
        schema=grid_schema().to_dict(),
        digest="",
    )
    content: dict[str, Json] = msgspec.to_builtins(saved)
    write_json(folder / FILE, {**content, "digest": _content_digest(content)})


def kept_calibration(folder: Path) -> KeptCalibration | None:
    """Read a device's calibration; None if there is none yet.

    Raises `CalibrationError` if it is damaged, since a device is never calibrated again without a
    request, and `SchemaMismatchError` if it was made with other features.
    """
    path = folder / FILE
    if not path.exists():
        return None
    again = "remove it to calibrate the device again, while it is known to be clean"
    try:
        content = read_json(path)
    except (OSError, StoreError) as fault:
        raise CalibrationError(f"{path}: {fault}; {again}") from fault
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise CalibrationError(f"{path}: no calibration of a live device; {again}")
    if content.get("version") != VERSION or content.get("digest") != _content_digest(content):
        raise CalibrationError(f"{path}: damaged, changed or of another version; {again}")
    require_same(path, FeatureSchema.from_dict(content.get("schema") or {}), grid_schema(), None)
    try:
        saved = msgspec.convert(content, type=_Saved)
    except msgspec.ValidationError as fault:
        raise CalibrationError(f"{path}: {fault}; {again}") from fault
    if tuple(channel.name for channel in saved.channels) != channel_names(Variant.ORACLE):
        raise CalibrationError(f"{path}: its channels are not the registry's; {again}")
    median, iqr = (
        np.array([np.nan if value is None else value for value in column], dtype=np.float32)
        for column in zip(*((c.median, c.iqr) for c in saved.channels), strict=True)
    )
    baseline = Baseline(
        median=median, iqr=iqr, id=saved.id, cleanliness=saved.cleanliness, labelled_clean=None
    )
    return KeptCalibration(baseline=baseline, taken_at_ns=saved.taken_at_ns)


def _known(value: float) -> float | None:
    return None if np.isnan(value) else float(value)


def _content_digest(content: Mapping[str, Json]) -> str:
    return digest({key: value for key, value in content.items() if key != "digest"})


class CalibrationKeeper(Sink):
    """Sink that stores the calibration as soon as there is one, retrying while the disk is full."""

    def __init__(self, folder: Path, kept: KeptCalibration | None) -> None:
        """Create the sink; ``kept`` is already stored in the folder."""
        self._folder = folder
        self._kept = None if kept is None else kept.baseline
        self._trouble: str | None = None

    def state(self, state: LiveState, faults: Faults, *, changed: bool) -> None:
        """Store a baseline that is not stored yet."""
        baseline = state.baseline
        if baseline is None or baseline is self._kept or state.now_ns is None:
            return
        try:
            kept = KeptCalibration(baseline=baseline, taken_at_ns=state.now_ns)
            keep_calibration(self._folder, kept)
        except OSError as fault:
            self._trouble = f"the calibration cannot be stored: {fault.strerror}"
            return
        self._kept, self._trouble = baseline, None

    def report(self) -> SinkReport:
        """Return whether the calibration could be stored."""
        n_waiting = 0 if self._trouble is None else 1
        name = str(self._folder / FILE)
        return SinkReport(name=name, trouble=self._trouble, n_waiting=n_waiting, n_lost=0)
