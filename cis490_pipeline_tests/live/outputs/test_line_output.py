import errno
import os
import threading

import pytest

from cis490_pipeline.live.outputs import line_output
from cis490_pipeline.live.outputs.line_output import (
    MAX_WAITING_BYTES,
    LineOutput,
    OpenTarget,
    PathTarget,
)


def lines(n, size=100):
    return [f"{k:06d} {'x' * (size - 8)}\n".encode() for k in range(n)]


def gap(n, why):
    return f"gap of {n}: {why}\n".encode()


def to_file(path, **options):
    return LineOutput(str(path), PathTarget(path), gap=gap, **options)


class FullDisk:
    """Stands before os.write: takes so many bytes, then fails as a full disk does."""

    def __init__(self, monkeypatch, room):
        self.room = room
        self._write = os.write
        monkeypatch.setattr(line_output.os, "write", self)

    def __call__(self, fd, content):
        if self.room <= 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        taken = self._write(fd, content[: self.room])
        self.room -= taken
        return taken


@pytest.mark.parametrize("room", [0, 1, 99, 100, 250])
def test_a_disk_that_fills_within_a_line_holds_whole_lines_and_later_all_of_them(
    monkeypatch, tmp_path, room
):
    path = tmp_path / "out"
    disk = FullDisk(monkeypatch, room)
    output = to_file(path)
    wanted = lines(10)

    for line in wanted:
        output.write(line)
    full = path.read_bytes()
    trouble = output.report()
    disk.room = 10**9
    output.flush()

    assert full == b"".join(wanted[: room // 100])
    assert (trouble.trouble, trouble.n_waiting) == ("No space left on device", 10 - room // 100)
    assert path.read_bytes() == b"".join(wanted)
    assert (output.report().trouble, output.report().n_lost) == (None, 0)
    output.close()


def test_what_waits_is_bounded_and_what_was_lost_stands_in_the_file(monkeypatch, tmp_path):
    path = tmp_path / "out"
    disk = FullDisk(monkeypatch, 0)
    output = to_file(path)
    wanted = lines(30, size=MAX_WAITING_BYTES // 10)

    for line in wanted:
        output.write(line)
    lost = output.report().n_lost
    disk.room = 10**9
    output.write(b"last\n")

    assert lost == 20
    assert path.read_bytes().splitlines()[0] == b"gap of 20: No space left on device"
    assert path.read_bytes().splitlines(keepends=True)[1:] == [*wanted[20:], b"last\n"]
    assert "writes again, 20 lines lost" in str(output.report())
    output.close()


def test_a_line_that_a_killed_writer_tore_is_ended(tmp_path):
    path = tmp_path / "out"
    path.write_bytes(b'{"whole": 1}\n{"torn')

    output = to_file(path)
    output.write(b'{"next": 2}\n')
    output.close()

    assert path.read_bytes() == b'{"whole": 1}\n{"torn\n{"next": 2}\n'


def test_a_file_that_is_moved_away_is_made_again(tmp_path):
    path = tmp_path / "out"
    output = to_file(path)
    output.write(b"1\n")

    path.rename(tmp_path / "out.1")
    output.write(b"2\n")
    output.close()

    assert (path.read_bytes(), (tmp_path / "out.1").read_bytes()) == (b"2\n", b"1\n")


def test_a_pipe_without_a_reader_stops_nothing_and_a_later_reader_gets_whole_lines(tmp_path):
    path = tmp_path / "pipe"
    os.mkfifo(path)
    output = to_file(path)

    output.write(b"1\n")
    before = output.report()
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    output.write(b"2\n")

    assert (before.trouble, before.n_waiting) == ("nothing reads it", 1)
    assert os.read(reader, 100) == b"1\n2\n"
    os.close(reader)
    output.write(b"3\n")
    assert output.report().n_waiting == 1
    output.close()


def test_a_pipe_whose_reader_stands_still_never_blocks_and_tears_no_line(tmp_path):
    path = tmp_path / "pipe"
    os.mkfifo(path)
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    output = to_file(path)
    wanted = lines(40, size=MAX_WAITING_BYTES // 20)

    for line in wanted:
        output.write(line)
    lost = output.report().n_lost
    got = b""
    while output.report().n_waiting or not got.endswith(wanted[-1]):
        with_room = os.read(reader, 1 << 16)
        got += with_room
        output.flush()

    assert lost > 10
    parts = got.splitlines(keepends=True)
    begun = parts.index(next(part for part in parts if part.startswith(b"gap of")))
    # What the reader has the beginning of is finished first.
    assert parts[:begun] == wanted[:begun]
    assert parts[begun] == f"gap of {lost}: nothing reads it\n".encode()
    assert parts[begun + 1 :] == wanted[begun + lost :]
    os.close(reader)
    output.close()


def test_a_recording_waits_for_a_slow_reader_and_loses_nothing(tmp_path):
    reading, writing = os.pipe()
    output = LineOutput("standard output", OpenTarget(writing), wait_s=60)
    wanted = lines(60, size=MAX_WAITING_BYTES // 20)
    got = bytearray()

    def read():
        while piece := os.read(reading, 1 << 16):
            got.extend(piece)

    thread = threading.Thread(target=read)
    thread.start()
    for line in wanted:
        output.write(line)
    output.close()
    os.close(writing)
    thread.join()
    os.close(reading)

    assert bytes(got) == b"".join(wanted)
    assert output.report().n_lost == 0


def test_a_reader_of_standard_output_that_is_gone_is_known():
    reading, writing = os.pipe()
    target = OpenTarget(writing)
    output = LineOutput("standard output", target)
    os.close(reading)

    output.write(b"1\n")

    assert target.gone
    assert output.report().trouble == "nothing reads it"
    output.close()
    assert output.report().n_lost == 1
    os.close(writing)


def test_an_output_that_cannot_be_opened_is_an_error_at_once(tmp_path):
    with pytest.raises(IsADirectoryError):
        PathTarget(tmp_path)
