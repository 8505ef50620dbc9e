"""An agent and its receiver meet: the token, one device per feed, and limits."""

import json
import os
import pty
import socket
import stat
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from cis490_pipeline.collect.outputs import greeting as agents_side
from cis490_pipeline.collect.outputs.outbox import Outbox
from cis490_pipeline.collect.outputs.sinks import SocketOutput
from cis490_pipeline.domain import Source
from cis490_pipeline.errors import ConfigError
from cis490_pipeline.live.feeds.agent_status import AgentStatus
from cis490_pipeline.live.feeds.feed import Arrival
from cis490_pipeline.live.feeds.greeting import MAX_ANSWER_BYTES, read_token
from cis490_pipeline.live.feeds.open import open_feed
from cis490_pipeline.live.feeds.rows import LiveRow
from cis490_pipeline.live.feeds.sockets import SocketFeed
from cis490_pipeline.live.feeds.stream import StreamFeed
from cis490_pipeline.store.rows.row import RowFault
from cis490_pipeline_tests.collect.outputs.test_sinks import drive
from cis490_pipeline_tests.live.feeds.test_agent_status import ROW
from cis490_pipeline_tests.live.made_up import as_line, device_rows

TOKEN = b"0123456789abcdef0123456789abcdef"
ROWS = list(device_rows(2, sources=(Source.GUEST, Source.NETFLOW)))


def hello(device: str = "garage-pi", boot_id: str = "a") -> bytes:
    return json.dumps({**ROW, "device": device, "boot_id": boot_id}).encode() + b"\n"


@pytest.fixture
def feed() -> Iterator[SocketFeed]:
    made = SocketFeed("tcp:127.0.0.1:0", token=TOKEN)
    yield made
    made.close()


class Sender(threading.Thread):
    """Agent that sends some lines and stays connected until it is stopped."""

    def __init__(self, feed: SocketFeed, lines: bytes, token: bytes | None = TOKEN) -> None:
        super().__init__(daemon=True)
        self.output = SocketOutput("tcp", ("127.0.0.1", port_of(feed)), token=token)
        self.outbox = Outbox()
        for line in lines.splitlines(keepends=True):
            self.outbox.put(line, time.monotonic_ns())
        self.is_done = False
        self.start()

    def run(self) -> None:
        drive(self.output, self.outbox, lambda: self.is_done or self.output.problem is not None)

    def stop(self) -> str | None:
        """Close the connection and return what was wrong with it."""
        self.is_done = True
        self.join()
        problem = self.output.problem
        self.output.close()
        return problem


def port_of(feed: SocketFeed) -> int:
    return int(feed.name.rpartition(":")[2])


def polled(feed: SocketFeed, n: int, limit_s: float = 10) -> list[Arrival]:
    """Return at least n arrivals."""
    arrivals: list[Arrival] = []
    end = time.monotonic() + limit_s
    while len(arrivals) < n and time.monotonic() < end:
        arrivals += feed.poll(0.1)
    return arrivals


def test_an_agent_with_the_token_is_heard(feed: SocketFeed) -> None:
    sender = Sender(feed, hello() + b"".join(map(as_line, ROWS)))

    first, *rest = polled(feed, 1 + len(ROWS))

    assert isinstance(first, AgentStatus)
    assert rest == ROWS
    assert sender.stop() is None


def test_an_agent_with_another_token_is_refused_and_nothing_of_it_is_read(feed: SocketFeed) -> None:
    sender = Sender(feed, hello(), token=b"another token, as long")

    arrivals = polled(feed, 1)

    sender.join()
    assert [a.problem for a in arrivals if isinstance(a, RowFault)] == [
        "the token is not the one of this receiver"
    ]
    assert sender.stop() == "was refused: the token is not the one of this receiver"


def test_an_agent_without_the_token_is_refused_on_both_sides(feed: SocketFeed) -> None:
    sender = Sender(feed, hello(), token=None)

    (fault,) = polled(feed, 1)

    assert isinstance(fault, RowFault)
    assert fault.problem.startswith(("showed no token", "the token is not", "broke off"))
    problem = sender.stop()
    assert problem is not None
    assert "wants a token" in problem or "refused" in problem or "reset" in problem


@pytest.mark.parametrize(
    "answer",
    [
        b"\n",
        b"x" * (MAX_ANSWER_BYTES + 1),
        b"ab" * 32 + b" " + b"0" * 64 + b"\n",
        b"\xff" * 99 + b"\n",
    ],
)
def test_garbage_for_an_answer_closes_the_connection(feed: SocketFeed, answer: bytes) -> None:
    with socket.create_connection(("127.0.0.1", port_of(feed))) as connection:
        feed.poll(5)
        connection.sendall(answer)
        (fault,) = polled(feed, 1)
        connection.settimeout(5)
        got = b""
        while piece := connection.recv(1000):
            got += piece

    assert isinstance(fault, RowFault)
    assert got.startswith(b"CIS490 1 ")
    assert b"\nNO " in got
    assert b"OK" not in got


def test_an_answer_of_another_connection_is_worth_nothing(feed: SocketFeed) -> None:
    answers = []
    for _ in range(2):
        with socket.create_connection(("127.0.0.1", port_of(feed))) as connection:
            feed.poll(5)
            challenge = connection.recv(1000)
            if not answers:
                answers.append(agents_side.Greeting(TOKEN).take(challenge.strip()))
            connection.sendall(answers[0])
            last = polled(feed, 0, 1) + feed.poll(1)

    assert [a.problem for a in last if isinstance(a, RowFault)][:1] == [
        "the token is not the one of this receiver"
    ]


def test_a_connection_that_shows_no_token_in_ten_seconds_is_closed() -> None:
    now = [0.0]
    feed = SocketFeed("tcp:127.0.0.1:0", token=TOKEN, clock=lambda: now[0])
    with socket.create_connection(("127.0.0.1", port_of(feed))):
        feed.poll(5)
        now[0] = 9.0
        assert feed.poll(0) == []
        now[0] = 10.1
        (fault,) = feed.poll(0)
    feed.close()

    assert isinstance(fault, RowFault)
    assert fault.problem == "showed no token in 10 s"


def test_with_a_token_the_first_line_must_name_the_device(feed: SocketFeed) -> None:
    sender = Sender(feed, b"".join(map(as_line, ROWS)))

    arrivals = polled(feed, 1)

    sender.join()
    assert [a.problem for a in arrivals if isinstance(a, RowFault)] == [
        "the first line must be an agent's status, which names the device"
    ]
    assert not [a for a in arrivals if isinstance(a, LiveRow)]
    sender.stop()


def test_a_second_device_is_refused_by_name_and_the_first_goes_on(feed: SocketFeed) -> None:
    first = Sender(feed, hello() + as_line(ROWS[0]))
    polled(feed, 2)
    second = Sender(feed, hello("attic-pi") + as_line(ROWS[1]))

    arrivals = polled(feed, 1)
    second.join()
    first.outbox.put(as_line(ROWS[2]), time.monotonic_ns())
    after = polled(feed, 1)

    (fault,) = arrivals
    assert isinstance(fault, RowFault)
    assert "device attic-pi is refused: this feed is of device garage-pi" in fault.problem
    refused = second.stop()
    assert refused is not None
    assert "device attic-pi is refused" in refused
    assert after == [ROWS[2]]
    assert first.stop() is None


def test_recorders_without_a_name_may_share_a_local_socket(tmp_path: Path) -> None:
    feed = SocketFeed(f"unix:{tmp_path / 'rows'}")
    with socket.socket(socket.AF_UNIX) as recorder, socket.socket(socket.AF_UNIX) as agent:
        recorder.connect(str(tmp_path / "rows"))
        agent.connect(str(tmp_path / "rows"))
        recorder.sendall(as_line(ROWS[0]))
        agent.sendall(hello() + as_line(ROWS[1]))
        arrivals = polled(feed, 3)
    feed.close()

    assert [a for a in arrivals if isinstance(a, LiveRow)] == ROWS[:2]
    assert len(arrivals) == 3


def test_a_second_device_on_standard_input_is_named() -> None:
    reading, writing = os.pipe()
    feed = StreamFeed(reading, "stdin")
    os.write(writing, hello() + hello("attic-pi") + hello())
    os.close(writing)

    first, fault, again = feed.poll(5)
    os.close(reading)

    assert isinstance(first, AgentStatus)
    assert isinstance(again, AgentStatus)
    assert isinstance(fault, RowFault)
    assert "device attic-pi is refused" in fault.problem


def test_rows_arrive_from_a_serial_port_unchanged() -> None:
    host, device = pty.openpty()
    feed = open_feed(f"serial:{os.ttyname(device)}")
    os.write(host, hello() + b"".join(map(as_line, ROWS)))
    arrivals: list[Arrival] = []
    while len(arrivals) < 1 + len(ROWS):
        arrivals += feed.poll(1)
    feed.close()
    os.close(host)
    os.close(device)

    assert arrivals[1:] == ROWS


def test_what_is_no_serial_port_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    with pytest.raises(ConfigError, match="is no serial port; wanted a device such as /dev/ttyS0"):
        open_feed(f"serial:{tmp_path / 'file'}")
    with pytest.raises(ConfigError, match="cannot be opened: No such file"):
        open_feed(f"serial:{tmp_path / 'none'}")


@pytest.mark.parametrize("reads", [read_token, lambda path: agents_side.read_token(str(path))])
@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda path: path.write_bytes(b"short"), "holds 5 bytes; wanted 16 to 4096"),
        (lambda path: path.write_bytes(b"x" * 5000), "holds 4097 bytes"),
        (lambda path: (path.write_bytes(TOKEN), path.chmod(0o644)), "can be read by every user"),
        (lambda path: os.mkfifo(path, 0o600), "regular file"),
        (lambda path: path.mkdir(0o700), "regular file"),
        (lambda path: None, "No such file or directory"),
    ],
)
def test_a_token_that_is_none_is_named_by_both_sides(tmp_path: Path, reads, make, message) -> None:
    path = tmp_path / "token"
    make(path)
    if path.is_file() and "every user" not in message:
        path.chmod(stat.S_IRUSR)

    with pytest.raises((ConfigError, ValueError), match=message):
        reads(path)


def test_a_token_is_read_without_the_line_end_of_an_editor(tmp_path: Path) -> None:
    path = tmp_path / "token"
    path.write_bytes(TOKEN + b"\n")
    path.chmod(0o600)

    assert read_token(path) == agents_side.read_token(str(path)) == TOKEN


def test_a_token_is_for_tcp_alone(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="--token-file is for tcp:HOST:PORT; - needs no token"):
        open_feed("-", token_file=tmp_path / "token")
