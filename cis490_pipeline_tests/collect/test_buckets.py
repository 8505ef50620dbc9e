"""Packets are looked for as often as their rate asks for."""

import pytest

from cis490_pipeline.collect.buckets import (
    LONGEST_GAP_NS,
    PACKETS_A_LOOK,
    Buckets,
)
from cis490_pipeline_tests.collect.helpers.made_up import MadeUpCapture, MadeUpTime, S


@pytest.mark.parametrize(
    ("packets_per_s", "gap_ns"),
    [
        (0, 0),
        (10, LONGEST_GAP_NS),
        (4_000, PACKETS_A_LOOK * S // 4_000),
        (1_000_000, MadeUpCapture.pause_ns),
    ],
)
def test_the_next_look_comes_before_a_small_buffer_is_full(packets_per_s: int, gap_ns: int) -> None:
    time = MadeUpTime()
    buckets = Buckets(MadeUpCapture(packets_per_s), time.anchor(), time.now_ns)

    buckets.look(time.now_ns + S)

    assert buckets.look_ns - time.now_ns - S == gap_ns


def test_a_ring_is_looked_at_whenever_it_hands_over_a_block() -> None:
    time, capture = MadeUpTime(), MadeUpCapture(10)
    capture.lag_ns = 270_000_000
    buckets = Buckets(capture, time.anchor(), time.now_ns)

    buckets.look(time.now_ns + S)

    assert buckets.look_ns == time.now_ns + S


def test_a_tick_comes_when_a_bucket_has_just_settled() -> None:
    time = MadeUpTime()
    buckets = Buckets(MadeUpCapture(), time.anchor(), time.now_ns)
    tick_ns = buckets.first_tick_ns

    assert buckets.close_until(tick_ns - 1) == []
    assert len(buckets.close_until(tick_ns)) == 1
    assert len(buckets.close_until(tick_ns + S)) == 10
