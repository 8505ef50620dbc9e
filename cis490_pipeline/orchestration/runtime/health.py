"""Health checks of the Dagster instance: storage, daemons, schedules, slots, runs."""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import dagster as dg
from sqlalchemy.exc import SQLAlchemyError

from cis490_pipeline.experiment.stages.workspace import Workspace
from cis490_pipeline.orchestration.dagster_internals import InstigatorStatus, InstigatorType
from cis490_pipeline.orchestration.runtime.materialize import instance_of

POOL: Final = "train"
SILENT_S: Final = 300.0
"""Daemons send a heartbeat every 30 s; after five minutes without one they count as dead."""
LONG_S: Final = 24 * 3600.0
"""Longest expected duration of a run, s."""
_ACTIVE: Final = (
    dg.DagsterRunStatus.QUEUED,
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.CANCELING,
)
_ON: Final = (InstigatorStatus.RUNNING, InstigatorStatus.DECLARED_IN_CODE)


@dataclass(frozen=True)
class HealthCheck:
    """Result of one check, with a remedy."""

    ok: bool
    what: str
    found: str
    advice: str = ""


def health_checks(workspace: Workspace) -> list[HealthCheck]:
    """Check the instance that ``cis490 run`` and ``dagster dev`` record in, without changing it."""
    try:
        with instance_of(workspace) as instance:
            return list(_checks(instance))
    except (SQLAlchemyError, OSError, dg.DagsterError) as fault:
        reason = str(fault).strip().splitlines()[0]
        return [
            HealthCheck(
                False,
                "Dagster storage",
                f"cannot be read: {reason}",
                "is its disk or database there? Restore it from its backup, or move it away: what "
                "the pipeline made does not depend on it",
            )
        ]


def _checks(instance: dg.DagsterInstance) -> Iterator[HealthCheck]:
    runs = instance.get_run_records(dg.RunsFilter(statuses=list(_ACTIVE)), limit=1000)
    n_runs = instance.get_runs_count()
    yield HealthCheck(True, "Dagster storage", f"{n_runs} runs recorded")
    states = instance.all_instigator_state()
    on = {
        kind: sorted(
            state.origin.instigator_name
            for state in states
            if state.instigator_type is kind and state.status in _ON
        )
        for kind in (InstigatorType.SCHEDULE, InstigatorType.SENSOR)
    }
    for kind, names in on.items():
        # A sensor that is on by default is stored only once a daemon has seen it.
        what = f"Dagster {kind.value.lower()}s on"
        yield HealthCheck(True, what, ", ".join(names) or "none recorded yet")
    needed = bool(runs) or bool(on[InstigatorType.SCHEDULE])
    yield _heartbeat(instance, needed)
    yield _runs(runs)
    yield _slots(instance, {record.dagster_run.run_id for record in runs})


def _heartbeat(instance: dg.DagsterInstance, needed: bool) -> HealthCheck:
    beats = instance.get_daemon_heartbeats()
    if not beats:
        return HealthCheck(
            not needed, "Dagster daemon", "has never run here", "start `dagster dev`"
        )
    silent = time.time() - max(beat.timestamp for beat in beats.values())
    errors = sorted(name for name, beat in beats.items() if beat.errors)
    if silent < SILENT_S:
        text = f"beat {silent:.0f} s ago" + (f"; errors in {', '.join(errors)}" if errors else "")
        return HealthCheck(not errors, "Dagster daemon", text, "see Deployment, Daemons in the UI")
    text = f"silent for {silent / 3600:.1f} h"
    # A silent daemon is fine while nothing is scheduled or queued.
    advice = "schedules and queued runs wait for it: start `dagster dev` or dagster-daemon"
    return HealthCheck(not needed, "Dagster daemon", text, advice)


def _runs(records: Any) -> HealthCheck:
    now = time.time()
    long = [
        record.dagster_run.run_id
        for record in records
        if record.start_time is not None and now - record.start_time > LONG_S
    ]
    text = f"{len(records)} queued or running"
    if long:
        text += f", of which {len(long)} for over a day: {long[0]}"
    return HealthCheck(
        not long, "Dagster runs", text, "terminate it in the UI if its process is gone"
    )


def _slots(instance: dg.DagsterInstance, active: set[str]) -> HealthCheck:
    storage = instance.event_log_storage
    what = f"Dagster pool {POOL}"
    if not storage.supports_global_concurrency_limits or POOL not in {
        limit.name for limit in storage.get_pool_limits()
    }:
        return HealthCheck(True, what, "no step has used it yet")
    info = storage.get_concurrency_info(POOL)
    lost = sorted(slot.run_id for slot in info.claimed_slots if slot.run_id not in active)
    text = (
        f"{info.active_slot_count} of {info.slot_count} slots used, "
        f"{info.pending_step_count} steps wait"
    )
    if lost:
        text += f"; held for run {lost[0]}, which has ended"
    return HealthCheck(
        not lost,
        what,
        text,
        "the daemon frees it within two minutes; else Deployment, Concurrency, Free slots",
    )
