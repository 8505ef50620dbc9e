from pathlib import Path

import numpy as np
import polars as pl
import pytest

from cis490_pipeline.domain import Recipe, Variant
from cis490_pipeline.errors import StoreError
from cis490_pipeline.experiment.pipeline.corpus import GridShards
from cis490_pipeline.experiment.pipeline.dataset import FeatureShards
from cis490_pipeline.experiment.stages.workspace import Workspace
from cis490_pipeline.experiment.tools.extract_episode import extract_single
from cis490_pipeline.features.grids.store import GridStore
from cis490_pipeline.features.windows import STEPS
from cis490_pipeline_tests.experiment.runs import SIX, arrays_in

EPISODE = SIX[0]
NAME = f"{EPISODE.host_id}/{EPISODE.episode_id}"
N_CHANNELS = {Variant.REALISTIC: 29, Variant.ORACLE: 46, Variant.NETWORK: 10}


@pytest.mark.parametrize("variant", Variant)
def test_windows_of_one_episode_are_the_datasets(
    finished: Workspace, tmp_path: Path, variant: Variant
) -> None:
    extract_single(finished, NAME, variant, tmp_path / "one.npz")
    found = arrays_in(tmp_path / "one.npz")
    files = sorted(FeatureShards(finished, Recipe.HOST).folder.glob("*.parquet"))
    stored = pl.read_parquet(files).filter(episode_id=EPISODE.episode_id).sort("window_idx")

    np.testing.assert_array_equal(
        found["summary"], stored.select(found["summary_names"].tolist()).to_numpy()
    )
    np.testing.assert_array_equal(found["purity"], stored["purity"].to_numpy())


def test_tensors_of_one_episode_are_cut_from_its_stored_grid(
    finished: Workspace, tmp_path: Path
) -> None:
    extract_single(finished, NAME, Variant.ORACLE, tmp_path / "one.npz")
    found = arrays_in(tmp_path / "one.npz")
    grid = GridStore(GridShards(finished).folder).grid(EPISODE.episode_id)

    for tensor, start in zip(found["tensors"], found["start_step"], strict=True):
        np.testing.assert_array_equal(tensor, grid[start : start + STEPS].T)


@pytest.mark.parametrize("variant", Variant)
def test_last_is_one_window_of_ten_seconds(
    finished: Workspace, tmp_path: Path, variant: Variant
) -> None:
    result = extract_single(finished, NAME, variant, tmp_path / "last.npz", last=True)

    assert result["tensors"] == [N_CHANNELS[variant], 100]


def test_last_knows_every_source(finished: Workspace, tmp_path: Path) -> None:
    extract_single(finished, NAME, Variant.ORACLE, tmp_path / "last.npz", last=True)
    found = arrays_in(tmp_path / "last.npz")
    known = ~np.isnan(found["tensors"]).all(axis=1)
    sources = {str(name).split(".")[0] for name in found["channel_names"][known]}

    assert sources == {"proc", "qmp", "guest", "netflow"}


@pytest.mark.parametrize(
    "name", ["lab-nuc/nothing", "lab-nuc", "", "/", "lab-nuc/", "../x", EPISODE.episode_id]
)
def test_unknown_episode_is_refused_with_an_example(
    finished: Workspace, tmp_path: Path, name: str
) -> None:
    with pytest.raises(StoreError, match=r"no episode .*; name one as HOST/EPISODE_ID, such as "):
        extract_single(finished, name, Variant.REALISTIC, tmp_path / "none.npz")


def test_rejected_episode_is_refused_and_nothing_is_written(
    finished: Workspace, tmp_path: Path
) -> None:
    with pytest.raises(StoreError, match="01M819VPN8Y0F8YKF0RHD4310Y"):
        extract_single(
            finished,
            "lab-nuc/01M819VPN8Y0F8YKF0RHD4310Y",
            Variant.REALISTIC,
            tmp_path / "none.npz",
        )
    assert list(tmp_path.iterdir()) == []
