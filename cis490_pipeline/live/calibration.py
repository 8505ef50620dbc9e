"""What a live device is measured against: its own first 15 seconds, or a record of it."""

from dataclasses import dataclass
from typing import Any, Final, Self

import numpy as np
import numpy.typing as npt

from cis490_pipeline.domain import NS_PER_S, Source, Variant
from cis490_pipeline.features.baseline import baseline_statistics
from cis490_pipeline.features.calibration_record import CalibrationRecord
from cis490_pipeline.features.channels import channel_indices, source_slices
from cis490_pipeline.features.cleanliness import Cleanliness, CleanlinessCheck
from cis490_pipeline.features.resample import STEP_NS
from cis490_pipeline.features.windows import BASELINE_S, BASELINE_STEPS

Array = npt.NDArray[np.float32]

BASELINE_NS: Final = BASELINE_STEPS * STEP_NS


@dataclass(frozen=True, eq=False, kw_only=True)
class Baseline:
    """A device's usual values, and what is known of the telemetry they were taken from.

    Attributes
    ----------
    median, iqr : (46,) of the log1p values; NaN where a channel was never known.
    id : what predictions name it by: ``episode:<id>``, or a record's id.
    cleanliness : what the check said; None where there was none to ask or nothing to look at.
    labelled_clean : whether labels say it was clean; None where nobody labelled it.
    """

    median: Array
    iqr: Array
    id: str
    cleanliness: Cleanliness | None
    labelled_clean: bool | None

    @classmethod
    def of_record(cls, record: CalibrationRecord) -> Self:
        """Take a host's calibration record."""
        median, iqr = record.arrays()
        return cls(
            median=median,
            iqr=iqr,
            id=record.id,
            cleanliness=record.cleanliness,
            labelled_clean=record.labelled_clean,
        )

    @classmethod
    def of_grid(cls, grid: Array, check: CleanlinessCheck | None, name: str) -> Self:
        """Take the first 15 s of telemetry, which nobody vouches for but the check.

        Parameters
        ----------
        grid : (150, 46) log1p values.
        check : tells a baseline taken while infected, as well as it can.
        name : of what was recorded, for the id.
        """
        median, iqr = baseline_statistics(grid)
        return cls(
            median=median,
            iqr=iqr,
            id=f"episode:{name}",
            cleanliness=check.judge(grid) if check is not None else None,
            labelled_clean=None,
        )

    @property
    def suspect(self) -> bool:
        """Whether the check flags it, or labels say that it was not clean."""
        flagged = self.cleanliness is not None and self.cleanliness.suspect
        return flagged or self.labelled_clean is False

    @property
    def unknown_sources(self) -> tuple[Source, ...]:
        """Sources of which no channel was known: what they send later cannot be compared."""
        of_source = source_slices(Variant.ORACLE)
        return tuple(s for s, place in of_source.items() if np.isnan(self.median[place]).all())

    def of_variant(self, variant: Variant) -> tuple[Array, Array]:
        """Median and IQR of the variant's channels, two arrays (n_channels,)."""
        channels = channel_indices(variant)
        return self.median[channels], self.iqr[channels]

    def to_dict(self) -> dict[str, Any]:
        """As JSON carries it, without the values."""
        found = self.cleanliness
        return {
            "id": self.id,
            "suspect": self.suspect,
            "p_value": None if found is None else found.p_value,
            "why": "not checked: no check, or nothing to look at" if found is None else None,
            "unknown_sources": [str(source) for source in self.unknown_sources],
        }


@dataclass(frozen=True)
class CalibrationProgress:
    """A calibration by the first 15 s, under way.

    Attributes
    ----------
    start_ns : where the 15 s begin, Unix ns on the device.
    """

    start_ns: int

    @property
    def end_ns(self) -> int:
        """Where they end, Unix ns on the device."""
        return self.start_ns + BASELINE_NS

    def seconds(self, now_ns: int) -> float:
        """How much of the 15 s has passed, s."""
        return min(max((now_ns - self.start_ns) / NS_PER_S, 0.0), BASELINE_S)
