import pytest

from cis490_pipeline.domain import NS_PER_S, Source
from cis490_pipeline.live.clock import DeviceClock, Health, Placed

S = NS_PER_S
T0 = 1_795_340_000 * S
GUEST, FLOW = Source.GUEST, Source.NETFLOW


def heard(clock, seconds, sources=(GUEST, FLOW), start=T0, mono=0):
    """Rows once a second of each source; both clocks go on together."""
    for k in range(seconds):
        for source in sources:
            clock.place(source, start + k * S, mono + k * S)


def test_time_is_the_newest_rows_and_goes_on_when_nobody_sends():
    clock = DeviceClock()
    heard(clock, 5)

    assert clock.now_ns(4 * S) == T0 + 4 * S
    assert clock.now_ns(34 * S) == T0 + 34 * S


def test_there_is_no_time_before_the_first_row():
    assert DeviceClock().now_ns(10**12) is None


@pytest.mark.parametrize(("behind_s", "placed"), [(0, "used"), (2, "out_of_order"), (3, "astray")])
def test_a_row_older_than_its_sources_newest_is_not_used(behind_s, placed):
    clock = DeviceClock()
    heard(clock, 10)

    assert clock.place(GUEST, T0 + (9 - behind_s) * S, 9 * S) == placed


def test_sources_need_not_agree_to_the_second():
    clock = DeviceClock()
    heard(clock, 10, (FLOW,))

    assert clock.place(GUEST, T0 + 2 * S, 9 * S) is Placed.USED


@pytest.mark.parametrize("to", [T0 + 10**6 * S, T0 - 10**6 * S, 5 * S], ids=["on", "back", "1970"])
def test_a_jump_is_believed_once_every_source_took_part(to):
    clock = DeviceClock()
    heard(clock, 10)

    placed = [
        clock.place(source, to + k * S, (10 + k) * S) for k in range(2) for source in (GUEST, FLOW)
    ]

    assert placed == [Placed.ASTRAY, Placed.ASTRAY, Placed.ASTRAY, Placed.JUMPED]
    assert (clock.now_ns(11 * S), clock.n_jumps) == (to + S, 1)
    assert clock.place(GUEST, to + 2 * S, 12 * S) is Placed.USED


def test_one_source_alone_astray_moves_nobody_elses_time():
    clock = DeviceClock()
    heard(clock, 10)

    for k in range(10, 40):
        assert clock.place(FLOW, T0 + k * S, k * S) is Placed.USED
        assert clock.place(GUEST, T0 - 3600 * S + k * S, k * S) is Placed.ASTRAY

    assert clock.n_jumps == 0
    assert clock.health(GUEST, 39 * S) is Health.ASTRAY
    assert clock.health(FLOW, 39 * S) is Health.ALIVE


def test_a_source_that_is_dead_has_no_say_in_a_jump():
    clock = DeviceClock()
    heard(clock, 10)
    heard(clock, 10, (FLOW,), start=T0 + 10 * S, mono=10 * S)

    placed = [clock.place(FLOW, 5 * S + k * S, (20 + k) * S) for k in range(2)]

    assert placed == [Placed.ASTRAY, Placed.JUMPED]


def test_one_stray_row_is_no_jump():
    clock = DeviceClock()
    heard(clock, 10, (FLOW,))

    assert clock.place(FLOW, T0 + 10**6 * S, 10 * S) is Placed.ASTRAY
    assert clock.place(FLOW, T0 + 10 * S, 10 * S) is Placed.USED
    assert clock.place(FLOW, T0 + 10**6 * S, 11 * S) is Placed.ASTRAY


@pytest.mark.parametrize(
    ("silent_s", "guest", "flow"),
    [(2, "alive", "alive"), (3, "alive", "dead"), (5, "alive", "dead"), (6, "dead", "dead")],
)
def test_a_source_is_dead_after_three_intervals_and_two_seconds(silent_s, guest, flow):
    clock = DeviceClock()
    heard(clock, 10)

    health = [clock.health(source, (9 + silent_s) * S) for source in (GUEST, FLOW)]

    assert health == [guest, flow]


def test_a_source_whose_rows_come_too_late_for_their_windows_is_late():
    clock = DeviceClock()
    for k in range(30):
        clock.place(FLOW, T0 + k * S, k * S)
        if k >= 8:
            clock.place(GUEST, T0 + (k - 8) * S, k * S)

    assert clock.health(GUEST, 29 * S) is Health.LATE


def test_a_source_never_heard_is_awaited():
    clock = DeviceClock()
    heard(clock, 3, (FLOW,))

    assert clock.health(GUEST, 3 * S) is Health.AWAITED
