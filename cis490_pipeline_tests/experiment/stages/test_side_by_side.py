"""Stages made at the same time: what they leave, what is heard of them, and what a fault costs."""

import os
import signal
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from cis490_pipeline.config import Settings
from cis490_pipeline.domain import Recipe
from cis490_pipeline.errors import TrainingError, WorkerDiedError
from cis490_pipeline.experiment.pipeline.training import SERIAL_WINDOWS, TrainedCheckpoint
from cis490_pipeline.experiment.stages.make import made_keys, make_stages
from cis490_pipeline.experiment.stages.side_by_side import Planned
from cis490_pipeline.experiment.stages.stage import StageOutput
from cis490_pipeline.experiment.stages.workspace import Workspace
from cis490_pipeline.storage.files import file_sha256, read_json, write_json
from cis490_pipeline_tests.experiment.runs import FAST, copy_of
from cis490_pipeline_tests.experiment.stages.parts import TextStage

FAULTY = "faulty"
KILLED = "killed"


class Part(TextStage):
    """A file with the number of the process that wrote it, unless a file says otherwise."""

    group = "parts"

    def at_once(self) -> int:
        return self.workspace.settings.parallel_models

    def inputs(self) -> dict[str, str] | None:
        return {}

    def make(self) -> StageOutput:
        self.workspace.progress(f"make {self.key}", 1, 1)
        if (self.workspace.paths.root / f"{self.key}.{FAULTY}").exists():
            raise TrainingError(f"{self.key} cannot be made")
        if (self.workspace.paths.root / f"{self.key}.{KILLED}").exists():
            os.kill(os.getpid(), signal.SIGKILL)
        self.path.write_text(str(os.getpid()))
        return StageOutput(file_sha256(self.path), (self.path,))


@dataclass
class Parts:
    root: Path
    heard: set[str]
    announced: list[str]
    all: list[Part]

    def spoil(self, key: str, how: str) -> Path:
        path = self.root / f"{key}.{how}"
        path.touch()
        return path

    def recorded(self) -> list[str]:
        return [part.key for part in self.all if part.record() is not None]


@pytest.fixture
def parts(tmp_path: Path) -> Parts:
    heard, announced = set[str](), list[str]()

    def listen(what: str, done: int, total: int, detail: str = "") -> None:
        heard.add(what)

    settings = Settings(data=tmp_path / "data", store=tmp_path, parallel_models=2)
    workspace = Workspace(settings, listen, lambda result: announced.append(result.record.key))
    (tmp_path / "data").mkdir()
    return Parts(
        tmp_path / "data", heard, announced, [Part(workspace, key) for key in ("a", "b", "c")]
    )


def test_other_processes_make_what_this_one_records_and_hears_of(parts: Parts) -> None:
    outcomes = make_stages(parts.all)

    assert made_keys(outcomes) == ["a", "b", "c"]
    assert sorted(parts.announced) == parts.recorded() == ["a", "b", "c"]
    assert parts.heard == {"make a", "make b", "make c"}
    writers = {int(part.path.read_text()) for part in parts.all}
    assert os.getpid() not in writers
    assert made_keys(make_stages(parts.all)) == []


def test_a_run_that_asks_one_by_one_gets_what_was_made_with_the_first(parts: Parts) -> None:
    workspace = parts.all[0].workspace.with_plan(Planned(parts.all))
    first, *others = (Part(workspace, part.key) for part in parts.all)

    assert made_keys(make_stages((first,))) == ["a"]
    assert parts.recorded() == ["a", "b", "c"]
    assert made_keys(make_stages((others[0],)) + make_stages((others[1],))) == ["b", "c"]
    assert made_keys(make_stages((first, *others))) == []


def test_a_fault_of_one_leaves_the_others_made(parts: Parts) -> None:
    fault = parts.spoil("a", FAULTY)

    with pytest.raises(TrainingError, match=r"^a cannot be made$"):
        make_stages(parts.all)
    assert parts.recorded() == ["b", "c"]
    fault.unlink()

    assert made_keys(make_stages(parts.all)) == ["a"]


def test_a_killed_process_is_one_error_and_the_rest_is_made_by_the_next_call(parts: Parts) -> None:
    fault = parts.spoil("c", KILLED)

    with pytest.raises(
        WorkerDiedError, match=r"killed while (. and )?.*c of host were made"
    ) as died:
        make_stages(parts.all)
    assert "--parallel-models" in str(died.value)
    assert "c" not in parts.recorded()
    fault.unlink()

    make_stages(parts.all)
    assert parts.recorded() == ["a", "b", "c"]


@pytest.mark.long
def test_models_trained_at_the_same_time_have_the_bytes_of_those_trained_in_order(
    finished: Workspace, tmp_path: Path
) -> None:
    copied = copy_of(finished, tmp_path)
    workspace = Workspace(replace(copied.settings, parallel_models=2))
    before, after = (
        [TrainedCheckpoint(of, Recipe.HOST, *model) for model in FAST]
        for of in (finished, workspace)
    )
    made = make_stages(after, force=True)

    assert [outcome.why for outcome in made] == ["forced"] * len(FAST)
    for one, other in zip(before, after, strict=True):
        # With a digest of each file: weights, golden vectors, calibration, ONNX, manifest.
        assert without_seconds(other) == without_seconds(one)


def without_seconds(stage: TrainedCheckpoint) -> dict[str, Any]:
    return {**read_json(stage.record_path), "seconds": None}


def test_few_windows_are_trained_on_in_order_and_many_by_processors_and_memory(
    finished: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from cis490_pipeline.experiment.pipeline import training

    stage = TrainedCheckpoint(copy_of(finished, tmp_path), Recipe.HOST, *FAST[0])
    assert stage.at_once() == 1
    path = stage.dataset.record_path
    record = read_json(path)
    record["numbers"]["windows_train"] = SERIAL_WINDOWS
    write_json(path, record)

    monkeypatch.setattr(training, "available_processors", lambda: 8)
    monkeypatch.setattr(training, "memory_bytes", lambda: 5 * training.PROCESS_BYTES)
    assert stage.at_once() == 5
    monkeypatch.setattr(training, "memory_bytes", lambda: 50 * training.PROCESS_BYTES)
    assert stage.at_once() == 8
    on_gpu = replace(stage.workspace.settings, models={"gru": {"device": "auto"}})
    assert TrainedCheckpoint(Workspace(on_gpu), Recipe.HOST, *FAST[0]).at_once() == 1
    monkeypatch.setattr(training, "memory_bytes", lambda: 0)
    assert stage.at_once() == 1
