"""Each scenario does to a recorded episode what it says, and nothing else."""

from dataclasses import replace

import numpy as np
import pytest

from cis490_pipeline.domain import CHANNELS, NS_PER_S, Kind, Source
from cis490_pipeline.features.baseline import span_statistics
from cis490_pipeline.features.resample import STEP_NS, episode_grid, step_count
from cis490_pipeline.features.stress.perturbations import (
    SCENARIOS,
    UNPERTURBED,
    baseline_step,
    infection_ns,
    moment_ns,
    perturbed,
    restarted,
)
from cis490_pipeline.features.stress.recut import recut
from cis490_pipeline.features.windows import BASELINE_STEPS, window_starts
from cis490_pipeline.store.episode import load_episode
from cis490_pipeline.store.receiver import LocalStore
from cis490_pipeline.store.rows.columns import TIME, Columns
from cis490_pipeline_tests.experiment.runs import SAMPLE, SIX

BY_NAME = {scenario.name: scenario for scenario in SCENARIOS}
RESET = 4


@pytest.fixture(scope="module")
def recorded():
    store = LocalStore(SAMPLE)
    rows = store.read_index().rows
    return [load_episode(store, ref, rows[ref]) for ref in SIX]


@pytest.fixture(scope="module")
def episode(recorded):
    """Has all five phases, 15 s of infected_running among them."""
    found = next(
        e
        for e in recorded
        if infection_ns(e) is not None and baseline_step(e, steps(e), BY_NAME["infected_baseline"])
    )
    assert set(found.columns) == set(Source)
    return found


@pytest.fixture(scope="module")
def clean_run(episode):
    """The same rows, had the device never been infected."""
    return replace(episode, labels=episode.labels[:1])


def steps(episode):
    return step_count(episode.t0_ns, episode.end_ns)


def touched(before, after):
    """Sources whose columns are others; the rest must be the very same objects."""
    assert (after.labels, after.t0_ns, after.end_ns) == (before.labels, before.t0_ns, before.end_ns)
    assert set(after.columns) == set(before.columns)
    return {s for s in before.columns if after.columns[s] is not before.columns[s]}


def same_rows(columns, wanted, after):
    """Whether ``after`` holds exactly the wanted rows of all columns."""
    assert after.values.keys() == columns.values.keys()
    assert after.known.keys() == columns.known.keys()
    return all(
        np.array_equal(part[wanted], there[name])
        for held, there in ((columns.values, after.values), (columns.known, after.known))
        for name, part in held.items()
    )


def test_names_are_unique_and_unperturbed_is_none_of_them():
    assert len(BY_NAME) == len(SCENARIOS)
    assert UNPERTURBED.name not in BY_NAME


def test_unperturbed_touches_nothing(episode):
    assert touched(episode, perturbed(episode, UNPERTURBED, seed=0)) == set()


def test_guest_dies_as_the_infection_begins(episode):
    after = perturbed(episode, BY_NAME["guest_dies"], seed=0)

    guest = episode.columns[Source.GUEST]
    before_it = guest.times < infection_ns(episode)
    assert touched(episode, after) == {Source.GUEST}
    assert 0 < before_it.sum() < guest.n_rows
    assert same_rows(guest, before_it, after.columns[Source.GUEST])


def test_guest_of_a_clean_run_does_not_die(clean_run):
    assert touched(clean_run, perturbed(clean_run, BY_NAME["guest_dies"], seed=0)) == set()


@pytest.mark.parametrize("source", [Source.QMP, Source.GUEST, Source.NETFLOW])
def test_a_dead_source_has_no_rows_and_no_values(episode, source):
    after = perturbed(episode, BY_NAME[f"{source}_dead"], seed=0)

    grid = episode_grid(after.columns, after.t0_ns, steps(after))
    dead = [i for i, channel in enumerate(CHANNELS) if channel.source is source]
    others = np.setdiff1d(np.arange(len(CHANNELS)), dead)
    whole = episode_grid(episode.columns, episode.t0_ns, steps(episode))
    assert touched(episode, after) == {source}
    assert after.columns[source].n_rows == 0
    assert np.isnan(grid[:, dead]).all()
    np.testing.assert_array_equal(grid[:, others], whole[:, others])


def test_one_guest_channel_in_four_is_unknown_throughout(episode):
    after = perturbed(episode, BY_NAME["guest_channels"], seed=0)
    n_steps = steps(episode)
    of_guest = [i for i, channel in enumerate(CHANNELS) if channel.source is Source.GUEST]

    before, left = (
        ~np.isnan(episode_grid(e.columns, e.t0_ns, n_steps)).all(axis=0) for e in (episode, after)
    )

    assert touched(episode, after) == {Source.GUEST}
    assert before[of_guest].all()
    assert (~left[of_guest]).sum() == round(len(of_guest) / 4)
    assert (left == before)[[i for i in range(len(CHANNELS)) if i not in of_guest]].all()


def test_gap_takes_ten_seconds_of_qmp(episode):
    after = perturbed(episode, BY_NAME["qmp_gap"], seed=0)

    qmp, since = episode.columns[Source.QMP], infection_ns(episode)
    wanted = (qmp.times < since) | (qmp.times >= since + 10 * NS_PER_S)
    assert touched(episode, after) == {Source.QMP}
    assert 9 <= (~wanted).sum() <= 11
    assert same_rows(qmp, wanted, after.columns[Source.QMP])


def test_five_percent_of_each_sources_rows_are_lost(episode):
    after = perturbed(episode, BY_NAME["rows_lost"], seed=0)

    assert touched(episode, after) == set(Source)
    for source, columns in episode.columns.items():
        left = after.columns[source]
        assert columns.n_rows - left.n_rows == round(0.05 * columns.n_rows) > 0
        wanted = np.isin(columns.times, left.times)
        assert same_rows(columns, wanted, left)


def test_lost_rows_are_drawn_by_seed_and_episode(episode, recorded):
    def lost(of, seed):
        left = perturbed(of, BY_NAME["rows_lost"], seed=seed).columns[Source.PROC].times
        return np.flatnonzero(~np.isin(of.columns[Source.PROC].times, left)).tolist()

    other = next(e for e in recorded if e.ref != episode.ref)
    assert lost(episode, 0) == lost(episode, 0)
    assert lost(episode, 0) != lost(episode, 1)
    assert lost(episode, 0) != lost(other, 0)


@pytest.mark.parametrize("source", list(Source))
def test_skew_moves_one_source_by_two_seconds(episode, source):
    after = perturbed(episode, BY_NAME[f"skew_{source}"], seed=0)

    before, moved = episode.columns[source], after.columns[source]
    by = moved.times - before.times
    assert touched(episode, after) == {source}
    assert np.unique(by).size == 1
    assert abs(int(by[0])) == 2 * NS_PER_S
    for name in before.values.keys() - {TIME}:
        assert moved.values[name] is before.values[name]


def test_skew_goes_both_ways(recorded):
    moved = [
        perturbed(e, BY_NAME["skew_guest"], seed=seed).columns[Source.GUEST].times[0]
        - e.columns[Source.GUEST].times[0]
        for e in recorded
        for seed in range(3)
    ]

    assert set(moved) == {2 * NS_PER_S, -2 * NS_PER_S}


def test_counters_restart_and_nothing_else_changes(episode):
    after = perturbed(episode, BY_NAME["counter_reset"], seed=0)

    at = moment_ns(episode)
    counters = {c.name for c in CHANNELS if c.kind is Kind.COUNTER}
    assert touched(episode, after) == {Source.PROC, Source.QMP, Source.GUEST}
    fell = 0
    for source in touched(episode, after):
        columns, changed = episode.columns[source], after.columns[source]
        before = columns.times < at
        for name, values in columns.values.items():
            if f"{source}.{name}" not in counters:
                assert changed.values[name] is values
                continue
            there = changed.values[name]
            np.testing.assert_array_equal(there[before], values[before])
            assert (there >= 0).all()
            np.testing.assert_array_equal(np.diff(there[~before]), np.diff(values[~before]))
            fell += int(there[~before][0] < there[before][-1])
    assert fell > 10


def test_a_restarted_counter_has_lost_what_it_counted_before():
    t = np.array([0, 10, 20, 30, 40], dtype=np.int64)
    count = np.array([100, 200, 300, 450, 500], dtype=np.int64)
    columns = Columns({TIME: t, "n": count})

    # At 24 it stood at 300 + .4 × 150 = 360.
    assert restarted(columns, "n", 24).tolist() == [100, 200, 300, 90, 140]


def test_a_counter_that_falls_of_itself_goes_on_as_recorded():
    t = np.array([0, 10, 20, 30, 40], dtype=np.int64)
    columns = Columns({TIME: t, "n": np.array([100, 200, 300, 5, 9], dtype=np.int64)})

    assert restarted(columns, "n", 15).tolist() == [100, 200, 50, 5, 9]
    assert restarted(columns, "n", 25).tolist() == [100, 200, 300, 5, 9]


def test_unknown_readings_are_no_part_of_a_restart():
    t = np.array([0, 10, 20, 30], dtype=np.int64)
    columns = Columns(
        {TIME: t, "n": np.array([100, 0, 300, 400], dtype=np.int64)},
        {"n": np.array([True, False, True, True])},
    )

    # Between the known 100 and 300 it stood at 200 when half the time was over.
    assert restarted(columns, "n", 10).tolist() == [100, 0, 100, 200]


def test_a_reset_leaves_the_rates_of_later_steps_alone(episode):
    after = perturbed(episode, BY_NAME["counter_reset"], seed=0)

    whole, reset = (episode_grid(e.columns, e.t0_ns, steps(e)) for e in (episode, after))
    differs = ~((whole == reset) | (np.isnan(whole) & np.isnan(reset))).all(axis=1)
    since = (moment_ns(episode) - episode.t0_ns) / STEP_NS
    where = np.flatnonzero(differs)
    # A rate is held until the next reading, which comes within 2 s.
    assert where.size
    assert since - 1 <= where.min()
    assert where.max() <= since + 20


def test_moment_of_a_clean_run_is_its_middle(clean_run):
    middle = (clean_run.t0_ns + clean_run.end_ns) / 2

    assert infection_ns(clean_run) is None
    assert 0 <= middle - moment_ns(clean_run) < STEP_NS


def test_infected_baseline_is_taken_from_the_infection_and_changes_no_window(episode):
    scenario = BY_NAME["infected_baseline"]
    numbers = [np.arange(window_starts(steps(episode)).size)]

    plain, spoilt = (recut([episode], numbers, kind, seed=0) for kind in (UNPERTURBED, scenario))

    first = baseline_step(episode, steps(episode), scenario)
    grid = episode_grid(episode.columns, episode.t0_ns, steps(episode))
    wanted = span_statistics(grid[first : first + BASELINE_STEPS])
    from_ns = episode.t0_ns + first * STEP_NS
    to_ns = from_ns + BASELINE_STEPS * STEP_NS
    began = [label for label in episode.labels if label.t_wall_ns < to_ns]
    assert {began[-1].phase} == {"infected_running"}
    assert began[-1].t_wall_ns <= from_ns
    np.testing.assert_array_equal(spoilt.windows, plain.windows)
    np.testing.assert_array_equal(spoilt.median[0], wanted.median)
    assert not np.array_equal(spoilt.median, plain.median, equal_nan=True)


def test_clean_run_keeps_its_baseline(clean_run):
    assert baseline_step(clean_run, steps(clean_run), BY_NAME["infected_baseline"]) == 0
