"""The recorded corpus is what its plan and its settings say: one recorder, whole hosts by side."""

import tomllib

import pytest

from cis490_pipeline.compute import SerialCompute
from cis490_pipeline.recording.plan import read_plan
from cis490_pipeline.recording.schedule import schedule
from cis490_pipeline.store.receiver import LocalStore
from cis490_pipeline.store.verdicts.sweep import sweep
from cis490_pipeline.store.writing import random_part, ulid
from docs.make_reference.from_lab import LAB, runs

PLAN = read_plan(LAB / "plan.toml")
SIDES = tomllib.loads((LAB / "cis490.toml").read_text())


def test_every_run_is_one_of_the_plans_and_none_is_there_twice():
    planned = {random_part(ulid(0, run.token)): run for run in schedule(PLAN)}
    found = [random_part(run.meta["episode_id"]) for run in runs()]

    assert len(found) == len(set(found))
    assert set(found) <= planned.keys()
    for run in runs():
        of_plan = planned[random_part(run.meta["episode_id"])]
        assert (run.host, run.recording["number"]) == (of_plan.host.name, of_plan.number)
        assert [label["phase"] for label in run.labels[1:]] == [s.phase for s in of_plan.steps]


def test_one_recorder_recorded_one_plan_on_one_image():
    assert {run.recording["plan_sha256"] for run in runs()} == {PLAN.digest}
    assert len({run.recording["recorder_sha256"] for run in runs()}) == 1
    assert len({run.meta["vm"]["image_sha256"] for run in runs()}) == 1
    assert not any(run.meta["code_version"]["dirty"] for run in runs())


def test_whole_blocks_have_every_host():
    blocks = {}
    for run in runs():
        blocks.setdefault(run.recording["block"], set()).add(run.host)
    hosts = {host.name for host in PLAN.host}

    # The block that is being recorded may lack some.
    assert sum(found != hosts for found in blocks.values()) <= 1


def test_sides_are_whole_hosts_and_what_is_kept_for_test_is_met_there_alone():
    hosts = {host.name for host in PLAN.host}
    train, val = set(SIDES["train_hosts"]), set(SIDES["val_hosts"])
    kept = {profile.name for profile in PLAN.profile if profile.only_on}
    usual = set(PLAN.lookalikes)

    assert train | val < hosts
    assert not train & val
    assert len(train) == 6
    assert len(val) == 2
    for profile in PLAN.profile:
        assert not profile.only_on or set(profile.only_on) == hosts - train - val
    for run in runs():
        if run.side == "test":
            continue
        assert run.meta["sample"] is None or run.meta["sample"]["name"] not in kept
        assert {ran["activity"] for ran in run.recording["backgrounds"]} <= usual


@pytest.mark.long
def test_every_episode_is_accepted_but_for_gaps_of_two_in_a_hundred():
    frame = sweep(LocalStore(LAB), None, SerialCompute()).frame
    degraded = frame.filter(status="degraded")

    assert set(frame["status"]) <= {"accepted", "degraded"}
    assert set(degraded["reasons"].explode()) <= {"source_gap"}
    assert degraded.height <= 0.02 * frame.height
    assert frame.height >= len(runs())
