"""Validation of one episode, as a row of the validation index."""

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Final

import polars as pl

from cis490_pipeline.domain import NS_PER_S, EpisodeRef, Source, Verdict
from cis490_pipeline.storage.files import printable
from cis490_pipeline.store.episode import OpenedEpisode, open_episode
from cis490_pipeline.store.reasons import Finding, Reason, verdict_of
from cis490_pipeline.store.receiver import ReceiverStore
from cis490_pipeline.store.receiver_index import IndexRow
from cis490_pipeline.store.verdicts.telemetry_checks import (
    count_findings,
    counter_findings,
    duration_findings,
    flat_findings,
    label_findings,
    source_findings,
    thinned_note,
)

RULES_VERSION: Final = "4"
"""Raised when a rule changes; verdicts of other versions are recomputed."""

MAX_DETAILS: Final = 100
"""Maximal number of details per verdict; reason codes are never omitted."""
MAX_UNKNOWN: Final = 100
"""Maximal number of unknown fields per verdict."""
MAX_DETAIL: Final = 2000
"""Maximal length of a detail, characters."""

VerdictRow = dict[str, str | int | float | list[str] | None]
"""One row of the validation index, by column."""
_TEXTS: Final = pl.List(pl.String)
VALIDATION_SCHEMA: Final[dict[str, pl.DataType]] = {
    "status": pl.String(),
    "reasons": _TEXTS,
    "details": _TEXTS,
    "profile": pl.String(),
    "sample_name": pl.String(),
    "sample_kind": pl.String(),
    "host_id": pl.String(),
    "episode_id": pl.String(),
    "received_at_wall": pl.String(),
    "sha256": pl.String(),
    "content_digest": pl.String(),
    "rows_proc": pl.Int64(),
    "rows_qmp": pl.Int64(),
    "rows_guest": pl.Int64(),
    "rows_netflow": pl.Int64(),
    "duration_s": pl.Float64(),
    "phases": _TEXTS,
    "t0_wall_ns": pl.Int64(),
    "unknown_fields": _TEXTS,
    "checked_at": pl.String(),
    "validator_version": pl.String(),
    "input_key": pl.String(),
    "vanished_at": pl.String(),
}
"""Columns of ``validation_v1.parquet``; null is unknown.

``vanished_at`` is the time of the first sweep that missed the episode, null while it is there.
"""


def validate_episode(
    store: ReceiverStore, ref: EpisodeRef, index_row: IndexRow | None
) -> VerdictRow:
    """Validate one episode by all rules except the corpus-wide marks.

    Returns one row of `VALIDATION_SCHEMA`, in which the sweep fills ``input_key``. An I/O error
    gives status ``errored`` with its text.
    """
    try:
        opened = open_episode(store, ref, index_row)
    except OSError as failure:
        return errored_verdict(ref, index_row, f"{type(failure).__name__}: {failure}")
    return judge_episode(opened, index_row)


def judge_episode(opened: OpenedEpisode, index_row: IndexRow | None) -> VerdictRow:
    """Validate an opened episode; returns a row like `validate_episode`."""
    findings = [*opened.findings, *_telemetry_findings(opened)]
    notes = [f"note: {text}" for text in (*opened.notes, *_thinned_notes(opened))]
    details = [*map(str, findings[:MAX_DETAILS]), *notes]
    return _verdict(opened, index_row, verdict_of(f.reason for f in findings), findings, details)


def errored_verdict(ref: EpisodeRef, index_row: IndexRow | None, error: str) -> VerdictRow:
    """Build the row of an episode that could not be checked, with the error."""
    return _verdict(OpenedEpisode(ref=ref), index_row, Verdict.ERRORED, [], [error])


def _verdict(
    opened: OpenedEpisode,
    index_row: IndexRow | None,
    status: Verdict,
    findings: list[Finding],
    details: list[str],
) -> VerdictRow:
    return {
        "status": status.value,
        "reasons": sorted({finding.reason.value for finding in findings}),
        "details": list(map(_bounded, details)),
        **_description(opened),
        "host_id": opened.ref.host_id,
        "episode_id": opened.ref.episode_id,
        "received_at_wall": index_row.received_at_wall if index_row else None,
        "checked_at": datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z"),
        "validator_version": RULES_VERSION,
        "input_key": None,
        "vanished_at": None,
    }


def _bounded(text: str) -> str:
    """Truncate and escape a text, because names in it may be hostile."""
    text = printable(text)
    return text if len(text) <= MAX_DETAIL else f"{text[:MAX_DETAIL]}… ({len(text)} characters)"


def _telemetry_findings(opened: OpenedEpisode) -> list[Finding]:
    """Check the telemetry; only files that are valid themselves are checked."""
    findings: list[Finding] = []
    if opened.meta is not None:
        findings += count_findings(opened.meta, opened.rows, opened.perf_lines)
        if opened.meta.code_version is not None and opened.meta.code_version.dirty:
            text = f"recorded by uncommitted code over {opened.meta.code_version.commit}"
            findings.append(Finding(Reason.CODE_DIRTY, text))
    reasons = {finding.reason for finding in opened.findings}
    if opened.events is not None and Reason.LABELS_SCHEMA not in reasons:
        findings += label_findings(opened.labels, opened.events)
    if not reasons.isdisjoint({Reason.ROW_SCHEMA, Reason.ROWS_NOT_MONOTONIC}):
        return findings
    columns = {source: rows.columns for source, rows in opened.rows.items()}
    t0_ns, end_ns = opened.t0_ns, opened.end_ns
    for source, rows in columns.items():
        findings += counter_findings(source, rows, t0_ns)
    untimed = {Reason.LABELS_SCHEMA, Reason.LABELS_NOT_MONOTONIC, Reason.META_SCHEMA}
    if t0_ns is None or end_ns is None or not reasons.isdisjoint(untimed):
        return findings
    findings += duration_findings(t0_ns, end_ns, columns.get(Source.PROC))
    for source, rows in columns.items():
        findings += source_findings(source, rows, t0_ns, end_ns)
    findings += flat_findings(columns, opened.labels, end_ns)
    return findings


def _thinned_notes(opened: OpenedEpisode) -> Iterator[str]:
    out_of_order = {Reason.ROW_SCHEMA, Reason.ROWS_NOT_MONOTONIC}
    t0_ns, end_ns = opened.t0_ns, opened.end_ns
    if (
        t0_ns is None
        or end_ns is None
        or not out_of_order.isdisjoint(f.reason for f in opened.findings)
    ):
        return
    for source, rows in opened.rows.items():
        note = thinned_note(source, rows.columns, t0_ns, end_ns)
        if note is not None:
            yield note


def _description(opened: OpenedEpisode) -> VerdictRow:
    """Return the descriptive columns, as far as the episode could be read."""
    sample = opened.meta.sample if opened.meta else None
    t0_ns, end_ns = opened.t0_ns, opened.end_ns
    duration_s = None if t0_ns is None or end_ns is None else (end_ns - t0_ns) / NS_PER_S
    return {
        "profile": sample.profile if sample else None,
        "sample_name": sample.name if sample else None,
        "sample_kind": sample.kind if sample else None,
        "sha256": opened.sha256,
        "content_digest": opened.content_digest,
        **{
            f"rows_{source}": rows.n_lines if (rows := opened.rows.get(source)) else None
            for source in Source
        },
        "duration_s": duration_s,
        "phases": [label.phase for label in opened.labels],
        "t0_wall_ns": t0_ns,
        "unknown_fields": [printable(name) for name in sorted(opened.unknown_fields)][:MAX_UNKNOWN],
    }
