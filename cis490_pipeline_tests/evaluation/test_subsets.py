import polars as pl
import pytest
from sklearn.metrics import f1_score

from cis490_pipeline.domain import PHASES
from cis490_pipeline.evaluation.predictions import matrices_of, predicted_classes
from cis490_pipeline.evaluation.subsets import SUBSETS, subset_scores
from cis490_pipeline.evaluation.uncertainty.intervals import episode_interval
from cis490_pipeline_tests.evaluation.made_up import predictions, windows


def macro(frame):
    predicted = [str(PHASES[k]) for k in predicted_classes(frame)]
    return f1_score(frame["y_true"].to_list(), predicted, average="macro", zero_division=0)


@pytest.fixture
def frame():
    mixed = pl.when(pl.col("window_idx") % 3 == 0).then(pl.lit(0.8)).otherwise(pl.lit(1.0))
    return predictions(windows().with_columns(purity=mixed), skill=1.5)


def rows_of(test, touching):
    rows = subset_scores(test, touching, seed=0, n_resamples=200)
    assert [row["subset"] for row in rows] == list(SUBSETS)
    return {row["subset"]: row for row in rows}


def test_each_subset_is_scikit_learns_score_of_its_windows(frame):
    test, touching = (frame.filter((pl.col("window_idx") < 5) == t) for t in (False, True))

    rows = rows_of(test, touching)

    assert rows["scored"]["macro_f1"] == pytest.approx(macro(test))
    assert rows["with_baseline_windows"]["macro_f1"] == pytest.approx(macro(frame))
    assert rows["pure"]["macro_f1"] == pytest.approx(macro(test.filter(pl.col("purity") == 1)))
    n_windows = {name: row["n_windows"] for name, row in rows.items()}
    assert n_windows == {"scored": 96, "with_baseline_windows": 120, "pure": 60}


def test_the_first_row_is_the_headline_interval_and_all(frame):
    headline = episode_interval(matrices_of(frame).counts, seed=0, n_resamples=200).to_dict()

    scored = rows_of(frame, None)["scored"]

    assert {name: scored[name] for name in headline} == headline


def test_what_was_not_asked_is_null_and_says_why(frame):
    row = rows_of(frame, None)["with_baseline_windows"]

    assert (row["macro_f1"], row["ci_low"], row["n_windows"]) == (None, None, 0)
    assert row["why"] == "not asked of the windows that touch the baseline"


def test_a_side_without_a_pure_window_says_so(frame):
    row = rows_of(frame.with_columns(purity=pl.lit(0.9)), None)["pure"]

    assert (row["macro_f1"], row["why"]) == (None, "no such window")
