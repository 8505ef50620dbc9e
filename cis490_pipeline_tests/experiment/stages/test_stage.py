import os
import threading
import time
from pathlib import Path

import pytest

from cis490_pipeline.config import Settings
from cis490_pipeline.errors import DatasetError
from cis490_pipeline.experiment.stages.stage import Stage, StageOutput
from cis490_pipeline.experiment.stages.workspace import Workspace
from cis490_pipeline.storage.files import atomic_write, file_sha256


class Copy(Stage):
    """Copies the file ``source``, if there is one, to ``copy``."""

    key = "made/up"
    upstream = ("first/this", "then/that")
    times_made = 0
    fails: Exception | None = None

    @property
    def source(self) -> Path:
        return self.workspace.paths.root / "source"

    @property
    def copy(self) -> Path:
        return self.workspace.paths.root / "copy"

    def inputs(self) -> dict[str, str] | None:
        return {"source": file_sha256(self.source)} if self.source.exists() else None

    def make(self) -> StageOutput:
        self.times_made += 1
        content = self.source.read_bytes()
        if self.fails is not None:
            raise self.fails
        atomic_write(self.copy, lambda stream: stream.write(content))
        return StageOutput(file_sha256(self.copy), (self.copy,), {"bytes": len(content)})


@pytest.fixture
def stage(tmp_path: Path) -> Copy:
    stage = Copy(Workspace(Settings(data=tmp_path)))
    stage.source.write_text("one")
    return stage


@pytest.fixture
def made(stage: Copy) -> Copy:
    stage.ensure()
    return stage


def test_first_time_it_is_made(stage: Copy) -> None:
    outcome = stage.ensure()

    assert (outcome.made, outcome.why) == (True, "never made")


def test_second_time_nothing_is_made(made: Copy) -> None:
    outcome = made.ensure()

    assert (outcome.made, outcome.why, made.times_made) == (False, "up to date", 1)


def test_forced_it_is_made_again(made: Copy) -> None:
    outcome = made.ensure(force=True)

    assert (outcome.made, outcome.why, made.times_made) == (True, "forced", 2)


def test_changed_input_is_named(made: Copy) -> None:
    made.source.write_text("two")

    assert made.ensure().why == "changed: source"


def test_what_is_outdated_is_not_current(made: Copy) -> None:
    made.source.write_text("two")

    assert made.current() is None


def test_missing_file_makes_it_outdated(made: Copy) -> None:
    made.copy.unlink()

    assert made.ensure().why == "missing or altered: copy"


def test_file_of_another_size_makes_it_outdated(made: Copy) -> None:
    made.copy.write_text("longer")

    assert made.outdated() == "missing or altered: copy"


def test_file_altered_at_the_same_size_makes_it_outdated(made: Copy) -> None:
    made.copy.write_text("ono")

    assert made.outdated() == "missing or altered: copy"


def test_file_copied_or_touched_is_still_up_to_date(made: Copy) -> None:
    later = time.time_ns() + 10**9
    os.utime(made.copy, ns=(later, later))

    assert made.outdated() is None


def test_altered_file_is_made_good(made: Copy) -> None:
    made.copy.write_text("ono")
    made.ensure()

    assert made.copy.read_text() == "one"


def test_killed_the_first_time_it_leaves_no_record(stage: Copy) -> None:
    stage.fails = RuntimeError("killed")

    with pytest.raises(RuntimeError, match="killed"):
        stage.ensure()
    assert (stage.record(), stage.outdated()) == (None, "never made")


def test_killed_later_it_leaves_the_record_and_the_artefact_before(made: Copy) -> None:
    before = made.record()
    made.source.write_text("two")
    made.fails = RuntimeError("killed")

    with pytest.raises(RuntimeError, match="killed"):
        made.ensure()
    assert (made.record(), made.copy.read_text()) == (before, "one")


def test_killed_it_is_made_by_the_next_run(made: Copy) -> None:
    made.source.write_text("two")
    made.fails = RuntimeError("killed")
    with pytest.raises(RuntimeError, match="killed"):
        made.ensure()
    made.fails = None

    assert made.ensure().why == "changed: source"


def test_input_that_changes_while_it_is_made_is_seen_the_next_time(
    stage: Copy, monkeypatch: pytest.MonkeyPatch
) -> None:
    make = stage.make

    def make_slowly() -> StageOutput:
        result = make()
        stage.source.write_text("two")
        return result

    monkeypatch.setattr(stage, "make", make_slowly)
    stage.ensure()

    assert stage.outdated() == "changed: source"


def test_without_its_input_it_says_what_to_make_first(stage: Copy) -> None:
    stage.source.unlink()

    with pytest.raises(DatasetError, match="make first/this and then/that first, or let `cis490"):
        stage.ensure()


def test_damaged_record_is_no_record(made: Copy) -> None:
    made.record_path.write_text('{"key": ')

    assert made.outdated() == "never made"


def test_two_at_once_make_it_once(stage: Copy) -> None:
    threads = [threading.Thread(target=stage.ensure) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert stage.times_made == 1


def test_record_names_files_relative_to_the_data_folder(made: Copy) -> None:
    record = made.record()

    assert record is not None
    assert (record.files, record.numbers) == ({"copy": 3}, {"bytes": 3})
