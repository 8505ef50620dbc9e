"""Segment-level scores: F1@50 of phases as stretches of time, and the error of their onsets."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

import numpy as np
import polars as pl

from cis490_pipeline.domain.arrays import Ints
from cis490_pipeline.evaluation.predictions import predicted_classes, true_classes
from cis490_pipeline.evaluation.schema.report import Segments
from cis490_pipeline.features.windows import STRIDE_S

MIN_OVERLAP: Final = 0.5
"""Intersection over union from which a predicted segment counts as found: the 50 of F1@50."""


@dataclass(frozen=True)
class Segment:
    """Consecutive windows of one class, in steps of a time line."""

    phase: int
    start: int
    """First step."""
    stop: int
    """One past its last step."""

    def overlap(self, other: "Segment") -> float:
        """Intersection over union, 0 to 1; 0 for another phase."""
        if self.phase != other.phase:
            return 0.0
        shared = min(self.stop, other.stop) - max(self.start, other.start)
        return max(0, shared) / (max(self.stop, other.stop) - min(self.start, other.start))


@dataclass(frozen=True, kw_only=True)
class SegmentMatch:
    """Result of matching the segments of one time line."""

    n_true: int
    n_predicted: int
    n_found: int
    n_true_onsets: int
    """True segments that begin within the time line, not with it."""
    onset_errors: tuple[int, ...]
    """Steps between the true and the predicted beginning of each found one of these."""


def segments_of(classes: Ints) -> list[Segment]:
    """Cut a time line where its class changes.

    Examples
    --------
    >>> segments_of(np.array([0, 0, 2]))
    [Segment(phase=0, start=0, stop=2), Segment(phase=2, start=2, stop=3)]
    """
    changes = np.flatnonzero(np.diff(classes)) + 1
    edges = [0, *changes.tolist(), classes.size] if classes.size else [0]
    return [Segment(int(classes[start]), start, stop) for start, stop in pairwise(edges)]


def match_segments(y_true: Ints, y_pred: Ints) -> SegmentMatch:
    """Match the predicted segments of one time line, (n_steps,) classes, to the true ones.

    A predicted segment finds the true segment of its class that it overlaps most, if their
    intersection is at least half of their union and no earlier one has found it.
    """
    true, predicted = segments_of(y_true), segments_of(y_pred)
    found: dict[int, Segment] = {}
    for segment in predicted:
        overlaps = [segment.overlap(other) for other in true]
        best = int(np.argmax(overlaps))
        if overlaps[best] >= MIN_OVERLAP and best not in found:
            found[best] = segment
    errors = tuple(abs(found[k].start - true[k].start) for k in sorted(found) if k > 0)
    return SegmentMatch(
        n_true=len(true),
        n_predicted=len(predicted),
        n_found=len(found),
        n_true_onsets=max(0, len(true) - 1),
        onset_errors=errors,
    )


def segment_scores(frame: pl.DataFrame) -> Segments:
    """Segment-level F1@50 and the error of phase boundaries, of the predictions of one side.

    ``f1_50`` pools the segments of all episodes and phases. ``boundary_error_s`` is
    the distance between the true and the predicted beginning of each segment that was found and
    does not begin with its time line, in whole strides of 5 s: ``n`` of ``n_true`` such beginnings;
    ``p90`` is the smallest error that nine in ten do not exceed.

    Notes
    -----
    Windows of 10 s start every 5 s and are labelled by their centre, so each speaks for the 5 s
    around its centre: these tile the time without overlap. A missing window begins a new time line.
    The truth is put on the same steps; a label's own time lies within half a stride of them. F1@50
    after Lea, Flynn, Vidal, Reiter and Hager, Temporal convolutional networks for action
    segmentation and detection, CVPR 2017; no phase is left out as background.
    """
    matches = [match_segments(y_true, y_pred) for y_true, y_pred in _time_lines(frame)]
    n_true = sum(match.n_true for match in matches)
    n_predicted = sum(match.n_predicted for match in matches)
    n_found = sum(match.n_found for match in matches)
    errors = STRIDE_S * np.array([e for match in matches for e in match.onset_errors])
    known = errors.size > 0
    return {
        "f1_50": 2 * n_found / (n_true + n_predicted) if n_true else None,
        "n_true": n_true,
        "n_predicted": n_predicted,
        "n_found": n_found,
        "boundary_error_s": {
            "median": float(np.median(errors)) if known else None,
            "p90": float(np.quantile(errors, 0.9, method="inverted_cdf")) if known else None,
            "n": int(errors.size),
            "n_true": sum(match.n_true_onsets for match in matches),
            "why": None if known else "no segment that begins within an episode was found",
        },
    }


def _time_lines(frame: pl.DataFrame) -> Iterator[tuple[Ints, Ints]]:
    """Classes of each run of consecutive windows, in time."""
    if not frame.height:
        return
    frame = frame.sort("episode_id", "window_idx")
    y_true, y_pred = true_classes(frame), predicted_classes(frame)
    episode = frame["episode_id"].rle_id().to_numpy().astype(np.int64)
    place = frame["window_idx"].to_numpy()
    new = (np.diff(episode) != 0) | (np.diff(place) != 1)
    edges = [0, *(np.flatnonzero(new) + 1).tolist(), frame.height]
    for start, stop in pairwise(edges):
        yield y_true[start:stop], y_pred[start:stop]
