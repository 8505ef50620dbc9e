import hashlib
import math
from pathlib import Path
from typing import BinaryIO

import polars as pl
import pytest

from cis490_pipeline.errors import StoreError
from cis490_pipeline.store.files import (
    atomic_write,
    canonical_json,
    digest,
    file_sha256,
    read_json,
    write_json,
    write_parquet,
)


def test_failed_write_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    write_json(path, 1)

    def fail(stream: BinaryIO) -> None:
        stream.write(b"half")
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        atomic_write(path, fail)

    assert read_json(path) == 1
    assert list(tmp_path.iterdir()) == [path]


def test_written_file_may_be_read_by_whom_the_umask_lets(tmp_path: Path) -> None:
    (tmp_path / "plain").touch()
    write_json(tmp_path / "atomic", {})

    assert (tmp_path / "atomic").stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_digest_does_not_depend_on_the_order_of_keys() -> None:
    assert digest({"a": 1, "b": [2.5, "ü"]}) == digest({"b": [2.5, "ü"], "a": 1})
    assert canonical_json({"b": "ü", "a": None}) == '{"a":null,"b":"ü"}'.encode()


def test_nan_has_no_canonical_json() -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        canonical_json([math.nan])


def test_json_comes_back_from_a_folder_that_was_not_there(tmp_path: Path) -> None:
    path = tmp_path / "new" / "a.json"
    write_json(path, {"b": [1, 2.5], "a": "ü"})

    assert read_json(path) == {"a": "ü", "b": [1, 2.5]}
    assert path.read_bytes().startswith(b'{\n "a"')


def test_unreadable_json_is_named(tmp_path: Path) -> None:
    (tmp_path / "bad.json").write_bytes(b"{")

    with pytest.raises(StoreError, match=r"bad\.json: not JSON"):
        read_json(tmp_path / "bad.json")
    with pytest.raises(StoreError, match=r"gone\.json: no such file"):
        read_json(tmp_path / "gone.json")


def test_parquet_comes_back(tmp_path: Path) -> None:
    frame = pl.DataFrame({"a": [1, None], "b": [["x"], []]})
    write_parquet(tmp_path / "a.parquet", frame)

    assert pl.read_parquet(tmp_path / "a.parquet").equals(frame)


def test_sha256_of_a_file_is_that_of_its_bytes(tmp_path: Path) -> None:
    content = bytes(range(256)) * 10_000
    (tmp_path / "a").write_bytes(content)

    assert file_sha256(tmp_path / "a") == hashlib.sha256(content).hexdigest()
