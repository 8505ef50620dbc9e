import json
import subprocess
import sys

import pytest

from cis490_pipeline.dashboard import journal as journal_module
from cis490_pipeline.dashboard.hub import Hub
from cis490_pipeline.dashboard.journal import Journal
from cis490_pipeline.dashboard.server import open_hub
from cis490_pipeline.dashboard.state import State
from cis490_pipeline.errors import ConfigError
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
    """Leave the file as a killed process does: open, not written anew."""
    journal._file.close()
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
        "from cis490_pipeline.dashboard.server import open_hub\n"
        "try: open_hub(Path(sys.argv[1]))\nexcept Exception as e: print(type(e).__name__, e)"
    )

    done = subprocess.run(
        [sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=True
    )

    assert "ConfigError" in done.stdout
    assert "another dashboard keeps its state there" in done.stdout
    journal.close()


def test_the_file_does_not_grow_beyond_what_is_true(path, monkeypatch):
    monkeypatch.setattr(journal_module, "COMPACT_FROM_BYTES", 20_000)
    hub, journal = open_hub(path)

    largest = 0
    for i in range(3_000):
        hub.publish([metric("a", i / 3_000)])
        hub.flush()
        largest = max(largest, path.stat().st_size)

    assert largest < 25_000
    assert json.loads(hub.state.snapshot()[0])["accuracy"] == 2999 / 3000
    journal.close()


def test_a_full_disk_ends_the_file_and_not_the_picture(path, monkeypatch):
    hub, journal = open_hub(path)

    def full(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(journal, "append", full)
    hub.publish([metric("a")])
    hub.flush()
    hub.publish([metric("b")])
    hub.flush()

    assert hub.status()["fault"] == "state is no longer kept: No space left on device"
    assert len(hub.state.snapshot()) == 2
    crash(journal)


def test_without_a_file_nothing_is_kept():
    hub, journal = open_hub(None)

    assert isinstance(hub, Hub)
    assert journal is None
