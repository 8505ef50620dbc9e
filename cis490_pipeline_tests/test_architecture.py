"""What holds of the code as a whole."""

import ast
import json
import subprocess
import sys
from collections import Counter
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath

import pytest

import cis490_pipeline
from cis490_pipeline.domain import Recipe

PACKAGE = Path(cis490_pipeline.__file__).parent
MAX_LINES = 400
MAX_MODULES = 14
PICKLERS = {"pickle", "cPickle", "_pickle", "dill", "cloudpickle", "joblib", "shelve", "marshal"}
HEAVY = ("dagster", "torch", "xgboost", "polars", "numpy")

# Of the design, §3.
ASSET_KEYS = {
    "corpus/validation_sweep",
    "corpus/grid_shards",
    "dataset/validation_index",
    "dataset/feature_shards",
    "dataset/tensor_shards",
    *(
        f"model/{architecture}/{variant}/{what}"
        for architecture in ("gbt", "mlp", "cnn", "gru", "lstm", "transformer")
        for variant in ("realistic", "oracle")
        for what in ("checkpoint", "eval_report")
    ),
    "model/ablation",
    "model/robustness",
    "model/leaderboard",
    "dashboard/model_metric_events",
}


def loaded_by(code: str) -> set[str]:
    """Return top-level modules that a fresh interpreter has loaded after running some code."""
    done = subprocess.run(
        [sys.executable, "-c", f"{code}\nimport sys, json\nprint(json.dumps(list(sys.modules)))"],
        capture_output=True,
        text=True,
        check=True,
    )
    return {name.partition(".")[0] for name in json.loads(done.stdout.splitlines()[-1])}


@dataclass(frozen=True)
class Module:
    """A file of the package, read and parsed once."""

    text: str
    tree: ast.Module

    @cached_property
    def imports(self) -> set[str]:
        """Top-level modules it imports, at its head or inside a function."""
        names: set[str] = set()
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Import):
                names |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module:
                names.add(node.module.partition(".")[0])
        return names

    @cached_property
    def calls(self) -> set[str]:
        """Last name of every call, such as ``read_parquet``."""
        functions = (node.func for node in ast.walk(self.tree) if isinstance(node, ast.Call))
        return {f.attr if isinstance(f, ast.Attribute) else getattr(f, "id", "") for f in functions}


@pytest.fixture(scope="module")
def modules() -> dict[str, Module]:
    """Every module of the package by its path in it."""
    texts = {
        path.relative_to(PACKAGE).as_posix(): path.read_text(encoding="utf-8")
        for path in sorted(PACKAGE.rglob("*.py"))
    }
    assert len(texts) > 300
    return {name: Module(text, ast.parse(text)) for name, text in texts.items()}


def test_no_file_is_longer_than_400_lines(modules: dict[str, Module]) -> None:
    lines = {name: len(module.text.splitlines()) for name, module in modules.items()}

    assert {name: n for name, n in lines.items() if n > MAX_LINES} == {}


def test_no_folder_holds_more_than_14_modules(modules: dict[str, Module]) -> None:
    held = Counter(
        path.parent.as_posix() for path in map(PurePosixPath, modules) if path.stem != "__init__"
    )

    assert {folder: n for folder, n in held.items() if n > MAX_MODULES} == {}


def test_nothing_is_pickled(modules: dict[str, Module]) -> None:
    assert {n: m.imports & PICKLERS for n, m in modules.items() if m.imports & PICKLERS} == {}


@pytest.mark.parametrize("loading", ["allow_pickle=True", "torch.load("])
def test_no_loader_is_allowed_to_unpickle(modules: dict[str, Module], loading: str) -> None:
    assert [name for name, module in modules.items() if loading in module.text] == []


def test_every_module_says_what_it_is(modules: dict[str, Module]) -> None:
    assert [name for name, module in modules.items() if not ast.get_docstring(module.tree)] == []


def test_help_loads_none_of_the_heavy_libraries() -> None:
    code = (
        "import sys\nfrom cis490_pipeline.cli import main\n"
        "try:\n    main(['--help'])\nexcept SystemExit as done:\n    assert done.code == 0"
    )

    assert loaded_by(code).isdisjoint(HEAVY)


@pytest.mark.parametrize(
    "module",
    [
        "checkpoints.onnx.session",
        "checkpoints.loading",
        "features.datasets.load",
        "features.extract",
        "store.verdicts.sweep",
        "events.contract",
        "events.publisher",
        "dashboard.server.app",
        "cli.operate.dashboard",
        "evaluation.report",
        "splits.recipes",
    ],
)
def test_a_small_device_loads_neither_torch_nor_xgboost_nor_dagster(module: str) -> None:
    loaded = loaded_by(f"import cis490_pipeline.{module}")

    assert loaded.isdisjoint({"torch", "xgboost", "dagster"})


def test_the_dashboard_loads_no_numeric_library() -> None:
    loaded = loaded_by("import cis490_pipeline.cli.operate.dashboard")

    assert loaded.isdisjoint({"numpy", "polars", "pandas", "onnxruntime"})


def test_validating_and_extracting_load_neither_torch_nor_xgboost_nor_dagster() -> None:
    loaded = loaded_by("import cis490_pipeline.cli.data.corpus")

    assert loaded.isdisjoint({"torch", "xgboost", "dagster"})


def test_assets_are_the_designs() -> None:
    from cis490_pipeline.orchestration.definitions import defs

    keys = {"/".join(key.path) for key in defs.resolve_asset_graph().get_all_asset_keys()}

    assert keys == ASSET_KEYS


def test_assets_of_a_recipe_share_one_partition_per_recipe_and_the_corpus_has_none() -> None:
    from cis490_pipeline.orchestration.definitions import defs

    graph = defs.resolve_asset_graph()
    partitions = {
        "/".join(key.path): graph.get(key).partitions_def for key in graph.get_all_asset_keys()
    }
    corpus = {key: found for key, found in partitions.items() if key.startswith("corpus/")}
    of_recipes = [found for key, found in partitions.items() if key not in corpus]

    assert set(corpus.values()) == {None}
    assert all(
        found is not None and found.get_partition_keys() == [str(recipe) for recipe in Recipe]
        for found in of_recipes
    )


PATTERN_READERS = {"read_parquet", "scan_parquet", "read_parquet_schema"}
READER = "storage/parquet.py"


def test_tables_are_read_by_literal_path_in_one_module(modules: dict[str, Module]) -> None:
    assert [name for name, module in modules.items() if module.calls & PATTERN_READERS] == [READER]


# The live view draws Text objects alone; the leaderboard's table escapes what it prints.
CONSOLES = ["cli/devices/live.py", "cli/options.py", "cli/tables.py"]


def test_commands_print_on_consoles_that_read_no_markup(modules: dict[str, Module]) -> None:
    of_commands = {name: module for name, module in modules.items() if name.startswith("cli/")}

    assert [name for name, module in of_commands.items() if "Console" in module.calls] == CONSOLES


MAKER = "experiment/stages/make.py"


def test_stages_are_made_in_one_place_which_asks_the_checks(modules: dict[str, Module]) -> None:
    assert [name for name, module in modules.items() if "ensure" in module.calls] == [MAKER]
