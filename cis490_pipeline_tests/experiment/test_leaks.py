"""What is on the test side changes nothing that is learnt; what is planted there is named."""

import json
from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from cis490_pipeline.checkpoints.saving import save_checkpoint
from cis490_pipeline.config import Settings
from cis490_pipeline.domain import Architecture, EpisodeRef, Recipe, Side, Variant
from cis490_pipeline.errors import DatasetError
from cis490_pipeline.experiment.pipeline.calibration import fitted_check
from cis490_pipeline.experiment.pipeline.corpus import GridShards, corpus_stages
from cis490_pipeline.experiment.pipeline.dataset import FeatureShards, TensorShards, ValidationIndex
from cis490_pipeline.experiment.pipeline.evaluation import EvaluationReport
from cis490_pipeline.experiment.pipeline.training import TrainedCheckpoint
from cis490_pipeline.experiment.stages.gates import require_passed
from cis490_pipeline.experiment.stages.workspace import Workspace
from cis490_pipeline.experiment.upkeep import checks as verify
from cis490_pipeline.features.calibration.calibrator import Calibrator
from cis490_pipeline.features.calibration.segments import stretches_of
from cis490_pipeline.features.datasets.build import build_feature_dataset
from cis490_pipeline.features.datasets.load import fit_calibrator
from cis490_pipeline.features.datasets.opened import open_dataset
from cis490_pipeline.features.grids.store import GridStore
from cis490_pipeline.storage.files import read_json
from cis490_pipeline_tests.experiment.runs import (
    SAMPLE,
    SIX,
    THINKPAD,
    copy_of,
    copy_store,
    member,
    repack,
)

HOST = Recipe.HOST
COPY = EpisodeRef("garage-pi", "01M81900000000000000000000")
QUICK = {"gbt": {"max_rounds": 8}, "mlp": {"max_epochs": 2}, "cnn": {"max_epochs": 1}}


# --- what the test side holds changes nothing that is learnt


def quick(workspace):
    return Workspace(replace(workspace.settings, models=QUICK))


def spoil(workspace, side):
    """Write noise over the grids of a side and cut all windows of the split anew."""
    index = pl.read_parquet(workspace.paths.validation_index(HOST)).filter(side=side)
    grids = GridStore(GridShards(workspace).folder)
    rng = np.random.default_rng(0)
    rows = grids.frame.join(index.select("episode_id"), on="episode_id", how="semi")
    for shard, start, n in rows.select("shard", "row_start", "n_steps").iter_rows():
        grid = np.load(grids.folder / shard, mmap_mode="r+")
        grid[start : start + n] += rng.normal(0, 2, (n, 46)).astype(np.float32)
        grid.flush()
    for stage in (FeatureShards, TensorShards):
        stage(workspace, HOST).ensure(force=True)


def learnt(workspace, architecture):
    """Digests of the parts of a checkpoint that is trained now."""
    stage = TrainedCheckpoint(workspace, HOST, architecture, Variant.REALISTIC)
    stage.ensure(force=True)
    checkpoint = stage.load()
    return {
        "all": checkpoint.digest,
        "calibration": checkpoint.calibrator.digest,
        "cleanliness": checkpoint.cleanliness.digest,
        "golden": checkpoint.golden.probabilities.tobytes(),
        "metrics": json.dumps(checkpoint.metrics),
    }


@pytest.fixture(scope="module")
def before(finished, tmp_path_factory):
    workspace = quick(copy_of(finished, tmp_path_factory.mktemp("before")))
    return {name: learnt(workspace, name) for name in map(Architecture, QUICK)}


@pytest.fixture(scope="module")
def test_side_spoilt(finished, tmp_path_factory):
    workspace = quick(copy_of(finished, tmp_path_factory.mktemp("after")))
    spoil(workspace, Side.TEST)
    return workspace


@pytest.mark.parametrize("architecture", QUICK)
def test_no_bit_of_a_checkpoint_depends_on_the_test_side(before, test_side_spoilt, architecture):
    assert learnt(test_side_spoilt, Architecture(architecture)) == before[architecture]


def test_the_spoilt_test_side_is_another(finished, test_side_spoilt):
    digests = [FeatureShards(w, HOST).record().digest for w in (finished, test_side_spoilt)]

    assert digests[0] != digests[1]


@pytest.mark.parametrize(
    ("side", "unchanged"), [(Side.TRAIN, set()), (Side.VAL, {"calibration", "cleanliness"})]
)
def test_train_and_val_do_change_it(finished, tmp_path, before, side, unchanged):
    workspace = quick(copy_of(finished, tmp_path))
    spoil(workspace, side)

    after = learnt(workspace, Architecture.GBT)

    same = {name for name, digest in before[Architecture.GBT].items() if after[name] == digest}
    assert same == unchanged


# --- a scaler fitted on more than train is named


@pytest.fixture
def spoilt(finished, tmp_path):
    return copy_of(finished, tmp_path)


def replant(workspace, architecture, **parts):
    """Put a checkpoint in the place of the trained one that differs in some parts."""
    stage = TrainedCheckpoint(workspace, HOST, architecture, Variant.REALISTIC)
    save_checkpoint(stage.folder, replace(stage.load(), **parts))


def fitted_on_all_sides(workspace, architecture) -> Calibrator:
    """Fit a calibrator as if the test side were train."""
    stage = TrainedCheckpoint(workspace, HOST, architecture, Variant.REALISTIC)
    index = pl.read_parquet(workspace.paths.validation_index(HOST))
    every = index.with_columns(
        side=pl.when(pl.col("side") == "test").then(pl.lit("train")).otherwise("side")
    )
    grids, folder = GridStore(GridShards(workspace).folder), workspace.paths.root / "planted"
    used = stage.load().calibrator
    build_feature_dataset(grids, every, folder, split_digest="planted")
    return fit_calibrator(
        open_dataset(folder, "summary"),
        used.variant,
        used.mode,
        gauges=used.gauges,
        scaling=used.scaling,
    )


@pytest.mark.parametrize("architecture", [Architecture.GBT, Architecture.MLP])
def test_a_checkpoint_as_trained_was_fitted_on_train_alone(finished, architecture):
    stage = TrainedCheckpoint(finished, HOST, architecture, Variant.REALISTIC)
    finding = verify.fitted_on_train(stage)

    assert finding.passed, finding.text


def test_a_scaler_fitted_on_test_is_caught_by_name(spoilt):
    planted = fitted_on_all_sides(spoilt, Architecture.GBT)
    replant(spoilt, Architecture.GBT, calibrator=planted)

    with pytest.raises(
        DatasetError,
        match="fitted_on_train_alone failed: gbt_realistic: the calibration has digest",
    ):
        require_passed([TrainedCheckpoint(spoilt, HOST, Architecture.GBT, Variant.REALISTIC)])


def test_a_cleanliness_check_fitted_on_test_is_caught_by_name(spoilt):
    index = pl.read_parquet(spoilt.paths.validation_index(HOST))
    used, _ = fitted_check(spoilt, HOST)
    grids = GridStore(GridShards(spoilt).folder)
    planted = type(used).fit(stretches_of(grids, index["episode_id"].to_list()))
    replant(spoilt, Architecture.GBT, cleanliness=planted)

    stage = TrainedCheckpoint(spoilt, HOST, Architecture.GBT, Variant.REALISTIC)
    finding = verify.fitted_on_train(stage)

    assert not finding.passed
    assert "gbt_realistic: the cleanliness check has digest" in finding.text


# --- telemetry under two ids


def several():
    """Enough episodes for every side of the host split: 14 of the training host, 2 of others."""
    rows = map(json.loads, (SAMPLE / "index.jsonl").read_bytes().splitlines())
    refs = [EpisodeRef(row["host_id"], row["episode_id"]) for row in rows]
    train = [ref for ref in dict.fromkeys(refs) if ref.host_id == THINKPAD][:14]
    assert SIX[0] in train
    return [*train, *SIX[-2:]]


def ship_copy(store, ref, change):
    """Ship an episode once more, under another id and from another host."""
    path = store.archive_path(COPY)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(store.archive_path(ref).read_bytes())
    rows = [json.loads(line) for line in store.index_path.read_bytes().splitlines()]
    row = next(row for row in rows if row["episode_id"] == ref.episode_id)
    row |= {"host_id": COPY.host_id, "episode_id": COPY.episode_id}
    row["received_at_wall"] = "2026-11-23T00:00:00Z"
    with store.index_path.open("a") as index:
        index.write(json.dumps(row) + "\n")

    def renamed(members):
        name = member(members, "meta.json")
        meta = json.loads(members[name])
        meta |= {"host_id": COPY.host_id, "episode_id": COPY.episode_id}
        members[name] = json.dumps(meta).encode()
        change(members)

    repack(store, COPY, renamed)


def written_anew(members):
    """The same rows with their keys in another order: no digest of a file is what it was."""
    for name in [n for n in members if n.endswith(".jsonl")]:
        rows = [json.loads(row) for row in members[name].splitlines()]
        texts = [json.dumps(dict(reversed(row.items()))) for row in rows]
        members[name] = "".join(text + "\n" for text in texts).encode()


def as_it_is(members):
    pass


@pytest.fixture
def planted(tmp_path, request):
    store = copy_store(tmp_path / "store", several())
    ship_copy(store, SIX[0], request.param)
    workspace = Workspace(Settings(store=store.root, data=tmp_path / "data", workers=1))
    for stage in corpus_stages(workspace):
        stage.ensure()
    ValidationIndex(workspace, HOST).ensure()
    return workspace


@pytest.mark.parametrize("planted", [as_it_is], indirect=True)
def test_a_copied_episode_is_on_no_side_and_counted(planted):
    verdicts = pl.read_parquet(planted.paths.validation)
    row = verdicts.row(by_predicate=pl.col("episode_id") == COPY.episode_id, named=True)
    index = pl.read_parquet(planted.paths.validation_index(HOST))

    assert row["reasons"] == ["duplicate_content"]
    assert row["details"] == [f"duplicate_content: the same telemetry as {SIX[0]}"]
    assert COPY.episode_id not in index["episode_id"]
    numbers = corpus_stages(planted)[0].record().numbers
    assert numbers["reason_duplicate_content"] == 1
    assert verify.no_copies(planted, HOST).passed


@pytest.mark.parametrize("planted", [written_anew], indirect=True)
def test_a_copy_that_was_written_anew_is_caught_by_name(planted):
    with pytest.raises(DatasetError) as caught:
        require_passed([ValidationIndex(planted, HOST)])

    said = str(caught.value)
    assert "check no_copy_on_two_sides failed" in said
    assert f"{SIX[0].episode_id} (" in said
    assert f"{COPY.episode_id} (test) hold the same telemetry: 100%" in said


@pytest.mark.parametrize("planted", [written_anew], indirect=True)
@pytest.mark.parametrize("stage", [FeatureShards, TensorShards])
def test_no_windows_are_cut_while_a_copy_is_on_two_sides(planted, stage):
    with pytest.raises(DatasetError, match=f"{COPY.episode_id} .test. hold the same telemetry"):
        stage(planted, HOST).ensure()

    assert stage(planted, HOST).record() is None


# --- the test side is opened once


def test_the_test_side_is_opened_once_for_each_checkpoint_and_logged(spoilt):
    stage = EvaluationReport(spoilt, HOST, Architecture.GBT, Variant.REALISTIC)
    first = stage.checkpoint.record().digest
    for _ in range(3):
        stage.ensure(force=True)
    other = Workspace(replace(spoilt.settings, models=QUICK))
    again = EvaluationReport(other, HOST, Architecture.GBT, Variant.REALISTIC)
    second = again.checkpoint.ensure().record.digest

    again.ensure()

    noted = read_json(again.checkpoint.folder / "predictions.json")
    assert noted["test_openings"] == {first: 1, second: 1}
    assert noted["n_test_openings"] == 2
