"""Outputs connect again by themselves, greet, and never block."""

import os
import pty
import select
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from cis490_pipeline.collect.outputs import sinks
from cis490_pipeline.collect.outputs.outbox import Outbox
from cis490_pipeline.collect.outputs.sinks import (
    Output,
    SerialPort,
    SocketOutput,
    StandardOutput,
)

S = 1_000_000_000
TOKEN = b"0123456789abcdef"


def filled(*lines: bytes) -> Outbox:
    outbox = Outbox()
    for line in lines:
        outbox.put(line, time.monotonic_ns())
    return outbox


def drive(output: Output, outbox: Outbox, done: Callable[[], bool], limit_s: float = 10) -> None:
    """Serve an output as the agent does, until a condition holds."""
    end = time.monotonic() + limit_s
    while not done():
        assert time.monotonic() < end, (output.problem, len(outbox))
        now = time.monotonic_ns()
        output.tend(now)
        reading, writing = output.to_read(), output.to_write(len(outbox) > 0)
        ready, roomy, _ = select.select(
            [] if reading is None else [reading], [] if writing is None else [writing], [], 0.02
        )
        if ready:
            output.read(time.monotonic_ns())
        if roomy:
            output.send(outbox, time.monotonic_ns())


def all_of(connection: socket.socket, n_bytes: int) -> bytes:
    connection.settimeout(5)
    got = b""
    while len(got) < n_bytes:
        piece = connection.recv(1 << 16)
        if not piece:
            break
        got += piece
    return got


def test_attempts_come_sooner_at_first_and_ten_seconds_apart_at_last(tmp_path: Path) -> None:
    output = SocketOutput("unix:x", str(tmp_path / "none"))
    now, waits = 0, []
    for _ in range(9):
        output.tend(now)
        assert output.problem == "No such file or directory"
        waits.append((output.due_ns - now) / S)
        now = output.due_ns

    assert waits == [0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 10, 10, 10]


def test_rows_reach_a_unix_socket_and_go_on_after_the_receiver_came_back(tmp_path: Path) -> None:
    path = str(tmp_path / "rows")
    output, outbox = SocketOutput(f"unix:{path}", path), filled(b"first\n")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(path)
        server.listen()
        drive(output, outbox, lambda: not len(outbox))
        with server.accept()[0] as connection:
            assert connection.recv(100) == b"first\n"
    Path(path).unlink()
    drive(output, outbox, lambda: output.problem is not None)
    assert not output.is_open

    outbox.put(b"second\n", time.monotonic_ns())
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(path)
        server.listen()
        drive(output, outbox, lambda: not len(outbox))
        with server.accept()[0] as connection:
            assert connection.recv(100) == b"second\n"
    assert output.n_opened == 2
    output.close()


def test_a_receiver_that_reads_nothing_blocks_nothing_and_lines_stay_whole(tmp_path: Path) -> None:
    line, path = b"x" * 998 + b"\n", str(tmp_path / "rows")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(path)
        server.listen()
        output, outbox = SocketOutput(f"unix:{path}", path), filled(*[line] * 500)
        drive(output, outbox, lambda: output.is_open)
        with server.accept()[0] as connection:
            while select.select([], [output.to_write(True)], [], 0.1)[1]:
                began = time.monotonic()
                output.send(outbox, time.monotonic_ns())
                assert time.monotonic() - began < 1
                outbox.put(line, time.monotonic_ns())
            n_left = len(outbox)
            output.close()
            got = all_of(connection, 1 << 30)

    assert n_left > 0
    whole, rest = got.rsplit(b"\n", 1)
    assert set(whole.split(b"\n")) == {line[:-1]}
    assert len(rest) < len(line)


def greeted(
    reply: Callable[[bytes], bytes], token: bytes | None = TOKEN
) -> tuple[SocketOutput, bytes]:
    """Let an output meet a receiver that sends a challenge, then a reply; return what it sent."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        output = SocketOutput("tcp", server.getsockname(), token=token)
        drive(output, Outbox(), lambda: output.to_read() is not None)
        connection, _ = server.accept()
        connection.sendall(b"CIS490 1 " + b"ab" * 32 + b"\n")
        outbox = filled(b"row\n")
        answer = b""
        if token is not None:
            thread = threading.Thread(
                target=drive, args=(output, outbox, lambda: output.is_open or output.problem)
            )
            thread.start()
            connection.settimeout(5)
            answer = connection.recv(1000)
            connection.sendall(reply(answer))
            thread.join()
        else:
            drive(output, outbox, lambda: output.problem is not None)
        connection.close()
    output.close()
    return output, answer


@pytest.mark.parametrize(
    ("reply", "problem"),
    [
        (b"NO the token is another\n", "was refused: the token is another"),
        (b"OK " + b"0" * 64 + b"\n", "the receiver does not hold the token: nothing was sent"),
        (b"OK\n", "the receiver does not hold the token"),
        (b"\xff\x00\n", "the receiver does not hold the token"),
    ],
)
def test_no_row_is_sent_to_a_receiver_that_refuses_or_does_not_hold_the_token(
    reply: bytes, problem: str
) -> None:
    output, answer = greeted(lambda _: reply)

    assert output.problem is not None
    assert output.problem.startswith(problem)
    assert answer.count(b"\n") == 1
    assert b"row" not in answer
    assert TOKEN not in answer


def test_an_agent_without_the_token_that_is_wanted_says_so() -> None:
    output, _ = greeted(lambda _: b"", token=None)

    assert output.problem == "the receiver wants a token: give it with --token-file"


def test_a_receiver_without_a_challenge_is_given_up_after_ten_seconds() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        output = SocketOutput("tcp", server.getsockname(), token=TOKEN)
        drive(output, Outbox(), lambda: output.to_read() is not None)
        output.tend(time.monotonic_ns() + 11 * S)

    assert output.problem == "got no challenge: it has no token in 10 s"


def test_the_ends_of_a_connection_are_known_before_its_first_row() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        ends: list[object] = []
        output = SocketOutput("tcp", server.getsockname())
        output.on_connect = lambda *pair: ends.append(pair)
        output.tend(time.monotonic_ns())
        connection, client = server.accept()
        connection.close()
        output.close()

        assert ends == [(client, server.getsockname())]


def test_a_reader_of_standard_output_that_is_gone_ends_it_for_good() -> None:
    reading, writing = os.pipe()
    output = StandardOutput(writing)
    drive(output, filled(b"row\n"), lambda: output.is_open)
    os.close(reading)

    drive(output, filled(b"row\n"), lambda: output.gone)
    os.close(writing)


def test_a_full_disk_is_named_and_tried_again() -> None:
    full = os.open("/dev/full", os.O_WRONLY)
    output, outbox = StandardOutput(full), filled(b"row\n")
    drive(output, outbox, lambda: output.problem is not None)
    named, first_due_ns = output.problem, output.due_ns
    drive(output, outbox, lambda: output.problem is not None and output.due_ns > first_due_ns)
    os.close(full)

    assert named == "No space left on device"
    assert (output.gone, len(outbox)) == (False, 1)
    # The stream is the same: a status in the middle of a line that was cut would spoil both.
    assert output.n_opened == 1


def test_rows_reach_a_serial_port_unchanged() -> None:
    host, device = pty.openpty()
    output = SerialPort("serial", os.ttyname(device))
    outbox = filled(b'{"a":1}\n' * 100)

    drive(output, outbox, lambda: not len(outbox))
    got = b""
    while len(got) < 800:
        got += os.read(host, 4096)

    assert got == b'{"a":1}\n' * 100
    output.close()
    os.close(host)
    os.close(device)


def test_what_is_no_serial_port_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    output = SerialPort("serial", str(tmp_path / "file"))

    output.tend(0)

    assert output.problem == "is no character device"
    assert sinks.refusal(b"hello \x1b[2J") == "was refused: hello ?[2J"
