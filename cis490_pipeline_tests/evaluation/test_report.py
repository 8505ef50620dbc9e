import json

import numpy as np
import polars as pl
import pytest
from sklearn.metrics import average_precision_score, f1_score

from cis490_pipeline.domain import PHASES
from cis490_pipeline.errors import EvaluationError
from cis490_pipeline.evaluation.predictions import predicted_classes
from cis490_pipeline.evaluation.report import evaluate
from cis490_pipeline_tests.evaluation.made_up import SPLIT, predictions, windows


def report_of(frame, **changes):
    given = {
        "model": "gbt_realistic",
        "architecture": "gbt",
        "variant": "realistic",
        "split": SPLIT,
        "checkpoint_digest": "c" * 64,
        "seed": 0,
        "n_resamples": 200,
    }
    return evaluate(frame, **{**given, **changes})


@pytest.fixture
def frame():
    return predictions(windows(), skill=2)


def macro(rows):
    predicted = [str(PHASES[k]) for k in predicted_classes(rows)]
    return f1_score(rows["y_true"].to_list(), predicted, average="macro", zero_division=0)


def test_a_report_survives_json(frame):
    report = report_of(frame)

    assert json.loads(json.dumps(report, allow_nan=False)) == report


def test_the_headline_is_of_the_test_side_and_validation_stands_apart(frame):
    report = report_of(frame)

    assert report["macro_f1"] == pytest.approx(macro(frame.filter(pl.col("side") == "test")))
    assert report["val"]["macro_f1"] == pytest.approx(macro(frame.filter(pl.col("side") == "val")))
    assert (report["n_episodes"], report["val"]["n_episodes"]) == (8, 4)
    assert report["ci_low"] < report["macro_f1"] < report["ci_high"]


def test_every_host_is_scored_on_its_own_and_the_worst_is_named(frame):
    report = report_of(frame)

    test = frame.filter(pl.col("side") == "test")
    by_host = {host["host_id"]: host["macro_f1"] for host in report["per_host"]}
    assert by_host == {
        host: pytest.approx(macro(test.filter(pl.col("host_id") == host))) for host in by_host
    }
    assert report["host_minimum"]["macro_f1"] == min(by_host.values())


def test_what_a_host_never_ran_is_untested_and_has_no_score(frame):
    cells = report_of(frame)["profile_host"]

    (cell,) = [c for c in cells if (c["profile"], c["host_id"]) == ("io-walk", "lab-nuc")]
    assert (cell["tested"], cell["macro_f1"]) == (False, None)
    assert "untested" in cell["why"]


def test_a_profile_no_test_host_ran_is_named(frame):
    split = {**SPLIT, "untested_profiles": {"lab-nuc": ["exfil"], "garage-pi": ["exfil"]}}

    profiles = report_of(frame, split=split)["per_profile"]

    (row,) = [p for p in profiles if p["profile"] == "exfil"]
    assert (row["tested"], row["macro_f1"], row["n_windows"]) == (False, None, 0)


def test_clean_only_runs_have_an_accuracy_and_no_macro_f1():
    keys = windows().with_columns(
        y_true=pl.when(pl.col("episode_id") < "01EP0002").then(pl.lit("clean")).otherwise("y_true"),
        profile=pl.when(pl.col("episode_id") < "01EP0002").then(None).otherwise("profile"),
    )

    profiles = report_of(predictions(keys, skill=2))["per_profile"]

    (row,) = [p for p in profiles if p["profile"] == "clean-only"]
    assert row["macro_f1"] is None
    assert 0 < row["accuracy"] < 1
    assert "one true phase only (clean)" in row["why"]


def test_the_confusion_is_over_the_phases_seen(frame):
    rows = frame.filter(~pl.col("y_true").is_in(["dormant", "armed"]))
    shifted = rows.with_columns(
        p_clean=pl.col("p_clean") + pl.col("p_dormant") + pl.col("p_armed"),
        p_dormant=pl.lit(0.0),
        p_armed=pl.lit(0.0),
    )

    confusion = report_of(shifted)["confusion"]

    assert confusion["labels"] == ["clean", "infecting", "infected_running"]
    assert np.sum(confusion["counts"]) == shifted.filter(pl.col("side") == "test").height


def test_an_empty_validation_side_is_null_and_not_an_error(frame):
    report = report_of(frame.filter(pl.col("side") == "test"))

    assert report["val"]["macro_f1"] is None
    json.dumps(report, allow_nan=False)


def test_equal_seeds_give_equal_reports(frame):
    assert report_of(frame) == report_of(frame)


def test_the_worst_host_carries_its_interval(frame):
    report = report_of(frame)

    worst = min(report["per_host"], key=lambda host: host["macro_f1"])
    assert report["host_minimum"] == {name: worst[name] for name in report["host_minimum"]}
    assert report["host_minimum"]["ci_low"] < report["host_minimum"]["ci_high"]


def test_each_phase_has_its_average_precision_beside_its_prevalence(frame):
    test = frame.filter(pl.col("side") == "test")

    rows = report_of(frame)["per_class"]

    for row, phase in zip(rows, PHASES, strict=True):
        is_phase = (test["y_true"] == phase).to_numpy()
        wanted = average_precision_score(is_phase, test[f"p_{phase}"].to_numpy())
        assert row["pr_auc"] == pytest.approx(wanted, abs=1e-12)
        assert row["prevalence"] == is_phase.mean()


def test_a_phase_without_windows_has_no_average_precision(frame):
    rows = report_of(frame.filter(pl.col("y_true") != "armed"))["per_class"]

    (armed,) = [row for row in rows if row["phase"] == "armed"]
    assert (armed["pr_auc"], armed["prevalence"]) == (None, 0.0)


def test_windows_that_touch_the_baseline_are_refused_among_the_scored(frame):
    with pytest.raises(EvaluationError, match="gbt_realistic: 120 of 120 windows touch"):
        report_of(frame.with_columns(touches_baseline=True))


def test_windows_that_touch_the_baseline_change_one_row_of_subsets_and_nothing_else(frame):
    touching = frame.with_columns(window_idx=pl.col("window_idx") - 10, touches_baseline=True)

    without, with_them = report_of(frame), report_of(frame, baseline_windows=touching)

    (before, after) = (report.pop("subsets") for report in (without, with_them))
    assert without == with_them
    assert [b == a for b, a in zip(before, after, strict=True)] == [True, False, True]


def test_further_values_are_carried(frame):
    assert report_of(frame, extra={"n_test_openings": 2})["n_test_openings"] == 2


def test_no_test_window_is_refused(frame):
    with pytest.raises(EvaluationError, match="gbt_realistic: no window of the host split's test"):
        report_of(frame.filter(pl.col("side") == "val"))


def test_an_incomplete_split_is_refused(frame):
    with pytest.raises(EvaluationError, match=r"summary lacks \['shared'\]"):
        report_of(frame, split={k: v for k, v in SPLIT.items() if k != "shared"})
