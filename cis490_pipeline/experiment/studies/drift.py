"""Which channels of new episodes no longer look like train's; also for episodes just received."""

from collections.abc import Iterable, Iterator
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import polars as pl

from cis490_pipeline.domain import Side, Variant
from cis490_pipeline.experiment.studies.drawing import drawn, ids_of
from cis490_pipeline.features.channels import channel_names
from cis490_pipeline.features.grids.store import GridStore
from cis490_pipeline.features.stress.drift import (
    PSEUDO_COUNT,
    THRESHOLD,
    DriftReference,
    window_levels,
)

VIEWS: Final = {
    "relative": "window means less the median of the episode's first 15 s, as models see them",
    "level": "window means as recorded",
}


def drift_reference(
    grids: GridStore, train: Iterable[str], *, relative: bool = True
) -> DriftReference:
    """Bins of the training episodes' channels.

    Parameters
    ----------
    grids : grids of all usable episodes.
    train : ids; of more than 2,000 a fixed draw.
    relative : whether each episode's baseline is taken off.

    Raises
    ------
    DatasetError
        If an episode has no grid, or no window after the baseline is left.
    """
    levels = _levels(grids, drawn(train), relative)
    return DriftReference.fit(channel_names(Variant.ORACLE), levels)


def drift_of(
    grids: GridStore,
    reference: DriftReference,
    new: Iterable[str],
    *,
    seed: int,
    relative: bool = True,
) -> list[dict[str, Any]]:
    """Index of each channel of new episodes against the reference, as ``DriftReference.compare``.

    Parameters
    ----------
    new : ids; of more than 2,000 a fixed draw.
    relative : as the reference was made.
    """
    counts = [reference.histogram(part) for part in _levels(grids, drawn(new), relative)]
    return reference.compare(counts, seed=seed)


def drift(grids: GridStore, index: pl.DataFrame, *, seed: int) -> dict[str, Any]:
    """Compare the test side with train, as a whole and by host.

    Parameters
    ----------
    index : episodes with their side of the recipe: episode_id, host_id, side.
    seed : of the permutations.

    Returns
    -------
    ``rows``: one per view, group and channel.
    """
    train, test = index.filter(side=Side.TRAIN), index.filter(side=Side.TEST)
    groups = {"test side": test}
    groups |= {f"host {host}": test.filter(host_id=host) for host in sorted(set(test["host_id"]))}
    rows = []
    for view in VIEWS:
        relative = view == "relative"
        reference = drift_reference(grids, ids_of(train), relative=relative)
        for group, episodes in groups.items():
            found = drift_of(grids, reference, ids_of(episodes), seed=seed, relative=relative)
            of_group = {"view": view, "group": group, "n_episodes": episodes.height}
            rows += [{**of_group, **row} for row in found]
    return {
        "threshold": THRESHOLD,
        "smoothing": f"{PSEUDO_COUNT:g} added to each of 10 bins by train's deciles and one of "
        "unknown values",
        "views": VIEWS,
        "n_train_episodes": train.height,
        "summary": _summary(rows),
        "rows": rows,
    }


def _levels(
    grids: GridStore, episode_ids: Iterable[str], relative: bool
) -> Iterator[npt.NDArray[np.float64]]:
    wanted = grids.frame.filter(pl.col("episode_id").is_in(list(episode_ids))).sort("episode_id")
    for episode_id, median in wanted.select("episode_id", "baseline_median").iter_rows():
        yield window_levels(grids.grid(episode_id), median if relative else None)


def _summary(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    frame = pl.DataFrame(rows).group_by("view", "group", maintain_order=True)
    return frame.agg(
        pl.col("n_episodes").first(),
        pl.len().alias("n_channels"),
        pl.col("flagged").sum().alias("n_flagged"),
        (pl.col("flagged") & pl.col("beyond_chance")).sum().alias("n_flagged_beyond_chance"),
    ).to_dicts()
