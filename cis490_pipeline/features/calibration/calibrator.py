"""Calibrator: subtracts a device's clean baseline, then standardizes by train's spread."""

import hashlib
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import cached_property
from typing import Final, Self

import numpy as np

from cis490_pipeline.domain import Variant
from cis490_pipeline.domain.arrays import Bools, Float32s
from cis490_pipeline.domain.catalogue import InputKind
from cis490_pipeline.errors import CalibrationError
from cis490_pipeline.features import history
from cis490_pipeline.features.calibration.drifting_gauges import GaugeTreatment, treat_gauges
from cis490_pipeline.features.calibration.moments import (
    Batch,
    Moments,
    channel_sd,
    columns_last,
    known_median,
)
from cis490_pipeline.features.channels import channel_names
from cis490_pipeline.features.columns import calibrated_shape, per_channel
from cis490_pipeline.features.summary import STATISTICS

CLIP: Final = 8.0
IQR_SHARE: Final = 0.5
"""Lower bound on a channel's scale, as a share of train's median IQR."""
SD_SHARE: Final = 0.1
"""Lower bound on a channel's scale, as a share of its standard deviation in train."""
MIN_SCALE: Final = 1e-3
LARGEST: Final = 1e3
"""Limit on parameters; log1p of a float64 is at most 710, as are spreads and differences."""

_N_STATS: Final = len(STATISTICS)
_SHIFTED: Final = np.array([s in ("mean", "p95") for s in STATISTICS])
_SCALED: Final = np.array([s != "zero_fraction" for s in STATISTICS])
_ARRAYS: Final = ("floor", "z_mean", "z_sd")


class CalibrationMode(StrEnum):
    """Telemetry used to calibrate a device."""

    EPISODE_BASELINE = "episode_baseline"
    """The first 15 s of the episode, which are labelled clean."""
    HOST_BASELINE = "host_baseline"
    """A calibration record of the host, from its earliest valid clean-only episode."""
    TRAIN_Z = "train_z"
    """No telemetry of the device, only train's z score. Poor on unseen devices; a control."""


class Scaling(StrEnum):
    """Divisor of a value's distance from the baseline."""

    DEVICE = "device"
    """The device's spread in its baseline, bounded below by a share of train's."""
    TRAIN = "train"
    """None: the baseline only shifts values, and train's z score scales them."""


@dataclass(frozen=True, eq=False)
class Calibrator:
    """Makes windows of different devices comparable. Fitted on train only.

    Notes
    -----
    A log1p value x becomes x − median, the channel's median in the device's clean telemetry; with
    scaling ``device`` it is divided by max(IQR, ½ train median IQR, .1 train SD, 1e-3). Summary
    statistics transform accordingly: mean and 95th percentile shift and scale, standard deviation
    and slope only scale, and the share of zeros stays. Then drifting gauges are treated according
    to ``gauges``, and the z score of train is applied and clipped to ±8. Unknown values (NaN) and
    values relative to an unknown baseline are unknown. The linear means of history features become
    asinh((mean − baseline) / quantum), beside the change since both lags; see ``history.squashed``.

    Attributes
    ----------
    mode : telemetry used to calibrate a device.
    variant, kind : of the windows.
    floor : (n_channels,) minimal scale: max(½ train median IQR, .1 train SD, 1e-3).
    z_mean, z_sd : of train, relative to baselines; (n_channels,) for tensors, else (n_features,).
    gauges : treatment of the drifting gauges.
    scaling : divisor of the distance from the baseline.
    quarantine : channels that are unknown to the model whatever was recorded, in axis order: they
        show the recorder, and nothing is fitted on them.
    """

    mode: CalibrationMode
    variant: Variant
    kind: InputKind
    floor: Float32s
    z_mean: Float32s
    z_sd: Float32s
    gauges: GaugeTreatment = GaugeTreatment.RECORDED
    scaling: Scaling = Scaling.TRAIN
    quarantine: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Raise CalibrationError, naming the first array that is malformed."""
        names = channel_names(self.variant)
        n_channels = len(names)
        if self.quarantine != _in_order(names, self.quarantine) or self.quarantine == names:
            raise CalibrationError(
                f"calibrator ({self.kind}, {self.variant}): quarantine {self.quarantine!s:.200}: "
                "must be some of its channels, not all, each once and in their order"
            )
        n_columns = n_channels * per_channel(self.kind)
        for name, array in self.arrays().items():
            wanted = (n_channels,) if name == "floor" else (n_columns,)
            if array.shape != wanted:
                raise CalibrationError(
                    f"calibrator ({self.kind}, {self.variant}): {name} has shape {array.shape}, "
                    f"wanted {wanted}"
                )
            # Values divided by a device's spread can be larger by the inverse of the minimal scale.
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
        baseline_iqr: Float32s,
        windows: Callable[[], Iterable[Batch]],
        gauges: GaugeTreatment = GaugeTreatment.RECORDED,
        scaling: Scaling = Scaling.TRAIN,
        quarantine: Collection[str] = (),
    ) -> Self:
        """Fit the minimal scales and the z score; CalibrationError if there is no train window.

        Parameters
        ----------
        baseline_iqr : (n_episodes, n_channels) of the train episodes.
        windows : returns a fresh iterator over the train windows; called twice.
        quarantine : channels of any variant; those that this one has not are left out.
        """
        total_sd = channel_sd(kind, windows())
        floor = np.fmax(IQR_SHARE * known_median(baseline_iqr), SD_SHARE * total_sd)
        floor = np.fmax(floor, MIN_SCALE).astype(np.float32)
        hidden = _in_order(names := channel_names(variant), quarantine)
        floor[np.isin(names, hidden)] = MIN_SCALE
        n_columns = floor.size * per_channel(kind)
        zeros, ones = np.zeros(n_columns, np.float32), np.ones(n_columns, np.float32)
        unit = cls(mode, variant, kind, floor, zeros, ones, gauges, scaling, hidden)
        relative = Moments(n_columns)
        for X, median, iqr in windows():
            relative.add(columns_last(kind, unit._relative(X, median, iqr)))
        sd = relative.sd()
        # Columns constant in train are not scaled.
        z_sd = np.where(sd > MIN_SCALE, sd, 1.0).astype(np.float32)
        z_mean = np.nan_to_num(relative.mean()).astype(np.float32)
        return replace(unit, z_mean=z_mean, z_sd=z_sd)

    def apply(self, X: Float32s, median: Float32s, iqr: Float32s) -> Float32s:
        """Calibrate windows.

        Parameters
        ----------
        X : (n, n_channels, n_steps) tensors or (n, n_features) rows, depending on the kind.
        median, iqr : (n, n_channels) or (n_channels,) of each window's device; unused by TRAIN_Z.

        Returns
        -------
        (n, *shape), within ±8; NaN where X or the baseline is unknown, and in quarantine.
        """
        tensor = self.kind == "tensor"
        mean, sd = (z[:, None] if tensor else z for z in (self.z_mean, self.z_sd))
        relative = self._relative(X, median, iqr)
        calibrated: Float32s = np.clip((relative - mean) / sd, -CLIP, CLIP)
        return calibrated

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one calibrated window."""
        return calibrated_shape(self.kind, self.floor.size)

    @cached_property
    def seen(self) -> Bools:
        """(n_channels,) whether a channel is the model's to see: not in quarantine."""
        return ~np.isin(channel_names(self.variant), self.quarantine)

    def masked(self, X: Float32s) -> Float32s:
        """Return windows of this kind with the channels in quarantine unknown."""
        if not self.quarantine:
            return X
        # Channels come first on every kind's second axis, each with as many columns.
        n_columns = X.shape[1] // self.seen.size
        masked = X.copy()
        masked[:, np.repeat(~self.seen, n_columns)] = np.nan
        return masked

    def arrays(self) -> dict[str, Float32s]:
        """Return the fitted arrays by name, for a checkpoint."""
        return {name: getattr(self, name) for name in _ARRAYS}

    @classmethod
    def from_arrays(
        cls,
        mode: CalibrationMode,
        variant: Variant,
        kind: InputKind,
        arrays: Mapping[str, Float32s],
        gauges: GaugeTreatment = GaugeTreatment.RECORDED,
        scaling: Scaling = Scaling.TRAIN,
        quarantine: tuple[str, ...] = (),
    ) -> Self:
        """Restore a calibrator from ``arrays``.

        Raises
        ------
        CalibrationError
            If an array is missing, has the wrong shape, or is not finite, or a name in quarantine
            is none of the variant's channels.
        """
        missing = sorted(set(_ARRAYS) - set(arrays))
        if missing:
            raise CalibrationError(f"calibrator ({kind}, {variant}): no array {missing}")
        floor, z_mean, z_sd = (np.asarray(arrays[name], dtype=np.float32) for name in _ARRAYS)
        return cls(mode, variant, kind, floor, z_mean, z_sd, gauges, scaling, quarantine)

    @property
    def digest(self) -> str:
        """SHA-256 of the settings and the fitted arrays."""
        settings = f"{self.mode}\n{self.variant}\n{self.kind}\n{self.gauges}\n{self.scaling}\n"
        if self.quarantine:
            # Nothing where nothing is, so that digests from before the setting hold.
            settings += f"{','.join(self.quarantine)}\n"
        total = hashlib.sha256(settings.encode())
        for name, array in self.arrays().items():
            total.update(name.encode())
            total.update(np.ascontiguousarray(array, dtype="<f4").tobytes())
        return total.hexdigest()

    def _relative(self, X: Float32s, median: Float32s, iqr: Float32s) -> Float32s:
        """Transform windows relative to their baseline, before the z score and clipping."""
        return treat_gauges(self._levels(X, median, iqr), self.kind, self.variant, self.gauges)

    def _levels(self, X: Float32s, median: Float32s, iqr: Float32s) -> Float32s:
        """Transform windows relative to their baseline, without treatment of gauges."""
        X = self.masked(X)
        if self.kind == "history":
            return self._history_levels(X, median, iqr)
        if self.mode is CalibrationMode.TRAIN_Z:
            return X
        scale = self._scale(iqr)
        if self.kind == "tensor":
            tensors: Float32s = (X - median[..., None]) / scale[..., None]
            return tensors
        statistics = X.reshape(*X.shape[:-1], -1, _N_STATS)
        return _relative_statistics(statistics, median, scale).reshape(X.shape)

    def _history_levels(self, X: Float32s, median: Float32s, iqr: Float32s) -> Float32s:
        """Transform statistics as those of summaries, and means by the baseline's linear level.

        Means are divided by their channel's quantum and never by a spread, whatever the scaling.
        """
        columns = X.reshape(*X.shape[:-1], -1, len(history.STORED))
        statistics, means = columns[..., :_N_STATS], columns[..., _N_STATS:]
        level = np.zeros(columns.shape[-2])
        if self.mode is not CalibrationMode.TRAIN_Z:
            statistics = _relative_statistics(statistics, median, self._scale(iqr))
            level = np.where(np.isnan(iqr), np.nan, history.linear_level(median))
        relative = history.squashed(means, level, history.quanta(self.variant))
        both = np.concatenate([statistics, relative], axis=-1)
        return both.reshape(*X.shape[:-1], -1)

    def _scale(self, iqr: Float32s) -> Float32s:
        """Divisor of each channel's distance from the baseline."""
        # A channel with an unknown spread stays unknown, whatever the divisor.
        if self.scaling is Scaling.TRAIN:
            return np.where(np.isnan(iqr), iqr, np.float32(1))
        return np.maximum(iqr, self.floor)


def _in_order(names: tuple[str, ...], chosen: Collection[str]) -> tuple[str, ...]:
    """Those of the names that are chosen, in their order."""
    return tuple(name for name in names if name in chosen)


def _relative_statistics(statistics: Float32s, median: Float32s, scale: Float32s) -> Float32s:
    """(…, n_channels, 5) statistics relative to a baseline."""
    shift = np.where(_SHIFTED, median[..., None], np.float32(0))
    by = np.where(_SCALED, scale[..., None], np.float32(1))
    relative: Float32s = (statistics - shift) / by
    return relative
