"""A stage makes one artefact from named inputs, writes a record of both, and does nothing twice.

The record is what makes a second run free and a changed input visible: it holds the digest of
everything the artefact was made from. Dagster assets, the command line and Python all go through
:meth:`Stage.ensure`, so they agree on what is up to date.
"""

import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, final

from cis490_pipeline.compute.progress import working
from cis490_pipeline.errors import DatasetError
from cis490_pipeline.experiment.stages.provenance import commit
from cis490_pipeline.experiment.stages.record import (
    Metrics,
    Record,
    encoded,
    read_record,
    sound_files,
)
from cis490_pipeline.experiment.stages.workspace import Workspace
from cis490_pipeline.storage.files import atomic_write, file_sha256
from cis490_pipeline.storage.scope_lock import lock_of

UP_TO_DATE: Final = "up to date"
"""Why nothing was made."""
FORCED: Final = "forced"
"""Why something was made that was up to date."""


@dataclass(frozen=True)
class StageOutput:
    """What :meth:`Stage.make` returns."""

    digest: str
    files: tuple[Path, ...]
    numbers: Metrics = field(default_factory=dict)
    parts: Mapping[str, str] = field(default_factory=dict)
    """Digests of parts that others are made of, by name."""


@dataclass(frozen=True)
class StageResult:
    """A record, and whether this call made it."""

    record: Record
    made: bool
    why: str
    """Why it was made, or ``up to date``."""
    numbers: Metrics
    """Those of the record, where what was done counts this call only."""


@dataclass(frozen=True)
class Unmade:
    """What is to be made, while its scope is locked."""

    why: str
    """Why it must be made."""
    inputs: dict[str, str]
    """As before the work: what changes meanwhile must be seen as changed the next time."""
    stamp: str | None
    """Of the shared record that will be replaced."""
    unsent: Record | None
    """Of what was made of the same inputs before, and only has to be sent."""


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

    def above(self) -> "tuple[Stage, ...]":
        """Return the stages of the same scope it reads from."""
        return ()

    def gated_by(self) -> "tuple[Stage, ...]":
        """Return those of `above` that it reads now: their checks must pass before it is made."""
        return self.above()

    @property
    def upstream(self) -> tuple[str, ...]:
        """Keys of the stages of the same scope it reads from."""
        return tuple(stage.key for stage in self.above())

    @abstractmethod
    def inputs(self) -> dict[str, str] | None:
        """Return digests of all inputs by name, or None while one of them does not exist."""

    def require_possible(self) -> None:  # noqa: B027 - most settings are checked when loaded
        """Raise what the settings make impossible, before anything that it is made of is made."""

    def unfinished(self) -> str | None:
        """Return why it must be made again although its inputs are the same, or None."""
        return None

    def nothing_done(self, record: Record) -> Metrics:
        """Return the numbers of a record that tell of work, as they are when none was done."""
        return {}

    @abstractmethod
    def make(self) -> StageOutput:
        """Make the artefact. Its last write completes it."""

    def after_record(self) -> None:  # noqa: B027 - most stages leave nothing behind
        """Clear away what only an unfinished artefact needs; called once the record is written."""

    @property
    def record_path(self) -> Path:
        """Where the record lies."""
        return self.workspace.paths.records(self.scope) / (self.key.replace("/", "__") + ".json")

    @final
    def record(self) -> Record | None:
        """Return the last record, whether or not it is still current."""
        if (shared := self.workspace.shared) is not None:
            shared.refresh_record(self.record_path, self.key)
        return read_record(self.record_path)

    @final
    def outdated(self) -> str | None:
        """Return why the artefact must be made, or None when it is up to date."""
        if (why := self._superseded()) is not None:
            return why
        altered = self.altered()
        return f"missing or altered: {', '.join(altered[:3])}" if altered else None

    def _superseded(self) -> str | None:
        """Return why another artefact is wanted, whatever became of the files of this one."""
        inputs = self.inputs()
        if inputs is None:
            return "an input does not exist yet"
        record = self.record()
        if record is None:
            return "never made"
        if changed := changed_inputs(record.inputs, inputs):
            return "changed: " + ", ".join(changed)
        return self.unfinished()

    @final
    def altered(self) -> list[str]:
        """Return files that are missing or not as they were recorded, relative, sorted."""
        record = self.record()
        return [] if record is None else sorted(record.files.keys() - self._sound(record))

    @final
    def current(self) -> Record | None:
        """Return the record if the artefact is up to date."""
        return self.record() if self.outdated() is None else None

    @property
    def group(self) -> str | None:
        """Name of those of its scope that may be made at the same time; None: it is made alone.

        None of a group is made of another, and none writes to where another reads or writes.
        """
        return None

    def at_once(self) -> int:
        """Return how many of its group are to be made at the same time."""
        return 1

    @final
    def ensure(self, *, force: bool = False) -> StageResult:
        """Make the artefact unless it is up to date, and record it.

        Two processes that want the same scope wait for each other.
        """
        with self.begun(force=force) as found:
            if isinstance(found, StageResult):
                return found
            with working(self.workspace.progress, f"make {self.key}", found.why):
                started = time.perf_counter()
                output = self.make() if found.unsent is None else None
                return self.finish(found, output, time.perf_counter() - started)

    @final
    @contextmanager
    def begun(self, *, force: bool = False) -> Iterator[StageResult | Unmade]:
        """Lock the scope; yield the result if the artefact is up to date, or what is to be made.

        The caller makes it within the block, in this process or another, and calls `finish`.
        """
        shared, path = self.workspace.shared, self.record_path
        with lock_of(path.parent):
            stamp = (
                shared.refresh_record(path, self.key, again=True) if shared is not None else None
            )
            if shared is not None and self._superseded() is None:
                # What is not as the shared record names it can be had again.
                for name in self.altered():
                    (self.workspace.paths.root / name).unlink(missing_ok=True)
            why = self.outdated()
            record = self.record()
            if why is None and record is not None and not force:
                yield self.unchanged(record)
                return
            inputs = self.inputs()
            if inputs is None:
                raise DatasetError(
                    f"{self.key} ({self.scope}): {why}; make {' and '.join(self.upstream)} first, "
                    "or let `cis490 run` make everything in order"
                )
            with shared.making(path) if shared is not None else nullcontext():
                yield Unmade(why or FORCED, inputs, stamp, self._unsent(inputs))

    @final
    def finish(self, unmade: Unmade, output: StageOutput | None, seconds: float) -> StageResult:
        """Record what was made, within the block of `begun`.

        Parameters
        ----------
        output : what `make` returned; None if something unsent was there.
        seconds : that it took.
        """
        shared, path = self.workspace.shared, self.record_path
        record = unmade.unsent if output is None else self._record(output, unmade.inputs, seconds)
        assert record is not None, "what is not made was made before"
        if shared is not None:
            text = encoded(record)
            atomic_write(self._unsent_path, lambda file: file.write(text))
            record = shared.publish(path, record, unmade.stamp)
        text = encoded(record)
        atomic_write(path, lambda file: file.write(text))
        self._unsent_path.unlink(missing_ok=True)
        self.after_record()
        return StageResult(record, made=True, why=unmade.why, numbers=record.numbers)

    @final
    def unchanged(self, record: Record) -> StageResult:
        """Return the result of a call that found a record up to date."""
        numbers = {**record.numbers, **self.nothing_done(record)}
        return StageResult(record, made=False, why=UP_TO_DATE, numbers=numbers)

    @property
    def _unsent_path(self) -> Path:
        return self.record_path.with_suffix(".unsent")

    def _unsent(self, inputs: dict[str, str]) -> Record | None:
        """Return what was made of the same inputs before, but could not be sent for a fault."""
        record = read_record(self._unsent_path)
        if record is None:
            return None
        sound = sound_files(self.workspace.paths.root, record, self._unsent_path)
        return record if record.inputs == inputs and sound == record.files.keys() else None

    def _sound(self, record: Record) -> set[str]:
        """Names of the record's files that are as recorded, here or where the data are shared."""
        root = self.workspace.paths.root
        sound = sound_files(root, record, self.record_path)
        if self.workspace.shared is not None:
            # What the record names was there before the record, and is fetched when it is read.
            sound |= {name for name in record.files if not (root / name).exists()}
        return sound

    def _record(self, made: StageOutput, inputs: dict[str, str], seconds: float) -> Record:
        root = self.workspace.paths.root
        files = {path.relative_to(root).as_posix(): path for path in sorted(made.files)}
        before = self.record()
        kept = self._sound(before) & before.sha256.keys() if before is not None else set()
        return Record(
            key=self.key,
            inputs=inputs,
            digest=made.digest,
            files={name: path.stat().st_size for name, path in files.items()},
            numbers=dict(made.numbers),
            parts=dict(made.parts),
            seconds=round(seconds, 3),
            commit=commit(),
            sha256={
                name: before.sha256[name] if before and name in kept else file_sha256(path)
                for name, path in files.items()
            },
        )


def digests(**stages: Stage) -> dict[str, str] | None:
    """Return the digests of the stages' last records, by name; None while one was never made."""
    records = {name: stage.record() for name, stage in stages.items()}
    made = {name: record.digest for name, record in records.items() if record is not None}
    return made if len(made) == len(stages) else None


def changed_inputs(recorded: Mapping[str, str], now: Mapping[str, str]) -> list[str]:
    """Return the names of inputs that are not as they were recorded, sorted."""
    return [name for name in sorted({*recorded, *now}) if recorded.get(name) != now.get(name)]
