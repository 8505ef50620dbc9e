"""Grid shards of made-up numbers, for measuring what reads them."""

from collections.abc import Iterable
from pathlib import Path

import polars as pl

from cis490_pipeline.features.grids.store import INDEX_FILE, MANIFEST_FILE, grids_digest
from cis490_pipeline.features.schema import grid_schema
from cis490_pipeline.storage.files import file_sha256, write_json
from cis490_pipeline.storage.parquet import write_parquet


def commit_grids(folder: Path, frame: pl.DataFrame, names: Iterable[str]) -> None:
    """Write the index and the manifest of shards that are there."""
    write_parquet(folder / INDEX_FILE, frame)
    schema = grid_schema()
    manifest = {
        "schema": schema.to_dict(),
        "index_sha256": file_sha256(folder / INDEX_FILE),
        "shards": dict.fromkeys(names, "made-up"),
        "digest": grids_digest(frame, schema),
    }
    write_json(folder / MANIFEST_FILE, manifest)
