"""What a step logs and records of a stage, on an artefact of a few bytes."""

import pytest

from cis490_pipeline.config import Settings
from cis490_pipeline.domain import Recipe
from cis490_pipeline.experiment.pipeline.dataset import RecipeStage
from cis490_pipeline.experiment.stages.stage import StageOutput
from cis490_pipeline.experiment.stages.workspace import Workspace
from cis490_pipeline.orchestration.assets.recording import group_of, recipe_asset, shown
from cis490_pipeline.orchestration.runtime import step_log
from cis490_pipeline_tests.orchestration.making import materialize_assets


class Note(RecipeStage):
    """A file that holds a text."""

    key = "dataset/note"
    text = "a"

    def inputs(self):
        return {"text": self.text}

    def make(self):
        path = self.workspace.paths.root / "note.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(self.text)
        self.workspace.progress("write letters", 1, 2, "a first one")
        return StageOutput(self.text, (path,), {"mean": 2 / 3, "lost": None})


note = recipe_asset(Note.key, Note, deps=[], kinds=set(), code_version="1", description="A note.")


@pytest.fixture
def make(tmp_path, instance):
    """Materialize the note; return its metadata and what the step logged."""
    workspace = Workspace(Settings(data=tmp_path / "data", store=tmp_path, seed=7))

    def run():
        made = materialize_assets([note], workspace, instance, str(Recipe.HOST))
        assert made.success
        (event,) = made.get_asset_materialization_events()
        logged = instance.all_logs(made.run_id)
        lines = [entry.user_message for entry in logged if entry.dagster_event is None]
        return {k: v.value for k, v in event.materialization.metadata.items()}, lines

    return run


def test_a_step_logs_why_it_makes_and_that_it_made(make):
    metadata, lines = make()

    assert lines == ["dataset/note (host): never made", "dataset/note (host): made in 0 s"]
    assert metadata["made_because"] == "never made"


def test_what_changed_is_named_with_its_value_before_and_now(make, monkeypatch):
    make()
    monkeypatch.setattr(Note, "text", "b")
    metadata, lines = make()

    assert metadata["made_because"] == "changed: text; text was 'a', is 'b'"
    assert lines[0] == "dataset/note (host): changed: text; text was 'a', is 'b'"


def test_what_is_up_to_date_says_so_and_took_no_time(make):
    make()
    metadata, lines = make()

    assert metadata["made_because"] == "up to date: not made again"
    assert metadata["seconds"] == 0.0
    assert lines[-1] == "dataset/note (host): up to date: not made again"


def test_progress_is_in_the_log_of_the_step(make, monkeypatch):
    monkeypatch.setattr(step_log, "EVERY_S", 0.0)
    _, lines = make()

    assert lines[1:-1] == [
        "make dataset/note: begun 0 s ago, never made",
        "write letters: 1 of 2, begun 0 s ago, a first one",
        "make dataset/note: done 0 s ago, never made",
    ]


def test_numbers_have_three_digits_and_come_with_seed_and_commit(make):
    metadata, _ = make()

    assert metadata["mean"] == 0.667
    assert "lost" not in metadata
    assert metadata["seed"] == 7
    assert metadata["commit"]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.123456, 0.123),
        (1234.56789, 1234.568),
        (0.00012345, 0.000123),
        (-0.00012345, -0.000123),
        (0.0, 0.0),
        (12345678, 12345678),
        (True, True),
        ("1.23456", "1.23456"),
        (float("inf"), float("inf")),
    ],
)
def test_a_number_is_shown_to_three_digits(value, text):
    assert shown({"x": value}) == {"x": text}


@pytest.mark.parametrize(
    ("key", "group"),
    [
        ("corpus/grid_shards", "corpus"),
        ("dataset/tensor_shards", "dataset"),
        ("model/gru/oracle/checkpoint", "gru"),
        ("model/gru/oracle/eval_report", "gru"),
        ("model/leaderboard", "comparison"),
        ("model/ablation", "comparison"),
    ],
)
def test_an_architecture_is_a_group_of_its_own(key, group):
    assert group_of(key) == group
