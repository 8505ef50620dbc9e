"""Baseline statistics of clean telemetry: median and spread of each channel."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from cis490_pipeline.domain.arrays import Float32s
from cis490_pipeline.errors import CalibrationError
from cis490_pipeline.features.summary import known_quantile
from cis490_pipeline.features.windows import BASELINE_S, BASELINE_STEPS


@dataclass(frozen=True, eq=False)
class Baseline:
    """Median, interquartile range and number of known steps of each channel: (n_channels,)."""

    median: Float32s
    iqr: Float32s
    n_known: npt.NDArray[np.int64]


def span_statistics(grid: Float32s) -> Baseline:
    """Median and IQR (linear quantiles, as in numpy) of a whole stretch of clean telemetry.

    Parameters
    ----------
    grid : (n_steps, n_channels) time-major log1p values, at least 150 steps (15 s). Channels
        without known steps have NaN.

    Raises
    ------
    CalibrationError
        If the grid is shorter than 15 s.
    """
    if len(grid) < BASELINE_STEPS:
        raise CalibrationError(
            f"a baseline takes {BASELINE_STEPS} steps ({BASELINE_S:g} s), the grid has {len(grid)}"
        )
    ascending = np.sort(grid.T, axis=-1)
    n_known = (~np.isnan(ascending)).sum(axis=-1)
    low, median, high = (known_quantile(ascending, n_known, q) for q in (0.25, 0.5, 0.75))
    return Baseline(
        median.astype(np.float32), (high - low).astype(np.float32), n_known.astype(np.int64)
    )


def baseline_statistics(grid: Float32s) -> tuple[Float32s, Float32s]:
    """Median and IQR of each channel over the first 15 s of a grid; as ``span_statistics``."""
    baseline = span_statistics(grid[:BASELINE_STEPS])
    return baseline.median, baseline.iqr
