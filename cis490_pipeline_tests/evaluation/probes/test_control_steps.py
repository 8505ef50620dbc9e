from dataclasses import replace

import numpy as np
import pytest

from cis490_pipeline.config import Settings
from cis490_pipeline.domain import CHANNELS
from cis490_pipeline.evaluation.probes.control_steps import (
    ANY,
    MIN_CONTROLS,
    ONSET,
    TRANSITIONS,
    ControlRun,
    control_steps,
)
from cis490_pipeline.features.channels import POSITION

RSS, FORKS = POSITION["guest.top_rss_bytes"], POSITION["guest.forks"]
PHASES = ("armed", "infecting", "infected_running", "clean", "infecting")
PAGE = 4096.0


def made(n_runs=10, seed=0, rss_step=0.0, fork_sizes=0.0):
    """Runs with steps of noise; at would-be infecting top_rss steps, at each sham forks."""
    rng = np.random.default_rng(seed)
    runs = []
    for number in range(n_runs):
        # Deviations differ by a thousand between channels and by ten between runs.
        scale = 10.0 ** rng.uniform(0, 3, len(CHANNELS)) * 10.0 ** rng.uniform(-0.5, 0.5)
        scale[RSS], scale[FORKS] = PAGE / 4, 0.05
        at_shams = rng.standard_t(3, (len(PHASES), len(CHANNELS))) * scale
        at_shams[np.array(PHASES) == "infecting", RSS] += rss_step
        at_shams[:, FORKS] += fork_sizes * rng.choice([-1, 1], len(PHASES))
        runs.append(
            ControlRun(
                episode_id=f"e{number}",
                host_id=f"host-{number % 3}",
                phases=PHASES,
                before=("clean", *PHASES[:-1]),
                steps=at_shams,
                elsewhere=rng.standard_t(3, (6, len(CHANNELS))) * scale,
                n_left_out=1,
            )
        )
    return runs


def test_a_channel_that_steps_by_two_pages_at_a_label_is_quarantined_with_its_reason():
    found = control_steps(made(rss_step=2 * PAGE), seed=0)

    (channel,) = found["quarantined"]
    assert channel["channel"] == "guest.top_rss_bytes"
    assert "infecting" in channel["transitions"]
    assert "armed" not in channel["transitions"]
    assert "at would-be infecting in clean controls" in channel["reason"]
    assert "20 steps of 10 controls" in channel["reason"]
    assert channel["median"] == pytest.approx(2 * PAGE, rel=0.2)
    assert (channel["n_larger"], channel["n_look_alikes"], channel["look_alike"]) == (10, 0, None)
    assert "no look-alike to compare with" in channel["line"]
    row = next(
        row
        for row in found["rows"]
        if (row["channel"], row["transition"]) == ("guest.top_rss_bytes", "infecting")
    )
    assert row["step"] == pytest.approx(2 * PAGE, rel=0.25)
    assert abs(row["usual"]) < PAGE / 4
    assert row["unit"] == "bytes"
    assert row["effect"] > 1


def test_beside_it_stands_how_far_it_steps_where_look_alikes_begin(tmp_path, monkeypatch):
    begins = np.full((2, len(CHANNELS)), np.nan)
    begins[0, RSS] = 3 * PAGE
    runs = [replace(run, look_alikes=begins) for run in made(rss_step=2 * PAGE)]

    (channel,) = control_steps(runs, seed=0)["quarantined"]

    assert channel["n_look_alikes"] == 10
    assert channel["look_alike"] == pytest.approx(3 * PAGE)
    assert channel["look_alike_size"] == pytest.approx(3 * PAGE)
    # They test nothing, and the line is a setting as it stands.
    (without,) = control_steps(made(rss_step=2 * PAGE), seed=0)["quarantined"]
    assert channel["reason"] == without["reason"]
    monkeypatch.chdir(tmp_path)
    (tmp_path / "cis490.toml").write_text(f"[quarantine]\n{channel['line']}\n")
    reason = Settings.load().quarantine["guest.top_rss_bytes"]
    assert "larger than elsewhere in 10 of 10 controls, p 0.0" in reason
    assert reason.endswith("by Holm; +1.23e+04 at 10 begins of look-alikes")


def test_steps_either_way_are_found_by_their_size():
    found = control_steps(made(fork_sizes=0.4), seed=0)

    (channel,) = found["quarantined"]
    assert (channel["channel"], ANY in channel["transitions"]) == ("guest.forks", True)
    row = next(
        row for row in found["rows"] if (row["channel"], row["transition"]) == ("guest.forks", ANY)
    )
    assert row["p_size"] < 0.001 < 0.01 < row["p_step"]


def test_without_a_step_nothing_is_quarantined_and_p_is_uniform():
    p = []
    for seed in range(12):
        # 199 permutations cannot reach the level by Holm: p of single rows shows the rate.
        rows = control_steps(made(seed=seed), seed=seed, n_permutations=199)["rows"]
        p += [row[key] for row in rows for key in ("p_step", "p_size")]
    of_transitions = [value for value in p if value is not None]

    # No run has a would-be dormant phase.
    assert len(of_transitions) == 12 * 2 * len(CHANNELS) * (len(TRANSITIONS) - 1)
    assert np.mean(np.array(of_transitions) <= 0.05) == pytest.approx(0.05, abs=0.015)
    assert np.mean(np.array(of_transitions) <= 0.5) == pytest.approx(0.5, abs=0.04)
    assert control_steps(made(), seed=0)["quarantined"] == []


def test_too_few_controls_quarantine_nothing_and_say_so():
    found = control_steps(made(MIN_CONTROLS - 1, rss_step=50 * PAGE), seed=0, n_permutations=99)

    assert found["quarantined"] == []
    assert found["why"] == "controls: 4 of 3 hosts, at least 5 of 2 are needed"
    assert control_steps([], seed=0)["why"] == "controls: 0 of 0 hosts, at least 5 of 2 are needed"


def test_controls_of_one_machine_quarantine_nothing():
    alone = [replace(run, host_id="kiosk") for run in made(rss_step=50 * PAGE)]

    found = control_steps(alone, seed=0, n_permutations=99)

    assert found["quarantined"] == []
    assert found["why"] == "controls: 10 of 1 hosts, at least 5 of 2 are needed"


def test_unknown_steps_are_left_out_of_their_channel_alone():
    runs = made(rss_step=2 * PAGE)
    for run in runs[:4]:
        run.steps[:, FORKS] = np.nan
        run.elsewhere[:, RSS] = np.nan

    found = control_steps(runs, seed=0, n_permutations=99)
    rows = {(row["channel"], row["transition"]): row for row in found["rows"]}

    assert rows["guest.forks", "infecting"]["n_steps"] == 12
    # Without another time to compare with, a run says nothing.
    assert rows["guest.top_rss_bytes", "infecting"]["n_controls"] == 6
    assert rows["guest.ctxt", "infecting"]["n_steps"] == 20


def test_steps_of_infected_runs_stand_beside_and_change_no_p():
    runs = made()
    infected = made(4, seed=1, rss_step=100 * PAGE)

    alone, beside = (
        control_steps(runs, others, seed=0, n_permutations=99)["rows"] for others in ((), infected)
    )

    assert [row["p_holm"] for row in alone] == [row["p_holm"] for row in beside]
    (row,) = (
        row
        for row in beside
        if (row["channel"], row["transition"]) == ("guest.top_rss_bytes", "infecting")
    )
    assert row["n_infected"] == 8
    assert row["infected"] == pytest.approx(100 * PAGE, rel=0.1)
    assert {row["infected"] for row in alone} == {None}


def test_onset_is_a_phase_after_clean():
    runs = made()
    run = runs[0]

    assert run.of(ONSET).tolist() == [True, False, False, False, True]
    assert run.of("clean").tolist() == [False, False, False, True, False]
    assert run.of(ANY).all()
    found = control_steps(runs, seed=0, n_permutations=99)
    assert found["n_steps"] == 50
    assert found["n_left_out"] == 10
    assert found["controls_by_host"] == {"host-0": 4, "host-1": 3, "host-2": 3}


def test_the_seed_decides_alone():
    runs = made(5, rss_step=PAGE)

    one, again = (control_steps(runs, seed=3, n_permutations=500) for _ in range(2))

    assert one == again
    assert one != control_steps(runs, seed=4, n_permutations=500)
