import os
from pathlib import Path

import pytest

from cis490_pipeline.experiment.stages.workspace import Workspace
from cis490_pipeline_tests.cli.runs import Cli
from cis490_pipeline_tests.experiment.runs import FAST, SAMPLE, copy_of, copy_store


@pytest.fixture(autouse=True)
def only_flags_count(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No setting of the person who runs the tests gets in."""
    for name in list(os.environ):
        if name.startswith("CIS490_"):
            monkeypatch.delenv(name)
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "POLARS_MAX_THREADS"):
        monkeypatch.setenv(name, "1")
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def plain(capsys: pytest.CaptureFixture[str]) -> Cli:
    return Cli(capsys)


@pytest.fixture
def cli(finished: Workspace, capsys: pytest.CaptureFixture[str]) -> Cli:
    """Commands on the finished run, which they must only read."""
    flags = ("--store", str(SAMPLE), "--data", str(finished.paths.root), "--workers", "1")
    return Cli(capsys, *flags)


@pytest.fixture
def copied(finished: Workspace, tmp_path: Path) -> Workspace:
    return copy_of(finished, tmp_path)


@pytest.fixture
def cli_on_copy(copied: Workspace, capsys: pytest.CaptureFixture[str]) -> Cli:
    """Commands on a copy of the finished run."""
    flags = ("--store", str(SAMPLE), "--data", str(copied.paths.root), "--workers", "1")
    return Cli(capsys, *flags)


@pytest.fixture
def small_store(tmp_path: Path) -> Path:
    """Six recorded episodes, all of them accepted."""
    return copy_store(tmp_path / "store").root


@pytest.fixture
def cli_on_small_store(
    small_store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> Cli:
    flags = ("--store", str(small_store), "--data", str(tmp_path / "data"), "--workers", "1")
    return Cli(capsys, *flags)


@pytest.fixture
def only_fast_models(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cis490_pipeline.experiment.order.MODELS", FAST)
    monkeypatch.setattr("cis490_pipeline.experiment.order.TABLES", ())
    monkeypatch.setattr("cis490_pipeline.experiment.leaderboard.MODELS", FAST)
