import asyncio
import errno
import itertools
import json
import os
import subprocess
import sys
import threading

import pytest

from cis490_pipeline.dashboard.server.app import open_hub
from cis490_pipeline.dashboard.state import journal as journal_module
from cis490_pipeline.dashboard.state import state_file
from cis490_pipeline.dashboard.state.current import State
from cis490_pipeline.dashboard.state.hub import Hub
from cis490_pipeline.dashboard.state.journal import Journal
from cis490_pipeline.errors import ConfigError, StateNotKeptError
from cis490_pipeline.events import contract as c
from cis490_pipeline_tests.dashboard import scene


@pytest.fixture
def path(tmp_path):
    return tmp_path / "made" / "state.jsonl"


def metric(model, accuracy=0.5):
    return c.ModelMetric(model=model, accuracy=accuracy)


def shown(state):
    return [json.loads(event) for event in state.snapshot()]


def crash(journal):
    """Leave the file as a killed process does: open, not rewritten."""
    os.close(journal._file)
    journal._lock.release()


def reopened(path):
    state = State()
    journal = Journal(path, state)
    crash(journal)
    return state, journal


@pytest.mark.parametrize("end", [Journal.close, crash], ids=["stopped", "killed"])
def test_a_restart_shows_the_same_picture(path, end):
    hub, journal = open_hub(path)
    hub.publish(scene.whole())
    hub.flush()
    before = shown(hub.state)
    counted = {name: feed.received for name, feed in hub.state.feeds.items()}

    end(journal)

    state, _ = reopened(path)
    assert shown(state) == before
    assert {name: feed.received for name, feed in state.feeds.items()} == counted


def test_a_clean_stop_keeps_counts_of_what_was_replaced(path):
    hub, journal = open_hub(path)
    hub.publish([metric("a"), metric("a"), metric("a")], now=lambda: 1234)
    hub.flush()
    journal.close()

    feed = reopened(path)[0].feeds["model_metric"]

    assert (feed.received, feed.last_ms) == (3, 1234)


def test_a_torn_last_line_is_left_out_and_what_follows_is_kept(path):
    hub, journal = open_hub(path)
    hub.publish([metric("a"), metric("b")])
    hub.flush()
    crash(journal)
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size - 7)

    hub, journal = open_hub(path)
    assert journal.n_skipped == 1
    hub.publish([metric("c")])
    hub.flush()
    crash(journal)

    assert [json.loads(e)["model"] for e in reopened(path)[0].snapshot()] == ["a", "c"]


def test_a_line_of_another_version_is_counted_and_the_others_kept(path):
    crash(open_hub(path)[1])
    with path.open("ab") as file:
        file.write(b'{"type":"sunshine"}\nnot json\n{"type":"phase","phase":"clean"}\n')

    state, journal = reopened(path)

    assert journal.n_skipped == 2
    assert state.snapshot() == [b'{"type":"phase","phase":"clean"}']


@pytest.mark.parametrize("content", [b"PK\x03\x04\n", b'{"dashboard_state":99}\n', b"[1]\n"])
def test_a_file_of_something_else_is_refused_and_left_alone(path, content):
    path.parent.mkdir()
    path.write_bytes(content)

    with pytest.raises(ConfigError, match="not that of a dashboard's state"):
        Journal(path, State())
    assert path.read_bytes() == content


def test_two_dashboards_do_not_share_a_file(path):
    journal = Journal(path, State())
    code = (
        "import sys; from pathlib import Path\n"
        "from cis490_pipeline.dashboard.server.app import open_hub\n"
        "try: open_hub(Path(sys.argv[1]))\nexcept Exception as e: print(type(e).__name__, e)"
    )

    done = subprocess.run(
        [sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=True
    )

    assert "ConfigError" in done.stdout
    assert "another dashboard keeps its state there" in done.stdout
    journal.close()


async def kept_by(hub, work):
    """Do some work while the state is kept on disk as a running dashboard does."""
    stop = asyncio.Event()
    keeping = asyncio.create_task(hub.keep(stop))
    await work()
    stop.set()
    await keeping


def test_the_file_does_not_grow_beyond_what_is_true(path, monkeypatch):
    monkeypatch.setattr(journal_module, "COMPACT_FROM_BYTES", 20_000)
    monkeypatch.setattr(journal_module, "SYNC_S", 0.001)
    hub, journal = open_hub(path)
    sizes = []

    async def work():
        for i in range(3_000):
            hub.publish([metric("a", i / 3_000)])
            sizes.append(path.stat().st_size)
            while sizes[-1] > 30_000 and path.stat().st_size > 20_000:
                await asyncio.sleep(0.001)

    asyncio.run(kept_by(hub, work))

    assert max(sizes) < 31_000
    assert sum(earlier > later for earlier, later in itertools.pairwise(sizes)) > 3
    crash(journal)
    assert shown(reopened(path)[0])[0]["accuracy"] == 2999 / 3000


def test_what_comes_while_the_file_is_written_anew_is_in_it(path, monkeypatch):
    hub, journal = open_hub(path)
    hub.publish([metric("before")])
    written, go_on = threading.Event(), threading.Event()
    write_beside = state_file.write_beside

    def slowly(path, lines):
        made = write_beside(path, lines)
        written.set()
        assert go_on.wait(20)
        return made

    monkeypatch.setattr(state_file, "write_beside", slowly)

    async def test():
        rewriting = asyncio.create_task(journal._rewrite())
        await asyncio.to_thread(written.wait, 20)
        hub.publish([metric("meanwhile")])
        go_on.set()
        await rewriting
        hub.publish([metric("after")])

    asyncio.run(test())
    crash(journal)

    assert [e["model"] for e in shown(reopened(path)[0])] == ["before", "meanwhile", "after"]


def test_what_is_published_is_on_the_disk_within_a_second(path, monkeypatch):
    hub, journal = open_hub(path)
    synced = []
    monkeypatch.setattr(state_file.os, "fsync", lambda fd: synced.append(os.fstat(fd).st_size))

    async def work():
        hub.publish([metric("a")])
        async with asyncio.timeout(20):
            while not synced:
                await asyncio.sleep(0.01)

    asyncio.run(kept_by(hub, work))

    assert synced == [path.stat().st_size]
    assert journal_module.SYNC_S < 1
    crash(journal)


def full_disk(monkeypatch, room):
    """From now on only so many bytes can be written, and the last write is cut short."""
    left = [room]
    write = os.write

    def limited(descriptor, content):
        if not left[0]:
            raise OSError(errno.ENOSPC, "No space left on device")
        done = write(descriptor, content[: left[0]])
        left[0] -= done
        return done

    monkeypatch.setattr(state_file.os, "write", limited)


def test_on_a_full_disk_publishing_is_refused_whole_and_goes_on_when_there_is_room(
    path, monkeypatch
):
    hub, journal = open_hub(path)
    hub.publish([metric("a")])
    with monkeypatch.context() as patch:
        full_disk(patch, room=30)
        for _ in range(2):
            with pytest.raises(StateNotKeptError, match="No space left on device") as raised:
                hub.publish([metric("b"), metric("c")])
            assert raised.value.no_room
    assert hub.status()["fault"] == (
        "state is not kept, publishing is refused: No space left on device"
    )
    assert [e["model"] for e in shown(hub.state)] == ["a"]

    hub.publish([metric("d")])

    assert hub.status()["fault"] is None
    crash(journal)
    state, journal = reopened(path)
    assert [e["model"] for e in shown(state)] == ["a", "d"]
    assert journal.n_skipped == 0


def test_the_fault_of_a_full_disk_ends_with_it_even_if_nobody_publishes(path, monkeypatch):
    monkeypatch.setattr(journal_module, "SYNC_S", 0.01)
    hub, journal = open_hub(path)
    hub.publish([metric("a")])
    size = path.stat().st_size
    with monkeypatch.context() as patch:
        full_disk(patch, room=0)
        with pytest.raises(StateNotKeptError, match="make room"):
            hub.publish([metric("b")])

    async def until_mended():
        while journal.fault:
            await asyncio.sleep(0.01)

    asyncio.run(kept_by(hub, until_mended))

    assert path.stat().st_size == size
    crash(journal)


def test_a_full_disk_does_not_keep_a_dashboard_from_starting(path, monkeypatch):
    hub, journal = open_hub(path)
    hub.publish([metric("a")])
    crash(journal)
    full_disk(monkeypatch, room=0)

    assert [e["model"] for e in shown(reopened(path)[0])] == ["a"]


def test_a_file_that_cannot_be_written_anew_stays_and_is_said(path, monkeypatch):
    hub, journal = open_hub(path)
    hub.publish([metric("a")])

    with monkeypatch.context() as patch:
        full_disk(patch, room=20)
        asyncio.run(journal._rewrite())
        assert "cannot be rewritten: No space left" in journal.fault
        with pytest.raises(StateNotKeptError, match="cannot be rewritten"):
            journal.close()

    assert [e["model"] for e in shown(reopened(path)[0])] == ["a"]
    assert sorted(p.name for p in path.parent.iterdir()) == [".state.jsonl.lock", "state.jsonl"]


def test_the_state_is_written_anew_after_the_disk_lost_a_write(path, monkeypatch):
    monkeypatch.setattr(journal_module, "SYNC_S", 0.01)
    hub, journal = open_hub(path)
    fsync, faults = os.fsync, []

    def fails_once(descriptor):
        if not faults:
            faults.append(errno.EIO)
            raise OSError(errno.EIO, "Input/output error")
        fsync(descriptor)

    monkeypatch.setattr(state_file.os, "fsync", fails_once)
    inode = path.stat().st_ino

    async def until_mended():
        hub.publish([metric("a")])
        while path.stat().st_ino == inode:
            await asyncio.sleep(0.01)

    asyncio.run(kept_by(hub, until_mended))

    assert faults == [errno.EIO]
    assert journal.fault is None
    crash(journal)
    assert [e["model"] for e in shown(reopened(path)[0])] == ["a"]


def test_no_link_is_followed_and_no_name_foreseen_when_the_file_is_written_anew(path):
    hub, journal = open_hub(path)
    hub.publish([metric("a")])
    other = path.parent / "other"
    other.write_text("mine")
    path.with_name(".state.jsonl.tmp").symlink_to(other)

    journal.close()

    assert other.read_text() == "mine"
    assert path.is_file()
    assert not path.is_symlink()


@pytest.mark.parametrize("kind", ["link", "fifo", "folder", "device"])
def test_only_a_regular_file_is_opened(tmp_path, kind):
    path = tmp_path / "state.jsonl"
    if kind == "link":
        (tmp_path / "other").write_bytes(b"mine")
        path.symlink_to(tmp_path / "other")
    elif kind == "device":
        path.symlink_to("/dev/zero")
    elif kind == "fifo":
        os.mkfifo(path)
    else:
        path.mkdir()

    with pytest.raises(ConfigError, match="name another file with --state"):
        Journal(path, State())
    if kind == "link":
        assert (tmp_path / "other").read_bytes() == b"mine"


def test_a_file_beyond_all_bounds_is_not_read(path):
    path.parent.mkdir()
    with path.open("wb") as file:
        file.truncate(state_file.MAX_BYTES + 1)

    with pytest.raises(ConfigError, match="has 268,435,457 bytes"):
        Journal(path, State())


def test_a_file_does_not_grow_beyond_all_bounds(path, monkeypatch):
    hub, journal = open_hub(path)
    hub.publish([metric("a")])
    monkeypatch.setattr(state_file, "MAX_BYTES", path.stat().st_size + 10)

    with pytest.raises(StateNotKeptError, match="it would have over"):
        hub.publish([metric("b")])
    crash(journal)


@pytest.mark.parametrize("n_kept", [10**15, 2**70, 1])
def test_lines_are_counted_by_the_file_and_not_by_what_its_first_line_says(path, n_kept):
    path.parent.mkdir()
    feed = {"phase": {"received": 7, "last_ms": None, "left_out": 0}}
    head = {"dashboard_state": 1, "n_kept": n_kept, "feeds": feed}
    path.write_text(json.dumps(head) + '\n{"type":"phase","phase":"clean"}\n')

    state, _ = reopened(path)

    assert len(state.snapshot()) == 1
    assert state.feeds["phase"].received == 7


@pytest.mark.parametrize(
    "change", [{"n_kept": -1}, {"feeds": {"phase": {"received": -5}}}, {"n_kept": "1"}]
)
def test_counts_out_of_range_are_refused(path, change):
    path.parent.mkdir()
    path.write_text(json.dumps({"dashboard_state": 1, **change}) + "\n")

    with pytest.raises(ConfigError, match="its first line"):
        Journal(path, State())


@pytest.mark.parametrize("torn", [b'{"dash', b'{"dashboard_state":1,"n_ke', b"\0\0\0\0"])
def test_a_file_torn_within_its_first_line_is_begun_anew(path, torn):
    path.parent.mkdir()
    path.write_bytes(torn)

    hub, journal = open_hub(path)
    hub.publish([metric("a")])
    crash(journal)

    assert [e["model"] for e in shown(reopened(path)[0])] == ["a"]


def test_a_fresh_start_forgets_nothing_before_it_is_told_to(path):
    hub, journal = open_hub(path)
    hub.publish([metric("a")])
    journal.close()
    before = path.read_bytes()

    hub, journal = open_hub(path, fresh=True)
    assert hub.state.snapshot() == []
    assert path.read_bytes() == before
    journal.close()
    assert path.read_bytes() == before

    hub, journal = open_hub(path, fresh=True)
    hub.publish([metric("b")])
    journal.reset()
    crash(journal)
    assert [e["model"] for e in shown(reopened(path)[0])] == ["b"]


def test_a_fresh_start_replaces_no_file_of_something_else(path):
    path.parent.mkdir()
    path.write_bytes(b"my thesis\n")

    with pytest.raises(ConfigError, match="not that of a dashboard's state"):
        Journal(path, State(), fresh=True)
    assert path.read_bytes() == b"my thesis\n"


def test_without_a_file_nothing_is_kept():
    hub, journal = open_hub(None)

    assert isinstance(hub, Hub)
    assert journal is None
