import time

import dagster as dg
import pytest
from dagster._daemon.types import DaemonHeartbeat

from cis490_pipeline.config import Settings
from cis490_pipeline.experiment.stages.workspace import Workspace
from cis490_pipeline.orchestration.runtime.health import LONG_S, POOL, SILENT_S, health_checks
from cis490_pipeline.orchestration.runtime.materialize import instance_of


@pytest.fixture
def workspace(tmp_path, monkeypatch):
    monkeypatch.delenv("DAGSTER_HOME", raising=False)
    return Workspace(Settings(store=tmp_path / "store", data=tmp_path / "data"))


def seen(workspace):
    return {line.what: line for line in health_checks(workspace)}


def add_run(instance, status):
    run = instance.add_run(dg.DagsterRun(job_name="recipe", status=status))
    return run.run_id


def beat(instance, ago_s, errors=()):
    instance.add_daemon_heartbeat(
        DaemonHeartbeat(time.time() - ago_s, "SENSOR", "some-id", list(errors))
    )


def test_a_fresh_instance_is_in_order(workspace):
    found = seen(workspace)

    assert all(line.ok for line in found.values()), found
    assert found["Dagster storage"].found == "0 runs recorded"
    assert found["Dagster daemon"].found == "has never run here"


def test_a_daemon_that_beats_is_good(workspace):
    with instance_of(workspace) as instance:
        beat(instance, 5)

    assert seen(workspace)["Dagster daemon"].found.startswith("beat ")


def test_a_dead_daemon_is_a_finding_only_if_something_waits_for_it(workspace):
    with instance_of(workspace) as instance:
        beat(instance, SILENT_S + 3600)
    assert seen(workspace)["Dagster daemon"].ok

    with instance_of(workspace) as instance:
        add_run(instance, dg.DagsterRunStatus.STARTING)
    found = seen(workspace)

    assert not found["Dagster daemon"].ok
    assert found["Dagster daemon"].found == "silent for 1.1 h"
    assert found["Dagster runs"].found == "1 queued or running"


def test_a_slot_of_an_ended_run_is_a_finding(workspace):
    with instance_of(workspace) as instance:
        storage = instance.event_log_storage
        storage.set_concurrency_slots(POOL, 1)
        run = add_run(instance, dg.DagsterRunStatus.STARTED)
        storage.claim_concurrency_slot(POOL, run, "model__gru__oracle__checkpoint")
    found = seen(workspace)[f"Dagster pool {POOL}"]
    assert (found.ok, found.found) == (True, "1 of 1 slots used, 0 steps wait")

    with instance_of(workspace) as instance:
        instance.delete_run(run)
        storage = instance.event_log_storage
        storage.claim_concurrency_slot(POOL, "another", "model__gru__oracle__checkpoint")
    found = seen(workspace)[f"Dagster pool {POOL}"]

    assert not found.ok
    assert "which has ended" in found.found


def test_a_run_of_more_than_a_day_is_a_finding(workspace, monkeypatch):
    with instance_of(workspace) as instance:
        run = add_run(instance, dg.DagsterRunStatus.STARTING)
        instance.report_dagster_event(
            dg.DagsterEvent(event_type_value="PIPELINE_START", job_name="recipe"), run
        )
    assert seen(workspace)["Dagster runs"].ok
    later = time.time() + LONG_S + 60
    monkeypatch.setattr("cis490_pipeline.orchestration.runtime.health.time.time", lambda: later)

    found = seen(workspace)["Dagster runs"]

    assert not found.ok
    assert run in found.found


def test_a_storage_that_cannot_be_read_is_said_with_what_to_do(workspace):
    history = workspace.paths.dagster / "history"
    history.mkdir(parents=True)
    (history / "runs.db").write_bytes(b"this is no database at all, but some text" * 40)

    (line,) = health_checks(workspace)

    assert not line.ok
    assert "cannot be read" in line.found
    assert "does not depend on it" in line.advice
