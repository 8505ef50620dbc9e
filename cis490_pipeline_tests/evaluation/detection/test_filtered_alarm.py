import numpy as np
import polars as pl
import pytest

from cis490_pipeline.alarm.alarm import Alarm
from cis490_pipeline.domain import PHASES
from cis490_pipeline.errors import EvaluationError
from cis490_pipeline.evaluation.detection.filtered_alarm import fit_filtered_alarm, is_infected
from cis490_pipeline.evaluation.detection.fit import label_sequences
from cis490_pipeline.evaluation.predictions import probabilities
from cis490_pipeline_tests.evaluation.alarms import labels_of
from cis490_pipeline_tests.evaluation.made_up import predictions, windows

RUN = [(0, "clean"), (36, "armed"), (41, "infecting"), (52, "infected_running"), (67, "dormant")]
TRAIN = label_sequences(windows(n_test=0, n_val=3))


@pytest.fixture
def val():
    return predictions(windows(n_test=0, n_val=6), skill=0.8, seed=0)


def truth_of(frame):
    return labels_of(dict.fromkeys(frame["episode_id"].unique(), RUN))


def fitted(val):
    return fit_filtered_alarm(val, TRAIN, truth_of(val))


def test_it_stands_where_the_alarm_fed_window_by_window_stands(val):
    alarm = fitted(val)
    # A gap, and an order that is nobody's.
    frame = val.filter(pl.col("window_idx") != 5).sample(fraction=1, shuffle=True, seed=1)
    fires = dict(
        zip(frame.select("episode_id", "window_idx").rows(), alarm.fires(frame), strict=True)
    )

    wanted = {}
    for (episode_id,), rows in val.group_by("episode_id"):
        live = Alarm(alarm.settings)
        ordered = rows.sort("window_idx")
        for index, proba in zip(ordered["window_idx"], probabilities(ordered), strict=True):
            state = live.update(None if index == 5 else proba)
            wanted[episode_id, index] = state.alarming
    assert fires == {key: wanted[key] for key in fires}
    assert any(fires.values())
    assert not all(fires.values())


def test_what_it_is_asked_of_moves_no_threshold(val):
    alarm = fitted(val)
    before = alarm.to_dict()
    alarm.fires(predictions(windows(n_test=0, n_val=6), skill=0.0, seed=3))

    assert alarm.to_dict() == before == fitted(val).to_dict()
    assert before["n_episodes"] == 6
    assert before["n_windows"] == val.height


def test_windows_of_test_and_no_windows_fix_nothing(val):
    test = val.with_columns(side=pl.lit("test"))

    with pytest.raises(EvaluationError, match=r"fixed on val alone, got windows of \['test'\]"):
        fit_filtered_alarm(pl.concat([val, test]), TRAIN, truth_of(val))
    with pytest.raises(EvaluationError, match="no window of val to fix a threshold on"):
        fit_filtered_alarm(val.clear(), TRAIN, truth_of(val))


def test_an_empty_frame_is_asked_nothing(val):
    assert fitted(val).fires(val.clear()).shape == (0,)


def test_infected_are_three_phases_of_five():
    frame = pl.DataFrame({"y_true": [str(phase) for phase in PHASES]})

    np.testing.assert_array_equal(frame.select(is_infected()).to_series(), [0, 0, 1, 1, 1])
