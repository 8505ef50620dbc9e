"""Cache of a parquet shard's features as fixed-size rows for random access."""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO, Final

import numpy as np
import polars as pl

from cis490_pipeline.domain import Variant
from cis490_pipeline.domain.catalogue import DEFAULT_FEATURES, FlatKind
from cis490_pipeline.errors import DatasetError
from cis490_pipeline.features.columns import stored_names
from cis490_pipeline.features.grids.row_file import RowFile
from cis490_pipeline.storage.files import atomic_write
from cis490_pipeline.storage.parquet import scan_table

ROWS_SUFFIX: Final = ".rows"
_PIECE_ROWS: Final = 16_384
_PIECE_BYTES: Final = 1 << 20
_DIGEST_BYTES: Final = hashlib.sha256().digest_size


def row_file(shard: Path, kind: FlatKind = DEFAULT_FEATURES) -> RowFile:
    """Open the features of one shard of a kind, writing the cache on first use.

    ``<shard's stem>.rows`` contains little-endian float32 rows of all columns in shard order,
    uncalibrated (NaN is unknown), followed by their SHA-256. The shard is content-addressed, so the
    cache is never outdated; a truncated or damaged file is rewritten.

    Raises
    ------
    DatasetError
        If the rows cannot be written beside the shard.
    """
    names = stored_names(kind, Variant.ORACLE)
    n_rows = table_height(shard)
    path = shard.with_suffix(ROWS_SUFFIX)
    if not _is_sound(path, n_rows * len(names) * 4):
        try:
            atomic_write(path, lambda file: _write_rows(file, shard, names, n_rows))
        except OSError as error:
            raise DatasetError(
                f"{path}: cannot be written ({error}); features larger than memory are read from "
                "rows beside their shards, so the dataset's folder must be writable and have room"
            ) from error
    return RowFile(path, 0, n_rows, len(names))


def table_height(table: Path) -> int:
    """Read the number of rows from a parquet file's footer."""
    return int(scan_table(table).select(pl.len()).collect().item())


def _write_rows(file: BinaryIO, shard: Path, names: Sequence[str], n_rows: int) -> None:
    features = scan_table(shard).select(names)
    total = hashlib.sha256()
    for start in range(0, n_rows, _PIECE_ROWS):
        piece = features.slice(start, _PIECE_ROWS).collect().to_numpy()
        content = np.ascontiguousarray(piece, dtype="<f4").data
        total.update(content)
        file.write(content)
    file.write(total.digest())


def _is_sound(path: Path, n_bytes: int) -> bool:
    if not path.is_file() or path.stat().st_size != n_bytes + _DIGEST_BYTES:
        return False
    total = hashlib.sha256()
    with path.open("rb") as file:
        while n_bytes:
            piece = file.read(min(n_bytes, _PIECE_BYTES))
            if not piece:
                return False
            total.update(piece)
            n_bytes -= len(piece)
        return file.read() == total.digest()
