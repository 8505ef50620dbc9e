import tomllib
from pathlib import Path

import polars as pl
import pytest

from cis490_pipeline.domain import Recipe
from cis490_pipeline.evaluation.predictions import write_predictions
from cis490_pipeline.storage.data_paths import DataPaths
from cis490_pipeline_tests.cli.runs import Cli
from cis490_pipeline_tests.experiment.tools.recorded import (
    control,
    predictions_of,
    write_controls,
)


HOSTS = ("kiosk", "camera")


@pytest.fixture
def store(tmp_path: Path) -> str:
    write_controls(tmp_path / "store", [control(k, HOSTS[k % 2], pages=3) for k in range(5)])
    return str(tmp_path / "store")


def test_controls_names_the_channel_that_shows_the_recorder(plain: Cli, store: str) -> None:
    done = plain("controls", "--store", store)

    assert done.code == 0
    assert "5 sham-armed controls among 5 episodes of 2 hosts (camera 2, kiosk 3)" in done.out
    assert "quarantine guest.top_rss_bytes: steps by +" in done.out
    table = tomllib.loads(done.out[done.out.index("[quarantine]") :].split("\n\n")[0])
    assert list(table["quarantine"]) == ["guest.top_rss_bytes"]
    assert "block of the recording, after calibration: n/a, 1 blocks of 5 episodes" in done.out
    assert "clearest 10 steps at shams" in done.out


def test_controls_of_a_store_without_any_says_so(plain: Cli, tmp_path: Path) -> None:
    episode = control(0)
    del episode.meta["recording"]
    write_controls(tmp_path / "store", [episode])

    done = plain("controls", "--store", str(tmp_path / "store"), "--hosts", "kiosk")
    report = plain("controls", "--store", str(tmp_path / "store"), "--json").json

    assert "nothing is quarantined; controls: 0 of 0 hosts, at least 5 of 2 are needed" in done.out
    assert report["format"] == "controls"
    assert report["steps"]["n_controls"] == 0


def test_controls_prints_what_a_model_makes_of_them(
    plain: Cli, store: str, tmp_path: Path
) -> None:
    data = tmp_path / "data"
    frame = pl.concat(predictions_of(control(k, HOSTS[k % 2])) for k in range(5))
    folder = DataPaths(data).checkpoint(Recipe.HOST, "gbt_realistic")
    write_predictions(folder, frame, checkpoint_digest="c", split_digest="s")

    done = plain("controls", "--store", store, "--data", str(data))

    assert "gbt_realistic: macro F1 1.000 against would-be phases, chance 0." in done.out
    assert "of 95 windows of 5 controls false" in done.out
