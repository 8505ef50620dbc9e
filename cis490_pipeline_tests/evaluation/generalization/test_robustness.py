import numpy as np
import pytest
from sklearn.metrics import f1_score

from cis490_pipeline.evaluation.generalization.robustness import robustness_rows

RNG = np.random.default_rng(0)
Y = np.tile(np.arange(5), 40)
EPISODES = np.repeat([f"e{i:02}" for i in range(25)], 8)
GOOD = np.where(RNG.random(200) < 0.9, Y, 0)
BAD = np.where(RNG.random(200) < 0.3, Y, 3)


def rows_of(before, after, episodes=EPISODES):
    return robustness_rows(
        Y[: len(episodes)],
        episodes,
        {"gbt_realistic": before},
        {"guest_dies": {"gbt_realistic": after}},
        seed=0,
        n_resamples=500,
    )[0]


def test_difference_is_that_of_scikit_learns_scores():
    row = rows_of(GOOD, BAD)

    before, after = (f1_score(Y, said, average="macro", zero_division=0) for said in (GOOD, BAD))
    assert row["macro_f1"] == pytest.approx(after, abs=1e-12)
    assert row["macro_f1_unperturbed"] == pytest.approx(before, abs=1e-12)
    assert row["difference"] == pytest.approx(after - before, abs=1e-12)
    assert row["ci_low"] < row["difference"] < row["ci_high"] < 0
    assert (row["n_episodes"], row["n_windows"]) == (25, 200)
    assert row["n_windows_changed"] == (GOOD != BAD).sum()
    assert row["why"] is None


def test_same_predictions_cost_exactly_nothing():
    row = rows_of(GOOD, GOOD.copy())

    assert (row["difference"], row["ci_low"], row["ci_high"]) == (0.0, 0.0, 0.0)
    assert row["n_windows_changed"] == 0


def test_one_episode_has_a_score_and_no_interval():
    row = rows_of(GOOD[:8], BAD[:8], np.full(8, "e00"))

    assert row["macro_f1"] is not None
    assert (row["difference"], row["ci_low"]) == (None, None)
    assert row["why"] == "episodes: 1; an interval takes two"


def test_a_row_for_every_model_and_scenario():
    of = {"mlp_oracle": GOOD, "gbt_realistic": BAD}
    rows = robustness_rows(Y, EPISODES, of, {"a": of, "b": of}, seed=0, n_resamples=10)

    assert [(row["scenario"], row["model"]) for row in rows] == [
        ("a", "mlp_oracle"),
        ("a", "gbt_realistic"),
        ("b", "mlp_oracle"),
        ("b", "gbt_realistic"),
    ]
