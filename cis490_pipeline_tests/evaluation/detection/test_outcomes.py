import numpy as np
import pytest

from cis490_pipeline.evaluation.detection.outcomes import outcomes
from cis490_pipeline.evaluation.detection.windows import alarm_windows
from cis490_pipeline_tests.evaluation.alarms import labels_of
from cis490_pipeline_tests.evaluation.made_up import predictions, windows

# Windows of ``made_up`` end at 25, 30, … 70 s.
RUN = [(0, "clean"), (36, "armed"), (41, "infecting"), (52, "infected_running")]
CLEANED = [*RUN, (58, "clean")]


def judged(plot, *stood):
    frame = predictions(windows(n_test=1, n_val=0), skill=2)
    found = alarm_windows(frame, labels_of({"01EP0000": plot}))
    return outcomes(found, np.array([[mark == "#" for mark in row] for row in stood]))


def test_the_delay_runs_from_the_onset_to_the_end_of_the_first_window_of_the_alarm():
    found = judged(RUN, ".....#####", "....#.....")

    assert found.detected.tolist() == [[True], [True]]
    assert found.delay_s[:, 0].tolist() == [50 - 41, 45 - 41]
    assert found.watched_s.tolist() == [70 - 41]


def test_an_alarm_that_stands_when_the_infection_begins_is_no_detection():
    # At 40 s, the last end before 41 s; the second and the third rise again later.
    found = judged(RUN, "..########", "...#..####", "#..#.#####")

    assert found.already.all()
    assert not found.detected.any()
    assert np.isnan(found.delay_s).all()


def test_an_alarm_that_ended_before_the_infection_hides_none():
    found = judged(RUN, "##....####")

    assert (found.already[0, 0], found.detected[0, 0]) == (False, True)
    assert found.n_false.tolist() == [1]


def test_only_the_rise_of_an_alarm_counts_and_only_in_clean_time():
    found = judged(RUN, "#.##......", "...#......", "#########.")

    # Ends at 25, 30 and 35 s are clean, 40 s is armed.
    assert found.n_false.tolist() == [2, 0, 1]
    assert found.n_armed.tolist() == [0, 1, 0]
    assert found.clean_days == pytest.approx(3 * 5 / 86_400)


def test_an_alarm_after_the_infection_was_removed_is_false_and_late():
    found = judged(CLEANED, ".......#..", "......#...")

    assert found.detected[:, 0].tolist() == [False, True]
    assert found.n_false.tolist() == [1, 0]
    assert found.watched_s.tolist() == [55 - 41]


def test_an_infection_that_no_window_ends_in_is_not_asked_for():
    found = judged([(0, "clean"), (70, "infecting")], ".........#")

    assert (found.infected[0], found.detected[0, 0]) == (False, False)
    assert np.isnan(found.watched_s[0])


TWICE = [
    (0, "clean"),
    (31, "infecting"),
    (41, "clean"),
    (51, "dormant"),
    (56, "infected_running"),
    (66, "clean"),
]


def test_each_infection_of_an_episode_is_to_be_found_for_itself():
    found = judged(TWICE, "..#.......", "........#.", "..#....#..", "..########")

    assert found.infected.tolist() == [True, True]
    assert found.detected.tolist() == [[True, False], [False, True], [True, True], [True, False]]
    assert found.already.tolist() == [[False, False]] * 3 + [[False, True]]
    assert found.watched_s.tolist() == [40 - 31, 65 - 56]


def test_an_alarm_in_a_dormant_beginning_finds_the_infection_at_its_onset():
    found = judged(TWICE, "......#...", ".......#..")

    assert found.detected[:, 1].tolist() == [True, True]
    assert found.delay_s[:, 1].tolist() == [0, 60 - 56]
    assert found.n_false.tolist() == [0, 0]


def test_a_dormant_run_that_never_ran_is_no_infection_and_no_clean_time():
    found = judged([(0, "clean"), (41, "dormant"), (60, "clean")], "....#.....")

    assert found.infected.size == 0
    assert found.n_false.tolist() == [0]
    assert found.clean.sum() == 7


def test_a_clean_run_has_false_alarms_and_nothing_else():
    found = judged([(0, "clean")], "#....##..#")

    assert found.n_false.tolist() == [3]
    for nothing in (found.infected, found.detected, found.already):
        assert not nothing.any()
    assert found.alarmed.tolist() == [[True]]


def test_episodes_do_not_run_into_each_other():
    frame = predictions(windows(n_test=2, n_val=0), skill=2)
    found = alarm_windows(frame, labels_of({"01EP0000": RUN, "01EP0001": [(0, "clean")]}))
    stands = np.zeros((1, 20), dtype=bool)
    stands[0, 8:13] = True

    judged_ = outcomes(found, stands)

    # It stands at the end of the first and at the start of the second: it rose in both.
    assert judged_.detected[0].tolist() == [True]
    assert judged_.n_false.tolist() == [1]
    assert np.flatnonzero(judged_.false_alarm[0]).tolist() == [10]


def test_nothing_to_judge_is_nothing():
    frame = predictions(windows(n_test=1, n_val=0), skill=2)
    empty = alarm_windows(frame.clear(), labels_of({"01EP0000": RUN}))

    found = outcomes(empty, np.zeros((2, 0), dtype=bool))

    assert (found.detected.shape, found.n_false.tolist(), found.clean_days) == ((2, 0), [0, 0], 0.0)
