import numpy as np
import polars as pl
import pytest
from scipy import stats

from cis490_pipeline.errors import EvaluationError
from cis490_pipeline.evaluation.detection.fit import (
    EMISSION_POWER,
    HOURLY,
    Candidates,
    daily,
    evaluate_candidates,
    fit_alarm,
    label_sequences,
    transition_matrix,
)
from cis490_pipeline.evaluation.detection.windows import alarm_windows
from cis490_pipeline_tests.evaluation.alarms import labels_of
from cis490_pipeline_tests.evaluation.made_up import predictions, windows

RUN = [(0, "clean"), (36, "armed"), (41, "infecting"), (52, "infected_running"), (67, "dormant")]


def train_windows():
    return windows(n_test=0, n_val=3)


def val_windows(skill, seed=0, n=6, plot=RUN):
    frame = predictions(windows(n_test=0, n_val=n), skill=skill, seed=seed)
    return alarm_windows(frame, labels_of(dict.fromkeys(frame["episode_id"].unique(), plot)))


def test_steps_are_counted_within_episodes_and_not_over_gaps():
    train = train_windows().filter(pl.col("window_idx") != 4)

    found = label_sequences(train)

    # The plot 0 0 0 1 2 2 3 3 3 4 without its second window, three times.
    wanted = np.zeros((5, 5))
    for before, after in [(0, 1), (1, 2), (2, 2), (2, 3), (3, 3), (3, 3), (3, 4)]:
        wanted[before, after] += 3
    assert found.steps.tolist() == wanted.tolist()
    assert found.windows.tolist() == [6, 3, 6, 9, 3]
    assert found.class_prior.sum() == pytest.approx(1)


def test_learnt_transitions_are_smoothed_counts():
    matrix = transition_matrix(label_sequences(train_windows()), None)

    # From clean: six times clean, three times armed, and one more spread over five.
    assert matrix[0] == pytest.approx([6.2 / 10, 3.2 / 10, 0.02, 0.02, 0.02])
    # Nothing followed dormant in training.
    assert matrix[4] == pytest.approx([0.2] * 5)


def test_the_prior_says_how_often_clean_is_left_and_training_which_way():
    sequences = label_sequences(train_windows())
    stated, learnt = transition_matrix(sequences, 1.0), transition_matrix(sequences, None)

    n_steps = 86_400 // 5
    assert stated[0, 0] ** n_steps == pytest.approx(np.exp(-1))
    np.testing.assert_allclose(
        stated[0, 1:] / stated[0, 1:].sum(), learnt[0, 1:] / learnt[0, 1:].sum()
    )
    np.testing.assert_array_equal(stated[1:], learnt[1:])
    np.testing.assert_allclose(stated.sum(axis=1), 1)


def test_a_phase_that_training_never_saw_is_named():
    with pytest.raises(EvaluationError, match=r"training has no.*dormant"):
        label_sequences(train_windows().filter(pl.col("y_true") != "dormant"))


def test_candidates_begin_at_even_odds_with_hysteresis():
    grid = Candidates.grid()

    assert (grid.threshold[0], grid.release[0], grid.hold_windows[0]) == (0.5, 0.2, 2)
    assert (grid.release <= grid.threshold).all()
    distance = np.abs(np.log(grid.threshold / (1 - grid.threshold)))
    assert (np.diff(distance) > -1e-9).all()


def test_a_model_that_is_right_needs_no_other_threshold_than_even_odds():
    trial = evaluate_candidates(val_windows(skill=9), label_sequences(train_windows()), 1.0)

    assert trial.best() == 0


def brute_force(trial, allowed):
    def cost(c):
        return (
            max(int(trial.on_val.n_false[c]) - allowed, 0),
            -int(trial.on_val.detected[c].sum()),
            c,
        )

    return min(range(len(trial.candidates.threshold)), key=cost)


@pytest.mark.parametrize("seed", range(5))
def test_the_choice_is_the_rules(seed):
    trial = evaluate_candidates(
        val_windows(skill=1.0, seed=seed), label_sequences(train_windows()), None
    )

    assert trial.best() == brute_force(trial, allowed=0)
    per_day = 1.5 / trial.on_val.clean_days
    assert trial.best(daily(per_day)) == brute_force(trial, allowed=1)


def test_more_false_alarms_allowed_find_no_fewer_infections():
    trial = evaluate_candidates(
        val_windows(skill=0.7, n=12), label_sequences(train_windows()), None
    )
    found = [
        int(trial.on_val.detected[trial.best(daily(k / trial.on_val.clean_days))].sum())
        for k in range(8)
    ]

    assert found == sorted(found)


@pytest.mark.parametrize(
    ("hours", "allowed"), [(0.1, 0), (1.4, 0), (3.0, 1), (4.0, 3), (6.0, 6), (7.5, 7)]
)
def test_a_rate_an_hour_is_held_with_its_bound(hours, allowed):
    assert HOURLY.allowed(hours / 24) == allowed
    assert allowed <= hours
    # The bound of that many is at most 2 an hour, or none is allowed.
    assert allowed == 0 or stats.poisson.cdf(allowed, 2 * hours) <= 0.05


@pytest.mark.parametrize("seed", range(4))
def test_the_power_is_the_one_whose_best_candidate_finds_most_within_the_budget(seed):
    val, sequences = val_windows(skill=0.7, n=12, seed=seed), label_sequences(train_windows())

    trial, chosen = fit_alarm(val, sequences, 1.0, HOURLY)

    powers = HOURLY.emission_powers
    trials = [evaluate_candidates(val, sequences, 1.0, power) for power in powers]
    costs = [other.cost(other.best(HOURLY), HOURLY) for other in trials]
    assert trial.filter.emission_power == powers[costs.index(min(costs))]
    assert chosen == brute_force(trial, allowed=0)
    assert trial.settings(chosen).filter.emission_power == trial.filter.emission_power


def test_a_budget_a_day_has_one_power():
    val, sequences = val_windows(skill=1.0), label_sequences(train_windows())

    trial, chosen = fit_alarm(val, sequences, 1.0)

    assert trial.filter.emission_power == EMISSION_POWER
    assert chosen == evaluate_candidates(val, sequences, 1.0).best()


def test_without_validation_the_filters_own_threshold_stands():
    empty = alarm_windows(
        predictions(windows(n_test=1, n_val=0), skill=1).clear(), labels_of({"a": RUN})
    )

    trial = evaluate_candidates(empty, label_sequences(train_windows()), 1.0)

    assert trial.settings(trial.best()).threshold == 0.5


def test_settings_name_what_they_were_fitted_on():
    sequences, val = label_sequences(train_windows()), val_windows(skill=1.0)

    fitted_on = evaluate_candidates(val, sequences, 1.0).settings(0).fitted_on

    assert fitted_on["val_digest"] == val.digest
    assert fitted_on["train_digest"] == sequences.digest
