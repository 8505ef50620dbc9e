from collections import Counter, defaultdict

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import kstest
from sklearn.metrics import f1_score

from cis490_pipeline.domain import PHASES, Phase
from cis490_pipeline.recording.blocks import BESIDES_S, lanes_take_s, treatments
from cis490_pipeline.recording.plan import LOOKALIKES
from cis490_pipeline.recording.schedule import SHAM_ACTIVITY, schedule
from cis490_pipeline.store.verdicts.telemetry_checks import JUSTIFYING_EVENTS
from cis490_pipeline_tests.recording.plans import made_plan, plan_fields


def phases_by_second(run):
    """The phase at each whole second of a run."""
    times = [0.0, *(step.at_s for step in run.steps)]
    phases = [Phase.CLEAN, *(step.phase for step in run.steps)]
    seconds = np.arange(0.5, run.duration_s)
    return [PHASES.index(phases[k]) for k in np.searchsorted(times, seconds, side="right") - 1]


@settings(max_examples=20)
@given(seed=st.integers(0, 2**31))
def test_leads_phases_and_ends_keep_their_bounds(seed):
    plan = made_plan(seed=seed, episodes=30)

    for run in schedule(plan):
        times = [step.at_s for step in run.steps]
        assert plan.timing.settle_s[0] <= run.settle_s <= plan.timing.settle_s[1]
        if times:
            assert plan.timing.lead_s <= times[0] <= plan.timing.lead_cap_s
            assert 55.0 <= run.duration_s - times[0] <= 85.001
            lengths = np.diff([*times, run.duration_s])
            assert lengths.min() >= plan.timing.phase_s[0] - 0.002
            assert lengths[:-1].max(initial=0) <= plan.timing.phase_s[1] + 0.002
        for background in run.backgrounds:
            assert 0 <= background.at_s < background.end_s <= run.duration_s


def test_equal_plans_give_equal_schedules_and_seeds_differ():
    assert schedule(made_plan()) == schedule(made_plan())
    assert schedule(made_plan()) != schedule(made_plan(seed=6))


def test_no_two_runs_have_the_same_token():
    tokens = [run.token for run in schedule(made_plan(episodes=300))]

    assert len({*tokens}) == 300


def test_phases_change_at_each_step_and_events_justify_them():
    for run in schedule(made_plan(episodes=200)):
        before = Phase.CLEAN
        for step in run.steps:
            assert step.phase is not before
            assert step.event in JUSTIFYING_EVENTS.get(step.phase, {"workload_removed"})
            assert (step.activity is None) == (step.phase is Phase.CLEAN)
            before = step.phase


def test_any_phase_may_come_first_and_phases_return():
    runs = [run for run in schedule(made_plan(episodes=200)) if run.steps]
    orders = [[step.phase for step in run.steps] for run in runs]

    assert {order[0] for order in orders} == {*PHASES} - {Phase.CLEAN}
    assert any(order.count(Phase.INFECTED_RUNNING) > 1 for order in orders)
    assert any(Phase.CLEAN in order for order in orders)


def test_the_share_of_clean_only_runs_is_the_plans():
    runs = schedule(made_plan(episodes=200))

    assert sum(run.treatment is None for run in runs) == 30


def test_hosts_take_turns_and_treatments_form_a_latin_square():
    plan = made_plan(episodes=80, clean_only_share=0.0, host=[{"name": f"h{k}"} for k in range(5)])
    runs = schedule(plan)
    n = len(treatments(plan))
    given_to = defaultdict(list)
    for run in runs:
        given_to[run.host.name].append((run.treatment.activity, run.treatment.index))

    for start in range(0, 80, 5):
        block = runs[start : start + 5]
        assert len({run.host.name for run in block}) == 5
        assert len({(run.treatment.activity, run.treatment.index) for run in block}) == 5
    for received in given_to.values():
        for start in range(0, 16, n):
            assert len({*received[start : start + n]}) == len(received[start : start + n])
    assert all(len(received) == 16 for received in given_to.values())


def test_long_clean_runs_come_besides_and_have_their_length():
    plan = made_plan(host=[{"name": "a", "clean_runs_s": [300, 1800]}])
    runs = schedule(plan)

    long = [run for run in runs if run.duration_s in (300.0, 1800.0) and not run.steps]
    assert len(runs) == 42
    assert sorted(run.duration_s for run in long) == [300.0, 1800.0]
    assert all(run.backgrounds for run in long)


def test_each_host_has_one_run_for_a_baseline_without_lookalikes():
    runs = schedule(made_plan(baseline_run_s=300))
    [a, b] = [run for run in runs if run.duration_s == 300.0]

    assert {a.host.name, b.host.name} == {"a", "b"}
    assert not any(run.steps or run.shams or run.backgrounds for run in (a, b))


HOSTS = [{"name": f"h{k}", "clean_runs_s": [1800] * (4 if k < 2 else 0)} for k in range(10)]


def test_every_block_has_every_host_and_blocks_take_equally_long():
    runs = schedule(made_plan(episodes=300, blocks=8, baseline_run_s=300, host=HOSTS))
    blocks = [[run for run in runs if run.block == k] for k in range(1, 9)]
    takes_s = [lanes_take_s([r.settle_s + r.duration_s for r in block], 4) for block in blocks]

    assert [run.block for run in runs] == sorted(run.block for run in runs)
    assert all(len({run.host.name for run in block}) == 10 for block in blocks)
    # As long as the whole recording in four lanes: no block over an hour.
    assert max(takes_s) <= 3600
    assert min(takes_s) > 0.65 * max(takes_s)
    long = [[run.duration_s for run in block].count(1800.0) for block in blocks]
    assert max(long) - min(long) <= 1


def test_a_lane_that_is_free_takes_the_next_run():
    assert lanes_take_s([100.0, 50.0, 50.0], 2) == pytest.approx(100.0 + 2 * BESIDES_S)


def test_half_of_the_clean_only_runs_are_sham_armed_by_an_infected_runs_requests():
    runs = schedule(made_plan(episodes=200, baseline_run_s=300))
    shams = [run for run in runs if run.shams]

    assert len(shams) == 15
    for run in shams:
        assert run.treatment is None
        assert run.steps == ()
        assert {step.activity for step in run.shams} <= {SHAM_ACTIVITY, None}
        assert 30.0 <= run.shams[0].at_s <= 120.0
    phases = {step.phase for run in shams for step in run.shams}
    assert phases == {*PHASES}


def test_parameters_and_backgrounds_kept_for_hosts_come_on_no_other():
    fields = plan_fields(
        episodes=200,
        host=[{"name": "a"}, {"name": "b"}, {"name": "t", "lookalikes": ["backup"]}],
    )
    fields["profile"][0]["only_on"] = ["t"]
    runs = schedule(made_plan(**fields))
    infected = defaultdict(Counter)
    for run in runs:
        if run.treatment:
            infected[run.host.name][run.treatment.profile.name] += 1

    assert [host for host in infected if infected[host]["cpu-saturate-sample"]] == ["t"]
    # Two of the eight sets of parameters that this host gets.
    assert infected["t"]["cpu-saturate-sample"] == pytest.approx(infected["t"].total() / 4, abs=2)
    assert {b.activity for run in runs if run.host.name == "t" for b in run.backgrounds} == {
        "backup"
    }
    others = {b.activity for run in runs if run.host.name != "t" for b in run.backgrounds}
    assert others == {"video", "compile"}


def test_the_clock_alone_tells_little_about_the_phase():
    """The best guess from the elapsed second alone: macro F1 near that of no knowledge, .2."""
    learn, probe = schedule(made_plan(episodes=300)), schedule(made_plan(episodes=300, seed=9))
    counts = defaultdict(Counter)
    totals = Counter()
    for run in learn:
        for second, phase in enumerate(phases_by_second(run)):
            counts[second][phase] += 1
            totals[phase] += 1
    guess = {
        # Weighted by inverse frequency, as the pipeline's models are: else all is "clean".
        second: max(count, key=lambda phase: count[phase] / totals[phase])
        for second, count in counts.items()
    }
    truth, guessed = [], []
    for run in probe:
        for second, phase in enumerate(phases_by_second(run)):
            truth.append(phase)
            guessed.append(guess.get(second, 0))

    assert f1_score(truth, guessed, average="macro", zero_division=0) < 0.35


@pytest.mark.parametrize("name", ["video", "compile"])
def test_lookalikes_run_in_every_phase(name):
    seen = set()
    for run in schedule(made_plan(episodes=300, lookalikes=[name])):
        phases = phases_by_second(run)
        for background in run.backgrounds:
            seen.update(phases[int(background.at_s) : int(background.end_s)])

    assert seen == {*range(len(PHASES))}


def test_each_occurrence_of_a_lookalike_has_a_strength_of_its_own():
    plan = made_plan(episodes=200, lookalikes=["package-update"], lookalike_strength=[0.5, 2.0])
    drawn = [b.parameters["package_kib"] for run in schedule(plan) for b in run.backgrounds]
    usual = LOOKALIKES["package-update"]["package_kib"]
    factors = np.log2(np.array(drawn) / usual)

    assert factors.min() >= -1.001
    assert factors.max() <= 1.001
    # Log-uniform: as much below the usual as above it, and evenly so.
    assert kstest(factors, "uniform", args=(-1.0, 2.0)).pvalue > 0.01


def test_lookalikes_of_one_strength_are_those_of_the_table():
    plan = made_plan(episodes=20, lookalikes=["compile"], lookalike_strength=[1.0, 1.0])
    backgrounds = [b for run in schedule(plan) for b in run.backgrounds]

    assert backgrounds
    assert {b.parameters["jobs"] for b in backgrounds} == {LOOKALIKES["compile"]["jobs"]}
