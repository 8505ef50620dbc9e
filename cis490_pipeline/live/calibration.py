"""Baseline of a live device: its learning time (by default 15 s), or its calibration record."""

import math
from collections.abc import Collection
from dataclasses import dataclass, replace
from typing import Final, Self

import numpy as np
import numpy.typing as npt

from cis490_pipeline.domain import NS_PER_S, Source, Variant
from cis490_pipeline.domain.arrays import Float32s
from cis490_pipeline.features.baseline import baseline_statistics, span_statistics
from cis490_pipeline.features.calibration.cleanliness import Cleanliness, CleanlinessCheck
from cis490_pipeline.features.calibration.record import CalibrationRecord
from cis490_pipeline.features.channels import channel_indices, source_slices
from cis490_pipeline.features.resample import STEP_NS
from cis490_pipeline.features.windows import BASELINE_S, BASELINE_STEPS
from cis490_pipeline.storage.json_text import Json

BASELINE_NS: Final = BASELINE_STEPS * STEP_NS
MOST: Final = 0.5
"""A channel is calibrated if it is known in more than this share of the span."""
JUDGED_SHARE: Final = 0.5
"""Share of the deployable channels that must be calibrated for the cleanliness check to judge."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Baseline:
    """Median and IQR of a device's channels, and whether the telemetry behind them was clean.

    Attributes
    ----------
    median, iqr : (46,) of the log1p values; NaN where a channel was never known.
    id : id in predictions: ``episode:<id>``, or a record's id.
    cleanliness : verdict of the check; None without a check or with too little known.
    labelled_clean : whether labels say it was clean; None without labels.
    """

    median: Float32s
    iqr: Float32s
    id: str
    cleanliness: Cleanliness | None
    labelled_clean: bool | None

    @classmethod
    def of_record(cls, record: CalibrationRecord) -> Self:
        """Baseline of a host's calibration record."""
        median, iqr = record.arrays()
        return cls(
            median=median,
            iqr=iqr,
            id=record.id,
            cleanliness=record.cleanliness,
            labelled_clean=record.labelled_clean,
        )

    @classmethod
    def of_grid(cls, grid: Float32s, check: CleanlinessCheck | None, name: str) -> Self:
        """Baseline of the telemetry of a learning time, which only the check can call clean.

        A channel known in at most half of it stays unknown: one reading is no baseline.

        Parameters
        ----------
        grid : (n_steps, 46) log1p values, at least 150 steps (15 s).
        check : detects a baseline taken while infected, with a known error rate.
        """
        enough = known_shares(grid) > MOST
        known = np.where(enough, grid, np.float32(np.nan))
        learnt = span_statistics(known)
        judged = enough[channel_indices(Variant.REALISTIC)].mean() >= JUDGED_SHARE
        return cls(
            median=learnt.median,
            iqr=learnt.iqr,
            id=f"episode:{name}",
            cleanliness=check.judge(known) if check is not None and judged else None,
            labelled_clean=None,
        )

    @property
    def suspect(self) -> bool:
        """Whether the check flags it or labels call it infected."""
        flagged = self.cleanliness is not None and self.cleanliness.suspect
        return flagged or self.labelled_clean is False

    @property
    def unknown_sources(self) -> tuple[Source, ...]:
        """Sources without a known channel, whose later rows have nothing to be compared with."""
        of_source = source_slices(Variant.ORACLE)
        return tuple(s for s, place in of_source.items() if np.isnan(self.median[place]).all())

    def with_source(self, source: Source, grid: Float32s) -> "Baseline":
        """Add a late source by its own first 15 s; the other sources are unchanged.

        The grid has (150, 46) log1p values, the source known in most of them.
        """
        enough = known_shares(grid) > MOST
        median, iqr = baseline_statistics(np.where(enough, grid, np.float32(np.nan)))
        place = source_slices(Variant.ORACLE)[source]
        together = self.median.copy(), self.iqr.copy()
        together[0][place], together[1][place] = median[place], iqr[place]
        return replace(self, median=together[0], iqr=together[1])

    def of_variant(self, variant: Variant) -> tuple[Float32s, Float32s]:
        """Median and IQR of the variant's channels, two arrays (n_channels,)."""
        channels = channel_indices(variant)
        return self.median[channels], self.iqr[channels]

    def to_dict(self) -> dict[str, Json]:
        """As a JSON object, without the values."""
        verdict = self.cleanliness
        return {
            "id": self.id,
            "suspect": self.suspect,
            "p_value": None if verdict is None else verdict.p_value,
            "why": "not checked: no check, or too little is known" if verdict is None else None,
            "unknown_sources": [str(source) for source in self.unknown_sources],
        }


def known_shares(grid: Float32s) -> npt.NDArray[np.float64]:
    """Share of the steps in which each channel is known: (n_steps, 46) to (46,)."""
    shares: npt.NDArray[np.float64] = np.isfinite(grid).mean(axis=0)
    return shares


def source_shares(grid: Float32s) -> dict[Source, float]:
    """Share of the steps in which each source's best-known channel is known."""
    shares = known_shares(grid)
    places = source_slices(Variant.ORACLE)
    return {source: float(shares[place].max()) for source, place in places.items()}


class Learning:
    """Running calibration: pieces of 15 s, until the learning time is reached.

    A piece in which too little was known is not counted, so that learning takes longer instead of
    learning from gaps. Memory grows by 28 kB a piece: 7 MB in an hour.

    Attributes
    ----------
    start_ns : start of the running piece, device time, Unix ns.
    wanted_s : learning time, s.
    """

    def __init__(self, start_ns: int, learn_s: float = BASELINE_S) -> None:
        """Start to learn.

        Parameters
        ----------
        learn_s : learning time, rounded up to whole pieces of 15 s.
        """
        self.start_ns = start_ns
        self._n_wanted = max(math.ceil(learn_s / BASELINE_S), 1)
        self._pieces: list[Float32s] = []

    @property
    def wanted_s(self) -> float:
        """Learning time, s."""
        return self._n_wanted * BASELINE_S

    @property
    def end_ns(self) -> int:
        """End of the running piece, device time, Unix ns."""
        return self.start_ns + BASELINE_NS

    def seconds(self, now_ns: int) -> float:
        """Part of the learning time that has passed, s."""
        running = min(max((now_ns - self.start_ns) / NS_PER_S, 0.0), BASELINE_S)
        return len(self._pieces) * BASELINE_S + running

    def restart_piece(self, start_ns: int) -> None:
        """Discard the running piece; the next begins at a time."""
        self.start_ns = start_ns

    def add(self, piece: Float32s) -> Float32s | None:
        """Add the running piece, (150, 46); return all of them, (n_steps, 46), if it is the last.

        The next piece begins where this one ends.
        """
        self._pieces.append(piece)
        if len(self._pieces) == self._n_wanted:
            return np.concatenate(self._pieces)
        self.start_ns = self.end_ns
        return None


def shortfall(grid: Float32s, read: Collection[Source], alive: Collection[Source]) -> str | None:
    """Return why a span cannot be the baseline, so that the next is tried; None if it can.

    Parameters
    ----------
    grid : (150, 46) log1p values.
    read, alive : sources that a model reads, and those that are sending rows now.
    """
    shares = {source: share for source, share in source_shares(grid).items() if source in read}
    if not any(shares.values()):
        return "nothing was known in 15 s"
    short = {
        source: share for source, share in shares.items() if 0 < share <= MOST and source in alive
    }
    if not short and any(share > MOST for share in shares.values()):
        return None
    named = short or {source: share for source, share in shares.items() if share > 0}
    seconds = ", ".join(f"{s} {share * BASELINE_S:.1f} s" for s, share in named.items())
    return f"too little was known in 15 s ({seconds}; wanted over {MOST * BASELINE_S:g} s)"


def calibrated_text(baseline: Baseline, read: Collection[Source], learnt_s: float) -> str:
    """Describe a new baseline: the verdict of the check, and the sources it lacks."""
    verdict = baseline.cleanliness
    text = f"calibrated by the first {duration_text(learnt_s)}"
    if verdict is None:
        text += ", not checked"
    elif verdict.suspect:
        text += f", which look INFECTED (p = {verdict.p_value:.3f}): use the device's record"
    else:
        text += f" (cleanliness p = {verdict.p_value:.3f})"
    missing = [source for source in baseline.unknown_sources if source in read]
    if missing:
        names = ", ".join(map(str, missing))
        text += f"; too little was known of {names}: unknown unless they start within 5 minutes"
    return text


def duration_text(seconds: float) -> str:
    """Format a duration: ``15 s``, ``2 min``, ``1 h``."""
    for unit, name in ((3600, "h"), (60, "min")):
        if seconds >= unit and seconds % unit == 0:
            return f"{seconds / unit:g} {name}"
    return f"{seconds:g} s"
