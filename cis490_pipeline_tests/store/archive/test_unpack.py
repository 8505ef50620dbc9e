import io
import os
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest
import zstandard

from cis490_pipeline.errors import EpisodeRejectedError
from cis490_pipeline.store.archive.unpack import Limits, content_digest, read_members, unpack
from cis490_pipeline.store.reasons import Reason
from cis490_pipeline_tests.store.episodes import REF, MadeEpisode
from cis490_pipeline_tests.store.hostile import wide_window

SMALL = Limits(member_bytes=1000, total_bytes=3000, n_members=5)


def write_tar(root: Path, entries: list[tuple[tarfile.TarInfo, bytes]]) -> Path:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for entry, content in entries:
            tar.addfile(entry, io.BytesIO(content))
    return write_zst(root, buffer.getvalue())


def write_zst(root: Path, content: bytes) -> Path:
    path = root / f"{REF.episode_id}.tar.zst"
    path.write_bytes(zstandard.ZstdCompressor().compress(content))
    return path


def file_entry(name: str, content: bytes) -> tuple[tarfile.TarInfo, bytes]:
    entry = tarfile.TarInfo(name)
    entry.size = len(content)
    return entry, content


def reasons_of(path: Path, limits: Limits | None = None) -> list[str]:
    return [finding.reason.value for finding in unpack(path, None, limits).findings]


def test_members_come_back_byte_for_byte(tmp_path: Path) -> None:
    episode = MadeEpisode(prefix="./")
    row = episode.write(tmp_path)
    path = tmp_path / "episodes" / REF.host_id / f"{REF.episode_id}.tar.zst"

    assert read_members(path, row.sha256) == episode.members()


def test_folder_and_archive_of_one_episode_read_alike(tmp_path: Path) -> None:
    episode = MadeEpisode()
    episode.write(tmp_path / "packed")
    episode.write_folder(tmp_path / "loose")
    packed = tmp_path / "packed" / "episodes" / REF.host_id / f"{REF.episode_id}.tar.zst"
    loose = tmp_path / "loose" / "episodes" / REF.host_id / REF.episode_id

    assert read_members(packed) == read_members(loose)


def test_refusal_carries_the_reason_code(tmp_path: Path) -> None:
    path = write_tar(tmp_path, [file_entry("/etc/meta.json", b"{}")])

    with pytest.raises(EpisodeRejectedError, match="outside the episode's own folder") as refused:
        read_members(path)

    assert refused.value.reasons == ("unsafe_member",)


@pytest.mark.parametrize("name", ["../meta.json", "/meta.json", "x/meta.json", "./../meta.json"])
def test_a_name_outside_the_episode_is_unsafe(tmp_path: Path, name: str) -> None:
    assert reasons_of(write_tar(tmp_path, [file_entry(name, b"")])) == ["unsafe_member"]


@pytest.mark.parametrize("kind", [tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.BLKTYPE, b"Z"])
def test_an_entry_that_is_no_file_is_unsafe(tmp_path: Path, kind: bytes) -> None:
    entry = tarfile.TarInfo("meta.json")
    entry.type = kind

    assert reasons_of(write_tar(tmp_path, [(entry, b"")])) == ["unsafe_member"]


def test_sparse_file_is_unsafe_because_its_size_costs_nothing(tmp_path: Path) -> None:
    entry, content = file_entry("stderr.log", b"")
    entry.pax_headers = {"GNU.sparse.map": "0,0", "GNU.sparse.size": "1000000000"}

    assert reasons_of(write_tar(tmp_path, [(entry, content)])) == ["unsafe_member"]


def test_own_folder_entries_are_allowed(tmp_path: Path) -> None:
    folders = []
    for name in (".", REF.episode_id, f"./{REF.episode_id}"):
        entry = tarfile.TarInfo(name)
        entry.type = tarfile.DIRTYPE
        folders.append((entry, b""))

    assert reasons_of(write_tar(tmp_path, folders)) == []


def test_member_over_the_limit_is_not_read(tmp_path: Path) -> None:
    path = write_tar(tmp_path, [file_entry("meta.json", b"x" * 1001)])

    unpacked = unpack(path, None, SMALL)

    assert [f.reason.value for f in unpacked.findings] == ["member_too_large"]
    assert unpacked.contents == {}
    assert "meta.json" in unpacked.line_counts


def test_members_that_are_too_large_together_are_refused(tmp_path: Path) -> None:
    path = write_tar(tmp_path, [file_entry(f"{k}.log", b"x" * 900) for k in range(4)])

    assert reasons_of(path, SMALL) == ["member_too_large"]


def test_decompression_bomb_stops_at_the_limit(tmp_path: Path) -> None:
    path = write_tar(tmp_path, [file_entry("network.pcap", bytes(50 << 20))])

    unpacked = unpack(path, None, SMALL)

    assert path.stat().st_size < 100_000
    assert "unpacks to more than" in unpacked.findings[-1].detail
    assert not unpacked.complete


def test_header_that_claims_a_huge_size_is_not_read_into_memory(tmp_path: Path) -> None:
    entry = tarfile.TarInfo("pax")
    entry.type = tarfile.XHDTYPE
    entry.size = 8 << 30
    path = write_zst(tmp_path, entry.tobuf(tarfile.GNU_FORMAT) + bytes(4096))

    assert reasons_of(path) == ["member_too_large"]


@pytest.mark.parametrize("content", [b"", b"not a tar", bytes(100), b"x" * 2000])
def test_what_is_no_tar_is_corrupt(tmp_path: Path, content: bytes) -> None:
    assert reasons_of(write_zst(tmp_path, content)) == ["archive_corrupt"]


def test_what_is_no_zstd_is_corrupt(tmp_path: Path) -> None:
    path = tmp_path / f"{REF.episode_id}.tar.zst"
    path.write_bytes(b"PK\x03\x04 and so on")

    assert reasons_of(path) == ["archive_corrupt"]


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9, 0.99])
def test_archive_cut_anywhere_is_corrupt(tmp_path: Path, share: float) -> None:
    content = MadeEpisode().archive()
    path = tmp_path / f"{REF.episode_id}.tar.zst"
    path.write_bytes(content[: int(len(content) * share)])

    assert reasons_of(path) == ["archive_corrupt"]


def test_tar_cut_between_members_is_corrupt(tmp_path: Path) -> None:
    one_member = b"".join([file_entry("meta.json", b"{}")[0].tobuf(), b"{}".ljust(512, b"\0")])

    assert reasons_of(write_zst(tmp_path, one_member)) == ["archive_corrupt"]


def test_garbage_between_members_is_corrupt_and_not_the_end(tmp_path: Path) -> None:
    tar = bytearray(
        zstandard.ZstdDecompressor().decompressobj().decompress(MadeEpisode().archive())
    )
    second = tar.index(b"labels.jsonl")
    tar[second : second + 200] = b"?" * 200

    assert reasons_of(write_zst(tmp_path, bytes(tar))) == ["archive_corrupt"]


def test_fifo_in_a_folder_is_unsafe_and_does_not_block(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "stderr.log")

    assert reasons_of(tmp_path) == ["unsafe_member"]


def test_large_file_in_a_folder_is_not_read(tmp_path: Path) -> None:
    (tmp_path / "meta.json").write_bytes(b"x" * 1001)

    assert reasons_of(tmp_path, SMALL) == ["member_too_large"]


def test_content_digest_ignores_labels_but_not_which_source_rows_are_of() -> None:
    members = MadeEpisode().members()
    relabelled = members | {"labels.jsonl": b""}
    moved = members | {"netflow.jsonl": b"", "telemetry-qmp.jsonl": members["netflow.jsonl"]}

    assert content_digest(members) == content_digest(relabelled)
    assert content_digest(members) != content_digest(moved)
    assert content_digest({"meta.json": b"{}"}) is None


def test_archive_over_the_limit_is_refused_before_it_is_hashed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / f"{REF.episode_id}.tar.zst"
    with path.open("wb") as sparse:
        sparse.truncate(8 << 30)
    monkeypatch.setattr("cis490_pipeline.store.archive.unpack.stream_sha256", refuse_to_hash)

    unpacked = unpack(path)

    assert [str(finding) for finding in unpacked.findings] == [
        f"member_too_large: {path.name}: has 8589934592 bytes, at most 1073741824 are read"
    ]
    assert (unpacked.sha256, unpacked.complete) == (None, False)


def refuse_to_hash(_: object) -> str:
    raise AssertionError("hashed")


@pytest.mark.parametrize("make", [os.mkfifo, lambda path: path.symlink_to("/dev/zero")])
def test_archive_that_is_no_regular_file_is_not_waited_for(
    tmp_path: Path, make: Callable[[Path], None]
) -> None:
    path = tmp_path / f"{REF.episode_id}.tar.zst"
    make(path)

    with pytest.raises(OSError, match=r"is a (pipe|device), not a regular file: .*tar\.zst"):
        unpack(path)


def test_mismatch_says_what_the_file_is_instead(tmp_path: Path) -> None:
    path = tmp_path / f"{REF.episode_id}.tar.zst"
    path.write_bytes(b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 3\n")

    (finding,) = unpack(path, "0" * 64).findings

    assert finding.reason is Reason.SHA256_MISMATCH
    assert "it is a pointer of git-lfs, not the archive itself" in finding.detail


def test_archive_that_asks_for_too_much_memory_is_unsupported_with_what_to_do(
    tmp_path: Path,
) -> None:
    path = tmp_path / f"{REF.episode_id}.tar.zst"
    path.write_bytes(wide_window(30))

    (finding,) = unpack(path).findings

    assert finding.reason is Reason.ARCHIVE_UNSUPPORTED
    assert "asks for a window of 1073741824 bytes" in finding.detail
    assert "pack it again" in finding.detail
