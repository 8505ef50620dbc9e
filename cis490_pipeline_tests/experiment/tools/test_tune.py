from dataclasses import replace
from pathlib import Path

import pytest

from cis490_pipeline.domain import Architecture, Recipe, Side, Variant
from cis490_pipeline.errors import ConfigError, PipelineError, TrainingError
from cis490_pipeline.experiment.pipeline.training import TrainedCheckpoint
from cis490_pipeline.experiment.stages.workspace import Workspace
from cis490_pipeline.experiment.tools import tune as module
from cis490_pipeline.experiment.tools.tune import tune
from cis490_pipeline.models.search import SPACES, Range
from cis490_pipeline.models.trees.gbt import Gbt
from cis490_pipeline_tests.experiment.runs import copy_of


@pytest.fixture
def stage(finished: Workspace, tmp_path: Path) -> TrainedCheckpoint:
    return TrainedCheckpoint(
        copy_of(finished, tmp_path), Recipe.HOST, Architecture.GBT, Variant.REALISTIC
    )


@pytest.fixture
def quick(stage: TrainedCheckpoint) -> TrainedCheckpoint:
    """The same stage with trees that are quick to grow; its checkpoint is another model's."""
    settings = replace(stage.workspace.settings, models={"gbt": {"max_rounds": 5}})
    return TrainedCheckpoint(Workspace(settings), stage.recipe, stage.architecture, stage.variant)


@pytest.fixture(autouse=True)
def small_space(monkeypatch: pytest.MonkeyPatch) -> None:
    space = {"max_depth": Range(3, 8), "eta": Range(0.02, 0.2, log=True)}
    monkeypatch.setitem(SPACES, Architecture.GBT, space)  # type: ignore[misc]


@pytest.mark.long
def test_the_first_trial_is_the_default_model(stage: TrainedCheckpoint) -> None:
    record = stage.record()
    assert record is not None

    found = tune(stage, n_trials=1)

    # XGBoost passes scores on as text with six digits.
    assert found.default_val_macro_f1 == pytest.approx(record.numbers["val_macro_f1"], abs=1e-6)
    assert found.best_val_macro_f1 == found.default_val_macro_f1
    assert (found.best, found.n_finished) == ({}, 1)
    assert (found.n_val_episodes, found.n_val_windows) == (7, 78)


@pytest.mark.long
def test_a_search_goes_on_where_it_stopped(quick: TrainedCheckpoint) -> None:
    first = tune(quick, n_trials=2)
    trained = []

    def fit(self: Gbt, *args: object, **kwargs: object) -> None:
        trained.append(self.settings)
        raise TrainingError("by hand")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Gbt, "fit", fit)
        second = tune(quick, n_trials=3)
        third = tune(quick, n_trials=3)

    assert first.n_finished == 2
    assert len(trained) == 1
    assert (second.n_finished, second.n_failed) == (2, 1)
    assert second.best_val_macro_f1 == first.best_val_macro_f1
    assert third == second
    assert 3 <= trained[0]["max_depth"] <= 8


def test_the_test_side_stays_closed(
    quick: TrainedCheckpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = []
    load = module.load_windows

    def watched(dataset, side, calibrator):  # type: ignore[no-untyped-def]
        opened.append(side)
        return load(dataset, side, calibrator)

    monkeypatch.setattr(module, "load_windows", watched)
    before = (quick.folder / "predictions.json").read_bytes()

    tune(quick, n_trials=1)

    assert opened == [Side.TRAIN, Side.VAL]
    assert (quick.folder / "predictions.json").read_bytes() == before


def test_the_same_seed_draws_the_same_settings(quick: TrainedCheckpoint) -> None:
    first = tune(quick, n_trials=3)
    Path(first.journal).unlink()
    second = tune(quick, n_trials=3)

    assert second == first


def test_a_search_in_which_nothing_trains_is_one_clear_error(
    stage: TrainedCheckpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fit(self: Gbt, *args: object, **kwargs: object) -> None:
        raise TrainingError("by hand")

    monkeypatch.setattr(Gbt, "fit", fit)

    with pytest.raises(PipelineError, match="none of 2 trials finished"):
        tune(stage, n_trials=2)


@pytest.mark.long
def test_settings_of_an_architecture_train_another_model_and_are_saved_with_it(
    stage: TrainedCheckpoint,
) -> None:
    settings = replace(stage.workspace.settings, models={"gbt": {"max_depth": 3}})
    other = TrainedCheckpoint(Workspace(settings), stage.recipe, stage.architecture, stage.variant)

    assert stage.outdated() is None
    assert other.outdated() == "changed: training"
    other.ensure()
    assert other.load().config["max_depth"] == 3


def test_a_setting_the_architecture_does_not_have_is_refused_by_name(
    stage: TrainedCheckpoint,
) -> None:
    settings = replace(stage.workspace.settings, models={"gbt": {"depth": 3}})
    other = TrainedCheckpoint(Workspace(settings), stage.recipe, stage.architecture, stage.variant)

    with pytest.raises(ConfigError, match="unknown setting 'depth'"):
        other.ensure()
