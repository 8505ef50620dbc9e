"""An agent's rows while the wall clock is set by an hour, in the middle of a second.

The clock of a real machine cannot be set for one process alone (time namespaces hold the monotonic
clocks), so the clocks are made up; capture, buckets, anchor and agent are the real ones, and each
packet bears the wall time of its arrival, as the kernel stamps it.
"""

import itertools
import json
from types import SimpleNamespace

import pytest

from cis490_pipeline.collect import agent as agent_module
from cis490_pipeline.collect import interfaces
from cis490_pipeline.collect.agent import Agent
from cis490_pipeline.collect.capture import Capture
from cis490_pipeline.collect.clock import Anchor
from cis490_pipeline.collect.contract import BUCKET_NS
from cis490_pipeline.collect.flows import BucketCounter
from cis490_pipeline.collect.interfaces import Stamps
from cis490_pipeline.collect.packets import parse
from cis490_pipeline_tests.collect import frames as f
from cis490_pipeline_tests.collect.helpers.made_up import (
    WALL_NS,
    MadeUpGuest,
    MadeUpOutput,
    MadeUpTime,
    S,
)

EVERY_NS = 10_000_000
FRAME = f.ethernet(f.ipv4(f.udp(), proto=17))


class SteppedTime(MadeUpTime):
    """Clocks of which the wall clock is set at some moment."""

    def __init__(self, at_ns: int, by_ns: int) -> None:
        super().__init__()
        self.at_ns, self.by_ns = at_ns, by_ns

    def offset_ns(self, mono_ns: int) -> int:
        return WALL_NS + (self.by_ns if mono_ns >= self.at_ns else 0)


class SteadyReader:
    """A packet every 10 ms, which waits until it is read."""

    lag_ns = pause_ns = 5_000_000

    def __init__(self, time: SteppedTime) -> None:
        self._time = time
        self._next_ns = time.now_ns // BUCKET_NS * BUCKET_NS + EVERY_NS // 3
        self.n_packets = 0
        self.packet_socket = SimpleNamespace(
            name="v0", index=1, bind=lambda: False, statistics=lambda: (0, 0), socket=self
        )

    def fileno(self) -> int:
        return 99

    def drain(self, counter: BucketCounter, stamps: Stamps, until_ns: int | None) -> bool:
        while self._next_ns <= self._time.now_ns:
            stamp_ns = self._next_ns + self._time.offset_ns(self._next_ns)
            packet = parse(FRAME, stamps.monotonic_ns(stamp_ns), outgoing=True)
            assert packet is not None
            counter.add(packet)
            self._next_ns += EVERY_NS
            self.n_packets += 1
        return True

    def close(self) -> None:
        """Do nothing."""


@pytest.mark.parametrize("by_ns", [3600 * S, -3600 * S])
@pytest.mark.parametrize("into_second_ns", [0, 370_000_000, 999_000_000])
def test_rows_follow_a_clock_that_is_set_within_a_second_and_no_bucket_is_lost_or_doubled(
    monkeypatch: pytest.MonkeyPatch, by_ns: int, into_second_ns: int
) -> None:
    time = SteppedTime(20 * S + into_second_ns, by_ns)
    monkeypatch.setattr(agent_module.select, "select", time.select)
    monkeypatch.setattr(interfaces.time, "monotonic_ns", time.monotonic_ns)
    monkeypatch.setattr(
        interfaces.time, "time_ns", lambda: time.now_ns + time.offset_ns(time.now_ns)
    )
    output, said = MadeUpOutput(), []
    agent = Agent(
        MadeUpGuest(time),
        output,
        device="garage-pi",
        version="9",
        capture=Capture([SteadyReader(time)]),
        say=said.append,
        anchor=Anchor(lambda: time.offset_ns(time.now_ns)),
        clock_ns=time.monotonic_ns,
    )
    agent.run(45)

    every = [json.loads(line) for line in output.content.splitlines()]
    rows = [row for row in every if row["source"] != "agent_status"]
    buckets = [row for row in rows if row["source"] == "bridge_pcap"]
    ends = [row["t_mono_ns"] for row in buckets]
    assert len(ends) > 430
    assert {later - end for end, later in itertools.pairwise(ends)} == {BUCKET_NS}
    assert {row["pkts_out"] for row in buckets} == {10}
    assert len({row["t_wall_ns"] for row in buckets}) == len(buckets)
    for row in rows:
        is_set = row["t_wall_ns"] - row["t_mono_ns"] == WALL_NS + by_ns
        assert is_set or row["t_wall_ns"] - row["t_mono_ns"] == WALL_NS
        if abs(row["t_mono_ns"] - time.at_ns) > S:
            assert is_set == (row["t_mono_ns"] > time.at_ns)
    assert said == [f"the clock stepped by {by_ns / S:+.3f} s: times follow it"]
    status = [row for row in every if row["source"] == "agent_status"][-1]
    assert (status["clock_steps"], status["clock_step_ns"]) == (1, by_ns)
