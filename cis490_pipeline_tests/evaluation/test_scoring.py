"""The held-out sides are scored once, whoever asks, and under the recipe's lock."""

from contextlib import contextmanager, nullcontext

import numpy as np
import polars as pl
import pytest

from cis490_pipeline.domain import PHASES, Side
from cis490_pipeline.evaluation.predictions import read_predictions, write_predictions
from cis490_pipeline.evaluation.scoring import stored_predictions
from cis490_pipeline.features.datasets.window_data import ArrayWindows, predict_in_batches
from cis490_pipeline.storage.files import read_json
from cis490_pipeline_tests.evaluation.made_up import predictions, windows

DIGESTS = {"checkpoint_digest": "c" * 64, "split_digest": "s" * 64}


@pytest.fixture
def frame():
    touches = pl.col("window_idx") == 3
    return predictions(windows(), skill=2).with_columns(touches_baseline=touches)


def refuse():
    raise AssertionError("this must not be called")


def test_stored_predictions_are_read_without_the_lock_and_with_the_baseline_windows(
    tmp_path, frame
):
    write_predictions(tmp_path, frame, **DIGESTS)

    assert stored_predictions(tmp_path, refuse, **DIGESTS, lock=refuse).equals(frame)


def test_what_another_process_made_while_this_one_waited_is_not_made_twice(tmp_path, frame):
    @contextmanager
    def waiting():
        write_predictions(tmp_path, frame, **DIGESTS)
        yield

    assert stored_predictions(tmp_path, refuse, **DIGESTS, lock=waiting).equals(frame)
    opened = frame.filter(side=Side.TEST).height > 0
    assert read_json(tmp_path / "predictions.json")["n_test_openings"] == opened


@pytest.mark.parametrize("other", ["checkpoint_digest", "split_digest"])
def test_predictions_of_something_else_are_made_again_within_the_lock(tmp_path, frame, other):
    write_predictions(tmp_path, frame.head(60), **{**DIGESTS, other: "o" * 64})
    seen = []

    @contextmanager
    def lock():
        seen.append("locked")
        yield
        seen.append("released")

    def score():
        seen.append("scored")
        return frame

    assert stored_predictions(tmp_path, score, **DIGESTS, lock=lock).equals(frame)
    assert seen == ["locked", "scored", "released"]
    assert read_predictions(tmp_path, **DIGESTS, include_baseline=True).equals(frame)


def test_a_score_that_fails_leaves_what_was_stored(tmp_path, frame):
    write_predictions(tmp_path, frame, **{**DIGESTS, "split_digest": "o" * 64})

    with pytest.raises(AssertionError, match="must not be called"):
        stored_predictions(tmp_path, refuse, **DIGESTS, lock=nullcontext)

    assert read_predictions(tmp_path, include_baseline=True).equals(frame)


@pytest.mark.parametrize("n", [0, 1, 7, 8])
def test_batches_of_windows_are_predicted_in_their_order(n):
    X = np.arange(n, dtype=np.float32)[:, None]
    sizes = []

    def predict(part):
        sizes.append(len(part))
        return np.repeat(part, len(PHASES), axis=1).astype(np.float64)

    made = ArrayWindows(X, np.zeros(n, dtype=np.int64), np.full(n, "e"))
    proba = predict_in_batches(predict, made, batch=4)

    np.testing.assert_array_equal(proba, np.repeat(X, len(PHASES), axis=1))
    assert sum(sizes) == n
    assert max(sizes, default=0) <= 4
