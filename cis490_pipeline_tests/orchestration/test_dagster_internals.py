import ast
import importlib
import tomllib
from importlib.metadata import version
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from cis490_pipeline.orchestration import dagster_internals as internals
from cis490_pipeline_tests.orchestration.making import PROJECT

ADAPTER = Path(internals.__file__)
SUPPORTED = next(
    requirement.specifier
    for text in tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"][
        "optional-dependencies"
    ]["orchestrate"]
    if (requirement := Requirement(text)).name == "dagster"
)


def private_imports(path):
    """Each private name of Dagster's that a file imports, as (module, name)."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("dagster._"):
            yield from ((node.module, alias.name) for alias in node.names)
        elif isinstance(node, ast.Import):
            yield from ((a.name, None) for a in node.names if a.name.startswith("dagster._"))


NAMES = [
    *private_imports(ADAPTER),
    *((module, None) for module in internals.FORKSERVER_PRELOADS),
    *(
        (one["module"], one["class"])
        for one in (internals.ARTIFACT_STORAGE, internals.NO_COMPUTE_LOGS)
    ),
    ("dagster._core.errors", internals.ASSET_CHECK_FAILED),
]


def test_the_installed_dagster_is_of_the_supported_range():
    assert version("dagster") in SUPPORTED, (
        f"wanted dagster {SUPPORTED}: pyproject.toml, orchestrate"
    )


@pytest.mark.parametrize(("module", "name"), NAMES)
def test_dagster_still_has_what_the_adapter_uses(module, name):
    missing = (
        f"dagster {version('dagster')} (supported: {SUPPORTED}) has no {module}:{name}; "
        f"find what replaced it, and change {ADAPTER.name} alone"
    )
    try:
        found = importlib.import_module(module)
    except ImportError:
        pytest.fail(missing)
    assert name is None or hasattr(found, name), missing


def test_no_other_module_imports_private_modules_of_dagster():
    elsewhere = {
        str(path.relative_to(PROJECT))
        for path in (PROJECT / "cis490_pipeline").rglob("*.py")
        if path != ADAPTER and "dagster._" in path.read_text(encoding="utf-8")
    }

    assert elsewhere == set(), f"import these from {ADAPTER.name}"
