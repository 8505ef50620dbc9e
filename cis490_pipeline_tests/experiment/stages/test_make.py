"""The one way to make stages, on stages of a few bytes whose checks a test decides."""

from dataclasses import dataclass, field
from pathlib import Path

import pytest

from cis490_pipeline.config import Settings
from cis490_pipeline.domain import Recipe
from cis490_pipeline.errors import DatasetError, GateError
from cis490_pipeline.experiment.stages import gates
from cis490_pipeline.experiment.stages.make import made_keys, make_stages
from cis490_pipeline.experiment.stages.stage import Stage, StageOutput, StageResult
from cis490_pipeline.experiment.stages.workspace import Workspace
from cis490_pipeline.experiment.upkeep.checks import Check, Finding
from cis490_pipeline.storage.files import file_sha256
from cis490_pipeline_tests.experiment.stages.parts import TextStage


class Part(TextStage):
    """A file that repeats the digest of what lies above it."""

    def __init__(self, workspace: Workspace, key: str, *above: "Part") -> None:
        super().__init__(workspace, key)
        self._above = above

    def above(self) -> tuple[Stage, ...]:
        return self._above

    def inputs(self) -> dict[str, str] | None:
        records = {part.key: part.record() for part in self._above}
        found = {key: record.digest for key, record in records.items() if record is not None}
        return found if len(found) == len(records) else None

    def make(self) -> StageOutput:
        self.path.write_text(str(self.inputs()))
        return StageOutput(file_sha256(self.path), (self.path,))


@dataclass
class Judge:
    """Decides what the one check of each part finds, and counts how often it was asked."""

    faulty: set[str] = field(default_factory=set)
    asked: list[str] = field(default_factory=list)

    def checks_of(self, stage: Stage) -> list[Check]:
        def run(workspace: Workspace, recipe: Recipe) -> Finding:
            self.asked.append(stage.key)
            return Finding(stage.key not in self.faulty, f"{stage.key} is rotten")

        return [Check(stage.key, "is_fresh", "It is fresh.", run)]


@dataclass
class Line:
    """Three parts, each made of the one before."""

    workspace: Workspace
    announced: list[StageResult] = field(default_factory=list)
    reported: list[tuple[str, int, int, str]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.workspace = self.workspace.with_listeners(
            lambda *of: self.reported.append(of), self.announced.append
        )
        self.first = Part(self.workspace, "first")
        self.second = Part(self.workspace, "second", self.first)
        self.third = Part(self.workspace, "third", self.second)
        self.all = (self.first, self.second, self.third)


@pytest.fixture
def judge(monkeypatch: pytest.MonkeyPatch) -> Judge:
    judge = Judge()
    monkeypatch.setattr(gates, "checks_of", judge.checks_of)
    return judge


@pytest.fixture
def line(tmp_path: Path) -> Line:
    return Line(Workspace(Settings(data=tmp_path / "data", store=tmp_path)))


ROTTEN = "^first: check is_fresh failed: first is rotten$"


def test_stages_are_made_in_order_and_announced_once_they_are_there(
    line: Line, judge: Judge
) -> None:
    outcomes = make_stages(line.all)

    assert line.announced == outcomes
    assert [outcome.why for outcome in outcomes] == ["never made"] * 3
    assert made_keys(outcomes) == ["first", "second", "third"]
    assert made_keys(make_stages(line.all)) == []
    assert [found.why for found in line.announced[3:]] == ["up to date"] * 3


def test_making_and_each_check_are_reported_as_progress(line: Line, judge: Judge) -> None:
    make_stages((line.first, line.second))

    assert [(what, done) for what, done, _, _ in line.reported] == [
        ("make first", 0),
        ("make first", 1),
        ("check first", 0),
        ("check first", 1),
        ("make second", 0),
        ("make second", 1),
        ("check second", 0),
        ("check second", 1),
    ]
    assert {(of[0], of[3]) for of in line.reported} > {
        ("make first", "never made"),
        ("check first", "is_fresh"),
    }


def test_nothing_is_made_beyond_a_check_that_fails(line: Line, judge: Judge) -> None:
    judge.faulty = {"first"}

    with pytest.raises(GateError, match=ROTTEN):
        make_stages(line.all)

    assert line.first.record() is not None
    assert line.second.record() is None


@pytest.mark.parametrize("attempt", range(3))
def test_a_gate_holds_in_every_later_call_whatever_that_makes(
    line: Line, judge: Judge, attempt: int
) -> None:
    judge.faulty = {"first"}
    with pytest.raises(GateError, match=ROTTEN):
        make_stages(line.all)

    for stages in (line.all, (line.first,), (line.second,)) * (attempt + 1):
        with pytest.raises(GateError, match=ROTTEN):
            make_stages(stages)
    assert line.second.record() is None


def test_a_gate_above_what_was_made_before_holds_what_is_up_to_date_too(
    line: Line, judge: Judge
) -> None:
    make_stages(line.all)
    judge.faulty = {"first"}
    line.first.path.touch()

    for _ in range(2):
        with pytest.raises(GateError, match=ROTTEN):
            make_stages((line.third,))


def test_a_gate_opens_once_its_cause_is_gone(line: Line, judge: Judge) -> None:
    judge.faulty = {"first"}
    with pytest.raises(GateError, match=ROTTEN):
        make_stages(line.all)
    judge.faulty = set()

    assert made_keys(make_stages(line.all)) == ["second", "third"]


def test_a_check_that_passed_is_asked_again_only_once_something_it_reads_was_touched(
    line: Line, judge: Judge
) -> None:
    make_stages(line.all)
    assert judge.asked == ["first", "second", "third"]
    make_stages(line.all)
    assert len(judge.asked) == 3
    line.second.path.touch()
    make_stages(line.all)

    # The third reads the second; the first knows neither.
    assert judge.asked[3:] == ["second", "third"]


def test_a_check_that_failed_is_always_asked_again(line: Line, judge: Judge) -> None:
    judge.faulty = {"first"}
    for _ in range(3):
        with pytest.raises(GateError, match=ROTTEN):
            make_stages((line.first,))

    assert judge.asked == ["first"] * 3


@pytest.mark.parametrize(
    ("name", "value"), [("CHECKS_VERSION", "next"), ("library_versions", lambda: {"torch": "9"})]
)
def test_a_pass_of_another_code_is_not_believed(
    line: Line, judge: Judge, name: str, value: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_stages((line.first,))
    monkeypatch.setattr(gates, name, value)
    make_stages((line.first,))

    assert judge.asked == ["first", "first"]


def test_a_damaged_note_of_passes_counts_for_nothing(line: Line, judge: Judge) -> None:
    make_stages((line.first,))
    note = line.first.record_path.with_suffix(".passed")
    note.write_bytes(note.read_bytes()[:-3])
    make_stages((line.first,))

    assert judge.asked == ["first", "first"]


def test_unchecked_leaves_out_the_checks_of_what_is_made_and_not_those_above(
    line: Line, judge: Judge
) -> None:
    judge.faulty = {"first"}
    make_stages((line.first,), checked=False)

    assert judge.asked == []
    with pytest.raises(GateError, match=ROTTEN):
        make_stages((line.second,), checked=False)


def test_what_was_never_made_has_no_check_and_is_named_when_it_is_missing(
    line: Line, judge: Judge
) -> None:
    judge.faulty = {"first"}

    with pytest.raises(DatasetError, match="make first first"):
        make_stages((line.second,))


def test_forced_stages_are_made_and_asked_again(line: Line, judge: Judge) -> None:
    make_stages((line.first,))
    outcomes = make_stages((line.first,), force=True)

    assert [outcome.why for outcome in outcomes] == ["forced"]
    assert judge.asked == ["first", "first"]
