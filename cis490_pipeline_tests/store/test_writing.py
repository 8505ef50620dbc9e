import hashlib
import io
import json
import os
import subprocess
import sys
import tarfile

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from cis490_pipeline.domain import EpisodeRef, is_episode_id
from cis490_pipeline.errors import StoreError
from cis490_pipeline.store.receiver import LocalStore
from cis490_pipeline.store.writing import (
    commit_episode,
    index_archive,
    pack,
    random_part,
    ulid,
    writing_alone,
)

REF = EpisodeRef("pi", "01M818T3B21K3XM3WCNJE8F1GP")
OTHER = EpisodeRef("pi", "01M818T4B39PJZW8NHYYTV8VYM")
MEMBERS = {"meta.json": b"{}", "done.marker": b""}
RECEIVED = "2026-11-30T11:00:00.000000Z"


def commit(store, ref=REF):
    return commit_episode(store, ref, pack(MEMBERS), received_at_wall=RECEIVED, commit="c")


def test_a_committed_episode_is_indexed_with_its_digest(tmp_path):
    row = commit(tmp_path)
    path = tmp_path / "episodes" / "pi" / f"{REF.episode_id}.tar.zst"

    assert row["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()
    assert json.loads((tmp_path / "index.jsonl").read_text()) == row
    assert [*LocalStore(tmp_path).listed()] == [REF]


def test_equal_members_give_equal_bytes_in_their_order():
    content = zstandard.ZstdDecompressor().decompress(pack(MEMBERS))
    with tarfile.open(fileobj=io.BytesIO(content)) as tar:
        names = tar.getnames()

    assert names == [*MEMBERS]
    assert pack(MEMBERS) == pack(dict(MEMBERS))


def test_an_archive_is_never_replaced(tmp_path):
    commit(tmp_path)

    with pytest.raises(StoreError, match="an archive never changes"):
        commit(tmp_path)


# Dies like a process that is killed: no handler, no ``finally``, at the n-th system call of a kind.
KILLED = """
import os, sys
from pathlib import Path
from cis490_pipeline_tests.store.test_writing import commit
left = int(sys.argv[2])
def dying(call):
    def wrapped(*arguments, **named):
        global left
        left -= 1
        if left < 0:
            os._exit(9)
        return call(*arguments, **named)
    return wrapped
os.fsync, os.replace = dying(os.fsync), dying(os.replace)
Path.replace = dying(Path.replace)
commit(Path(sys.argv[1]))
"""


def test_killed_at_any_step_it_leaves_no_indexed_half(tmp_path):
    outcomes = []
    for step in range(20):
        store = tmp_path / str(step)
        store.mkdir()
        done = subprocess.run([sys.executable, "-c", KILLED, str(store), str(step)], check=False)
        index = LocalStore(store).read_index()
        listed = [*LocalStore(store).listed()]
        assert index.skipped.n == 0
        if REF in index.rows:
            archive = store / "episodes" / "pi" / f"{REF.episode_id}.tar.zst"
            assert index.rows[REF].sha256 == hashlib.sha256(archive.read_bytes()).hexdigest()
        outcomes.append((REF in index.rows, listed == [REF]))
        if done.returncode == 0:
            break

    # At least: nothing at all, an archive without a row, and both.
    assert {(False, False), (False, True), (True, True)} == {*outcomes}
    assert outcomes[-1] == (True, True)


def test_an_archive_whose_row_was_lost_gets_it(tmp_path):
    commit(tmp_path)
    (tmp_path / "index.jsonl").unlink()
    archive = (tmp_path / "episodes" / "pi" / f"{REF.episode_id}.tar.zst").read_bytes()
    index_archive(tmp_path, REF, archive, received_at_wall=RECEIVED, commit="c")

    assert [*LocalStore(tmp_path).read_index().rows] == [REF]


@given(cut=st.integers(1, 200))
def test_a_row_cut_short_by_a_crash_is_replaced_by_the_next(tmp_path_factory, cut):
    store = tmp_path_factory.mktemp("store")
    commit(store)
    whole = (store / "index.jsonl").read_bytes()
    (store / "index.jsonl").write_bytes(whole + whole[:cut])
    commit(store, OTHER)
    index = LocalStore(store).read_index()

    assert [*index.rows] == [REF, OTHER]
    assert index.skipped.n == 0


def test_a_full_disk_leaves_the_index_as_it_was(tmp_path, monkeypatch):
    commit(tmp_path)
    before = (tmp_path / "index.jsonl").read_bytes()
    synced = []

    def full(descriptor):
        synced.append(descriptor)
        # Archive and folder are written; the row is the third.
        if len(synced) == 3:
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match=r"No space left on device.*index\.jsonl"):
        commit(tmp_path, OTHER)

    assert (tmp_path / "index.jsonl").read_bytes() == before


def test_a_second_writer_is_refused_and_the_lock_ends_with_the_block(tmp_path):
    with writing_alone(tmp_path, ".lock"):
        code = (
            "from pathlib import Path; import sys\n"
            "from cis490_pipeline.store.writing import writing_alone\n"
            "with writing_alone(Path(sys.argv[1]), '.lock'): pass"
        )
        done = subprocess.run(
            [sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=False
        )
    with writing_alone(tmp_path, ".lock"):
        pass

    assert "another process is writing to this store" in done.stderr


@given(t_ms=st.integers(0, 2**48 - 1), random=st.binary(min_size=10, max_size=10))
def test_a_ulid_is_valid_sorts_by_time_and_keeps_its_random_part(t_ms, random):
    text = ulid(t_ms, random)

    assert is_episode_id(text)
    assert random_part(text) == random_part(ulid(0, random))
    assert ulid(t_ms, random) <= ulid(min(t_ms + 1, 2**48 - 1), random)
