from pathlib import Path

import pytest

from cis490_pipeline_tests.cli.runs import Cli
from cis490_pipeline_tests.experiment.tools.recorded import control, write_controls


@pytest.fixture
def store(tmp_path: Path) -> str:
    write_controls(tmp_path / "store", [control(k, pages=3) for k in range(5)])
    return str(tmp_path / "store")


def test_controls_names_the_channel_that_shows_the_recorder(plain: Cli, store: str) -> None:
    done = plain("controls", "--store", store)

    assert done.code == 0
    assert "5 sham-armed controls among 5 episodes of 1 hosts (kiosk 5)" in done.out
    assert "quarantine guest.top_rss_bytes: steps by +" in done.out
    assert "block of the recording, after calibration: n/a, 1 blocks of 5 episodes" in done.out
    assert "clearest 10 steps at shams" in done.out


def test_controls_of_a_store_without_any_says_so(plain: Cli, tmp_path: Path) -> None:
    episode = control(0)
    del episode.meta["recording"]
    write_controls(tmp_path / "store", [episode])

    done = plain("controls", "--store", str(tmp_path / "store"), "--hosts", "kiosk")
    report = plain("controls", "--store", str(tmp_path / "store"), "--json").json

    assert "nothing is quarantined: 0 controls, and at least 5 are needed" in done.out
    assert report["format"] == "controls"
    assert report["steps"]["n_controls"] == 0
