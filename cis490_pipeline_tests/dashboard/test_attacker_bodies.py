"""What somebody who can reach the dashboard may try: bodies that are no events, or too much."""

import asyncio
import gzip
import io
import json
import time

import pytest

from cis490_pipeline.dashboard.access.guard import Limits
from cis490_pipeline_tests.dashboard.serving import METRIC, dashboard, now, publish

JSON = {"Content-Type": "application/json"}
LIMIT = Limits().body_bytes


def refused(body, status, **headers):
    """A body is refused, nothing of it is kept, and the dashboard goes on."""

    async def test():
        async with dashboard() as client:
            answer = await client.post("/publish", data=io.BytesIO(body), headers=JSON | headers)

            assert answer.status == status
            assert (await answer.json()).keys() == {"error"}
            assert len(await answer.read()) < 1000
            assert client.hub.state.snapshot() == []
            assert (await publish(client, METRIC)).status == 200

    now(test)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[" * 1_000_000,
        b'{"type":"phase","phase":' + b"[" * 1_000_000,
        b'{"type":"phase","phase":"clean","x":' + b"[" * 200_000 + b"]" * 200_000 + b"}",
        b'{"type":"phase","phase":"clean","x":' + b'{"a":' * 200_000 + b"1" + b"}" * 200_000 + b"}",
        b'{"type":"embedding","x":NaN,"y":0,"phase":"clean"}',
        b'{"type":"embedding","x":Infinity,"y":0,"phase":"clean"}',
        b'{"type":"embedding","x":-Infinity,"y":0,"phase":"clean"}',
        b'{"type":"embedding","x":1e999,"y":0,"phase":"clean"}',
        b'{"type":"embedding","x":1e300,"y":0,"phase":"clean"}',
        b'{"type":"embedding","x":' + b"9" * 100_000 + b',"y":0,"phase":"clean"}',
        b'{"type":"prediction","episode_id":"e","window_idx":9007199254740992,"predicted":"a","actual":"b"}',
        b'{"type":"prediction","episode_id":"e","window_idx":-1,"predicted":"a","actual":"b"}',
        b'{"type":"prediction","episode_id":"e","window_idx":1.5,"predicted":"a","actual":"b"}',
        b'{"type":"phase","phase":"' + b"x" * 129 + b'"}',
        b'{"type":"phase","phase":"' + b"x" * 3_000_000 + b'"}',
        b'{"type":"phase","phase":"\xff\xfe"}',
        b'{"type":"phase","phase":"\\ud800"}',
        b'{"type":"model_metric","model":"a","accuracy":"0.5"}',
        b'{"type":"model_metric","model":"a","accuracy":1.01}',
        b'{"type":"model_metric","model":null,"accuracy":0.5}',
        b'{"type":"model_metric","model":"a"}',
        b'{"type":"__proto__"}',
        b'{"type":["phase"],"phase":"clean"}',
        b'{"phase":"clean"}',
        b"null",
        b'"phase"',
        b"[[]]",
        b'[{"type":"phase","phase":"clean"},{"type":"phase"}]',
        json.dumps([METRIC] * 20_001).encode(),
        json.dumps(
            {"type": "attack_profile", "name": "a", "shape": "s", "curve": [0] * 2001}
        ).encode(),
        json.dumps(
            {
                "type": "telemetry",
                "episode_id": "e",
                "t_s": [0],
                "values": {str(i): [0] for i in range(65)},
            }
        ).encode(),
        json.dumps(
            {"type": "confusion", "model": "a", "labels": ["a", "b"], "counts": [[1]]}
        ).encode(),
    ],
    ids=lambda body: body[:48].decode("latin-1"),
)
def test_what_is_no_event_is_refused_whole(body):
    refused(body, 422)


def test_a_name_of_ten_megabytes_is_not_read_to_its_end():
    refused(b'{"type":"phase","phase":"' + b"x" * 10_000_000 + b'"}', 413)


def test_a_body_one_byte_too_long_is_refused_and_one_that_just_fits_is_not():
    event = b'{"type":"phase","phase":"clean"}'
    refused(event + b" " * (LIMIT + 1 - len(event)), 413)

    async def test():
        async with dashboard() as client:
            body = event + b" " * (LIMIT - len(event))
            assert (
                await client.post("/publish", data=io.BytesIO(body), headers=JSON)
            ).status == 200

    now(test)


def test_a_body_of_unknown_length_is_cut_off():
    async def endless():
        while True:
            yield b" " * 65536

    async def test():
        async with dashboard() as client:
            try:
                answer = await client.post("/publish", data=endless(), headers=JSON)
                assert answer.status == 413
            except (ConnectionError, OSError):
                # The answer was lost, as the sender would not stop.
                assert client.hub.state.snapshot() == []
            assert (await publish(client, METRIC)).status == 200

    now(test)


def test_a_compressed_bomb_is_not_unpacked():
    refused(gzip.compress(b" " * 100_000_000), 415, **{"Content-Encoding": "gzip"})


@pytest.mark.parametrize(
    "kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", ""]
)
def test_what_a_form_of_another_site_can_send_is_not_taken_for_json(kind):
    refused(json.dumps(METRIC).encode(), 415, **{"Content-Type": kind})


def test_a_body_that_trickles_in_is_given_up():
    async def test():
        async with dashboard(limits=Limits(body_s=0.3)) as client:
            reader, writer = await asyncio.open_connection("127.0.0.1", client.server.port)
            writer.write(
                b"POST /publish HTTP/1.1\r\nHost: 127.0.0.1:%d\r\n"
                b"Content-Type: application/json\r\nContent-Length: 1000\r\n\r\n{"
                % client.server.port
            )
            assert b" 408 " in await reader.readline()
            writer.close()

    now(test)


def test_refusing_a_bomb_takes_little_time():
    bombs = [
        b"[" * LIMIT,
        b'{"a":' * (LIMIT // 5),
        b'{"type":"phase","phase":"' + b"\\u0041" * 600_000,
    ]

    async def test():
        async with dashboard() as client:
            for bomb in bombs:
                before = time.process_time()
                assert (
                    await client.post("/publish", data=io.BytesIO(bomb), headers=JSON)
                ).status == 422
                assert time.process_time() - before < 1

    now(test)
