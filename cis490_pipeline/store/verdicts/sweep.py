"""Verdicts on a whole store: incremental, in parallel, resumable, the same whatever the order."""

import contextlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import polars as pl

from cis490_pipeline.compute import Compute
from cis490_pipeline.domain import EpisodeRef, Verdict
from cis490_pipeline.errors import WorkerDiedError
from cis490_pipeline.storage.files import digest
from cis490_pipeline.store.receiver import ReceiverStore
from cis490_pipeline.store.receiver_index import IndexRow, LeftOut, StoreIndex
from cis490_pipeline.store.verdicts.corpus_marks import ORDER, with_marks, without_marks
from cis490_pipeline.store.verdicts.journal import SweepJournal
from cis490_pipeline.store.verdicts.validate import (
    RULES_VERSION,
    VALIDATION_SCHEMA,
    errored_verdict,
    validate_episode,
)

_EPISODES_PER_TASK: Final = 16
_ROWS_PER_PIECE: Final = 1024
_INCIDENTAL: Final = ("checked_at", "input_key")
_KEY: Final = ("host_id", "episode_id", "input_key")

_Row = dict[str, Any]
_Listed = tuple[EpisodeRef, IndexRow | None]


@dataclass(frozen=True, kw_only=True)
class SweepResult:
    """The index of verdicts and how it came about."""

    frame: pl.DataFrame
    """One row per episode, columns of `VALIDATION_SCHEMA`, sorted by receipt, host and id."""
    n_read: int
    """Episodes that were opened."""
    n_reused: int
    """Episodes whose verdict of an earlier sweep still holds."""
    skipped_index_rows: LeftOut
    """Lines of the index that are no index rows, and why."""
    left_out: LeftOut
    """What lies in the store and is no episode's."""


def sweep(
    store: ReceiverStore,
    previous: pl.DataFrame | None,
    compute: Compute,
    progress: Callable[[int, int], None] | None = None,
    *,
    journal: Path | None = None,
    checked_at: str | None = None,
) -> SweepResult:
    """Give every episode of a store its verdict.

    Parameters
    ----------
    store : the store; only read.
    previous : the frame of an earlier sweep. A row is reused if its episode's index row, files
        (size and time of change) and the rules are the same, and it was not ``errored``.
    compute : where to do it.
    progress : called with episodes done and all episodes, from time to time.
    journal : file that notes each verdict as it is made. A sweep that was killed goes on from it;
        who called removes it once the frame is safe. Two sweeps with one journal take turns.
    checked_at : when this sweep began, as every verdict it makes will say; by default now. A sweep
        that goes on from a journal is still the one that began then, so that being killed changes
        no byte of the result.

    Raises
    ------
    StoreError
        If there is no such store, or no episode in it: then nothing is said of any.

    Notes
    -----
    An episode that cannot be checked, be it that the code fails on it or that it kills the worker
    process that reads it (twice, the second time alone), is ``errored``; all others get their
    verdict. Only a crash of this very process, with a serial `compute`, is not survived.

    A store may grow and change meanwhile: a verdict carries the state of files and index row that
    it was given for, taken before the reading, so that the next sweep sees what was changed.
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
        to_read = [(ref, index.rows.get(ref)) for ref in refs if _pair(ref) not in known]
        keys = dict(zip(refs, listing["input_key"], strict=True))
        done = _Pieces()
        if progress:
            progress(reused.height, len(refs))
        for rows in _verdicts(store, to_read, compute):
            for row in rows:
                row["checked_at"] = began
                row["input_key"] = keys[EpisodeRef(row["host_id"], row["episode_id"])]
            if notes is not None:
                notes.append(rows)
            done.add(rows)
            if progress:
                progress(reused.height + done.height, len(refs))
    frame = with_marks(pl.concat([reused, *done.frames()]))
    return SweepResult(
        frame=frame,
        n_read=len(to_read),
        n_reused=reused.height,
        skipped_index_rows=index.skipped,
        left_out=store.left_out(),
    )


def comparable(frame: pl.DataFrame) -> pl.DataFrame:
    """Return the verdicts and contents alone, in order, without when and where they were made."""
    return frame.drop(_INCIDENTAL).sort(ORDER, nulls_last=True)


def sweep_digest(frame: pl.DataFrame) -> str:
    """Return a SHA-256 (hex) of the verdicts and contents, not of when and where they were made."""
    kept = comparable(frame)
    return digest({"columns": kept.columns, "rows": kept.rows()})


def verdict_counts(frame: pl.DataFrame) -> dict[str, Any]:
    """Count verdicts and reasons, as ``validate --json`` prints them.

    Returns
    -------
    dict
        ``counts`` (all four verdicts), ``reasons`` (those that occur), ``n_episodes``,
        and ``unknown_fields`` (each once, ``source.field``).
    """
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
    """Rows, kept as columns: as dictionaries those of a lab would take 300 MB."""

    def __init__(self) -> None:
        self._rows: list[_Row] = []
        self._frames: list[pl.DataFrame] = []
        self.height = 0

    def add(self, rows: Sequence[_Row]) -> None:
        self.height += len(rows)
        self._rows += rows
        if len(self._rows) >= _ROWS_PER_PIECE:
            self._frames.append(pl.DataFrame(self._rows, schema=VALIDATION_SCHEMA))
            self._rows = []

    def frames(self) -> list[pl.DataFrame]:
        return [*self._frames, pl.DataFrame(self._rows, schema=VALIDATION_SCHEMA)]


@dataclass(frozen=True)
class _Task:
    """Some episodes for one worker: a task each would cost more to send than to do."""

    store: ReceiverStore
    episodes: Sequence[_Listed]

    def halves(self) -> "tuple[_Task, _Task]":
        middle = len(self.episodes) // 2
        return (
            _Task(self.store, self.episodes[:middle]),
            _Task(self.store, self.episodes[middle:]),
        )


def _verdicts(
    store: ReceiverStore, episodes: Sequence[_Listed], compute: Compute
) -> Iterator[list[_Row]]:
    """Yield verdicts in batches, whatever becomes of the workers."""
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


def _apart(task: _Task, compute: Compute) -> Iterator[list[_Row]]:
    """Do one task alone; if it kills its worker again, halve it until the episode is found."""
    try:
        results = [rows for _, rows in compute.map(_validate_batch, [task])]
    except WorkerDiedError:
        if len(task.episodes) > 1:
            for half in task.halves():
                yield from _apart(half, compute)
            return
        told = "the worker process that read it ended without a word, twice"
        results = [[errored_verdict(ref, row, told) for ref, row in task.episodes]]
    yield from results


def _validate_batch(task: _Task) -> list[_Row]:
    return [_validate_one(task.store, ref, row) for ref, row in task.episodes]


def _validate_one(store: ReceiverStore, ref: EpisodeRef, index_row: IndexRow | None) -> _Row:
    try:
        row = validate_episode(store, ref, index_row)
        # Here, where one episode can be told from another, not when all are put together.
        pl.DataFrame([row], schema=VALIDATION_SCHEMA)
    # Everything, a panic of polars included: the other episodes must get their verdict.
    except (Exception, pl.exceptions.PanicException) as failure:
        return errored_verdict(ref, index_row, f"{type(failure).__name__}: {failure}")
    return row


def _pair(ref: EpisodeRef) -> tuple[str, str]:
    return ref.host_id, ref.episode_id


def _listing(store: ReceiverStore, index: StoreIndex, refs: Sequence[EpisodeRef]) -> pl.DataFrame:
    """Return every episode with the key of what a verdict on it would rest on now."""
    rows = [index.rows.get(ref) for ref in refs]
    columns = {
        "host_id": [ref.host_id for ref in refs],
        "episode_id": [ref.episode_id for ref in refs],
        "input_key": [_input_key(store, ref, row) for ref, row in zip(refs, rows, strict=True)],
        "received_at_wall": [row.received_at_wall if row else None for row in rows],
    }
    return pl.DataFrame(columns, schema=dict.fromkeys(columns, pl.String()))


def _input_key(store: ReceiverStore, ref: EpisodeRef, index_row: IndexRow | None) -> str:
    """Digest of all that a verdict rests on, short of reading the episode."""
    told = index_row and [index_row.sha256, index_row.bytes, index_row.schema_version]
    return digest({"rules": RULES_VERSION, "index": told, "files": store.stamps(ref)})


def _still_true(earlier: Iterable[pl.DataFrame], listing: pl.DataFrame) -> pl.DataFrame:
    """Return earlier verdicts that hold for what is listed, one an episode, none as a copy."""
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
