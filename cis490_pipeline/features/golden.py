"""Golden features of a fixed synthetic episode, which reveal changed formulas."""

import hashlib
from functools import cache
from typing import Final

import numpy as np
import numpy.typing as npt
import polars as pl

from cis490_pipeline.domain import NS_PER_S, Kind, Source, Variant
from cis490_pipeline.features.baseline import baseline_statistics
from cis490_pipeline.features.channels import channel_indices, source_channels
from cis490_pipeline.features.history import STORED, history, linear_level, quanta, squashed
from cis490_pipeline.features.resample import GRID_HZ, episode_grid
from cis490_pipeline.features.summary import STATISTICS, summarize
from cis490_pipeline.features.windows import cut_windows, window_starts
from cis490_pipeline.store.rows.readings import nominal_ns

FIXTURE_T0_NS: Final = 1_700_000_000 * NS_PER_S
FIXTURE_STEPS: Final = 200
HISTORY_FIXTURE_STEPS: Final = 500
"""Of history features, whose last windows need 20 s before them beside the 15 s of a baseline."""

# Processors differ in the last bit of log1p, so values are rounded to these units before hashing; a
# test ensures that no value of the fixture is near a rounding boundary.
UNITS: Final = {"grid": 0.1, "tensor": 0.1, "summary": 0.01, "history": 0.073}

_HISTORY_WINDOWS: Final = [2, 5, 8]
"""Windows with half, all and all of their past in the fixture."""
_FIXTURE_SEED: Final = 0


def fixture_rows(
    seed: int = _FIXTURE_SEED, n_steps: int = FIXTURE_STEPS
) -> dict[Source, pl.DataFrame]:
    """Generate rows of all sources, with a restart, a fall, nulls, a gap and late readings.

    Uses only integer arithmetic, because random generators of libraries may change.
    """
    rows = {}
    for source in Source:
        interval = nominal_ns(source)
        n_rows = (n_steps // GRID_HZ + 1) * NS_PER_S // interval
        i = np.arange(n_rows, dtype=np.int64)
        jitter = _scramble(i, seed) % (interval // 4)
        # Every seventh reading is late, just before the next one.
        late = np.where(i % 7 == 6, interval * 7 // 10, 0)
        t = FIXTURE_T0_NS - NS_PER_S // 3 + i * interval + jitter + late
        columns: dict[str, npt.NDArray[np.int64]] = {"t_wall_ns": t}
        for position, channel in source_channels(source):
            noise = _scramble(i + 1009 * (position + 1), seed) % (3 + 7 ** (position % 5 + 1))
            noise[i % 5 == position % 5] = 0
            if channel.kind is Kind.COUNTER:
                total = 1000 + np.cumsum(noise)
                total[n_rows * 3 // 5 :] -= total[n_rows * 3 // 5]
                noise = total
            columns[channel.field] = noise
        frame = pl.DataFrame(columns)
        some = pl.int_range(pl.len()) % 11 == 3
        nulled = source_channels(source)[-1][1].field
        frame = frame.with_columns(pl.when(~some).then(pl.col(nulled)).alias(nulled))
        gap = pl.int_range(pl.len()).is_between(n_rows // 3, n_rows // 3 + 4)
        rows[source] = frame.filter(~gap)
    return rows


@cache
def golden_features(kind: str, variant: Variant) -> npt.NDArray[np.float32]:
    """Compute the fixture's features: the grid, or the windows or summaries cut from it.

    Of history features the means are relative to the fixture's baseline: in linear units the last
    bits of large values would reach the hash.
    """
    if kind == "history":
        return _golden_history(variant)
    grid = episode_grid(fixture_rows(), FIXTURE_T0_NS, FIXTURE_STEPS)[:, channel_indices(variant)]
    if kind == "grid":
        return grid
    windows = cut_windows(grid, window_starts(FIXTURE_STEPS))
    return windows.transpose(0, 2, 1) if kind == "tensor" else summarize(windows)


def _golden_history(variant: Variant) -> npt.NDArray[np.float32]:
    n_steps = HISTORY_FIXTURE_STEPS
    rows = fixture_rows(n_steps=n_steps)
    grid = episode_grid(rows, FIXTURE_T0_NS, n_steps)[:, channel_indices(variant)]
    starts = window_starts(n_steps)[_HISTORY_WINDOWS]
    features = history(grid, starts).reshape(-1, grid.shape[1], len(STORED))
    n = len(STATISTICS)
    level = linear_level(baseline_statistics(grid)[0])
    relative = squashed(features[..., n:], level, quanta(variant))
    return np.concatenate([features[..., :n], relative], axis=-1)


@cache
def golden_digest(kind: str, variant: Variant) -> str:
    """SHA-256 of the fixture's features, rounded to coarse units; NaN has its own value."""
    values = golden_features(kind, variant)
    known = ~np.isnan(values)
    units = np.where(known, np.rint(np.where(known, values, 0) / UNITS[kind]), 2**30)
    return hashlib.sha256(units.astype("<i4").tobytes()).hexdigest()


def _scramble(i: npt.NDArray[np.int64], seed: int) -> npt.NDArray[np.int64]:
    """Return well-mixed non-negative integers, a function of position and seed."""
    mixed = (i * 2_654_435_761 + (seed + 1) * 40_503) % 4_294_967_291
    return (mixed * 48_271 % 2_147_483_647) >> 7
