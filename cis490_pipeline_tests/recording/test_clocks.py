import pytest
from hypothesis import given
from hypothesis import strategies as st

from cis490_pipeline.domain import NS_PER_S
from cis490_pipeline.errors import RecordingError
from cis490_pipeline.recording.channel.clocks import Bracket, assert_certain, fit_clock

HOST_NS = 1_800_000_000 * NS_PER_S


def exchange(guest_ns, *, offset_ns=HOST_NS, drift_ppm=0.0, there_ns=300_000, back_ns=300_000):
    true_ns = offset_ns + guest_ns + round(guest_ns * drift_ppm / 1e6)
    return Bracket(true_ns - there_ns, true_ns + back_ns, guest_ns)


@given(
    delays=st.lists(
        st.tuples(st.integers(1000, 5_000_000), st.integers(1000, 5_000_000)),
        min_size=3,
        max_size=20,
    ),
    drift_ppm=st.floats(-20, 20),
    span_s=st.integers(10, 2000),
)
def test_the_true_time_lies_within_the_uncertainty(delays, drift_ppm, span_s):
    span_ns = span_s * NS_PER_S
    times = [k * span_ns // (len(delays) - 1) for k in range(len(delays))]
    brackets = [
        exchange(t, drift_ppm=drift_ppm, there_ns=a, back_ns=b)
        for t, (a, b) in zip(times, delays, strict=True)
    ]
    clock = fit_clock(brackets)

    # Between the exchanges a drift that is not fitted adds its part.
    unfitted_ns = 0 if span_s > 120 else abs(drift_ppm) * span_ns / 1e6
    for t in times:
        true_ns = HOST_NS + t + round(t * drift_ppm / 1e6)
        assert abs(clock.host_ns(t) - true_ns) <= clock.uncertainty_ns + unfitted_ns + 2


def test_a_drift_is_fitted_beyond_two_minutes_only():
    short = fit_clock([exchange(k * NS_PER_S, drift_ppm=8.0) for k in range(0, 100, 10)])
    long = fit_clock([exchange(k * NS_PER_S, drift_ppm=8.0) for k in range(0, 1000, 10)])

    assert short.drift_ppm == 0.0
    assert long.drift_ppm == pytest.approx(8.0, abs=0.01)


def test_the_narrowest_exchange_decides():
    slow = exchange(NS_PER_S, there_ns=9_000_000, back_ns=1_000_000)
    clock = fit_clock([slow, exchange(2 * NS_PER_S, there_ns=50_000, back_ns=50_000)])

    assert clock.offset_ns == HOST_NS
    assert clock.uncertainty_ns == 50_000


def test_a_clock_that_jumps_is_too_uncertain_to_label():
    jumped = [exchange(NS_PER_S), exchange(2 * NS_PER_S, offset_ns=HOST_NS + 40_000_000)]

    with pytest.raises(RecordingError, match=r"known to 40\.0 ms only, at most 20 ms"):
        assert_certain(fit_clock(jumped))


def test_no_exchange_is_an_error():
    with pytest.raises(RecordingError, match="answered no clock request"):
        fit_clock([])
