"""Calibration record of a host: baseline statistics, their source telemetry and validity."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Final

import msgspec
import numpy as np

from cis490_pipeline.domain import Variant
from cis490_pipeline.domain.arrays import Float32s
from cis490_pipeline.errors import CalibrationError, StoreError
from cis490_pipeline.features.baseline import Baseline
from cis490_pipeline.features.calibration.cleanliness import Cleanliness
from cis490_pipeline.features.channels import N_CHANNELS, channel_indices, channel_names
from cis490_pipeline.features.schema import FeatureSchema, grid_schema, require_same
from cis490_pipeline.features.windows import BASELINE_S
from cis490_pipeline.storage.files import digest, read_json, write_json
from cis490_pipeline.storage.json_text import Json

RECORD_FORMAT: Final = "calibration_record"
RECORD_VERSION: Final = 1


@dataclass(frozen=True, kw_only=True)
class Telemetry:
    """Time span of one episode."""

    episode_id: str
    content: str
    """SHA-256 of the archive, or the digest of an unpacked episode's content."""
    start_ns: int
    """Unix ns."""
    end_ns: int
    """Unix ns."""

    @property
    def duration_s(self) -> float:
        """Duration, s."""
        return (self.end_ns - self.start_ns) / 1e9


@dataclass(frozen=True, kw_only=True)
class ChannelBaseline:
    """Baseline statistics of one channel; null if never known."""

    name: str
    median: float | None
    """Median of the log1p values."""
    iqr: float | None
    n_known: int
    """Number of known steps of 0.1 s."""


@dataclass(frozen=True, kw_only=True)
class CalibrationRecord:
    """Baseline of a host for calibrating its windows.

    Attributes
    ----------
    host_id : the device; windows of other devices are refused.
    telemetry : source telemetry.
    duration_s : duration of the telemetry, s; at least 15.
    channels : all 46, in registry order.
    cleanliness : result of the cleanliness check; None if it was not run.
    unchecked : the reason if the check was not run, else None.
    labelled_clean : whether all of the telemetry is labelled clean.
    accepted_unclean : whether it was accepted by a person despite not being clean.
    schema : feature schema of the grid.
    """

    host_id: str
    telemetry: tuple[Telemetry, ...]
    duration_s: float
    channels: tuple[ChannelBaseline, ...]
    cleanliness: Cleanliness | None
    unchecked: str | None
    labelled_clean: bool
    accepted_unclean: bool
    schema: Mapping[str, Json]

    def __post_init__(self) -> None:
        """Raise CalibrationError, naming all problems of the record."""
        names = tuple(channel.name for channel in self.channels)
        wanted = channel_names(Variant.ORACLE)
        problems = []
        if names != wanted:
            problems.append(f"channels are {len(names)} and not the registry's {N_CHANNELS}")
        if self.duration_s < BASELINE_S:
            problems.append(f"{self.duration_s:g} s of telemetry, wanted {BASELINE_S:g} s or more")
        if not self.telemetry:
            problems.append("names no telemetry")
        if (self.cleanliness is None) == (self.unchecked is None):
            problems.append("must say either what the check found or why there was none")
        if problems:
            raise CalibrationError(f"calibration of {self.host_id}: {'; '.join(problems)}")

    @property
    def suspect(self) -> bool:
        """Whether the telemetry is not labelled clean, or flagged by the check."""
        flagged = self.cleanliness is not None and self.cleanliness.suspect
        return flagged or not self.labelled_clean

    @cached_property
    def id(self) -> str:
        """SHA-256 of the content."""
        return digest(self._content())

    def _content(self) -> dict[str, Json]:
        content: dict[str, Json] = msgspec.to_builtins(self)
        return {**content, "format": RECORD_FORMAT, "version": RECORD_VERSION}

    def arrays(self) -> tuple[Float32s, Float32s]:
        """Return median and IQR of all channels, two arrays (46,); NaN where unknown."""
        columns = (
            [np.nan if value is None else value for value in values]
            for values in ([c.median for c in self.channels], [c.iqr for c in self.channels])
        )
        median, iqr = (np.array(column, dtype=np.float32) for column in columns)
        return median, iqr

    def of_variant(self, variant: Variant) -> tuple[Float32s, Float32s]:
        """Return median and IQR of the variant's channels, two arrays (n_channels,)."""
        median, iqr = self.arrays()
        channels = channel_indices(variant)
        return median[channels], iqr[channels]


def channel_baselines(baseline: Baseline) -> tuple[ChannelBaseline, ...]:
    """Convert a baseline to named channel baselines; CalibrationError if it lacks any of the 46."""
    names = channel_names(Variant.ORACLE)
    if baseline.median.shape != (len(names),):
        raise CalibrationError(
            f"a calibration record takes all {len(names)} channels, got {baseline.median.shape}"
        )
    rows = zip(names, baseline.median, baseline.iqr, baseline.n_known, strict=True)
    return tuple(
        ChannelBaseline(
            name=name,
            median=None if np.isnan(median) else float(median),
            iqr=None if np.isnan(iqr) else float(iqr),
            n_known=int(n_known),
        )
        for name, median, iqr, n_known in rows
    )


def write_record(path: Path, record: CalibrationRecord) -> None:
    """Write a record atomically as JSON."""
    write_json(path, {**record._content(), "id": record.id})


def read_record(path: Path) -> CalibrationRecord:
    """Read and verify a record.

    Raises
    ------
    CalibrationError
        If it is missing, malformed, of an unknown version, or does not match its id.
    SchemaMismatchError
        If it was made with other features; names the first difference.
    """
    try:
        saved = read_json(path)
    except StoreError as fault:
        raise CalibrationError(f"no calibration record to read: {fault}") from fault
    again = "make it again: cis490 calibrate"
    if not isinstance(saved, dict) or saved.get("format") != RECORD_FORMAT:
        raise CalibrationError(f"{path}: no calibration record; {again}")
    if saved.get("version") != RECORD_VERSION:
        raise CalibrationError(
            f"{path}: version is {saved.get('version')!r}, this code reads {RECORD_VERSION}; "
            f"{again}"
        )
    content = {key: value for key, value in saved.items() if key != "id"}
    if digest(content) != saved.get("id"):
        raise CalibrationError(
            f"{path}: says id {saved.get('id')!s:.12}, its content has {digest(content):.12}; "
            f"it was changed, {again}"
        )
    # Checked first, because other schemas may have channels unknown to this code.
    schema = FeatureSchema.from_dict(saved.get("schema") or {})
    require_same(path, schema, grid_schema(), None, older_rules=True)
    try:
        fields = {k: v for k, v in content.items() if k not in ("format", "version")}
        return msgspec.convert(fields, type=CalibrationRecord)
    except (msgspec.ValidationError, CalibrationError) as fault:
        raise CalibrationError(f"{path}: {fault}; {again}") from fault
