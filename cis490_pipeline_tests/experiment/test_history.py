"""A run with ``features = "history"``: dataset, models, predictions, live, ONNX, probes."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from cis490_pipeline.api.data import load_dataset
from cis490_pipeline.dashboard.producers.embedding import fit_map
from cis490_pipeline.dashboard.producers.metrics import MetricEvents
from cis490_pipeline.dashboard.producers.perf import measure
from cis490_pipeline.dashboard.producers.places import Places
from cis490_pipeline.dashboard.producers.scores import Scores
from cis490_pipeline.domain import Architecture, EpisodeRef, Recipe, Side, Variant
from cis490_pipeline.errors import CheckpointError, SchemaMismatchError
from cis490_pipeline.evaluation.predictions import probabilities, read_predictions
from cis490_pipeline.events.contract import ModelFailure
from cis490_pipeline.experiment.pipeline.ablation import CalibrationAblation
from cis490_pipeline.experiment.pipeline.calibration import host_records
from cis490_pipeline.experiment.pipeline.dataset import FeatureShards
from cis490_pipeline.experiment.pipeline.evaluation import EvaluationReport
from cis490_pipeline.experiment.pipeline.probes import RecipeProbes
from cis490_pipeline.experiment.pipeline.robustness import Robustness
from cis490_pipeline.experiment.pipeline.training import TrainedCheckpoint
from cis490_pipeline.experiment.stages.make import make_stages
from cis490_pipeline.experiment.stages.workspace import Workspace
from cis490_pipeline.experiment.tools.export import export_checkpoint
from cis490_pipeline.experiment.tools.extract_episode import extract_single
from cis490_pipeline.experiment.upkeep.stale import survey
from cis490_pipeline.features.calibration.calibrator import CalibrationMode, Scaling
from cis490_pipeline.features.calibration.drifting_gauges import GaugeTreatment
from cis490_pipeline.features.datasets.load import load_windows
from cis490_pipeline.features.stress.perturbations import UNPERTURBED
from cis490_pipeline.live.bundle import load_bundle, write_bundle
from cis490_pipeline.live.loading import load_models
from cis490_pipeline.models.registry import restore
from cis490_pipeline_tests.experiment.runs import arrays_in, copy_of
from cis490_pipeline_tests.live.test_parity import replayed

HOST = Recipe.HOST
MODELS = ((Architecture.GBT, Variant.REALISTIC), (Architecture.MLP, Variant.REALISTIC))


def with_features(workspace: Workspace, features: str) -> Workspace:
    return Workspace(replace(workspace.settings, features=features))


@pytest.fixture(scope="module")
def run(finished: Workspace, tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """The finished run, made again with history for gbt and mlp."""
    workspace = with_features(copy_of(finished, tmp_path_factory.mktemp("history")), "history")
    make_stages(
        (
            FeatureShards(workspace, HOST),
            *(TrainedCheckpoint(workspace, HOST, *model) for model in MODELS),
            *(EvaluationReport(workspace, HOST, *model) for model in MODELS),
        )
    )
    return workspace


def test_the_setting_makes_stale_what_reads_features_and_nothing_else(finished: Workspace) -> None:
    before = {a.key: a.state for a in survey(finished, (HOST,))}
    after = {a.key: a for a in survey(with_features(finished, "history"), (HOST,))}

    turned = {key for key, state in before.items() if after[key].state != state}
    assert before["dataset/feature_shards"] == "up to date"
    assert turned == {
        "dataset/feature_shards",
        *(
            f"model/{a}/{v}/{p}"
            for a in ("gbt", "mlp")
            for v in ("realistic", "oracle")
            for p in ("checkpoint", "eval_report")
        ),
        "model/leaderboard",
    }
    assert "history_schema was absent" in str(after["dataset/feature_shards"].difference)


@pytest.mark.parametrize(("architecture", "variant"), MODELS, ids=str)
def test_a_checkpoint_of_history_restores_exports_and_predicts_as_stored(
    run: Workspace, tmp_path: Path, architecture: Architecture, variant: Variant
) -> None:
    stage = TrainedCheckpoint(run, HOST, architecture, variant)
    checkpoint = stage.load()
    assert checkpoint.schema.kind == checkpoint.calibrator.kind == "history"
    assert checkpoint.golden.inputs.shape[1:] == (406,)

    windows = load_windows(stage.dataset.open(), Side.TEST, checkpoint.calibrator)
    stored = EvaluationReport(run, HOST, architecture, variant).predictions().filter(side="test")
    said = restore(checkpoint).predict_windows(windows)
    np.testing.assert_array_equal(said, probabilities(stored))

    differences = export_checkpoint(stage.folder, tmp_path / "model.onnx")["differences"]
    assert max(differences.values()) < 1e-5


def test_a_live_device_says_what_the_predictions_files_say(run: Workspace) -> None:
    # A checkpoint of summaries beside two of history, as a bundle may hold them.
    folders = [run.paths.checkpoint("host", f"{a}_{v}") for a, v in MODELS]
    loaded = load_models([*folders, run.paths.checkpoint("host", "gbt_oracle")])
    frames = {f"{a}_{v}": EvaluationReport(run, HOST, a, v).predictions() for a, v in MODELS}
    of_test = frames["gbt_realistic"].filter(side="test")
    host, episode_id = of_test.select("host_id", "episode_id").row(0)

    reports = replayed(EpisodeRef(host, episode_id), loaded.models, loaded.check)

    assert {m.calibrator.kind for m in loaded.models} == {"summary", "history"}
    for name, frame in frames.items():
        of_episode = frame.filter(pl.col("episode_id") == episode_id).sort("window_idx")
        said = [out.probabilities for r in reports for out in r.outputs if out.model == name]
        wanted = of_episode.select("^p_.*$").to_numpy()
        np.testing.assert_allclose(np.array(said), wanted, rtol=0, atol=2e-6)


def test_episodes_cut_again_give_the_stored_predictions_to_the_bit(run: Workspace) -> None:
    robustness = Robustness(run, HOST)
    (chunk,) = robustness._chunks(robustness._drawn()[0], {})
    checkpoints = {a: TrainedCheckpoint(run, HOST, a, v).load() for a, v in MODELS}
    models = [(str(a), restore(c), c.calibrator) for a, c in checkpoints.items()]

    found = robustness.predictions(models, chunk, scenarios=())[UNPERTURBED.name]

    for architecture, variant in MODELS:
        stored = EvaluationReport(run, HOST, architecture, variant).predictions()
        of_test = probabilities(stored.filter(side="test"))
        np.testing.assert_array_equal(found[str(architecture)], of_test.argmax(axis=1))


def test_probes_read_the_statistics_of_history_as_those_of_summaries(
    finished: Workspace, run: Workspace
) -> None:
    of_summary, of_history = RecipeProbes(finished, HOST), RecipeProbes(run, HOST)

    assert of_history.summaries.kind == "history"
    assert of_history.calibrator.digest == of_summary.calibrator.digest
    for zeros in (False, True):
        observed = [
            np.concatenate(list(probes.observed(Side.VAL, zeros=zeros)))
            for probes in (of_summary, of_history)
        ]
        np.testing.assert_array_equal(*observed)
    calibrated = [
        np.concatenate(list(probes.calibrated(Side.TEST))) for probes in (of_summary, of_history)
    ]
    assert calibrated[0].tobytes() == calibrated[1].tobytes()


def test_the_probe_of_the_gauges_history_is_the_same_whatever_features_models_read(
    finished: Workspace, run: Workspace
) -> None:
    of_summary, of_history = RecipeProbes(finished, HOST), RecipeProbes(run, HOST)

    assert of_summary.history_calibrator.digest == of_history.history_calibrator.digest
    for side in Side.TRAIN, Side.TEST:
        cut, read = (
            np.concatenate(list(probes.calibrated(side, "history")))
            for probes in (of_summary, of_history)
        )
        assert cut.tobytes() == read.tobytes()


def test_a_model_of_summaries_still_loads_and_reads_a_dataset_of_history(
    finished: Workspace, run: Workspace
) -> None:
    older = TrainedCheckpoint(finished, HOST, *MODELS[0])
    checkpoint = older.load()
    windows = load_windows(FeatureShards(run, HOST).open(), Side.TEST, checkpoint.calibrator)

    said = restore(checkpoint).predict_windows(windows)

    stored = EvaluationReport(finished, HOST, *MODELS[0]).predictions().filter(side="test")
    np.testing.assert_array_equal(said, probabilities(stored))
    with pytest.raises((CheckpointError, SchemaMismatchError), match="history"):
        TrainedCheckpoint(with_features(finished, "history"), HOST, *MODELS[0]).load()


def test_the_python_api_names_the_calibrated_columns(run: Workspace) -> None:
    side = load_dataset(run, "host", "val", kind="history")

    assert side.X.shape[1] == len(side.names) == 406
    assert side.names[:2] == ("guest.cpu_user:mean", "guest.cpu_user:std")
    assert side.names[12:14] == ("guest.cpu_user:since_10s", "guest.cpu_user:since_20s")


def test_one_episode_extracted_alone_is_the_datasets(run: Workspace, tmp_path: Path) -> None:
    files = sorted(FeatureShards(run, HOST).folder.glob("*.parquet"))
    host, episode_id = pl.read_parquet(files).select("host_id", "episode_id").row(0)
    extract_single(run, f"{host}/{episode_id}", Variant.ORACLE, tmp_path / "one.npz")
    found = arrays_in(tmp_path / "one.npz")

    stored = pl.read_parquet(files).filter(episode_id=episode_id).sort("window_idx")
    wanted = stored.select(found["history_names"].tolist()).to_numpy()
    np.testing.assert_array_equal(found["history"], wanted)


def test_a_bundle_holds_models_of_history_and_of_summaries(run: Workspace, tmp_path: Path) -> None:
    names = ("gbt_realistic", "mlp_realistic", "gbt_oracle")

    write_bundle(tmp_path / "bundle", [run.paths.checkpoint("host", name) for name in names])

    models = load_bundle(tmp_path / "bundle").loaded.models
    assert {model.name: model.calibrator.kind for model in models} == {
        "gbt_realistic": "history",
        "mlp_realistic": "history",
        "gbt_oracle": "summary",
    }


def test_a_dashboards_producers_read_models_of_both_kinds_from_a_dataset_of_history(
    run: Workspace, tmp_path: Path
) -> None:
    places = Places.of("host", data_folder=copy_of(run, tmp_path).paths.root)
    stored = {}
    for name in ("gbt_realistic", "mlp_realistic", "gbt_oracle"):
        path = places.artifacts / name / "predictions.parquet"
        stored[name] = read_predictions(path.parent)
        path.unlink()

    events = MetricEvents(Scores(places)).make()

    failed = {event.model for event in events if isinstance(event, ModelFailure)}
    assert failed.isdisjoint(stored)
    for name, frame in stored.items():
        again = read_predictions(places.artifacts / name)
        np.testing.assert_allclose(probabilities(again), probabilities(frame), atol=2e-6)
    (mlp,) = load_models([places.artifacts / "mlp_realistic"]).runnable
    fit_map(mlp, places.artifacts / mlp.name, places.summary)
    assert measure(mlp, 3).n == 3


def test_the_ablation_trains_on_the_summaries_in_a_dataset_of_history(
    finished: Workspace, run: Workspace
) -> None:
    setting = (CalibrationMode.EPISODE_BASELINE, GaugeTreatment.RECORDED, Scaling.TRAIN)

    frames = [
        CalibrationAblation(workspace, HOST)._predictions(
            setting, host_records(workspace, HOST), pl.lit(True)
        )
        for workspace in (finished, run)
    ]

    assert frames[0].equals(frames[1])
