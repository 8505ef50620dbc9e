"""Where things lie: the receiver's store, which is only read, and the data folder made here."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

import msgspec

from cis490_pipeline.domain import EpisodeRef
from cis490_pipeline.errors import StoreError

ARCHIVE_SUFFIX: Final = ".tar.zst"
# Crockford's base 32 has neither I, L, O nor U; 26 of its characters hold 130 bits, so the first
# stays below 8.
_ULID: Final = re.compile(r"[0-7][0-9A-HJKMNP-TV-Z]{25}")
_HOST: Final = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")
_SHA256: Final = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, kw_only=True)
class IndexRow:
    """What the receiver's index says of one episode."""

    ref: EpisodeRef
    received_at_wall: str
    """ISO 8601 UTC time of the *first* shipment, so that shipping again moves no split; with
    microseconds and ``Z``, so that text sorts as time."""
    sha256: str | None
    """Of the archive last shipped; ``None`` for an unpacked folder."""
    bytes: int | None
    schema_version: int
    commit: str | None = None


@dataclass(frozen=True, kw_only=True)
class StoreIndex:
    """The index as read: the last row of each episode, and why other lines were skipped."""

    rows: dict[EpisodeRef, IndexRow] = field(default_factory=dict)
    skipped: list[str] = field(default_factory=list)


class _ShipmentRow(msgspec.Struct):
    """One line of ``index.jsonl``; unknown keys are ignored."""

    received_at_wall: str
    host_id: str
    episode_id: str
    sha256: str | None
    bytes: int | None
    schema_version: int
    commit: str | None = None


class EpisodeStore:
    """A receiver's store on a file system; nothing here writes to it."""

    def __init__(self, root: Path) -> None:
        self.root = root

    @property
    def index_path(self) -> Path:
        """Path of the append-only index."""
        return self.root / "index.jsonl"

    def read_index(self) -> StoreIndex:
        """Read ``index.jsonl``; a line that is no index row is skipped with its reason.

        Returns
        -------
        StoreIndex
            Of an episode shipped twice the last row counts, with the first row's time. A store
            without an index (a lab host's own folder) has no rows.

        Raises
        ------
        StoreError
            If the store's folder does not exist.
        """
        if not self.root.is_dir():
            raise StoreError(
                f"{self.root}: no such store; set CIS490_STORE or --store to a folder with "
                "index.jsonl and episodes/"
            )
        index = StoreIndex()
        if not self.index_path.is_file():
            return index
        with self.index_path.open("rb") as lines:
            for number, line in enumerate(lines, 1):
                if not line.strip():
                    continue
                try:
                    row = _parse_index_row(line)
                except (ValueError, RecursionError) as wrong:
                    index.skipped.append(f"{self.index_path.name} line {number}: {wrong!s:.200}")
                    continue
                earlier = index.rows.get(row.ref)
                if earlier is not None:
                    first = min(earlier.received_at_wall, row.received_at_wall)
                    row = replace(row, received_at_wall=first)
                index.rows[row.ref] = row
        return index

    def archive_path(self, ref: EpisodeRef) -> Path:
        """Return the path an episode's archive has, whether it exists or not."""
        return self.root / "episodes" / ref.host_id / f"{ref.episode_id}{ARCHIVE_SUFFIX}"

    def path(self, ref: EpisodeRef) -> Path | None:
        """Return the path of an episode's archive, else of its unpacked folder, else ``None``."""
        archive = self.archive_path(ref)
        if archive.is_file():
            return archive
        folder = archive.with_name(ref.episode_id)
        return folder if folder.is_dir() else None

    def on_disk(self) -> Iterator[EpisodeRef]:
        """Yield episodes that have an archive or a folder, an episode with both once; unsorted."""
        episodes = self.root / "episodes"
        if not episodes.is_dir():
            return
        seen: set[EpisodeRef] = set()
        for host in episodes.iterdir():
            if not _HOST.fullmatch(host.name) or not host.is_dir():
                continue
            for entry in _entries(host):
                ref = EpisodeRef(host.name, entry.name.removesuffix(ARCHIVE_SUFFIX))
                if ref not in seen and _ULID.fullmatch(ref.episode_id):
                    seen.add(ref)
                    yield ref

    def episodes(self, index: StoreIndex | None = None) -> list[EpisodeRef]:
        """Return all episodes, indexed or on disk, sorted by host and id."""
        rows = (index or self.read_index()).rows
        return sorted({*rows, *self.on_disk()})


def _entries(folder: Path) -> list[Path]:
    """Return what lies in a folder; of one that may not be read only indexed episodes are known."""
    try:
        return list(folder.iterdir())
    except OSError:
        return []


def _parse_index_row(line: bytes) -> IndexRow:
    row = msgspec.json.decode(line, type=_ShipmentRow)
    if not _HOST.fullmatch(row.host_id):
        raise ValueError(f"host_id {row.host_id!r} is not {_HOST.pattern}")
    if not _ULID.fullmatch(row.episode_id):
        raise ValueError(f"episode_id {row.episode_id!r} is not a ULID")
    if row.sha256 is not None and not _SHA256.fullmatch(row.sha256):
        raise ValueError(f"sha256 {row.sha256!r} is not 64 lower-case hex digits")
    if row.bytes is not None and row.bytes < 0:
        raise ValueError(f"bytes is {row.bytes}, below 0")
    received = datetime.fromisoformat(row.received_at_wall)
    if received.utcoffset() != timedelta(0):
        raise ValueError(f"received_at_wall {row.received_at_wall!r} is not in UTC")
    return IndexRow(
        ref=EpisodeRef(row.host_id, row.episode_id),
        # Always with microseconds: sorted as text, "…:00.5Z" would come before "…:00Z".
        received_at_wall=received.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
        sha256=row.sha256,
        bytes=row.bytes,
        schema_version=row.schema_version,
        commit=row.commit,
    )


@dataclass(frozen=True)
class DataPaths:
    """Paths of everything the pipeline makes, below one root."""

    root: Path

    @property
    def validation(self) -> Path:
        """File of all episodes' verdicts."""
        return self.root / "processed" / "validation_v1.parquet"

    @property
    def validation_journal(self) -> Path:
        """File of the verdicts that a sweep under way has made so far."""
        return self.root / "processed" / "validation_v1.journal.jsonl"

    def grids(self, schema_hash: str) -> Path:
        """Return the folder of the grid shards of one feature schema, shared by all recipes."""
        return self.root / "processed" / "grids" / schema_hash[:16]

    def recipe(self, recipe: str) -> Path:
        """Return the folder of one recipe's datasets."""
        return self.root / "processed" / recipe

    def validation_index(self, recipe: str) -> Path:
        """Return the file of usable episodes with their side of the split."""
        return self.recipe(recipe) / "validation_index.parquet"

    def split(self, recipe: str) -> Path:
        """Return the file of the persistent sides."""
        return self.recipe(recipe) / "split_v1.json"

    def feature_dir(self, recipe: str) -> Path:
        """Return the folder of the summary-feature dataset."""
        return self.recipe(recipe) / "features_window_v1"

    def tensor_dir(self, recipe: str) -> Path:
        """Return the folder of the tensor dataset's index and manifest."""
        return self.recipe(recipe) / "tensor_window_v1"

    def checkpoint(self, recipe: str, name: str) -> Path:
        """Return the folder of one trained model; `name` is ``<architecture>_<variant>``."""
        return self.root / "artifacts" / recipe / name

    def report_json(self, recipe: str, name: str) -> Path:
        """Return the evaluation report of one model."""
        return self.root / "reports" / recipe / f"{name}.json"

    def leaderboard(self, recipe: str) -> Path:
        """Return the file that compares all models of a recipe."""
        return self.root / "reports" / recipe / "leaderboard.json"

    def report_html(self, recipe: str) -> Path:
        """Return the page for people."""
        return self.root / "reports" / recipe / "report.html"

    def ablation(self, recipe: str) -> Path:
        """Return the file that compares ways of calibration, one architecture held fixed."""
        return self.root / "reports" / recipe / "ablation.json"

    def calibration(self, host: str) -> Path:
        """Return the file of a host's calibration record."""
        return self.root / "processed" / "calibrations" / f"{host}.json"

    @property
    def dagster(self) -> Path:
        """Dagster's own storage."""
        return self.root / "dagster"

    def lock(self, recipe: str) -> Path:
        """Return the lock file of one recipe's writers."""
        return self.recipe(recipe) / ".lock"
