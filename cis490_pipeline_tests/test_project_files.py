"""Files that hosts of code and tools read: citation, hooks, templates, news."""

import re
import tomllib
from pathlib import Path

import pytest
import yaml

import cis490_pipeline
from docs.fold_news import folded, fragments

ROOT = Path(__file__).resolve().parents[1]


def test_the_citation_names_the_released_version_and_its_day() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    changes = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")

    assert citation["version"] == cis490_pipeline.__version__
    assert f"## {citation['version']}, {citation['date-released']}\n" in changes


def test_hooks_are_local_and_run_every_tool_of_make_check() -> None:
    hooks = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8"))
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    check = makefile.split("\ncheck: install\n")[1].split("\n\n")[0]
    tools = re.findall(r"\$\(BIN\)/(.+)", check)

    assert [repo["repo"] for repo in hooks["repos"]] == ["local"]
    entries = {hook["entry"].removeprefix(".venv/bin/") for hook in hooks["repos"][0]["hooks"]}
    assert set(tools) <= entries


def test_coverage_measures_branches_and_ci_requires_it() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    coverage = project["tool"]["coverage"]

    assert coverage["run"]["branch"] is True
    assert coverage["report"]["fail_under"] >= 90
    assert "\nmake test COVERAGE=1\n" in (ROOT / ".ci" / "run").read_text(encoding="utf-8")


def test_all_runs_each_folder_that_has_long_tests() -> None:
    tests = ROOT / "cis490_pipeline_tests"
    mark = re.compile(r"mark\.(long|peers)\b")
    marked = (path for path in tests.rglob("test_*.py") if mark.search(path.read_text("utf-8")))
    folders = {path.relative_to(tests).parts[0] for path in marked} - {
        "browser",
        Path(__file__).name,
    }
    listed = re.search(r"^LONG +:= (.+)$", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE)

    assert listed
    assert set(listed[1].split()) == folders


@pytest.mark.parametrize("path", fragments(), ids=lambda path: path.name)
def test_news_are_bullets_of_the_changelogs_width(path: Path) -> None:
    lines = path.read_text(encoding="utf-8").splitlines()

    assert lines
    assert all(re.match(r"- \S|  \S", line) and len(line) <= 105 for line in lines)


def test_a_release_takes_what_waited_and_then_the_news() -> None:
    changelog = "# Changes\n\n## Unreleased\n\n- a\n\n## 0.1.0, 2026-11-22\n\n- z\n"

    assert folded(changelog, ["- b\n", "- c\n"], "0.2.0", "2026-12-31") == (
        "# Changes\n\n## Unreleased\n\n## 0.2.0, 2026-12-31\n\n- a\n- b\n- c\n"
        "\n## 0.1.0, 2026-11-22\n\n- z\n"
    )


def test_a_changelog_without_a_place_for_news_is_refused() -> None:
    with pytest.raises(SystemExit, match="no line '## Unreleased'"):
        folded("# Changes\n", [], "0.2.0", "2026-12-31")
