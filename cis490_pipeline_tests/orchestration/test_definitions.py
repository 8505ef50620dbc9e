import subprocess
import sys
from pathlib import Path

import dagster as dg
import pytest

from cis490_pipeline.domain import Architecture, Recipe
from cis490_pipeline.domain.catalogue import MODELS, input_kind
from cis490_pipeline.orchestration.assets.checks import checks, warning_checks
from cis490_pipeline.orchestration.assets.recording import recipes
from cis490_pipeline.orchestration.definitions import defs
from cis490_pipeline_tests.orchestration.making import PROJECT, key_of

SWEEP, GRIDS = "corpus/validation_sweep", "corpus/grid_shards"
INDEX, BOARD = "dataset/validation_index", "model/leaderboard"
ABLATION, ROBUSTNESS = "model/ablation", "model/robustness"
SHARDS = {"summary": "dataset/feature_shards", "tensor": "dataset/tensor_shards"}

MODEL_NAMES = [
    f"model/{architecture}/{variant}"
    for architecture in ("gbt", "mlp", "cnn", "gru", "lstm", "transformer")
    for variant in ("realistic", "oracle")
]

MODEL_ASSETS = ("checkpoint", "eval_report")

# Keys are what history, links and other code locations hang on: changing one is a decision.
DEPS = {
    SWEEP: set(),
    GRIDS: {SWEEP},
    INDEX: {SWEEP, GRIDS},
    SHARDS["summary"]: {INDEX, GRIDS},
    SHARDS["tensor"]: {INDEX, GRIDS},
    **{
        f"{name}/checkpoint": {INDEX, SHARDS[input_kind(Architecture(name.split("/")[1]))]}
        for name in MODEL_NAMES
    },
    **{f"{name}/eval_report": {INDEX, f"{name}/checkpoint"} for name in MODEL_NAMES},
    ABLATION: {INDEX, SHARDS["summary"]},
    ROBUSTNESS: {INDEX, SHARDS["tensor"], *(f"{name}/checkpoint" for name in MODEL_NAMES)},
    BOARD: {ABLATION, ROBUSTNESS, *(f"{name}/eval_report" for name in MODEL_NAMES)},
    "dashboard/model_metric_events": {BOARD},
}
GROUPS = {
    **{name: name.split("/")[0] for name in DEPS},
    **{f"{name}/{what}": name.split("/")[1] for name in MODEL_NAMES for what in MODEL_ASSETS},
    **dict.fromkeys((ABLATION, ROBUSTNESS, BOARD), "comparison"),
}

CHECKS = {
    (INDEX, "profiles_are_stratified"),
    (INDEX, "sides_are_disjoint"),
    (INDEX, "no_copy_on_two_sides"),
    (SHARDS["summary"], "files_match_digests"),
    (SHARDS["summary"], "schema_is_this_codes"),
    (SHARDS["summary"], "features_are_finite"),
    (SHARDS["tensor"], "files_match_digests"),
    (SHARDS["tensor"], "no_window_on_two_sides"),
    (SHARDS["tensor"], "every_phase_is_trained"),
    *((f"{name}/checkpoint", "reproduces_golden_vectors") for name in MODEL_NAMES),
    *((f"{name}/checkpoint", "fitted_on_train_alone") for name in MODEL_NAMES),
}


WARNINGS = {
    ("corpus/validation_sweep", "uploads_are_sound"),
    ("corpus/validation_sweep", "no_episode_vanished"),
    ("corpus/grid_shards", "new_episodes_have_not_drifted"),
}


@pytest.fixture(scope="module")
def graph():
    return defs.resolve_asset_graph()


def test_definitions_load_as_the_webserver_loads_them():
    dg.Definitions.validate_loadable(defs)


def test_the_graph_has_exactly_these_assets_and_dependencies(graph):
    found = {
        key.to_user_string(): {above.to_user_string() for above in graph.get(key).parent_keys}
        for key in graph.get_all_asset_keys()
    }

    assert found == DEPS


@pytest.mark.parametrize("name", DEPS)
def test_each_asset_is_in_its_group_and_partitioned_or_not_as_designed(graph, name):
    node = graph.get(key_of(name))

    assert node.group_name == GROUPS[name]
    # One differing policy in a chain makes a backfill nine runs instead of three.
    assert node.backfill_policy is None
    assert node.description
    assert node.owners == ["team:cis490"]
    assert node.kinds
    if name.startswith("corpus/"):
        assert node.partitions_def is None
    else:
        assert node.partitions_def is recipes


def test_the_partitions_are_the_recipes():
    assert recipes.get_partition_keys() == ["host", "sample", "time"] == [str(r) for r in Recipe]


def test_only_what_a_schedule_makes_each_night_is_expected_to_be_fresh(graph):
    policies = {
        key.to_user_string(): graph.get(key).freshness_policy for key in graph.get_all_asset_keys()
    }

    assert {name for name, policy in policies.items() if policy} == {SWEEP, GRIDS}


@pytest.mark.parametrize("name", [name for name in DEPS if not name.startswith("dashboard/")])
def test_what_is_made_by_code_has_a_code_version(graph, name):
    assert graph.get(key_of(name)).code_version


def test_only_training_is_pooled(graph):
    pooled = {key: graph.get(key).pools for key in graph.materializable_asset_keys}

    assert {key.to_user_string() for key, pools in pooled.items() if "train" in pools} == {
        *(f"{name}/checkpoint" for name in MODEL_NAMES),
        # As long as training, and all models in memory at once.
        ABLATION,
        ROBUSTNESS,
    }
    assert set().union(*pooled.values()) == {"train"}


def test_every_check_blocks_and_is_partitioned_like_its_asset(graph):
    specs = {
        (spec.asset_key.to_user_string(), spec.name): spec
        for definition in checks
        for spec in definition.check_specs
    }

    assert set(specs) == CHECKS
    assert {key for key, spec in specs.items() if not spec.blocking} == set()
    assert all(spec.partitions_def is recipes for spec in specs.values())


def test_what_only_warns_blocks_nothing():
    specs = {
        (spec.asset_key.to_user_string(), spec.name): spec
        for definition in warning_checks
        for spec in definition.check_specs
    }

    assert set(specs) == WARNINGS
    assert not any(spec.blocking for spec in specs.values())


@pytest.mark.parametrize("name", [*MODEL_NAMES])
def test_a_model_is_found_by_its_architecture_and_variant(graph, name):
    _, architecture, variant = name.split("/")

    for what in ("checkpoint", "eval_report"):
        tags = graph.get(key_of(f"{name}/{what}")).tags
        assert (tags["arch"], tags["variant"]) == (architecture, variant)


def test_materialize_all_makes_everything_but_what_a_sensor_publishes(graph):
    # No run can then fail for a dashboard that is not set, or is down.
    made = {key.to_user_string() for key in graph.materializable_asset_keys}

    assert made == set(DEPS) - {"dashboard/model_metric_events"}


@pytest.mark.parametrize("name", [name for name in DEPS if not name.startswith("dashboard/")])
def test_each_asset_is_linked_to_the_lines_that_make_it(graph, name):
    (reference,) = graph.get(key_of(name)).metadata["dagster/code_references"].code_references

    path = Path(reference.file_path)
    assert path.is_relative_to(PROJECT / "cis490_pipeline" / "orchestration")
    assert path.read_text().splitlines()[reference.line_number - 1].strip().startswith("@dg.asset")


def test_the_jobs_share_no_asset_and_publish_nothing(graph):
    jobs = {name: defs.resolve_job_def(name) for name in ("corpus", "recipe")}
    keys = {
        name: {key.to_user_string() for key in job.asset_layer.selected_asset_keys}
        for name, job in jobs.items()
    }

    assert keys["corpus"] == {SWEEP, GRIDS}
    assert keys["recipe"] == set(DEPS) - {SWEEP, GRIDS, "dashboard/model_metric_events"}
    assert len(jobs["recipe"].asset_layer.asset_graph.asset_check_keys) == len(CHECKS)
    assert jobs["recipe"].partitions_def is recipes


def test_a_recipe_run_has_at_most_60_steps():
    assert len(defs.resolve_job_def("recipe").nodes) <= 60


@pytest.mark.parametrize(("job", "preload"), [("corpus", "preload"), ("recipe", "preload_models")])
def test_steps_are_forked_after_a_preload_and_a_run_says_how_many_at_once(job, preload):
    definition = defs.resolve_job_def(job)
    said = {"execution": {"config": {"max_concurrent": 5}}}
    by_default, told = (
        dg.validate_run_config(definition, config)["execution"]["multiprocess"]
        for config in ({}, said)
    )

    modules = [f"cis490_pipeline.orchestration.runtime.{preload}"]
    assert told["start_method"] == {"forkserver": {"preload_modules": modules}}
    assert (by_default["max_concurrent"], told["max_concurrent"]) == (2, 5)


def test_there_is_a_name_for_every_model():
    assert [f"model/{architecture}/{variant}" for architecture, variant in MODELS] == MODEL_NAMES


def run_python(code, *words):
    done = subprocess.run(
        [sys.executable, "-c", code, *words],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


HEAVY = (
    "matplotlib",
    "scipy.optimize",
    "scipy.special",
    "scipy.stats",
    "sklearn",
    "sqlalchemy",
    "torch",
    "xgboost",
)


def test_definitions_import_nothing_that_takes_long_to_load():
    # The seconds this comes to are in benchmarks/dagster_overhead.py: they are the machine's.
    loaded = run_python(
        "import sys, cis490_pipeline.orchestration.definitions\nprint(*sys.modules)"
    )

    assert set(HEAVY).isdisjoint(loaded)


FORKED_STEP = """
import gc, importlib, os, signal, sys
importlib.import_module("cis490_pipeline.orchestration.runtime." + sys.argv[1])
loaded = set(sys.modules)
# Flushed, or what is still buffered is the child's as well, and may be printed twice.
print("torch" in loaded, gc.get_freeze_count() > len(loaded), flush=True)
if (child := os.fork()) == 0:
    signal.alarm(30)
    import cis490_pipeline.orchestration.definitions
    import polars as pl
    pl.LazyFrame({"x": range(1000)}).group_by("x").agg(y=pl.col("x").sum()).collect()
    if "torch" in loaded:  # a step that scores
        from cis490_pipeline.evaluation.uncertainty.rates import wilson
        wilson(1, 2)
    late = {name.rpartition(".")[0] for name in set(sys.modules) - loaded}
    ours = ("cis490_pipeline", "scipy", "sqlalchemy")
    print(*sorted(name for name in late if name.startswith(ours)))
    sys.stdout.flush()
    os._exit(0)
status = os.waitpid(child, 0)[1]
assert os.waitstatus_to_exitcode(status) != -signal.SIGALRM, "forked, polars waits forever"
assert status == 0
"""


@pytest.mark.long
@pytest.mark.parametrize(("preload", "has_torch"), [("preload", False), ("preload_models", True)])
def test_a_step_forked_after_the_preload_imports_no_library_and_can_use_polars(preload, has_torch):
    # A process forked after polars has started its threads waits for them forever.
    has, frozen, *late = run_python(FORKED_STEP, preload)

    assert has == str(has_torch)
    assert frozen == "True"
    # The definitions, and nothing below them.
    assert {".".join(name.split(".")[:2]) for name in late} == {"cis490_pipeline.orchestration"}
