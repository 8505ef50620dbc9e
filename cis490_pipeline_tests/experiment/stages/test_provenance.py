import platform
import re
from pathlib import Path

import pytest

from cis490_pipeline.experiment.stages import provenance


@pytest.fixture
def no_cache() -> None:
    provenance.commit.cache_clear()


def test_commit_is_a_digest_or_unknown() -> None:
    assert re.fullmatch(r"unknown|[0-9a-f]{40}(\+dirty)?", provenance.commit())


@pytest.mark.usefixtures("no_cache")
def test_outside_a_repository_the_commit_is_unknown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(provenance, "__file__", str(tmp_path / "provenance.py"))
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))

    assert provenance.commit() == "unknown"
    provenance.commit.cache_clear()


def test_machine_names_no_host() -> None:
    assert platform.node() not in provenance.machine()
