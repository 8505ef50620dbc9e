"""Parquet files: written atomically, read with errors that name the file."""

import io
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import polars as pl

from cis490_pipeline.errors import StoreError
from cis490_pipeline.storage.files import atomic_write, naming


def write_parquet(path: Path, frame: pl.DataFrame) -> None:
    """Write a frame as zstd-compressed parquet, atomically."""
    # Compressed in memory first: polars turns a full disk into an error of its own, without a path.
    buffer = io.BytesIO()
    frame.write_parquet(buffer, compression="zstd")
    atomic_write(path, lambda stream: stream.write(buffer.getbuffer()))


def read_table(
    path: Path, *, columns: Sequence[str] | None = None, n_rows: int | None = None
) -> pl.DataFrame:
    """Read one parquet file by its literal path: ``[``, ``*`` and ``?`` in it stand for themselves.

    Parameters
    ----------
    path : of the file. Polars reads ``data/exp[1]`` as a pattern, which ``data/exp1`` matches.
    columns : only these; by default all.
    n_rows : only the first so many; by default all.

    Raises
    ------
    OSError
        If the file is missing or cannot be read; names it.
    StoreError
        If it is no parquet; names it.
    """
    chosen = None if columns is None else list(columns)
    with naming(path, "cannot be read"), _parquet(path):
        with path.open("rb"):
            pass  # polars says "No such file" without a number
        return pl.read_parquet(
            path, columns=chosen, n_rows=n_rows, glob=False, hive_partitioning=False
        )


def scan_table(path: Path) -> pl.LazyFrame:
    """Open one parquet file lazily by its literal path, as `read_table` does.

    Its faults come when it is collected: scan only what was checked by its digest.
    """
    return pl.scan_parquet(path, glob=False, hive_partitioning=False)


def table_schema(path: Path) -> pl.Schema:
    """Return names and types of a parquet file's columns, read from its footer.

    Raises
    ------
    OSError, StoreError
        As `read_table`.
    """
    return read_table(path, n_rows=0).schema


@contextmanager
def _parquet(path: Path) -> Iterator[None]:
    try:
        yield
    except pl.exceptions.PolarsError as wrong:
        raise StoreError(f"{path}: no parquet that can be read: {wrong}; make it again") from wrong
