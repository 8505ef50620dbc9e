"""Atomic writing of a simulated store."""

import hashlib
import json
import shutil
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, TypedDict

from cis490_pipeline.compute import Compute
from cis490_pipeline.compute.progress import Progress, no_progress
from cis490_pipeline.domain import HOST_ID_FORM, EpisodeRef, is_host_id
from cis490_pipeline.errors import ConfigError, StoreError
from cis490_pipeline.simulation.draft import Draft
from cis490_pipeline.simulation.episode import (
    COMMIT,
    EpisodeSpec,
    received_at_wall,
    simulate_episode,
    ulid,
)
from cis490_pipeline.simulation.faults import (
    DRAFT_FAULTS,
    NEEDS_PHASES,
    assign_faults,
    corrupt,
    original_of,
    over_the_window,
    wrong_sha256,
)
from cis490_pipeline.simulation.parameters import SIMULATOR_DIGEST
from cis490_pipeline.storage.files import naming, write_json
from cis490_pipeline.store.reasons import Reason, verdict_of
from cis490_pipeline.store.receiver import ARCHIVE_SUFFIX
from cis490_pipeline.store.writing import IndexLine, index_line

TRUTH_FILE: Final = "truth.jsonl"
"""File in the store's root with the expected verdict of each episode."""
ORIGIN_FILE: Final = "simulation.json"
"""File in the store's root that marks it as simulated and allows to regenerate it."""
DEFAULT_HOSTS: Final = ("sim-alder", "sim-birch", "sim-cedar", "sim-dogwood")
_EPISODES_PER_TASK: Final = 16


@dataclass(frozen=True, kw_only=True)
class SimulationConfig:
    """Configuration of a simulated store; equal configurations give equal bytes.

    Raises
    ------
    ConfigError
        Naming every invalid value.
    """

    episodes: int
    seed: int = 0
    hosts: tuple[str, ...] = DEFAULT_HOSTS
    """Hosts, each with an equal share of the episodes."""
    faults: float = 0.0
    """Share of episodes with a fault."""

    def __post_init__(self) -> None:
        problems = []
        if self.episodes < 1:
            problems.append(f"episodes must be at least 1, got {self.episodes}")
        if self.seed < 0:
            problems.append(f"seed must be at least 0, got {self.seed}")
        if not 0.0 <= self.faults <= 1.0:
            problems.append(f"faults must be a share from 0 to 1, got {self.faults}")
        wrong = [host for host in self.hosts if not is_host_id(host)]
        if wrong or not self.hosts:
            problems.append(f"hosts must be names like {HOST_ID_FORM}, got {wrong or 'none'}")
        if len(set(self.hosts)) < len(self.hosts):
            problems.append(f"hosts must differ, got {', '.join(self.hosts)}")
        if problems:
            raise ConfigError("simulate: " + "; ".join(problems))


@dataclass(frozen=True)
class _Task:
    folder: Path
    spec: EpisodeSpec
    fault: Reason | None
    copies: int | None


class _TruthLine(TypedDict):
    host_id: str
    episode_id: str
    status: str
    reasons: list[str]


class SimulationOrigin(TypedDict):
    """``simulation.json``: the configuration, and the expected counts of verdicts and reasons."""

    simulated: bool
    simulator_digest: str
    episodes: int
    seed: int
    hosts: list[str]
    faults: float
    counts: dict[str, int]
    reasons: dict[str, int]


_Written = tuple[IndexLine | None, _TruthLine]
"""Row of the index, if it has one, and expected verdict of an episode."""


def simulate_store(
    root: Path,
    config: SimulationConfig,
    compute: Compute,
    progress: Progress = no_progress,
) -> SimulationOrigin:
    """Simulate a store of episodes.

    Parameters
    ----------
    root : folder of the store; must be absent or empty, and appears when the store is complete.
    compute : backend; the episodes' bytes do not depend on it.
    progress : informed of the episodes done.

    Returns
    -------
    Content of ``simulation.json``.

    Raises
    ------
    StoreError
        If the folder is not empty.
    """
    if root.exists() and (not root.is_dir() or any(root.iterdir())):
        raise StoreError(f"{root}: is not empty; name a new folder, nothing is ever overwritten")
    partial = root.with_name(f".{root.name}.simulating.tmp")
    # Left by a killed run. Simulating an episode again is cheaper than verifying it.
    shutil.rmtree(partial, ignore_errors=True)
    try:
        for host in config.hosts:
            (partial / "episodes" / host).mkdir(parents=True)
        written = _write_episodes(partial, config, compute, progress)
        _write_lines(partial / "index.jsonl", [row for row, _ in written if row is not None])
        truth = [verdict for _, verdict in written]
        _write_lines(partial / TRUTH_FILE, truth)
        origin = _origin(config, truth)
        write_json(partial / ORIGIN_FILE, origin)
        partial.replace(root)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return origin


def _write_episodes(
    folder: Path,
    config: SimulationConfig,
    compute: Compute,
    progress: Progress,
) -> list[_Written]:
    tasks = list(_tasks(folder, config))
    starts = range(0, len(tasks), _EPISODES_PER_TASK)
    batches = [tasks[start : start + _EPISODES_PER_TASK] for start in starts]
    results: dict[int, list[_Written]] = {}
    done = 0
    for position, batch in compute.map(_write_batch, batches):
        results[position] = batch
        done += len(batch)
        progress("simulate episodes", done, len(tasks))
    return [written for position in sorted(results) for written in results[position]]


def _tasks(folder: Path, config: SimulationConfig) -> Iterator[_Task]:
    faults = assign_faults(config.episodes, config.faults, config.seed)
    for number in range(config.episodes):
        fault = faults.get(number)
        copied = original_of(number, faults) if fault is Reason.DUPLICATE_CONTENT else None
        content = number if copied is None else copied
        spec = EpisodeSpec(
            seed=config.seed,
            number=content,
            host_id=config.hosts[content % len(config.hosts)],
            infected=True if fault in NEEDS_PHASES else None,
        )
        yield _Task(folder, spec, fault, None if copied is None else number)


def _write_batch(tasks: list[_Task]) -> list[_Written]:
    return [_write_episode(task) for task in tasks]


def _write_episode(task: _Task) -> _Written:
    draft = simulate_episode(task.spec)
    number = task.spec.number
    if task.copies is not None:
        number = task.copies
        draft.ref = replace(draft.ref, episode_id=ulid(task.spec.seed, number))
        draft.meta["episode_id"] = draft.ref.episode_id
    if task.fault in DRAFT_FAULTS:
        DRAFT_FAULTS[task.fault](draft)
    index = _ship(task, draft, number)
    reasons = [] if task.fault is None else [str(task.fault)]
    truth: _TruthLine = {
        "host_id": draft.ref.host_id,
        "episode_id": draft.ref.episode_id,
        "status": str(verdict_of(reasons)),
        "reasons": reasons,
    }
    return None if task.fault is Reason.NOT_INDEXED else index, truth


def _ship(task: _Task, draft: Draft, number: int) -> IndexLine:
    """Write an episode's archive or folder; return its index row."""
    home = task.folder / "episodes" / draft.ref.host_id
    if task.fault is Reason.UNSEALED:
        members = draft.members()
        (home / draft.ref.episode_id).mkdir()
        for name, content in members.items():
            _write(home / draft.ref.episode_id / name, content)
        return _index_row(draft.ref, number, None, sum(map(len, members.values())))
    archive = draft.archive()
    if task.fault is Reason.ARCHIVE_CORRUPT:
        archive = corrupt(archive)
    if task.fault is Reason.ARCHIVE_UNSUPPORTED:
        archive = over_the_window(archive)
    sha256 = hashlib.sha256(archive).hexdigest()
    if task.fault is Reason.SHA256_MISMATCH:
        sha256 = wrong_sha256(archive)
    _write(home / f"{draft.ref.episode_id}{ARCHIVE_SUFFIX}", archive)
    return _index_row(draft.ref, number, sha256, len(archive))


def _index_row(ref: EpisodeRef, number: int, sha256: str | None, n_bytes: int) -> IndexLine:
    return index_line(
        ref,
        received_at_wall=received_at_wall(number),
        sha256=sha256,
        n_bytes=n_bytes,
        commit=COMMIT,
    )


def _write_lines(path: Path, rows: Sequence[IndexLine | _TruthLine]) -> None:
    _write(path, "".join(json.dumps(row) + "\n" for row in rows).encode())


def _write(path: Path, content: bytes) -> None:
    # Not atomic, because the whole store is renamed into place at the end.
    with naming(path, "cannot be written"):
        path.write_bytes(content)


def _origin(config: SimulationConfig, truth: list[_TruthLine]) -> SimulationOrigin:
    return {
        "simulated": True,
        "simulator_digest": SIMULATOR_DIGEST,
        "episodes": config.episodes,
        "seed": config.seed,
        "hosts": list(config.hosts),
        "faults": config.faults,
        "counts": Counter(row["status"] for row in truth),
        "reasons": Counter(reason for row in truth for reason in row["reasons"]),
    }
