"""The last rows of one source: as few as give the same features as all of them would."""

from itertools import islice
from typing import Final

import numpy as np
import numpy.typing as npt

from cis490_pipeline.domain import Kind, Source
from cis490_pipeline.features.channels import source_channels
from cis490_pipeline.live.feeds.rows import LiveRow, Reading
from cis490_pipeline.store.rows.columns import TIME, Columns, Numbers, Past
from cis490_pipeline.store.rows.counters import forgotten

MAX_ROWS: Final = 8192
"""Rows of one source that are held at most: 30 s at 270 Hz, which no recorder of the format has."""


class SourceBuffer:
    """Rows of one source in the order of time, forgotten once no later window can need them.

    Attributes
    ----------
    overrun : rows forgotten although a window might have needed them, because there were too many.
    """

    def __init__(self, source: Source) -> None:
        self.source = source
        self.overrun = 0
        self._times: list[int] = []
        self._rows: list[tuple[Reading, ...]] = []
        self._past: dict[str, Past] = {}

    def __len__(self) -> int:
        """Return how many rows are held."""
        return len(self._times)

    def add(self, row: LiveRow) -> None:
        """Take a row; not older than the one before it."""
        assert not self._times or row.t_wall_ns >= self._times[-1], "rows come in the order of time"
        if len(self._times) >= MAX_ROWS:
            half = MAX_ROWS // 2
            self.overrun += half
            self._forget(half, None)
        self._times.append(row.t_wall_ns)
        self._rows.append(row.values)

    def clear(self) -> None:
        """Forget all rows."""
        self._times, self._rows, self._past = [], [], {}

    def columns(self) -> Columns:
        """Give the rows as the resampler takes them."""
        values: dict[str, Numbers] = {TIME: np.array(self._times, dtype=np.int64)}
        known: dict[str, npt.NDArray[np.bool_]] = {}
        columns = zip(*self._rows, strict=True) if self._rows else iter(())
        for (_, channel), readings in zip(source_channels(self.source), columns, strict=False):
            is_known = np.array([reading is not None for reading in readings])
            whole = channel.kind is Kind.COUNTER or not channel.is_float
            filled = [0 if reading is None else reading for reading in readings]
            values[channel.field] = (
                np.array(filled, dtype=np.int64) if whole else np.array(filled, dtype=np.float64)
            )
            if not is_known.all():
                known[channel.field] = is_known
        return Columns(values, known, self._past)

    def trim(self, horizon_ns: int) -> None:
        """Forget rows from before a time; what they leave behind stays.

        Parameters
        ----------
        horizon_ns : where a second of the episode begins, Unix ns. Windows that start 5 s after it
            or later have the same features with the rows that stay as with all rows.
        """
        n_old = int(np.searchsorted(np.array(self._times, dtype=np.int64), horizon_ns))
        if n_old:
            self._forget(n_old, horizon_ns)

    def _forget(self, n_rows: int, anchor_ns: int | None) -> None:
        self._past = forgotten(self.source, self.columns(), n_rows, anchor_ns=anchor_ns)
        self._times = list(islice(self._times, n_rows, None))
        self._rows = list(islice(self._rows, n_rows, None))
