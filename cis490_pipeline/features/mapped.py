"""Files mapped into memory: read ahead, and let go of, so that what was read does not pile up."""

import mmap
from collections.abc import Iterator, Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float32]

_ADVISED_BYTES: Final = 128 * 2**10
"""Read ahead at one request: Linux reads no more than the disk's own read-ahead, 128 KiB or up."""

_AROUND_BYTES: Final = 64 * 2**10
"""Touching a page maps its neighbours that are in the cache: Linux' fault-around."""

_HELD_BYTES: Final = 32 * 2**20
"""Mapped pages a process holds, at most about.

Fewer cost time: at this size, mapping pages again is a third of reading a batch from the cache.
"""

_TAKEN_SPANS: Final = 256
"""Spans read before the pages they touched are counted: 21 MB of windows that lie far apart."""


def read_ahead(mapped: Array, start: int, stop: int) -> None:
    """Have the system read rows of a mapped array into its cache, in the background.

    Touching a map reads around the touched page and waits for it, a page at a time; asked
    beforehand, the disk gets all requests at once. A system that takes no advice reads as it would
    have done without.

    Parameters
    ----------
    mapped : (n_rows, n_columns), as ``numpy.memmap`` gives it.
    start, stop : rows, the last one not included.

    Raises
    ------
    TypeError
        If the array is no map of a file.
    """
    file_map = _map_of(mapped)
    will_need: int | None = getattr(mmap, "MADV_WILLNEED", None)
    if will_need is None:
        return
    row_bytes = mapped.strides[0]
    offset: int = mapped.offset  # type: ignore[attr-defined]
    end, first = offset + stop * row_bytes, offset + start * row_bytes
    for at in range(first - first % mmap.PAGESIZE, end, _ADVISED_BYTES):
        file_map.madvise(will_need, at, min(_ADVISED_BYTES, end - at))


def read_ahead_spans(
    mapped: Array, starts: npt.NDArray[np.integer[Any]], length: int, gap: int
) -> None:
    """Read ahead spans of rows, joining those that lie near each other: cheaper than a seek.

    Parameters
    ----------
    mapped : as ``read_ahead``.
    starts : (n_spans,) first row of each, in any order.
    length : rows of each.
    gap : starts no farther apart than this are read together with what lies between.
    """
    ascending = np.unique(starts)
    for part in np.split(ascending, np.flatnonzero(np.diff(ascending) > gap) + 1):
        read_ahead(mapped, int(part[0]), int(part[-1]) + length)


class MappedFiles:
    """Maps of which a process holds a bounded number of pages, however much is read from them."""

    def __init__(self, maps: Sequence[Array]) -> None:
        """Take maps of files; they stay open."""
        self._maps = maps
        self._touched: set[int] = set()
        self._n_bytes = 0

    def __getitem__(self, number: int) -> Array:
        """Return one map."""
        return self._maps[number]

    def take(
        self, number: int, rows: npt.NDArray[np.integer[Any]], length: int = 1
    ) -> Iterator[tuple[slice, Array]]:
        """Read spans of rows, a few at a time, letting go of pages every now and then.

        The system keeps what it read in its cache as long as it likes; it is only no longer
        counted as this process's.

        Parameters
        ----------
        number : of the map.
        rows : (n_spans,) first row of each.
        length : rows of each.

        Yields
        ------
        Which of the spans, and what they hold: (n_spans, length, n_columns), a copy.
        """
        mapped = self._maps[number]
        row_bytes = mapped.strides[0]
        for start in range(0, rows.size, _TAKEN_SPANS):
            part = slice(start, start + _TAKEN_SPANS)
            first = rows[part]
            yield part, mapped[first[:, None] + np.arange(length)]
            self._touched.add(number)
            apart = first.size * (length * row_bytes + _AROUND_BYTES)
            whole = (int(first.max() - first.min()) + length) * row_bytes + _AROUND_BYTES
            self._n_bytes += min(apart, whole)
            if self._n_bytes > _HELD_BYTES:
                self._release()

    def _release(self) -> None:
        for number in self._touched:
            release(self._maps[number])
        self._touched, self._n_bytes = set(), 0


def release(mapped: Array) -> None:
    """Let go of the pages of a map; reading them again brings them back, from cache or disk.

    Raises
    ------
    TypeError
        If the array is no map of a file.
    """
    file_map = _map_of(mapped)
    not_needed: int | None = getattr(mmap, "MADV_DONTNEED", None)
    if not_needed is not None:
        file_map.madvise(not_needed)


def _map_of(mapped: Array) -> mmap.mmap:
    # numpy's types say that only an array can be what another one looks into.
    file_map: object = mapped.base
    if not isinstance(mapped, np.memmap) or not isinstance(file_map, mmap.mmap):
        raise TypeError(f"only a mapped shard can be read ahead, got {type(mapped).__name__}")
    return file_map
