import asyncio
import json

import jsonschema
import pytest

from cis490_pipeline.dashboard.access.guard import Limits
from cis490_pipeline.dashboard.server.app import open_hub
from cis490_pipeline.dashboard.state import hub as hub_module
from cis490_pipeline.dashboard.state.current import State
from cis490_pipeline.dashboard.state.hub import Hub
from cis490_pipeline.events.contract import encode
from cis490_pipeline_tests.dashboard import scene
from cis490_pipeline_tests.dashboard.serving import METRIC, dashboard, now, publish, stream

# As the older dashboard's producers send them, key by key.
OLDER = [
    {"type": "model_metric", "model": "gbt", "accuracy": 0.05},
    {"type": "model_perf", "model": "gbt", "latency_us": 412.5, "accuracy": 0.8},
    {"type": "prediction", "episode_id": "e1", "window_idx": 3, "predicted": "armed",
     "actual": "clean"},
    {"type": "attack_profile", "name": "worm", "shape": "burst", "curve": [0, 0.5, 1]},
    {"type": "embedding", "x": 0.25, "y": 0.75, "phase": "dormant"},
    {"type": "phase", "phase": "infecting"},
]  # fmt: skip


@pytest.mark.parametrize("event", OLDER, ids=lambda event: event["type"])
def test_the_older_dashboards_events_are_taken_and_passed_on_verbatim(event):
    async def test():
        async with dashboard() as client, stream(client) as reader:
            await reader.until("status")

            answer = await client.post("/publish", json=event)

            assert (answer.status, await answer.json()) == (200, {"delivered": 1})
            assert await reader.events(1) == [event]

    now(test)


def test_a_list_is_taken_in_its_order():
    async def test():
        async with dashboard() as client, stream(client) as reader:
            await reader.until("status")

            answer = await publish(client, *OLDER)

            assert await answer.json() == {"delivered": 6}
            assert await reader.events(6) == OLDER

    now(test)


def test_the_answer_counts_what_was_not_passed_on():
    async def test():
        async with dashboard() as client:
            event = METRIC | {"event_id": "a"}
            await publish(client, event)

            answer = await publish(client, event, METRIC | {"model": "mlp"})

            assert await answer.json() == {"delivered": 1, "duplicates": 1}

    now(test)


def test_a_late_browser_gets_the_state_first_and_then_the_ticks():
    async def test():
        async with dashboard() as client:
            await publish(client, *scene.predictions(30), *scene.scores())
            async with stream(client) as reader:
                told = await reader.until("ready")

                assert [t.event for t in told] == ["reset", "message", "ready"]
                kinds = list(dict.fromkeys(e["type"] for e in told[1].data))
                assert kinds == ["model_metric", "model_failure", "prediction"]
                assert told[0].data["events"] == len(told[1].data)

    now(test)


def test_a_browser_that_comes_back_resumes():
    async def test():
        async with dashboard() as client:
            async with stream(client) as reader:
                await publish(client, METRIC | {"model": "seen"})
                await reader.until("ready")
                if not any(isinstance(t.data, list) for t in reader.seen):
                    await reader.events(1)
                last = [t.id for t in reader.seen if t.id][-1]
            await publish(client, METRIC | {"model": "missed"})
            await asyncio.sleep(3 * hub_module.TICK_S)

            async with stream(client, **{"Last-Event-ID": last}) as reader:
                told = await reader.until("status")

            missed = [e["model"] for t in told[:-1] for e in t.data]
            assert "missed" in missed
            assert "reset" not in [t.event for t in told]

    now(test)


def test_after_a_restart_a_browser_begins_anew_with_the_same_picture(tmp_path):
    async def test():
        hub, journal = open_hub(tmp_path / "state.jsonl")
        async with dashboard(hub=hub) as client:
            await publish(client, *scene.whole())
            async with stream(client) as reader:
                before = await reader.until("ready")
        journal.close()
        hub, journal = open_hub(tmp_path / "state.jsonl")
        async with (
            dashboard(hub=hub) as client,
            stream(client, **{"Last-Event-ID": before[-1].id}) as reader,
        ):
            after = await reader.until("ready")
        journal.close()

        def events(told):
            return [e for t in told if t.event == "message" for e in t.data]

        assert after[0].event == "reset"
        assert events(after) == events(before)
        assert len(events(after)) > 900

    now(test)


def test_stopping_wakes_every_stream():
    async def test():
        async with dashboard() as client, stream(client) as reader:
            await reader.until("status")
            client.hub.close()

            assert await reader.next() is None

    now(test)


def test_a_silent_dashboard_sends_a_heartbeat(monkeypatch):
    monkeypatch.setattr(hub_module, "HEARTBEAT_S", 0.2)

    async def test():
        async with dashboard() as client, stream(client) as reader:
            await reader.until("ready")
            for _ in range(4):
                await reader.until("status")
            assert client.hub.n_events == 0

    now(test)


def test_a_reader_that_stalls_is_cut_off_and_hurts_nobody():
    async def test():
        limits = Limits(write_s=0.5)
        async with dashboard(limits=limits) as client:
            reader, writer = await asyncio.open_connection(
                "127.0.0.1", client.server.port, limit=1024
            )
            writer.write(b"GET /events HTTP/1.1\r\nHost: 127.0.0.1:%d\r\n\r\n" % client.server.port)
            await reader.readline()
            async with stream(client) as quick:
                await quick.until("status")
                got = 0
                # The system's own buffers take some megabytes before a write has to wait.
                for i in range(150):
                    events = list(scene.telemetry(8, rate_hz=10, episode_id=f"e{i}"))
                    await publish(client, *events)
                    got += len(await quick.events(len(events)))
                    if client.hub.n_stalled:
                        break

                assert client.hub.n_stalled == 1
                assert client.hub.n_browsers == 1
                assert got == 8 * (i + 1)
            writer.close()

    now(test)


def test_more_browsers_than_it_can_hold_are_told_to_come_later():
    async def test():
        async with dashboard(limits=Limits(browsers=1)) as client, stream(client) as reader:
            await reader.until("status")

            refused = await client.get("/events")

            assert refused.status == 503
            assert refused.headers["Retry-After"] == "30"

    now(test)


def test_a_browser_that_goes_is_forgotten():
    async def test():
        async with dashboard() as client:
            async with stream(client) as reader:
                await reader.until("status")
                assert client.hub.n_browsers == 1
            for _ in range(100):
                await asyncio.sleep(0.02)
                if client.hub.n_browsers == 0:
                    break
            assert client.hub.n_browsers == 0

    now(test)


def test_the_schema_that_is_served_holds_for_every_event():
    async def test():
        async with dashboard() as client:
            schema = await (await client.get("/schema/events-v1.json")).json(content_type=None)
        validator = jsonschema.Draft202012Validator(schema)
        validator.check_schema(schema)

        validator.validate(json.loads(encode(scene.whole()[:400])))
        for event in OLDER:
            validator.validate(event)
        for wrong in ({"type": "phase"}, [{"type": "sunshine"}], METRIC | {"accuracy": 2}, 1):
            assert not validator.is_valid(wrong)

    now(test)


def test_health_says_what_is_kept():
    async def test():
        async with dashboard() as client:
            await publish(client, METRIC)

            health = await (await client.get("/healthz")).json()

            assert health["status"] == "ok"
            assert health["events"] == 1
            assert health["kept"]["model_metric"]["events"] == 1

    now(test)


def test_a_fault_of_the_state_file_is_told():
    async def test():
        hub = Hub(State())
        hub.journal_fault = "state is no longer kept: No space left on device"
        async with dashboard(hub=hub) as client:
            health = await (await client.get("/healthz")).json()

            assert health["status"] == "degraded"
            assert health["fault"] == hub.journal_fault

    now(test)


def test_files_are_fetched_once_and_then_only_asked_after():
    async def test():
        async with dashboard() as client:
            first = await client.get("/static/app.js")
            again = await client.get(
                "/static/app.js", headers={"If-None-Match": first.headers["ETag"]}
            )

            assert first.content_type == "text/javascript"
            assert again.status == 304
            assert await again.read() == b""

    now(test)
