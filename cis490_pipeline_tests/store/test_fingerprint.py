import pickle
import shutil
from pathlib import Path

import pytest

from cis490_pipeline.domain import Address
from cis490_pipeline.errors import StoreError
from cis490_pipeline.store.fingerprint import StoreFingerprint
from cis490_pipeline.store.receiver import LocalStore
from cis490_pipeline.store.remote import RemoteStore


def store_of(folder: Path, *lines: str) -> LocalStore:
    folder.mkdir()
    if lines:
        (folder / "index.jsonl").write_text("".join(f"{line}\n" for line in lines))
    return LocalStore(folder)


def test_a_store_that_grows_is_the_same_and_another_is_not(tmp_path: Path) -> None:
    store = store_of(tmp_path / "lab", '{"n": 1}')
    seen = StoreFingerprint(store)()
    copied = tmp_path / "copied"
    shutil.copytree(store.root, copied)
    with (copied / "index.jsonl").open("a") as index:
        index.write('{"n": 2}\n')

    assert StoreFingerprint(LocalStore(copied))() == seen
    assert StoreFingerprint(store_of(tmp_path / "other", '{"n": 2}'))() != seen


def test_an_empty_mount_is_neither_a_store_with_nor_one_without_index(tmp_path: Path) -> None:
    indexed = store_of(tmp_path / "indexed", '{"n": 1}')
    bare = store_of(tmp_path / "bare")
    (bare.root / "episodes" / "h1" / "01M90000000000000000000000").mkdir(parents=True)
    empty = store_of(tmp_path / "empty")

    assert len({StoreFingerprint(store)() for store in (indexed, bare, empty)}) == 3


def test_no_store_is_told(tmp_path: Path) -> None:
    sight = StoreFingerprint(LocalStore(tmp_path / "nowhere"))

    with pytest.raises(StoreError, match="no such store"):
        sight()
    assert str(sight) == str(tmp_path / "nowhere")


def test_it_travels_to_a_worker_and_sees_a_store_at_an_address(tmp_path: Path) -> None:
    local = store_of(tmp_path / "lab", '{"n": 1}')
    remote = RemoteStore(Address("file", str(local.root)))

    sight = pickle.loads(pickle.dumps(StoreFingerprint(remote)))

    assert sight() == StoreFingerprint(local)()
    assert str(sight) == f"file://{local.root}"
