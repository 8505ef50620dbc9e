import json

import numpy as np
import polars as pl
import pytest
from sklearn import metrics

from cis490_pipeline.evaluation.metrics.probability_scores import (
    calibration_error,
    reliability_bins,
)
from cis490_pipeline.evaluation.metrics.reliability import reliability
from cis490_pipeline.evaluation.metrics.temperature import fit_temperature, tempered
from cis490_pipeline.evaluation.predictions import probabilities, true_classes
from cis490_pipeline_tests.evaluation.made_up import predictions, windows


@pytest.fixture
def sides():
    frame = predictions(windows(), skill=2)
    return [frame.filter(pl.col("side") == side) for side in ("val", "test")]


def test_the_temperature_is_vals_and_the_scores_are_tests(sides):
    val, test = sides
    y_true, proba = true_classes(test), probabilities(test)

    found = reliability(val, test)

    temperature = fit_temperature(true_classes(val), probabilities(val))
    assert found["temperature"] == temperature
    for name, said in (("before", proba), ("after", tempered(proba, temperature))):
        wanted = {
            "brier": np.square(said - np.eye(5)[y_true]).sum(axis=1).mean(),
            "log_loss": metrics.log_loss(y_true, said, labels=range(5)),
            "ece": calibration_error(y_true, said),
        }
        assert found[name] == pytest.approx(wanted)


def test_another_test_side_leaves_the_temperature_alone(sides):
    val, test = sides
    turned = test.with_columns(y_true=pl.col("y_true").reverse())

    before, after = reliability(val, test), reliability(val, turned)

    assert before["temperature"] == after["temperature"]
    assert before["before"] != after["before"]


def test_bins_hold_equally_many_windows_and_make_up_the_error(sides):
    _, test = sides
    found = reliability(*sides)

    counts = [part["n"] for part in found["bins_before"]]
    assert (len(counts), sum(counts)) == (15, test.height)
    assert max(counts) - min(counts) <= 1
    confidences = [part["confidence"] for part in found["bins_before"]]
    assert confidences == sorted(confidences)
    error = sum(b["n"] * abs(b["confidence"] - b["accuracy"]) for b in found["bins_after"])
    assert found["after"]["ece"] == pytest.approx(error / test.height)


def test_bins_by_hand():
    proba = np.array([[0.9, 0.1], [0.6, 0.4], [0.2, 0.8], [0.3, 0.7]])

    low, high = reliability_bins(np.array([0, 1, 1, 1]), proba, n_bins=2)

    assert (low.confidence, low.accuracy, low.n) == (pytest.approx(0.65), 0.5, 2)
    assert (high.confidence, high.accuracy, high.n) == (pytest.approx(0.85), 1.0, 2)


def test_without_validation_there_is_no_temperature_and_it_says_why(sides):
    val, test = sides

    found = json.loads(json.dumps(reliability(val.clear(), test), allow_nan=False))

    assert (found["temperature"], found["after"], found["bins_after"]) == (None, None, None)
    assert found["why"] == "no validation window to fit a temperature on"
    assert found["before"] == reliability(val, test)["before"]
