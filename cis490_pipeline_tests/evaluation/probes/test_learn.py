import numpy as np
import polars as pl
import pytest
from sklearn.dummy import DummyClassifier

from cis490_pipeline.domain import PHASES
from cis490_pipeline.errors import EvaluationError
from cis490_pipeline.evaluation.confusion import macro_f1
from cis490_pipeline.evaluation.predictions import PROBABILITY_COLUMNS, matrices_of
from cis490_pipeline.evaluation.probes import learn
from cis490_pipeline.evaluation.probes.learn import (
    CONTROLS,
    DRIFTING,
    MAJORITY,
    MISSINGNESS,
    POSITION,
    PROBES,
    THRESHOLD,
    ZEROS,
    better_forest_probe,
    majority_probe,
    position_probe,
    trees_probe,
)
from cis490_pipeline_tests.evaluation.made_up import PLOT, windows


@pytest.fixture
def train():
    return windows().rename({"y_true": "phase"})


def probes(train, scored):
    return [majority_probe(train, scored), position_probe(train, scored, seed=0)]


def test_probes_predict_exactly_the_scored_windows(train):
    scored = windows().reverse()

    for frame in probes(train, scored):
        assert frame.select(scored.columns).equals(scored)


def test_majority_says_the_commonest_phase_everywhere(train):
    frame = majority_probe(train.filter(pl.col("phase") != "clean"), windows())

    pooled = matrices_of(frame).pooled
    assert pooled.sum(axis=0).tolist() == [0, 0, 0, frame.height, 0]


def test_majority_gives_the_shares_of_training(train):
    frame = majority_probe(train, windows())

    shares = [PLOT.count(k) / len(PLOT) for k in range(5)]
    assert frame.select(PROBABILITY_COLUMNS).row(0) == pytest.approx(shares)
    assert frame["calibration_id"].null_count() == frame.height


def test_position_alone_solves_runs_that_all_follow_one_plot(train):
    frame = position_probe(train, windows(), seed=0)

    assert macro_f1(matrices_of(frame).pooled) == 1.0


def test_position_looks_at_nothing_but_the_time_since_the_start(train):
    other = windows().with_columns(
        host_id=pl.lit("elsewhere"), profile=pl.lit("flood"), purity=pl.lit(0.1)
    )

    here, there = (position_probe(train, scored, seed=0) for scored in (windows(), other))

    assert here.select(pl.col("^p_.*$")).equals(there.select(pl.col("^p_.*$")))


def test_a_phase_absent_from_training_gets_no_probability(train):
    without = train.filter(pl.col("phase") != "dormant")

    for frame in probes(without, windows()):
        assert frame["p_dormant"].to_list() == [0.0] * frame.height


def test_nothing_to_score_gives_no_rows(train):
    for frame in probes(train, windows().clear()):
        assert frame.height == 0


def test_equal_seeds_give_equal_forests(train):
    one, other = (position_probe(train, windows(), seed=3) for _ in range(2))

    assert one.equals(other)


def test_probes_need_training_windows(train):
    with pytest.raises(EvaluationError, match="learns from training windows"):
        majority_probe(train.clear(), windows())


def columns_of(keys, seed=0):
    """Two columns: one that follows the phase, one that is noise; some of it unknown."""
    rng = np.random.default_rng(seed)
    phase = keys["phase" if "phase" in keys.columns else "y_true"]
    index = np.array([PHASES.index(name) for name in phase])
    X = np.stack([index + 0.1 * rng.normal(size=index.size), rng.normal(size=index.size)], axis=1)
    X[::7, 1] = np.nan
    return X.astype(np.float32)


def trees(train, scored, **kwargs):
    batches = np.array_split(columns_of(scored, seed=1), 3)
    return trees_probe(columns_of(train), train, batches, scored, **{"seed": 0, **kwargs})


def test_trees_predict_exactly_the_scored_windows_from_their_columns(train):
    frame = trees(train, windows())

    assert frame.select(windows().columns).equals(windows())
    assert macro_f1(matrices_of(frame).pooled) > 0.95


def test_equal_seeds_give_equal_trees(train):
    assert trees(train, windows(), seed=3).equals(trees(train, windows(), seed=3))
    assert not trees(train, windows(), seed=3).equals(trees(train, windows(), seed=4))


def test_trees_give_an_absent_phase_no_probability_and_score_nothing_if_there_is_nothing(train):
    without = train.filter(pl.col("phase") != "dormant")

    assert trees(without, windows())["p_dormant"].to_list() == [0.0] * windows().height
    assert trees(train, windows().clear()).height == 0


def test_what_other_windows_are_scored_beside_changes_no_prediction(train):
    scored = windows()
    X = columns_of(scored, seed=1)
    half = scored.height // 2
    spoilt = X.copy()
    spoilt[half:] = 9

    one, other = (
        trees_probe(columns_of(train), train, [batch], scored, seed=0) for batch in (X, spoilt)
    )

    assert one[:half].equals(other[:half])
    assert not one[half:].equals(other[half:])


def better_forest(train, X):
    """The first half of the windows validates."""
    n_val = windows().height // 2
    batches = np.array_split(X[:n_val], 3), np.array_split(X[n_val:], 2)
    return better_forest_probe(columns_of(train), train, *batches, windows(), seed=0)


def test_the_better_of_two_forests_is_chosen_on_validation_and_predicts_all_sides(
    train, monkeypatch
):
    frame, detail = better_forest(train, columns_of(windows(), seed=1))
    monkeypatch.setattr(learn, "_extra_trees", lambda seed: DummyClassifier(strategy="prior"))
    other, other_detail = better_forest(train, columns_of(windows(), seed=1))

    for of in (frame, other):
        assert of.select(windows().columns).equals(windows())
        assert macro_f1(matrices_of(of).pooled) > 0.95
    assert detail.startswith("extremely randomized trees, by macro F1 on validation: ")
    assert other_detail.startswith("random forest, by macro F1 on validation: ")


def test_what_the_better_forest_is_depends_on_no_test_window(train):
    scored = windows()
    X = columns_of(scored, seed=1)
    spoilt = X.copy()
    spoilt[scored.height // 2 :] = 9

    (one, detail), (other, spoilt_detail) = (better_forest(train, of) for of in (X, spoilt))

    n_val = scored.height // 2
    assert detail == spoilt_detail
    assert one[:n_val].equals(other[:n_val])
    assert not one[n_val:].equals(other[n_val:])


def test_without_validation_windows_the_first_forest_stands(train):
    scored = windows().clear()
    X = columns_of(train)

    frame, detail = better_forest_probe(X, train, [], [], scored, seed=0)

    assert frame.height == 0
    assert detail.startswith("extremely randomized trees")


def test_every_probe_says_what_it_knows():
    assert {MAJORITY, POSITION, MISSINGNESS, ZEROS, THRESHOLD, DRIFTING} < PROBES.keys()
    assert PROBES.keys() > CONTROLS
