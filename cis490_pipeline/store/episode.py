"""Reading one episode: metadata, labels, events and telemetry, with times in Unix ns."""

from collections import Counter
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Final

import numpy as np
import polars as pl

from cis490_pipeline.domain import EpisodeRef, Source, Verdict
from cis490_pipeline.store.archive import unpack as archive
from cis490_pipeline.store.metadata import (
    SCHEMA_VERSION,
    EpisodeMeta,
    Event,
    Label,
    end_findings,
    parse_events,
    parse_labels,
    parse_meta,
)
from cis490_pipeline.store.reasons import Finding, Reason, rejected
from cis490_pipeline.store.receiver import ARCHIVE_SUFFIX, ReceiverStore
from cis490_pipeline.store.receiver_index import IndexRow
from cis490_pipeline.store.rows.columns import TIME, Columns
from cis490_pipeline.store.rows.read import MAX_FAULTS, SourceRows, read_rows_once
from cis490_pipeline.store.rows.readings import without_negatives

_TERMINAL: Final = frozenset({Reason.SHA256_MISMATCH, Reason.ARCHIVE_CORRUPT})


@dataclass(frozen=True, kw_only=True)
class Episode:
    """An episode whose files are valid."""

    ref: EpisodeRef
    meta: EpisodeMeta
    labels: tuple[Label, ...]
    t0_ns: int
    """Time of the first label, Unix ns: the start of the grid."""
    end_ns: int
    """End of the last phase, Unix ns."""
    columns: dict[Source, Columns]
    """By source: ``t_wall_ns`` and the recorded channels, by canonical name."""
    sha256: str
    """SHA-256 of the archive; for a folder, the digest of its telemetry."""

    @cached_property
    def rows(self) -> dict[Source, pl.DataFrame]:
        """The columns as one frame per source."""
        return {source: columns.frame for source, columns in self.columns.items()}


@dataclass(kw_only=True)
class OpenedEpisode:
    """The readable parts of an episode, and all faults found in it."""

    ref: EpisodeRef
    findings: list[Finding] = field(default_factory=list)
    meta: EpisodeMeta | None = None
    labels: tuple[Label, ...] = ()
    events: tuple[Event, ...] | None = None
    """``None`` if the member is missing or invalid."""
    rows: dict[Source, SourceRows] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    """Corrections of readings that are not faults."""
    perf_lines: int | None = None
    sha256: str | None = None
    content_digest: str | None = None
    """Digest of the four sources' bytes; ``None`` if there are none."""

    @property
    def t0_ns(self) -> int | None:
        """Time of the first label, Unix ns."""
        return self.labels[0].t_wall_ns if self.labels else None

    @property
    def end_ns(self) -> int | None:
        """End of the last phase, Unix ns; ``None`` if unknown."""
        return self.meta.ended_ns if self.meta else None

    @property
    def unknown_fields(self) -> Counter[str]:
        """Number of rows with each field that is no channel, by ``source.field``."""
        return Counter(
            {f"{s}.{name}": n for s, rows in self.rows.items() for name, n in rows.unknown.items()}
        )


def open_episode(
    store: ReceiverStore, ref: EpisodeRef, index_row: IndexRow | None
) -> OpenedEpisode:
    """Read an episode and collect all faults of its files; ``index_row`` is None if not indexed.

    An `OSError` implies nothing about the episode.
    """
    opened = OpenedEpisode(ref=ref)
    opened.findings += _index_findings(index_row)
    with store.reading(ref) as reading:
        opened.findings += reading.findings
        path = reading.path
        if path is None:
            if not reading.findings:
                text = f"neither {ref.episode_id}{ARCHIVE_SUFFIX} nor a folder is there"
                opened.findings.append(Finding(Reason.MISSING_MEMBER, text))
            return opened
        unpacked = archive.unpack(path, index_row.sha256 if index_row else None)
        is_folder = path.is_dir()
    if is_folder or (index_row is not None and index_row.sha256 is None):
        text = "no digest seals it: " + ("unpacked" if is_folder else "sha256 is null")
        opened.findings.append(Finding(Reason.UNSEALED, text))
    opened.findings += [_with_earlier(f, unpacked.sha256, index_row) for f in unpacked.findings]
    opened.sha256 = unpacked.sha256
    if not _TERMINAL.isdisjoint(finding.reason for finding in unpacked.findings):
        # Without a trustworthy archive, further findings would be meaningless.
        return opened
    _read_contents(opened, unpacked)
    return opened


def load_episode(store: ReceiverStore, ref: EpisodeRef, index_row: IndexRow | None) -> Episode:
    """Load an episode and require valid files, as `sound_episode` does.

    The validator checks rates and gaps. An `OSError` implies nothing about the episode.
    """
    return sound_episode(open_episode(store, ref, index_row))


def sound_episode(opened: OpenedEpisode) -> Episode:
    """Convert an opened episode, requiring valid files.

    Raises `EpisodeRejectedError` with the reason codes, if a file is missing, damaged or malformed.
    """
    rejecting = [f for f in opened.findings if f.reason.verdict is Verdict.REJECTED]
    meta, t0_ns, end_ns = opened.meta, opened.t0_ns, opened.end_ns
    digest = opened.sha256 or opened.content_digest
    if rejecting or meta is None or t0_ns is None or end_ns is None or digest is None:
        raise rejected(opened.ref, rejecting)
    return Episode(
        ref=opened.ref,
        meta=meta,
        labels=opened.labels,
        t0_ns=t0_ns,
        end_ns=end_ns,
        columns={source: rows.columns for source, rows in opened.rows.items()},
        sha256=digest,
    )


def _with_earlier(finding: Finding, sha256: str | None, index_row: IndexRow | None) -> Finding:
    """Note on a digest mismatch if an earlier index row has the archive's digest."""
    if finding.reason is not Reason.SHA256_MISMATCH or not index_row:
        return finding
    if sha256 not in index_row.earlier_sha256:
        return finding
    text = (
        f"{finding.detail}; an earlier row of the index has the archive's digest: it was shipped "
        "more than once, and the last row is not of the shipment that was kept"
    )
    return Finding(finding.reason, text)


def _index_findings(index_row: IndexRow | None) -> list[Finding]:
    if index_row is None:
        return [Finding(Reason.NOT_INDEXED, "on disk, but in no row of index.jsonl")]
    if index_row.schema_version != SCHEMA_VERSION:
        text = f"the index says format {index_row.schema_version}, this code reads {SCHEMA_VERSION}"
        return [Finding(Reason.SCHEMA_VERSION, text)]
    return []


def _read_contents(opened: OpenedEpisode, unpacked: archive.Unpacked) -> None:
    finished = archive.DONE in unpacked.line_counts
    contents = unpacked.contents
    if unpacked.complete:
        opened.findings += _absence_findings(unpacked.line_counts)
    if archive.META in contents:
        opened.meta, findings = parse_meta(contents[archive.META], finished=finished)
        opened.findings += findings
    if opened.meta is not None:
        _check_identity(opened, opened.meta)
    if archive.LABELS in contents:
        opened.labels, findings = parse_labels(contents[archive.LABELS])
        opened.findings += findings
    # An unreadable first or last label must not count as a fault of another file.
    readable = all(finding.reason is not Reason.LABELS_SCHEMA for finding in opened.findings)
    if opened.meta is not None and readable:
        opened.findings += end_findings(opened.meta, opened.labels)
    if archive.EVENTS in contents:
        events, findings = parse_events(contents[archive.EVENTS])
        opened.events = None if findings else events
        opened.findings += findings
    for source in Source:
        if source.member in contents:
            opened.rows[source] = _read_source(opened, source, contents[source.member])
    opened.perf_lines = unpacked.line_counts.get(archive.PERF)
    opened.content_digest = archive.content_digest(contents)


def _absence_findings(present: Collection[str]) -> Iterator[Finding]:
    if archive.DONE not in present:
        yield Finding(Reason.UNFINISHED, f"no {archive.DONE}: the run did not reach its end")
    absent = archive.READ_MEMBERS - {archive.DONE} - set(present)
    # A guest or an exporter that never ran leaves no file; without proc there is no episode. In an
    # unfinished run, a missing file is not the fault of its source.
    optional = {s.member for s in Source if s is not Source.PROC and archive.DONE in present}
    if needed := sorted(absent - optional):
        yield Finding(Reason.MISSING_MEMBER, "no " + ", ".join(needed))
    if missing := sorted(absent & optional):
        yield Finding(Reason.SOURCE_MISSING, "no " + ", ".join(missing))


def _check_identity(opened: OpenedEpisode, meta: EpisodeMeta) -> None:
    stated = EpisodeRef(meta.host_id, meta.episode_id)
    if stated != opened.ref:
        text = f"its path and index row say {opened.ref}, meta.json says {stated}"
        opened.findings.append(Finding(Reason.ID_MISMATCH, text))


def _negative_notes(source: Source, columns: Columns) -> Iterator[str]:
    for name in columns.values:
        n = int((columns.readings(name) < 0).sum())
        if name != TIME and n:
            yield f"{source}.{name}: {n} negative readings are unknown"


def _read_source(opened: OpenedEpisode, source: Source, content: bytes) -> SourceRows:
    rows = read_rows_once(source, content)
    n_named = sum(finding.reason is Reason.ROW_SCHEMA for finding in opened.findings)
    opened.findings += [
        Finding(Reason.ROW_SCHEMA, str(fault))
        for fault in rows.faults[: max(0, MAX_FAULTS - n_named)]
    ]
    if rows.n_repeated:
        text = f"{source.member}: {rows.n_repeated} rows equal an earlier one in every field"
        opened.findings.append(Finding(Reason.ROWS_REPEATED, text))
    columns = without_negatives(source, rows.columns)
    if columns is not rows.columns:
        opened.notes += _negative_notes(source, rows.columns)
        rows = replace(rows, columns=columns)
    t_wall_ns = rows.columns.times
    backwards = np.flatnonzero(t_wall_ns[1:] < t_wall_ns[:-1]) + 1
    if backwards.size:
        first = t_wall_ns[backwards[0]]
        text = f"{source.member}: time goes back in {backwards.size} rows, first to {first} ns"
        opened.findings.append(Finding(Reason.ROWS_NOT_MONOTONIC, text))
    return rows
