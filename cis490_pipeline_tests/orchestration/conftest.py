import shutil

import dagster as dg
import pytest

from cis490_pipeline_tests.orchestration.making import (
    CORPUS,
    ONE_MODEL,
    materialize,
    workspace_in,
)


@pytest.fixture(scope="session")
def first_runs(tmp_path_factory):
    """The corpus, then one model of the host split, made from nothing: (workspace, runs)."""
    workspace = workspace_in(tmp_path_factory.mktemp("orchestration") / "data")
    with dg.DagsterInstance.ephemeral() as instance:
        runs = [
            materialize(workspace, instance, CORPUS),
            materialize(workspace, instance, ONE_MODEL, "host"),
        ]
        assert all(run.success for run in runs)
        yield workspace, runs


@pytest.fixture
def workspace(first_runs, tmp_path):
    """A copy of what the first runs made, to change at will."""
    shutil.copytree(first_runs[0].paths.root, tmp_path / "data")
    return workspace_in(tmp_path / "data")


@pytest.fixture
def instance():
    with dg.DagsterInstance.ephemeral() as instance:
        yield instance
