"""The detector of a change, chosen on made-up steps before any recording."""

import numpy as np
import pytest

from benchmarks.recording.change_points import change_offset_s, times_away
from cis490_pipeline.domain import NS_PER_S

AT_NS = 1_700_000_000 * NS_PER_S
N_DRAWS = 300


def ends(n=400, seed=0):
    """Ends of 100 ms steps, a few ms late each, around `AT_NS`."""
    late = np.random.default_rng(seed).exponential(3e6, n)
    return (AT_NS + (np.arange(n) - n // 2) * NS_PER_S // 10 + late).astype(np.int64)


def jiffies(rng, t_ns, change_ns, before, after):
    """CPU of a process at 100 Hz jiffies: whole jiffies of a smooth use, read at the ends."""
    elapsed_s = np.diff(t_ns, prepend=t_ns[0] - NS_PER_S // 10) / NS_PER_S
    used = np.cumsum(np.where(t_ns > change_ns, after, before) * elapsed_s * 100)
    used = used + rng.uniform(0, 1)
    noise = rng.normal(0, 0.15, t_ns.size) * np.sqrt(np.where(t_ns > change_ns, after, before))
    return np.maximum(np.diff(np.floor(used), prepend=0)[1:] + noise[1:], 0) / elapsed_s[1:]


def packets(rng, t_ns, change_ns, before, after):
    return rng.poisson(np.where(t_ns > change_ns, after, before) / 10)[1:] * 10.0


def bursts(rng, t_ns, change_ns, before, after):
    """Bytes written: lumps of 32 KiB, and now and then a megabyte of something else."""
    lumps = packets(rng, t_ns, change_ns, before, after) * 32_768
    return lumps + (rng.random(lumps.size) < 0.01) * 1e7


def offsets_of(made, before, after, centre_s=0.0):
    found = []
    for seed in range(N_DRAWS):
        rng = np.random.default_rng(seed)
        t_ns, change_ns = ends(seed=seed), AT_NS + round(rng.uniform(0, 0.1) * NS_PER_S)
        rate = made(rng, t_ns, change_ns, before, after)
        centre_ns = AT_NS + round(centre_s * NS_PER_S)
        offset_s = change_offset_s(t_ns[1:], rate, centre_ns)
        found.append(offset_s + (centre_ns - change_ns) / NS_PER_S)
    return np.array(found)


@pytest.mark.parametrize(
    ("made", "low", "high"), [(jiffies, 0.03, 0.5), (packets, 0.3, 50.0), (bursts, 0.2, 10.0)]
)
@pytest.mark.parametrize("way", ["up", "down"])
@pytest.mark.parametrize("centre_s", [0.0, -3.0, 2.5])
def test_a_step_is_found_wherever_in_the_window_it_lies(made, low, high, way, centre_s):
    before, after = (low, high) if way == "up" else (high, low)

    off = np.abs(offsets_of(made, before, after, centre_s))

    assert np.median(off) <= 0.15
    assert np.quantile(off, 0.95) <= (0.9 if made is bursts else 0.25)


def test_noise_alone_gives_offsets_all_over_the_window_not_at_its_centre():
    off = np.abs(offsets_of(packets, 20.0, 20.0))

    # Uniform would give .25; the ends of the window are the likelier ones.
    assert (off <= 1.0).mean() < 0.25


def test_without_the_factor_noise_would_give_the_centre_more_often_than_chance():
    offsets = []
    for seed in range(N_DRAWS):
        x = np.random.default_rng(seed).poisson(2, 100)
        ranks = np.argsort(np.argsort(x + np.random.default_rng(seed + 1).uniform(0, 0.5, 100)))
        k = np.arange(10, 91)
        pettitt = np.abs(2 * np.cumsum(ranks + 1)[k - 1] - k * 101)
        offsets.append((k[np.argmax(pettitt)] - 50) / 10)

    assert (np.abs(offsets) <= 1.0).mean() > 0.28


def test_a_window_that_is_not_recorded_or_constant_has_no_change():
    t_ns = ends()
    constant = np.full(t_ns.size, 7.0)

    assert np.isnan(change_offset_s(t_ns, constant, AT_NS))
    assert np.isnan(change_offset_s(t_ns, constant, AT_NS + 60 * NS_PER_S))


def test_control_times_are_5_s_from_every_label():
    begin_ns, end_ns = AT_NS, AT_NS + 60 * NS_PER_S
    labels = np.array([AT_NS, AT_NS + 20 * NS_PER_S, AT_NS + 28 * NS_PER_S])

    drawn = times_away(np.random.default_rng(0), begin_ns, end_ns, labels, 1000)

    assert drawn.size == 1000
    assert np.abs(drawn[:, None] - labels).min() >= 5 * NS_PER_S
    assert drawn.max() <= end_ns - 5 * NS_PER_S
    assert (drawn > labels[2]).mean() == pytest.approx(22 / 32, abs=0.05)


def test_without_room_there_is_no_control_time():
    labels = np.arange(AT_NS, AT_NS + 60 * NS_PER_S, 8 * NS_PER_S)

    drawn = times_away(np.random.default_rng(0), AT_NS, AT_NS + 60 * NS_PER_S, labels, 10)

    assert drawn.size == 0
