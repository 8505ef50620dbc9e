import os
import sys
import time

import pytest

from cis490_pipeline.live.feeds.rows import LiveRow
from cis490_pipeline.live.watch.agent_feed import AgentFeed
from cis490_pipeline.store.rows.row import RowFault
from cis490_pipeline_tests.live.made_up import as_line, device_rows


def make_child(tmp_path, code, **kwargs):
    script = tmp_path / "child.py"
    script.write_text(code)
    return AgentFeed([sys.executable, str(script)], "pi", **kwargs)


def polled(feed, wanted, deadline_s=20.0):
    """Arrivals until there are enough."""
    arrivals, until = [], time.monotonic() + deadline_s
    while len(arrivals) < wanted and time.monotonic() < until:
        arrivals += feed.poll(0.2)
    return arrivals


@pytest.fixture
def rows_file(tmp_path):
    path = tmp_path / "rows"
    path.write_bytes(b"".join(map(as_line, device_rows(1))))
    return path


def test_rows_of_a_child_arrive_and_its_end_is_a_fault_that_says_when_it_starts_again(
    tmp_path, rows_file
):
    feed = make_child(tmp_path, f"print(open({str(rows_file)!r}).read(), end='')\nexit(3)")
    n_rows = len(rows_file.read_text().splitlines())

    arrivals = polled(feed, n_rows + 1)
    feed.close()

    assert [type(arrival) for arrival in arrivals] == [LiveRow] * n_rows + [RowFault]
    assert "ended with exit code 3; it is started again in 1 s" in arrivals[-1].problem
    assert not feed.ended


def test_a_child_that_keeps_ending_is_started_with_growing_waits(tmp_path):
    now = [0.0]
    feed = make_child(tmp_path, "exit(1)", clock=lambda: now[0])
    waits = []

    for _ in range(8):
        fault = polled(feed, 1)[0]
        waits.append(fault.problem.rsplit(" in ", 1)[1])
        now[0] += 1000
    feed.close()

    assert waits == ["1 s", *[f"{w} s" for w in (2, 4, 8, 16, 32, 60, 60)]]


def test_after_a_steady_minute_the_wait_is_short_again(tmp_path):
    now = [0.0]
    feed = make_child(tmp_path, "exit(1)", clock=lambda: now[0])
    assert "in 1 s" in polled(feed, 1)[0].problem
    now[0] = 10.0
    assert "in 2 s" in polled(feed, 1)[0].problem
    now[0] = 20.0
    feed.poll(0)  # starts it
    now[0] = 200.0

    assert "in 1 s" in polled(feed, 1)[0].problem
    feed.close()


def test_a_killed_child_is_named_by_its_signal(tmp_path):
    feed = make_child(tmp_path, "import os, signal; os.kill(os.getpid(), signal.SIGKILL)")

    assert "was ended by signal 9" in polled(feed, 1)[0].problem
    feed.close()


def test_a_program_that_is_not_there_is_a_fault_and_tried_again():
    feed = AgentFeed(["/no/such/agent"], "pi")

    fault = feed.poll(0)[0]

    assert "cannot be started" in fault.problem
    assert feed.pid is None
    feed.close()


def test_close_ends_a_child_that_ignores_sigterm(tmp_path):
    feed = make_child(
        tmp_path,
        "import signal, time\n"
        "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "print('{}', flush=True)\ntime.sleep(1000)",
    )
    polled(feed, 1)
    pid = feed.pid

    feed.close()

    assert pid is not None
    assert feed.pid is None
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
