import json
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cis490_pipeline.alarm.alarm import (
    Alarm,
    AlarmSettings,
    alarm_is_on,
    infected_probability,
)
from cis490_pipeline.alarm.forward_filter import filter_sequences
from cis490_pipeline.errors import EvaluationError
from cis490_pipeline_tests.evaluation.alarms import any_filter, any_proba, settings_of


def stands(scores, present=None, *, threshold=0.8, release=0.4, hold_windows=2):
    scores = np.asarray(scores, dtype=float)
    there = np.ones(scores.size, bool) if present is None else np.asarray(present, bool)
    found = alarm_is_on(
        scores,
        there,
        np.array([scores.size]),
        threshold=threshold,
        release=release,
        hold_windows=hold_windows,
    )
    return found[0].astype(int).tolist()


@given(seed=st.integers(0, 10_000), n=st.integers(1, 40), hold=st.integers(1, 3))
def test_one_window_at_a_time_gives_the_numbers_of_the_batch(seed, n, hold):
    rng = np.random.default_rng(seed)
    model, proba, present = any_filter(rng), any_proba(rng, n), rng.random(n) < 0.8
    settings = settings_of(model, threshold=0.6, release=0.4, hold_windows=hold)

    alarm = Alarm(settings)
    live = [alarm.update(p if there else None) for p, there in zip(proba, present, strict=True)]

    states = filter_sequences(model, proba, present, np.array([n]))
    infected = infected_probability(states)
    batch = alarm_is_on(
        infected, present, np.array([n]), threshold=0.6, release=0.4, hold_windows=hold
    )[0]
    np.testing.assert_allclose([state.phases for state in live], states, rtol=1e-12)
    assert [state.alarming for state in live] == batch.tolist()
    before = np.concatenate([[False], batch[:-1]])
    assert [state.rising for state in live] == (batch & ~before).tolist()


def test_an_alarm_rises_at_the_threshold_and_not_below():
    assert stands([0.79, 0.8, 0.9]) == [0, 1, 1]


def test_between_release_and_threshold_an_alarm_stays_as_it_was():
    assert stands([0.5, 0.9, 0.5, 0.4, 0.5]) == [0, 1, 1, 1, 1]


def test_an_alarm_ends_after_so_many_windows_in_a_row_below_release():
    assert stands([0.9, 0.1, 0.5, 0.1, 0.1, 0.1], hold_windows=2) == [1, 1, 1, 1, 0, 0]
    assert stands([0.9, 0.1, 0.1, 0.1], hold_windows=1) == [1, 0, 0, 0]
    assert stands([0.9, 0.1, 0.1, 0.1], hold_windows=3) == [1, 1, 1, 0]


def test_an_alarm_that_ended_can_rise_again():
    assert stands([0.9, 0.1, 0.9, 0.1], hold_windows=1) == [1, 0, 1, 0]


def test_a_missing_window_neither_raises_nor_ends_an_alarm():
    assert stands([0.9, 0.9, 0.9], [0, 0, 1]) == [0, 0, 1]
    assert stands([0.9, 0.1, 0.1, 0.1], [1, 1, 0, 1]) == [1, 1, 1, 0]


def test_many_settings_at_once_are_each_alone():
    rng = np.random.default_rng(0)
    scores, lengths = rng.random(30), np.array([12, 18])
    present = rng.random(30) < 0.8
    up, low, hold = np.array([0.9, 0.6, 0.5]), np.array([0.2, 0.6, 0.3]), np.array([1, 2, 3])

    together = alarm_is_on(scores, present, lengths, threshold=up, release=low, hold_windows=hold)

    for k in range(3):
        alone = alarm_is_on(
            scores, present, lengths, threshold=up[k], release=low[k], hold_windows=hold[k]
        )
        np.testing.assert_array_equal(together[k], alone[0])


def test_a_reset_alarm_knows_nothing_of_before():
    rng = np.random.default_rng(5)
    alarm, proba = Alarm(settings_of(any_filter(rng))), any_proba(rng, 6)

    first = [alarm.update(p).infected for p in proba]
    alarm.reset()

    assert [alarm.update(p).infected for p in proba] == first


def test_armed_is_no_part_of_the_alarm():
    state = np.array([0.1, 0.6, 0.1, 0.15, 0.05])

    assert infected_probability(state) == pytest.approx(0.3)


@pytest.mark.parametrize(
    "proba", [[0.5, 0.5], [1, 1, 0, 0, 0], [-0.1, 0.5, 0.2, 0.2, 0.2], [np.nan, 1, 0, 0, 0]]
)
def test_what_are_no_probabilities_is_refused(proba):
    alarm = Alarm(settings_of(any_filter(np.random.default_rng(0))))

    with pytest.raises(EvaluationError, match="wants 5 probabilities that sum to 1"):
        alarm.update(proba)


def test_settings_survive_json_to_the_bit():
    saved = json.loads(json.dumps(settings_of(any_filter(np.random.default_rng(6))).to_dict()))
    proba = any_proba(np.random.default_rng(7), 8)
    original = Alarm(settings_of(any_filter(np.random.default_rng(6))))

    read = AlarmSettings.from_dict(saved)

    assert read.to_dict() == saved
    again = Alarm(read)
    for p in proba:
        np.testing.assert_array_equal(again.update(p).phases, original.update(p).phases)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"version": "99"}, "version is '99', wanted '1'"),
        ({"format": "model"}, "format is 'model', wanted 'alarm'"),
        ({"phases": ["dormant", "clean"]}, "phases is"),
        ({"threshold": "high"}, "damaged"),
        ({"transition": [[1.0]]}, r"transition must be \(5, 5\)"),
        ({"release": 0.9}, "0 < release <= threshold < 1"),
        ({"threshold": float("nan")}, "0 < release <= threshold < 1"),
        ({"hold_windows": 0}, "hold_windows must be at least 1"),
    ],
)
def test_settings_that_cannot_be_run_are_refused(change, message):
    saved = settings_of(any_filter(np.random.default_rng(8))).to_dict()

    with pytest.raises(EvaluationError, match=message):
        AlarmSettings.from_dict({**saved, **change})


def test_settings_that_lack_a_value_are_refused():
    saved = settings_of(any_filter(np.random.default_rng(9))).to_dict()
    del saved["release"]

    with pytest.raises(EvaluationError, match="'release'"):
        AlarmSettings.from_dict(saved)


def test_an_alarm_needs_numpy_alone():
    code = "import cis490_pipeline.alarm.alarm, sys; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = {name.partition(".")[0] for name in done.stdout.split()}

    assert "numpy" in loaded
    assert not loaded & {"polars", "scipy", "sklearn", "torch", "xgboost", "dagster", "onnxruntime"}
