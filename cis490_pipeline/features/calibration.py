"""Telemetry relative to the device's own known-clean telemetry, then to train's spread."""

import hashlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, Self

import numpy as np
import numpy.typing as npt

from cis490_pipeline.domain import Variant
from cis490_pipeline.errors import CalibrationError
from cis490_pipeline.features.channels import channel_indices
from cis490_pipeline.features.schema import InputKind
from cis490_pipeline.features.summary import STATISTICS, known_quantile
from cis490_pipeline.features.windows import BASELINE_S, BASELINE_STEPS

CLIP: Final = 8.0
IQR_SHARE: Final = 0.5
"""A channel still in its baseline is scaled by at least this share of train's median IQR."""
SD_SHARE: Final = 0.1
"""…and by at least this share of its standard deviation in train."""
MIN_SCALE: Final = 1e-3

Array = npt.NDArray[np.float32]
Batch = tuple[Array, Array, Array]
"""Windows (n, *shape), and the baseline median and IQR of each one's episode, (n, n_channels)."""

_N_STATS: Final = len(STATISTICS)
_SHIFTED: Final = np.array([s in ("mean", "p95") for s in STATISTICS])
_SCALED: Final = np.array([s != "zero_fraction" for s in STATISTICS])
_ARRAYS: Final = ("floor", "z_mean", "z_sd")


class CalibrationMode(StrEnum):
    """By what telemetry a device is calibrated."""

    EPISODE_BASELINE = "episode_baseline"
    """The episode's own first 15 s, which are labelled clean."""
    TRAIN_Z = "train_z"
    """None: the spread of train alone. Poor on an unseen device; kept to show that."""


def baseline_statistics(grid: Array) -> tuple[Array, Array]:
    """Median and interquartile range of each channel over the first 15 s of a grid.

    Parameters
    ----------
    grid : (n_steps, n_channels) time-major log1p values, at least 150 steps.

    Returns
    -------
    Two arrays (n_channels,); NaN for a channel unknown throughout.

    Raises
    ------
    CalibrationError
        If the grid is shorter than the baseline.
    """
    if len(grid) < BASELINE_STEPS:
        raise CalibrationError(
            f"a baseline takes {BASELINE_STEPS} steps ({BASELINE_S:g} s), the grid has {len(grid)}"
        )
    ascending = np.sort(grid[:BASELINE_STEPS].T, axis=-1)
    n_known = (~np.isnan(ascending)).sum(axis=-1)
    low, median, high = (known_quantile(ascending, n_known, q) for q in (0.25, 0.5, 0.75))
    return median.astype(np.float32), (high - low).astype(np.float32)


@dataclass(frozen=True, eq=False)
class Calibrator:
    """Makes windows of different devices comparable; fitted on train only.

    Notes
    -----
    A log1p value x becomes (x − median) / max(IQR, ½ train median IQR, .1 train SD, 1e-3), with
    median and IQR of the channel in the device's own clean telemetry. Statistics follow as those of
    the values do: the mean and the 95th percentile shift and scale, standard deviation and slope
    only scale, the share of zeros stays. Then the z score of train, clipped to ±8 last. Unknown
    (NaN) stays unknown, and what is relative to an unknown baseline is unknown.

    Attributes
    ----------
    floor : (n_channels,) the least scale: max(½ train median IQR, .1 train SD, 1e-3).
    z_mean, z_sd : of train, relative to baselines; (n_channels,), of summaries (n_features,).
    """

    mode: CalibrationMode
    variant: Variant
    kind: InputKind
    floor: Array
    z_mean: Array
    z_sd: Array

    def __post_init__(self) -> None:
        """Refuse arrays of the wrong shape or with senseless values.

        Raises
        ------
        CalibrationError
            Naming the array.
        """
        n_channels = channel_indices(self.variant).size
        n_columns = n_channels * (_N_STATS if self.kind == "summary" else 1)
        for name, array in self.arrays().items():
            wanted = (n_channels,) if name == "floor" else (n_columns,)
            if array.shape != wanted:
                raise CalibrationError(
                    f"calibrator ({self.kind}, {self.variant}): {name} has shape {array.shape}, "
                    f"wanted {wanted}"
                )
            least = -np.inf if name == "z_mean" else 0
            if not (np.isfinite(array) & (array > least)).all():
                raise CalibrationError(
                    f"calibrator ({self.kind}, {self.variant}): {name} must be finite"
                    + ("" if name == "z_mean" else " and positive")
                )

    @classmethod
    def fit(
        cls,
        mode: CalibrationMode,
        variant: Variant,
        kind: InputKind,
        baseline_iqr: Array,
        windows: Callable[[], Iterable[Batch]],
    ) -> Self:
        """Learn the least scales and the z score.

        Parameters
        ----------
        mode : by what telemetry a device is calibrated.
        variant : what the model may see.
        kind : "tensor" or "summary".
        baseline_iqr : (n_episodes, n_channels) of the train episodes.
        windows : iterates over the train windows anew each time it is called; it is called twice.

        Raises
        ------
        CalibrationError
            If there is no train window.
        """
        channel_sd = _channel_sd(kind, windows())
        floor = np.fmax(IQR_SHARE * _known_median(baseline_iqr), SD_SHARE * channel_sd)
        floor = np.fmax(floor, MIN_SCALE).astype(np.float32)
        n_columns = floor.size * (_N_STATS if kind == "summary" else 1)
        unit = cls(
            mode,
            variant,
            kind,
            floor,
            np.zeros(n_columns, dtype=np.float32),
            np.ones(n_columns, dtype=np.float32),
        )
        relative = _Moments(n_columns)
        for X, median, iqr in windows():
            relative.add(_columns_last(kind, unit._relative(X, median, iqr)))
        sd = relative.sd()
        return cls(
            mode,
            variant,
            kind,
            floor,
            np.nan_to_num(relative.mean()).astype(np.float32),
            # What never varied in train has no spread to be measured by.
            np.where(sd > MIN_SCALE, sd, 1.0).astype(np.float32),
        )

    def apply(self, X: Array, median: Array, iqr: Array) -> Array:
        """Calibrate windows.

        Parameters
        ----------
        X : (n, n_channels, n_steps) tensors or (n, n_features) summaries, as the kind says.
        median, iqr : (n, n_channels) or (n_channels,) of each window's device; not read by TRAIN_Z.

        Returns
        -------
        Of X's shape, within ±8; NaN where X or the baseline is unknown.
        """
        tensor = self.kind == "tensor"
        mean, sd = (z[:, None] if tensor else z for z in (self.z_mean, self.z_sd))
        relative = self._relative(X, median, iqr)
        calibrated: Array = np.clip((relative - mean) / sd, -CLIP, CLIP)
        return calibrated

    def arrays(self) -> dict[str, Array]:
        """Return what was learnt, by name, for a checkpoint."""
        return {name: getattr(self, name) for name in _ARRAYS}

    @classmethod
    def from_arrays(
        cls,
        mode: CalibrationMode,
        variant: Variant,
        kind: InputKind,
        arrays: Mapping[str, Array],
    ) -> Self:
        """Restore from what ``arrays`` gave.

        Raises
        ------
        CalibrationError
            If an array is missing, has the wrong shape, or is not finite.
        """
        missing = sorted(set(_ARRAYS) - set(arrays))
        if missing:
            raise CalibrationError(f"calibrator ({kind}, {variant}): no array {missing}")
        return cls(
            mode, variant, kind, *(np.asarray(arrays[name], dtype=np.float32) for name in _ARRAYS)
        )

    @property
    def digest(self) -> str:
        """SHA-256 of the mode and all that was learnt."""
        total = hashlib.sha256(f"{self.mode}\n{self.variant}\n{self.kind}\n".encode())
        for name, array in self.arrays().items():
            total.update(name.encode())
            total.update(np.ascontiguousarray(array, dtype="<f4").tobytes())
        return total.hexdigest()

    def _relative(self, X: Array, median: Array, iqr: Array) -> Array:
        """Relate windows to their device's baseline; not yet the z score, not clipped."""
        if self.mode is CalibrationMode.TRAIN_Z:
            return X
        scale = np.maximum(iqr, self.floor)
        if self.kind == "tensor":
            tensors: Array = (X - median[..., None]) / scale[..., None]
            return tensors
        statistics = X.reshape(*X.shape[:-1], -1, _N_STATS)
        shift = np.where(_SHIFTED, median[..., None], np.float32(0))
        by = np.where(_SCALED, scale[..., None], np.float32(1))
        relative: Array = ((statistics - shift) / by).reshape(X.shape)
        return relative


class _Moments:
    """Mean and standard deviation of known values, by column, over batches."""

    def __init__(self, n_columns: int) -> None:
        self._count = np.zeros(n_columns)
        self._total = np.zeros(n_columns)
        self._square = np.zeros(n_columns)
        self._origin: npt.NDArray[np.float64] | None = None

    def add(self, values: Array) -> None:
        """Take in (n, n_columns) values; NaN is unknown."""
        known = ~np.isnan(values)
        if self._origin is None:
            # Sums of squares far from zero lose digits; any typical value will do as the origin.
            n = np.maximum(known.sum(axis=0), 1)
            self._origin = np.where(known, values, 0).sum(axis=0, dtype=np.float64) / n
        centred = np.where(known, values - self._origin, 0.0)
        self._count += known.sum(axis=0)
        self._total += centred.sum(axis=0)
        self._square += np.square(centred).sum(axis=0)

    def mean(self) -> npt.NDArray[np.float64]:
        """(n_columns,) mean; NaN of a column never known."""
        if self._origin is None:
            raise CalibrationError("no train window to fit a calibrator on")
        return self._origin + self._total / self._known()

    def sd(self) -> npt.NDArray[np.float64]:
        """(n_columns,) standard deviation; NaN of a column never known."""
        variance = self._square / self._known() - np.square(self._total / self._known())
        sd: npt.NDArray[np.float64] = np.sqrt(np.maximum(variance, 0.0))
        return sd

    def _known(self) -> npt.NDArray[np.float64]:
        return np.where(self._count > 0, self._count, np.nan)


def _columns_last(kind: InputKind, X: Array) -> Array:
    """(n, n_channels, n_steps) -> (n × n_steps, n_channels); summaries as they are."""
    return X.transpose(0, 2, 1).reshape(-1, X.shape[1]) if kind == "tensor" else X


def _channel_sd(kind: InputKind, windows: Iterable[Batch]) -> npt.NDArray[np.float64]:
    """Spread (SD) of each channel's log1p values over all train windows: (n_channels,)."""
    values: _Moments | None = None
    within: _Moments | None = None
    for X, median, _ in windows:
        if values is None:
            values, within = _Moments(median.shape[-1]), _Moments(median.shape[-1])
        if kind == "tensor":
            values.add(_columns_last(kind, X))
            continue
        # The variance of all values is that of the windows' means plus the mean of their variances.
        statistics = X.reshape(len(X), -1, _N_STATS)
        values.add(statistics[..., STATISTICS.index("mean")])
        assert within is not None
        within.add(np.square(statistics[..., STATISTICS.index("std")]))
    if values is None or within is None:
        raise CalibrationError("no train window to fit a calibrator on")
    if kind == "tensor":
        return values.sd()
    total: npt.NDArray[np.float64] = np.sqrt(np.square(values.sd()) + within.mean())
    return total


def _known_median(x: Array) -> npt.NDArray[np.float64]:
    """Median over episodes of each channel's known values: (n_channels,); NaN if none."""
    ascending = np.sort(x.T, axis=-1)
    return known_quantile(ascending, (~np.isnan(ascending)).sum(axis=-1), 0.5)
