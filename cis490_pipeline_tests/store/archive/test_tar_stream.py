"""The tar reader agrees with Python's own on what honest tools write, and checks every number."""

import io
import tarfile
from pathlib import Path

import pytest
import zstandard

from cis490_pipeline.store.archive.archive_errors import CorruptArchiveError
from cis490_pipeline.store.archive.tar_headers import EntryKind, parse_header, parse_pax
from cis490_pipeline.store.archive.tar_stream import tar_members
from cis490_pipeline_tests.store.hostile import base_256, entry, sized

NAMES = {
    "meta.json": b"{}",
    "empty": b"",
    "block": b"x" * 512,
    "d/" + "long-" * 18 + ".jsonl": b"prefix",
    "n" * 180 + "/" + "m" * 120: b"beyond ustar",
    "übung/日本.txt": b"not ascii",
}


def read(folder: Path, tar: bytes) -> list[tuple[str, EntryKind, bytes]]:
    path = folder / "a.tar.zst"
    path.write_bytes(zstandard.compress(tar))
    with path.open("rb") as stream:
        return [(m.name, m.kind, b"".join(m.pieces())) for m in tar_members(stream, 1 << 30)]


@pytest.mark.parametrize("format_", [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_members_are_those_that_pythons_own_reader_gives(tmp_path: Path, format_: int) -> None:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=format_) as tar:
        for name, content in NAMES.items():
            info = tarfile.TarInfo(name)
            info.size, info.uid, info.mtime = len(content), 1_852_403_562, 1_795_000_000
            tar.addfile(info, io.BytesIO(content))
        folder = tarfile.TarInfo("f/")
        folder.type = tarfile.DIRTYPE
        tar.addfile(folder)
    buffer.seek(0)
    with tarfile.open(fileobj=buffer) as tar:
        wanted = [(m.name, m.isdir(), m.size) for m in tar]

    members = read(tmp_path, buffer.getvalue())

    assert [(name, kind is EntryKind.FOLDER, len(x)) for name, kind, x in members] == wanted
    assert {name: content for name, kind, content in members if kind is EntryKind.FILE} == NAMES


def test_member_that_is_not_read_is_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "a.tar.zst"
    tar = entry("a", content=b"x" * 700) + entry("b", content=b"y" * 3) + bytes(1024)
    path.write_bytes(zstandard.compress(tar))

    with path.open("rb") as stream:
        assert [member.name for member in tar_members(stream, 1 << 20)] == ["a", "b"]


def test_folder_of_an_old_tar_is_a_folder(tmp_path: Path) -> None:
    tar = sized(b"00000000000\0", tarfile.AREGTYPE, "old/") + bytes(1024)

    assert read(tmp_path, tar) == [("old", EntryKind.FOLDER, b"")]


@pytest.mark.parametrize(
    ("field", "size"),
    [
        (b"00000000017\0", 15),
        (b"17 ", 15),
        (b"      17\0", 15),
        (b"777777777777", 8**12 - 1),
        (base_256(2**63 - 1), 2**63 - 1),
        (base_256(0), 0),
    ],
)
def test_sizes_are_read_in_every_spelling(field: bytes, size: int) -> None:
    assert parse_header(sized(field), 0).size == size


@pytest.mark.parametrize(
    ("field", "told"),
    [
        (base_256(-1), "size is below zero"),
        (b"\xc0" + bytes(11), "size is below zero"),
        (base_256(2**63), "size is 9223372036854775808, at most"),
        (b"\xbf" + b"\xff" * 11, "at most 9223372036854775807"),
        (b"-1", "size is b'-1', wanted octal digits"),
        (b"0x10", "wanted octal digits"),
        (b"8", "wanted octal digits"),
        (b"1_0", "wanted octal digits"),
        (b"", "size is b'', wanted octal digits"),
    ],
)
def test_size_that_is_no_number_from_zero_up_is_refused(field: bytes, told: str) -> None:
    with pytest.raises(CorruptArchiveError, match=f"header at byte 1024 of the tar: .*{told}"):
        parse_header(sized(field), 1024)


def test_header_that_was_damaged_is_refused() -> None:
    block = bytearray(sized(b"0"))
    block[0] ^= 1

    with pytest.raises(CorruptArchiveError, match="its checksum is"):
        parse_header(bytes(block), 0)


@pytest.mark.parametrize("value", [b"-1", b"+1", b" 1", b"1 ", b"1.0", b"", b"9" * 19, b"1" * 20])
def test_pax_size_that_is_no_number_from_zero_up_is_refused(value: bytes) -> None:
    record = b" size=" + value + b"\n"
    n_digits = 1 if len(record) < 9 else 2

    with pytest.raises(CorruptArchiveError, match="pax size is"):
        parse_pax(b"%d" % (len(record) + n_digits) + record, for_all=False)


def test_pax_records_give_name_and_size() -> None:
    told = parse_pax(b"11 path=ab\n17 comment=x=\ny\n\n10 size=7\n", for_all=False)

    assert (told.name, told.size, told.sparse) == (b"ab", 7, False)
