"""Validation of a whole store: incremental, parallel, resumable and order-independent."""

import contextlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, TypedDict

import polars as pl

from cis490_pipeline.compute import Compute
from cis490_pipeline.compute.progress import Progress, no_progress
from cis490_pipeline.domain import EpisodeRef, Verdict
from cis490_pipeline.errors import WorkerDiedError
from cis490_pipeline.storage.files import digest
from cis490_pipeline.store.receiver import ReceiverStore
from cis490_pipeline.store.receiver_index import IndexRow, LeftOut, StoreIndex
from cis490_pipeline.store.verdicts.corpus_marks import ORDER, with_marks, without_marks
from cis490_pipeline.store.verdicts.sweep_journal import SweepJournal
from cis490_pipeline.store.verdicts.validate import (
    RULES_VERSION,
    VALIDATION_SCHEMA,
    VerdictRow,
    errored_verdict,
    validate_episode,
)

_EPISODES_PER_TASK: Final = 16
_ROWS_PER_PIECE: Final = 1024
_INCIDENTAL: Final = ("checked_at", "input_key")
_KEY: Final = ("host_id", "episode_id", "input_key")

_Listed = tuple[EpisodeRef, IndexRow | None]


@dataclass(frozen=True, kw_only=True)
class SweepResult:
    """Validation index with statistics of the sweep."""

    frame: pl.DataFrame
    """One row per episode, columns of `VALIDATION_SCHEMA`, sorted by receipt, host and id."""
    n_read: int
    """Number of episodes read."""
    n_reused: int
    """Number of episodes whose earlier verdict was reused."""
    skipped_index_rows: LeftOut
    """Invalid lines of the index, with reasons."""
    left_out: LeftOut
    """Entries of the store that belong to no episode."""


def sweep(
    store: ReceiverStore,
    previous: pl.DataFrame | None,
    compute: Compute,
    progress: Progress = no_progress,
    *,
    journal: Path | None = None,
    checked_at: str | None = None,
) -> SweepResult:
    """Validate every episode of a store.

    An episode that raises an unexpected exception, or kills its worker process twice (the second
    time alone), becomes ``errored``; all others get a verdict. A verdict records the state of files
    and index row from before reading, so that the next sweep detects a change during this one.

    Parameters
    ----------
    previous : frame of an earlier sweep. A row is reused if its episode's index row, files (size
        and modification time) and the rules are unchanged, and it was not ``errored``.
    journal : file that records each verdict, from which a killed sweep resumes; the caller removes
        it once the frame is stored. Two sweeps with one journal run one after the other.
    checked_at : start time in every verdict; now by default. A resumed sweep keeps its own.

    Raises
    ------
    StoreError
        If the store does not exist or has no episode.
    """
    began = checked_at or datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
    index = store.read_index()
    refs = store.require_episodes(index)
    listing = _listing(store, index, refs)
    with contextlib.ExitStack() as stack:
        notes: SweepJournal | None = None
        earlier = [] if previous is None else [previous]
        if journal is not None:
            about = {"rules": RULES_VERSION, "store": store.name}
            notes = stack.enter_context(SweepJournal(journal, VALIDATION_SCHEMA, about))
            began = notes.begin(began)
            earlier += notes.finished()
        reused = _still_true(earlier, listing)
        known = set(reused.select("host_id", "episode_id").iter_rows())
        to_read = [(r, index.rows.get(r)) for r in refs if (r.host_id, r.episode_id) not in known]
        keys = dict(zip(refs, listing["input_key"], strict=True))
        done = _Pieces()
        progress("validate episodes", reused.height, len(refs))
        for rows in _verdicts(store, to_read, compute):
            _stamp(rows, began, keys)
            if notes is not None:
                notes.append(rows)
            done.add(rows)
            progress("validate episodes", reused.height + done.height, len(refs))
    frame = with_marks(pl.concat([reused, *done.frames()]))
    return SweepResult(
        frame=frame,
        n_read=len(to_read),
        n_reused=reused.height,
        skipped_index_rows=index.skipped,
        left_out=store.left_out(),
    )


def _stamp(rows: Sequence[VerdictRow], began: str, keys: Mapping[EpisodeRef, str]) -> None:
    """Record in verdicts when the sweep began, and the state of what they were made from."""
    for row in rows:
        row["checked_at"] = began
        row["input_key"] = keys[EpisodeRef(str(row["host_id"]), str(row["episode_id"]))]


def comparable(frame: pl.DataFrame) -> pl.DataFrame:
    """Return sorted verdicts and contents without the columns that vary between sweeps."""
    return frame.drop(_INCIDENTAL).sort(ORDER, nulls_last=True)


def sweep_digest(frame: pl.DataFrame) -> str:
    """SHA-256 (hex) of verdicts and contents, without the columns that vary between sweeps."""
    kept = comparable(frame)
    return digest({"columns": kept.columns, "rows": kept.rows()})


class VerdictCounts(TypedDict):
    """Verdicts and reasons of a store, as ``validate --json`` prints them."""

    counts: dict[str, int]
    """Of all four verdicts."""
    reasons: dict[str, int]
    """Those that occur."""
    n_episodes: int
    unknown_fields: list[str]
    """Each once, ``source.field``."""


def verdict_counts(frame: pl.DataFrame) -> VerdictCounts:
    """Count verdicts and reasons."""
    statuses = Counter(frame["status"].to_list())
    reasons = Counter(code for codes in frame["reasons"].to_list() for code in codes)
    unknown = {name for names in frame["unknown_fields"].to_list() for name in names}
    return {
        "counts": {verdict.value: statuses[verdict.value] for verdict in Verdict},
        "reasons": dict(sorted(reasons.items())),
        "n_episodes": frame.height,
        "unknown_fields": sorted(unknown),
    }


class _Pieces:
    """Verdict rows stored as columns; as dictionaries a lab's would take 300 MB."""

    def __init__(self) -> None:
        self._rows: list[VerdictRow] = []
        self._frames: list[pl.DataFrame] = []
        self.height = 0

    def add(self, rows: Sequence[VerdictRow]) -> None:
        self.height += len(rows)
        self._rows += rows
        if len(self._rows) >= _ROWS_PER_PIECE:
            self._frames.append(pl.DataFrame(self._rows, schema=VALIDATION_SCHEMA))
            self._rows = []

    def frames(self) -> list[pl.DataFrame]:
        return [*self._frames, pl.DataFrame(self._rows, schema=VALIDATION_SCHEMA)]


@dataclass(frozen=True)
class _Task:
    """A batch of episodes for one worker; sending single episodes would cost more than the work."""

    store: ReceiverStore
    episodes: Sequence[_Listed]


def _verdicts(
    store: ReceiverStore, episodes: Sequence[_Listed], compute: Compute
) -> Iterator[list[VerdictRow]]:
    """Yield verdicts in batches, surviving the death of workers."""
    tasks = [
        _Task(store.only(ref for ref, _ in some), some)
        for start in range(0, len(episodes), _EPISODES_PER_TASK)
        if (some := episodes[start : start + _EPISODES_PER_TASK])
    ]
    while tasks:
        done: set[int] = set()
        suspects: tuple[int, ...] = ()
        try:
            for position, rows in compute.map(_validate_batch, tasks):
                done.add(position)
                yield rows
        except WorkerDiedError as died:
            if not died.positions:
                raise
            suspects = died.positions
        for position in suspects:
            yield from _apart(tasks[position], compute)
        done.update(suspects)
        tasks = [task for position, task in enumerate(tasks) if position not in done]


def _apart(task: _Task, compute: Compute) -> Iterator[list[VerdictRow]]:
    """Run one task alone; if it kills its worker again, bisect to find the episode."""
    try:
        results = [rows for _, rows in compute.map(_validate_batch, [task])]
    except WorkerDiedError:
        if middle := len(task.episodes) // 2:
            for half in (task.episodes[:middle], task.episodes[middle:]):
                yield from _apart(_Task(task.store, half), compute)
            return
        error = "the worker process that read it ended without a word, twice"
        results = [[errored_verdict(ref, row, error) for ref, row in task.episodes]]
    yield from results


def _validate_batch(task: _Task) -> list[VerdictRow]:
    return [_validate_one(task.store, ref, row) for ref, row in task.episodes]


def _validate_one(store: ReceiverStore, ref: EpisodeRef, index_row: IndexRow | None) -> VerdictRow:
    try:
        row = validate_episode(store, ref, index_row)
        # Converted here, where a failure is attributable to one episode.
        pl.DataFrame([row], schema=VALIDATION_SCHEMA)
    # Broad, including panics of polars: the other episodes must still get a verdict.
    except (Exception, pl.exceptions.PanicException) as failure:
        return errored_verdict(ref, index_row, f"{type(failure).__name__}: {failure}")
    return row


def _listing(store: ReceiverStore, index: StoreIndex, refs: Sequence[EpisodeRef]) -> pl.DataFrame:
    """List every episode with the digest of its verdict's current inputs."""
    rows = [index.rows.get(ref) for ref in refs]
    columns = {
        "host_id": [ref.host_id for ref in refs],
        "episode_id": [ref.episode_id for ref in refs],
        "input_key": [_input_key(store, ref, row) for ref, row in zip(refs, rows, strict=True)],
        "received_at_wall": [row.received_at_wall if row else None for row in rows],
    }
    return pl.DataFrame(columns, schema=dict.fromkeys(columns, pl.String()))


def _input_key(store: ReceiverStore, ref: EpisodeRef, index_row: IndexRow | None) -> str:
    """Digest of a verdict's inputs, without reading the episode."""
    entry = index_row and [index_row.sha256, index_row.bytes, index_row.schema_version]
    return digest({"rules": RULES_VERSION, "index": entry, "files": store.stamps(ref)})


def _still_true(earlier: Iterable[pl.DataFrame], listing: pl.DataFrame) -> pl.DataFrame:
    """Return earlier verdicts that are still valid, one per episode, without corpus marks."""
    sound = [
        frame.filter(
            pl.col("status") != Verdict.ERRORED.value, pl.col("validator_version") == RULES_VERSION
        )
        for frame in earlier
        if dict(frame.schema) == VALIDATION_SCHEMA
    ]
    if not sound:
        return pl.DataFrame(schema=VALIDATION_SCHEMA)
    kept = pl.concat(sound).drop("received_at_wall").join(listing, on=_KEY)
    kept = kept.unique(["host_id", "episode_id"], keep="first", maintain_order=True)
    return without_marks(kept.select(list(VALIDATION_SCHEMA)))
