from pathlib import Path

import polars as pl
import pytest

from cis490_pipeline.compute import SerialCompute
from cis490_pipeline.features.datasets.build import build_feature_dataset, build_tensor_dataset
from cis490_pipeline.features.grids.build import build_grids
from cis490_pipeline.features.grids.store import GridStore
from cis490_pipeline.store.receiver import LocalStore

SAMPLE = Path(__file__).parents[2] / "data" / "sample"
UNUSABLE = ("01M819XFB9FGEK1F80RPN4B4AM", "01M819VPN8Y0F8YKF0RHD4310Y")
DEAD_GUEST = "01M8191HDYZ10ET1VZ9NJ1HDR1"
DEAD_GUEST_AT = 6


@pytest.fixture(scope="session")
def store():
    return LocalStore(SAMPLE)


@pytest.fixture(scope="session")
def episodes(store):
    """Eight usable episodes in the order received, one of them with a guest that died."""
    usable = [
        {
            "host_id": row.ref.host_id,
            "episode_id": row.ref.episode_id,
            "received_at_wall": row.received_at_wall,
            "sha256": row.sha256,
            "content_digest": None,
        }
        for row in store.read_index().rows.values()
        if row.ref.episode_id not in UNUSABLE
    ]
    frame = pl.DataFrame(usable, schema=dict.fromkeys(usable[0], pl.String))
    frame = frame.sort("received_at_wall", "host_id", "episode_id").head(8)
    assert frame["episode_id"][DEAD_GUEST_AT] == DEAD_GUEST
    return frame


@pytest.fixture(scope="session")
def grids(store, episodes, tmp_path_factory):
    folder = tmp_path_factory.mktemp("grids")
    build_grids(store, episodes, folder, SerialCompute())
    return GridStore(folder)


@pytest.fixture(scope="session")
def index(episodes):
    """A recipe's validation index: five to train on, one each to validate, test and leave out."""
    return episodes.with_columns(
        side=pl.Series(["train", "train", "train", "val", "test", "excluded", "train", "train"]),
        scorable=pl.Series([True, True, True, True, True, True, True, False]),
        profile=pl.lit("some-profile"),
        sample_name=pl.lit(None, dtype=pl.String),
    )


@pytest.fixture(scope="session")
def folders(grids, index, tmp_path_factory):
    root = tmp_path_factory.mktemp("recipe")
    build_feature_dataset(grids, index, root / "features", split_digest="split")
    build_feature_dataset(grids, index, root / "history", split_digest="split", kind="history")
    build_tensor_dataset(grids, index, root / "tensors", split_digest="split")
    return {
        "summary": root / "features",
        "history": root / "history",
        "tensor": root / "tensors",
    }
