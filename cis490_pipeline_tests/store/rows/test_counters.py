"""Falls of counters: a restart is told from everything else that makes a counter fall."""

import numpy as np
import pytest

from cis490_pipeline.domain import NS_PER_S, Source
from cis490_pipeline.features.channels import POSITION
from cis490_pipeline.features.resample import episode_grid
from cis490_pipeline.store.rows.columns import TIME, Columns
from cis490_pipeline.store.rows.counters import Fall, falls

S = NS_PER_S
T0 = 1_700_000_000 * S
N = 60
FIELDS = ("cpu_user", "cpu_sys", "cpu_iowait", "ctxt", "intr", "forks", "net_rx_bytes")
PACE = dict(zip(FIELDS, (7, 5, 2, 900, 700, 1, 5000), strict=True))
AT = 40


def guest(**change):
    """Guest rows of a minute, one a second; ``change`` replaces the readings of a field."""
    values = {TIME: T0 + S * np.arange(1, N + 1)}
    for field, pace in PACE.items():
        values[field] = 100_000 * pace + pace * np.arange(N)
    return Columns({**values, **{name: np.array(to) for name, to in change.items()}})


def rates(columns, field, source=Source.GUEST):
    """Rate at the end of each second."""
    grid = episode_grid({source: columns}, T0, N * 10)
    return np.expm1(grid[9::10, POSITION[f"{source}.{field}"]].astype(float))


def restarted(field):
    plain = guest().values[field]
    return np.where(np.arange(N) < AT, plain, plain - plain[AT] + PACE[field] // 2)


def test_a_source_that_restarts_counts_on_from_zero():
    columns = guest(**{field: restarted(field) for field in FIELDS})

    found = list(falls(Source.GUEST, columns, anchor_ns=T0))

    assert {fall.name for fall in found} == set(FIELDS) - {"cpu_iowait"}
    assert all(fall.restarted and fall.t_wall_ns == T0 + (AT + 1) * S for fall in found)
    for field in FIELDS:
        at_restart = np.nan if field == "cpu_iowait" else PACE[field] // 2
        expected = np.where(np.arange(N) == AT, at_restart, float(PACE[field]))
        np.testing.assert_allclose(rates(columns, field)[1:], expected[1:], rtol=1e-5)


def dip(field, to, n=1):
    readings = guest().values[field].copy()
    readings[AT : AT + n] = to
    return readings


@pytest.mark.parametrize("to", [0, 1, -1], ids=["zero", "one", "just below"])
@pytest.mark.parametrize("n_rows", [1, 2, 5])
def test_a_dip_of_one_counter_is_unknown_and_makes_no_rate(to, n_rows):
    level = guest().values["ctxt"][AT - 1]
    columns = guest(ctxt=dip("ctxt", level - 1 if to < 0 else to, n_rows))

    got = rates(columns, "ctxt")

    assert np.isnan(got[AT])
    # What was counted while it stood still is counted in the reading after, and no more.
    assert np.nanmax(got) <= (n_rows + 2) * PACE["ctxt"]
    np.testing.assert_allclose(got[AT + n_rows + 1 :], PACE["ctxt"], rtol=1e-5)
    np.testing.assert_allclose(rates(columns, "intr")[1:], PACE["intr"], rtol=1e-5)


def test_after_a_dip_of_one_reading_growth_is_measured_from_before_it():
    got = rates(guest(ctxt=dip("ctxt", 0)), "ctxt")

    np.testing.assert_allclose(got[AT + 1], PACE["ctxt"], rtol=1e-5)


@pytest.mark.parametrize("lost", [200_000_000, 3])
def test_an_interface_that_goes_away_is_unknown_for_its_step_alone(lost):
    readings = guest().values["net_rx_bytes"] + 5_000_000_000
    readings[AT:] -= lost + PACE["net_rx_bytes"]
    columns = guest(net_rx_bytes=readings)

    got = rates(columns, "net_rx_bytes")

    assert np.isnan(got[AT])
    np.testing.assert_allclose(np.delete(got, [0, AT, AT + 1]), PACE["net_rx_bytes"], rtol=1e-5)
    (fall,) = falls(Source.GUEST, columns, anchor_ns=T0)
    assert fall == Fall(
        name="net_rx_bytes",
        t_wall_ns=T0 + (AT + 1) * S,
        before=int(readings[AT - 1]),
        after=int(readings[AT]),
        restarted=False,
    )


def test_a_counter_of_32_bits_that_wraps_is_unknown_for_its_step_and_no_flood():
    grown = guest().values["net_rx_bytes"]
    columns = guest(net_rx_bytes=(grown - grown[AT] + 2**32) % 2**32)

    got = rates(columns, "net_rx_bytes")

    assert np.isnan(got[AT])
    np.testing.assert_allclose(np.delete(got, [0, AT]), PACE["net_rx_bytes"], rtol=1e-5)


def test_a_snapshot_reverted_is_no_restart():
    """All counters fall in one reading, to values no second could have counted."""
    readings = {field: guest().values[field].copy() for field in FIELDS}
    for field in FIELDS:
        readings[field][AT:] -= 30 * PACE[field]
    columns = guest(**readings)

    found = list(falls(Source.GUEST, columns, anchor_ns=T0))

    assert found
    assert not any(fall.restarted for fall in found)
    for field in FIELDS:
        got = rates(columns, field)
        assert np.isnan(got[AT])
        assert np.nanmax(got) < 3 * PACE[field]


def test_the_only_counter_of_a_source_restarts_if_its_value_fits_the_time():
    readings = restarted("ctxt")
    columns = Columns({TIME: guest().times, "ctxt": readings})

    (fall,) = falls(Source.GUEST, columns, anchor_ns=T0)

    assert fall.restarted
    np.testing.assert_allclose(rates(columns, "ctxt")[AT], PACE["ctxt"] // 2, rtol=1e-5)


def test_iowait_is_unknown_when_it_falls_and_no_finding():
    columns = guest(cpu_iowait=dip("cpu_iowait", guest().values["cpu_iowait"][AT - 1] - 1))

    assert list(falls(Source.GUEST, columns, anchor_ns=T0)) == []
    assert np.isnan(rates(columns, "cpu_iowait")[AT])


def test_the_bytes_of_a_disk_that_was_removed_are_unknown():
    """The sum over devices falls; the other counters of QMP, which grow, say that it goes on."""
    t = guest().times
    growing = 10 * np.arange(N)
    read = 4_000_000 + 4096 * np.arange(N)
    columns = Columns(
        {
            TIME: t,
            "blk_rd_bytes": np.where(np.arange(N) < AT, read, read - 3_000_000),
            "blk_wr_bytes": 8_000_000 + growing,
        }
    )

    got = rates(columns, "blk_rd_bytes", Source.QMP)

    assert np.isnan(got[AT])
    np.testing.assert_allclose(np.delete(got, [0, AT]), 4096, rtol=1e-5)
    assert [fall.restarted for fall in falls(Source.QMP, columns, anchor_ns=T0)] == [False]


def test_unread_counters_of_a_restart_are_judged_by_those_that_were_read():
    readings = {field: restarted(field) for field in FIELDS}
    columns = guest(**readings)
    unread = np.ones(N, dtype=np.bool_)
    unread[AT] = False
    columns = Columns(columns.values, {"forks": unread, "intr": unread})

    found = {fall.name: fall for fall in falls(Source.GUEST, columns, anchor_ns=T0)}

    assert all(fall.restarted for fall in found.values())
    assert found["ctxt"].t_wall_ns == T0 + (AT + 1) * S
    assert found["intr"].t_wall_ns == T0 + (AT + 2) * S
    since_restart = PACE["intr"] // 2 + PACE["intr"]
    np.testing.assert_allclose(rates(columns, "intr")[AT + 1], since_restart / 2, rtol=1e-5)
