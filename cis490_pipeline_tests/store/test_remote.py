import errno
import pickle
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from cis490_pipeline.compute import SerialCompute
from cis490_pipeline.domain import Address, EpisodeRef
from cis490_pipeline.errors import StoreError
from cis490_pipeline.storage.remote_folder import Entry, RemoteFolder
from cis490_pipeline.store.receiver import LocalStore, ReceiverStore
from cis490_pipeline.store.receiver_index import LeftOut
from cis490_pipeline.store.remote import RemoteStore, open_store
from cis490_pipeline.store.verdicts.sweep import SweepResult, comparable, sweep
from cis490_pipeline.store.verdicts.validate import validate_episode
from cis490_pipeline_tests.experiment.runs import SIX, copy_store
from cis490_pipeline_tests.remotes import counted_requests, replace, upload
from cis490_pipeline_tests.store.episodes import (
    OTHER_REF,
    REF,
    MadeEpisode,
    make_meta,
    write_index,
)

ULID = "01M81BARRCN7QZCM8VAFDHK0R"


@pytest.fixture
def scratch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where temporary folders are made, to see what becomes of them."""
    folder = tmp_path / "scratch"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


@pytest.fixture
def local(tmp_path: Path) -> LocalStore:
    """A sealed archive, an unpacked folder with a folder in it, one that is gone, one not known."""
    root = tmp_path / "store"
    folder = MadeEpisode(OTHER_REF, meta=make_meta(OTHER_REF))
    folder.raw = {"notes.txt": b"x" * 5000}
    gone, unknown = EpisodeRef("lab-nuc", f"{ULID}Q"), EpisodeRef("lab-nuc", f"{ULID}R")
    lost = MadeEpisode(gone, meta=make_meta(gone))
    rows = [MadeEpisode().write(root), folder.write_folder(root), lost.write(root)]
    LocalStore(root).archive_path(gone).unlink()
    nested = root / "episodes" / OTHER_REF.host_id / OTHER_REF.episode_id / "more"
    nested.mkdir()
    (nested / "inside").write_bytes(b"1")
    MadeEpisode(unknown, meta=make_meta(unknown)).write(root)
    (root / "episodes" / "lab-nuc" / f"{ULID}S").write_bytes(b"neither archive nor folder")
    (root / "episodes" / "lab-nuc" / "README").write_bytes(b"no episode")
    write_index(root, rows, extra="no index row\n")
    return LocalStore(root)


@pytest.fixture
def memory_store(local: LocalStore, memory_place: Address) -> RemoteStore:
    upload(local.root, memory_place)
    return RemoteStore(memory_place)


def swept(store: ReceiverStore, previous: pl.DataFrame | None = None) -> SweepResult:
    return sweep(store, previous, SerialCompute())


def listed(monkeypatch: pytest.MonkeyPatch, *entries: tuple[str, int]) -> None:
    """Have every folder elsewhere list these names and sizes, and nothing be read from there."""
    files = {f"episodes/{name}": Entry(size, "1") for name, size in entries}
    files["episodes"] = files["episodes/lab-nuc"] = Entry(1, "1")
    monkeypatch.setattr(RemoteFolder, "find", lambda self, below: files)
    monkeypatch.setattr(RemoteFolder, "entry", lambda self, name: None)


def test_a_place_is_opened_as_what_it_is(tmp_path: Path) -> None:
    assert isinstance(open_store(tmp_path), LocalStore)
    store = open_store(Address("s3", "lab/store"))
    assert isinstance(store, RemoteStore)
    assert store.name == "s3://lab/store"


def test_a_store_elsewhere_gets_the_verdicts_of_the_same_store_here(
    local: LocalStore, memory_store: RemoteStore, scratch: Path
) -> None:
    here, there = swept(local), swept(memory_store)

    assert comparable(there.frame).equals(comparable(here.frame))
    assert there.frame.height == 5
    assert there.skipped_index_rows == here.skipped_index_rows != LeftOut()
    assert list(scratch.iterdir()) == []


@pytest.mark.long
def test_workers_read_a_store_in_s3_by_the_environment_alone(
    bucket: Address, tmp_path: Path
) -> None:
    local = copy_store(tmp_path / "store", SIX)
    upload(local.root, bucket)
    places = ["--store", str(bucket), "--data", str(tmp_path / "data")]
    export = tmp_path / "verdicts.parquet"
    output = ["--workers", "2", "--export", str(export)]

    # A process of its own: workers have the environment that the first of them was started with.
    subprocess.run(
        [sys.executable, "-m", "cis490_pipeline", "validate", *places, *output],
        check=True,
        capture_output=True,
        timeout=100,
    )

    assert pl.read_parquet(export).equals(comparable(swept(local).frame))


def test_an_unchanged_store_in_s3_is_listed_and_not_read(
    bucket: Address, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    upload(copy_store(tmp_path / "store", SIX).root, bucket)
    first = swept(RemoteStore(bucket))

    with counted_requests(monkeypatch) as seen:
        again = swept(RemoteStore(bucket), first.frame)

    assert (first.n_read, again.n_read, again.n_reused) == (len(SIX), 0, len(SIX))
    # One listing, and the index, which is read again.
    assert {method for method, key in seen if "index.jsonl" not in key} == {"list_objects_v2"}
    assert sum(n for (method, _), n in seen.items() if method == "list_objects_v2") == 1
    assert seen["get_object", "index.jsonl"] == 1


def test_only_what_changed_is_read_again(
    local: LocalStore, memory_store: RemoteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = swept(memory_store)
    name = f"episodes/{REF.host_id}/{REF.episode_id}.tar.zst"
    replace(memory_store.address, name, b"torn")
    fetched: list[str] = []
    fetch = RemoteFolder.fetch

    def noted(self: RemoteFolder, name: str, target: Path, **rest: Any) -> None:
        fetched.append(name)
        fetch(self, name, target, **rest)

    monkeypatch.setattr(RemoteFolder, "fetch", noted)
    now = RemoteStore(memory_store.address)
    again = swept(now, first.frame)

    assert fetched == ["index.jsonl", name]
    assert again.n_read == 1
    assert again.frame.filter(episode_id=REF.episode_id)["reasons"].to_list() == [
        ["sha256_mismatch"]
    ]
    assert now.listing_digest() != memory_store.listing_digest()
    assert now.listing_digest() == RemoteStore(memory_store.address).listing_digest()


def test_a_network_that_fails_for_one_episode_leaves_the_others_their_verdict(
    memory_store: RemoteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = swept(memory_store)
    fetch = RemoteFolder.fetch

    def fail_for_one(self: RemoteFolder, name: str, target: Path, **rest: Any) -> None:
        if name.endswith(f"{REF.episode_id}.tar.zst"):
            raise OSError(errno.ETIMEDOUT, "no answer")
        fetch(self, name, target, **rest)

    with monkeypatch.context() as patched:
        patched.setattr(RemoteFolder, "fetch", fail_for_one)
        failed = swept(memory_store)

    one = pl.col("episode_id") == REF.episode_id
    assert failed.frame.filter(one)["status"].to_list() == ["errored"]
    assert "no answer" in failed.frame.filter(one)["details"].item()[0]
    assert comparable(failed.frame.filter(~one)).equals(comparable(whole.frame.filter(~one)))
    again = swept(memory_store, failed.frame)
    assert again.n_read == 1
    assert comparable(again.frame).equals(comparable(whole.frame))


def test_an_archive_over_the_limit_is_not_fetched(monkeypatch: pytest.MonkeyPatch) -> None:
    listed(monkeypatch, (f"{REF.host_id}/{REF.episode_id}.tar.zst", 10 << 30))

    verdict = validate_episode(RemoteStore(Address("memory", "nothing")), REF, None)

    assert verdict["status"] == "rejected"
    assert verdict["reasons"] == ["member_too_large", "not_indexed"]


def test_members_over_the_limits_or_never_read_are_not_fetched(
    monkeypatch: pytest.MonkeyPatch, scratch: Path
) -> None:
    """Sizes as a hostile listing gives them: to fetch one of them would be an error."""
    folder = f"{REF.host_id}/{REF.episode_id}"
    names = [(f"{folder}/extra-{n:04d}", 1 << 20) for n in range(1500)]
    listed(monkeypatch, (f"{folder}/meta.json", 10 << 30), *names)

    verdict = validate_episode(RemoteStore(Address("memory", "nothing")), REF, None)

    assert verdict["status"] == "rejected"
    assert "member_too_large" in verdict["reasons"]
    assert any("more than 1000 entries" in told for told in verdict["details"])
    assert list(scratch.iterdir()) == []


def test_no_name_of_an_object_leaves_the_temporary_folder(
    monkeypatch: pytest.MonkeyPatch, scratch: Path
) -> None:
    folder = f"{REF.host_id}/{REF.episode_id}"
    hostile = ["../../escape", "/etc/escape", "..", ".", "a\0b", "a\\b", "x" * 300, "\ud800", "//x"]
    safe = ["sub/../../escape", "sub", "notes\x1b[31m"]
    entries = [(f"{folder}/{name}", 1) for name in (*hostile, *safe)]
    listed(monkeypatch, *entries, ("../../up/escape", 1), (f"../{REF.episode_id}.tar.zst", 1))
    made: list[Path] = []

    store = RemoteStore(Address("memory", "nothing"))
    with store.reading(REF) as reading:
        assert reading.path is not None
        made = sorted(path for path in scratch.rglob("*"))
        inside = {path.name for path in reading.path.iterdir()}
        assert set(made) == {reading.path.parent, reading.path, *reading.path.iterdir()}
    assert inside == {"sub", "notes\x1b[31m"}
    assert list(store.listed()) == [REF]
    verdict = validate_episode(store, REF, None)

    assert "unsafe_member" in verdict["reasons"]
    assert list(scratch.iterdir()) == []
    assert not list(scratch.parent.rglob("escape"))


def test_an_endless_line_of_the_index_is_skipped(memory_store: RemoteStore) -> None:
    content = b"x" * 200_000 + b"\n"
    replace(memory_store.address, "index.jsonl", content)

    index = RemoteStore(memory_store.address).read_index()

    assert not index.rows
    assert index.skipped.first[0].startswith("index.jsonl line 1: ")
    assert all(len(told) < 300 for told in index.skipped.first)


def test_a_store_without_an_index_has_no_rows_and_none_at_all_is_refused(
    memory_place: Address, local: LocalStore
) -> None:
    with pytest.raises(StoreError, match=f"{memory_place}: no such store"):
        RemoteStore(memory_place).read_index()
    local.index_path.unlink()
    upload(local.root, memory_place)

    store = RemoteStore(memory_place)
    assert store.read_index().rows == {}
    assert [store.has(ref) for ref in store.episodes()] == [True, True, True, False]


def test_who_needs_some_episodes_is_sent_their_listing_alone(memory_store: RemoteStore) -> None:
    part = pickle.loads(pickle.dumps(memory_store.only([REF])))

    assert list(part.listed()) == [REF]
    assert part.stamps(REF) == memory_store.stamps(REF)
    assert len(pickle.dumps(memory_store)) < 500
