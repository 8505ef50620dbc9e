"""One lane: a process that boots one machine, records one run, and leaves the result in a folder.

Run as ``python -m cis490_pipeline.recording.lane FOLDER``. A process of its own, because the
network namespace belongs to a process, and because its end, however it comes, ends QEMU.
"""

import asyncio
import os
import platform
import sys
import time
from pathlib import Path
from typing import Final

import msgspec

from cis490_pipeline.compute.process import dies_with
from cis490_pipeline.errors import PipelineError, RecordingError
from cis490_pipeline.recording.episode import BOOT_LIMIT_S, Run, run_episode
from cis490_pipeline.recording.host.limits import limited
from cis490_pipeline.recording.host.machine import TAP, Machine, MachineFiles
from cis490_pipeline.recording.host.neighbours import neighbours
from cis490_pipeline.recording.host.network import build_network, enter_namespace, start_sinks
from cis490_pipeline.recording.image import Image
from cis490_pipeline.recording.members import episode_members, reference
from cis490_pipeline.recording.plan import RecordingPlan
from cis490_pipeline.recording.provenance import Provenance, recorder_sha256
from cis490_pipeline.recording.schedule import PlannedEpisode, schedule
from cis490_pipeline.recording.sources import Endpoints
from cis490_pipeline.storage.files import atomic_write
from cis490_pipeline.storage.json_text import decode_json
from cis490_pipeline.store.writing import pack

TASK_FILE, OUTCOME_FILE, ARCHIVE_FILE = "task.json", "outcome.json", "episode.tar.zst"
_SOCKETS_LIMIT_S: Final = 30.0


class LaneTask(msgspec.Struct, frozen=True, kw_only=True):
    """What a lane has to record."""

    parent: int
    """Process that waits for it; the lane ends with it."""
    plan: RecordingPlan
    number: int
    image: str
    commit: str
    dirty: bool


class LaneOutcome(msgspec.Struct, frozen=True, kw_only=True):
    """What became of it."""

    episode_id: str | None
    """``None`` if the run has no first label, so that there is no episode."""
    failure: str | None
    ended_at_ns: int


def write_task(folder: Path, task: LaneTask) -> None:
    """Write the task into a lane's folder."""
    (folder / TASK_FILE).write_bytes(msgspec.json.encode(task))


def read_outcome(folder: Path) -> LaneOutcome | None:
    """Return the outcome of a lane, or None if it ended without one."""
    try:
        return decode_json((folder / OUTCOME_FILE).read_bytes(), LaneOutcome)
    except (FileNotFoundError, msgspec.DecodeError):
        return None


def work(folder: Path) -> LaneOutcome:
    """Record the run of a lane's folder; write its archive, then its outcome."""
    task = msgspec.json.decode((folder / TASK_FILE).read_bytes(), type=LaneTask)
    dies_with(task.parent)()
    planned = schedule(task.plan)[task.number]
    # Sockets have paths of at most 107 bytes; a store's folder may be anywhere.
    os.chdir(folder)
    files = MachineFiles(Path())
    try:
        image = Image.opened(Path(task.image))
        enter_namespace()
        # Entering a user namespace clears the request.
        dies_with(task.parent)()
        run = boot_and_record(planned, image, files)
        outcome = _leave(task, planned, run, image, files)
    except (PipelineError, OSError) as fault:
        outcome = LaneOutcome(episode_id=None, failure=str(fault), ended_at_ns=time.time_ns())
    content = msgspec.json.encode(outcome)
    atomic_write(Path(OUTCOME_FILE), lambda stream: stream.write(content))
    return outcome


def boot_and_record(
    planned: PlannedEpisode, image: Image, files: MachineFiles, *, capture_inside: bool = False
) -> Run:
    """Boot the machine, record the run and end the machine; within a namespace of its own.

    With ``capture_inside`` the guest's agent sends netflow rows too. They are in the run's
    ``sampled.guest.netflow`` and in no member of an episode.
    """
    build_network(planned.host.link)
    sinks = start_sinks()
    machine = Machine(planned.host, image, files, capture_inside=capture_inside)
    try:
        with (
            limited(machine.pid, planned.host.cpu_percent),
            neighbours(planned.host.neighbours, planned.number) as use,
        ):
            _wait_for_sockets(machine, files)
            endpoints = Endpoints(
                pid=machine.pid,
                qmp=files.qmp,
                control=files.control,
                rows=files.rows,
                interface=TAP,
            )
            run = asyncio.run(run_episode(planned, endpoints, booting=True))
            run.neighbours = use()
            if run.failure is not None and not machine.is_alive():
                run.failure += f"; QEMU had ended: {files.last_words()}"
    finally:
        machine.end()
        sinks.kill()
        sinks.wait()
    return run


def _wait_for_sockets(machine: Machine, files: MachineFiles) -> None:
    until_s = time.monotonic() + _SOCKETS_LIMIT_S
    while not all(path.exists() for path in (files.qmp, files.control, files.rows)):
        if not machine.is_alive():
            raise RecordingError(f"QEMU ended at once: {files.last_words()}")
        if time.monotonic() > until_s:
            raise RecordingError(f"QEMU opened no sockets within {_SOCKETS_LIMIT_S:.0f} s")
        time.sleep(0.02)


def _leave(
    task: LaneTask, planned: PlannedEpisode, run: Run, image: Image, files: MachineFiles
) -> LaneOutcome:
    """Write the archive of a run that has a first label; return the outcome."""
    ended_at_ns = time.time_ns()
    if run.begin_ns is None or not run.brackets:
        failure = f"{run.failure}; the machine printed: {files.last_words()}"
        return LaneOutcome(episode_id=None, failure=failure, ended_at_ns=ended_at_ns)
    provenance = Provenance(
        commit=task.commit,
        dirty=task.dirty,
        plan_sha256=task.plan.digest,
        recorder_sha256=recorder_sha256(),
        image_name=f"initramfs of Linux {image.description['kernel_release']}",
        image_sha256=image.description["ramdisk_sha256"],
        host_kernel=platform.release(),
    )
    ref = reference(planned, run)
    archive = pack(episode_members(planned, run, ref, provenance, files.log()))
    atomic_write(Path(ARCHIVE_FILE), lambda stream: stream.write(archive))
    return LaneOutcome(episode_id=ref.episode_id, failure=run.failure, ended_at_ns=ended_at_ns)


def limit_s(planned: PlannedEpisode) -> float:
    """Return how long a lane may take before it counts as hung, s."""
    return BOOT_LIMIT_S + planned.settle_s + planned.duration_s + 120.0


if __name__ == "__main__":
    work(Path(sys.argv[1]))
