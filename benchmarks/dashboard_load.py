"""The other side of the dashboard's benchmark: browsers and producers, each its own process."""

import asyncio
import json
import sys
import time

import msgspec

from cis490_pipeline.events import contract as c

SETTLE_S = 1.0


class _Stamp(msgspec.Struct):
    event_id: str | None = None


_DECODER = msgspec.json.Decoder(list[_Stamp])


async def read_stream(port: int, until: asyncio.Event, latencies_s: list[float]) -> int:
    """Read one stream as a browser does; returns how many stamped events came."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1 << 24)
    writer.write(b"GET /events HTTP/1.1\r\nHost: 127.0.0.1:%d\r\n\r\n" % port)
    received = 0
    while not until.is_set():
        try:
            async with asyncio.timeout(0.5):
                line = await reader.readline()
        except TimeoutError:
            continue
        if not line.startswith(b"data: ["):
            continue
        now = time.monotonic()
        for event in _DECODER.decode(line[6:]):
            if event.event_id is not None:
                received += 1
                latencies_s.append(now - float(event.event_id))
    writer.close()
    return received


async def browse(port: int, n: int, for_s: float) -> None:
    """Hold n streams open, and print what they got as JSON."""
    until = asyncio.Event()
    latencies: list[float] = []
    readers = [asyncio.create_task(read_stream(port, until, latencies)) for _ in range(n)]
    await asyncio.sleep(SETTLE_S)
    print("ready", flush=True)
    await asyncio.sleep(for_s)
    until.set()
    received = [await reader for reader in readers]
    latencies.sort()
    last = len(latencies) - 1
    quantiles = [latencies[int(q * last)] for q in (0.5, 0.99, 1.0)] if latencies else None
    print(json.dumps({"received": received, "latency_s": quantiles}))


def stamped(n: int, at: int) -> bytes:
    """Return a body with n events that say when they were sent; ``at`` tells them apart."""
    return c.encode(
        [
            c.Prediction(
                event_id=repr(time.monotonic()),
                episode_id="bench",
                window_idx=at + i,
                predicted="clean",
                actual="clean",
                model="gbt_realistic",
                confidence=0.5,
                t_end_s=5.0 * i,
            )
            for i in range(n)
        ]
    )


async def post(
    port: int, body: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> None:
    """Publish over an open connection and wait for the answer."""
    writer.write(
        b"POST /publish HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nContent-Type: application/json\r\n"
        b"Content-Length: %d\r\n\r\n%s" % (port, len(body), body)
    )
    head = await reader.readuntil(b"\r\n\r\n")
    if not head.startswith(b"HTTP/1.1 200"):
        raise RuntimeError(head.decode())
    length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
    await reader.readexactly(length)


async def pace(port: int, per_s: int, for_s: float, at_once: int) -> None:
    """Publish at a steady rate, so many events in a list."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    begun = time.monotonic()
    for k in range(round(per_s * for_s / at_once)):
        await asyncio.sleep(max(0.0, begun + k * at_once / per_s - time.monotonic()))
        await post(port, stamped(at_once, k * at_once), reader, writer)
    writer.close()


async def flood(port: int, n: int, at_once: int, connections: int) -> None:
    """Publish as fast as the dashboard takes it; prints the seconds it took."""
    bodies = [unstamped(at_once, k * at_once) for k in range(n // at_once)]

    async def one(mine: list[bytes]) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for body in mine:
            await post(port, body, reader, writer)
        writer.close()

    begun = time.monotonic()
    await asyncio.gather(*(one(bodies[k::connections]) for k in range(connections)))
    print(time.monotonic() - begun)


def unstamped(n: int, at: int) -> bytes:
    """Return a body with n events, alone if there is one."""
    events: list[c.Event] = [
        c.Prediction(
            episode_id="flood", window_idx=at + i, predicted="clean", actual="armed", model="gbt"
        )
        for i in range(n)
    ]
    return msgspec.json.encode(events[0]) if n == 1 else c.encode(events)


if __name__ == "__main__":
    what, *numbers = sys.argv[1:]
    works = {"browse": browse, "pace": pace, "flood": flood}
    asyncio.run(works[what](*(float(v) if "." in v else int(v) for v in numbers)))
