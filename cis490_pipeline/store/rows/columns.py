"""Rows of one source, a numpy array for each column: what checks and grids work on.

A polars column costs about 15 µs to make and to take apart again, a tenth of all that is done to an
episode; so the frame is made for those alone who want one.
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
    """One reading of a counter that counts."""

    t_wall_ns: int
    visible_ns: int
    """From when on steps may use it."""
    value: int


@dataclass(frozen=True, kw_only=True)
class Past:
    """What rows that were forgotten leave behind for one channel."""

    seen_ns: tuple[int, ...] = ()
    """Times of its last three readings at most, the latest one last."""
    counted: tuple[Counted, ...] = ()
    """Its last reading that counts, of a counter; and the one before, if that is a fall."""
    peak: float = 0.0
    """Fastest growth up to the first of these, per second."""
    highest: int = 0
    """Highest reading up to it."""
    lost: int = 0
    """By how much it stood below where it once stood, restarts undone."""


@dataclass(frozen=True, eq=False)
class Columns:
    """Columns of one source by name, ``t_wall_ns`` (ns) among them; readings may be unknown."""

    values: Mapping[str, Numbers]
    """(n_rows,) each; where a reading is unknown, any number."""
    known: Mapping[str, npt.NDArray[np.bool_]] = field(default_factory=dict)
    """(n_rows,) which readings are known, of the columns in which some are not."""
    past: Mapping[str, Past] = field(default_factory=dict)
    """What forgotten rows left behind, by column; nothing if these rows are the first."""

    @classmethod
    def of(cls, columns: Iterable[pl.Series]) -> Self:
        """Take polars' columns; null is unknown.

        Parameters
        ----------
        columns : numeric, ``t_wall_ns`` among them and without null.
        """
        values: dict[str, Numbers] = {}
        known: dict[str, npt.NDArray[np.bool_]] = {}
        for column in columns:
            if column.null_count():
                known[column.name] = column.is_not_null().to_numpy()
            # Not where nothing is null: it would copy the column.
            numbers = (column.fill_null(0) if column.name in known else column).to_numpy()
            values[column.name] = (
                numbers.astype(np.float64, copy=False)
                if column.dtype.is_float()
                else numbers.astype(np.int64, copy=False)
            )
        return cls(values, known)

    @property
    def n_rows(self) -> int:
        """How many rows there are."""
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
        """Rows that are wanted: (n_rows,) booleans."""
        return type(self)(
            {name: values[wanted] for name, values in self.values.items()},
            {name: known[wanted] for name, known in self.known.items()},
        )

    @cached_property
    def has_negatives(self) -> bool:
        """Whether a column other than the time holds a number below zero, or NaN."""
        return any(
            not values.min(initial=0) >= 0 for name, values in self.values.items() if name != TIME
        )

    @cached_property
    def frame(self) -> pl.DataFrame:
        """The same as a polars frame; null is unknown."""
        # A dtype told costs polars more than finding the array's.
        frame = pl.DataFrame([pl.Series(name, values) for name, values in self.values.items()])
        return frame.with_columns(
            pl.when(pl.Series(known)).then(pl.col(name)).alias(name)
            for name, known in self.known.items()
        )
