import platform
import re
import subprocess
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
    (tmp_path / "a/b/c").mkdir(parents=True)
    monkeypatch.setattr(provenance, "__file__", str(tmp_path / "a/b/c/provenance.py"))
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))

    assert provenance.commit() == "unknown"
    provenance.commit.cache_clear()


@pytest.mark.usefixtures("no_cache")
def test_a_store_that_grows_beside_the_package_does_not_make_its_code_dirty(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = tmp_path / "package/experiment/stages/provenance.py"
    index = tmp_path / "data/lab/index.jsonl"
    for path in (source, index):
        path.parent.mkdir(parents=True)
        path.write_text("1\n")
    as_someone = ("-c", "user.name=a", "-c", "user.email=a@b")
    for words in (("init", "-q"), ("add", "."), (*as_someone, "commit", "-qm", "first")):
        subprocess.run(["git", "-C", str(tmp_path), *words], check=True)
    monkeypatch.setattr(provenance, "__file__", str(source))

    index.write_text("1\n2\n")
    grown = provenance.commit()
    provenance.commit.cache_clear()
    source.write_text("2\n")
    changed = provenance.commit()
    provenance.commit.cache_clear()

    assert re.fullmatch(r"[0-9a-f]{40}", grown)
    assert changed == f"{grown}+dirty"


def test_machine_names_no_host() -> None:
    assert platform.node() not in provenance.machine()
