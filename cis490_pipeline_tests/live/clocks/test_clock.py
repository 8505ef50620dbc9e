import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cis490_pipeline.domain import NS_PER_S, Source
from cis490_pipeline.live.clocks.clock import DeviceClock
from cis490_pipeline.live.clocks.opening import MAX_ROWS
from cis490_pipeline.live.clocks.source_clock import MAX_RECENT, Health
from cis490_pipeline.live.clocks.timeline import MAX_HELD
from cis490_pipeline.live.feeds.rows import LiveRow

S = NS_PER_S
T0 = 1_795_340_000 * S
GUEST, FLOW = Source.GUEST, Source.NETFLOW
STRAYS = [4 * 10**18, 0, 1, 2**63 - 1, -1, T0 + 10**6 * S, T0 + 30 * S, T0 - 30 * S]


class Device:
    """A clock, the rows it let through, and what it noted."""

    def __init__(self, wall_ns=None):
        self.notes = []
        self.clock = DeviceClock(self.notes.append, wall_ns)
        self.used = []
        self.jumps = 0

    def place(self, source, t_ns, mono_ns=0):
        verdict = self.clock.place(LiveRow(source, t_ns, ()), mono_ns)
        self._keep(verdict)
        return [row.t_wall_ns for row in verdict.rows]

    def tick(self, mono_ns):
        self._keep(self.clock.tick(mono_ns))

    def finish(self, mono_ns=0):
        self._keep(self.clock.finish(mono_ns))

    def run(self, start_s, end_s, sources=(GUEST, FLOW), offsets=None, pace=1, stray=None):
        """Rows of these seconds, netflow ten a second; each source's times off by its offset."""
        for tick in range(round(start_s * 10), round(end_s * 10)):
            for source in sources:
                if source is FLOW or tick % 10 == 0:
                    t = T0 + tick * S // 10 + (offsets or {}).get(source, 0)
                    self.place(source, t, tick * S // 10 * pace)

    def _keep(self, verdict):
        self.jumps += verdict.jumped
        self.used += [(row.source, row.t_wall_ns) for row in verdict.rows]

    def times(self, source):
        return [t for of, t in self.used if of is source]

    def set_aside(self, source):
        return self.clock.sources[source].n_set_aside


def every(source, start_s, end_s, offset=0):
    step = 10 if source is GUEST else 1
    ticks = range(round(start_s * 10), round(end_s * 10))
    return [T0 + tick * S // 10 + offset for tick in ticks if tick % step == 0]


@pytest.mark.parametrize("pace", [0, 1], ids=["replayed", "live"])
def test_sources_that_agree_are_used_row_by_row(pace):
    device = Device()

    device.run(0, 20, pace=pace)

    assert device.times(GUEST) == every(GUEST, 0, 20)
    assert device.times(FLOW) == every(FLOW, 0, 20)
    assert device.notes == []


def test_time_is_the_newest_rows_and_goes_on_when_no_row_comes():
    device = Device()
    device.run(0, 5)

    assert device.clock.now_ns(round(4.9 * S)) == T0 + 49 * S // 10
    assert device.clock.now_ns(34 * S) == T0 + 34 * S


def test_there_is_no_time_before_two_sources_agree_or_one_is_steady_for_5_seconds():
    device = Device()

    device.run(0, 4.9, (FLOW,))
    before = device.clock.now_ns(5 * S), list(device.used)
    device.run(4.9, 6, (FLOW,))

    assert before == (None, [])
    assert device.times(FLOW) == every(FLOW, 0, 6)


def test_a_source_that_is_steady_starts_the_time_though_no_more_rows_come():
    device = Device()
    device.run(0, 1, (FLOW,))

    device.tick(7 * S)

    assert device.times(FLOW) == every(FLOW, 0, 1)


@pytest.mark.parametrize("source", [GUEST, FLOW])
@pytest.mark.parametrize("n", [1, 2])
@pytest.mark.parametrize("stray", STRAYS)
@pytest.mark.parametrize("pace", [0, 1], ids=["replayed", "live"])
def test_a_first_row_of_any_time_sets_no_clock(source, n, stray, pace):
    device = Device()
    for _ in range(n):
        device.place(source, stray)

    device.run(0, 20, pace=pace)

    assert device.times(GUEST) == every(GUEST, 0, 20)
    assert device.times(FLOW) == every(FLOW, 0, 20)
    assert device.set_aside(source) == n
    assert "row set aside (1 so far)" in device.notes[0]


@pytest.mark.parametrize("sources", [(GUEST, FLOW), (FLOW,), (GUEST,)], ids=str)
@pytest.mark.parametrize("stray", STRAYS)
@pytest.mark.parametrize("pace", [0, 1], ids=["replayed", "live"])
def test_a_stray_row_in_the_middle_is_set_aside_and_moves_no_other(sources, stray, pace):
    device = Device()
    device.run(0, 10, sources, pace=pace)

    device.place(sources[0], stray, 10 * S * pace)
    device.run(10, 30, sources, pace=pace)

    for source in sources:
        assert device.times(source) == every(source, 0, 30)
    assert device.set_aside(sources[0]) + device.clock.sources[sources[0]].n_out_of_order == 1
    assert device.jumps == 0


@settings(max_examples=30)
@given(
    strays=st.lists(
        st.tuples(
            st.integers(0, 299), st.sampled_from([GUEST, FLOW]), st.sampled_from(STRAYS[:-2])
        ),
        max_size=12,
    )
)
def test_strays_here_and_there_cost_no_good_row(strays):
    device = Device()

    for tick in range(300):
        for at, source, t in strays:
            if at == tick:
                device.place(source, t)
        device.run(tick / 10, (tick + 1) / 10, pace=0)
    device.finish()

    assert device.jumps == 0
    assert device.times(FLOW) == every(FLOW, 0, 30)
    assert device.times(GUEST) == every(GUEST, 0, 30)


@pytest.mark.parametrize("pace", [0, 1], ids=["replayed", "live"])
@pytest.mark.parametrize("offset_s", [20, 3, -20, -3, 3600, -(10**8), 2.6])
@pytest.mark.parametrize("source", [GUEST, FLOW])
def test_a_source_whose_clock_is_off_is_named_with_its_offset_and_loses_no_row(
    source, offset_s, pace
):
    device = Device()
    offset = round(offset_s * S)

    device.run(0, 20, offsets={source: offset}, pace=pace)

    other = FLOW if source is GUEST else GUEST
    # Which of two is right cannot be told from them: one of them is moved to the other.
    moved = device.clock.sources[source].offset_ns - device.clock.sources[other].offset_ns
    frame = offset - device.clock.sources[source].offset_ns
    assert moved == offset
    assert device.times(source) == every(source, 0, 20, frame)
    assert device.times(other) == every(other, 0, 20, frame)
    assert (device.set_aside(GUEST), device.set_aside(FLOW)) == (0, 0)
    (note,) = device.notes
    assert "the clock of" in note
    if abs(offset_s) < 100:
        assert f"{abs(offset_s):.1f} s" in note


@pytest.mark.parametrize(("wrong", "right"), [(GUEST, FLOW), (FLOW, GUEST)])
@pytest.mark.parametrize("offset_s", [20, -20])
def test_of_two_that_disagree_the_one_is_blamed_that_differs_from_this_machines_clock(
    wrong, right, offset_s
):
    wall = [0]
    device = Device(lambda: wall[0])

    for tick in range(200):
        wall[0] = T0 + tick * S // 10
        device.run(tick / 10, (tick + 1) / 10, offsets={wrong: offset_s * S})

    assert device.clock.sources[wrong].offset_ns == offset_s * S
    assert device.times(right) == every(right, 0, 20)
    assert f"the clock of {wrong} is 20.0 s" in device.notes[0]
    assert "which this machine's clock agrees with" in device.notes[0]


def test_of_three_sources_the_two_that_agree_are_right():
    device = Device()

    device.run(0, 20, (Source.PROC, GUEST, FLOW), offsets={FLOW: 20 * S})

    assert device.clock.sources[FLOW].offset_ns == 20 * S
    assert device.times(GUEST) == every(GUEST, 0, 20)


@pytest.mark.parametrize("pace", [0, 1], ids=["replayed", "live"])
def test_one_sources_clock_that_is_set_while_running_is_corrected_and_given_back(pace):
    device = Device()
    device.run(0, 10, pace=pace)
    device.run(10, 30, offsets={FLOW: -3600 * S}, pace=pace)
    off = device.clock.sources[FLOW].offset_ns
    device.run(30, 50, pace=pace)

    assert off == -3600 * S
    assert device.clock.sources[FLOW].offset_ns == 0
    assert device.times(FLOW) == every(FLOW, 0, 50)
    assert device.times(GUEST) == every(GUEST, 0, 50)
    assert "agrees with that of guest" in device.notes[-1]
    assert device.jumps == 0


@pytest.mark.parametrize("by_s", [10**6, -(10**6), 3600, -30, -5])
@pytest.mark.parametrize("sources", [(GUEST, FLOW), (FLOW,), (GUEST,)], ids=str)
@pytest.mark.parametrize("pace", [0, 1], ids=["replayed", "live"])
def test_a_jump_of_the_devices_clock_is_followed_and_loses_no_row(by_s, sources, pace):
    device = Device()
    device.run(0, 10, sources, pace=pace)

    by_ns = by_s * S + 1_234_567
    moved = dict.fromkeys(sources, by_ns)
    device.run(10, 30, sources, offsets=moved, pace=pace)

    assert (device.jumps, device.clock.n_jumps) == (1, 1)
    for source in sources:
        assert device.times(source) == every(source, 0, 10) + every(source, 10, 30, by_ns)
    (note,) = device.notes
    assert note.startswith("the device's clock jumped " + ("forward" if by_s > 0 else "back"))


def test_a_source_that_died_has_no_part_in_a_jump():
    device = Device()
    device.run(0, 10)
    device.run(10, 20, (FLOW,))

    device.run(20, 30, (FLOW,), offsets={FLOW: -(10**6) * S})

    assert device.jumps == 1


@pytest.mark.parametrize("gap_s", [3, 6, 20, 50])
@pytest.mark.parametrize("sources", [(GUEST, FLOW), (FLOW,), (GUEST,)], ids=str)
@pytest.mark.parametrize("pace", [0, 1], ids=["replayed", "live"])
def test_silence_of_all_is_no_jump_and_costs_no_row(gap_s, sources, pace):
    device = Device()
    device.run(0, 10, sources, pace=pace)

    device.run(10 + gap_s, 30 + gap_s, sources, pace=pace)

    assert (device.jumps, device.notes) == (0, [])
    for source in sources:
        wanted = every(source, 0, 10) + every(source, 10 + gap_s, 30 + gap_s)
        assert device.times(source) == wanted


@pytest.mark.parametrize("pace", [0, 1], ids=["replayed", "live"])
@pytest.mark.parametrize("dies", [GUEST, FLOW])
def test_a_source_that_dies_stops_no_time(dies, pace):
    device = Device()
    lives = FLOW if dies is GUEST else GUEST
    device.run(0, 10, pace=pace)

    device.run(10, 30, (lives,), pace=pace)

    assert device.times(lives) == every(lives, 0, 30)
    now = device.clock.now_ns(29 * S * pace)
    assert now >= T0 + 28 * S
    assert device.clock.health(dies, 29 * S * pace) is Health.DEAD
    assert device.notes == []


def test_a_source_that_dies_in_a_silence_of_all_stops_no_time():
    device = Device()
    device.run(0, 10, pace=0)

    device.run(40, 60, (FLOW,), pace=0)

    assert device.times(FLOW) == every(FLOW, 0, 10) + every(FLOW, 40, 60)


@pytest.mark.parametrize("age_s", [1, 5, 30, 90])
def test_rows_delivered_again_count_once_however_old_they_are(age_s):
    device = Device()
    device.run(0, 200)
    assert MAX_RECENT >= 10 * 90

    device.run(199.9 - age_s, 199.8 - age_s + 1)
    device.run(200, 210)

    assert device.jumps == 0
    assert device.times(FLOW) == every(FLOW, 0, 210)
    assert device.set_aside(FLOW) == 0
    assert device.clock.sources[FLOW].n_repeated > 0
    assert device.clock.sources[FLOW].n_out_of_order == 0


def test_a_backlog_of_a_source_that_comes_later_is_used_once_it_caught_up():
    device = Device()
    device.run(0, 30, (FLOW,))
    for k in range(10, 30):
        device.place(GUEST, T0 + k * S, 30 * S)
    device.run(30, 40)

    assert device.times(GUEST) == every(GUEST, 10, 40)
    assert device.clock.sources[GUEST].offset_ns == 0


def test_rows_that_come_in_lumps_are_no_wrong_clock():
    device = Device()
    waiting = []
    for k in range(60):
        device.run(k, k + 1, (FLOW,))
        waiting.append(k)
        if k % 8 == 7:
            for second in waiting:
                device.place(GUEST, T0 + second * S, k * S + S)
            waiting = []

    assert device.clock.sources[GUEST].offset_ns == 0
    assert device.notes == []


@pytest.mark.parametrize(
    ("unit", "divide"), [("milliseconds", 10**6), ("seconds", 10**9), ("microseconds", 10**3)]
)
def test_times_in_another_unit_are_named_and_start_no_time(unit, divide):
    device = Device()
    for tick in range(300):
        device.place(FLOW, (T0 + tick * S // 10) // divide, tick * S // 10)
        if tick % 10 == 0:
            device.place(GUEST, (T0 + tick * S // 10) // divide, tick * S // 10)

    assert device.used == []
    assert device.clock.health(FLOW, 30 * S) is Health.SKEWED
    assert f"it looks like {unit} (2026-11-22T" in device.notes[0]
    device.finish()
    assert device.set_aside(FLOW) + device.set_aside(GUEST) == 330


def test_one_source_in_milliseconds_is_set_aside_and_the_other_goes_on():
    device = Device()
    for tick in range(1000):
        device.place(FLOW, (T0 + tick * S // 10) // 10**6)
        if tick % 10 == 0:
            device.place(GUEST, T0 + tick * S // 10)

    assert device.times(GUEST) == every(GUEST, 0, 100)
    assert device.times(FLOW) == []
    assert device.set_aside(FLOW) > 900
    assert "looks like milliseconds" in device.notes[0]


def test_what_is_held_is_bounded_whatever_comes():
    device = Device()
    for k in range(MAX_ROWS + 100):
        device.place(FLOW, (k * 7919) % 2**40 * 10**6)
    assert len(device.clock._opening.log) <= MAX_ROWS
    device.run(0, 10)
    for k in range(3 * MAX_HELD):
        device.place(FLOW, T0 - (k * 7919) % 2**40 * 10**6)
    held = sum(len(t.rows) for t in device.clock.sources[FLOW].timelines)

    assert held <= MAX_HELD


@pytest.mark.parametrize(
    ("silent_s", "guest", "flow"),
    [(2, "alive", "alive"), (3, "alive", "dead"), (4, "alive", "dead"), (5, "dead", "dead")],
)
def test_a_source_is_dead_after_three_intervals_and_two_seconds(silent_s, guest, flow):
    device = Device()
    device.run(0, 10)

    health = [device.clock.health(s, round((9.9 + silent_s) * S)) for s in (GUEST, FLOW)]

    assert health == [guest, flow]


def test_a_source_whose_rows_begin_to_come_too_late_for_their_windows_is_late():
    device = Device()
    device.run(0, 10)
    for k in range(10, 40):
        device.run(k, k + 1, (FLOW,))
        if k >= 18:
            device.place(GUEST, T0 + (k - 8) * S, k * S)

    assert device.clock.health(GUEST, 40 * S) is Health.LATE


def test_a_source_of_which_no_row_came_is_awaited():
    device = Device()
    device.run(0, 10, (FLOW,))

    assert device.clock.health(GUEST, 10 * S) is Health.AWAITED


def test_rows_that_are_left_at_the_end_are_used_if_they_are_steady():
    device = Device()
    device.run(0, 3, (FLOW,), pace=0)

    device.finish()

    assert device.times(FLOW) == every(FLOW, 0, 3)
