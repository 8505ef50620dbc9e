"""Examples in docstrings print what they show, in a folder like that of a user."""

import doctest
import importlib
import json
import re
from pathlib import Path

import numpy as np
import pytest

import cis490_pipeline

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = Path(cis490_pipeline.__file__).parent
WITH_EXAMPLES = [
    path.relative_to(ROOT).as_posix()
    for path in sorted(PACKAGE.rglob("*.py"))
    if "\n    >>> " in path.read_text(encoding="utf-8")
]
FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A working folder with the recorded sample and the committed board, nothing else made yet."""
    folder = tmp_path_factory.mktemp("checkout")
    reports = folder / "data" / "reports" / "host"
    reports.mkdir(parents=True)
    (folder / "data" / "sample").symlink_to(ROOT / "data" / "sample")
    run = json.loads((ROOT / "benchmarks" / "results" / "run.json").read_text(encoding="utf-8"))
    (reports / "leaderboard.json").write_text(json.dumps(run["board"]), encoding="utf-8")
    return folder


@pytest.mark.parametrize("name", WITH_EXAMPLES)
def test_examples_print_what_they_show(
    name: str, checkout: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(checkout)
    monkeypatch.setenv("CIS490_WORKERS", "1")
    module = importlib.import_module(name.removesuffix(".py").replace("/", "."))

    assumed = {"cis": cis490_pipeline, "np": np}
    failed, attempted = doctest.testmod(module, optionflags=FLAGS, extraglobs=assumed)

    assert attempted > 0
    assert failed == 0


def test_the_tour_of_the_python_page_prints_what_it_shows(
    checkout: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(checkout)
    monkeypatch.setenv("CIS490_WORKERS", "1")
    page = ROOT / "docs" / "how-to" / "python.md"
    text = page.read_text(encoding="utf-8")
    tour = "".join(re.findall(r"^```python\n(.*?)^```$", text, re.MULTILINE | re.DOTALL))
    test = doctest.DocTestParser().get_doctest(tour, {}, page.name, str(page), 0)

    failed, attempted = doctest.DocTestRunner(optionflags=FLAGS).run(test)

    assert attempted > 20
    assert failed == 0


def test_the_python_page_names_every_public_name() -> None:
    page = (ROOT / "docs" / "how-to" / "python.md").read_text(encoding="utf-8")
    table = "".join(line for line in page.splitlines() if line.startswith("| `"))

    assert sorted(re.findall(r"`(\w+)`", table.replace("`X`, `y` and `keys`", ""))) == sorted(
        cis490_pipeline.__all__
    )


def test_the_public_api_has_examples() -> None:
    assert {"cis490_pipeline/api/data.py", "cis490_pipeline/api/models.py"} <= set(WITH_EXAMPLES)
