import numpy as np
import polars as pl
import pytest

from cis490_pipeline.errors import EvaluationError
from cis490_pipeline.evaluation.detection.windows import alarm_windows
from cis490_pipeline_tests.evaluation.alarms import labels_of
from cis490_pipeline_tests.evaluation.made_up import predictions, windows

# Windows of ``made_up`` end at 25, 30, … 70 s; their plot is 0 0 0 1 2 2 3 3 3 4.
PLOT = [(0, "clean"), (36, "armed"), (40, "infecting"), (50.5, "infected_running")]


@pytest.fixture
def frame():
    return predictions(windows(n_test=2, n_val=0), skill=2)


@pytest.fixture
def truth(frame):
    return labels_of(dict.fromkeys(frame["episode_id"].unique(), PLOT))


def test_a_missing_window_has_a_row_of_its_own(frame, truth):
    gappy = frame.filter(
        ~((pl.col("episode_id") == "01EP0001") & pl.col("window_idx").is_in([5, 6]))
    )

    found = alarm_windows(gappy.sample(fraction=1, shuffle=True, seed=0), truth)

    assert found.lengths.tolist() == [10, 10]
    assert np.flatnonzero(~found.present).tolist() == [12, 13]
    assert found.end_s.tolist() == [25.0 + 5 * k for k in range(10)] * 2
    assert (found.y_true == -1).tolist() == (~found.present).tolist()


def test_the_phase_is_the_one_at_the_windows_end_and_the_onset_is_its_label(frame, truth):
    found = alarm_windows(frame, truth)

    assert found.phase_at_end[:10].tolist() == [0, 0, 0, 2, 2, 2, 3, 3, 3, 3]
    assert found.onset_s.tolist() == [40.0, 40.0]
    assert not found.clean_only.any()


def test_a_clean_run_has_no_onset_and_a_called_off_one_is_not_clean_only(frame):
    truth = labels_of(
        {"01EP0000": [(0, "clean")], "01EP0001": [(0, "clean"), (30, "armed"), (50, "clean")]}
    )

    found = alarm_windows(frame, truth)

    assert np.isnan(found.onset_s).all()
    assert found.clean_only.tolist() == [True, False]


def test_the_digest_knows_the_predictions_and_the_labels(frame, truth):
    other = labels_of({key: [*PLOT, (60, "dormant")] for key in frame["episode_id"].unique()})
    changed = frame.with_columns(p_clean=pl.col("p_armed"), p_armed=pl.col("p_clean"))

    digests = {
        alarm_windows(frame, truth).digest,
        alarm_windows(frame, other).digest,
        alarm_windows(changed, truth).digest,
    }

    assert len(digests) == 3
    assert alarm_windows(frame.reverse(), truth).digest in digests


def test_no_windows_are_no_episodes(frame, truth):
    found = alarm_windows(frame.clear(), truth)

    assert (len(found), found.proba.shape, found.episode.size) == (0, (0, 5), 0)


def test_an_episode_without_labels_is_named(frame):
    with pytest.raises(EvaluationError, match=r"no labels of 1 episodes.*01EP0001"):
        alarm_windows(frame, labels_of({"01EP0000": PLOT}))


def test_labels_of_another_form_are_refused(frame, truth):
    with pytest.raises(EvaluationError, match=r"lack the columns.*label_phase"):
        alarm_windows(frame, truth.drop("label_phase"))
