"""Episodes of a recorded store as the measurements read them, each with its verdict."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from cis490_pipeline.domain import NS_PER_S, Source
from cis490_pipeline.domain.arrays import Floats, Ints
from cis490_pipeline.store.archive.unpack import read_members
from cis490_pipeline.store.receiver import LocalStore
from cis490_pipeline.store.verdicts.validate import validate_episode

Row = dict[str, Any]
_LINES = msgspec.json.Decoder(Row)


@dataclass(frozen=True, kw_only=True)
class Recorded:
    """One recorded episode."""

    episode_id: str
    host: str
    verdict: str
    details: list[str]
    meta: Row
    labels: list[Row]
    events: list[Row]
    rows: dict[Source, list[Row]]

    @property
    def begin_ns(self) -> int:
        """Time of the first label, Unix ns."""
        return int(self.labels[0]["t_wall_ns"])

    @property
    def duration_s(self) -> float:
        """Length of the recording."""
        return float(self.meta["result"]["duration_observed_s"])

    @property
    def end_ns(self) -> int:
        """End of the last phase, Unix ns."""
        return self.begin_ns + round(self.duration_s * NS_PER_S)

    @property
    def profile(self) -> str | None:
        """Mimic that runs in it; None for a clean run."""
        sample = self.meta["sample"]
        return None if sample is None else str(sample["profile"])

    @property
    def times_ns(self) -> Ints:
        """(n,) times of the labels, Unix ns."""
        return np.array([label["t_wall_ns"] for label in self.labels], dtype=np.int64)

    def column(self, source: Source, name: str) -> tuple[Ints, Floats]:
        """(n,) times and values of one field; unknown values are NaN."""
        rows = self.rows[source]
        times = np.array([row["t_wall_ns"] for row in rows], dtype=np.int64)
        values = [np.nan if row.get(name) is None else row[name] for row in rows]
        return times, np.array(values, dtype=np.float64)

    def rate(self, source: Source, *names: str) -> tuple[Ints, Floats]:
        """(n,) ends of steps, Unix ns, and the rate of the fields' sum over each, per second.

        Counters of ``proc`` are differences of neighbouring rows, amounts of ``netflow`` rows.
        """
        columns = [self.column(source, name) for name in names]
        times, total = columns[0][0], np.sum([values for _, values in columns], axis=0)
        if source is Source.NETFLOW:
            return times, total * 10.0
        elapsed_s = np.diff(times) / NS_PER_S
        # Rows that were stamped at once, after a pause, have no rate of their own.
        apart = elapsed_s > 0
        return times[1:][apart], np.maximum(np.diff(total)[apart] / elapsed_s[apart], 0.0)


def read_store(root: Path) -> list[Recorded]:
    """Read every indexed episode of a store, with its verdict, in the order of their ids."""
    return sorted(_read(root), key=lambda episode: episode.episode_id)


def _read(root: Path) -> Iterator[Recorded]:
    store = LocalStore(root)
    for ref, row in store.read_index().rows.items():
        verdict = validate_episode(store, ref, row)
        path = store.path(ref)
        if path is None:
            raise SystemExit(f"{root}: {ref} is in the index and not in the store")
        members = read_members(path)
        yield Recorded(
            episode_id=ref.episode_id,
            host=ref.host_id,
            verdict=str(verdict["status"]),
            details=list(verdict["details"]),
            meta=msgspec.json.decode(members["meta.json"]),
            labels=_LINES.decode_lines(members["labels.jsonl"]),
            events=_LINES.decode_lines(members["events.jsonl"]),
            rows={source: _LINES.decode_lines(members[source.member]) for source in Source},
        )


def sound(episodes: Sequence[Recorded]) -> list[Recorded]:
    """Episodes whose last label is not ``failed``."""
    return [episode for episode in episodes if "failure" not in episode.meta]
