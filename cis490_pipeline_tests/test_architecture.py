"""What holds of the code as a whole."""

import ast
import json
import subprocess
import sys
from pathlib import Path

import pytest

import cis490_pipeline
from cis490_pipeline.domain import Recipe

PACKAGE = Path(cis490_pipeline.__file__).parent
FILES = sorted(PACKAGE.rglob("*.py"))
NAMES = [path.relative_to(PACKAGE).as_posix() for path in FILES]
FOLDERS = sorted({path.parent.relative_to(PACKAGE).as_posix() for path in FILES})
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


def imports_of(path: Path) -> set[str]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module.partition(".")[0])
    return names


@pytest.mark.parametrize("path", FILES, ids=NAMES)
def test_no_file_is_longer_than_400_lines(path: Path) -> None:
    assert len(path.read_text(encoding="utf-8").splitlines()) <= MAX_LINES


@pytest.mark.parametrize("folder", FOLDERS)
def test_no_folder_holds_more_than_14_modules(folder: str) -> None:
    modules = [path for path in (PACKAGE / folder).glob("*.py") if path.name != "__init__.py"]

    assert len(modules) <= MAX_MODULES


@pytest.mark.parametrize("path", FILES, ids=NAMES)
def test_nothing_is_pickled(path: Path) -> None:
    assert imports_of(path).isdisjoint(PICKLERS)


@pytest.mark.parametrize("path", FILES, ids=NAMES)
def test_no_loader_is_allowed_to_unpickle(path: Path) -> None:
    text = path.read_text(encoding="utf-8")

    assert "allow_pickle=True" not in text
    assert "torch.load(" not in text


@pytest.mark.parametrize("path", FILES, ids=NAMES)
def test_every_module_says_what_it_is(path: Path) -> None:
    assert ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))


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


def called(path: Path) -> set[str]:
    """Return the last name of every call in a module, such as ``read_parquet``."""
    functions = (n.func for n in ast.walk(ast.parse(path.read_text())) if isinstance(n, ast.Call))
    return {f.attr if isinstance(f, ast.Attribute) else getattr(f, "id", "") for f in functions}


@pytest.mark.parametrize("path", FILES, ids=NAMES)
def test_tables_are_read_by_literal_path_in_one_module(path: Path) -> None:
    if path != PACKAGE / READER:
        assert called(path).isdisjoint(PATTERN_READERS)


@pytest.mark.parametrize("path", sorted((PACKAGE / "cli").glob("*.py")), ids=lambda path: path.name)
def test_commands_print_on_consoles_that_read_no_markup(path: Path) -> None:
    # The live view draws Text objects alone; the leaderboard's table escapes what it prints.
    if path.name not in ("options.py", "live.py", "tables.py"):
        assert "Console" not in called(path)


MAKER = "experiment/stages/make.py"


@pytest.mark.parametrize("path", FILES, ids=NAMES)
def test_stages_are_made_in_one_place_which_asks_the_checks(path: Path) -> None:
    if path != PACKAGE / MAKER:
        assert "ensure" not in called(path)
