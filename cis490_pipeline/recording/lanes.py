"""Recording of a whole plan: lanes side by side, each finished run committed to the store."""

import errno
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Protocol

from cis490_pipeline.domain import EpisodeRef
from cis490_pipeline.errors import ConfigError, RecordingError, StoreError
from cis490_pipeline.recording.image import Image
from cis490_pipeline.recording.lane import (
    ARCHIVE_FILE,
    LaneTask,
    limit_s,
    read_outcome,
    write_task,
)
from cis490_pipeline.recording.plan import RecordingPlan
from cis490_pipeline.recording.provenance import assert_unchanged
from cis490_pipeline.recording.requirements import assert_fit
from cis490_pipeline.recording.schedule import PlannedEpisode, schedule
from cis490_pipeline.store.receiver import ARCHIVE_SUFFIX, LocalStore
from cis490_pipeline.store.writing import (
    commit_episode,
    index_archive,
    random_part,
    ulid,
    wall_text,
    writing_alone,
)

LANE_COMMAND: Final = (sys.executable, "-m", "cis490_pipeline.recording.lane")
WORK_FOLDER, LOCK_FILE = ".recording", ".recording.lock"
_MAX_FAILURES: Final = 3
"""Failures in a row, without any success, after which this machine is not fit to record."""
_POLL_S: Final = 0.2
_RUN_BYTES: Final = 32 << 20
"""Room for a run besides its scratch disk: its archive and its logs."""
_FULL_BYTES: Final = 1 << 20
"""A disk with less room than this is full."""


class Progress(Protocol):
    """Progress listener."""

    def __call__(self, what: str, done: int, total: int, detail: str = "") -> None:
        """Report that ``done`` of ``total`` is done, with an optional detail."""


@dataclass(frozen=True, kw_only=True)
class RecordingConfig:
    """Where and how a plan is recorded."""

    store: Path
    image: Path
    lanes: int = 1
    resume: bool = False
    block: int | None = None
    """Record this block of the plan only."""
    commit: str = "unknown"
    dirty: bool = False


@dataclass
class RecordingSummary:
    """Counts of one call."""

    planned: int
    kept: int
    """Runs that earlier calls committed."""
    recorded: int = 0
    failures: list[str] = field(default_factory=list)
    """What went wrong, by run."""


@dataclass
class _Lane:
    planned: PlannedEpisode
    folder: Path
    process: "subprocess.Popen[bytes]"
    until_s: float


def record_plan(
    plan: RecordingPlan, config: RecordingConfig, progress: Progress
) -> RecordingSummary:
    """Record the runs of a plan that the store lacks.

    Parameters
    ----------
    plan : the plan.
    config : store, image and number of lanes.
    progress : called after each run.

    Returns
    -------
    RecordingSummary
        Counts, and the reason of each failure; a failed run that had begun is in the store, with
        the label ``failed``.

    Raises
    ------
    StoreError
        If the store holds some of these runs and ``resume`` is not set, if others of the plan were
        recorded by another recorder or on another image, or if the store is being written to.
    ConfigError
        If the plan has no such block.
    RecordingError
        If this machine cannot give the plan's hosts what the plan says, or the first runs all fail.
    OSError
        If the disk of the store is full, or has no room for the next run.
    """
    every = schedule(plan)
    runs = [run for run in every if config.block in (None, run.block)]
    if not runs:
        raise ConfigError(f"block {config.block}: the plan has blocks 1 to {plan.blocks}")
    assert_fit(plan)
    image = Image.opened(config.image)
    with writing_alone(config.store, LOCK_FILE):
        _tidy(config, every)
        pending = lacking(config.store, runs)
        summary = RecordingSummary(len(runs), len(runs) - len(pending))
        if summary.kept and not config.resume:
            part = "plan" if config.block is None else "block"
            raise StoreError(
                f"{config.store}: holds {summary.kept} of the {len(runs)} runs of this {part}; "
                "add --resume to record the others, or name another folder"
            )
        _assert_unchanged(LocalStore(config.store), every, image)
        with _lanes_ended() as lanes:
            _record_all(plan, config, image, pending, lanes, summary, progress)
        shutil.rmtree(config.store / WORK_FOLDER, ignore_errors=True)
    return summary


def token_text(planned: PlannedEpisode) -> str:
    """Return the end of the episode id that a run gets."""
    return random_part(ulid(0, planned.token))


def lacking(store: Path, runs: Sequence[PlannedEpisode]) -> list[PlannedEpisode]:
    """Return the runs that a store has no sound episode of, known by the ends of their ids."""
    done = {random_part(ref.episode_id) for ref in LocalStore(store).read_index().rows}
    return [run for run in runs if token_text(run) not in done]


def _assert_unchanged(store: LocalStore, runs: Sequence[PlannedEpisode], image: Image) -> None:
    tokens = {token_text(run) for run in runs}
    of_plan = (ref for ref in store.read_index().rows if random_part(ref.episode_id) in tokens)
    assert_unchanged(store, of_plan, image.description["ramdisk_sha256"])


def _tidy(config: RecordingConfig, runs: Sequence[PlannedEpisode]) -> None:
    """Remove what a killed call left, and index archives that it had finished."""
    shutil.rmtree(config.store / WORK_FOLDER, ignore_errors=True)
    for partial in config.store.glob(f"episodes/*/.*{ARCHIVE_SUFFIX}.*.tmp"):
        partial.unlink()
    tokens = {token_text(run) for run in runs}
    indexed = set(LocalStore(config.store).read_index().rows)
    for ref in LocalStore(config.store).listed():
        if ref in indexed or random_part(ref.episode_id) not in tokens:
            continue
        path = config.store / "episodes" / ref.host_id / f"{ref.episode_id}{ARCHIVE_SUFFIX}"
        # Whole: it was renamed after it was on the disk. Only its row is missing.
        index_archive(
            config.store,
            ref,
            path.read_bytes(),
            received_at_wall=wall_text(path.stat().st_mtime_ns),
            commit=config.commit,
        )


@contextmanager
def _lanes_ended() -> Iterator[list[_Lane]]:
    """Yield the list of running lanes, and end them however the block ends."""
    lanes: list[_Lane] = []
    try:
        yield lanes
    finally:
        for lane in lanes:
            lane.process.kill()
            lane.process.wait()


def _record_all(
    plan: RecordingPlan,
    config: RecordingConfig,
    image: Image,
    pending: Sequence[PlannedEpisode],
    lanes: list[_Lane],
    summary: RecordingSummary,
    progress: Progress,
) -> None:
    waiting = list(pending)
    finished = summary.kept
    progress("record", finished, summary.planned)
    while waiting or lanes:
        while waiting and len(lanes) < config.lanes:
            _require_room(config.store, _needed_bytes(waiting[0]))
            lanes.append(_launch(plan, config, image, waiting.pop(0)))
        time.sleep(_POLL_S)
        for lane in [lane for lane in lanes if _has_ended(lane)]:
            lanes.remove(lane)
            failure = _settle(config, lane)
            finished += 1
            if failure is None:
                summary.recorded += 1
            else:
                host = lane.planned.host.name
                summary.failures.append(f"run {lane.planned.number} ({host}): {failure}")
            progress("record", finished, summary.planned, failure or "")
        if not summary.recorded and len(summary.failures) >= _MAX_FAILURES:
            raise RecordingError(
                f"the first {len(summary.failures)} runs failed: " + "; ".join(summary.failures)
            )


def _needed_bytes(planned: PlannedEpisode) -> int:
    host = planned.host
    return _RUN_BYTES + (0 if host.disk == "none" else host.disk_mib << 20)


def _require_room(store: Path, n_bytes: int) -> None:
    """Raise if a store's disk has less room: QEMU halts a machine whose disk cannot be written."""
    free = shutil.disk_usage(store).free
    if free < n_bytes:
        text = f"{free / 1e6:.0f} MB are free where a run needs {n_bytes / 1e6:.0f} MB"
        raise OSError(errno.ENOSPC, f"{os.strerror(errno.ENOSPC)}: {text}", str(store))


def _launch(
    plan: RecordingPlan, config: RecordingConfig, image: Image, planned: PlannedEpisode
) -> _Lane:
    folder = config.store / WORK_FOLDER / str(planned.number)
    folder.mkdir(parents=True)
    task = LaneTask(
        parent=os.getpid(),
        plan=plan,
        number=planned.number,
        image=str(image.folder.resolve()),
        commit=config.commit,
        dirty=config.dirty,
    )
    write_task(folder, task)
    with (folder / "lane.log").open("wb") as log:
        process = subprocess.Popen(  # noqa: S603
            [*LANE_COMMAND, str(folder)],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            # Ctrl-C reaches this process alone, which then ends its lanes.
            start_new_session=True,
        )
    return _Lane(planned, folder, process, time.monotonic() + limit_s(planned))


def _has_ended(lane: _Lane) -> bool:
    if lane.process.poll() is not None:
        return True
    if time.monotonic() < lane.until_s:
        return False
    lane.process.kill()
    lane.process.wait()
    return True


def _settle(config: RecordingConfig, lane: _Lane) -> str | None:
    """Commit what a lane left and remove its folder; return why it failed, or None."""
    outcome = read_outcome(lane.folder)
    if outcome is None:
        log = (lane.folder / "lane.log").read_bytes()[-400:].decode(errors="replace")
        failure: str | None = f"its lane ended with status {lane.process.returncode}: {log}"
    else:
        failure = outcome.failure
        if outcome.episode_id is not None:
            commit_episode(
                config.store,
                EpisodeRef(lane.planned.host.name, outcome.episode_id),
                (lane.folder / ARCHIVE_FILE).read_bytes(),
                received_at_wall=wall_text(outcome.ended_at_ns),
                commit=config.commit,
            )
    if failure is not None:
        # Then this is why it failed, and all later runs would fail as well.
        _require_room(config.store, _FULL_BYTES)
    shutil.rmtree(lane.folder)
    return failure
