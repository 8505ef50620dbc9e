import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np
import polars as pl
import pytest

from cis490_pipeline.checkpoints import saving
from cis490_pipeline.config import Settings
from cis490_pipeline.domain import Architecture, Recipe, Side, Variant
from cis490_pipeline.errors import DatasetError
from cis490_pipeline.experiment.order import corpus_stages
from cis490_pipeline.experiment.pipeline import training
from cis490_pipeline.experiment.pipeline.corpus import GridShards
from cis490_pipeline.experiment.pipeline.dataset import FeatureShards, TensorShards, ValidationIndex
from cis490_pipeline.experiment.pipeline.training import TrainedCheckpoint
from cis490_pipeline.experiment.stages.workspace import Workspace
from cis490_pipeline.experiment.upkeep import checks as verify
from cis490_pipeline.features.calibration.calibrator import CalibrationMode
from cis490_pipeline.features.datasets.load import fit_calibrator
from cis490_pipeline.features.datasets.manifest import read_manifest_file, write_manifest
from cis490_pipeline.features.grids.store import GridStore
from cis490_pipeline.storage.files import file_sha256, read_json, write_json
from cis490_pipeline.storage.parquet import write_parquet
from cis490_pipeline_tests.experiment.runs import FAST, SAMPLE, copy_of, flip_a_byte
from cis490_pipeline_tests.features.grids.changed import changed_shards

LEARNT = {Architecture.GBT: "model.ubj", Architecture.MLP: "weights.safetensors"}
HOST = Recipe.HOST


@pytest.fixture(scope="module")
def again(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """The same data made from nothing in another folder, by two workers."""
    data = tmp_path_factory.mktemp("again") / "data"
    workspace = Workspace(Settings(store=SAMPLE, data=data, workers=2))
    for stage in (*corpus_stages(workspace), ValidationIndex(workspace, HOST)):
        stage.ensure()
    FeatureShards(workspace, HOST).ensure()
    return workspace


@pytest.fixture(scope="module")
def altered(finished: Workspace, tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """The same data, but every reading of the test side's episodes is another."""
    workspace = copy_of(finished, tmp_path_factory.mktemp("altered"))
    alter_test_side(workspace)
    FeatureShards(workspace, HOST).ensure(force=True)
    TensorShards(workspace, HOST).ensure(force=True)
    return workspace


@pytest.fixture
def spoilt(finished: Workspace, tmp_path: Path) -> Workspace:
    return copy_of(finished, tmp_path)


def gbt(workspace: Workspace) -> TrainedCheckpoint:
    return TrainedCheckpoint(workspace, HOST, Architecture.GBT, Variant.REALISTIC)


def alter_test_side(workspace: Workspace) -> None:
    folder = GridShards(workspace).folder
    index = pl.read_parquet(workspace.paths.validation_index(HOST))
    test = set(index.filter(side="test")["episode_id"])
    manifest = read_json(folder / "manifest.json")
    frame = pl.read_parquet(folder / "index.parquet")
    for name in list(manifest["shards"]):
        grids = np.load(folder / name)
        for row in frame.filter(shard=name).iter_rows(named=True):
            if row["episode_id"] in test:
                grids[row["row_start"] : row["row_start"] + row["n_steps"]] += 3.0
        np.save(folder / name, grids)
        manifest["shards"][name] = file_sha256(folder / name)
    baselines = [
        [v + 3.0 for v in median] if episode in test else median
        for episode, median in frame.select("episode_id", "baseline_median").iter_rows()
    ]
    median = pl.Series("baseline_median", baselines, dtype=pl.List(pl.Float32))
    write_parquet(folder / "index.parquet", frame.with_columns(median))
    manifest["index_sha256"] = file_sha256(folder / "index.parquet")
    write_json(folder / "manifest.json", manifest)


@pytest.mark.parametrize("architecture", LEARNT, ids=str)
def test_same_seed_gives_the_same_bytes_in_another_folder(
    finished: Workspace, again: Workspace, architecture: Architecture
) -> None:
    first, second = (
        TrainedCheckpoint(workspace, HOST, architecture, Variant.REALISTIC)
        for workspace in (finished, again)
    )
    digests = [stage.ensure().record.digest for stage in (first, second)]
    learnt = [(stage.folder / LEARNT[architecture]).read_bytes() for stage in (first, second)]

    assert digests[0] == digests[1]
    assert learnt[0] == learnt[1]


def test_another_seed_gives_another_model(finished: Workspace, again: Workspace) -> None:
    settings = replace(again.settings, seed=1)
    other = gbt(Workspace(settings)).ensure().record

    assert other.digest != gbt(finished).ensure().record.digest


def test_altering_the_test_side_alters_the_dataset(finished: Workspace, altered: Workspace) -> None:
    names = [
        {path.name for path in FeatureShards(workspace, HOST).folder.glob("test-*.parquet")}
        for workspace in (finished, altered)
    ]

    assert names[0].isdisjoint(names[1])


@pytest.mark.parametrize("architecture", LEARNT, ids=str)
def test_no_reading_of_the_test_side_reaches_a_model(
    finished: Workspace, altered: Workspace, architecture: Architecture
) -> None:
    before, after = (
        TrainedCheckpoint(workspace, HOST, architecture, Variant.REALISTIC)
        for workspace in (finished, altered)
    )
    outcome = after.ensure()

    assert outcome.why == "changed: dataset"
    for name in (LEARNT[architecture], "calibration.safetensors", "golden.safetensors"):
        assert (after.folder / name).read_bytes() == (before.folder / name).read_bytes()


def test_no_reading_of_the_test_side_reaches_the_calibration_of_tensors(
    finished: Workspace, altered: Workspace
) -> None:
    digests = {
        fit_calibrator(
            TensorShards(workspace, HOST).open(),
            Variant.ORACLE,
            CalibrationMode.EPISODE_BASELINE,
        ).digest
        for workspace in (finished, altered)
    }

    assert len(digests) == 1


def test_second_time_nothing_is_trained(finished: Workspace) -> None:
    outcomes = [TrainedCheckpoint(finished, HOST, *model).ensure() for model in FAST]

    assert [outcome.why for outcome in outcomes] == ["up to date"] * 4


def test_another_seed_is_another_input(finished: Workspace) -> None:
    other = Workspace(replace(finished.settings, seed=1))

    assert gbt(other).outdated() == "changed: training"


def test_altered_weights_make_the_checkpoint_outdated(spoilt: Workspace) -> None:
    flip_a_byte(gbt(spoilt).folder / "model.ubj")

    assert gbt(spoilt).outdated() == ("missing or altered: artifacts/host/gbt_realistic/model.ubj")


def test_altered_weights_do_not_reproduce_the_golden_vectors(spoilt: Workspace) -> None:
    flip_a_byte(gbt(spoilt).folder / "model.ubj")

    assert not verify.golden_vectors(gbt(spoilt)).passed


@pytest.mark.parametrize("model", FAST, ids=lambda model: f"{model[0]}-{model[1]}")
def test_saved_checkpoint_reproduces_its_golden_vectors(
    finished: Workspace, model: tuple[Architecture, Variant]
) -> None:
    finding = verify.golden_vectors(TrainedCheckpoint(finished, HOST, *model))

    assert finding.passed, finding.text


def test_training_killed_while_saving_leaves_the_checkpoint_before(
    spoilt: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage = gbt(spoilt)
    before = stage.load().digest

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(saving, "swap_in", killed)
    with pytest.raises(KeyboardInterrupt):
        stage.ensure(force=True)

    assert stage.load().digest == before
    assert stage.outdated() is None


def test_dataset_that_is_not_the_recorded_one_is_not_trained_on(spoilt: Workspace) -> None:
    path = FeatureShards(spoilt, HOST).record_path
    write_json(path, read_json(path) | {"parts": {"realistic": "another"}})

    with pytest.raises(DatasetError, match=r"the record says another; build the dataset again"):
        gbt(spoilt).ensure()


def test_leaking_dataset_is_not_trained_on(
    spoilt: Workspace,
) -> None:
    folder = FeatureShards(spoilt, HOST).folder
    leaking = msgspec.structs.replace(read_manifest_file(folder, "summary"), leaks=2)
    write_manifest(folder, leaking)

    with pytest.raises(DatasetError, match="2 leaks between sides"):
        gbt(spoilt).ensure(force=True)


def test_checkpoint_holds_the_digests_it_was_made_from(finished: Workspace) -> None:
    checkpoint = gbt(finished).load()
    dataset, split = (
        stage(finished, HOST).ensure().record for stage in (FeatureShards, ValidationIndex)
    )

    assert checkpoint.data_digest == dataset.parts["realistic"]
    assert checkpoint.split_digest == split.digest


def test_golden_windows_are_of_validation(finished: Workspace) -> None:
    stage = gbt(finished)
    checkpoint = stage.load()
    val = training.load_windows(stage.dataset.open(), Side.VAL, checkpoint.calibrator)
    known = {row.tobytes() for row in val.take(np.arange(len(val)))}

    assert {row.tobytes() for row in checkpoint.golden.inputs} <= known


CHANGED_KIND = """
import dataclasses, sys
import cis490_pipeline.domain as domain
from cis490_pipeline.domain import telemetry
changed = tuple(
    dataclasses.replace(c, kind=domain.Kind.GAUGE) if c.name == "guest.forks" else c
    for c in telemetry.CHANNELS
)
telemetry.CHANNELS = domain.CHANNELS = changed
from pathlib import Path
from cis490_pipeline.checkpoints.loading import load_checkpoint
from cis490_pipeline.errors import SchemaMismatchError
from cis490_pipeline.features.schema import feature_schema
try:
    load_checkpoint(Path(sys.argv[1]), feature_schema("summary", domain.Variant.REALISTIC))
except SchemaMismatchError as refused:
    print(refused)
"""


def test_checkpoint_is_refused_after_a_channels_kind_changed_and_the_channel_is_named(
    finished: Workspace,
) -> None:
    done = subprocess.run(
        [sys.executable, "-c", CHANGED_KIND, str(gbt(finished).folder)],
        capture_output=True,
        text=True,
        check=True,
    )

    assert "channel 6 (guest.forks) kind was 'counter', is 'gauge'" in done.stdout


def test_altered_grid_store_of_the_fixture_is_one_the_reader_accepts(altered: Workspace) -> None:
    assert changed_shards(GridStore(GridShards(altered).folder)) == []
