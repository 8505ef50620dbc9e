"""Ticks never drift, and the wall clock is followed."""

import time

from hypothesis import given
from hypothesis import strategies as st

from cis490_pipeline.collect.clock import STEP_NS, Anchor, Ticks, wall_offset_ns

S = 1_000_000_000


@given(st.lists(st.integers(0, 3 * S), min_size=1, max_size=50))
def test_ticks_stay_on_their_grid_however_late_they_are_taken(delays: list[int]) -> None:
    ticks = Ticks(1000, S)
    taken = 0

    for delay in delays:
        due = ticks.next_ns
        assert ticks.take(due - 1) is None
        assert ticks.take(due + delay) == delay
        taken += 1

        assert (ticks.next_ns - 1000) % S == 0
        assert due + delay < ticks.next_ns <= due + delay + S

    assert taken + ticks.n_missed == (ticks.next_ns - 1000) // S


def test_ticks_that_passed_are_skipped_and_counted() -> None:
    ticks = Ticks(0, S)

    assert ticks.take(3 * S + 5) == 3 * S + 5
    assert (ticks.n_missed, ticks.next_ns) == (3, 4 * S)


def test_a_step_of_the_clock_is_followed_and_counted_and_a_correction_is_only_followed() -> None:
    offsets = iter([100 * S, 100 * S + STEP_NS, 3700 * S, 3700 * S - STEP_NS - 1])
    anchor = Anchor(lambda: next(offsets))

    assert anchor.wall_ns(7) == 100 * S + 7
    assert anchor.follow() == 0
    assert anchor.wall_ns(0) == 100 * S + STEP_NS
    assert anchor.follow() == 3600 * S - STEP_NS
    assert anchor.follow() == -STEP_NS - 1
    assert (anchor.n_steps, anchor.last_step_ns) == (2, -STEP_NS - 1)


def test_the_offset_is_that_of_the_clocks_to_a_fraction_of_a_millisecond() -> None:
    errors = []
    for _ in range(20):
        before = time.time_ns() - time.monotonic_ns()
        errors.append(abs(wall_offset_ns() - before))

    assert min(errors) < 200_000
