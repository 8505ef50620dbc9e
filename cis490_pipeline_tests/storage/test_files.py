import errno
import hashlib
import math
import os
import resource
import signal
from pathlib import Path
from typing import BinaryIO

import polars as pl
import pytest

from cis490_pipeline.errors import StoreError
from cis490_pipeline.storage.files import (
    atomic_write,
    canonical_json,
    digest,
    file_sha256,
    read_json,
    write_json,
)
from cis490_pipeline.storage.parquet import read_table, scan_table, table_schema, write_parquet


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


NAMES_OF_FOLDERS = ("[lab]", "exp[1]", "a b", "a#b", "a?b", "a*", "~", "a\nb", "50%", "host=a", "é")
"""What a person may call a folder, and a library may take for a pattern or an address."""


@pytest.mark.parametrize("name", NAMES_OF_FOLDERS)
def test_a_table_is_read_by_its_literal_path(name: str, tmp_path: Path) -> None:
    path, frame = tmp_path / name / "a.parquet", pl.DataFrame({"n": [1, 2]})
    write_parquet(path, frame)

    assert read_table(path).equals(frame)
    assert scan_table(path).collect().equals(frame)
    assert table_schema(path) == frame.schema


def test_a_folder_whose_name_is_a_pattern_is_not_another_that_it_matches(tmp_path: Path) -> None:
    write_parquet(tmp_path / "exp1" / "a.parquet", pl.DataFrame({"n": [1]}))

    with pytest.raises(FileNotFoundError, match=r"exp\[1\]/a\.parquet"):
        read_table(tmp_path / "exp[1]" / "a.parquet")


def test_what_is_no_parquet_is_refused_by_name(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    path.write_bytes(b"PAR1 is not enough")

    with pytest.raises(StoreError, match=rf"{path}: no parquet that can be read"):
        read_table(path)


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EIO])
def test_a_disk_that_takes_no_more_is_named_and_no_temporary_file_left(
    number: int, tmp_path: Path
) -> None:
    path = tmp_path / "new" / "a.json"

    def fail(stream: BinaryIO) -> None:
        stream.write(b"half")
        raise OSError(number, os.strerror(number))

    with pytest.raises(OSError, match=rf"cannot be written: {os.strerror(number)}: '{path}'") as it:
        atomic_write(path, fail)

    assert it.value.errno == number
    assert list(path.parent.iterdir()) == []


def test_a_fault_of_the_temporary_file_names_the_file_that_was_wanted(tmp_path: Path) -> None:
    path = tmp_path / ("x" * 300)

    with pytest.raises(OSError, match=rf"cannot be written: File name too long: '{path}'"):
        write_json(path, 1)


def test_a_name_as_long_as_a_file_system_allows_can_be_written(tmp_path: Path) -> None:
    path = tmp_path / ("é" * 127)

    write_json(path, 1)

    assert [found.name for found in tmp_path.iterdir()] == [path.name]


def test_a_frame_on_a_full_disk_is_a_fault_of_the_disk_and_not_of_polars(tmp_path: Path) -> None:
    path, frame = tmp_path / "a.parquet", pl.DataFrame({"n": range(100_000)})
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limit[1]))
        with pytest.raises(OSError, match=rf"cannot be written: File too large: '{path}'"):
            write_parquet(path, frame)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
        signal.signal(signal.SIGXFSZ, before)

    assert list(tmp_path.iterdir()) == []
