"""Drift of each channel between train and new episodes, those just received included."""

from collections.abc import Iterable, Iterator
from typing import Final

import numpy as np
import numpy.typing as npt
import polars as pl

from cis490_pipeline.domain import Side, Variant
from cis490_pipeline.evaluation.schema.study import DriftRow, DriftStudy, DriftSummary
from cis490_pipeline.experiment.studies.drawing import drawn, ids_of
from cis490_pipeline.features.channels import channel_names
from cis490_pipeline.features.grids.store import GridStore
from cis490_pipeline.features.stress.population_stability import (
    PSEUDO_COUNT,
    THRESHOLD,
    ChannelDrift,
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
) -> list[ChannelDrift]:
    """Index of each channel of new episodes, or a fixed draw of 2,000, against the reference."""
    counts = [reference.histogram(part) for part in _levels(grids, drawn(new), relative)]
    return reference.compare(counts, seed=seed)


def drift(grids: GridStore, index: pl.DataFrame, *, seed: int) -> DriftStudy:
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
    rows: list[DriftRow] = []
    for view in VIEWS:
        relative = view == "relative"
        reference = drift_reference(grids, ids_of(train), relative=relative)
        for group, episodes in groups.items():
            channels = drift_of(grids, reference, ids_of(episodes), seed=seed, relative=relative)
            rows += [
                {"view": view, "group": group, "n_episodes": episodes.height, **channel}
                for channel in channels
            ]
    return {
        "threshold": THRESHOLD,
        "smoothing": f"{PSEUDO_COUNT:g} added to each of 10 bins by train's deciles and one of "
        "unknown values",
        "views": dict(VIEWS),
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


def _summary(rows: list[DriftRow]) -> list[DriftSummary]:
    groups: dict[tuple[str, str], list[DriftRow]] = {}
    for row in rows:
        groups.setdefault((row["view"], row["group"]), []).append(row)
    return [
        {
            "view": view,
            "group": group,
            "n_episodes": of_group[0]["n_episodes"],
            "n_channels": len(of_group),
            "n_flagged": sum(row["flagged"] is True for row in of_group),
            "n_flagged_beyond_chance": sum(
                row["flagged"] is True and row["beyond_chance"] is True for row in of_group
            ),
        }
        for (view, group), of_group in groups.items()
    ]
