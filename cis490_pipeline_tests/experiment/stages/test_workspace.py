from pathlib import Path

import pytest

from cis490_pipeline.compute import DaskCompute, ProcessCompute, SerialCompute
from cis490_pipeline.config import Settings
from cis490_pipeline.experiment.stages.workspace import Workspace
from cis490_pipeline.store.receiver import LocalStore


def test_one_worker_needs_no_process() -> None:
    assert isinstance(Workspace(Settings(workers=1)).compute, SerialCompute)


def test_more_workers_are_processes() -> None:
    assert isinstance(Workspace(Settings(workers=2)).compute, ProcessCompute)


def test_a_dask_address_wins_over_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CIS490_DASK_ADDRESS", "tls://scheduler.lab:8786")
    monkeypatch.setenv("CIS490_DASK_TLS_KEY", "certs/key.pem")

    workspace = Workspace(Settings.load(store="data/sample", workers=1), run="nightly")

    compute = workspace.compute
    assert isinstance(compute, DaskCompute)
    assert compute.cluster.address == "tls://scheduler.lab:8786"
    assert compute.cluster.key == Path("certs/key.pem")
    assert compute.cluster.run == "nightly"
    # Its workers have working folders of their own.
    assert str(compute.cluster.fingerprint) == str(Path("data/sample").resolve())
    assert isinstance(workspace.store, LocalStore)
    assert workspace.store.root.is_absolute()


def test_everything_made_lies_below_the_data_folder() -> None:
    assert Workspace(Settings(data=Path("here"))).paths.root == Path("here")
