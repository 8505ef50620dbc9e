"""Telemetry relative to the device's own known-clean telemetry, then to train's spread."""

import hashlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, Self

import numpy as np

from cis490_pipeline.domain import Variant
from cis490_pipeline.domain.catalogue import InputKind
from cis490_pipeline.errors import CalibrationError
from cis490_pipeline.features.baseline import baseline_statistics
from cis490_pipeline.features.calibration.drifting_gauges import GaugeTreatment, treat_gauges
from cis490_pipeline.features.calibration.moments import (
    Array,
    Batch,
    Moments,
    channel_sd,
    columns_last,
    known_median,
)
from cis490_pipeline.features.channels import channel_indices
from cis490_pipeline.features.summary import STATISTICS

__all__ = ["Array", "Batch", "CalibrationMode", "Calibrator", "Scaling", "baseline_statistics"]

CLIP: Final = 8.0
IQR_SHARE: Final = 0.5
"""A channel still in its baseline is scaled by at least this share of train's median IQR."""
SD_SHARE: Final = 0.1
"""…and by at least this share of its standard deviation in train."""
MIN_SCALE: Final = 1e-3
LARGEST: Final = 1e3
"""No log1p of a float64 is above 710, nor is a spread or a difference of such."""

_N_STATS: Final = len(STATISTICS)
_SHIFTED: Final = np.array([s in ("mean", "p95") for s in STATISTICS])
_SCALED: Final = np.array([s != "zero_fraction" for s in STATISTICS])
_ARRAYS: Final = ("floor", "z_mean", "z_sd")


class CalibrationMode(StrEnum):
    """By what telemetry a device is calibrated."""

    EPISODE_BASELINE = "episode_baseline"
    """The episode's own first 15 s, which are labelled clean."""
    HOST_BASELINE = "host_baseline"
    """A calibration record of the host: its earliest sound clean-only episode, never scored."""
    TRAIN_Z = "train_z"
    """None: the spread of train alone. Poor on an unseen device; kept to show that."""


class Scaling(StrEnum):
    """By what a value's distance from the baseline is divided."""

    DEVICE = "device"
    """The device's own spread in its baseline, but no less than a share of train's."""
    TRAIN = "train"
    """Nothing of the device: its baseline only shifts, and train's z score scales."""


@dataclass(frozen=True, eq=False)
class Calibrator:
    """Makes windows of different devices comparable; fitted on train only.

    Notes
    -----
    A log1p value x becomes x − median, with the median of the channel in the device's own clean
    telemetry; under the scaling ``device`` that is divided by max(IQR, ½ train median IQR, .1 train
    SD, 1e-3). Statistics follow as those of the values do: the mean and the 95th percentile shift
    and scale, standard deviation and slope only scale, the share of zeros stays. Then the z score
    of train, clipped to ±8 last. Unknown (NaN) stays unknown, and what is relative to an unknown
    baseline is unknown. Between baseline and z score the drifting gauges are treated as ``gauges``
    says.

    Attributes
    ----------
    mode : by what telemetry a device is calibrated.
    variant, kind : which windows it takes.
    floor : (n_channels,) the least scale: max(½ train median IQR, .1 train SD, 1e-3).
    z_mean, z_sd : of train, relative to baselines; (n_channels,), of summaries (n_features,).
    gauges : what is left of the gauges that creep after a start.
    scaling : by what the distance from the baseline is divided, if by anything.
    """

    mode: CalibrationMode
    variant: Variant
    kind: InputKind
    floor: Array
    z_mean: Array
    z_sd: Array
    gauges: GaugeTreatment = GaugeTreatment.RECORDED
    scaling: Scaling = Scaling.TRAIN

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
            # What is divided by a device's spread grows by as much as the least of spreads allows.
            by = MIN_SCALE if self.scaling is Scaling.DEVICE and name != "floor" else 1.0
            most = LARGEST / by
            least = -most if name == "z_mean" else 0
            if not (np.isfinite(array) & (array > least) & (array < most)).all():
                raise CalibrationError(
                    f"calibrator ({self.kind}, {self.variant}): {name} must be finite"
                    + ("" if name == "z_mean" else " and positive")
                    + f" and no larger than {most:g}"
                )

    @classmethod
    def fit(
        cls,
        mode: CalibrationMode,
        variant: Variant,
        kind: InputKind,
        baseline_iqr: Array,
        windows: Callable[[], Iterable[Batch]],
        gauges: GaugeTreatment = GaugeTreatment.RECORDED,
        scaling: Scaling = Scaling.TRAIN,
    ) -> Self:
        """Learn the least scales and the z score.

        Parameters
        ----------
        mode : by what telemetry a device is calibrated.
        variant : what the model may see.
        kind : "tensor" or "summary".
        baseline_iqr : (n_episodes, n_channels) of the train episodes.
        windows : iterates over the train windows anew each time it is called; it is called twice.
        gauges : what is left of the gauges that creep after a start.
        scaling : by what the distance from the baseline is divided.

        Raises
        ------
        CalibrationError
            If there is no train window.
        """
        total_sd = channel_sd(kind, windows())
        floor = np.fmax(IQR_SHARE * known_median(baseline_iqr), SD_SHARE * total_sd)
        floor = np.fmax(floor, MIN_SCALE).astype(np.float32)
        n_columns = floor.size * (_N_STATS if kind == "summary" else 1)
        unit = cls(
            mode,
            variant,
            kind,
            floor,
            np.zeros(n_columns, dtype=np.float32),
            np.ones(n_columns, dtype=np.float32),
            gauges,
            scaling,
        )
        relative = Moments(n_columns)
        for X, median, iqr in windows():
            relative.add(columns_last(kind, unit._relative(X, median, iqr)))
        sd = relative.sd()
        return cls(
            mode,
            variant,
            kind,
            floor,
            np.nan_to_num(relative.mean()).astype(np.float32),
            # What never varied in train has no spread to be measured by.
            np.where(sd > MIN_SCALE, sd, 1.0).astype(np.float32),
            gauges,
            scaling,
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
        gauges: GaugeTreatment = GaugeTreatment.RECORDED,
        scaling: Scaling = Scaling.TRAIN,
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
        floor, z_mean, z_sd = (np.asarray(arrays[name], dtype=np.float32) for name in _ARRAYS)
        return cls(mode, variant, kind, floor, z_mean, z_sd, gauges, scaling)

    @property
    def digest(self) -> str:
        """SHA-256 of the mode, the treatment of gauges, the scaling, and all that was learnt."""
        said = f"{self.mode}\n{self.variant}\n{self.kind}\n{self.gauges}\n{self.scaling}\n"
        total = hashlib.sha256(said.encode())
        for name, array in self.arrays().items():
            total.update(name.encode())
            total.update(np.ascontiguousarray(array, dtype="<f4").tobytes())
        return total.hexdigest()

    def _relative(self, X: Array, median: Array, iqr: Array) -> Array:
        """Relate windows to their device's baseline; not yet the z score, not clipped."""
        return treat_gauges(self._levels(X, median, iqr), self.kind, self.variant, self.gauges)

    def _levels(self, X: Array, median: Array, iqr: Array) -> Array:
        """Relate windows to their device's baseline, all channels alike."""
        if self.mode is CalibrationMode.TRAIN_Z:
            return X
        # A channel whose spread is unknown is unknown, whatever divides it.
        by_device = np.maximum(iqr, self.floor)
        of_train = self.scaling is Scaling.TRAIN
        scale = np.where(np.isnan(iqr), iqr, np.float32(1)) if of_train else by_device
        if self.kind == "tensor":
            tensors: Array = (X - median[..., None]) / scale[..., None]
            return tensors
        statistics = X.reshape(*X.shape[:-1], -1, _N_STATS)
        shift = np.where(_SHIFTED, median[..., None], np.float32(0))
        by = np.where(_SCALED, scale[..., None], np.float32(1))
        relative: Array = ((statistics - shift) / by).reshape(X.shape)
        return relative
