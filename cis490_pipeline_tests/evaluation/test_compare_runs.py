import polars as pl
import pytest
from sklearn.metrics import f1_score

from cis490_pipeline.errors import EvaluationError
from cis490_pipeline.evaluation.compare_runs import Run, changed, compare_runs, in_words
from cis490_pipeline.evaluation.predictions import predicted_classes, true_classes
from cis490_pipeline_tests.evaluation.made_up import predictions, windows

MADE = {"seed": "0", "model": "gbt_realistic 1", "settings": "a", "data": "b", "code": "c"}


def run(frame, name="first", **made):
    return Run(name=name, frame=frame, made_of={**MADE, **made})


def compared(first, second, **settings):
    (row,) = compare_runs({"gbt": (first, second)}, seed=0, n_resamples=500, **settings)["rows"]
    return row


@pytest.fixture(scope="module")
def keys():
    return windows(n_test=24)


def test_a_run_is_equal_to_itself(keys):
    same = run(predictions(keys, skill=1.0))

    row = compared(same, same)

    assert (row["difference"], row["p_value"], row["p_holm"]) == (0.0, 1.0, 1.0)
    assert row["changed"] == {}


def test_the_difference_is_second_minus_first_of_the_test_side_alone(keys):
    frames = [predictions(keys, skill=skill, seed=seed) for seed, skill in enumerate((0.5, 2.5))]
    scores = [
        f1_score(true_classes(test), predicted_classes(test), average="macro", zero_division=0)
        for test in (frame.filter(pl.col("side") == "test") for frame in frames)
    ]

    row = compared(run(frames[0]), run(frames[1], seed="1"))

    assert row["difference"] == pytest.approx(scores[1] - scores[0], abs=1e-12)
    assert (row["first"], row["second"]) == pytest.approx(tuple(scores), abs=1e-12)
    assert 0 < row["ci_low"] < row["difference"] < row["ci_high"]
    assert (row["n_episodes"], row["n_windows"]) == (24, 240)


def test_the_order_of_rows_is_of_no_account(keys):
    first, second = (predictions(keys, skill=s, seed=1) for s in (1.0, 1.5))
    turned = second.sort("window_idx", descending=True)

    assert compared(run(first), run(turned)) == compared(run(first), run(second))


def test_p_values_are_corrected_over_all_models(keys):
    first, second = (run(predictions(keys, skill=s, seed=1)) for s in (0.5, 2.5))

    rows = compare_runs({"a": (first, second), "b": (first, second)}, seed=0, n_resamples=500)[
        "rows"
    ]

    assert [row["p_holm"] for row in rows] == [2 * row["p_value"] for row in rows]


def test_other_windows_are_refused_and_named(keys):
    frame = predictions(keys, skill=1.0)
    without = frame.filter(pl.col("episode_id") != "01EP0001")

    with pytest.raises(EvaluationError) as refused:
        compared(run(frame, "one"), run(without, "two"))

    assert str(refused.value) == (
        "gbt: the two were not scored on the same windows: 10 of 240 windows are in one alone "
        "(1 episodes of lab-nuc, first 01EP0001). Evaluate both on one split of one store"
    )


def test_another_truth_is_refused_and_named(keys):
    frame = predictions(keys, skill=1.0)
    first = (pl.col("episode_id") == "01EP0000") & (pl.col("window_idx") == 3)
    other = frame.with_columns(
        y_true=pl.when(first).then(pl.lit("armed")).otherwise(pl.col("y_true"))
    )

    with pytest.raises(EvaluationError, match=r"1 windows have another truth, first window 3 of"):
        compared(run(frame), run(other))


def test_no_test_window_and_no_model_are_refused(keys):
    val = predictions(keys, skill=1.0).filter(pl.col("side") == "val")

    with pytest.raises(EvaluationError, match="has no window of the test side"):
        compared(run(val), run(val))
    with pytest.raises(EvaluationError, match="no model to compare"):
        compare_runs({}, seed=0)


def test_a_single_episode_has_a_difference_but_no_interval(keys):
    one = windows(n_test=1, n_val=1)
    frames = [predictions(one, skill=s, seed=2) for s in (0.0, 3.0)]

    row = compared(run(frames[0]), run(frames[1]))

    assert (row["difference"], row["ci_low"], row["p_value"]) == (None, None, None)
    assert row["why"] == "an interval needs two episodes"


@pytest.mark.parametrize(
    ("other", "said"),
    [
        ({}, "made alike"),
        ({"seed": "1"}, "only the seed differs"),
        ({"seed": "1", "settings": "z"}, "differ in seed, settings"),
        ({"data": "z", "code": "z"}, "differ in data, code"),
    ],
)
def test_what_was_made_otherwise_is_named(other, said):
    found = changed(MADE, {**MADE, **other})

    assert in_words(found) == said
    assert all(found[name] == [MADE[name], value] for name, value in other.items())
