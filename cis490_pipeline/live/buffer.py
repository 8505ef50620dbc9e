"""Bounded row buffer of one source: the fewest rows that give the same features as all rows."""

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
"""Rows held per source, at most: 30 s at 270 Hz, beyond any recorder of the format."""


class SourceBuffer:
    """Rows of one source in order of time, dropped once no later window can need them.

    ``overrun`` counts rows dropped although a window might have needed them: the buffer was full.
    """

    def __init__(self, source: Source) -> None:
        self.source = source
        self.overrun = 0
        self._times: list[int] = []
        self._rows: list[tuple[Reading, ...]] = []
        self._past: dict[str, Past] = {}

    def __len__(self) -> int:
        """Return the number of held rows."""
        return len(self._times)

    def add(self, row: LiveRow) -> None:
        """Append a row; its time must not be before the last one's."""
        assert not self._times or row.t_wall_ns >= self._times[-1], "rows come in order of time"
        if len(self._times) >= MAX_ROWS:
            half = MAX_ROWS // 2
            self.overrun += half
            self._drop(half, None)
        self._times.append(row.t_wall_ns)
        self._rows.append(row.values)

    def clear(self) -> None:
        """Drop all rows."""
        self._times, self._rows, self._past = [], [], {}

    def columns(self) -> Columns:
        """Return the rows as columns for the resampler."""
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
        """Drop rows before a second of the episode; the counter state they leave behind is kept.

        Windows that start at least 5 s after the horizon have the same features with the remaining
        rows as with all rows.
        """
        n_old = int(np.searchsorted(np.array(self._times, dtype=np.int64), horizon_ns))
        if n_old:
            self._drop(n_old, horizon_ns)

    def _drop(self, n_rows: int, anchor_ns: int | None) -> None:
        self._past = forgotten(self.source, self.columns(), n_rows, anchor_ns=anchor_ns)
        self._times = list(islice(self._times, n_rows, None))
        self._rows = list(islice(self._rows, n_rows, None))
