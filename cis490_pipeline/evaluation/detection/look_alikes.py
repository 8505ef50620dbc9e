"""Benign look-alikes beside an alarm: which one ran during each window."""

from typing import Final

import numpy as np
import numpy.typing as npt
import polars as pl

from cis490_pipeline.domain import NS_PER_S
from cis490_pipeline.domain.arrays import Floats
from cis490_pipeline.errors import EvaluationError
from cis490_pipeline.evaluation.detection.windows import AlarmWindows
from cis490_pipeline.features.windows import WINDOW_S

LOOK_ALIKE_SCHEMA: Final = pl.Schema(
    {
        "episode_id": pl.String(),
        "activity": pl.String(),
        "began_ns": pl.Int64(),
        "ended_ns": pl.Int64(),
    }
)
"""One row for each look-alike as it ran, Unix ns."""

NONE: Final = "none"
"""Name of windows during which no look-alike ran."""

Names = npt.NDArray[np.str_]


def look_alike_of(windows: AlarmWindows, look_alikes: pl.DataFrame) -> Names:
    """(n,) look-alike that ran longest during each window, the later one if equal; ``none`` else.

    Raises
    ------
    EvaluationError
        If the table has other columns than ``LOOK_ALIKE_SCHEMA``.
    """
    if look_alikes.schema != LOOK_ALIKE_SCHEMA:
        raise EvaluationError(
            f"look-alikes have the columns {dict(look_alikes.schema)}, "
            f"wanted {dict(LOOK_ALIKE_SCHEMA)}"
        )
    of_episode = look_alikes.sort("began_ns").partition_by("episode_id", as_dict=True)
    names = np.full(windows.end_s.size, NONE, dtype=object)
    place = zip(windows.episode_ids, windows.t0_ns, windows.starts, windows.lengths, strict=True)
    for episode_id, t0_ns, first, length in place:
        ran = of_episode.get((episode_id,))
        if ran is not None:
            rows = slice(first, first + length)
            names[rows] = _longest(windows.end_s[rows], ran, int(t0_ns))
    return names.astype(np.str_)


def _longest(end_s: Floats, ran: pl.DataFrame, t0_ns: int) -> npt.NDArray[np.object_]:
    began_s, ended_s = (
        (ran[name].to_numpy() - t0_ns) / NS_PER_S for name in ("began_ns", "ended_ns")
    )
    activities = np.array([*ran["activity"], NONE], dtype=object)
    overlap_s = np.minimum(end_s[:, None], ended_s) - np.maximum(end_s[:, None] - WINDOW_S, began_s)
    # Reversed, so that of equal overlaps the later is the first maximum.
    longest = began_s.size - 1 - overlap_s[:, ::-1].argmax(axis=1)
    chosen = np.where(overlap_s.max(axis=1) > 0, longest, -1)
    names: npt.NDArray[np.object_] = activities[chosen]
    return names
