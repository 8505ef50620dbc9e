import hashlib
import math
import pickle
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import fsspec
import pytest

from cis490_pipeline.domain import Address
from cis490_pipeline.errors import ChangedMeanwhileError, ConfigError, StoreError
from cis490_pipeline.storage import remote_folder
from cis490_pipeline.storage.remote_folder import Entry, RemoteFolder
from cis490_pipeline_tests.remotes import contents, replace


def entry_of(folder: RemoteFolder, name: str) -> Entry:
    entry = folder.entry(name)
    assert entry is not None
    return entry


def put(folder: RemoteFolder, name: str, content: bytes, tmp_path: Path) -> Entry:
    path = tmp_path / "to-put"
    path.write_bytes(content)
    folder.put(name, path)
    return entry_of(folder, name)


def test_what_was_put_is_listed_and_fetched(place: Address, tmp_path: Path) -> None:
    folder = RemoteFolder(place)
    for name, content in {"a/b/one": b"1", "a/two": b"22", "other": b"333"}.items():
        put(folder, name, content, tmp_path)

    listed = folder.find("a")

    assert {name: entry.size for name, entry in listed.items()} == {"a/b/one": 1, "a/two": 2}
    assert listed["a/two"] == folder.entry("a/two")
    assert folder.entry("a/none") is None
    assert folder.find("none") == {}
    target = tmp_path / "copies" / "two"
    folder.fetch("a/two", target, entry=listed["a/two"], sha256=hashlib.sha256(b"22").hexdigest())
    assert target.read_bytes() == b"22"
    assert contents(place).keys() == {"a/b/one", "a/two", "other"}


def test_large_files_come_in_pieces(
    memory_place: Address, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(remote_folder, "_PIECE", 10)
    folder = RemoteFolder(memory_place)
    content = bytes(range(35))
    entry = put(folder, "x", content, tmp_path)

    assert [len(piece) for piece in folder.pieces("x", entry.size)] == [10, 10, 10, 5]
    assert folder.read("x", entry) == content


def test_damage_of_the_same_size_is_refused_and_never_seen(place: Address, tmp_path: Path) -> None:
    folder = RemoteFolder(place)
    sha256 = hashlib.sha256(b"whole").hexdigest()
    put(folder, "x", b"whole", tmp_path)
    replace(place, "x", b"wh0le")
    target = tmp_path / "copies" / "x"

    with pytest.raises(StoreError, match="its record says"):
        folder.fetch("x", target, entry=entry_of(folder, "x"), sha256=sha256)

    assert list(target.parent.iterdir()) == []


@pytest.mark.parametrize("now", [b"longer than it was", b"short"])
def test_a_file_that_changed_its_size_is_an_error_of_io(
    place: Address, tmp_path: Path, now: bytes
) -> None:
    folder = RemoteFolder(place)
    listed = put(folder, "x", b"as listed", tmp_path)
    replace(place, "x", now)

    with pytest.raises(OSError, match="was replaced while it was being read"):
        folder.fetch("x", tmp_path / "copy", entry=listed)


def test_only_the_file_that_was_looked_at_is_replaced(place: Address, tmp_path: Path) -> None:
    folder = RemoteFolder(place)
    folder.put_if_unchanged("r/record", b"one", None)
    first = entry_of(folder, "r/record")
    folder.put_if_unchanged("r/record", b"two", first.stamp)

    with pytest.raises(ChangedMeanwhileError):
        folder.put_if_unchanged("r/record", b"mine", first.stamp)
    with pytest.raises(ChangedMeanwhileError):
        folder.put_if_unchanged("r/record", b"mine", None)

    assert contents(place) == {"r/record": b"two"}


def test_s3_itself_refuses_a_writer_that_comes_second(
    bucket: Address, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = RemoteFolder(bucket)
    folder.put_if_unchanged("record", b"one", None)
    stamp = entry_of(folder, "record").stamp
    replace(bucket, "record", b"two")
    # Whatever a look just before would have said.
    monkeypatch.setattr(folder, "entry", lambda name: Entry(3, stamp))

    with pytest.raises(ChangedMeanwhileError):
        folder.put_if_unchanged("record", b"mine", stamp)


def test_a_put_that_fails_leaves_the_old_file_and_nothing_beside_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = Address("file", str(tmp_path / "elsewhere"))
    folder = RemoteFolder(place)
    put(folder, "x", b"old", tmp_path)

    def fail(source: str, target: str, **_: Any) -> None:
        Path(target).write_bytes(b"ha")
        raise OSError("the cable")

    monkeypatch.setattr(folder._fs, "put_file", fail)
    with pytest.raises(OSError, match="the cable"):
        folder.put("x", tmp_path / "to-put")

    assert contents(place) == {"x": b"old"}


def test_what_a_backend_calls_its_faults_is_an_error_of_io_that_names_the_place(
    memory_place: Address, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = RemoteFolder(memory_place)

    def fail(*_: Any, **__: Any) -> None:
        raise RuntimeError("no route")

    monkeypatch.setattr(folder._fs, "find", fail)
    with pytest.raises(OSError, match=f"RuntimeError: no route: '{memory_place}/a'"):
        folder.find("a")


def test_a_missing_package_is_told_with_what_brings_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(*_: Any, **__: Any) -> None:
        raise ImportError("Install s3fs to access S3")

    monkeypatch.setattr(fsspec, "filesystem", missing)

    with pytest.raises(ConfigError, match=r"pip install 'cis490_pipeline\[s3\]'"):
        RemoteFolder(Address("s3", "lab")).find("")
    with pytest.raises(ConfigError, match="gs:// is not installed; Install s3fs"):
        RemoteFolder(Address("gs", "lab")).find("")


def test_an_unknown_protocol_is_told() -> None:
    with pytest.raises(ConfigError, match=r"nosuch://lab: Protocol not known"):
        RemoteFolder(Address("nosuch", "lab")).find("")


def test_no_connection_crosses_processes(memory_place: Address) -> None:
    folder = RemoteFolder(memory_place)
    folder.find("")

    sent = pickle.dumps(folder)

    assert len(sent) < 300
    assert pickle.loads(sent).address == memory_place


@pytest.mark.parametrize(
    ("told", "written_s"),
    [
        ({"LastModified": datetime(2026, 11, 22, 20, 0, tzinfo=UTC)}, 1795377600.0),
        (
            {"last_modified": datetime(2026, 11, 22, 21, 0, tzinfo=timezone(timedelta(hours=1)))},
            1795377600.0,
        ),
        ({"created": datetime(2026, 11, 22, 20, 0)}, 1795377600.0),
        ({"mtime": 1795377600.0, "created": 1.0}, 1795377600.0),
        ({"updated": "2026-11-22T20:00:00Z"}, 1795377600.0),
        ({"updated": "yesterday"}, None),
        ({"mtime": None}, None),
        ({}, None),
    ],
)
def test_the_time_of_writing_is_read_as_each_file_system_tells_it(
    told: dict[str, Any],
    written_s: float | None,
    memory_place: Address,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    folder = RemoteFolder(memory_place)
    info = {"name": "x", "type": "file", "size": 3, **told}
    monkeypatch.setattr(folder._fs, "info", lambda _: info)

    assert entry_of(folder, "x").written_s == written_s


def test_a_file_is_removed_and_one_that_is_gone_is_no_error(place: Address) -> None:
    folder = RemoteFolder(place)
    folder.put_if_unchanged("r/record", b"one", None)

    folder.remove("r/record")
    folder.remove("r/record")

    assert folder.find("r") == {}


@pytest.mark.parametrize("size", [-1, None, True, 1.0, "1", 2**63])
def test_size_that_is_none_makes_no_plain_file(size: object) -> None:
    entry = remote_folder._entry({"type": "file", "size": size, "mtime": 1.0})

    assert (entry.size, entry.is_plain) == (0, False)


@pytest.mark.parametrize("time", [math.nan, math.inf, -1.0, 0, 1e300, "yesterday"])
def test_time_that_is_none_is_not_known(time: object) -> None:
    assert remote_folder._entry({"type": "file", "size": 1, "mtime": time}).written_s is None
