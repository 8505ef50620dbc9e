"""A threshold on validation alone."""

import numpy as np
import polars as pl
import pytest

from cis490_pipeline.domain import PHASES
from cis490_pipeline.errors import EvaluationError
from cis490_pipeline.evaluation.window_alarm import (
    MAX_FALSE_SHARE,
    fit_window_alarm,
    infected_probability,
)


def frame_of(infected_share, phases, split="val"):
    p = np.asarray(infected_share, dtype=np.float64)
    parts = {"p_clean": 1 - p, "p_armed": 0 * p, "p_infecting": p / 2}
    parts |= {"p_infected_running": p / 4, "p_dormant": p / 4}
    ids = [f"e{i // 4}" for i in range(p.size)]
    return pl.DataFrame({"episode_id": ids, "split": split, "y_true": phases, **parts})


@pytest.mark.parametrize("n", [1, 5, 19, 20, 21, 200])
def test_threshold_is_the_lowest_that_few_quiet_windows_reach(n):
    rng = np.random.default_rng(n)
    quiet = frame_of(np.round(rng.random(n), 2), rng.choice(["clean", "armed"], n))

    alarm = fit_window_alarm(quiet)

    p = infected_probability(quiet)
    assert (p >= alarm.threshold).mean() <= MAX_FALSE_SHARE
    lower = p[p < alarm.threshold].max()
    assert (p >= lower).mean() > MAX_FALSE_SHARE


def test_infected_windows_do_not_move_the_threshold():
    quiet = frame_of([0.1, 0.2, 0.3], ["clean"] * 3)
    infected = frame_of([0.0, 1.0], ["dormant", "infecting"])

    threshold = fit_window_alarm(pl.concat([quiet, infected])).threshold

    assert threshold == fit_window_alarm(quiet).threshold


def test_it_fires_at_the_sum_over_infected_phases():
    alarm = fit_window_alarm(frame_of([0.5], ["clean"]))

    assert alarm.fires(frame_of([0.49, 0.5, 0.51], ["clean"] * 3)).tolist() == [False, False, True]
    assert len(PHASES) == 5


def test_test_windows_are_refused():
    frame = pl.concat([frame_of([0.1], ["clean"]), frame_of([0.9], ["clean"], "test")])

    with pytest.raises(EvaluationError, match=r"fixed on val alone, got windows of \['test'\]"):
        fit_window_alarm(frame)


def test_a_training_episode_is_refused():
    with pytest.raises(EvaluationError, match="may not be fixed on episode e0, of train"):
        fit_window_alarm(frame_of([0.1], ["clean"]), ["e0"])


def test_without_a_quiet_window_there_is_no_threshold():
    with pytest.raises(EvaluationError, match="no window of val is labelled clean or armed"):
        fit_window_alarm(frame_of([0.1], ["dormant"]))
