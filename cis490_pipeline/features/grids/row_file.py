"""Random access to rows of float32 in a file, without memory mapping."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from cis490_pipeline.domain.arrays import Float32s
from cis490_pipeline.errors import DatasetError

_ADVISED_BYTES: Final = 128 * 2**10
"""Size of one read-ahead request: Linux limits it to the disk's read-ahead, at least 128 KiB."""


@dataclass(frozen=True)
class RowFile:
    """Rows of float32 in a file, the first at ``offset`` bytes.

    Unlike a memory map, whose pages count towards the process's memory, which reads neighbouring
    pages too, and which crashes the process if the file is truncated.
    """

    path: Path
    offset: int
    n_rows: int
    n_columns: int

    @classmethod
    def behind(cls, mapped: Float32s) -> "RowFile":
        """Build from a memory-mapped float32 array, (n_rows, n_columns); TypeError for others."""
        if not isinstance(mapped, np.memmap) or mapped.filename is None:
            raise TypeError(f"only a mapped file has rows on disk, got {type(mapped).__name__}")
        return cls(Path(mapped.filename), mapped.offset, *mapped.shape)

    @property
    def row_bytes(self) -> int:
        """Size of one row, bytes."""
        return self.n_columns * np.dtype(np.float32).itemsize

    def take(self, starts: npt.NDArray[np.integer[Any]], length: int = 1) -> Float32s:
        """Read spans of ``length`` rows from (n_spans,) starts, in any order.

        Returns
        -------
        (n_spans, length, n_columns).

        Raises
        ------
        DatasetError
            If the file is missing or truncated.
        """
        out = np.empty((starts.size, length, self.n_columns), dtype=np.float32)
        into = out.reshape(starts.size, length * self.n_columns).view(np.uint8)

        def read(descriptor: int) -> None:
            for span, start in zip(into, starts.tolist(), strict=True):
                self._fill(descriptor, memoryview(span), self.offset + start * self.row_bytes)

        self._opened(read)
        return out

    def read_ahead(self, starts: npt.NDArray[np.integer[Any]], length: int, gap: int) -> None:
        """Prefetch spans of rows, as of ``take``, into the page cache, in the background.

        The disk then gets all requests at once. Spans whose starts are at most ``gap`` apart are
        read as one, which is cheaper than a seek. Has no effect on systems without posix_fadvise.
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
        # Reopened each time, because a corpus has more shards than the limit on open files.
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
