"""What the recorder shows in a recipe's episodes: from which sides, scored on which controls."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import polars as pl
import pytest

from cis490_pipeline.config import Settings
from cis490_pipeline.domain import CHANNELS, EpisodeRef, Recipe
from cis490_pipeline.evaluation.schema.controls import Controls
from cis490_pipeline.experiment.pipeline import controls as module
from cis490_pipeline.experiment.pipeline import recordings
from cis490_pipeline.experiment.pipeline.controls import recipe_controls
from cis490_pipeline.experiment.pipeline.corpus import corpus_stages
from cis490_pipeline.experiment.pipeline.dataset import ValidationIndex
from cis490_pipeline.experiment.stages.workspace import Workspace
from cis490_pipeline.store.episode import load_episode
from cis490_pipeline_tests.experiment.tools.recorded import (
    control,
    predictions_of,
    write_controls,
)

HOSTS = ("kiosk", "camera", "gateway")
"""Of train, val and test."""


def opened(folder: Path, episodes: list[Any]) -> Workspace:
    write_controls(folder / "store", episodes)
    settings = Settings(store=folder / "store", data=folder / "data", workers=1)
    workspace = Workspace(replace(settings, train_hosts=HOSTS[:1], val_hosts=HOSTS[1:2]))
    for stage in (*corpus_stages(workspace), ValidationIndex(workspace, Recipe.HOST)):
        stage.ensure()
    return workspace


@pytest.fixture(scope="module")
def episodes() -> list[Any]:
    """Nine controls, in which one channel steps."""
    return [control(k, HOSTS[k % 3], pages=3) for k in range(9)]


@pytest.fixture(scope="module")
def recorded(episodes: list[Any], tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    return opened(tmp_path_factory.mktemp("recorded"), episodes)


@pytest.fixture(scope="module")
def predictions(episodes: list[Any]) -> dict[str, pl.DataFrame]:
    return {"gbt_realistic": pl.concat(map(predictions_of, episodes))}


def test_steps_are_of_train_and_val_and_models_are_scored_on_val_and_test(
    recorded: Workspace, predictions: dict[str, pl.DataFrame], monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded: set[str] = set()

    def seen(store: Any, ref: EpisodeRef, row: Any) -> Any:
        loaded.add(ref.host_id)
        return load_episode(store, ref, row)

    monkeypatch.setattr(recordings, "load_episode", seen)

    found = recipe_controls(recorded, Recipe.HOST, predictions)

    steps, (score,) = found["steps"], found["models"]
    assert steps is not None
    assert msgspec.convert(found, Controls) == found
    assert loaded == {"kiosk", "camera"} == set(found["hosts"])
    assert steps["controls_by_host"] == {"camera": 3, "kiosk": 3}
    assert [of["channel"] for of in steps["quarantined"]] == ["guest.top_rss_bytes"]
    assert [row["channel"] for row in steps["rows"]] == [channel.name for channel in CHANNELS]
    p = {row["channel"]: row["p_holm"] for row in steps["rows"]}["guest.top_rss_bytes"]
    assert p is not None
    assert p <= steps["level"]
    assert (score["model"], score["n_controls"], score["macro_f1"]) == ("gbt_realistic", 6, 1.0)
    assert [of["why"] for of in found["blocks"]] == [
        "1 blocks of 5 episodes with clean windows, two are needed"
    ] * 2


def test_notes_of_another_form_cost_that_episode_and_not_the_leaderboard(tmp_path: Path) -> None:
    episodes = [control(k, host) for k, host in enumerate(HOSTS)]
    foreign = episodes[1]
    foreign.meta["recording"] = {"block": "first"}

    found = recipe_controls(opened(tmp_path, episodes), Recipe.HOST, {})

    assert found["n_episodes"] == 1
    assert "`recording` of another form" in found["unreadable"][str(foreign.ref)]


def test_a_control_with_a_label_other_than_clean_is_none(
    recorded: Workspace, predictions: dict[str, pl.DataFrame], monkeypatch: pytest.MonkeyPatch
) -> None:
    every = module._clean_only(recorded)
    monkeypatch.setattr(module, "_clean_only", lambda _: set(sorted(every)[1:3]))

    found = recipe_controls(recorded, Recipe.HOST, predictions)

    # The second and third are of the hosts of val and test.
    assert len(every) == 9
    assert [score["n_controls"] for score in found["models"]] == [2]


def test_of_more_episodes_some_are_drawn_by_the_seed(
    recorded: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MAX_EPISODES", 2)

    sides, n_in_all = module._drawn(recorded, Recipe.HOST)

    assert (len(sides), n_in_all) == (2, 9)
    assert module._drawn(recorded, Recipe.HOST)[0] == sides


def test_a_store_that_is_gone_is_the_reason(recorded: Workspace, tmp_path: Path) -> None:
    gone = Workspace(replace(recorded.settings, store=tmp_path / "gone"))

    found = recipe_controls(gone, Recipe.HOST, {})

    assert found["steps"] is None
    assert (found["why"] or "").startswith("the store cannot be read: ")
