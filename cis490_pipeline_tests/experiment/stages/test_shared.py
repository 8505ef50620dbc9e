import hashlib
import json
from collections.abc import Callable
from dataclasses import replace as changed
from pathlib import Path
from typing import Any, ClassVar

import polars as pl
import pytest

from cis490_pipeline.config import Settings
from cis490_pipeline.domain import Address, Recipe, Side
from cis490_pipeline.errors import DatasetError, StoreError
from cis490_pipeline.experiment.pipeline.corpus import GridShards, ValidationSweep, corpus_stages
from cis490_pipeline.experiment.pipeline.dataset import (
    FeatureShards,
    TensorShards,
    ValidationIndex,
    dataset_stages,
)
from cis490_pipeline.experiment.stages.gates import require_passed
from cis490_pipeline.experiment.stages.shared import MADE_BESIDE
from cis490_pipeline.experiment.stages.stage import Stage, StageOutput
from cis490_pipeline.experiment.stages.workspace import Workspace
from cis490_pipeline.features.grids import build as grids_module
from cis490_pipeline.features.grids.store import GridStore
from cis490_pipeline.storage.files import atomic_write, digest, file_sha256
from cis490_pipeline.storage.remote_copy import object_name
from cis490_pipeline.storage.remote_folder import RemoteFolder
from cis490_pipeline.store.receiver import LocalStore
from cis490_pipeline_tests.experiment.runs import SAMPLE, copy_store
from cis490_pipeline_tests.features.grids.changed import changed_shards
from cis490_pipeline_tests.remotes import contents, counted_requests, replace, upload

RECORD = "processed/records/corpus/made__up.json"


class Note(Stage):
    """Writes the given texts to files; its input is their digest."""

    key = "made/up"
    texts: ClassVar = {"processed/one.txt": "one", "processed/two.txt": "two"}
    version = "1"
    times_made = 0

    def inputs(self) -> dict[str, str]:
        return {"version": self.version}

    def make(self) -> StageOutput:
        self.times_made += 1
        root = self.workspace.paths.root
        for name, text in self.texts.items():
            content = f"{text} {self.version}".encode()
            atomic_write(root / name, lambda file, content=content: file.write(content))
        return StageOutput(digest(self.version), tuple(root / name for name in self.texts))

    def local(self) -> dict[str, str]:
        root = self.workspace.paths.root
        return {name: (root / name).read_text() for name in self.texts if (root / name).exists()}

    def brought(self) -> dict[str, str]:
        self.workspace.paths.fetch(self.workspace.paths.root / "processed")
        return self.local()


def machine(place: Address, cache: Path, version: str = "1") -> Note:
    """A run on the machine whose cache this is."""
    note = Note(Workspace(Settings(data=place, cache=cache, workers=1)))
    note.version = version
    return note


def test_another_machine_finds_everything_up_to_date(place: Address, tmp_path: Path) -> None:
    first, second = machine(place, tmp_path / "a"), machine(place, tmp_path / "b")
    first.ensure()

    outcome = second.ensure()

    assert (outcome.made, outcome.why, second.times_made) == (False, "up to date", 0)
    assert second.local() == {}
    assert second.brought() == first.local() == {n: f"{t} 1" for n, t in Note.texts.items()}
    assert second.altered() == []
    sha256 = {name: hashlib.sha256(f"{t} 1".encode()).hexdigest() for name, t in Note.texts.items()}
    assert contents(place).keys() == {RECORD, *(object_name(n, d) for n, d in sha256.items())}


@pytest.mark.parametrize("what", MADE_BESIDE)
def test_what_is_made_beside_the_leaderboard_is_found_by_its_path(
    memory_place: Address, tmp_path: Path, what: str
) -> None:
    class Beside(Note):
        scope = f"host_{what}"
        texts: ClassVar = {f"reports/host/{what}.json": "{}"}

    Beside(machine(memory_place, tmp_path / "a").workspace).ensure()

    other = machine(memory_place, tmp_path / "b").workspace
    path: Path = getattr(other.paths, what)("host")
    assert path.read_text() == "{} 1"


def test_a_newer_version_replaces_what_another_machine_has(place: Address, tmp_path: Path) -> None:
    machine(place, tmp_path / "a").ensure()
    machine(place, tmp_path / "b").brought()
    machine(place, tmp_path / "b", "2").ensure()

    assert machine(place, tmp_path / "a", "2").outdated() is None
    assert machine(place, tmp_path / "a").brought()["processed/one.txt"] == "one 2"


def test_killed_before_the_record_was_sent_the_old_version_is_whole(
    place: Address, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine(place, tmp_path / "a").ensure()
    killed = machine(place, tmp_path / "a", "2")
    with monkeypatch.context() as patched:
        patched.setattr(RemoteFolder, "put_if_unchanged", _fail)
        with pytest.raises(OSError, match="the cable"):
            killed.ensure()

    assert len(contents(place)) == 5  # the new files are there; nobody knows of them
    other = machine(place, tmp_path / "b")
    assert other.outdated() is None
    assert other.brought() == {name: f"{text} 1" for name, text in Note.texts.items()}


def test_what_could_not_be_sent_is_sent_the_next_time_and_not_made_again(
    place: Address, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(RemoteFolder, "put", _fail)
        with pytest.raises(OSError, match="the cable"):
            machine(place, tmp_path / "a").ensure()
    again = machine(place, tmp_path / "a")

    assert again.ensure().made
    assert again.times_made == 0
    assert machine(place, tmp_path / "b").brought() == again.local()
    assert machine(place, tmp_path / "a").ensure().why == "up to date"


def test_what_was_not_sent_is_made_again_if_its_inputs_or_files_are_others(
    place: Address, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(RemoteFolder, "put", _fail)
        with pytest.raises(OSError, match="the cable"):
            (failed := machine(place, tmp_path / "a")).ensure()
    (failed.workspace.paths.root / "processed/one.txt").write_text("xxx 1")
    again = machine(place, tmp_path / "a")
    again.ensure()

    assert again.times_made == 1
    assert machine(place, tmp_path / "b").brought()["processed/one.txt"] == "one 1"


def test_what_a_stage_removes_while_it_works_does_not_come_back(
    memory_place: Address, tmp_path: Path
) -> None:
    machine(memory_place, tmp_path / "a").ensure()
    later = machine(memory_place, tmp_path / "b", "2")
    make = later.make
    seen: list[dict[str, str]] = []

    def remove_first() -> StageOutput:
        seen.append(later.local())
        (later.workspace.paths.root / "processed/one.txt").unlink()
        seen.append(later.brought())
        return make()

    later.make = remove_first  # type: ignore[method-assign]
    later.ensure()

    # It begins with all of the old version at hand, to go on from.
    assert seen[0] == {name: f"{text} 1" for name, text in Note.texts.items()}
    assert seen[1].keys() == {"processed/two.txt"}


def _fail(*_: Any, **__: Any) -> None:
    raise OSError("the cable")


def test_of_two_machines_at_once_the_second_is_refused(place: Address, tmp_path: Path) -> None:
    machine(place, tmp_path / "a").ensure()
    slow = machine(place, tmp_path / "a", "slow")
    make = slow.make

    def meanwhile() -> StageOutput:
        machine(place, tmp_path / "b", "fast").ensure()
        return make()

    slow.make = meanwhile  # type: ignore[method-assign]
    with pytest.raises(DatasetError, match="another machine made made/up meanwhile"):
        slow.ensure()

    for cache in ("a", "b", "c"):
        assert machine(place, tmp_path / cache, "fast").outdated() is None
        assert machine(place, tmp_path / cache).brought()["processed/one.txt"] == "one fast"


def test_two_machines_that_made_the_same_agree(place: Address, tmp_path: Path) -> None:
    slow = machine(place, tmp_path / "a")
    make = slow.make

    def meanwhile() -> StageOutput:
        machine(place, tmp_path / "b").ensure()
        return make()

    slow.make = meanwhile  # type: ignore[method-assign]

    assert slow.ensure().made
    assert slow.record() == machine(place, tmp_path / "b").record()


def test_an_object_that_was_damaged_there_is_refused(place: Address, tmp_path: Path) -> None:
    made = machine(place, tmp_path / "a")
    record = made.ensure().record
    stored = object_name("processed/one.txt", record.sha256["processed/one.txt"])
    replace(place, stored, b"0ne 1")
    other = machine(place, tmp_path / "b")

    with pytest.raises(StoreError, match="it was damaged there"):
        other.brought()
    assert "processed/one.txt" not in other.local()

    replace(place, stored, b"another size")
    with pytest.raises(DatasetError, match="has 12 bytes, its record says 5 bytes"):
        machine(place, tmp_path / "b").brought()


def test_a_copy_that_was_damaged_here_is_fetched_again(place: Address, tmp_path: Path) -> None:
    machine(place, tmp_path / "a").ensure()
    other = machine(place, tmp_path / "b")
    other.brought()
    path = other.workspace.paths.root / "processed/one.txt"
    path.write_text("0ne 1")

    assert machine(place, tmp_path / "b").outdated() == "missing or altered: processed/one.txt"
    again = machine(place, tmp_path / "b")
    assert again.ensure().why == "up to date"
    assert again.brought()["processed/one.txt"] == "one 1"


def test_without_its_record_there_an_artefact_is_made_again(
    memory_place: Address, tmp_path: Path
) -> None:
    machine(memory_place, tmp_path / "a").ensure()
    RemoteFolder(memory_place)._fs.rm_file(f"{memory_place}/{RECORD}")
    again = machine(memory_place, tmp_path / "a")

    assert again.outdated() == "never made"
    assert again.ensure().made
    assert RECORD in contents(memory_place)


def test_the_cache_of_another_address_is_refused(memory_place: Address, tmp_path: Path) -> None:
    made = machine(memory_place, tmp_path / "a")
    made.ensure()
    marker = made.workspace.paths.root / "origin.json"
    assert json.loads(marker.read_bytes()) == {"address": str(memory_place)}
    marker.write_text('{"address": "s3://another"}')

    with pytest.raises(DatasetError, match="is the copy of another address"):
        machine(memory_place, tmp_path / "a").ensure()


def _renamed(name: str) -> Callable[[dict[str, Any]], None]:
    def spoil(record: dict[str, Any]) -> None:
        for table in ("files", "sha256"):
            record[table][name] = record[table].pop("processed/one.txt")

    return spoil


def _sized(record: dict[str, Any]) -> None:
    record["files"]["processed/one.txt"] = -1


def _unsealed(record: dict[str, Any]) -> None:
    del record["sha256"]["processed/one.txt"]


def _foreign(record: dict[str, Any]) -> None:
    record["key"] = "corpus/other"


@pytest.mark.parametrize(
    "spoil",
    [
        *map(
            _renamed,
            [
                "../escape",
                "/tmp/escape",
                "processed/../../escape",
                "processed//one",
                "processed/./one",
                "processed/a\x1b[31m",
                "processed/records/corpus/other.json",
                "dagster/dagster.yaml",
                "origin.json",
                "",
            ],
        ),
        _sized,
        _unsealed,
        _foreign,
    ],
)
def test_a_record_that_no_stage_wrote_is_refused(
    memory_place: Address, tmp_path: Path, spoil: Callable[[dict[str, Any]], None]
) -> None:
    machine(memory_place, tmp_path / "a").ensure()
    record = json.loads(contents(memory_place)[RECORD])
    spoil(record)
    replace(memory_place, RECORD, json.dumps(record).encode())
    other = machine(memory_place, tmp_path / "b")

    with pytest.raises(DatasetError, match=r"Remove it, and run again|wanted 'made/up'"):
        other.ensure()

    assert not list(tmp_path.rglob("escape*"))
    assert other.times_made == 0


def test_what_is_no_record_at_all_is_refused(memory_place: Address, tmp_path: Path) -> None:
    machine(memory_place, tmp_path / "a").ensure()
    replace(memory_place, RECORD, b"{")

    with pytest.raises(DatasetError, match="no record"):
        machine(memory_place, tmp_path / "b").ensure()


# The pipeline itself


def lab(store: Path | Address, data: Path | Address, cache: Path) -> Workspace:
    hosts = ("elliott-thinkpad",)
    return Workspace(Settings(store=store, data=data, cache=cache, workers=1, train_hosts=hosts))


def make_all(workspace: Workspace) -> list[bool]:
    stages = (*corpus_stages(workspace), *dataset_stages(workspace, Recipe.HOST))
    return [stage.ensure().made for stage in stages]


def digests(workspace: Workspace) -> dict[str, str]:
    stages = (*corpus_stages(workspace), *dataset_stages(workspace, Recipe.HOST))
    return {stage.key: record.digest for stage in stages if (record := stage.record())}


def shards(workspace: Workspace) -> set[str]:
    return {path.name for path in workspace.paths.root.rglob("shard-*.npy")}


@pytest.mark.long
def test_data_in_s3_are_those_made_here_and_another_machine_needs_make_none(
    bucket: Address, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, data = Address("s3", f"{bucket.path}/store"), Address("s3", f"{bucket.path}/data")
    upload(SAMPLE, store)
    here = lab(SAMPLE, tmp_path / "local", tmp_path)
    make_all(here)

    first = lab(store, data, tmp_path / "a")
    assert all(make_all(first))
    assert digests(first) == digests(here)

    second = lab(store, data, tmp_path / "b")
    with counted_requests(monkeypatch) as seen:
        assert not any(make_all(second))
    assert not [key for _, key in seen if key.endswith((".tar.zst", ".npy"))]
    assert shards(second) == set()
    require_passed(
        stage(second, Recipe.HOST) for stage in (ValidationIndex, FeatureShards, TensorShards)
    )
    frame = pl.read_parquet(second.paths.validation)
    assert frame.equals(pl.read_parquet(first.paths.validation))
    split = second.paths.split(Recipe.HOST)
    assert split.read_bytes() == first.paths.split(Recipe.HOST).read_bytes()
    grids = GridStore(GridShards(second).folder)
    assert changed_shards(grids) == []
    assert shards(second) == shards(first)


@pytest.mark.long
def test_a_night_later_only_what_is_new_is_sent_and_fetched_and_no_side_moves(
    memory_place: Address, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(grids_module, "SHARD_EPISODES", 12)
    recorded = list(LocalStore(SAMPLE).read_index().rows)
    early, late = recorded[:32], recorded[32:34]
    place = Address("memory", f"{memory_place.path}/data")
    store = copy_store(tmp_path / "store", early)
    first = lab(store.root, place, tmp_path / "a")
    make_all(first)
    reader = lab(store.root, place, tmp_path / "b")
    assert changed_shards(GridStore(GridShards(reader).folder)) == []
    before = shards(reader)
    sides = _sides(reader)
    copy_store(store.root, late)
    make_all(lab(store.root, place, tmp_path / "new"))

    fetched: list[str] = []
    fetch = RemoteFolder.fetch

    def noted(self: RemoteFolder, name: str, target: Path, **rest: Any) -> None:
        fetched.append(target.name)
        fetch(self, name, target, **rest)

    monkeypatch.setattr(RemoteFolder, "fetch", noted)
    after = lab(store.root, place, tmp_path / "b")
    assert not any(make_all(after))
    assert changed_shards(GridStore(GridShards(after).folder)) == []
    new = {name for name in fetched if name.startswith("shard-")}
    assert new == shards(after) - before
    assert len(new) == 1
    now = _sides(after)
    assert sides.items() <= now.items()
    assert len(now) == len(sides) + 2


def _sides(workspace: Workspace) -> dict[str, str]:
    index = pl.read_parquet(workspace.paths.validation_index(Recipe.HOST))
    assert set(index["side"]) >= {str(Side.TRAIN), str(Side.TEST)}
    return dict(index.select("episode_id", "side").iter_rows())


def test_settings_of_another_cache_change_no_digest(memory_place: Address, tmp_path: Path) -> None:
    note = machine(memory_place, tmp_path / "a")
    note.ensure()
    other = Note(Workspace(changed(note.workspace.settings, cache=tmp_path / "b")))

    assert other.record() == note.record()
    assert file_sha256(other.record_path) == file_sha256(note.record_path)
    assert ValidationSweep(other.workspace).record() is None
