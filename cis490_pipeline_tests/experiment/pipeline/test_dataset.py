from itertools import combinations
from pathlib import Path

import polars as pl
import pytest

from cis490_pipeline.config import Settings
from cis490_pipeline.domain import Recipe
from cis490_pipeline.errors import SplitError
from cis490_pipeline.experiment.order import corpus_stages, dataset_stages
from cis490_pipeline.experiment.pipeline.corpus import ValidationSweep
from cis490_pipeline.experiment.pipeline.dataset import FeatureShards, TensorShards, ValidationIndex
from cis490_pipeline.experiment.stages.make import make_stages
from cis490_pipeline.experiment.stages.workspace import Workspace
from cis490_pipeline.experiment.upkeep import checks as verify
from cis490_pipeline.storage.files import digest, file_sha256, read_json, write_json
from cis490_pipeline.storage.parquet import write_parquet
from cis490_pipeline.store.verdicts.eligibility import usable_expr
from cis490_pipeline_tests.experiment.runs import SIX, THINKPAD, copy_of, copy_store, flip_a_byte

SIDES = ("train", "val", "test")
HELD_OUT = {Recipe.HOST: "host_id", Recipe.SAMPLE: "sample_name", Recipe.TIME: "episode_id"}


@pytest.fixture(scope="session")
def all_recipes(finished: Workspace, tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """Datasets of all three recipes; only to be read."""
    workspace = copy_of(finished, tmp_path_factory.mktemp("recipes"))
    for recipe in Recipe:
        for stage in dataset_stages(workspace, recipe):
            stage.ensure()
    return workspace


@pytest.fixture
def spoilt(finished: Workspace, tmp_path: Path) -> Workspace:
    return copy_of(finished, tmp_path)


def index_of(workspace: Workspace, recipe: Recipe) -> pl.DataFrame:
    return pl.read_parquet(workspace.paths.validation_index(recipe))


@pytest.mark.parametrize("recipe", Recipe)
def test_no_episode_is_on_two_sides(all_recipes: Workspace, recipe: Recipe) -> None:
    assert index_of(all_recipes, recipe)["episode_id"].is_unique().all()


@pytest.mark.parametrize("recipe", Recipe)
def test_what_is_held_out_is_on_no_other_side(all_recipes: Workspace, recipe: Recipe) -> None:
    index, unit = index_of(all_recipes, recipe), HELD_OUT[recipe]
    units = {s: set(index.filter(side=s)[unit].drop_nulls()) for s in SIDES}

    # Validation shares its host with training where only one host is trained on.
    pairs = [p for p in combinations(SIDES, 2) if recipe is not Recipe.HOST or "test" in p]
    assert all(units[a].isdisjoint(units[b]) for a, b in pairs)


@pytest.mark.parametrize("recipe", Recipe)
def test_every_usable_episode_has_a_side_or_a_reason(
    all_recipes: Workspace, recipe: Recipe
) -> None:
    index = index_of(all_recipes, recipe)
    excluded = index.filter(side="excluded")
    usable = pl.read_parquet(all_recipes.paths.validation).filter(usable_expr())

    assert sorted(index["episode_id"]) == sorted(usable["episode_id"])
    assert excluded["why"].null_count() == 0


@pytest.mark.parametrize("recipe", Recipe)
def test_excluded_episodes_are_counted_by_reason(all_recipes: Workspace, recipe: Recipe) -> None:
    record = ValidationIndex(all_recipes, recipe).record()
    excluded = index_of(all_recipes, recipe).filter(side="excluded").height

    assert record is not None
    assert record.numbers["episodes_excluded"] == excluded
    assert excluded == sum(n for k, n in record.numbers.items() if k.startswith("excluded: "))


@pytest.mark.parametrize("recipe", Recipe)
@pytest.mark.parametrize(
    "check",
    [
        verify.stratification,
        verify.disjoint_sides,
        verify.no_copies,
        verify.feature_digests,
        verify.tensor_digests,
        verify.feature_schema_current,
        verify.finite_features,
        verify.disjoint_windows,
        verify.class_presence,
    ],
    ids=lambda check: check.__name__,
)
def test_sample_corpus_passes(
    all_recipes: Workspace, check: verify.Finding, recipe: Recipe
) -> None:
    finding = check(all_recipes, recipe)  # type: ignore[operator]

    assert finding.passed, finding.text


def test_profiles_no_test_host_ran_are_named(finished: Workspace) -> None:
    split = ValidationIndex(finished, Recipe.HOST).placed()

    untested = {host: list(names) for host, names in split.untested_profiles.items() if names}
    assert untested == {"k-gamingcom": ["scan-and-dial"], "lab-nuc": ["exfil-burst"]}


@pytest.mark.parametrize("stage", [ValidationIndex, FeatureShards, TensorShards])
def test_second_time_nothing_is_made(
    all_recipes: Workspace, stage: type[ValidationIndex | FeatureShards | TensorShards]
) -> None:
    outcomes = [stage(all_recipes, recipe).ensure() for recipe in Recipe]

    assert [outcome.why for outcome in outcomes] == ["up to date"] * 3


def test_missing_shard_is_made_again(spoilt: Workspace) -> None:
    stage = FeatureShards(spoilt, Recipe.HOST)
    shard = next(stage.folder.glob("test-*.parquet"))
    before = shard.read_bytes()
    shard.unlink()

    assert stage.ensure().made
    assert shard.read_bytes() == before


def test_dataset_of_a_changed_split_is_outdated(spoilt: Workspace) -> None:
    path = ValidationIndex(spoilt, Recipe.HOST).record_path
    write_json(path, read_json(path) | {"digest": "another"})

    assert TensorShards(spoilt, Recipe.HOST).outdated() == "changed: split"


def test_episode_on_two_sides_is_found(spoilt: Workspace) -> None:
    index = index_of(spoilt, Recipe.HOST)
    twice = index.filter(side="train").head(1).with_columns(side=pl.lit("val"))
    write_parquet(spoilt.paths.validation_index(Recipe.HOST), pl.concat([index, twice]))

    finding = verify.disjoint_sides(spoilt, Recipe.HOST)

    assert not finding.passed
    assert f"episode {twice['episode_id'][0]} is on two sides" in finding.text


def test_test_host_that_is_trained_on_is_found(spoilt: Workspace) -> None:
    index = index_of(spoilt, Recipe.HOST)
    one = index.filter(side="test", host_id="lab-nuc")["episode_id"][0]
    moved = pl.when(pl.col("episode_id") == one).then(pl.lit("train")).otherwise("side")
    write_parquet(spoilt.paths.validation_index(Recipe.HOST), index.with_columns(side=moved))

    assert verify.disjoint_sides(spoilt, Recipe.HOST).text == (
        "test host lab-nuc is also trained on"
    )


def test_changed_feature_file_is_found(spoilt: Workspace) -> None:
    shard = next(FeatureShards(spoilt, Recipe.HOST).folder.glob("val-*.parquet"))
    flip_a_byte(shard)

    finding = verify.feature_digests(spoilt, Recipe.HOST)

    assert not finding.passed
    assert shard.name in finding.text


def test_changed_index_of_tensors_is_found(spoilt: Workspace) -> None:
    flip_a_byte(TensorShards(spoilt, Recipe.HOST).folder / "index.parquet")

    assert "index.parquet" in verify.tensor_digests(spoilt, Recipe.HOST).text


def test_stored_schema_with_another_kind_is_found_and_named(spoilt: Workspace) -> None:
    path = FeatureShards(spoilt, Recipe.HOST).folder / "feature_schema_v1.json"
    schema = read_json(path)
    schema["channels"][3]["kind"] = "gauge"
    write_json(path, schema)

    finding = verify.feature_schema_current(spoilt, Recipe.HOST)

    assert not finding.passed
    assert finding.text == "channel 3 (proc.major_faults) kind was 'gauge', is 'counter'"


def test_infinite_feature_is_found(spoilt: Workspace) -> None:
    folder = FeatureShards(spoilt, Recipe.HOST).folder
    shard = next(folder.glob("val-*.parquet"))
    first = pl.when(pl.int_range(pl.len()) == 0)
    column = pl.col("guest.ctxt:mean")
    infinite = first.then(pl.lit(float("inf"), dtype=pl.Float32)).otherwise(column)
    write_parquet(shard, pl.read_parquet(shard).with_columns(infinite.alias("guest.ctxt:mean")))
    manifest = read_json(folder / "manifest.json")
    manifest["files"][shard.name] = file_sha256(shard)
    content = {k: v for k, v in manifest.items() if k not in ("digest", "grids_folder")}
    write_json(folder / "manifest.json", manifest | {"digest": digest(content)})

    assert verify.finite_features(spoilt, Recipe.HOST).text == "1 infinite features"


def test_profile_that_is_tested_but_never_trained_on_is_found(spoilt: Workspace) -> None:
    index = index_of(spoilt, Recipe.HOST)
    trained = (pl.col("profile") == "flood") & (pl.col("side") == "train")
    side = pl.when(trained).then(pl.lit("excluded")).otherwise("side")
    write_parquet(spoilt.paths.validation_index(Recipe.HOST), index.with_columns(side=side))

    finding = verify.stratification(spoilt, Recipe.HOST)

    assert finding.text == "flood is tested but never trained on"


def without_the_thinkpad(folder: Path, **settings: tuple[str, ...]) -> Workspace:
    store = copy_store(folder / "store", SIX[4:])
    return Workspace(Settings(store=store.root, data=folder / "data", workers=1, **settings))


@pytest.mark.parametrize(
    ("settings", "side", "host"),
    [
        ({}, "train", THINKPAD),
        ({"train_hosts": ("lab-nuc",), "val_hosts": ("b", "a")}, "val", "a, b"),
    ],
)
def test_host_that_is_not_in_the_store_is_told_before_the_sweep(
    tmp_path: Path, settings: dict[str, tuple[str, ...]], side: str, host: str
) -> None:
    workspace = without_the_thinkpad(tmp_path, **settings)

    with pytest.raises(SplitError) as refused:
        make_stages((*corpus_stages(workspace), *dataset_stages(workspace, Recipe.HOST)))

    assert str(refused.value) == (
        f"{workspace.store.name}: has no episode of the {side} hosts {host}; hosts there: "
        f"garage-pi, lab-nuc. Name {side} hosts with --{side}-hosts, CIS490_{side.upper()}_HOSTS "
        f"or {side}_hosts in cis490.toml (in Dagster: of the resource workspace)"
    )
    assert ValidationSweep(workspace).record() is None


def test_other_splits_name_no_hosts_and_need_none(tmp_path: Path) -> None:
    ValidationIndex(without_the_thinkpad(tmp_path), Recipe.SAMPLE).require_possible()


def test_split_that_is_made_needs_its_hosts_no_more(finished: Workspace, tmp_path: Path) -> None:
    # They may have vanished since; their verdicts and grids stay.
    store = copy_store(tmp_path / "store", SIX[4:])
    other = Workspace(Settings(store=store.root, data=finished.paths.root, workers=1))

    ValidationIndex(other, Recipe.HOST).require_possible()
    other = Workspace(Settings(store=store.root, data=finished.paths.root, workers=1, split_seed=1))
    with pytest.raises(SplitError, match=f"no episode of the train hosts {THINKPAD}"):
        ValidationIndex(other, Recipe.HOST).require_possible()
