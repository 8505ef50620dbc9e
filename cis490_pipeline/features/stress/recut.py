"""Windows cut again from perturbed rows, with the same code as datasets."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from cis490_pipeline.domain.arrays import Float32s
from cis490_pipeline.domain.catalogue import DEFAULT_FEATURES, FlatKind
from cis490_pipeline.errors import DatasetError
from cis490_pipeline.features.baseline import baseline_statistics
from cis490_pipeline.features.calibration.calibrator import CalibrationMode, Calibrator
from cis490_pipeline.features.channels import channel_indices
from cis490_pipeline.features.columns import cut_rows, stored_columns
from cis490_pipeline.features.resample import episode_grid, step_count
from cis490_pipeline.features.stress.perturbations import Scenario, baseline_step, perturbed
from cis490_pipeline.features.windows import BASELINE_STEPS, STEPS, window_starts
from cis490_pipeline.store.episode import Episode


@dataclass(frozen=True, eq=False)
class RecutWindows:
    """Uncalibrated windows of some episodes.

    Attributes
    ----------
    windows : (n_windows, 100, 46) log1p values, time-major; NaN is unknown.
    kind : of the rows of features.
    rows : (n_windows, 46 × columns); those of history hold the summaries too.
    median, iqr : (n_windows, 46) baseline of each window's episode.
    """

    windows: Float32s
    kind: FlatKind
    rows: Float32s
    median: Float32s
    iqr: Float32s

    def calibrated(self, calibrator: Calibrator) -> Float32s:
        """Calibrate for a model: (n_windows, n_channels, 100) or (n_windows, n_features).

        Raises
        ------
        DatasetError
            If the calibrator does not use the episode's own baseline.
        """
        if calibrator.mode is not CalibrationMode.EPISODE_BASELINE:
            raise DatasetError(
                f"episodes cut again are calibrated by their own baseline, the model's mode is "
                f"{calibrator.mode}"
            )
        channels = channel_indices(calibrator.variant)
        if calibrator.kind == "tensor":
            X = np.ascontiguousarray(self.windows[..., channels].transpose(0, 2, 1))
        else:
            X = self.rows[:, stored_columns(calibrator.kind, channels, self.kind)]
        return calibrator.apply(X, self.median[:, channels], self.iqr[:, channels])


def recut(
    episodes: Sequence[Episode],
    wanted: Sequence[npt.NDArray[np.integer]],
    scenario: Scenario,
    *,
    seed: int,
    kind: FlatKind = DEFAULT_FEATURES,
) -> RecutWindows:
    """Perturb episodes and recompute grid, windows and baseline.

    Parameters
    ----------
    wanted : ``window_idx`` of the windows to cut from each.
    scenario : fault applied to each episode first.
    kind : of the rows of features to compute.

    Raises
    ------
    DatasetError
        If an episode has no such window, or none is requested at all.
    TelemetryError
        If a source's time goes back.
    """
    windows, rows, baselines = [], [], []
    for episode, numbers in zip(episodes, wanted, strict=True):
        spoilt = perturbed(episode, scenario, seed=seed)
        n_steps = step_count(spoilt.t0_ns, spoilt.end_ns)
        grid = episode_grid(spoilt.columns, spoilt.t0_ns, n_steps)
        starts = window_starts(n_steps)
        if numbers.size and numbers.max() >= starts.size:
            raise DatasetError(
                f"{episode.ref}: has {starts.size} windows, wanted number {numbers.max()}; it "
                "changed since the dataset was cut, so extract again"
            )
        first = baseline_step(spoilt, n_steps, scenario)
        median, iqr = baseline_statistics(grid[first : first + BASELINE_STEPS])
        windows.append(grid[starts[numbers][:, None] + np.arange(STEPS)])
        rows.append(cut_rows(kind, grid, starts[numbers]))
        baselines += [(median, iqr)] * numbers.size
    if not baselines:
        raise DatasetError("no window is wanted of the episodes to be cut again; name some")
    pairs = np.array(baselines, dtype=np.float32)
    cut, features = np.concatenate(windows), np.concatenate(rows)
    return RecutWindows(cut, kind, features, pairs[:, 0], pairs[:, 1])
