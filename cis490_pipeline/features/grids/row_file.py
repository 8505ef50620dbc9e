"""Rows of numbers in a file, read where they are wanted and held by nobody."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from cis490_pipeline.errors import DatasetError

Array = npt.NDArray[np.float32]

_ADVISED_BYTES: Final = 128 * 2**10
"""Read ahead at one request: Linux reads no more than the disk's own read-ahead, 128 KiB or up."""


@dataclass(frozen=True)
class RowFile:
    """Rows of float32 in a file.

    A map of the file would do as well, but its pages count as the process's own as long as they
    are mapped, each one read comes with its neighbours, and a file cut short kills the process.

    Attributes
    ----------
    path : of the file.
    offset : bytes in front of the first row.
    n_rows, n_columns : how many there are.
    """

    path: Path
    offset: int
    n_rows: int
    n_columns: int

    @classmethod
    def behind(cls, mapped: Array) -> "RowFile":
        """Rows of a file that was mapped to see what is in it.

        Parameters
        ----------
        mapped : (n_rows, n_columns) float32, as ``numpy.memmap`` gives it.

        Raises
        ------
        TypeError
            If the array is no map of a file.
        """
        if not isinstance(mapped, np.memmap) or mapped.filename is None:
            raise TypeError(f"only a mapped file has rows on disk, got {type(mapped).__name__}")
        return cls(Path(mapped.filename), mapped.offset, *mapped.shape)

    @property
    def row_bytes(self) -> int:
        """Size of one row."""
        return self.n_columns * np.dtype(np.float32).itemsize

    def take(self, starts: npt.NDArray[np.integer[Any]], length: int = 1) -> Array:
        """Read spans of rows.

        Parameters
        ----------
        starts : (n_spans,) first row of each, in any order.
        length : rows of each.

        Returns
        -------
        (n_spans, length, n_columns).

        Raises
        ------
        DatasetError
            If the file is not there, or ends before a span does.
        """
        out = np.empty((starts.size, length, self.n_columns), dtype=np.float32)
        into = out.reshape(starts.size, length * self.n_columns).view(np.uint8)

        def read(descriptor: int) -> None:
            for span, start in zip(into, starts.tolist(), strict=True):
                self._fill(descriptor, memoryview(span), self.offset + start * self.row_bytes)

        self._opened(read)
        return out

    def read_ahead(self, starts: npt.NDArray[np.integer[Any]], length: int, gap: int) -> None:
        """Have the system read spans of rows into its cache, in the background.

        Asked beforehand, the disk gets all requests at once. A system that takes no advice reads
        as it would have done without.

        Parameters
        ----------
        starts, length : as ``take``.
        gap : starts no farther apart than this are read together with what lies between, which is
            cheaper than a seek.
        """
        if not hasattr(os, "posix_fadvise"):
            return
        ascending = np.unique(starts)
        joined = np.split(ascending, np.flatnonzero(np.diff(ascending) > gap) + 1)

        def advise(descriptor: int) -> None:
            for part in joined:
                first = self.offset + int(part[0]) * self.row_bytes
                end = self.offset + (int(part[-1]) + length) * self.row_bytes
                for at in range(first, end, _ADVISED_BYTES):
                    size = min(_ADVISED_BYTES, end - at)
                    os.posix_fadvise(descriptor, at, size, os.POSIX_FADV_WILLNEED)

        self._opened(advise)

    def _opened(self, use: Callable[[int], None]) -> None:
        # Opened anew each time: a corpus has more shards than a process may have open files.
        try:
            descriptor = os.open(self.path, os.O_RDONLY)
        except OSError as error:
            raise DatasetError(
                f"{self.path}: cannot be read ({error}); make the dataset again"
            ) from error
        try:
            use(descriptor)
        finally:
            os.close(descriptor)

    def _fill(self, descriptor: int, into: memoryview, at: int) -> None:
        while into:
            n_read = os.preadv(descriptor, [into], at)
            if n_read == 0:
                raise DatasetError(
                    f"{self.path}: ends at byte {at}, wanted {len(into)} more for "
                    f"{self.n_rows} rows of {self.row_bytes} bytes; make the dataset again"
                )
            into, at = into[n_read:], at + n_read
