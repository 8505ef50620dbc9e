"""Whole frames pass; anything cut off, added, or asked beyond the limits is named."""

import contextlib
from pathlib import Path

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from cis490_pipeline.store.archive.archive_errors import (
    CorruptArchiveError,
    UnsupportedArchiveError,
)
from cis490_pipeline.store.archive.zstd_frames import check_frames, foreign_kind

SKIPPABLE = b"\x5f\x2a\x4d\x18" + (3).to_bytes(4, "little") + b"abc"


def checked(folder: Path, content: bytes) -> int:
    """Check a file of these bytes; where its stream then stands."""
    path = folder / "archive"
    path.write_bytes(content)
    with path.open("rb") as stream:
        check_frames(stream)
        return stream.tell()


def compressed(content: bytes, *, checksum: bool, sized: bool, level: int = 3) -> bytes:
    compressor = zstandard.ZstdCompressor(
        level=level, write_checksum=checksum, write_content_size=sized
    )
    return compressor.compress(content)


@settings(max_examples=60, deadline=None)
@given(
    content=st.one_of(
        st.binary(max_size=2000),
        st.integers(0, 400_000).map(bytes),
        st.integers(1, 3000).map(lambda n: b"".join(i.to_bytes(4, "big") for i in range(n * 40))),
    ),
    checksum=st.booleans(),
    sized=st.booleans(),
    n_frames=st.integers(1, 3),
    cut=st.integers(1, 30),
)
def test_whole_frames_pass_and_any_cut_is_found(
    tmp_path_factory: pytest.TempPathFactory,
    content: bytes,
    checksum: bool,
    sized: bool,
    n_frames: int,
    cut: int,
) -> None:
    folder = tmp_path_factory.getbasetemp()
    frame = compressed(content, checksum=checksum, sized=sized)
    whole = SKIPPABLE.join([frame] * n_frames)

    assert checked(folder, whole) == 0
    with pytest.raises(CorruptArchiveError, match=r"early|follow its last|is not zstd"):
        checked(folder, whole[: -min(cut, len(frame) - 1)])


@pytest.mark.parametrize("level", [1, 9, 19, 22])
def test_frames_of_every_level_pass(tmp_path: Path, level: int) -> None:
    content = bytes(range(256)) * 3000

    assert checked(tmp_path, compressed(content, checksum=True, sized=True, level=level)) == 0


@pytest.mark.parametrize("tail", [b"\n", b"\0", b"\0" * 512, b"abc", b"and then some", b"\x28\xb5"])
def test_bytes_after_the_last_frame_are_counted(tmp_path: Path, tail: bytes) -> None:
    frame = compressed(b"x" * 1000, checksum=True, sized=True)

    with pytest.raises(CorruptArchiveError, match=f"{len(tail)} bytes follow its last frame"):
        checked(tmp_path, frame + tail)


def test_window_over_128_mib_is_named_with_how_to_pack_again(tmp_path: Path) -> None:
    told = r"asks for a window of 2147483648 bytes, at most 134217728 .* zstd --long=27 -o NEW"

    with pytest.raises(UnsupportedArchiveError, match=told):
        checked(tmp_path, windowed(31))


def windowed(log2: int) -> bytes:
    """Return a frame of unknown size that asks for 2^log2 bytes, as ``zstd --long`` does."""
    # A compressor asked for it would hold such a window itself.
    compressor = zstandard.ZstdCompressor(write_checksum=False).compressobj()
    frame = compressor.compress(b"x") + compressor.flush()
    return frame[:5] + bytes([(log2 - 10) << 3]) + frame[6:]


@pytest.mark.parametrize(("log2", "accepted"), [(27, True), (28, False)])
def test_window_of_128_mib_is_the_largest(tmp_path: Path, log2: int, accepted: bool) -> None:
    if accepted:
        assert checked(tmp_path, windowed(log2)) == 0
    else:
        with pytest.raises(UnsupportedArchiveError, match="window of 268435456 bytes"):
            checked(tmp_path, windowed(log2))


def test_one_segment_asks_for_a_window_of_all_its_content(tmp_path: Path) -> None:
    # Magic, one segment with a content size of 8 bytes, an empty last block.
    frame = b"\x28\xb5\x2f\xfd\xe0" + (1 << 40).to_bytes(8, "little") + b"\x01\0\0"

    with pytest.raises(UnsupportedArchiveError, match="window of 1099511627776 bytes"):
        checked(tmp_path, frame)


@pytest.mark.parametrize(
    ("head", "told"),
    [
        (b"", "is empty"),
        (b"\x1f\x8b\x08\0", "is gzip, not zstd, whatever its name says: unpack it, and pack it"),
        (b"\x04\x22\x4d\x18\x64", "is lz4, not zstd"),
        (b"\xfd7zXZ\0\0", "is xz, not zstd"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0", "git lfs pull"),
        (b"<!DOCTYPE html><html>", "a web page"),
        (b"\0" * 257 + b"ustar\x0000", "a tar that is not compressed"),
        (b"anything", "is not zstd"),
    ],
)
def test_what_is_no_zstd_is_named_for_what_it_is(tmp_path: Path, head: bytes, told: str) -> None:
    assert told in str(foreign_kind(head))
    with pytest.raises(CorruptArchiveError, match=told):
        checked(tmp_path, head)


def test_zstd_is_not_foreign() -> None:
    assert foreign_kind(compressed(b"", checksum=True, sized=True)) is None
    assert foreign_kind(SKIPPABLE) is None


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=300))
def test_any_bytes_are_checked_or_refused(
    tmp_path_factory: pytest.TempPathFactory, content: bytes
) -> None:
    folder = tmp_path_factory.getbasetemp()

    for head in (b"", b"\x28\xb5\x2f\xfd"):
        with contextlib.suppress(CorruptArchiveError, UnsupportedArchiveError):
            assert checked(folder, head + content) == 0
