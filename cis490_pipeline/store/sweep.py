"""Verdicts on a whole store: incremental, in parallel, the same whatever the order."""

import stat
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import polars as pl

from cis490_pipeline.compute import Compute
from cis490_pipeline.domain import EpisodeRef, Verdict
from cis490_pipeline.store.files import digest
from cis490_pipeline.store.layout import EpisodeStore, IndexRow
from cis490_pipeline.store.reasons import Finding, Reason, verdict_of
from cis490_pipeline.store.validate import RULES_VERSION, VALIDATION_SCHEMA, validate_episode

_EPISODES_PER_TASK: Final = 16
_INCIDENTAL: Final = ("checked_at", "input_key")
_ORDER: Final = ("received_at_wall", "host_id", "episode_id")


@dataclass(frozen=True, kw_only=True)
class SweepResult:
    """The index of verdicts and how it came about."""

    frame: pl.DataFrame
    """One row per episode, columns of `VALIDATION_SCHEMA`, sorted by receipt, host and id."""
    n_read: int
    """Episodes that were opened."""
    n_reused: int
    """Episodes whose verdict of an earlier sweep still holds."""
    skipped_index_rows: list[str]
    """Lines of the index that are no index rows, and why."""


def sweep(
    store: EpisodeStore,
    previous: pl.DataFrame | None,
    compute: Compute,
    progress: Callable[[int, int], None] | None = None,
) -> SweepResult:
    """Give every episode of a store its verdict.

    Parameters
    ----------
    store : the store; only read.
    previous : the frame of an earlier sweep. A row is reused if its episode's index row, files
        (size and time of change) and the rules are the same, and it was not ``errored``.
    compute : where to do it.
    progress : called with episodes done and all episodes, from time to time.

    Raises
    ------
    StoreError
        If the store's folder does not exist.
    """
    index = store.read_index()
    refs = store.episodes(index)
    keys = {ref: _input_key(store.path(ref), index.rows.get(ref)) for ref in refs}
    reusable = _reusable(previous)
    rows: list[dict[str, Any]] = []
    to_read: list[tuple[EpisodeRef, IndexRow | None]] = []
    for ref in refs:
        index_row = index.rows.get(ref)
        earlier = reusable.get((ref, keys[ref]))
        if earlier is None:
            to_read.append((ref, index_row))
        else:
            rows.append({**earlier, "received_at_wall": _received(index_row)})
    n_reused = len(rows)
    tasks = [
        _Task(store.root, to_read[start : start + _EPISODES_PER_TASK])
        for start in range(0, len(to_read), _EPISODES_PER_TASK)
    ]
    if progress:
        progress(n_reused, len(refs))
    for _, done in compute.map(_validate_batch, tasks):
        rows.extend(done)
        if progress:
            progress(len(rows), len(refs))
    for row in rows:
        row["input_key"] = keys[EpisodeRef(row["host_id"], row["episode_id"])]
    _mark_duplicates(rows)
    frame = pl.DataFrame(rows, schema=VALIDATION_SCHEMA).sort(_ORDER, nulls_last=True)
    return SweepResult(
        frame=frame, n_read=len(to_read), n_reused=n_reused, skipped_index_rows=index.skipped
    )


def comparable(frame: pl.DataFrame) -> pl.DataFrame:
    """Return the verdicts and contents alone, in order, without when and where they were made."""
    return frame.drop(_INCIDENTAL).sort(_ORDER, nulls_last=True)


def sweep_digest(frame: pl.DataFrame) -> str:
    """Return a SHA-256 (hex) of the verdicts and contents, not of when and where they were made."""
    kept = comparable(frame)
    return digest({"columns": kept.columns, "rows": kept.rows()})


def verdict_counts(frame: pl.DataFrame, skipped_index_rows: Sequence[str] = ()) -> dict[str, Any]:
    """Count verdicts and reasons, as ``validate --json`` prints them.

    Returns
    -------
    dict
        ``counts`` (all four verdicts), ``reasons`` (those that occur), ``n_episodes``,
        ``skipped_index_rows`` and ``unknown_fields`` (each once, ``source.field``).
    """
    statuses = Counter(frame["status"].to_list())
    reasons = Counter(code for codes in frame["reasons"].to_list() for code in codes)
    unknown = {name for names in frame["unknown_fields"].to_list() for name in names}
    return {
        "counts": {verdict.value: statuses[verdict.value] for verdict in Verdict},
        "reasons": dict(sorted(reasons.items())),
        "n_episodes": frame.height,
        "skipped_index_rows": len(skipped_index_rows),
        "unknown_fields": sorted(unknown),
    }


@dataclass(frozen=True)
class _Task:
    """Some episodes for one worker: a task each would cost more to send than to do."""

    store_root: Path
    episodes: Sequence[tuple[EpisodeRef, IndexRow | None]]


def _validate_batch(task: _Task) -> list[dict[str, Any]]:
    return [validate_episode(task.store_root, ref, row) for ref, row in task.episodes]


def _received(index_row: IndexRow | None) -> str | None:
    return index_row.received_at_wall if index_row else None


def _input_key(path: Path | None, index_row: IndexRow | None) -> str:
    """Digest of all that a verdict rests on, short of reading the episode."""
    told = index_row and [index_row.sha256, index_row.bytes, index_row.schema_version]
    return digest({"rules": RULES_VERSION, "index": told, "files": _stamps(path)})


def _stamps(path: Path | None) -> list[list[str | int]] | None:
    """Name, type, size and time of change of an archive or of each member of a folder."""
    try:
        if path is None:
            return None
        members = sorted(path.iterdir()) if path.is_dir() else [path]
        stats = [(member, member.lstat()) for member in members]
    except OSError as failure:
        # Not to be judged from here: reading it will say what is wrong, and errored is not reused.
        return [[type(failure).__name__]]
    return [
        [member.name, stat.S_IFMT(seen.st_mode), seen.st_size, seen.st_mtime_ns]
        for member, seen in stats
    ]


def _reusable(
    previous: pl.DataFrame | None,
) -> dict[tuple[EpisodeRef, str], dict[str, Any]]:
    if previous is None or dict(previous.schema) != VALIDATION_SCHEMA:
        return {}
    sound = previous.filter(
        (pl.col("status") != Verdict.ERRORED.value) & (pl.col("validator_version") == RULES_VERSION)
    )
    return {
        (EpisodeRef(row["host_id"], row["episode_id"]), row["input_key"]): row
        for row in sound.iter_rows(named=True)
    }


def _mark_duplicates(rows: Iterable[dict[str, Any]]) -> None:
    """Give ``duplicate_content`` to all but the earliest received of the usable copies."""
    first: dict[str, str] = {}
    for row in sorted(rows, key=_seniority):
        if row["status"] == Verdict.ERRORED.value:
            continue
        _unmark_duplicate(row)
        content = row["content_digest"]
        if row["status"] == Verdict.REJECTED.value or content is None:
            continue
        name = f"{row['host_id']}/{row['episode_id']}"
        original = first.setdefault(content, name)
        if original != name:
            found = Finding(Reason.DUPLICATE_CONTENT, f"the same telemetry as {original}")
            row["reasons"] = sorted([*row["reasons"], found.reason.value])
            row["details"] = [*row["details"], str(found)]
            row["status"] = verdict_of(row["reasons"]).value


def _unmark_duplicate(row: dict[str, Any]) -> None:
    """Take back what an earlier sweep said of copies: the corpus may be another by now."""
    code = Reason.DUPLICATE_CONTENT.value
    row["reasons"] = [reason for reason in row["reasons"] if reason != code]
    row["details"] = [text for text in row["details"] if not text.startswith(f"{code}: ")]
    row["status"] = verdict_of(row["reasons"]).value


def _seniority(row: dict[str, Any]) -> tuple[bool, str, str, str]:
    received = row["received_at_wall"]
    return (received is None, received or "", row["host_id"], row["episode_id"])
