"""Archives made to fool or to break a reader, each with the reasons it must get."""

import gzip
import io
import tarfile
from collections.abc import Callable
from functools import partial

import zstandard

from cis490_pipeline_tests.store.episodes import REF, MadeEpisode

MIB = 1 << 20


def entry(name: str, kind: bytes = tarfile.REGTYPE, content: bytes = b"") -> bytes:
    info = tarfile.TarInfo(name)
    info.type, info.size = kind, len(content)
    padding = b"\0" * (-len(content) % 512)
    return info.tobuf(tarfile.GNU_FORMAT) + content + padding


def summed(header: bytes) -> bytes:
    """Give a changed header block the checksum of its bytes."""
    counted = header[:148] + b" " * 8 + header[156:]
    return header[:148] + b"%06o\0 " % sum(counted) + header[156:]


def sized(field: bytes, kind: bytes = tarfile.REGTYPE, name: str = "netflow.jsonl") -> bytes:
    """Return a header block whose size field has these 12 bytes."""
    header = entry(name, kind)
    return summed(header[:124] + field.ljust(12, b"\0") + header[136:])


def base_256(value: int) -> bytes:
    """Return a size field as GNU tar writes numbers that octal digits cannot hold."""
    return (b"\xff" if value < 0 else b"\x80") + (value % (1 << 88)).to_bytes(11, "big")


def pax_sized(value: bytes, key: bytes = b"size") -> bytes:
    """Put a pax record of a size before a large member whose own header tells a small one."""
    return endless(pax({key: value}) + entry("netflow.jsonl"))


def endless(start: bytes) -> bytes:
    """Let 600 MiB of zeros follow, in little."""
    compressor = zstandard.ZstdCompressor().compressobj()
    parts = [compressor.compress(start), *(compressor.compress(bytes(MIB)) for _ in range(600))]
    return b"".join([*parts, compressor.flush()])


def pax(records: dict[bytes, bytes], kind: bytes = tarfile.XHDTYPE) -> bytes:
    lines = []
    for key, value in records.items():
        length = len(key) + len(value) + 3
        size = length + len(str(length))
        size += len(str(size)) - len(str(length))
        lines.append(b"%d %s=%s\n" % (size, key, value))
    return entry("pax", kind, b"".join(lines))


def plain_tar() -> bytes:
    return zstandard.ZstdDecompressor().decompressobj().decompress(MadeEpisode().archive())


def spoiled(*entries: bytes) -> bytes:
    """Put entries in front of a valid episode."""
    return zstandard.compress(b"".join(entries) + plain_tar())


def alone(*entries: bytes) -> bytes:
    return zstandard.compress(b"".join(entries) + bytes(1024))


def tar_of(write: Callable[[tarfile.TarFile], None]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as tar:
        write(tar)
    return zstandard.compress(buffer.getvalue())


def linked(kind: bytes, target: str) -> bytes:
    info = tarfile.TarInfo("stderr.log")
    info.type, info.linkname = kind, target
    return spoiled(info.tobuf(tarfile.GNU_FORMAT))


def bomb(n_bytes: int) -> bytes:
    """Many zeros, in little: compressed a piece at a time, so that making it is cheap."""
    info = tarfile.TarInfo("network.pcap")
    info.size = n_bytes
    compressor = zstandard.ZstdCompressor().compressobj()
    parts = [compressor.compress(info.tobuf(tarfile.GNU_FORMAT))]
    parts += [compressor.compress(bytes(MIB)) for _ in range(n_bytes // MIB + 1)]
    return b"".join([*parts, compressor.flush()])


def many_members(n: int) -> bytes:
    header = entry("note-0000000.txt")
    compressor = zstandard.ZstdCompressor().compressobj()
    parts = [compressor.compress(header * 1000) for _ in range(n // 1000)]
    return b"".join([*parts, compressor.compress(bytes(1024)), compressor.flush()])


def in_frames(content: bytes, n: int) -> bytes:
    """Compress in several frames, with frames to be skipped and empty ones between them."""
    size = len(content) // n + 1
    between = b"\x50\x2a\x4d\x18" + (7).to_bytes(4, "little") + b"skip me" + zstandard.compress(b"")
    pieces = [content[start : start + size] for start in range(0, len(content), size)]
    return between.join(map(zstandard.compress, pieces))


def cut(n_bytes: int, *, checksum: bool) -> bytes:
    """Cut the last bytes off an archive whose tar ends in so many zeros that none are missed."""
    compressor = zstandard.ZstdCompressor(write_checksum=checksum)
    return compressor.compress(plain_tar() + bytes(10 * 512))[:-n_bytes]


def with_dictionary(dict_id: int | None) -> bytes:
    tar = plain_tar()
    if dict_id is None:
        asked = zstandard.ZstdCompressionDict(tar[:40_000])
    else:
        asked = zstandard.train_dictionary(
            4096, [tar[i : i + 400] for i in range(0, 80_000, 400)], dict_id=dict_id
        )
    return zstandard.ZstdCompressor(dict_data=asked).compress(tar)


def tiny_blocks(n: int) -> bytes:
    """Return a frame of so many blocks of no bytes."""
    magic = (0xFD2FB528).to_bytes(4, "little")
    return magic + b"\x00\x58" + b"\x00\x00\x00" * n + b"\x01\x00\x00"


def wide_window(log2: int) -> bytes:
    """Return a frame that asks the reader for a window of 2^log2 bytes."""
    asked = zstandard.ZstdCompressionParameters(window_log=log2)
    compressor = zstandard.ZstdCompressor(compression_params=asked).compressobj()
    return compressor.compress(plain_tar()) + compressor.flush()


def sparse_map(n: int) -> bytes:
    """Make a sparse file whose map alone has n numbers to be read."""
    records = {b"GNU.sparse.major": b"1", b"GNU.sparse.minor": b"0", b"GNU.sparse.name": b"x"}
    return alone(pax(records), entry("x", content=b"%d\n" % (n // 2) + b"0\n" * n))


def long_member(n_mib: int) -> bytes:
    """Return an archive with one member of so many MiB in which no line ends."""
    compressor = zstandard.ZstdCompressor().compressobj()
    info = tarfile.TarInfo("netflow.jsonl")
    info.size = n_mib * MIB
    parts = [compressor.compress(info.tobuf(tarfile.GNU_FORMAT))]
    parts += [compressor.compress(b" " * MIB) for _ in range(n_mib)]
    return b"".join([*parts, compressor.compress(bytes(1024)), compressor.flush()])


def long_line(n_bytes: int) -> bytes:
    row = b'{"t_wall_ns": 1, "x": [' + b"[]," * (n_bytes // 3) + b"0]}\n"
    return MadeEpisode(raw={"netflow.jsonl": row}).archive()


def rows_of(line: bytes, n: int) -> bytes:
    return MadeEpisode(raw={"netflow.jsonl": line * n}).archive()


UNSAFE, CORRUPT, LARGE = ["unsafe_member"], ["archive_corrupt"], ["member_too_large"]
UNSUPPORTED = ["archive_unsupported"]
ALONE = ["missing_member", "unfinished", "unsafe_member"]
"""Of an archive that holds one unsafe member and nothing else."""

HOSTILE: dict[str, tuple[Callable[[], bytes], list[str]]] = {
    "climbs out": (lambda: spoiled(entry("../../etc/cron.d/x", content=b"x")), UNSAFE),
    "climbs out midway": (lambda: spoiled(entry(f"{REF.episode_id}/../x")), UNSAFE),
    "absolute": (lambda: spoiled(entry("/etc/passwd", content=b"x")), UNSAFE),
    "backslashes": (lambda: spoiled(entry("..\\..\\meta.json")), []),
    "dot dot alone": (lambda: spoiled(entry("..", tarfile.DIRTYPE)), UNSAFE),
    "symbolic link": (lambda: linked(tarfile.SYMTYPE, "/etc/shadow"), UNSAFE),
    "hard link": (lambda: linked(tarfile.LNKTYPE, "meta.json"), UNSAFE),
    "long link": (
        lambda: spoiled(
            entry("long", tarfile.GNUTYPE_LONGLINK, b"x" * 900_000), entry("s", tarfile.SYMTYPE)
        ),
        UNSAFE,
    ),
    "device": (lambda: spoiled(entry("stderr.log", tarfile.BLKTYPE)), UNSAFE),
    "pipe": (lambda: spoiled(entry("stderr.log", tarfile.FIFOTYPE)), UNSAFE),
    "member twice": (lambda: spoiled(entry("stderr.log"), entry("./stderr.log")), UNSAFE),
    "name not in UTF-8": (lambda: spoiled(pax({b"path": b"st\xff\xfe.log"}), entry("a")), UNSAFE),
    "name with a NUL": (lambda: spoiled(pax({b"path": b"meta.json\0.log"}), entry("a")), UNSAFE),
    "name turned round": (lambda: spoiled(entry("\u202emeta.json")), UNSAFE),
    "name of a million": (
        lambda: spoiled(entry("long", tarfile.GNUTYPE_LONGNAME, b"/" * 900_000), entry("a")),
        UNSAFE,
    ),
    "name over the limit": (
        lambda: alone(entry("long", tarfile.GNUTYPE_LONGNAME, b"x" * 2 * MIB), entry("a")),
        LARGE,
    ),
    "headers on headers": (
        lambda: alone(*[pax({b"comment": b"x"})] * 900, entry("a")),
        ["archive_corrupt"],
    ),
    "pax size a lie": (lambda: alone(pax({b"size": b"99999999999"}), entry("meta.json")), None),
    "pax size no number": (lambda: alone(pax({b"size": b"many"}), entry("x")), None),
    "pax record torn": (lambda: alone(entry("pax", tarfile.XHDTYPE, b"99999 path=x\n")), CORRUPT),
    "sparse by map": (lambda: sparse_map(100), None),
    "sparse by long map": (lambda: sparse_map(4 * MIB), ALONE),
    "sparse map torn": (
        lambda: alone(
            pax({b"GNU.sparse.major": b"1", b"GNU.sparse.minor": b"0"}), entry("x", content=b"5\n1")
        ),
        ALONE,
    ),
    "sparse sizes below zero": (
        lambda: alone(
            pax({b"GNU.sparse.realsize": b"-1", b"GNU.sparse.map": b"-1,-1", b"size": b"0"}),
            entry("x"),
        ),
        ALONE,
    ),
    "old sparse map without end": (
        lambda: endless(summed(entry("x", b"S")[:482] + b"\1" + entry("x", b"S")[483:])),
        None,
    ),
    "pax size of minus one": (lambda: pax_sized(b"-1"), CORRUPT),
    "pax size with a plus": (lambda: pax_sized(b"+5"), CORRUPT),
    "pax size with an underscore": (lambda: pax_sized(b"1_0"), CORRUPT),
    "pax size in other digits": (lambda: pax_sized("\u0665".encode()), CORRUPT),
    "pax size of 2^63": (lambda: pax_sized(b"9223372036854775808"), CORRUPT),
    "pax size of 4,300 digits": (lambda: pax_sized(b"9" * 4300), CORRUPT),
    "pax size blank": (lambda: pax_sized(b""), CORRUPT),
    "pax size for all": (
        lambda: alone(pax({b"size": b"1"}, tarfile.XGLTYPE), entry("x")),
        CORRUPT,
    ),
    "pax record of length zero": (lambda: alone(entry("pax", b"x", b"0 a=b\n")), CORRUPT),
    "base 256 of minus one": (lambda: endless(sized(base_256(-1))), CORRUPT),
    "base 256 of minus 512": (lambda: endless(sized(base_256(-512))), CORRUPT),
    "base 256 of the least": (lambda: endless(sized(base_256(-(2**62)))), CORRUPT),
    "base 256 of 2^63": (lambda: endless(sized(base_256(2**63))), CORRUPT),
    "base 256 of 2^62": (lambda: endless(sized(base_256(2**62))), None),
    "octal below zero": (lambda: endless(sized(b"-0000000001")), CORRUPT),
    "octal with a plus": (lambda: endless(sized(b"+0000000001")), CORRUPT),
    "octal blank": (lambda: endless(sized(b" " * 11)), CORRUPT),
    "octal of nothing": (lambda: endless(sized(b"")), CORRUPT),
    "octal with a nine": (lambda: endless(sized(b"00000000009")), CORRUPT),
    "long name below zero": (
        lambda: endless(sized(base_256(-1), tarfile.GNUTYPE_LONGNAME)),
        CORRUPT,
    ),
    "pax header below zero": (lambda: endless(sized(base_256(-1), tarfile.XHDTYPE)), CORRUPT),
    "device below zero": (lambda: endless(sized(base_256(-1), tarfile.BLKTYPE)), CORRUPT),
    "described twice": (
        lambda: alone(pax({b"path": b"a"}), pax({b"path": b"b"}), entry("c")),
        CORRUPT,
    ),
    "negative size": (
        lambda: alone(entry("x")[:124] + b"\xff" * 12 + entry("x")[136:]),
        CORRUPT,
    ),
    "bomb in a member": (lambda: bomb(600 * MIB), None),
    "bomb beyond the tar": (
        lambda: spoiled() + b"".join([zstandard.compress(bytes(100 * MIB))] * 12),
        LARGE,
    ),
    "100,000 members": (lambda: many_members(100_000), None),
    "frames in a row": (lambda: in_frames(plain_tar(), 5), []),
    "frame torn": (lambda: in_frames(plain_tar(), 5)[:-40], CORRUPT),
    "garbage within a member": (
        lambda: zstandard.compress(entry("meta.json", content=b"x" * 700)[:600]) + b"no frame",
        CORRUPT,
    ),
    "frame in a frame": (lambda: zstandard.compress(zstandard.compress(plain_tar())), CORRUPT),
    "garbage after it": (lambda: spoiled() + b"and then some", CORRUPT),
    "one byte after it": (lambda: spoiled() + b"\n", CORRUPT),
    "zeros after it": (lambda: spoiled() + bytes(512), CORRUPT),
    **{
        f"cut by {n}, {'with' if checksum else 'without'} a checksum": (
            partial(cut, n, checksum=checksum),
            CORRUPT,
        )
        for n in (1, 2, 3, 4, 7)
        for checksum in (True, False)
    },
    "one closing block": (
        lambda: zstandard.compress(entry("stderr.log") + bytes(512)),
        CORRUPT,
    ),
    "a byte short of two closing blocks": (
        lambda: zstandard.compress(entry("stderr.log") + bytes(1023)),
        CORRUPT,
    ),
    "tar after tar": (lambda: zstandard.compress(plain_tar() + plain_tar()), CORRUPT),
    "window of 1 GiB": (lambda: wide_window(30), UNSUPPORTED),
    "dictionary with a number": (lambda: with_dictionary(77), UNSUPPORTED),
    "dictionary without a number": (lambda: with_dictionary(None), CORRUPT),
    "gzip by another name": (lambda: gzip.compress(plain_tar(), mtime=0), CORRUPT),
    "tar that is not compressed": (plain_tar, CORRUPT),
    "empty file": (lambda: b"", CORRUPT),
    "only frames to skip": (lambda: b"\x50\x2a\x4d\x18" + bytes(4), CORRUPT),
    "a million blocks": (lambda: tiny_blocks(1_000_000), UNSUPPORTED),
    "a line of 200 MiB": (lambda: long_member(200), None),
    "window of 64 MiB": (lambda: wide_window(26), []),
    "one long line": (lambda: long_line(16 * MIB), None),
    "two million short lines": (lambda: rows_of(b'{"t_wall_ns":1}\n', 2_000_001), None),
    "empty lines": (lambda: rows_of(b"\n", 16 * MIB), None),
    "every name new": (
        lambda: MadeEpisode(
            raw={
                "netflow.jsonl": b"".join(
                    b'{"t_wall_ns":1,"n%d":0}\n' % number for number in range(300_000)
                )
            }
        ).archive(),
        ["row_count_mismatch", "source_missing"],
    ),
    "meta of 2 MiB": (
        lambda: MadeEpisode(raw={"meta.json": b'{"x": [' + b"[]," * MIB + b"0]}"}).archive(),
        ["meta_schema"],
    ),
    "endless labels": (
        lambda: MadeEpisode(raw={"labels.jsonl": b"{}\n" * MIB}).archive(),
        ["labels_schema"],
    ),
    "endless events": (
        lambda: MadeEpisode(raw={"events.jsonl": b"{}\n" * MIB}).archive(),
        ["row_schema"],
    ),
    "name that is half a pair": (
        lambda: MadeEpisode(raw={"netflow.jsonl": b'{"t_wall_ns": 1, "\\ud800": 1}\n'}).archive(),
        None,
    ),
}
"""By name: how to make it, and exactly its reasons; ``None`` if only that it is rejected counts."""
