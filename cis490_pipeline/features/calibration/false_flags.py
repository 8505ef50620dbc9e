"""Level of the cleanliness check on other devices: share of their clean segments that it flags."""

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
import polars as pl

from cis490_pipeline.domain import CLASS_INDEX, Phase
from cis490_pipeline.features.calibration.cleanliness import CleanlinessCheck
from cis490_pipeline.features.calibration.segments import pure_stretches
from cis490_pipeline.features.grids.store import GridStore
from cis490_pipeline.features.windows import BASELINE_STEPS


@dataclass(frozen=True, kw_only=True)
class FlaggedSegments:
    """Clean segments of one host, and how many of them the check flags."""

    host_id: str
    n: int
    n_flagged: int


def flagged_segments(
    grids: GridStore, check: CleanlinessCheck, episodes: Collection[str]
) -> list[FlaggedSegments]:
    """Judge the clean segments of some episodes, by host: each as if it were a baseline of 15 s.

    Segments do not overlap. Those without any reading of guest or netflow are left out, and hosts
    without a segment.
    """
    rows = grids.frame.filter(pl.col("episode_id").is_in(list(episodes)))
    judged: dict[str, list[bool]] = {}
    for row in rows.sort("host_id", "episode_id").iter_rows(named=True):
        grid = grids.grid(row["episode_id"])
        labels = (row["label_t_wall_ns"], row["label_phase"], row["t0_wall_ns"])
        for start, phase in pure_stretches(len(grid), *labels):
            if phase != CLASS_INDEX[Phase.CLEAN] or start % BASELINE_STEPS:
                continue
            verdict = check.judge(np.asarray(grid[start : start + BASELINE_STEPS]))
            if verdict is not None:
                judged.setdefault(row["host_id"], []).append(verdict.suspect)
    return [
        FlaggedSegments(host_id=host, n=len(of), n_flagged=sum(of)) for host, of in judged.items()
    ]
