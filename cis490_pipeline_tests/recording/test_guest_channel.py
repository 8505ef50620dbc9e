import asyncio
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cis490_pipeline.domain import CHANNELS, NS_PER_S, Source
from cis490_pipeline.errors import RecordingError
from cis490_pipeline.recording.channel.clocks import ClockMap, HostClock
from cis490_pipeline.recording.channel.guest_channel import (
    ControlChannel,
    GuestRows,
    parse_reply,
    receive_rows,
)
from cis490_pipeline_tests.recording.fake_machine import FakeMachine, agent_row, line

NOW_NS = 1_800_000_000 * NS_PER_S
MAP = ClockMap(offset_ns=NOW_NS, reference_ns=0, drift_ppm=0.0, uncertainty_ns=0)
ALWAYS = (0, 2 * NOW_NS)


def asked(folder, reply, *, limit_s=5.0, booting=True):
    async def ask():
        async with FakeMachine(folder, reply) as machine:
            channel = await ControlChannel.opened(machine.folder / "control", HostClock.started())
            try:
                await channel.wait_ready(5.0, booting=booting)
                return await channel.request("start", limit_s, slot="workload")
            finally:
                await channel.close()

    return asyncio.run(ask())


def test_an_exchange_brackets_the_guests_time(tmp_path):
    before_ns = time.time_ns()
    exchange = asked(tmp_path, lambda request, usual: usual)

    assert before_ns <= exchange.sent_ns <= exchange.received_ns <= time.time_ns()
    assert exchange.reply.pid == 99
    assert exchange.bracket().guest_ns == exchange.reply.t_guest_mono_ns


def test_a_machine_that_was_ready_long_ago_is_asked(tmp_path):
    assert asked(tmp_path, lambda request, usual: usual, booting=False).reply.id == 1


@pytest.mark.parametrize(
    ("reply", "message"),
    [
        (lambda request, usual: None, "did not answer 'start' and seems hung"),
        (lambda request, usual: {**usual, "id": 7}, "the guest answered 'start' by"),
        (lambda request, usual: {**usual, "error": "no such"}, "could not start.*no such"),
        (lambda request, usual: b"not json\n", "control line that is none"),
        (
            lambda request, usual: b'{"error":"\xed\xa0\x80"}\n',
            "control line that is none: not UTF",
        ),
        (lambda request, usual: b"[" * 1000 + b"\n", "control line that is none"),
        (
            lambda request, usual: {**usual, "error": "\x1b]0;mine\x07"},
            r"could not.*'\\x1b\]0;mine",
        ),
        (lambda request, usual: {**usual, "pid": -1}, "control line that is none"),
        (lambda request, usual: {**usual, "t_guest_mono_ns": 2**64}, "control line that is none"),
        (lambda request, usual: b"x" * (1 << 18), "a line of over 65536 bytes"),
        (
            lambda request, usual: {"event": "ended", "activity": "flood", "status": 9},
            "'flood' ended by itself with status 9",
        ),
    ],
)
def test_a_guest_that_is_hung_broken_or_lying_fails_the_run(tmp_path, reply, message):
    with pytest.raises(RecordingError, match=message):
        asked(tmp_path, reply, limit_s=0.3)


def test_a_machine_that_sends_other_lines_without_end_is_given_up_in_time(tmp_path):
    def endless(request, usual):
        return line({"event": "busy"}) * 20_000

    began_s = time.monotonic()

    async def ask():
        async with FakeMachine(tmp_path, endless) as machine:
            channel = await ControlChannel.opened(machine.folder / "control", HostClock.started())
            try:
                await channel.wait_ready(0.1, booting=False)
            finally:
                await channel.close()

    with pytest.raises(RecordingError, match="its load runner does not answer"):
        asyncio.run(ask())
    assert time.monotonic() - began_s < 5


@given(st.binary(max_size=200) | st.binary(max_size=50).map(lambda inner: b'"' + inner + b'"'))
def test_any_line_is_a_reply_or_an_error(content):
    try:
        reply = parse_reply(content)
    except RecordingError:
        return
    assert reply.id is None or reply.id >= 0


def rows_of(*given_rows, arrived_ns=NOW_NS):
    rows = GuestRows(lambda: arrived_ns)
    for row in given_rows:
        rows.add(row if isinstance(row, bytes) else line(row))
    return rows


def test_rows_get_the_hosts_time_and_keep_the_guests():
    row = {**agent_row(3), "t_mono_ns": 5 * NS_PER_S, "t_wall_ns": 17}
    [placed] = rows_of(row, arrived_ns=NOW_NS + 6 * NS_PER_S).placed(MAP, *ALWAYS)

    assert placed["t_wall_ns"] == NOW_NS + 5 * NS_PER_S
    assert placed["t_guest_wall_ns"] == 17
    assert placed["cpu_user"] == 103
    assert placed["load_1m"] == 0.25
    assert placed["forks"] is None
    assert {c.field for c in CHANNELS if c.source is Source.GUEST} <= {*placed}


@pytest.mark.parametrize(
    "lie",
    [
        b"{",
        b"[1]\n",
        b'"guest_agent"\n',
        b"[" * 100_000,
        {"source": "guest_agent"},
        {**agent_row(0), "t_mono_ns": "5"},
        {**agent_row(0), "t_mono_ns": True},
        {**agent_row(0), "t_mono_ns": -1},
        {**agent_row(0), "t_mono_ns": 2**70},
        {**agent_row(0), "t_mono_ns": 1.5},
        {**agent_row(0), "source": ["guest_agent"]},
        b'{"source":"guest_agent","x":"\xed\xa0\x80"}\n',
        b"\x00\xff\x7fELF\n",
    ],
)
def test_what_is_no_row_is_counted_and_left_out(lie):
    rows = rows_of(lie)

    assert rows.placed(MAP, *ALWAYS) == []
    assert rows.invalid == 1


@pytest.mark.parametrize("seconds", [-0.02, 61.0], ids=["from the future", "a minute late"])
def test_rows_that_cannot_have_arrived_then_are_left_out(seconds):
    row = {**agent_row(0), "t_mono_ns": 100 * NS_PER_S}
    rows = rows_of(row, arrived_ns=NOW_NS + 100 * NS_PER_S + round(seconds * NS_PER_S))

    assert rows.placed(MAP, *ALWAYS) == []
    assert rows.implausible == 1


def test_rows_that_go_back_in_the_guests_time_are_left_out():
    times = [10, 12, 11, 13]
    rows = rows_of(
        *({**agent_row(0), "t_mono_ns": t * NS_PER_S} for t in times),
        arrived_ns=NOW_NS + 14 * NS_PER_S,
    )

    assert [row["t_guest_mono_ns"] // NS_PER_S for row in rows.placed(MAP, *ALWAYS)] == [10, 12, 13]
    assert rows.implausible == 1


def test_what_a_row_holds_besides_numbers_of_known_names_takes_no_memory():
    row = {**agent_row(0), "t_mono_ns": 1, "ctxt": "x" * 60_000, "evil": ["y"] * 10_000}
    rows = rows_of(row)
    [(_, kept)] = rows.rows

    known = {name for name, value in kept.items() if value is not None}
    assert known == {"t_mono_ns", "t_wall_ns", "cpu_user", "load_1m"}
    assert "evil" not in kept


@pytest.mark.parametrize("value", ["7", None, True, 2**63, -(2**70), 1.5, [1], float("inf")])
def test_a_reading_that_is_no_number_is_unknown_and_unknown_keys_are_dropped(value):
    import msgspec

    row = {**agent_row(0), "t_mono_ns": 1, "ctxt": value, "evil": "<script>"}
    content = msgspec.json.encode(row) if value != float("inf") else line(row)
    rows = rows_of(content, arrived_ns=NOW_NS + 1)
    placed = rows.placed(MAP, *ALWAYS)

    assert all(row["ctxt"] is None and "evil" not in row for row in placed)
    assert len(placed) + rows.invalid == 1


def test_the_agents_status_is_kept_apart():
    rows = rows_of({"source": "agent_status", "version": "1", "rows_dropped": 4, "x": [1]})

    assert rows.status == {"source": "agent_status", "version": "1", "rows_dropped": 4}
    assert rows.rows == []


def test_the_guests_own_netflow_is_no_row_of_the_episode():
    flow = {"source": "bridge_pcap", "t_wall_ns": 1, "t_mono_ns": 1, "pkts_out": 9}
    rows = rows_of(agent_row(0), flow)

    [kept] = rows.netflow
    assert (kept["t_mono_ns"], kept["pkts_out"], kept["pkts_in"]) == (1, 9, None)
    assert len(rows.rows) == 1
    assert rows.invalid == 0


def test_a_line_over_the_limit_is_dropped_and_later_rows_are_read(tmp_path):
    async def receive():
        rows = GuestRows(time.time_ns)
        content = lambda n: b"x" * 200_000 + b"\n" if n == 0 else agent_row(n)  # noqa: E731
        async with FakeMachine(tmp_path, row=content):
            task = asyncio.create_task(receive_rows(tmp_path / "rows", rows))
            async with asyncio.timeout(10):
                while not rows.rows:
                    await asyncio.sleep(0.05)
            task.cancel()
            await asyncio.wait([task])
        return rows

    rows = asyncio.run(receive())

    assert rows.rows
    assert rows.invalid >= 1
