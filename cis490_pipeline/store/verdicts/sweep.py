"""Validation of a whole store: incremental, parallel, resumable and order-independent."""

import contextlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import starmap
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
from cis490_pipeline.store.verdicts.vanished import (
    kept_rows,
    known_episodes,
    require_few_unreadable,
    require_few_vanished,
    vanished_episodes,
)

_EPISODES_PER_TASK: Final = 16
_ROWS_PER_PIECE: Final = 1024
_INCIDENTAL: Final = ("checked_at", "input_key", "vanished_at")
_EPISODE: Final = ("host_id", "episode_id")
_KEY: Final = (*_EPISODE, "input_key")

_Listed = tuple[EpisodeRef, IndexRow | None]
Stamps = list[list[str | int]]
"""Of each file of an episode: name, type, size and modification time."""


@dataclass(frozen=True, kw_only=True)
class SweepResult:
    """Validation index with statistics of the sweep."""

    frame: pl.DataFrame
    """One row per episode, columns of `VALIDATION_SCHEMA`, sorted by receipt, host and id."""
    n_read: int
    """Number of episodes read."""
    n_reused: int
    """Number of episodes whose earlier verdict was reused."""
    n_vanished: int
    """Number of episodes that are not there now, whose earlier verdicts stay."""
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
    verdicts_of: str | None = None,
    accept_loss: bool = False,
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
    verdicts_of : name of the store that ``previous`` is of, by default this one. Verdicts of
        another store are not reused and do not stay, but this one must have its episodes.
    accept_loss : whether to go on however many of the earlier episodes vanished or are unreadable.

    Raises
    ------
    StoreError
        If the store does not exist or has no episode, or too many of its episodes are lost
        (`require_few_vanished`, `require_few_unreadable`).
    """
    began = checked_at or datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
    index = store.read_index()
    listing = _listing(store, index, store.require_episodes(index))
    earlier = _of_this_layout(previous)
    known = known_episodes(earlier)
    vanished = vanished_episodes(known, listing)
    verdicts_of = verdicts_of or store.name
    if not accept_loss:
        require_few_vanished(store.name, known, vanished, verdicts_of=verdicts_of)
    if verdicts_of != store.name:
        earlier, vanished = earlier.clear(), vanished.clear()
    here = listing.join(vanished, on=_EPISODE, how="anti", maintain_order="left")
    with contextlib.ExitStack() as stack:
        notes: SweepJournal | None = None
        finished: list[pl.DataFrame] = []
        if journal is not None:
            about = {"rules": RULES_VERSION, "store": store.name}
            notes = stack.enter_context(SweepJournal(journal, VALIDATION_SCHEMA, about))
            began = notes.begin(began)
            finished = notes.finished()
        reused = _still_true([earlier, *finished], here)
        read = _read_missing(store, index, here, reused, compute, progress, notes, began)
    if not accept_loss:
        require_few_unreadable(store.name, known, read.filter(status=Verdict.ERRORED.value))
    kept = kept_rows(vanished.select(list(VALIDATION_SCHEMA)), began)
    return SweepResult(
        frame=with_marks(pl.concat([reused, read, kept])),
        n_read=read.height,
        n_reused=reused.height,
        n_vanished=kept.height,
        skipped_index_rows=index.skipped,
        left_out=store.left_out(),
    )


def _read_missing(
    store: ReceiverStore,
    index: StoreIndex,
    here: pl.DataFrame,
    reused: pl.DataFrame,
    compute: Compute,
    progress: Progress,
    notes: SweepJournal | None,
    began: str,
) -> pl.DataFrame:
    """Validate the listed episodes that have no verdict yet, noting each as it is made."""
    missing = here.join(reused, on=_EPISODE, how="anti", maintain_order="left")
    refs = starmap(EpisodeRef, missing.select(_EPISODE).iter_rows())
    to_read = [(ref, index.rows.get(ref)) for ref in refs]
    keys = {(host, episode): key for host, episode, key in missing.select(_KEY).iter_rows()}
    done = _Pieces()
    progress("validate episodes", reused.height, here.height)
    for rows in _verdicts(store, to_read, compute):
        _stamp(rows, began, keys)
        if notes is not None:
            notes.append(rows)
        done.add(rows)
        progress("validate episodes", reused.height + done.height, here.height)
    return pl.concat(done.frames())


def _of_this_layout(previous: pl.DataFrame | None) -> pl.DataFrame:
    """Return earlier verdicts in this code's columns; none of them if they have others."""
    if previous is not None and "vanished_at" not in previous.columns:
        # Written before the column existed.
        previous = previous.with_columns(vanished_at=pl.lit(None, pl.String()))
    if previous is None or dict(previous.schema) != VALIDATION_SCHEMA:
        return pl.DataFrame(schema=VALIDATION_SCHEMA)
    return previous


def _stamp(rows: Sequence[VerdictRow], began: str, keys: Mapping[tuple[str, str], str]) -> None:
    """Record in verdicts when the sweep began, and the state of what they were made from."""
    for row in rows:
        row["checked_at"] = began
        row["input_key"] = keys[str(row["host_id"]), str(row["episode_id"])]


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
    """List every episode with what is there of it and the digest of its verdict's inputs."""
    rows = [index.rows.get(ref) for ref in refs]
    stamps = [store.stamps(ref) for ref in refs]
    columns = {
        "host_id": [ref.host_id for ref in refs],
        "episode_id": [ref.episode_id for ref in refs],
        "input_key": list(map(_input_key, rows, stamps)),
        "received_at_wall": [row.received_at_wall if row else None for row in rows],
    }
    return pl.DataFrame(columns, schema=dict.fromkeys(columns, pl.String())).with_columns(
        is_indexed=pl.Series([row is not None for row in rows], dtype=pl.Boolean),
        has_file=pl.Series(list(map(_is_there, stamps)), dtype=pl.Boolean),
    )


def _is_there(stamps: Stamps | None) -> bool:
    """Whether an episode has files; of one that may not be listed, only the error is known."""
    return stamps is not None and all(len(stamp) > 1 for stamp in stamps)


def _input_key(index_row: IndexRow | None, stamps: Stamps | None) -> str:
    """Digest of a verdict's inputs, without reading the episode."""
    entry = index_row and [index_row.sha256, index_row.bytes, index_row.schema_version]
    return digest({"rules": RULES_VERSION, "index": entry, "files": stamps})


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
    # What is listed is there, whether or not a sweep missed it in between.
    there = listing.select(*_KEY, "received_at_wall", vanished_at=pl.lit(None, pl.String()))
    kept = pl.concat(sound).drop("received_at_wall", "vanished_at").join(there, on=_KEY)
    kept = kept.unique(["host_id", "episode_id"], keep="first", maintain_order=True)
    return without_marks(kept.select(list(VALIDATION_SCHEMA)))
