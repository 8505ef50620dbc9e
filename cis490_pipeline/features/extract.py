"""Feature extraction for an episode, and for the last window of a live device."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import polars as pl

from cis490_pipeline.domain import Source, Variant
from cis490_pipeline.features.channels import channel_indices
from cis490_pipeline.features.history import HISTORY_STEPS, history
from cis490_pipeline.features.resample import STEP_NS, episode_grid, step_count
from cis490_pipeline.features.summary import summarize
from cis490_pipeline.features.windows import STEPS, cut_windows, window_labels, window_starts
from cis490_pipeline.store.episode import Episode
from cis490_pipeline.store.rows.columns import Columns


@dataclass(frozen=True, eq=False)
class ExtractedEpisode:
    """All windows of one episode, uncalibrated.

    Attributes
    ----------
    grid : (n_steps, n_channels) log1p values; NaN is unknown.
    starts : (n_windows,) first step of each window.
    y : (n_windows,) class index of the phase at the window's centre.
    purity : (n_windows,) that phase's share of the window.
    summary : (n_windows, n_channels × 5).
    history : (n_windows, n_channels × 12).
    tensors : (n_windows, n_channels, 100).
    """

    grid: npt.NDArray[np.float32]
    starts: npt.NDArray[np.int64]
    y: npt.NDArray[np.int64]
    purity: npt.NDArray[np.float64]
    summary: npt.NDArray[np.float32]
    history: npt.NDArray[np.float32]
    tensors: npt.NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class ExtractedWindow:
    """One uncalibrated window.

    Attributes
    ----------
    summary : (n_channels × 5,).
    history : (n_channels × 12,).
    tensor : (n_channels, 100).
    """

    summary: npt.NDArray[np.float32]
    history: npt.NDArray[np.float32]
    tensor: npt.NDArray[np.float32]


def extract_episode(episode: Episode, variant: Variant) -> ExtractedEpisode:
    """Compute the grid of an episode and cut its windows.

    Raises
    ------
    TelemetryError
        If a source's time goes back.
    DatasetError
        If a label is not a class.
    """
    n_steps = step_count(episode.t0_ns, episode.end_ns)
    grid = episode_grid(episode.columns, episode.t0_ns, n_steps)[:, channel_indices(variant)]
    starts = window_starts(n_steps)
    y, purity = window_labels(
        [label.t_wall_ns for label in episode.labels],
        [str(label.phase) for label in episode.labels],
        episode.t0_ns,
        episode.end_ns,
        starts,
    )
    windows = cut_windows(grid, starts)
    return ExtractedEpisode(
        grid=grid,
        starts=starts,
        y=y,
        purity=purity,
        summary=summarize(windows),
        history=history(grid, starts),
        tensors=windows.transpose(0, 2, 1).copy(),
    )


def extract_last(
    rows: Mapping[Source, Columns | pl.DataFrame], t_end_ns: int, variant: Variant
) -> ExtractedWindow:
    """Extract the window of 10 s that ends at ``t_end_ns``; raises as ``extract_episode``.

    ``rows`` hold readings from at least 5 s before the window, because rates are held; the history
    needs 20 s more, and is unknown where there are none. Later rows are ignored.
    """
    n_steps = HISTORY_STEPS + STEPS
    grid = episode_grid(rows, t_end_ns - n_steps * STEP_NS, n_steps)[:, channel_indices(variant)]
    window = grid[None, HISTORY_STEPS:]
    start = np.array([HISTORY_STEPS])
    return ExtractedWindow(summarize(window)[0], history(grid, start)[0], window[0].T.copy())
