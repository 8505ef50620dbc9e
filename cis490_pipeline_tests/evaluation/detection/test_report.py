import json

import msgspec
import numpy as np
import polars as pl
import pytest
from scipy.stats import binomtest, chi2
from sklearn.metrics import f1_score

from cis490_pipeline.alarm.alarm import Alarm, AlarmSettings
from cis490_pipeline.evaluation.detection.fit import label_sequences
from cis490_pipeline.evaluation.detection.report import AlarmInputs, detection_report
from cis490_pipeline.evaluation.predictions import PROBABILITY_COLUMNS
from cis490_pipeline.evaluation.report import evaluate
from cis490_pipeline.evaluation.schema.report import EvalReport
from cis490_pipeline_tests.evaluation.alarms import labels_of
from cis490_pipeline_tests.evaluation.made_up import SPLIT, predictions, windows

NAMES = ["clean", "armed", "infecting", "infected_running", "dormant"]
RUN = [(0, "clean"), (36, "armed"), (41, "infecting"), (52, "infected_running"), (67, "dormant")]
CLEAN = [(0, "clean")]


def frame_and_inputs(*, n_test=12, n_val=6, skill=2.0, clean_every=4):
    """Predictions in which every so many episodes stay clean, and their labels."""
    keys = windows(n_test=n_test, n_val=n_val)
    ids = sorted(keys["episode_id"].unique())
    clean = ids[::clean_every]
    keys = keys.with_columns(
        y_true=pl.when(pl.col("episode_id").is_in(clean))
        .then(pl.lit("clean"))
        .otherwise(pl.col("y_true")),
        profile=pl.when(pl.col("episode_id").is_in(clean))
        .then(pl.lit(None, dtype=pl.String))
        .otherwise(pl.col("profile")),
    )
    truth = labels_of({name: CLEAN if name in clean else RUN for name in ids})
    sequences = label_sequences(windows(n_test=0, n_val=3))
    return predictions(keys, skill=skill), AlarmInputs(sequences, truth)


def report_of(frame, inputs):
    return detection_report(frame, inputs, seed=0, n_resamples=100)


@pytest.fixture(scope="module")
def given():
    return frame_and_inputs()


@pytest.fixture(scope="module")
def report(given):
    return report_of(*given)


def test_the_form_names_every_key_of_a_new_report(given):
    frame, inputs = given
    made = evaluate(
        frame,
        model="gbt_realistic",
        architecture="gbt",
        variant="realistic",
        split=SPLIT,
        checkpoint_digest=None,
        seed=0,
        n_resamples=20,
        alarm=inputs,
    )

    assert msgspec.convert(json.loads(json.dumps(made)), EvalReport) == made
    assert made["detection"]["alarm"]["settings"]["threshold"] > 0


def test_the_account_survives_json(report):
    assert json.loads(json.dumps(report, allow_nan=False)) == report


def test_a_report_carries_it_only_where_labels_are_given(given):
    frame, inputs = given
    scored = {
        "model": "gbt_realistic",
        "architecture": "gbt",
        "variant": "realistic",
        "split": SPLIT,
        "checkpoint_digest": "c" * 64,
        "seed": 0,
        "n_resamples": 100,
    }

    assert evaluate(frame, **scored)["detection"] is None
    assert evaluate(frame, **scored, alarm=inputs)["detection"] == report_of(frame, inputs)


def test_nothing_of_the_test_side_changes_the_alarm(given, report):
    frame, inputs = given
    rng = np.random.default_rng(0)
    is_test = (frame["side"] == "test").to_numpy()
    proba = frame.select(PROBABILITY_COLUMNS).to_numpy().copy()
    proba[is_test] = rng.dirichlet(np.ones(5), size=int(is_test.sum()))
    perturbed = frame.with_columns(
        **{name: pl.Series(proba[:, k]) for k, name in enumerate(PROBABILITY_COLUMNS)}
    )

    other = report_of(perturbed, inputs)

    assert other["alarm"] == report["alarm"]
    assert other["alarm"]["settings"]["fitted_on"]["val_digest"]
    assert other["filtered"]["macro_f1"] != report["filtered"]["macro_f1"]


def test_validation_does_change_what_it_is_said_to_be_fitted_on(given, report):
    frame, inputs = given
    fewer = frame.filter((pl.col("side") == "test") | (pl.col("window_idx") > 3))

    digest = report_of(fewer, inputs)["alarm"]["settings"]["fitted_on"]["val_digest"]

    assert digest != report["alarm"]["settings"]["fitted_on"]["val_digest"]


def test_the_settings_run_live_give_what_was_reported(given, report):
    frame, _ = given
    settings = AlarmSettings.from_dict(report["alarm"]["settings"])
    test = frame.filter(pl.col("side") == "test").sort("episode_id", "window_idx")
    states, alarmed = [], 0
    for episode in test.partition_by("episode_id", maintain_order=True):
        alarm = Alarm(settings)
        said = [alarm.update(row) for row in episode.select(PROBABILITY_COLUMNS).to_numpy()]
        states += [int(state.phases.argmax()) for state in said]
        alarmed += any(state.alarming for state in said)

    wanted = f1_score(
        test["y_true"].to_list(), [NAMES[k] for k in states], average="macro", zero_division=0
    )
    assert report["filtered"]["macro_f1"] == pytest.approx(wanted)
    episodes = report["episodes"]
    assert sum(episodes[kind]["alarmed"] for kind in ("infected", "clean", "called_off")) == alarmed


def test_every_infection_is_counted_once(report):
    times = report["time_to_detection"]

    assert times["n_infected"] == 9
    assert (
        times["n_detected"] + times["n_missed"] + times["n_already_alarming"] == times["n_infected"]
    )
    assert sum(row["n_infected"] for row in report["by_profile"]) == times["n_infected"]
    assert {row["profile"] for row in report["by_profile"]} == {"flood", "io-walk"}
    assert report["episodes"]["clean"]["n"] == 3


def test_a_model_that_is_right_finds_all_of_them_within_two_windows():
    times = report_of(*frame_and_inputs(skill=9.0))["time_to_detection"]

    # The first window that is called infecting ends at 45 s, 4 s after the onset.
    assert times["share_detected"] == 1.0
    assert times["median_s"] == 4.0
    assert times["share_high"] == 1.0
    assert times["share_low"] == pytest.approx(1 / (1 + 1.959964**2 / 9))


def test_probabilities_that_say_nothing_find_nothing():
    frame, inputs = frame_and_inputs(skill=0.0)
    shares = inputs.sequences.class_prior
    told = frame.with_columns(
        **{name: pl.lit(shares[k]) for k, name in enumerate(PROBABILITY_COLUMNS)}
    )

    report = report_of(told, inputs)

    assert report["time_to_detection"]["n_detected"] == 0
    assert report["time_to_detection"]["median_s"] is None
    assert "too few were found" in report["time_to_detection"]["why"]
    constant = {row["name"]: row for row in report["ablations"]}["constant_emissions"]
    without_curve = {k: v for k, v in report["time_to_detection"].items() if k != "curve"}
    assert constant["time_to_detection"] == without_curve


def test_a_rate_that_so_little_clean_time_cannot_support_is_null(report):
    for row in report["at_rates"]:
        assert (row["threshold"], row["share_detected"], row["median_s"]) == (None, None, None)
        assert f"{3 / row['per_day']:g} are needed" in row["why"]


def test_with_enough_clean_time_the_rate_holds_on_validation():
    # 6,000 clean windows in each of the clean runs of val: .69 device-days, enough for 10 a day.
    rng = np.random.default_rng(1)
    frame, inputs = frame_and_inputs(skill=4.0)
    clean = "01EP0012"
    n = 6_000
    keys = frame.filter(pl.col("episode_id") == clean).head(1).drop(PROBABILITY_COLUMNS)
    long = pl.concat([keys] * n).with_columns(
        window_idx=pl.int_range(3, n + 3),
        t_end_wall_ns=pl.int_range(5, n + 5) * 5_000_000_000,
    )
    certain = np.tile([0.9, 0.04, 0.02, 0.02, 0.02], (n, 1))
    certain[rng.choice(n, 20, replace=False)] = [0.05, 0.05, 0.8, 0.05, 0.05]
    long = long.with_columns(
        **{name: pl.Series(certain[:, k]) for k, name in enumerate(PROBABILITY_COLUMNS)}
    )
    both = pl.concat([frame.filter(pl.col("episode_id") != clean), long.select(frame.columns)])

    report = report_of(both, inputs)

    rows = {row["per_day"]: row for row in report["at_rates"]}
    assert rows[0.1]["threshold"] is None
    assert rows[10.0]["why"] is None
    assert rows[10.0]["share_detected"] > 0.5
    assert report["alarm"]["val"]["device_days"] > 0.3
    assert report["alarm"]["val"]["n_false_alarms"] <= 10 * report["alarm"]["val"]["device_days"]


def test_false_alarms_of_clean_runs_are_spread_over_their_time(report):
    rows = report["by_elapsed"]

    # Three clean runs of ten windows that end at 25 to 70 s.
    assert [(row["from_s"], row["to_s"]) for row in rows] == [(0, 30), (30, 60), (60, 90)]
    assert [row["device_hours"] * 3600 / 5 for row in rows] == pytest.approx([6, 18, 6])


def test_predictive_values_are_bounded_and_fall_with_the_prior(report):
    rows = report["ppv"]

    assert [row["prior"] for row in rows] == [0.1, 0.01, 0.001]
    assert all(row["per"] == "device-day" and row["low"] < row["high"] for row in rows)
    assert rows[0]["low"] > rows[1]["low"] > rows[2]["low"]
    assert all((row["ppv"] is None) == (row["why"] is not None) for row in rows)


def test_no_number_where_there_is_no_infection():
    report = report_of(*frame_and_inputs(clean_every=1))

    assert report["time_to_detection"]["share_detected"] is None
    assert report["time_to_detection"]["why"] == "n/a: no infection"
    assert report["by_profile"] == []
    assert all(row["ppv"] is None and "0 infections" in row["why"] for row in report["ppv"])


def test_ends_of_a_predictive_value_combine_the_worst_and_the_best_of_both_intervals(report):
    times, rate = report["time_to_detection"], report["false_alarms"]
    # 97.5 % each, so that both hold in 95 %.
    share = binomtest(times["n_detected"], times["n_infected"]).proportion_ci(0.975, "wilson")
    most = chi2.ppf(1 - 0.0125, 2 * rate["n"] + 2) / 2 / rate["device_days"]

    worst = 0.01 * share.low / (0.01 * share.low + most)
    assert report["ppv"][1]["low"] == pytest.approx(worst)
