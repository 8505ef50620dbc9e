"""Connections that ask nothing, too slowly, too often, or what is no HTTP."""

import asyncio
import contextlib
import gzip
import json
import logging
import re
import resource
import socket

import aiohttp.compression_utils
import pytest

from cis490_pipeline.dashboard.access.guard import HEADERS, Limits
from cis490_pipeline.dashboard.access.rules import Access
from cis490_pipeline.dashboard.server import connections as connections_module
from cis490_pipeline.dashboard.server.connections import Connections
from cis490_pipeline_tests.dashboard.serving import METRIC, dashboard, now, publish, stream

GET = b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1:%d\r\n\r\n"


def until_closed(sent, *, limits, then=b""):
    """Return what comes back until the dashboard ends a connection."""
    got = []

    async def test():
        async with dashboard(limits=limits) as client:
            reader, writer = await asyncio.open_connection("127.0.0.1", client.port)
            writer.write(sent.replace(b"%d", b"%d" % client.port))
            trickling = asyncio.create_task(trickle(writer, then))
            got.append(await reader.read())
            trickling.cancel()
            writer.close()

    now(test)
    return got[0]


async def trickle(writer, then):
    for byte in then * 1000:
        writer.write(bytes([byte]))
        await asyncio.sleep(0.05)


@pytest.mark.parametrize(
    ("sent", "then"),
    [(b"", b""), (b"GET / HT", b""), (GET[:-2], b"X-A: b\r\n"), (b"\r\n", b"\r\n")],
    ids=["nothing", "a part of a head", "a head without end", "line breaks"],
)
def test_a_connection_that_asks_nothing_is_ended(sent, then):
    # Reset, if some of what it sent was not read.
    with contextlib.suppress(ConnectionResetError):
        assert until_closed(sent, limits=Limits(head_s=0.3), then=then) == b""


def test_a_connection_is_ended_some_time_after_its_last_request():
    got = until_closed(GET, limits=Limits(head_s=0.3, idle_s=0.3))

    assert got.startswith(b"HTTP/1.1 200 OK")


def test_an_answer_that_nobody_reads_is_dropped():
    asked = b"GET /static/vendor/uplot/uPlot.iife.min.js HTTP/1.1\r\nHost: 127.0.0.1:%d\r\n\r\n"

    async def test():
        async with dashboard(limits=Limits(head_s=0.3, idle_s=0.3)) as client:
            with socket.create_connection(("127.0.0.1", client.port)) as slow:
                slow.sendall(asked % client.port * 600)
                await asyncio.sleep(1)
                slow.settimeout(5)
                n = 0
                with contextlib.suppress(ConnectionResetError):
                    while piece := await asyncio.to_thread(slow.recv, 1 << 20):
                        n += len(piece)
                assert n < 600 * 51_000

    now(test)


def test_a_stream_is_not_idle():
    async def test():
        limits = Limits(head_s=0.1, idle_s=0.1)
        async with dashboard(limits=limits) as client, stream(client) as reader:
            await reader.until("status")
            await asyncio.sleep(0.5)
            await publish(client, METRIC)
            assert await reader.events(1) == [METRIC]

    now(test)


def test_of_too_many_connections_the_last_is_refused_and_gets_in_when_another_goes():
    async def test():
        async with dashboard(limits=Limits(browsers=1, further=4)) as client:
            held = [await asyncio.open_connection("127.0.0.1", client.port) for _ in range(3)]
            reader, writer = await asyncio.open_connection("127.0.0.1", client.port)
            head, _, body = (await reader.read()).partition(b"\r\n\r\n")

            assert head.startswith(b"HTTP/1.1 503 ")
            assert b"Content-Security-Policy: default-src 'none'" in head
            assert json.loads(body) == {"error": "too many connections from this address"}
            for _, held_writer in [*held, (reader, writer)]:
                held_writer.close()
            await asyncio.sleep(0.1)
            assert (await client.get("/healthz")).status == 200

    now(test)


def test_connections_of_all_addresses_are_bounded_by_the_files_a_process_may_open(monkeypatch):
    allowed = []
    monkeypatch.setattr(resource, "getrlimit", lambda _: (100, 200))
    monkeypatch.setattr(resource, "setrlimit", lambda _, limits: allowed.append(limits))

    found = Connections(most=10_000, most_each=1, head_s=1, idle_s=1)

    assert allowed == [(200, 200)]
    assert found.most == 200 - connections_module._OTHER_FILES


@pytest.mark.parametrize(
    "sent",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(200),
        b"hello\r\n\r\n",
        b"GET / HTTP/9.9\r\nHost: a\r\n\r\n",
        b"G\xffT / HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nX: " + b"x" * 20_000 + b"\r\n\r\n",
        b"GET /" + b"x" * 20_000 + b" HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: 127.0.0.1:%d\r\n" + b"X: y\r\n" * 500 + b"\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nno colon\r\n\r\n",
        b"POST /publish HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nContent-Length: -1\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
    ],
    ids=lambda sent: sent[:24].decode("latin-1"),
)
def test_what_is_no_http_is_answered_with_all_headers_and_leaves_nothing_in_the_log(sent, caplog):
    with caplog.at_level(logging.WARNING):
        head, _, body = until_closed(sent, limits=Limits()).partition(b"\r\n\r\n")

    assert re.match(rb"HTTP/1\.[01] 400 ", head)
    assert [name for name in HEADERS if f"\r\n{name}: ".encode() not in head] == []
    assert json.loads(body).keys() == {"error"}
    assert caplog.records == []


def test_a_fault_of_ours_is_logged_and_answered_with_all_headers(caplog, monkeypatch):
    async def test():
        async with dashboard() as client:
            monkeypatch.setattr(client.hub, "publish", lambda _: 1 / 0)
            answer = await publish(client, METRIC)

            assert answer.status == 500
            assert HEADERS.items() <= dict(answer.headers).items()
            assert "ZeroDivisionError" not in await answer.text()

    now(test)
    assert "ZeroDivisionError" in caplog.text


@pytest.mark.parametrize("access", [Access(), Access(token="correct-horse-battery-staple")])
@pytest.mark.parametrize("encodings", [["gzip"], ["identity", "gzip"], ["deflate"], ["br"]])
def test_a_compressed_body_is_refused_to_everybody_and_never_unpacked(
    access, encodings, monkeypatch
):
    unpacked = []
    monkeypatch.setattr(
        aiohttp.compression_utils.ZLibDecompressor,
        "decompress_sync",
        lambda *_, **__: unpacked.append(1),
    )
    bomb = gzip.compress(bytes(10_000_000))

    async def test():
        async with dashboard(access) as client:
            headers = [("Content-Type", "application/json")]
            headers += [("Content-Encoding", name) for name in encodings]
            for path in ("/publish", "/login", "/nothing"):
                answer = await client.post(path, data=bomb, headers=headers)
                assert answer.status == 415

    now(test)
    assert unpacked == []
