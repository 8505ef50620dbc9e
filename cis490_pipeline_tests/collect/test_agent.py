"""What an agent sends, and when: in made-up time, and in a real process."""

import itertools
import json
from collections.abc import Callable

import pytest

from cis490_pipeline.collect import agent as agent_module
from cis490_pipeline.collect.agent import Agent
from cis490_pipeline.collect.contract import BUCKET_NS
from cis490_pipeline_tests.collect.helpers.made_up import (
    WALL_NS,
    MadeUpCapture,
    MadeUpGuest,
    MadeUpOutput,
    MadeUpTime,
    S,
)


class Made:
    """An agent with everything that it touches."""

    def __init__(self, capture: MadeUpCapture | None, lost: tuple[str, ...] = ()) -> None:
        self.time, self.output, self.said = MadeUpTime(), MadeUpOutput(), []
        self.capture = capture
        self.agent = Agent(
            MadeUpGuest(self.time, lost=lost),
            self.output,
            device="garage-pi",
            version="9",
            capture=capture,
            netflow="" if capture else "no CAP_NET_RAW",
            say=self.said.append,
            anchor=self.time.anchor(),
            clock_ns=self.time.monotonic_ns,
        )

    def turns_until(self, time_ns: int) -> None:
        """Let it run."""
        while self.time.now_ns < time_ns:
            self.agent.turn(self.time.now_ns)

    def rows(self, source: str) -> list[dict]:
        """Rows of one source that were sent."""
        rows = [json.loads(line) for line in self.output.content.splitlines()]
        return [row for row in rows if row["source"] == source]


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Made]:
    def make(capture: MadeUpCapture | None = None, **kwargs: tuple[str, ...]) -> Made:
        found = Made(capture, **kwargs)
        monkeypatch.setattr(agent_module.select, "select", found.time.select)
        return found

    return make


def test_guest_rows_come_once_a_second_and_are_stamped_after_the_reading(made) -> None:
    it = made()
    begin = it.time.now_ns

    assert it.agent.run(60)

    times = [row["t_mono_ns"] for row in it.rows("guest_agent")]
    assert len(times) == 60
    for second, t_ns in enumerate(times):
        # 70 us late, 2 ms for the reading: neither adds up.
        assert 2_000_000 <= t_ns - begin - second * S < 2_200_000
    assert all(row["t_wall_ns"] == WALL_NS + row["t_mono_ns"] for row in it.rows("guest_agent"))


def test_every_bucket_has_a_row_and_the_first_and_last_partial_ones_have_none(made) -> None:
    it = made(MadeUpCapture())
    begin = it.time.now_ns

    it.agent.run(30)

    ends = [row["t_mono_ns"] for row in it.rows("bridge_pcap")]
    first = (begin // BUCKET_NS + 2) * BUCKET_NS
    assert ends == list(range(first, ends[-1] + 1, BUCKET_NS))
    assert 29 * S <= ends[-1] - begin <= 30 * S
    assert [(WALL_NS + end, end) for end in ends] == it.capture.ends
    assert it.capture.is_closed


def test_a_quiet_network_costs_one_wake_up_a_second(made) -> None:
    it = made(MadeUpCapture())

    it.agent.run(30)

    assert it.capture.n_looks == 30


def test_a_process_that_was_stopped_skips_what_it_missed_and_counts_it(made) -> None:
    it = made(MadeUpCapture())
    begin = it.time.now_ns
    it.time.stops = [(begin + 10 * S, 3600 * S)]

    it.agent.run(3630)

    guest = [(row["t_mono_ns"] - begin) / S for row in it.rows("guest_agent")]
    late = [t for t in guest if t > 3600]
    assert len(guest) == len(late) + 10
    status = it.rows("agent_status")[-1]
    assert 3598 <= status["ticks_missed"] <= 3600
    assert 35_900 <= status["buckets_skipped"] <= 36_010
    buckets = [row["t_mono_ns"] for row in it.rows("bridge_pcap")]
    assert buckets == sorted(set(buckets))
    assert status["rows_dropped"] == 0


def test_a_clock_that_is_set_is_followed_at_once_and_named(made) -> None:
    it = made(MadeUpCapture())
    it.turns_until(15 * S)
    it.time.wall_ns += 3600 * S
    it.turns_until(27 * S)

    guest = it.rows("guest_agent")
    offsets = [row["t_wall_ns"] - row["t_mono_ns"] - WALL_NS for row in guest]
    assert set(offsets) == {0, 3600 * S}
    assert offsets == sorted(offsets)
    assert it.said == ["the clock stepped by +3600.000 s: times follow it"]
    status = it.rows("agent_status")[-1]
    assert (status["clock_steps"], status["clock_step_ns"]) == (1, 3600 * S)


def test_the_first_line_of_each_connection_says_which_device_speaks(made) -> None:
    it = made()
    it.turns_until(8 * S)
    it.output.is_up = False
    it.turns_until(12 * S)
    before = len(it.output.content)
    it.output.is_up = True
    it.turns_until(20 * S)

    for place in (0, before):
        first = json.loads(it.output.content[place:].splitlines()[0])
        assert (first["source"], first["device"]) == ("agent_status", "garage-pi")
    assert [text.split(":")[1].split(";")[0] for text in it.said] == [
        " is down",
        " rows go out, 0 were dropped so far",
    ]
    times = [row["t_mono_ns"] for row in it.rows("guest_agent")]
    assert max(b - a for a, b in itertools.pairwise(times)) < 1.1 * S


def test_an_output_that_is_away_for_a_minute_costs_all_but_the_last_ten_seconds(made) -> None:
    it = made(MadeUpCapture())
    it.turns_until(10 * S)
    it.output.is_up = False
    it.turns_until(70 * S)
    it.output.is_up = True
    it.turns_until(90 * S)

    guest = [row["t_mono_ns"] for row in it.rows("guest_agent")]
    status = it.rows("agent_status")[-1]
    gap = max(b - a for a, b in itertools.pairwise(guest))
    # Attempts are up to ten seconds apart by then.
    assert 49 * S <= gap <= 61 * S
    n_sent = len(guest) + len(it.rows("bridge_pcap"))
    n_status = status["seq"] - len(it.rows("agent_status")) + 1
    assert status["rows_dropped"] == pytest.approx(status["rows"] - n_sent + n_status, abs=60)
    assert status["rows_dropped"] > 500


def test_a_status_comes_every_ten_seconds_and_names_what_is_lost(made) -> None:
    it = made(lost=("tcp_total", "top_rss_bytes"))

    it.agent.run(65)

    rows = it.rows("agent_status")
    assert [row["seq"] for row in rows] == list(range(7))
    last = rows[-1]
    assert last["fields_lost"] == ["tcp_total", "top_rss_bytes"]
    assert (last["device"], last["version"], last["rows"]) == ("garage-pi", "9", 61)
    assert last["netflow"] == "no CAP_NET_RAW"
    assert last["lateness_p99_ms"] == 0.07
    assert "packets" not in last


def test_rows_that_cannot_be_sent_at_the_end_are_reported(made) -> None:
    it = made()
    it.output.is_up = False
    begin = it.time.now_ns

    assert not it.agent.run(5)
    assert 7 * S <= it.time.now_ns - begin < 7.2 * S
    assert len(it.agent.outbox) == 5
