"""Grid shards whose bytes are not what the manifest says."""

from cis490_pipeline.features.grids.store import GridStore
from cis490_pipeline.storage.files import file_sha256
from cis490_pipeline.storage.remote_copy import fetch_file


def changed_shards(grids: GridStore) -> list[str]:
    """Names of missing or changed shards, sorted; reads every file."""
    return sorted(
        name
        for name, sha256 in grids.shard_sha256.items()
        if not (path := fetch_file(grids.folder / name, sha256)).is_file()
        or file_sha256(path) != sha256
    )
