"""Index of a recipe's windows, and the check for leaks between sides."""

from typing import Final

import polars as pl

from cis490_pipeline.domain import PHASES, Side
from cis490_pipeline.errors import DatasetError
from cis490_pipeline.features.windows import (
    touches_baseline,
    window_labels,
    window_starts,
    window_t_ns,
)

SIDES: Final = (Side.TRAIN, Side.VAL, Side.TEST)

_EPISODE_COLUMNS: Final = (
    "episode_id",
    "host_id",
    "profile",
    "sample_name",
    "side",
    "scorable",
)


def recipe_episodes(grids: pl.DataFrame, index: pl.DataFrame) -> pl.DataFrame:
    """Select the episodes that are on a side, with their grid index rows, in order of receipt.

    Parameters
    ----------
    grids : grid index, which has that order.
    index : the recipe's validation index: episode_id, host_id, profile, sample_name, side,
        scorable.

    Returns
    -------
    One row per episode that is not excluded.

    Raises
    ------
    DatasetError
        If a column or a grid is missing, a side is unknown, an episode is listed twice or has no
        clean baseline, or a train-only episode is on another side.
    """
    missing = sorted(set(_EPISODE_COLUMNS) - set(index.columns))
    if missing:
        raise DatasetError(f"the validation index has no column {missing}")
    sides = set(index["side"].unique()) - set(Side)
    if sides:
        raise DatasetError(f"the validation index names sides {sorted(map(str, sides))}")
    used = index.select(_EPISODE_COLUMNS).filter(pl.col("side") != Side.EXCLUDED)
    problems = {
        "listed more than once": used.filter(pl.col("episode_id").is_duplicated()),
        "without a grid (build the grids again)": used.join(grids, on="episode_id", how="anti"),
        "never to be scored, yet in val or test": used.filter(
            ~pl.col("scorable") & (pl.col("side") != Side.TRAIN)
        ),
        "without a clean baseline, yet not excluded": used.join(
            grids.filter(~pl.col("baseline_clean")), on="episode_id", how="semi"
        ),
    }
    faults = [
        f"{frame.height} episodes {what}: {', '.join(sorted(set(frame['episode_id']))[:5])}"
        for what, frame in problems.items()
        if frame.height
    ]
    if faults:
        raise DatasetError("the validation index has " + "; ".join(faults))
    return grids.drop("host_id").join(used, on="episode_id", how="inner", maintain_order="left")


def window_rows(episodes: pl.DataFrame) -> pl.DataFrame:
    """List all windows of the rows of ``recipe_episodes``, in order.

    Returns
    -------
    One row per window: episode_id, window_idx, t_start_wall_ns, t_end_wall_ns, host_id, profile,
    sample_name, split, y (phase name), purity, baseline (touches the first 15 s), scorable.
    """
    frames = []
    names = [str(phase) for phase in PHASES]
    for row in episodes.iter_rows(named=True):
        starts = window_starts(row["n_steps"])
        y, purity = window_labels(
            row["label_t_wall_ns"],
            row["label_phase"],
            row["t0_wall_ns"],
            row["end_wall_ns"],
            starts,
        )
        start_ns, end_ns = window_t_ns(row["t0_wall_ns"], starts)
        frames.append(
            pl.DataFrame(
                {
                    "episode_id": pl.Series([row["episode_id"]] * starts.size, dtype=pl.String),
                    "window_idx": pl.Series(range(starts.size), dtype=pl.Int32),
                    "t_start_wall_ns": start_ns,
                    "t_end_wall_ns": end_ns,
                    "y": pl.Series([names[i] for i in y], dtype=pl.String),
                    "purity": purity,
                    "baseline": touches_baseline(starts),
                }
            )
        )
    if not frames:
        raise DatasetError("no episode is on a side, so there is no window")
    by_episode = episodes.select(
        "episode_id", "host_id", "profile", "sample_name", pl.col("side").alias("split"), "scorable"
    )
    return pl.concat(frames).join(by_episode, on="episode_id", how="left", maintain_order="left")


def check_leaks(windows: pl.DataFrame) -> int:
    """Count leaks of windows: episodes on two sides, and windows listed twice."""
    by_episode = windows.group_by("episode_id").agg(pl.col("split").n_unique().alias("n_sides"))
    split_episodes = by_episode.filter(pl.col("n_sides") > 1).height
    twice = windows.select(pl.struct("episode_id", "window_idx").is_duplicated().sum()).item()
    return split_episodes + int(twice)


def assert_no_leak(windows: pl.DataFrame) -> None:
    """Raise DatasetError if there are leaks, giving their number."""
    leaks = check_leaks(windows)
    if leaks:
        raise DatasetError(
            f"{leaks} leaks: an episode on two sides or a window listed twice; split again"
        )
