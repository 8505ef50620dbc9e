"""Segments of 15 s within one phase: potential baselines, clean or infected."""

import hashlib
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final, Self

import numpy as np
import numpy.typing as npt
import polars as pl

from cis490_pipeline.domain import CLASS_INDEX, INFECTED_PHASES, Phase, Variant
from cis490_pipeline.domain.arrays import Float32s, class_indices
from cis490_pipeline.errors import CalibrationError
from cis490_pipeline.features.channels import channel_indices, channel_names
from cis490_pipeline.features.grids.store import GridStore
from cis490_pipeline.features.resample import STEP_NS
from cis490_pipeline.features.summary import STATISTICS, summarize
from cis490_pipeline.features.windows import BASELINE_STEPS, STRIDE_STEPS

MAX_EPISODES: Final = 1000
"""Limit on episodes: more need too much memory and hardly affect 145 weights."""


@dataclass(frozen=True, eq=False)
class Stretches:
    """Segments of 15 s, each within one phase.

    Attributes
    ----------
    features : (n, 145) statistics of the deployable channels; NaN is unknown.
    phases : (n,) class index.
    first : (n,) whether it is the first 15 s of the episode.
    episodes, hosts : (n,) names.
    """

    features: Float32s
    phases: npt.NDArray[np.int64]
    first: npt.NDArray[np.bool_]
    episodes: npt.NDArray[np.str_]
    hosts: npt.NDArray[np.str_]

    @property
    def clean(self) -> npt.NDArray[np.bool_]:
        """(n,) mask of clean segments."""
        clean: npt.NDArray[np.bool_] = self.phases == CLASS_INDEX[Phase.CLEAN]
        return clean

    @property
    def infected(self) -> npt.NDArray[np.bool_]:
        """(n,) mask of segments labelled infecting, infected_running or dormant."""
        return np.isin(self.phases, class_indices(INFECTED_PHASES))

    def without(self, channels: Collection[str]) -> Self:
        """Return the same segments with some channels unknown."""
        hidden = np.isin(channel_names(Variant.REALISTIC), list(channels))
        columns = np.repeat(hidden, len(STATISTICS))
        return replace(self, features=np.where(columns, np.float32(np.nan), self.features))


def deployable_statistics(stretches: Float32s) -> Float32s:
    """Compute statistics of segments: (n, n_steps, 46) or (n, n_steps, 29) -> (n, 145).

    CalibrationError if the number of channels is wrong, or they are shorter than 15 s.
    """
    channels = channel_indices(Variant.REALISTIC)
    n_all = channel_indices(Variant.ORACLE).size
    if stretches.ndim != 3 or stretches.shape[2] not in (channels.size, n_all):
        raise CalibrationError(
            f"a cleanliness check takes (n, n_steps, {n_all}) or (n, n_steps, {channels.size}), "
            f"got {stretches.shape}"
        )
    if stretches.shape[1] < BASELINE_STEPS:
        raise CalibrationError(
            f"a cleanliness check takes {BASELINE_STEPS} steps, got {stretches.shape[1]}"
        )
    seen = stretches[..., channels] if stretches.shape[2] == n_all else stretches
    return summarize(np.ascontiguousarray(seen))


def pure_stretches(
    n_steps: int, label_t_ns: Sequence[int], phases: Sequence[str], t0_ns: int
) -> Iterator[tuple[int, int]]:
    """Yield first step and class of the 15 s segments, every 5 s, that lie within one phase."""
    since = (np.asarray(label_t_ns, dtype=np.int64) - t0_ns) / STEP_NS
    for start in range(0, n_steps - BASELINE_STEPS + 1, STRIDE_STEPS):
        first = int(np.searchsorted(since, start, side="right")) - 1
        last = int(np.searchsorted(since, start + BASELINE_STEPS, side="left")) - 1
        held = {phases[i] for i in range(max(first, 0), last + 1)}
        if len(held) == 1:
            yield start, CLASS_INDEX[held.pop()]


def stretches_of(grids: GridStore, episodes: Collection[str]) -> Stretches:
    """Cut the segments of some episodes; of more than 1,000, those first in hash order.

    CalibrationError if they have no segment of 15 s within one phase.
    """
    taken = sorted(episodes, key=hash_order)[:MAX_EPISODES]
    rows = grids.frame.filter(pl.col("episode_id").is_in(taken))
    features, keys = [], []
    for row in rows.iter_rows(named=True):
        grid = grids.grid(row["episode_id"])
        segments = list(
            pure_stretches(len(grid), row["label_t_wall_ns"], row["label_phase"], row["t0_wall_ns"])
        )
        if segments:
            cut = [grid[start : start + BASELINE_STEPS] for start, _ in segments]
            features.append(deployable_statistics(np.stack(cut)))
            keys += [
                (phase, start == 0, row["episode_id"], row["host_id"]) for start, phase in segments
            ]
    if not keys:
        raise CalibrationError(f"{len(episodes)} episodes hold no 15 s within one phase")
    phases, first, names, hosts = zip(*keys, strict=True)
    return Stretches(
        np.concatenate(features),
        np.array(phases, dtype=np.int64),
        np.array(first, dtype=np.bool_),
        np.array(names, dtype=np.str_),
        np.array(hosts, dtype=np.str_),
    )


def hash_order(name: str) -> bytes:
    """Return a pseudo-random sort key, independent of the order of recording."""
    return hashlib.sha256(name.encode()).digest()
