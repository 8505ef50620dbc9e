"""Which windows of a dataset's side are wanted, in a few bytes each however long their names."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import polars as pl

from cis490_pipeline.domain import CLASS_INDEX
from cis490_pipeline.features.datasets.summary_rows import table_height
from cis490_pipeline.storage.parquet import read_table, scan_table

_PIECE_ROWS: Final = 65_536
_EPISODE: Final = ("episode_id", "host_id")
_ROW: Final = "row"


@dataclass(frozen=True, eq=False)
class WindowKeys:
    """Windows in the order of their tables.

    Attributes
    ----------
    episodes : one row per episode, in the order of their first windows: episode_id, host_id.
    episode_index : (n_windows,) row of each window's episode among them.
    y : (n_windows,) class index.
    row : (n_windows,) what was asked for: by default the window's row, through all tables.
    """

    episodes: pl.DataFrame
    episode_index: npt.NDArray[np.int32]
    y: npt.NDArray[np.int64]
    row: npt.NDArray[np.integer[Any]]


def read_window_keys(tables: Sequence[Path], wanted: pl.Expr, *, row: str = _ROW) -> WindowKeys:
    """Read the keys of wanted windows piece by piece, keeping each name once.

    ``row`` is the column that says where a window's readings lie; by default its row, counted
    through all tables.
    """
    numbers: dict[str, int] = {}
    episodes = [read_table(tables[0], columns=list(_EPISODE), n_rows=0)]
    number, y, rows = [], [], []
    for piece in _pieces(tables, wanted, [*_EPISODE, "y", row]):
        first = piece.select(_EPISODE).unique("episode_id", keep="first", maintain_order=True)
        new = first.filter(pl.Series([name not in numbers for name in first["episode_id"]]))
        numbers |= {name: len(numbers) + i for i, name in enumerate(new["episode_id"])}
        episodes.append(new)
        here = {name: numbers[name] for name in first["episode_id"]}
        number.append(piece["episode_id"].replace_strict(here, return_dtype=pl.Int32).to_numpy())
        y.append(piece["y"].replace_strict(CLASS_INDEX, return_dtype=pl.Int64).to_numpy())
        rows.append(_narrow(piece[row].to_numpy()))
    return WindowKeys(
        pl.concat(episodes),
        np.concatenate([np.zeros(0, np.int32), *number]),
        np.concatenate([np.zeros(0, np.int64), *y]),
        np.concatenate([np.zeros(0, np.uint32), *rows]),
    )


def _pieces(
    tables: Sequence[Path], wanted: pl.Expr, columns: Sequence[str]
) -> Iterator[pl.DataFrame]:
    before = 0
    for table in tables:
        height = table_height(table)
        for start in range(0, height, _PIECE_ROWS):
            rows = scan_table(table).slice(start, _PIECE_ROWS)
            piece = rows.with_row_index(_ROW, offset=before + start).filter(wanted).select(columns)
            if (found := piece.collect()).height:
                yield found
        before += height


def _narrow(rows: npt.NDArray[np.integer[Any]]) -> npt.NDArray[np.integer[Any]]:
    """Half the bytes, unless a table is longer than 32 bits can count."""
    return rows.astype(np.uint32) if rows.max() <= np.iinfo(np.uint32).max else rows
