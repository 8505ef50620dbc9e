"""Parquet files: atomic writes, and reads whose errors name the file."""

import io
from collections.abc import Sequence
from pathlib import Path

import polars as pl

from cis490_pipeline.errors import StoreError
from cis490_pipeline.storage.files import atomic_write, naming


def write_parquet(path: Path, frame: pl.DataFrame) -> None:
    """Write a frame atomically as zstd-compressed parquet."""
    # Compressed in memory first: polars reports a full disk as its own error, without a path.
    buffer = io.BytesIO()
    frame.write_parquet(buffer, compression="zstd")
    atomic_write(path, lambda stream: stream.write(buffer.getbuffer()))


def read_table(
    path: Path, *, columns: Sequence[str] | None = None, n_rows: int | None = None
) -> pl.DataFrame:
    """Read one parquet file by its literal path, without expanding ``[``, ``*`` and ``?``.

    Polars would treat ``data/exp[1]`` as a pattern for ``data/exp1``. An `OSError` or, if it is not
    parquet, a `StoreError` names the file.
    """
    chosen = None if columns is None else list(columns)
    with naming(path, "cannot be read"):
        with path.open("rb"):
            pass  # polars reports a missing file without an errno
        try:
            return pl.read_parquet(
                path, columns=chosen, n_rows=n_rows, glob=False, hive_partitioning=False
            )
        except pl.exceptions.PolarsError as wrong:
            text = f"{path}: no parquet that can be read: {wrong}; make it again"
            raise StoreError(text) from wrong


def scan_table(path: Path) -> pl.LazyFrame:
    """Scan one parquet file lazily by its literal path, as `read_table` does.

    Errors surface when the frame is collected: scan only files whose digest was checked.
    """
    return pl.scan_parquet(path, glob=False, hive_partitioning=False)


def table_schema(path: Path) -> pl.Schema:
    """Read the column names and types from a parquet file's footer; fails as `read_table`."""
    return read_table(path, n_rows=0).schema
