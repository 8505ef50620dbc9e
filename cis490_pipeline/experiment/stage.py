"""A stage makes one artefact from named inputs, writes a record of both, and does nothing twice.

The record is what makes a second run free and a changed input visible: it holds the digest of
everything the artefact was made from. Dagster assets, the command line and Python all go through
:meth:`Stage.ensure`, so they agree on what is up to date.
"""

import time
from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, final

import msgspec
from filelock import FileLock

from cis490_pipeline.errors import DatasetError
from cis490_pipeline.experiment.workspace import Workspace
from cis490_pipeline.store.files import atomic_write, file_sha256

Numbers = dict[str, int | float | str | bool | None]


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """What a stage made, from what, and the numbers a person wants to see."""

    key: str
    inputs: dict[str, str]
    """Digest of everything the artefact depends on, by name."""
    digest: str
    """Digest of the artefact's content."""
    files: dict[str, int]
    """Files of the artefact, relative to the data folder, with their sizes in bytes."""
    numbers: dict[str, Any]
    seconds: float
    sha256: dict[str, str] = {}
    """SHA-256 of the same files."""


@dataclass(frozen=True)
class Made:
    """What :meth:`Stage.make` returns."""

    digest: str
    files: tuple[Path, ...]
    numbers: Numbers = field(default_factory=dict)


@dataclass(frozen=True)
class Outcome:
    """A record, and whether this call made it."""

    record: Record
    made: bool
    why: str
    """Why it was made, or ``up to date``."""


class Stage(ABC):
    """One artefact of the pipeline. Subclasses say what it depends on and how it is made."""

    def __init__(self, workspace: Workspace) -> None:
        self.workspace = workspace

    @property
    @abstractmethod
    def key(self) -> str:
        """Name of the artefact, the same as its asset key, with ``/``."""

    @property
    def scope(self) -> str:
        """Folder of the record: ``corpus``, or the recipe's name."""
        return "corpus"

    @property
    def upstream(self) -> tuple[str, ...]:
        """Keys of the stages of the same scope it reads from."""
        return ()

    @abstractmethod
    def inputs(self) -> dict[str, str] | None:
        """Return digests of all inputs by name, or None while one of them does not exist."""

    def unfinished(self) -> str | None:
        """Return why it must be made again although its inputs are the same, or None."""
        return None

    @abstractmethod
    def make(self) -> Made:
        """Make the artefact. Its last write completes it."""

    def recorded(self) -> None:  # noqa: B027 - most stages leave nothing behind
        """Clear away what only an unfinished artefact needs; called once the record is written."""

    @property
    def record_path(self) -> Path:
        """Where the record lies."""
        folder = self.workspace.paths.root / "processed" / "records" / self.scope
        return folder / (self.key.replace("/", "__") + ".json")

    @final
    def record(self) -> Record | None:
        """Return the last record, whether or not it is still current."""
        try:
            return msgspec.json.decode(self.record_path.read_bytes(), type=Record)
        except (FileNotFoundError, msgspec.DecodeError):
            return None

    @final
    def outdated(self) -> str | None:
        """Return why the artefact must be made, or None when it is up to date."""
        inputs = self.inputs()
        if inputs is None:
            return "an input does not exist yet"
        record = self.record()
        if record is None:
            return "never made"
        changed = [
            name
            for name in sorted({*inputs, *record.inputs})
            if inputs.get(name) != record.inputs.get(name)
        ]
        if changed:
            return "changed: " + ", ".join(changed)
        if (unfinished := self.unfinished()) is not None:
            return unfinished
        altered = self.altered()
        return f"missing or altered: {', '.join(altered[:3])}" if altered else None

    @final
    def altered(self) -> list[str]:
        """Return files that are missing or not as they were recorded, relative, sorted."""
        record = self.record()
        return [] if record is None else sorted(record.files.keys() - self._sound(record))

    @final
    def current(self) -> Record | None:
        """Return the record if the artefact is up to date."""
        return self.record() if self.outdated() is None else None

    @final
    def ensure(self, *, force: bool = False) -> Outcome:
        """Make the artefact unless it is up to date, and record it.

        Two processes that want the same scope wait for each other.
        """
        lock = self.workspace.paths.root / "processed" / "records" / f"{self.scope}.lock"
        lock.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(lock):
            why = self.outdated()
            record = self.record()
            if why is None and record is not None and not force:
                return Outcome(record, made=False, why="up to date")
            started = time.perf_counter()
            # Before the work: what changes meanwhile must be seen as changed the next time.
            inputs = self.inputs()
            if inputs is None:
                raise DatasetError(
                    f"{self.key} ({self.scope}): {why}; make {' and '.join(self.upstream)} first, "
                    "or let `cis490 run` make everything in order"
                )
            made = self.make()
            record = self._write(made, inputs, started)
            self.recorded()
            return Outcome(record, made=True, why=why or "forced")

    def _sound(self, record: Record) -> set[str]:
        """Names of the record's files whose content is still the recorded one."""
        root = self.workspace.paths.root
        recorded_ns = self.record_path.stat().st_mtime_ns
        sound = set()
        for name, size in record.files.items():
            path = root / name
            try:
                stat = path.stat()
                # Only what was touched since is read again: the grids of a lab are 30 GB.
                untouched = stat.st_mtime_ns < recorded_ns
                if stat.st_size == size and (
                    untouched or record.sha256.get(name) in (None, file_sha256(path))
                ):
                    sound.add(name)
            except OSError:
                continue
        return sound

    def _write(self, made: Made, inputs: dict[str, str], started: float) -> Record:
        root = self.workspace.paths.root
        files = {path.relative_to(root).as_posix(): path for path in sorted(made.files)}
        before = self.record()
        kept = self._sound(before) & before.sha256.keys() if before is not None else set()
        record = Record(
            key=self.key,
            inputs=inputs,
            digest=made.digest,
            files={name: path.stat().st_size for name, path in files.items()},
            numbers=dict(made.numbers),
            seconds=round(time.perf_counter() - started, 3),
            sha256={
                name: before.sha256[name] if before and name in kept else file_sha256(path)
                for name, path in files.items()
            },
        )
        text = msgspec.json.format(msgspec.json.encode(record, order="sorted"), indent=1)
        atomic_write(self.record_path, lambda file: file.write(text))
        return record
