import json
import time
from collections.abc import Iterable
from pathlib import Path
from typing import ClassVar

import fsspec
import pytest

from cis490_pipeline.domain import Address
from cis490_pipeline.errors import DatasetError
from cis490_pipeline.experiment.stages.shared import SharedData
from cis490_pipeline.experiment.stages.stage import StageOutput
from cis490_pipeline.experiment.upkeep import shared_gc
from cis490_pipeline.experiment.upkeep.gc import Collected
from cis490_pipeline.experiment.upkeep.shared_gc import collect_shared_garbage
from cis490_pipeline.storage.files import atomic_write, digest
from cis490_pipeline.storage.remote_copy import object_name, split_object_name
from cis490_pipeline.storage.remote_folder import Entry, RemoteFolder
from cis490_pipeline_tests.cli.runs import Cli
from cis490_pipeline_tests.experiment.stages.test_shared import RECORD, Note, machine
from cis490_pipeline_tests.remotes import contents, replace

SOMEBODYS = (
    "processed/notes.txt",
    "processed/calibrations/garage-pi.json",
    f"my/{object_name('processed/one.txt', 'a' * 64)}",
    f"processed/records/corpus/kept.{'a' * 64}.json.bak",
)


def shared(note: Note) -> SharedData:
    assert note.workspace.shared is not None
    return note.workspace.shared


def two_versions(place: Address, tmp_path: Path) -> set[str]:
    """Make a version and one after it; return the objects of the first."""
    machine(place, tmp_path / "a").ensure()
    first = contents(place).keys() - {RECORD}
    machine(place, tmp_path / "a", "2").ensure()
    return first


def write(place: Address, name: str, content: bytes = b"x") -> None:
    fs = fsspec.filesystem(place.protocol)
    fs.makedirs(f"{place}/{name}".rpartition("/")[0], exist_ok=True)
    fs.pipe_file(f"{place}/{name}", content)


def collect(
    place: Address, tmp_path: Path, days: float = 0.0, *, dry_run: bool = False
) -> Collected:
    note = machine(place, tmp_path / "gc", "2")
    return collect_shared_garbage(shared(note), older_than_days=days, dry_run=dry_run)


def names(found: Collected) -> set[str]:
    return {item.path for item in found.garbage}


def test_objects_that_no_record_names_go_and_nothing_else(place: Address, tmp_path: Path) -> None:
    older = two_versions(place, tmp_path)
    half_sent = "processed/.one.txt.0123456789ab.tmp"
    for name in (*SOMEBODYS, half_sent):
        write(place, name)
    before = contents(place)

    would_go = collect(place, tmp_path, dry_run=True)
    assert contents(place) == before
    found = collect(place, tmp_path)

    assert names(found) == names(would_go) == {*older, half_sent}
    assert found.n_bytes == sum(len(before[name]) for name in names(found))
    assert contents(place) == {n: c for n, c in before.items() if n not in names(found)}
    assert collect(place, tmp_path).garbage == []
    other = machine(place, tmp_path / "b", "2")
    assert other.brought() == {name: f"{text} 2" for name, text in Note.texts.items()}
    assert other.times_made == 0


def test_what_was_sent_a_short_while_ago_stays(place: Address, tmp_path: Path) -> None:
    older = two_versions(place, tmp_path)
    before = contents(place)

    found = collect(place, tmp_path, days=7)

    assert found.garbage == []
    assert found.spared == dict.fromkeys(sorted(older), "younger than 7 days")
    assert contents(place) == before


def test_what_tells_no_time_stays(
    memory_place: Address, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    older = two_versions(memory_place, tmp_path)
    find = RemoteFolder.find

    def timeless(self: RemoteFolder, below: str) -> dict[str, Entry]:
        return {name: Entry(e.size, e.stamp) for name, e in find(self, below).items()}

    monkeypatch.setattr(RemoteFolder, "find", timeless)

    found = collect(memory_place, tmp_path)

    assert found.garbage == []
    assert found.spared == dict.fromkeys(sorted(older), "its age is unknown")


def test_an_object_that_is_sent_again_meanwhile_stays(
    place: Address, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    older = two_versions(place, tmp_path)
    again = min(older)
    named = shared_gc._named

    def sent_meanwhile(data: SharedData, listed: Iterable[str]) -> set[str]:
        found = named(data, listed)
        # Of the same content S3's tag is the same, and its time is told by the second.
        time.sleep(1.1)
        replace(place, again, contents(place)[again])
        return found

    monkeypatch.setattr(shared_gc, "_named", sent_meanwhile)

    found = collect(place, tmp_path)

    assert names(found) == older - {again}
    assert found.spared == {again: "was rewritten meanwhile"}
    assert again in contents(place)


def test_while_a_record_cannot_be_read_nothing_goes(place: Address, tmp_path: Path) -> None:
    two_versions(place, tmp_path)
    write(place, "processed/records/host/made__up.json", b"{")
    before = contents(place)

    with pytest.raises(DatasetError, match=r"made__up\.json: no record"):
        collect(place, tmp_path)
    assert contents(place) == before


class Dataset(Note):
    """A dataset whose manifest names a shard that the grids' record no longer does."""

    shard = "shard-00000-0123456789ab.npy"
    manifest: ClassVar = {"grids_folder": "../../grids/0123", "shards": {shard: "b" * 64}}

    def make(self) -> StageOutput:
        path = self.workspace.paths.root / "processed/host/tensor_window_v1/manifest.json"
        text = json.dumps(self.manifest).encode()
        atomic_write(path, lambda file: file.write(text))
        return StageOutput(digest("x"), (path,))


def test_shards_that_a_datasets_manifest_names_stay(memory_place: Address, tmp_path: Path) -> None:
    Dataset(machine(memory_place, tmp_path / "a").workspace).ensure()
    kept = object_name(f"processed/grids/0123/{Dataset.shard}", "b" * 64)
    other = object_name(f"processed/grids/4567/{Dataset.shard}", "b" * 64)
    for name in (kept, other):
        write(memory_place, name)

    assert names(collect(memory_place, tmp_path)) == {other}
    assert kept in contents(memory_place)


class DatasetOfToday(Dataset):
    """A dataset that leaves it to its grids' manifest to name shards."""

    manifest: ClassVar = {"grids_folder": "../../grids/0123"}


def test_grids_of_an_earlier_schema_stay_while_a_dataset_is_read_from_them(
    memory_place: Address, tmp_path: Path
) -> None:
    DatasetOfToday(machine(memory_place, tmp_path / "a").workspace).ensure()
    kept = object_name(f"processed/grids/0123/{Dataset.shard}", "b" * 64)
    other = object_name(f"processed/grids/01234/{Dataset.shard}", "b" * 64)
    for name in (kept, other):
        write(memory_place, name)

    assert names(collect(memory_place, tmp_path)) == {other}


@pytest.mark.parametrize("content", [b"[1]", b'{"shards": 3}', b"{"])
def test_while_a_manifest_cannot_be_understood_nothing_goes(
    memory_place: Address, tmp_path: Path, content: bytes
) -> None:
    Dataset(machine(memory_place, tmp_path / "a").workspace).ensure()
    (manifest,) = (name for name in contents(memory_place) if "/manifest." in name)
    replace(memory_place, manifest, content)
    write(memory_place, object_name("processed/one.txt", "b" * 64))

    with pytest.raises(DatasetError, match=r"not a readable manifest .* nothing was removed"):
        collect(memory_place, tmp_path)
    assert object_name("processed/one.txt", "b" * 64) in contents(memory_place)


def test_the_command_cleans_the_copy_and_the_address(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    place = Address("file", str(tmp_path / "elsewhere"))
    older = two_versions(place, tmp_path)
    half = machine(place, tmp_path / "a", "2").workspace.paths.root / "processed"
    (half / ".one.txt.0123456789ab.tmp").write_bytes(b"x")
    cli = Cli(capsys, "--data", str(place), "--cache", str(tmp_path / "a"))

    told = cli("gc", "--older-than", "0", "--json").json

    assert {item["path"] for item in told["files"]} == {
        "processed/.one.txt.0123456789ab.tmp",
        *(f"{place}/{name}" for name in older),
    }
    assert contents(place).keys() & older == set()
    # A machine that has no copy yet cleans as well.
    other = Cli(capsys, "--data", str(place), "--cache", str(tmp_path / "new"))
    assert other("gc", "--older-than", "0", "--json").json["files"] == []


@pytest.mark.parametrize("name", ["reports/host/a.b.json", "artifacts/host/gru/checkpoint", "a/.x"])
def test_an_objects_name_splits_into_what_it_was_made_of(name: str) -> None:
    inside = f"processed/{name}"

    assert split_object_name(object_name(inside, "c" * 64)) == (inside, "c" * 64)
    assert split_object_name(inside) is None
    assert split_object_name(object_name(f"../{name}", "c" * 64)) is None
