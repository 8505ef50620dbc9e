import asyncio
import io
import json
import os
import tarfile

import msgspec
import pytest
import zstandard

from cis490_pipeline.domain import CHANNELS, Phase, Source
from cis490_pipeline.errors import RecordingError
from cis490_pipeline.recording import sources
from cis490_pipeline.recording.blocks import treatments
from cis490_pipeline.recording.episode import run_episode
from cis490_pipeline.recording.members import episode_members, reference
from cis490_pipeline.recording.provenance import Provenance
from cis490_pipeline.recording.schedule import Background, PlannedEpisode, Step
from cis490_pipeline.recording.sources import Endpoints, Sampler, ticks
from cis490_pipeline.store.receiver import LocalStore
from cis490_pipeline.store.verdicts.validate import validate_episode
from cis490_pipeline.store.writing import commit_episode, pack, random_part, ulid
from cis490_pipeline_tests.recording.fake_machine import FakeMachine, agent_row
from cis490_pipeline_tests.recording.plans import made_plan

PROVENANCE = Provenance(
    commit="0" * 40,
    dirty=False,
    plan_sha256="1" * 64,
    recorder_sha256="2" * 64,
    image_name="fake",
    image_sha256=None,
    host_kernel="6.1",
)
AMOUNTS = [channel.field for channel in CHANNELS if channel.source is Source.NETFLOW]


async def fake_netflow(self):
    """Empty buckets, because a capture needs a right that tests do without."""
    async for now_ns in ticks(sources.BUCKET_NS):
        end_ns = now_ns // sources.BUCKET_NS * sources.BUCKET_NS
        row = {
            "t_wall_ns": end_ns + self._clock.anchor_ns,
            "t_mono_ns": end_ns,
            "source": "bridge_pcap",
            "available_in_deployment": True,
            **dict.fromkeys(AMOUNTS, 0),
        }
        self.sampled.netflow.append(row)


@pytest.fixture(autouse=True)
def no_capture(monkeypatch):
    monkeypatch.setattr(Sampler, "_netflow", fake_netflow)


def planned(duration_s=2.5, steps=(), backgrounds=(), shams=()):
    plan = made_plan()
    return PlannedEpisode(
        number=3,
        block=2,
        token=bytes(range(10)),
        host=plan.host[0],
        treatment=treatments(plan)[0],
        settle_s=0.1,
        duration_s=duration_s,
        steps=tuple(steps),
        shams=tuple(shams),
        backgrounds=tuple(backgrounds),
    )


def step(at_s, phase, event, activity="armed"):
    return Step(at_s=at_s, phase=phase, event=event, activity=activity, parameters={"seed": 1})


STEPS = (
    step(0.8, Phase.INFECTED_RUNNING, "workload_started", "cpu-saturate"),
    step(1.6, Phase.CLEAN, "workload_removed", None),
)


def ran(folder, plan, **machine):
    async def run():
        async with FakeMachine(folder, **machine) as fake:
            endpoints = Endpoints(
                pid=os.getpid(),
                qmp=folder / "qmp",
                control=folder / "control",
                rows=folder / "rows",
                interface="none",
            )
            return await run_episode(plan, endpoints, booting=True), fake

    return asyncio.run(run())


def members_of(run, plan):
    ref = reference(plan, run)
    return ref, episode_members(plan, run, ref, PROVENANCE, b"log")


def test_the_script_is_carried_out_and_every_source_is_sampled(tmp_path):
    background = Background(at_s=0.4, end_s=1.2, activity="video", parameters={})
    plan = planned(steps=STEPS, backgrounds=[background])
    run, machine = ran(tmp_path, plan)
    ref, members = members_of(run, plan)
    meta = json.loads(members["meta.json"])
    asked = [(r["do"], r.get("activity"), r.get("slot")) for r in machine.requests]

    assert run.failure is None
    assert [item for item in asked if item[0] != "clock"] == [
        # What a run before left on this machine would be called clean.
        ("reset", None, None),
        ("start", "video", "background-video"),
        ("start", "cpu-saturate", "workload"),
        ("stop", None, "background-video"),
        ("stop", None, "workload"),
    ]
    assert [json.loads(line)["phase"] for line in members["labels.jsonl"].splitlines()] == [
        "clean",
        "infected_running",
        "clean",
    ]
    assert meta["result"]["duration_observed_s"] == 2.5
    assert 24 <= meta["result"]["rows_proc"] <= 31
    assert meta["result"]["rows_netflow"] == 25
    assert meta["result"]["rows_qmp"] >= 3
    assert meta["result"]["rows_guest"] >= 10
    assert meta["clocks"]["guest"]["uncertainty_ns"] < 20_000_000
    assert meta["sample"]["profile"] == "cpu-saturate"
    assert meta["recording"]["backgrounds"][0]["activity"] == "video"
    assert meta["recording"]["block"] == 2
    assert meta["recording"]["shams"] == meta["recording"]["neighbours"] == []
    assert random_part(ref.episode_id) == random_part(ulid(0, plan.token))


def test_a_sham_armed_control_stays_clean_and_its_steps_are_in_the_meta(tmp_path):
    shams = [
        step(0.5, Phase.ARMED, "workload_armed", "sham"),
        step(1.5, Phase.CLEAN, "workload_removed", None),
    ]
    plan = planned(duration_s=2.0, shams=shams)
    run, machine = ran(tmp_path, plan)
    _, members = members_of(run, plan)
    noted = json.loads(members["meta.json"])["recording"]["shams"]
    asked = [(r["do"], r.get("activity")) for r in machine.requests if r["do"] != "clock"]

    assert run.failure is None
    assert asked == [("reset", None), ("start", "sham"), ("stop", None)]
    assert [json.loads(line)["phase"] for line in members["labels.jsonl"].splitlines()] == ["clean"]
    assert members["events.jsonl"] == b""
    assert [item["phase"] for item in noted] == ["armed", "clean"]
    begin_ns = run.begin_ns
    assert [round((item["t_wall_ns"] - begin_ns) / 1e9, 1) for item in noted] == [0.5, 1.5]


def test_a_run_of_this_recorder_is_accepted_by_the_validator(tmp_path):
    plan = planned(duration_s=12.0, steps=[step(6.0, Phase.ARMED, "workload_armed")])
    (tmp_path / "sockets").mkdir()
    run, _ = ran(tmp_path / "sockets", plan)
    ref, members = members_of(run, plan)
    store = tmp_path / "store"
    commit_episode(
        store, ref, pack(members), received_at_wall="2026-11-30T11:00:00Z", commit="0" * 40
    )
    opened = LocalStore(store)
    verdict = validate_episode(opened, ref, opened.read_index().rows[ref])

    assert verdict["status"] == "accepted", verdict["details"]


@pytest.mark.parametrize(
    ("reply", "message"),
    [
        (lambda request, usual: None if request["do"] == "stop" else usual, "seems hung"),
        (
            lambda request, usual: (
                {**usual, "t_guest_mono_ns": usual["t_guest_mono_ns"] + 10**10}
                if request["do"] == "stop"
                else usual
            ),
            "its clock jumped, or it lies",
        ),
        (
            lambda request, usual: (
                {**usual, "error": "no space left"} if request["do"] == "stop" else usual
            ),
            "no space left",
        ),
    ],
    ids=["hung", "lying", "failing"],
)
@pytest.mark.long
def test_a_run_that_fails_after_its_first_label_is_kept_with_the_label_failed(
    tmp_path, monkeypatch, reply, message
):
    monkeypatch.setattr("cis490_pipeline.recording.episode.ACT_LIMIT_S", 0.5)
    plan = planned(steps=STEPS)
    run, _ = ran(tmp_path, plan, reply=reply)
    ref, members = members_of(run, plan)
    last = json.loads(members["labels.jsonl"].splitlines()[-1])

    assert last["phase"] == "failed"
    assert message in last["reason"]
    assert message in json.loads(members["meta.json"])["failure"]
    assert random_part(ref.episode_id) != random_part(ulid(0, plan.token))


def test_a_run_that_fails_before_its_first_label_leaves_no_episode(tmp_path):
    plan = planned()
    run, _ = ran(tmp_path, plan, reply=lambda request, usual: {**usual, "error": "broken"})

    assert "broken" in run.failure
    with pytest.raises(RecordingError, match="failed before its first label"):
        episode_members(plan, run, None, PROVENANCE, b"")


def test_an_agent_that_sends_nothing_fails_the_run(tmp_path, monkeypatch):
    monkeypatch.setattr("cis490_pipeline.recording.episode.AGENT_LIMIT_S", 0.3)
    run, _ = ran(tmp_path, planned(), row=lambda number: b"Traceback\n")

    assert "agent sent no row" in run.failure


def test_members_are_packed_in_the_order_of_the_format(tmp_path):
    plan = planned(duration_s=0.5)
    run, _ = ran(tmp_path, plan)
    _, members = members_of(run, plan)
    content = zstandard.ZstdDecompressor().decompressobj().decompress(pack(members))
    with tarfile.open(fileobj=io.BytesIO(content)) as tar:
        names = tar.getnames()

    assert names[0] == "meta.json"
    assert names[-1] == "done.marker"
    assert all(msgspec.json.decode(line) for line in members["netflow.jsonl"].splitlines())


def test_the_guests_own_netflow_is_in_no_member(tmp_path):
    flow = {"source": "bridge_pcap", "t_wall_ns": 1, "t_mono_ns": 1, "pkts_out": 987_654}
    plan = planned(duration_s=0.5)
    run, _ = ran(tmp_path, plan, row=lambda n: flow if n % 2 else agent_row(n))
    _, members = members_of(run, plan)

    assert run.sampled.guest.netflow
    assert not [name for name, content in members.items() if b"987654" in content]


@pytest.mark.long
def test_waiting_of_threads_that_end_during_the_run_is_noted(tmp_path, monkeypatch):
    looks = []
    monkeypatch.setattr(sources.PressureMeter, "tick", lambda _: looks.append(1))
    ran(tmp_path, planned(duration_s=2.5))

    assert len(looks) >= 2
