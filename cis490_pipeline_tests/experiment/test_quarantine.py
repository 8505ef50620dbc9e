"""A run with a channel in quarantine: stale checkpoints, models, live, probes, provenance."""

from dataclasses import replace

import numpy as np
import polars as pl
import pytest
import xgboost

from cis490_pipeline.domain import Architecture, EpisodeRef, Recipe, Side, Variant
from cis490_pipeline.experiment.leaderboard import Leaderboard
from cis490_pipeline.experiment.pipeline.evaluation import EvaluationReport
from cis490_pipeline.experiment.pipeline.host_identity import host_identity
from cis490_pipeline.experiment.pipeline.probes import RecipeProbes
from cis490_pipeline.experiment.pipeline.training import TrainedCheckpoint
from cis490_pipeline.experiment.stages.make import make_stages
from cis490_pipeline.experiment.stages.workspace import Workspace
from cis490_pipeline.experiment.upkeep.checks import fitted_on_train
from cis490_pipeline.experiment.upkeep.stale import survey
from cis490_pipeline.features.channels import channel_names
from cis490_pipeline.features.summary import summary_columns
from cis490_pipeline.live.loading import load_models
from cis490_pipeline.reporting.page.words import provenance_text
from cis490_pipeline_tests.experiment.runs import copy_of
from cis490_pipeline_tests.live.test_parity import replayed

HOST = Recipe.HOST
CHANNEL = "guest.top_rss_bytes"
QUARANTINE = {CHANNEL: "steps at shams of controls"}
MODELS = ((Architecture.GBT, Variant.REALISTIC), (Architecture.MLP, Variant.REALISTIC))
COLUMNS = summary_columns(np.array([channel_names(Variant.REALISTIC).index(CHANNEL)]))


def with_quarantine(workspace: Workspace, quarantine: dict[str, str]) -> Workspace:
    return Workspace(replace(workspace.settings, quarantine=quarantine))


@pytest.fixture(scope="module")
def run(finished: Workspace, tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """The finished run, with two models trained again, shortly, without a channel."""
    copy = with_quarantine(copy_of(finished, tmp_path_factory.mktemp("quarantine")), QUARANTINE)
    models = {"gbt": {"max_rounds": 20}, "mlp": {"max_epochs": 2}}
    workspace = Workspace(replace(copy.settings, models=models))
    make_stages(
        (
            *(TrainedCheckpoint(workspace, HOST, *model) for model in MODELS),
            *(EvaluationReport(workspace, HOST, *model) for model in MODELS),
        )
    )
    return workspace


def test_the_setting_makes_stale_what_is_learnt_and_no_data(finished: Workspace) -> None:
    before = {a.key: a.state for a in survey(finished, (HOST,))}
    after = {a.key: a for a in survey(with_quarantine(finished, QUARANTINE), (HOST,))}

    turned = {key for key, state in before.items() if after[key].state != state}
    models = [f"model/{a}/{v}" for a in ("gbt", "mlp") for v in ("realistic", "oracle")]
    parts = [f"{model}/{part}" for model in models for part in ("checkpoint", "eval_report")]
    assert turned == {*parts, "model/leaderboard"}
    checkpoint = after["model/gbt/realistic/checkpoint"]
    assert checkpoint.why == "changed: quarantine"
    assert checkpoint.difference == f"quarantine was empty, is {CHANNEL}"


def test_another_reason_changes_no_model(run: Workspace) -> None:
    other = with_quarantine(run, {CHANNEL: "another reason"})

    for model in MODELS:
        assert EvaluationReport(other, HOST, *model).current() is not None
    one, two = (Leaderboard(workspace, HOST).inputs() for workspace in (run, other))
    assert one is not None
    assert two is not None
    assert {name for name in one if one[name] != two[name]} == {"quarantine_reasons"}


def test_trees_and_check_have_nothing_of_the_channel(finished: Workspace, run: Workspace) -> None:
    def gains(workspace: Workspace) -> set[int]:
        checkpoint = TrainedCheckpoint(workspace, HOST, *MODELS[0]).load()
        booster = xgboost.Booster(model_file=bytearray(checkpoint.booster))
        return {int(name[1:]) for name in booster.get_score(importance_type="gain")}

    assert gains(finished) & set(COLUMNS)
    assert not gains(run) & set(COLUMNS)
    checkpoint = TrainedCheckpoint(run, HOST, *MODELS[0]).load()
    assert checkpoint.cleanliness is not None
    assert not checkpoint.cleanliness.weights[..., COLUMNS].any()
    assert np.isnan(checkpoint.golden.inputs[:, COLUMNS]).all()
    for model in MODELS:
        found = fitted_on_train(TrainedCheckpoint(run, HOST, *model))
        assert found.passed, found.text


def test_a_live_device_says_what_the_predictions_files_say(run: Workspace) -> None:
    loaded = load_models([run.paths.checkpoint("host", f"{a}_{v}") for a, v in MODELS])
    frames = {f"{a}_{v}": EvaluationReport(run, HOST, a, v).predictions() for a, v in MODELS}
    of_test = frames["gbt_realistic"].filter(side="test")
    host, episode_id = of_test.select("host_id", "episode_id").row(0)

    reports = replayed(EpisodeRef(host, episode_id), loaded.models, loaded.check)

    for name, frame in frames.items():
        of_episode = frame.filter(pl.col("episode_id") == episode_id).sort("window_idx")
        said = [out.probabilities for r in reports for out in r.outputs if out.model == name]
        wanted = of_episode.select("^p_.*$").to_numpy()
        np.testing.assert_allclose(np.array(said), wanted, rtol=0, atol=2e-6)


def test_probes_do_not_see_it_either(finished: Workspace, run: Workspace) -> None:
    plain, blind = RecipeProbes(finished, HOST), RecipeProbes(run, HOST)

    for zeros, n in ((False, 28), (True, 56)):
        (before, after) = (
            np.concatenate(list(probes.observed(Side.VAL, zeros=zeros)))
            for probes in (plain, blind)
        )
        assert after.shape == (len(before), n)
        kept = np.tile(blind.calibrator.seen, 1 + zeros)
        np.testing.assert_array_equal(after, before[:, kept])
    calibrated = np.concatenate(list(blind.calibrated(Side.VAL)))
    assert np.isnan(calibrated[:, COLUMNS]).all()


@pytest.mark.long
def test_probes_learn_without_it(finished: Workspace, run: Workspace) -> None:
    before, _ = RecipeProbes(finished, HOST).predictions()
    probes = RecipeProbes(run, HOST)
    after, _ = probes.predictions()

    same = {name for name in before if before[name].equals(after[name])}
    assert same >= {"probe_majority", "probe_position"}
    assert "probe_drifting_gauges" not in same
    for name, frame in after.items():
        assert frame.select("^p_.*$").to_numpy().sum(axis=1) == pytest.approx(1), name
    assert len(host_identity(probes)["rows"]) == 2


def test_provenance_gives_the_reasons_where_there_are_any(
    finished: Workspace, run: Workspace
) -> None:
    assert "quarantined channels" not in Leaderboard(finished, HOST).provenance()

    shown = Leaderboard(run, HOST).provenance()["quarantined channels"]

    assert shown == QUARANTINE
    assert provenance_text(shown) == f"{CHANNEL} steps at shams of controls"
