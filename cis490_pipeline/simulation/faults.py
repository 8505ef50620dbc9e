"""Fault injection: one fault for every reason code of the episode format.

A fault leaves the rest of the episode valid, so that the validator finds exactly one reason; side
effects that would trigger further reasons are repaired.
"""

import hashlib
from collections.abc import Callable
from typing import Final, cast

import numpy as np
import numpy.typing as npt

from cis490_pipeline.domain import CHANNELS, NS_PER_S, Kind, Source
from cis490_pipeline.domain.arrays import Bools, Ints
from cis490_pipeline.simulation.draft import Draft, row_lines
from cis490_pipeline.store.reasons import Reason
from cis490_pipeline.store.writing import LabelLine, wall_text

DraftFault = Callable[[Draft], object]

NEEDS_PHASES: Final = frozenset(
    {Reason.SOURCE_FLAT, Reason.LABEL_UNJUSTIFIED, Reason.LABEL_FAILED, Reason.UNKNOWN_PHASE}
)
"""Faults that need an episode with several phases, some because it would otherwise be flat."""


def _seconds(draft: Draft, source: Source) -> npt.NDArray[np.float64]:
    since: npt.NDArray[np.int64] = draft.rows[source]["t_wall_ns"] - draft.t0_ns
    return since / NS_PER_S


def _keep(draft: Draft, source: Source, wanted: Bools | Ints | slice) -> None:
    columns = draft.rows[source]
    draft.rows[source] = {name: values[wanted] for name, values in columns.items()}
    draft.count_rows()


def _append_label(draft: Draft, phase: str, t_wall_ns: int) -> None:
    last = draft.labels[-1]
    moved = t_wall_ns - last["t_wall_ns"]
    draft.labels.append(
        last
        | {
            "phase": phase,
            "prev": last["phase"],
            "t_wall_ns": t_wall_ns,
            "t_mono_ns": last["t_mono_ns"] + moved,
        }
    )


def _unfinished(draft: Draft) -> None:
    draft.raw["done.marker"] = None
    draft.meta |= {"ended_at_wall": None, "result": None, "git_commit": None}


def _labels_schema(draft: Draft) -> None:
    draft.labels[-1] = cast(LabelLine, {**draft.labels[-1], "t_wall_ns": "noon"})


def _row_schema(draft: Draft) -> None:
    lines = row_lines(Source.PROC, draft.rows[Source.PROC]).split(b"\n")
    middle = len(lines) // 2
    lines[middle] = lines[middle].replace(b'"num_threads":', b'"num_threads":0.')
    draft.raw[Source.PROC.member] = b"\n".join(lines)


def _rows_not_monotonic(draft: Draft) -> None:
    times = draft.rows[Source.QMP]["t_wall_ns"]
    times[[20, 21]] = times[[21, 20]]


def _too_few_rows(draft: Draft) -> None:
    _keep(draft, Source.PROC, _seconds(draft, Source.PROC) % 1.0 < 0.65)


def _too_short(draft: Draft) -> None:
    draft.end_ns = draft.t0_ns + 9 * NS_PER_S
    for source in Source:
        _keep(draft, source, _seconds(draft, source) <= 9.0)
    del draft.labels[1:], draft.events[:]
    draft.meta["ended_at_wall"] = wall_text(draft.end_ns)
    draft.meta["result"] |= {"duration_observed_s": 9.0, "phases_observed": ["clean"]}


def _source_short(draft: Draft) -> None:
    _keep(draft, Source.QMP, np.arange(_seconds(draft, Source.QMP).size) % 3 > 0)


def _source_gap(draft: Draft) -> None:
    seconds = _seconds(draft, Source.NETFLOW)
    _keep(draft, Source.NETFLOW, (seconds < 30.0) | (seconds > 34.5))


def _clock_skew(draft: Draft) -> None:
    draft.rows[Source.NETFLOW]["t_wall_ns"] += 7 * NS_PER_S


def _source_flat(draft: Draft) -> None:
    for channel in CHANNELS:
        columns = draft.rows[channel.source]
        # Proportional to time, because rows are unevenly spaced.
        elapsed_ms = (columns["t_wall_ns"] - draft.t0_ns) // 1_000_000 + 10_000
        columns[channel.field] = (
            elapsed_ms if channel.kind is Kind.COUNTER else np.full_like(elapsed_ms, 7)
        )


def _counter_reset(draft: Draft) -> None:
    for channel in CHANNELS:
        if channel.source is Source.QMP:
            counts = draft.rows[Source.QMP][channel.field]
            counts[40:] -= counts[40]


def _counter_fell(draft: Draft) -> None:
    counts = draft.rows[Source.GUEST]["ctxt"]
    counts[40:] -= counts[40] - counts[39] + 1


def _rows_repeated(draft: Draft) -> None:
    n_rows = draft.rows[Source.NETFLOW]["t_wall_ns"].size
    # A batch resent because it was not acknowledged.
    _keep(draft, Source.NETFLOW, np.insert(np.arange(n_rows), 120, np.arange(100, 120)))


DRAFT_FAULTS: Final[dict[Reason, DraftFault]] = {
    Reason.UNSAFE_MEMBER: lambda draft: draft.links.append("stderr.log"),
    Reason.MEMBER_TOO_LARGE: lambda draft: draft.raw.update(
        {f"note-{k}.txt": b"" for k in range(60)}
    ),
    Reason.MISSING_MEMBER: lambda draft: draft.raw.update({Source.PROC.member: None}),
    Reason.UNFINISHED: _unfinished,
    Reason.META_SCHEMA: lambda draft: draft.meta.pop("vm"),
    Reason.SCHEMA_VERSION: lambda draft: draft.meta.update(schema_version=2),
    Reason.ID_MISMATCH: lambda draft: draft.meta.update(host_id=f"not-{draft.ref.host_id}"[:63]),
    Reason.LABELS_EMPTY: lambda draft: draft.raw.update({"labels.jsonl": b""}),
    Reason.LABELS_SCHEMA: _labels_schema,
    Reason.UNKNOWN_PHASE: lambda draft: _append_label(draft, "asleep", draft.end_ns - NS_PER_S),
    Reason.LABELS_NOT_MONOTONIC: lambda draft: _append_label(
        draft, "clean", draft.labels[-1]["t_wall_ns"] - NS_PER_S
    ),
    Reason.LABELS_CHAIN: lambda draft: draft.labels[0].update({"prev": "dormant"}),
    Reason.LABEL_FAILED: lambda draft: _append_label(draft, "failed", draft.end_ns),
    Reason.ROW_SCHEMA: _row_schema,
    Reason.ROWS_NOT_MONOTONIC: _rows_not_monotonic,
    Reason.TOO_FEW_ROWS: _too_few_rows,
    Reason.TOO_SHORT: _too_short,
    Reason.SOURCE_MISSING: lambda draft: _keep(draft, Source.GUEST, slice(0)),
    Reason.SOURCE_SHORT: _source_short,
    Reason.SOURCE_GAP: _source_gap,
    Reason.CLOCK_SKEW: _clock_skew,
    Reason.SOURCE_FLAT: _source_flat,
    Reason.COUNTER_RESET: _counter_reset,
    Reason.COUNTER_FELL: _counter_fell,
    Reason.ROWS_REPEATED: _rows_repeated,
    Reason.LABEL_UNJUSTIFIED: lambda draft: draft.events.clear(),
    Reason.ROW_COUNT_MISMATCH: lambda draft: draft.meta["result"].update(
        rows_guest=draft.meta["result"]["rows_guest"] + 1
    ),
    Reason.CODE_DIRTY: lambda draft: draft.meta["code_version"].update(dirty=True),
}


def assign_faults(n_episodes: int, rate: float, seed: int) -> dict[int, Reason]:
    """Assign faults to a share of the episodes, by number; all codes equally often up to one.

    A duplicate always has a valid episode before it.
    """
    rng = np.random.Generator(np.random.PCG64(np.random.SeedSequence(seed, spawn_key=(0, 2))))
    n_faults = round(rate * n_episodes)
    numbers = rng.permutation(n_episodes)[:n_faults].tolist()
    codes = [list(Reason)[k] for k in rng.permutation(len(Reason)).tolist()]
    assigned = {number: codes[k % len(codes)] for k, number in enumerate(numbers)}
    for number in sorted(assigned):
        copied = assigned[number] is Reason.DUPLICATE_CONTENT
        if copied and original_of(number, assigned) is None:
            assigned[number] = Reason.CODE_DIRTY
    return assigned


def original_of(number: int, assigned: dict[int, Reason]) -> int | None:
    """Return the nearest valid episode before a duplicate, which it copies."""
    return next((k for k in range(number - 1, -1, -1) if k not in assigned), None)


def corrupt(archive: bytes) -> bytes:
    """Truncate an archive, like an interrupted upload."""
    return archive[: len(archive) // 2]


def over_the_window(archive: bytes) -> bytes:
    """Prepend an empty zstd frame with a 256 MiB window: a valid but unsupported archive."""
    # Magic number, no content size, window exponent 28 (RFC 8878, 3.1.1.1), an empty last block.
    return bytes.fromhex("28b52ffd 00 90 010000") + archive


def wrong_sha256(archive: bytes) -> str:
    """Return a digest that does not match the archive."""
    return hashlib.sha256(archive + b"another").hexdigest()
