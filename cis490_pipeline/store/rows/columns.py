"""Rows of one source as numpy columns, the input of checks and grids.

Converting to and from a polars column costs about 15 µs, in total a tenth of the work on an
episode, so the frame is only built on request.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Final, NamedTuple, Self

import numpy as np
import numpy.typing as npt
import polars as pl

TIME: Final = "t_wall_ns"

Numbers = npt.NDArray[np.int64] | npt.NDArray[np.float64]


class Counted(NamedTuple):
    """One counted reading of a counter."""

    t_wall_ns: int
    visible_ns: int
    """Time from which steps may use it, Unix ns."""
    value: int


@dataclass(frozen=True, kw_only=True)
class Past:
    """Summary of a channel's discarded rows."""

    seen_ns: tuple[int, ...] = ()
    """Times of its last readings, at most three, in time order."""
    counted: tuple[Counted, ...] = ()
    """For a counter, its last counted reading, preceded by the one before if the last is a fall."""
    peak: float = 0.0
    """Maximal growth rate up to the first of ``counted``, per second."""
    highest: int = 0
    """Maximal reading up to the first of ``counted``."""
    lost: int = 0
    """Amount by which the restart-corrected value lay below its earlier maximum."""


@dataclass(frozen=True, eq=False)
class Columns:
    """Columns of one source by name, including ``t_wall_ns`` (ns); readings may be unknown."""

    values: Mapping[str, Numbers]
    """(n_rows,) each; unknown readings hold arbitrary numbers."""
    known: Mapping[str, npt.NDArray[np.bool_]] = field(default_factory=dict)
    """(n_rows,) mask of known readings, for columns with unknown ones."""
    past: Mapping[str, Past] = field(default_factory=dict)
    """Summary of discarded rows by column; empty if no rows were discarded."""

    @classmethod
    def of(cls, columns: Iterable[pl.Series]) -> Self:
        """Convert numeric polars columns, with ``t_wall_ns`` without nulls; null is unknown."""
        values: dict[str, Numbers] = {}
        known: dict[str, npt.NDArray[np.bool_]] = {}
        for column in columns:
            if column.null_count():
                known[column.name] = column.is_not_null().to_numpy()
            # Only where needed, because fill_null copies the column.
            numbers = (column.fill_null(0) if column.name in known else column).to_numpy()
            values[column.name] = (
                numbers.astype(np.float64, copy=False)
                if column.dtype.is_float()
                else numbers.astype(np.int64, copy=False)
            )
        return cls(values, known)

    @property
    def n_rows(self) -> int:
        """Number of rows."""
        return self.times.size

    @property
    def times(self) -> npt.NDArray[np.int64]:
        """(n_rows,) ``t_wall_ns``, Unix ns."""
        return self.values[TIME].astype(np.int64, copy=False)

    def readings(self, name: str) -> Numbers:
        """Known readings of a column: (n_known,)."""
        known = self.known.get(name)
        return self.values[name] if known is None else self.values[name][known]

    def floats(self, name: str) -> npt.NDArray[np.float64]:
        """All readings of a column, NaN where unknown: (n_rows,)."""
        values = self.values[name].astype(np.float64, copy=False)
        known = self.known.get(name)
        return values if known is None else np.where(known, values, np.nan)

    def of_rows(self, wanted: npt.NDArray[np.bool_]) -> Self:
        """Select rows by a mask (n_rows,)."""
        return type(self)(
            {name: values[wanted] for name, values in self.values.items()},
            {name: known[wanted] for name, known in self.known.items()},
        )

    @cached_property
    def has_negatives(self) -> bool:
        """Whether a column other than the time holds a negative number or NaN."""
        return any(
            not values.min(initial=0) >= 0 for name, values in self.values.items() if name != TIME
        )

    @cached_property
    def frame(self) -> pl.DataFrame:
        """The same as a polars frame; null is unknown."""
        # Without an explicit dtype, which polars handles more slowly than inferring the array's.
        frame = pl.DataFrame([pl.Series(name, values) for name, values in self.values.items()])
        return frame.with_columns(
            pl.when(pl.Series(known)).then(pl.col(name)).alias(name)
            for name, known in self.known.items()
        )
