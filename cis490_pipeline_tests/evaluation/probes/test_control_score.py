import numpy as np
import polars as pl
import pytest

from cis490_pipeline.domain import CLASS_INDEX, NS_PER_S, PHASES
from cis490_pipeline.errors import EvaluationError
from cis490_pipeline.evaluation.predictions import prediction_frame
from cis490_pipeline.evaluation.probes.control_score import control_score
from cis490_pipeline.store.recorder_notes import Sham

T0_NS = 1_795_340_000 * NS_PER_S
N_WINDOWS = 28
CHAIN = ("armed", "infecting", "infected_running", "dormant", "clean", "infected_running")


def ns(t_s):
    return T0_NS + round(t_s * NS_PER_S)


def made_shams(n_controls, rng, n=6, apart_s=15):
    """Shams in an order of their own, some seconds apart from second 40 on."""
    return {
        f"e{number}": [
            Sham(phase=str(phase), t_wall_ns=ns(40 + apart_s * k + rng.uniform(0, 4)))
            for k, phase in enumerate(rng.permutation(CHAIN)[:n])
        ]
        for number in range(n_controls)
    }


def predicted(shams, says):
    """Predictions of every window of the controls: ``says(times, phases, centre)`` is certain."""
    frames = []
    for name, of in shams.items():
        starts = np.arange(3, N_WINDOWS) * 5
        times, phases = [s.t_wall_ns for s in of], [s.phase for s in of]
        classes = [CLASS_INDEX[says(times, phases, ns(start + 5))] for start in starts]
        windows = pl.DataFrame(
            {
                "episode_id": name,
                "host_id": "kiosk",
                "profile": pl.Series([None] * starts.size, dtype=pl.String),
                "sample_name": pl.Series([None] * starts.size, dtype=pl.String),
                "side": "val",
                "window_idx": starts // 5,
                "t_start_wall_ns": [ns(start) for start in starts],
                "t_end_wall_ns": [ns(start + 10) for start in starts],
                "purity": 1.0,
                "touches_baseline": False,
                "y_true": "clean",
            }
        )
        frames.append(prediction_frame(windows, np.eye(len(PHASES))[classes]))
    return pl.concat(frames)


def reads_the_recorder(times, phases, centre):
    n_past = int(np.searchsorted(times, centre, side="right"))
    return ["clean", *phases][n_past]


def test_a_model_that_reads_the_recorder_is_far_above_chance():
    shams = made_shams(6, np.random.default_rng(0))

    score = control_score(predicted(shams, reads_the_recorder), shams, seed=0)

    assert (score["n_controls"], score["n_windows"], score["n_shams"]) == (6, 6 * 25, 36)
    assert score["macro_f1"] == score["accuracy"] == 1.0
    assert score["macro_f1_chance"] < 0.5
    assert score["p_macro_f1"] == score["p_accuracy"] == 1 / 10_001


def test_a_model_that_is_right_says_clean_and_nothing_else():
    shams = made_shams(6, np.random.default_rng(0))

    score = control_score(predicted(shams, lambda *_: "clean"), shams, seed=0)

    assert score["false_share"] == 0.0
    assert score["macro_f1"] == pytest.approx(score["macro_f1_chance"], abs=0.01)
    assert score["p_macro_f1"] > 0.2
    assert (score["around"][0]["before"], score["around"][0]["after"]) == (0.0, 0.0)
    assert score["p_around"] == 1.0


def test_a_model_that_knows_the_time_alone_does_not_read_the_recorder():
    p = []
    for seed in range(100):
        shams = made_shams(5, np.random.default_rng(seed))
        frame = predicted(
            shams, lambda _, __, centre: "clean" if centre < ns(80) else "infected_running"
        )
        p.append(control_score(frame, shams, seed=seed, n_permutations=99)["p_macro_f1"])

    assert np.mean(p) == pytest.approx(0.5, abs=0.1)
    assert np.mean(np.array(p) <= 0.1) == pytest.approx(0.1, abs=0.08)


def test_false_phases_that_come_with_shams_show_around_them():
    shams = made_shams(8, np.random.default_rng(0), n=3, apart_s=32)

    def startled(times, _, centre):
        since = centre - np.array(times)
        return "armed" if ((since >= 0) & (since < 10 * NS_PER_S)).any() else "clean"

    score = control_score(predicted(shams, startled), shams, seed=0)

    around = {row["transition"]: row for row in score["around"]}
    assert around["any"]["n_shams"] == 24
    assert around["any"]["before"] == 0.0
    assert around["any"]["after"] > 0.4
    assert score["p_around"] < 0.02


def test_before_and_after_are_windows_that_do_not_hold_the_sham():
    shams = {"e0": [Sham(phase="armed", t_wall_ns=ns(60))]}
    # Windows that begin at 55 hold second 60, those from 60 on do not.
    frame = predicted(shams, lambda _, __, centre: "armed" if centre == ns(60) else "clean")

    (any_, *_) = control_score(frame, shams, seed=0)["around"]

    assert any_ == {"transition": "any", "n_shams": 1, "before": 0.0, "after": 0.0}
    assert control_score(frame, shams, seed=0)["p_around"] is None


def test_before_a_sham_in_quick_succession_nothing_is_at_rest():
    shams = {"e0": [Sham(phase="armed", t_wall_ns=ns(t_s)) for t_s in (60, 75, 85, 110)]}
    frame = predicted(shams, reads_the_recorder)

    (any_, *_) = control_score(frame, shams, seed=0)["around"]

    # Before 110 windows begin at 95 and 100, which is 10 s after 85 and later.
    assert any_ == {"transition": "any", "n_shams": 2, "before": 0.5, "after": 1.0}


def test_other_episodes_are_left_out_and_none_is_no_score():
    shams = made_shams(2, np.random.default_rng(0))
    frame = predicted(shams, reads_the_recorder)

    one = control_score(frame, {"e1": shams["e1"], "e0": [], "elsewhere": shams["e0"]}, seed=0)
    none = control_score(frame, {}, seed=0, n_permutations=10)

    assert (one["n_controls"], one["n_windows"]) == (1, 25)
    assert none["why"] == "no window of a sham-armed control is among the predictions"
    assert none["macro_f1"] is none["p_accuracy"] is none["false_share"] is None


def test_a_control_that_is_not_clean_is_refused():
    shams = made_shams(1, np.random.default_rng(0))
    frame = predicted(shams, reads_the_recorder).with_columns(y_true=pl.lit("armed"))

    with pytest.raises(EvaluationError, match="25 of 25 windows of controls have another truth"):
        control_score(frame, shams, seed=0)
