import json
from itertools import pairwise

import numpy as np
import polars as pl
import pytest

from cis490_pipeline.domain import PHASES
from cis490_pipeline.evaluation.metrics.segments import (
    Segment,
    match_segments,
    segment_scores,
    segments_of,
)
from cis490_pipeline_tests.evaluation.made_up import predictions, windows


def runs(classes):
    edges = [0, *(np.flatnonzero(np.diff(classes)) + 1), len(classes)]
    return [(classes[a], a, b) for a, b in pairwise(edges)]


def as_published(y_true, y_pred, overlap=0.5):
    """True and false positives and misses, as the authors of F1@k count them."""
    true, predicted = runs(y_true), runs(y_pred)
    used, tp, fp = np.zeros(len(true)), 0, 0
    labels, starts, stops = (np.array(column) for column in zip(*true, strict=True))
    for label, start, stop in predicted:
        intersection = np.minimum(stop, stops) - np.maximum(start, starts)
        union = np.maximum(stop, stops) - np.minimum(start, starts)
        iou = (1.0 * intersection / union) * (label == labels)
        best = iou.argmax()
        if iou[best] >= overlap and not used[best]:
            tp += 1
            used[best] = 1
        else:
            fp += 1
    return tp, fp, len(true) - used.sum()


def episode(y_true, y_pred, name="01EPA", first=3):
    """A prediction frame of one episode that is sure of itself."""
    keys = windows().head(1).drop("episode_id", "window_idx", "y_true")
    keys = pl.concat([keys] * len(y_true)).with_columns(
        episode_id=pl.lit(name),
        window_idx=pl.Series(range(first, first + len(y_true))),
        y_true=pl.Series([str(PHASES[k]) for k in y_true]),
        split=pl.lit("test"),
    )
    said = np.eye(5)[y_pred]
    return predictions(keys, skill=0).with_columns(
        pl.Series(f"p_{phase}", said[:, k]) for k, phase in enumerate(PHASES)
    )


def test_a_time_line_is_cut_where_the_class_changes():
    assert segments_of(np.array([1, 1, 0, 1])) == [
        Segment(1, 0, 2),
        Segment(0, 2, 3),
        Segment(1, 3, 4),
    ]
    assert segments_of(np.zeros(0, dtype=int)) == []


@pytest.mark.parametrize("seed", range(200))
def test_matches_are_those_of_the_published_count(seed):
    rng = np.random.default_rng(seed)
    n = int(rng.integers(1, 30))
    y_true = np.repeat(rng.integers(4, size=n), rng.integers(1, 5, size=n))
    y_pred = np.where(rng.random(y_true.size) < 0.75, y_true, rng.integers(4, size=y_true.size))

    match = match_segments(y_true, y_pred)

    tp, fp, fn = as_published(y_true, y_pred)
    assert (match.n_found, match.n_predicted - match.n_found) == (tp, fp)
    assert match.n_true - match.n_found == fn


def test_scores_by_hand():
    y_true = [0, 0, 0, 0, 1, 1, 1, 3, 3, 3]
    y_pred = [0, 0, 0, 1, 1, 1, 3, 3, 3, 0]

    scores = segment_scores(episode(y_true, y_pred))

    # 0: 3 of 4; 1: 2 of 4; 3: 2 of 4; the last 0 overlaps no 0. Two begin a step of 5 s early.
    assert (scores["n_true"], scores["n_predicted"], scores["n_found"]) == (3, 4, 3)
    assert scores["f1_50"] == pytest.approx(2 * 3 / 7)
    assert scores["boundary_error_s"] == {
        "median": 5.0,
        "p90": 5.0,
        "n": 2,
        "n_true": 2,
        "why": None,
    }


def test_perfect_predictions_begin_when_the_phases_do():
    frame = predictions(windows(), skill=200)

    scores = segment_scores(frame)

    assert scores["f1_50"] == 1.0
    assert (scores["boundary_error_s"]["median"], scores["boundary_error_s"]["p90"]) == (0, 0)
    # Five phases in each of twelve episodes; the first begins with the time line.
    assert (scores["n_true"], scores["boundary_error_s"]["n"]) == (60, 48)


def test_fluttering_lowers_the_segments_more_than_the_windows():
    y_true = [0] * 10 + [3] * 10
    y_pred = [0, 0, 1, 0, 0, 1, 0, 0, 1, 0] + [3] * 10

    scores = segment_scores(episode(y_true, y_pred))

    # 17 of 20 windows are right; of the segments only the second is found.
    assert scores["f1_50"] == pytest.approx(2 * 1 / (2 + 8))


def test_episodes_and_gaps_are_never_joined():
    one, other = episode([0, 0], [0, 0]), episode([0, 0], [0, 0], name="01EPB")
    gap = pl.concat([episode([0, 0], [0, 0]), episode([0, 0], [0, 0], first=7)])

    assert segment_scores(pl.concat([one, other]))["n_true"] == 2
    assert segment_scores(gap)["n_true"] == 2


def test_the_order_of_the_rows_does_not_matter():
    frame = predictions(windows(), skill=1)

    assert segment_scores(frame) == segment_scores(frame.sample(fraction=1, shuffle=True, seed=0))


def test_without_windows_or_without_a_found_beginning_it_says_so():
    nothing = json.loads(json.dumps(segment_scores(windows_none()), allow_nan=False))
    assert (nothing["f1_50"], nothing["boundary_error_s"]["median"]) == (None, None)

    one_phase = segment_scores(episode([0, 0, 0], [0, 0, 0]))
    assert one_phase["f1_50"] == 1.0
    assert one_phase["boundary_error_s"]["n"] == 0
    assert "no segment that begins within" in one_phase["boundary_error_s"]["why"]


def windows_none():
    return predictions(windows(), skill=1).clear()
