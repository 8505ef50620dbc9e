import os
import socket
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from cis490_pipeline.domain import NS_PER_S, Source
from cis490_pipeline.errors import ConfigError
from cis490_pipeline.live.feeds.feed import PacedFeed
from cis490_pipeline.live.feeds.folder import ArchiveFeed, FolderFeed
from cis490_pipeline.live.feeds.open import open_feed
from cis490_pipeline.live.feeds.rows import LiveRow
from cis490_pipeline.live.feeds.sockets import MAX_CONNECTIONS, SocketFeed
from cis490_pipeline.live.feeds.stream import StreamFeed
from cis490_pipeline.store.rows.row import RowFault
from cis490_pipeline_tests.live.made_up import as_line, device_rows
from cis490_pipeline_tests.store.episodes import REF, T0_NS, MadeEpisode

S = NS_PER_S


def drained(feed, n_polls=50):
    """What arrives until nothing has for two looks."""
    arrivals, quiet = [], 0
    for _ in range(n_polls):
        found = feed.poll(0.05)
        arrivals += found
        quiet = 0 if found else quiet + 1
        if feed.ended or quiet == 2:
            break
    return arrivals


def arrivals_until(feed, row):
    """What arrives up to a row, which must come within some looks."""
    arrivals = []
    for _ in range(20):
        arrivals += feed.poll(5)
        if row in arrivals:
            return arrivals
    raise AssertionError(f"{row} did not arrive; there came {arrivals}")


def times(arrivals):
    return [a.t_wall_ns for a in arrivals if isinstance(a, LiveRow)]


@pytest.fixture
def follow():
    """Feeds of folders, closed at the end."""
    feeds = []

    def opened(folder):
        feeds.append(FolderFeed(folder))
        return feeds[-1]

    yield opened
    for feed in feeds:
        feed.close()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    MadeEpisode().write_folder(tmp_path)
    return tmp_path / "episodes" / REF.host_id / REF.episode_id


def test_a_complete_folder_gives_all_rows_in_order_of_time_and_ends(follow, folder):
    feed = follow(folder)

    rows = drained(feed)

    assert feed.ended
    assert len(rows) == 200 + 20 + 20 + 200
    assert times(rows) == sorted(times(rows))
    assert (feed.name, feed.start_ns()) == (REF.episode_id, T0_NS)


def test_an_archive_gives_what_its_folder_gives(follow, folder, tmp_path):
    MadeEpisode().write(tmp_path / "other")
    (archive,) = (tmp_path / "other").rglob("*.tar.zst")
    feed = ArchiveFeed(archive)

    assert drained(feed) == drained(follow(folder))
    assert (feed.ended, feed.name, feed.start_ns()) == (True, REF.episode_id, T0_NS)


def test_rows_of_a_growing_folder_arrive_whole_though_lines_are_cut_anywhere(follow, tmp_path):
    rows = list(device_rows(3, sources=(Source.GUEST, Source.NETFLOW)))
    content = {
        source: b"".join(as_line(row) for row in rows if row.source is source)
        for source in (Source.GUEST, Source.NETFLOW)
    }
    feed = follow(tmp_path)
    got = []

    assert feed.poll(0) == []
    for k in range(11):
        for source, text in content.items():
            step = len(text) // 10 + 1
            with (tmp_path / source.member).open("ab") as file:
                file.write(text[k * step : (k + 1) * step])
        got += drained(feed)
    assert not feed.ended
    (tmp_path / "done.marker").touch()
    drained(feed)

    assert feed.ended
    assert sorted(got, key=lambda row: (row.t_wall_ns, row.source)) == sorted(
        rows, key=lambda row: (row.t_wall_ns, row.source)
    )


def test_a_torn_last_line_is_a_fault_once_the_recording_is_complete(follow, folder):
    with (folder / Source.GUEST.member).open("ab") as file:
        file.write(b'{"t_wall_ns": 12')

    faults = [a for a in drained(follow(folder)) if isinstance(a, RowFault)]

    assert [(fault.member, fault.line) for fault in faults] == [("telemetry-guest.jsonl", 21)]


def test_a_malformed_line_is_named_and_the_rows_around_it_arrive(follow, folder):
    path = folder / Source.QMP.member
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join([*lines[:7], b"what?\n", *lines[7:]]))

    arrivals = drained(follow(folder))

    (fault,) = [a for a in arrivals if isinstance(a, RowFault)]
    assert str(fault).startswith("telemetry-qmp.jsonl line 8: not a JSON object")
    assert len(times(arrivals)) == 440


def test_a_file_that_is_replaced_is_read_from_its_start_and_told_of(follow, tmp_path):
    rows = list(device_rows(4, sources=(Source.GUEST,)))
    path = tmp_path / Source.GUEST.member
    path.write_bytes(b"".join(map(as_line, rows[:2])))
    feed = follow(tmp_path)
    first = drained(feed)
    other = tmp_path / "other"
    other.write_bytes(b"".join(map(as_line, rows[2:])))
    other.replace(path)

    second = drained(feed)

    assert first == rows[:2]
    assert [a for a in second if isinstance(a, LiveRow)] == rows[2:]
    assert "was replaced or cut short" in str(next(a for a in second if isinstance(a, RowFault)))


def test_a_stream_gives_its_rows_and_names_lines_that_are_none():
    rows = list(device_rows(2))
    reading, writing = os.pipe()
    feed = StreamFeed(reading, "stdin")
    text = b"".join(map(as_line, rows)) + b"garbage\n"

    os.write(writing, text[:1000])
    first = feed.poll(1)
    assert feed.poll(0) == []
    os.write(writing, text[1000:])
    os.close(writing)
    rest = drained(feed)
    os.close(reading)

    assert feed.ended
    *given, fault = first + rest
    assert given == rows
    assert str(fault).startswith(f"stdin line {len(rows) + 1}: not a JSON object")


def test_a_file_on_disk_is_a_stream_too(tmp_path):
    rows = list(device_rows(1))
    (tmp_path / "rows").write_bytes(b"".join(map(as_line, rows)))

    with (tmp_path / "rows").open("rb") as file:
        assert drained(StreamFeed(file.fileno(), "stdin")) == rows


@pytest.mark.parametrize("kind", ["tcp", "unix"])
def test_rows_of_several_connections_arrive(kind, tmp_path):
    address = "tcp:127.0.0.1:0" if kind == "tcp" else f"unix:{tmp_path / 'rows'}"
    feed = SocketFeed(address)
    rows = list(device_rows(2, sources=(Source.GUEST, Source.NETFLOW)))

    def send(source):
        _, _, rest = feed.name.partition(":")
        if kind == "tcp":
            connection = socket.create_connection(("127.0.0.1", int(rest.rpartition(":")[2])))
        else:
            connection = socket.socket(socket.AF_UNIX)
            connection.connect(rest)
        with connection:
            for row in rows:
                if row.source is source:
                    line = as_line(row)
                    connection.sendall(line[:20])
                    connection.sendall(line[20:])

    threads = [threading.Thread(target=send, args=(s,)) for s in (Source.GUEST, Source.NETFLOW)]
    for thread in threads:
        thread.start()
    got = []
    while len(got) < len(rows):
        got += feed.poll(5)
    for thread in threads:
        thread.join()
    feed.close()

    assert sorted(got, key=rows.index) == rows
    assert not feed.ended
    assert not (tmp_path / "rows").exists()


def connected(feed, n):
    port = int(feed.name.rpartition(":")[2])
    return [socket.create_connection(("127.0.0.1", port)) for _ in range(n)]


def test_idle_connections_lock_no_recorder_out():
    now = [0.0]
    feed = SocketFeed("tcp:127.0.0.1:0", clock=lambda: now[0])
    idle = connected(feed, MAX_CONNECTIONS)
    drained(feed)
    now[0] = 30.0
    row = next(device_rows(1))

    (recorder,) = connected(feed, 1)
    recorder.sendall(as_line(row))
    arrivals = arrivals_until(feed, row)

    told = [str(a) for a in arrivals if isinstance(a, RowFault)]
    assert told == [
        f"{feed.name} connection 1 line 0: closed after 30 s of silence: 16 others are open"
    ]
    for connection in [*idle, recorder]:
        connection.close()
    feed.close()


def test_a_connection_that_sent_rows_outlives_many_that_never_did():
    now = [0.0]
    feed = SocketFeed("tcp:127.0.0.1:0", clock=lambda: now[0])
    (recorder,) = connected(feed, 1)
    rows = list(device_rows(1))
    recorder.sendall(as_line(rows[0]))
    arrivals_until(feed, rows[0])
    now[0] = 100.0

    others = connected(feed, 3 * MAX_CONNECTIONS)
    drained(feed)
    recorder.sendall(as_line(rows[1]))
    arrivals = arrivals_until(feed, rows[1])

    assert arrivals[-1] == rows[1]
    for connection in [*others, recorder]:
        connection.close()
    feed.close()


@pytest.mark.parametrize("address", ["tcp:[::1]:0", "tcp:::1:0"])
def test_rows_arrive_over_ipv6(address):
    feed = SocketFeed(address)
    row = next(device_rows(1))
    port = int(feed.name.rpartition(":")[2])

    with socket.create_connection(("::1", port)) as connection:
        connection.sendall(as_line(row))
        arrivals = []
        while not arrivals:
            arrivals = feed.poll(5)

    assert arrivals == [row]
    assert feed.name == f"tcp:[::1]:{port}"
    feed.close()


def test_the_socket_of_a_monitor_that_came_after_is_not_removed(tmp_path):
    path = tmp_path / "rows"
    first = SocketFeed(f"unix:{path}")
    path.unlink()
    second = SocketFeed(f"unix:{path}")

    first.close()

    assert path.is_socket()
    second.close()
    assert not path.exists()


def test_what_is_no_stream_is_refused_before_it_is_read(tmp_path, monkeypatch):
    reading, writing = os.pipe()
    os.close(reading)
    os.close(writing)
    with pytest.raises(ConfigError, match="stdin cannot be read"):
        StreamFeed(reading, "stdin")
    folder = os.open(tmp_path, os.O_RDONLY)
    with pytest.raises(ConfigError, match="stdin is a folder"):
        StreamFeed(folder, "stdin")
    os.close(folder)
    monkeypatch.setattr("sys.stdin", None)
    with pytest.raises(ConfigError, match="standard input is closed"):
        open_feed("-")


def test_a_recordings_rows_are_there_and_a_devices_arrive_as_they_are_made(folder, tmp_path):
    MadeEpisode().write(tmp_path / "other")
    (archive,) = (tmp_path / "other").rglob("*.tar.zst")
    growing = tmp_path / "growing"
    growing.mkdir()
    reading, writing = os.pipe()

    paces = [
        open_feed(str(archive)).pace,
        open_feed(str(folder)).pace,
        open_feed(str(archive), 4.0).pace,
        open_feed(str(growing)).pace,
        StreamFeed(reading, "stdin").pace,
    ]

    assert paces == [0, 0, 4, 1, 1]
    os.close(reading)
    os.close(writing)


@pytest.mark.parametrize("address", ["tcp:0.0.0.0:5000", "tcp::5000", "tcp:192.0.2.1:5000"])
def test_rows_are_taken_on_loopback_only(address):
    with pytest.raises(ConfigError, match="on loopback only"):
        SocketFeed(address)


@pytest.mark.parametrize(
    "address",
    ["tcp:127.0.0.1", "unix:", "udp:127.0.0.1:5", "tcp:127.0.0.1:x", "tcp:127.0.0.1:70000"],
)
def test_what_is_no_address_is_named(address):
    with pytest.raises(ConfigError, match="wanted tcp:HOST:PORT or unix:PATH"):
        SocketFeed(address)


def test_a_port_that_is_taken_is_named():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]

        with pytest.raises(ConfigError, match=f"cannot listen on tcp:127.0.0.1:{port}"):
            SocketFeed(f"tcp:127.0.0.1:{port}")


def test_a_socket_left_by_a_killed_run_is_taken_over_and_a_live_one_is_not(tmp_path):
    path = tmp_path / "rows"
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(path))
    feed = SocketFeed(f"unix:{path}")

    with pytest.raises(ConfigError, match="cannot listen"):
        SocketFeed(f"unix:{path}")
    feed.close()


@pytest.mark.parametrize("speed", [1.0, 4.0])
def test_a_paced_recording_gives_each_row_when_its_time_has_come(follow, folder, speed):
    now = [100.0]
    slept = []

    def sleep(seconds):
        slept.append(seconds)
        now[0] += seconds

    feed = PacedFeed(follow(folder), speed, clock=lambda: now[0], sleep=sleep)
    arrived = []
    while not feed.ended:
        arrived += [(row, now[0] - 100.0) for row in feed.poll(0.2)]

    first = arrived[0][0].t_wall_ns
    assert len(arrived) == 440
    for row, elapsed_s in arrived:
        due_s = (row.t_wall_ns - first) / S / speed
        assert due_s - 1e-6 <= elapsed_s <= due_s + 0.2 + 1e-6
    assert max(slept) <= 0.2


def test_what_is_no_source_is_told_with_what_is_wanted(tmp_path):
    with pytest.raises(ConfigError, match="neither a folder of an episode nor an archive"):
        open_feed(str(tmp_path / "nothing"))
    with pytest.raises(ConfigError, match="--speed is for recordings"):
        open_feed("-", 2.0)


@pytest.mark.parametrize(
    ("make", "kind"), [(os.mkfifo, "a pipe"), (lambda path: path.symlink_to("/dev/zero"), "a link")]
)
def test_source_that_is_no_regular_file_is_named_once_and_holds_nothing_up(
    tmp_path: Path, make: Callable[[Path], None], kind: str
) -> None:
    make(tmp_path / Source.GUEST.member)
    make(tmp_path / "labels.jsonl")
    feed = FolderFeed(tmp_path)

    assert feed.start_ns() is None
    arrivals = feed.poll(0) + feed.poll(0)

    told = f"cannot be read: is {kind}, not a regular file"
    assert arrivals == [RowFault(Source.GUEST.member, 1, None, told)]
