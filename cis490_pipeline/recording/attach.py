"""Recording of one run on a machine that another program runs, such as a lab's libvirt."""

import asyncio
import platform
import time
from dataclasses import dataclass
from pathlib import Path

from cis490_pipeline.domain import EpisodeRef
from cis490_pipeline.errors import ConfigError, RecordingError
from cis490_pipeline.recording.episode import run_episode
from cis490_pipeline.recording.lanes import LOCK_FILE, lacking
from cis490_pipeline.recording.members import episode_members, reference
from cis490_pipeline.recording.plan import RecordingPlan
from cis490_pipeline.recording.provenance import Provenance, recorder_sha256
from cis490_pipeline.recording.schedule import schedule
from cis490_pipeline.recording.sources import Endpoints
from cis490_pipeline.store.writing import commit_episode, pack, wall_text, writing_alone


@dataclass(frozen=True, kw_only=True)
class AttachConfig:
    """Where the machine is, where its episode goes, and with which code it is recorded."""

    endpoints: Endpoints
    store: Path
    commit: str
    dirty: bool


def record_attached(plan: RecordingPlan, config: AttachConfig) -> tuple[EpisodeRef, str | None]:
    """Record the first run of a plan that a store lacks, on a running machine.

    The machine is neither started nor ended. Its guest must run the agent and the load runner on
    the two channels; its link must lead into a network namespace that this process is in.

    Parameters
    ----------
    plan : with one host, the machine's shape.
    config : endpoints of the machine, store and code version.

    Returns
    -------
    ref : the episode, committed.
    failure : why its last label is ``failed``, or None.

    Raises
    ------
    ConfigError
        If the plan has several hosts, or the store has all of its runs.
    RecordingError
        If the run failed before its first label: then there is no episode.
    """
    if len(plan.host) != 1:
        raise ConfigError(
            f"record attach: wanted a plan with one host, the machine's; it has {len(plan.host)}"
        )
    with writing_alone(config.store, LOCK_FILE):
        pending = lacking(config.store, schedule(plan))
        if not pending:
            raise ConfigError(f"{config.store}: has every run of this plan; raise `episodes`")
        planned = pending[0]
        run = asyncio.run(run_episode(planned, config.endpoints, booting=False))
        if run.begin_ns is None or not run.brackets:
            raise RecordingError(f"record attach: {run.failure}")
        provenance = Provenance(
            commit=config.commit,
            dirty=config.dirty,
            plan_sha256=plan.digest,
            recorder_sha256=recorder_sha256(),
            image_name=None,
            image_sha256=None,
            host_kernel=platform.release(),
        )
        ref = reference(planned, run)
        commit_episode(
            config.store,
            ref,
            pack(episode_members(planned, run, ref, provenance, b"")),
            received_at_wall=wall_text(time.time_ns()),
            commit=config.commit,
        )
    return ref, run.failure
