"""Validated parsing of an episode's metadata: ``meta.json``, labels and events."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Annotated, Final, Literal, TypeVar

import msgspec

from cis490_pipeline.domain import NS_PER_S, PHASES
from cis490_pipeline.domain.terms import FAILED_LABEL
from cis490_pipeline.storage.json_text import Json
from cis490_pipeline.store.reasons import Finding, Reason
from cis490_pipeline.store.rows.read import MAX_FAULTS
from cis490_pipeline.store.rows.strict_json import parse_object

SCHEMA_VERSION: Final = 1
# Two clocks measure the end: ended_at_wall is in microseconds at best, the duration in ms.
END_TOLERANCE_NS: Final = NS_PER_S
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)

_Count = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]
# At most a century, which excludes infinity.
_Seconds = Annotated[float, msgspec.Meta(ge=0, le=3.2e9)]
_Instant = Annotated[datetime, msgspec.Meta(tz=True)]
_Name = Annotated[str, msgspec.Meta(max_length=200)]
_INT64_MAX: Final = 2**63 - 1
MAX_LABELS: Final = 1000
"""Limit on labels of an episode; real ones have 1 to 20."""
MAX_EVENTS: Final = 100_000
_StructT = TypeVar("_StructT", bound=msgspec.Struct)


class HostFingerprint(msgspec.Struct, frozen=True, kw_only=True):
    """The lab host's software and hardware."""

    kernel: str | None
    qemu_version: str | None
    cpu_model: str | None
    accel: str | None
    netdev: str | None


class VirtualMachine(msgspec.Struct, frozen=True, kw_only=True):
    """The virtual machine the sample ran in."""

    image_name: str | None
    image_sha256: str | None
    vcpus: _Count
    ram_mib: _Count
    snapshot_name: str | None


class Sample(msgspec.Struct, frozen=True, kw_only=True):
    """The executed sample; a clean-only episode has none."""

    name: _Name
    family: _Name
    category: _Name
    profile: _Name
    kind: Literal["real", "mimic", "synth"]
    sha256: str | None


class CodeVersion(msgspec.Struct, frozen=True, kw_only=True):
    """Version of the recorder."""

    commit: str | None
    dirty: bool


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """Summary counts by the recorder."""

    duration_observed_s: _Seconds
    phases_observed: list[str]
    rows_proc: _Count
    rows_guest: _Count
    rows_qmp: _Count
    rows_netflow: _Count
    rows_perf: _Count | None = None
    pcap_bytes: _Count | None = None


class EpisodeMeta(msgspec.Struct, frozen=True, kw_only=True):
    """``meta.json``; unknown keys are ignored."""

    episode_id: str
    schema_version: int
    host_id: str
    started_at_wall: _Instant
    ended_at_wall: _Instant | None
    git_commit: str | None
    host_fingerprint: HostFingerprint
    vm: VirtualMachine
    exploit: dict[str, Json] | None
    sample: Sample | None
    result: Result | None
    code_version: CodeVersion | None = None
    clocks: dict[str, Json] | None = None

    @property
    def ended_ns(self) -> int | None:
        """End of the last phase, Unix ns; ``None`` in an unfinished episode."""
        return None if self.ended_at_wall is None else _unix_ns(self.ended_at_wall)


@dataclass(frozen=True)
class Label:
    """One row of ``labels.jsonl``: the phase from its time until the next row's."""

    phase: str
    prev: str | None
    t_wall_ns: int


@dataclass(frozen=True)
class Event:
    """One row of ``events.jsonl``: an action of the orchestrator and its time."""

    event: str
    t_wall_ns: int


_Int64 = Annotated[int, msgspec.Meta(ge=-(2**63), le=_INT64_MAX)]
_UnixNs = Annotated[int, msgspec.Meta(gt=0, le=_INT64_MAX)]


class _LabelRow(msgspec.Struct):
    phase: _Name
    prev: _Name | None
    reason: str
    t_mono_ns: _Int64
    t_wall_ns: _UnixNs


class _EventRow(msgspec.Struct):
    event: str
    t_mono_ns: _Int64
    t_wall_ns: _UnixNs


def _unix_ns(time: datetime) -> int:
    # Integer arithmetic: a float of this size resolves only a quarter of a microsecond.
    return (time - _EPOCH) // timedelta(microseconds=1) * 1000


def parse_meta(content: bytes, *, finished: bool) -> tuple[EpisodeMeta | None, list[Finding]]:
    """Parse ``meta.json``; without ``done.marker`` (``finished``) the end and result may be null.

    Returns
    -------
    meta : ``None`` if it does not match the schema.
    findings : ``meta_schema``, or ``schema_version`` for another format version; then deviations
        from this schema are not reported.
    """
    try:
        fields = parse_object(content)
    except ValueError as wrong:
        return None, [Finding(Reason.META_SCHEMA, f"meta.json: {wrong}")]
    findings: list[Finding] = []
    version = fields.get("schema_version")
    if isinstance(version, int) and not isinstance(version, bool) and version != SCHEMA_VERSION:
        text = f"meta.json is of format {version}, this code reads {SCHEMA_VERSION}"
        findings.append(Finding(Reason.SCHEMA_VERSION, text))
    try:
        meta = msgspec.convert(fields, EpisodeMeta)
    except (msgspec.ValidationError, OverflowError) as wrong:
        return None, findings or [Finding(Reason.META_SCHEMA, f"meta.json: {wrong}")]
    if finished:
        findings.extend(
            Finding(Reason.META_SCHEMA, f"meta.json: {name} is null, though done.marker is there")
            for name in ("ended_at_wall", "result")
            if getattr(meta, name) is None
        )
    untimely = [
        f"{name} {getattr(meta, name)} is no Unix time of 64 bits"
        for name in ("started_at_wall", "ended_at_wall")
        if (time := getattr(meta, name)) is not None and not 0 < _unix_ns(time) <= _INT64_MAX
    ]
    if untimely:
        text = "; ".join(untimely)
        return None, [*findings, Finding(Reason.META_SCHEMA, f"meta.json: {text}")]
    return meta, findings


def parse_labels(content: bytes) -> tuple[tuple[Label, ...], list[Finding]]:
    """Parse ``labels.jsonl``: valid rows in file order, including ``failed``, and all findings."""
    rows, findings = _parse_lines(
        content, _LabelRow, Reason.LABELS_SCHEMA, "labels.jsonl", MAX_LABELS
    )
    labels = tuple(Label(row.phase, row.prev, row.t_wall_ns) for row in rows)
    # An unreadable line breaks the chain by itself; report only the line.
    if not findings:
        findings = [*_label_sequence_findings(labels)]
    return labels, findings


def parse_events(content: bytes) -> tuple[tuple[Event, ...], list[Finding]]:
    """Parse ``events.jsonl``; an invalid row is ``row_schema``."""
    rows, findings = _parse_lines(content, _EventRow, Reason.ROW_SCHEMA, "events.jsonl", MAX_EVENTS)
    return tuple(Event(row.event, row.t_wall_ns) for row in rows), findings


def end_findings(meta: EpisodeMeta, labels: Sequence[Label]) -> list[Finding]:
    """Check the episode's end against its duration and its last label."""
    end_ns = meta.ended_ns
    if end_ns is None or meta.result is None or not labels:
        return []
    findings: list[Finding] = []
    duration_s = meta.result.duration_observed_s
    observed_s = (end_ns - labels[0].t_wall_ns) / NS_PER_S
    if abs(observed_s - duration_s) * NS_PER_S > END_TOLERANCE_NS:
        text = (
            f"ended_at_wall is {observed_s:.3f} s after the first label, "
            f"result.duration_observed_s is {duration_s:.3f}"
        )
        findings.append(Finding(Reason.META_SCHEMA, f"meta.json: {text}"))
    elif labels[-1].t_wall_ns > end_ns + END_TOLERANCE_NS:
        late_s = (labels[-1].t_wall_ns - end_ns) / NS_PER_S
        text = f"the last label is {late_s:.3f} s after ended_at_wall"
        findings.append(Finding(Reason.LABELS_NOT_MONOTONIC, text))
    return findings


def _label_sequence_findings(labels: Sequence[Label]) -> Iterable[Finding]:
    if not labels:
        yield Finding(Reason.LABELS_EMPTY, "labels.jsonl has no row")
    previous: Label | None = None
    for number, label in enumerate(labels, 1):
        where = f"labels.jsonl line {number}"
        if label.phase == FAILED_LABEL:
            yield Finding(Reason.LABEL_FAILED, f"{where}: the run did not go as planned")
        elif label.phase not in PHASES:
            yield Finding(Reason.UNKNOWN_PHASE, f"{where}: phase {label.phase!r}")
        expected = previous.phase if previous else None
        if label.prev != expected:
            text = f"{where}: prev is {label.prev!r}, the row before is {expected!r}"
            yield Finding(Reason.LABELS_CHAIN, text)
        if previous and label.t_wall_ns < previous.t_wall_ns:
            text = f"{where}: {label.t_wall_ns} ns comes after {previous.t_wall_ns} ns"
            yield Finding(Reason.LABELS_NOT_MONOTONIC, text)
        previous = label


def _parse_lines(
    content: bytes, row_type: type[_StructT], reason: Reason, member: str, max_rows: int
) -> tuple[list[_StructT], list[Finding]]:
    """Parse a small file line by line, stopping at the twentieth finding."""
    rows: list[_StructT] = []
    findings: list[Finding] = []
    n_lines = content.count(b"\n")
    if n_lines > max_rows:
        return [], [Finding(reason, f"{member} has {n_lines} lines, at most {max_rows} are read")]
    lines = content.split(b"\n")
    if not lines[-1]:
        lines.pop()
    for number, line in enumerate(lines, 1):
        try:
            rows.append(msgspec.convert(parse_object(line), row_type))
        except (ValueError, OverflowError) as wrong:
            findings.append(Finding(reason, f"{member} line {number}: {wrong}"))
            if len(findings) == MAX_FAULTS:
                break
    return rows, findings
