import os

import pytest

from cis490_pipeline.dashboard.producers.options import Places
from cis490_pipeline_tests.experiment.runs import copy_of


@pytest.fixture(autouse=True)
def only_flags_count(monkeypatch, tmp_path):
    """No setting of the person who runs the tests gets in."""
    for name in list(os.environ):
        if name.startswith("CIS490_"):
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def places(finished):
    """The finished run's files, only to be read."""
    return Places.of("host", data_folder=finished.paths.root)


@pytest.fixture
def copied(finished, tmp_path):
    """A copy of the finished run, to be spoilt."""
    return Places.of("host", data_folder=copy_of(finished, tmp_path).paths.root)
