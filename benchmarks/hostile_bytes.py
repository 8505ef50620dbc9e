"""Changes to a tar or to its zstd frames, by name; each is given a source of chance and the tar."""

import gzip
import io
import random
import tarfile
from collections.abc import Callable
from functools import cache
from typing import Final

import zstandard

from benchmarks.stores import SAMPLE
from cis490_pipeline.store.archive.unpack import read_members

_BLOCK: Final = 512
_MIB: Final = 1 << 20
_MAGIC: Final = (0xFD2FB528).to_bytes(4, "little")
_N_ZEROS_MIB: Final = 600
_NUMBERS: Final = (-1, -512, -(2**62), -(2**63), 0, 1, 2**31, 2**33, 2**62, 2**63 - 1, 2**63)
Change = Callable[[random.Random, bytes], bytes]


def sample_tar(rng: random.Random) -> bytes:
    """Return an episode of the sample as a tar of one of three formats."""
    chosen = (tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT)
    return _tar_of(rng.choice(chosen))


@cache
def _tar_of(format_: int) -> bytes:
    path = min((SAMPLE / "episodes" / "garage-pi").glob("*.tar.zst"))
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=format_) as tar:
        for name, content in sorted(read_members(path).items()):
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def _headers(tar: bytes) -> list[int]:
    """Where the headers of an honest tar stand."""
    places, at = [], 0
    while tar[at : at + _BLOCK].strip(b"\0"):
        places.append(at)
        size = int(tar[at + 124 : at + 135], 8)
        at += _BLOCK + -(-size // _BLOCK) * _BLOCK
    return places


def _summed(header: bytes) -> bytes:
    total = sum(header[:148]) + 8 * 32 + sum(header[156:])
    return header[:148] + b"%06o\0 " % total + header[156:]


def _with_field(rng: random.Random, tar: bytes, at: int, field: bytes) -> bytes:
    """Put bytes into one header, chosen by chance, and give it its checksum."""
    start = rng.choice(_headers(tar))
    header = tar[start : start + _BLOCK]
    header = _summed(header[:at] + field + header[at + len(field) :])
    return tar[:start] + header + tar[start + _BLOCK :]


def _packed(tar: bytes, *, zeros: bool = True) -> bytes:
    compressor = zstandard.ZstdCompressor(write_checksum=True).compressobj()
    parts = [compressor.compress(tar.rstrip(b"\0") if zeros else tar)]
    parts += [compressor.compress(bytes(_MIB)) for _ in range(_N_ZEROS_MIB if zeros else 0)]
    return b"".join([*parts, compressor.flush()])


def _base_256_size(rng: random.Random, tar: bytes) -> bytes:
    value = rng.choice(_NUMBERS)
    lead = b"\xff" if value < 0 else b"\x80"
    return _packed(_with_field(rng, tar, 124, lead + (value % (1 << 88)).to_bytes(11, "big")))


def _octal_size(rng: random.Random, tar: bytes) -> bytes:
    texts = (b"-1", b"-0000000001", b"+7", b" ", b"", b"777777777777", b"0x10", b"1_0", b"99")
    return _packed(_with_field(rng, tar, 124, rng.choice(texts).ljust(12, b"\0")))


def _large_size(rng: random.Random, tar: bytes) -> bytes:
    return _packed(_with_field(rng, tar, 124, b"%011o\0" % rng.randrange(1 << 33)))


def _pax(records: dict[bytes, bytes], kind: bytes = b"x") -> bytes:
    lines = b""
    for key, value in records.items():
        length = len(key) + len(value) + 3
        total = length + len(str(length + len(str(length))))
        lines += b"%d %s=%s\n" % (total, key, value)
    info = tarfile.TarInfo("pax")
    info.type, info.size = kind, len(lines)
    return info.tobuf(tarfile.USTAR_FORMAT) + lines + bytes(-len(lines) % _BLOCK)


def _before_an_entry(rng: random.Random, tar: bytes, entries: bytes) -> bytes:
    start = rng.choice(_headers(tar))
    return tar[:start] + entries + tar[start:]


def _pax_size(rng: random.Random, tar: bytes) -> bytes:
    texts = [str(number).encode() for number in _NUMBERS]
    texts += [b"+1", b"1e9", b"nan", b"1_0", b" 1", b"", b"9" * 5000, "٣".encode()]
    return _packed(_before_an_entry(rng, tar, _pax({b"size": rng.choice(texts)})))


def _pax_sparse(rng: random.Random, tar: bytes) -> bytes:
    number = str(rng.choice(_NUMBERS)).encode()
    keys = (b"GNU.sparse.realsize", b"GNU.sparse.size", b"GNU.sparse.numblocks", b"GNU.sparse.map")
    records = {b"GNU.sparse.major": b"1", b"GNU.sparse.minor": b"0", rng.choice(keys): number}
    return _packed(_before_an_entry(rng, tar, _pax(records)))


def _described_at_length(rng: random.Random, tar: bytes) -> bytes:
    info = tarfile.TarInfo("long")
    info.type = rng.choice((b"L", b"K", b"x", b"g"))
    info.size = rng.choice((1 << 20, 200 << 20, 1 << 32))
    return _packed(_before_an_entry(rng, tar, info.tobuf(tarfile.GNU_FORMAT)))


def _type(rng: random.Random, tar: bytes) -> bytes:
    return _packed(_with_field(rng, tar, 156, bytes([rng.choice(b"\0 1234567xXgLKSVMDNA\xff")])))


def _name(rng: random.Random, tar: bytes) -> bytes:
    names = (b"../../x", b"/etc/passwd", b"\xff\xfe", b"a\0b", b"", b"/", b"." * 99, b"\x1b[31m")
    return _packed(_with_field(rng, tar, 0, rng.choice(names).ljust(100, b"\0")))


def _flipped(rng: random.Random, tar: bytes) -> bytes:
    changed = bytearray(tar)
    for start in rng.choices(_headers(tar), k=3):
        changed[start + rng.randrange(_BLOCK)] ^= 1 << rng.randrange(8)
    return _packed(bytes(changed))


def _old_sparse_map(rng: random.Random, tar: bytes) -> bytes:
    changed = _with_field(rng, tar, 156, b"S")
    start = changed.index(b"S", 156)
    header = changed[start - 156 : start - 156 + _BLOCK]
    endless = _summed(header[:482] + b"\1" + header[483:])
    return _packed(endless + (b"\1" * _BLOCK) * rng.randrange(1, 5000))


def _many_entries(rng: random.Random, tar: bytes) -> bytes:
    return _packed(tarfile.TarInfo("x").tobuf() * rng.randrange(1000, 200_000) + tar)


def _zeros_as_member(rng: random.Random, tar: bytes) -> bytes:
    info = tarfile.TarInfo(
        rng.choice(("netflow.jsonl", "meta.json", "labels.jsonl", "done.marker"))
    )
    info.size = rng.choice((100, 200, 256)) * _MIB
    return _packed(info.tobuf(tarfile.GNU_FORMAT))


def _tar_cut(rng: random.Random, tar: bytes) -> bytes:
    end = len(tar.rstrip(b"\0"))
    return _packed(tar[: rng.randrange(end // 2, end + 1024)], zeros=False)


def _frame(header: bytes, blocks: bytes) -> bytes:
    return _MAGIC + header + blocks


def _rle(n: int, byte: int, *, last: bool = True) -> bytes:
    """Return n blocks of 128 KiB of one byte each, four bytes in the file."""
    block = ((128 << 10) << 3 | 1 << 1).to_bytes(3, "little") + bytes([byte])
    end = (1).to_bytes(3, "little") if last else b""
    return block * n + end


def _window(rng: random.Random, tar: bytes) -> bytes:
    packed = bytearray(_packed(tar))
    packed[5] = rng.randrange(256)
    return bytes(packed)


def _one_segment(rng: random.Random, tar: bytes) -> bytes:
    size = rng.choice((0, 1, 2**31, 2**32, 2**40, 2**63, 2**64 - 1))
    return _frame(b"\xe0" + size.to_bytes(8, "little"), _rle(rng.randrange(1, 5000), 0))


def _bomb(rng: random.Random, tar: bytes) -> bytes:
    return _frame(
        b"\x00" + bytes([rng.choice((0x58, 0x88, 0x90))]), _rle(16_000, rng.choice(b"\0a\n"))
    )


def _bomb_after_header(rng: random.Random, tar: bytes) -> bytes:
    info = tarfile.TarInfo("netflow.jsonl")
    info.size = rng.choice((1 << 28, 1 << 30, 1 << 33))
    head = zstandard.compress(info.tobuf(tarfile.GNU_FORMAT))
    return head + _frame(b"\x00\x88", _rle(9000, rng.choice(b"\0a\n")))


def _descriptor(rng: random.Random, tar: bytes) -> bytes:
    packed = bytearray(_packed(tar))
    packed[4] = rng.randrange(256)
    return bytes(packed)


def _block_header(rng: random.Random, tar: bytes) -> bytes:
    packed = bytearray(_packed(tar))
    packed[6:9] = rng.randrange(1 << 24).to_bytes(3, "little")
    return bytes(packed)


def _tiny_blocks(rng: random.Random, tar: bytes) -> bytes:
    return _frame(b"\x00\x58", b"\0\0\0" * rng.randrange(1, 3_000_000) + b"\1\0\0")


def _tiny_frames(rng: random.Random, tar: bytes) -> bytes:
    return zstandard.compress(b"") * rng.randrange(1, 300_000) + _packed(tar)


def _skippable(rng: random.Random, tar: bytes) -> bytes:
    size = rng.choice((0, 1, 2**31, 2**32 - 1))
    note = (0x184D2A50 + rng.randrange(16)).to_bytes(4, "little") + size.to_bytes(4, "little")
    return note + _packed(tar)


def _dictionary(rng: random.Random, tar: bytes) -> bytes:
    n_bytes = rng.choice((1, 2, 4))
    flag = {1: 1, 2: 2, 4: 3}[n_bytes]
    number = rng.randrange(1, 1 << 8 * n_bytes).to_bytes(n_bytes, "little")
    return _frame(bytes([flag, 0x58]) + number, _rle(4000, 0))


def _bits(rng: random.Random, tar: bytes) -> bytes:
    packed = bytearray(_packed(tar))
    for _ in range(rng.randrange(1, 20)):
        packed[rng.randrange(len(packed))] ^= 1 << rng.randrange(8)
    return bytes(packed)


def _cut(rng: random.Random, tar: bytes) -> bytes:
    packed = _packed(tar, zeros=rng.random() < 0.5)
    return packed[: -rng.choice((1, 2, 3, 4, 5, 100, len(packed) - 3))]


def _added(rng: random.Random, tar: bytes) -> bytes:
    return _packed(tar) + rng.choice((b"\n", bytes(512), b"\xff" * 9, _MAGIC, _packed(tar)))


def _foreign(rng: random.Random, tar: bytes) -> bytes:
    pointer = b"version https://git-lfs.github.com/spec/v1\nsize 1\n"
    return rng.choice((gzip.compress(tar, mtime=0), tar, b"", pointer, b"\x04\x22\x4d\x18" + tar))


TAR_CHANGES: Final[dict[str, Change]] = {
    "tar: size in base 256": _base_256_size,
    "tar: size in octal": _octal_size,
    "tar: size up to 8 GiB": _large_size,
    "tar: size in pax": _pax_size,
    "tar: sparse in pax": _pax_sparse,
    "tar: described at length": _described_at_length,
    "tar: type": _type,
    "tar: name": _name,
    "tar: bits of headers": _flipped,
    "tar: old sparse map": _old_sparse_map,
    "tar: many entries": _many_entries,
    "tar: zeros as a member": _zeros_as_member,
    "tar: cut": _tar_cut,
}
FRAME_CHANGES: Final[dict[str, Change]] = {
    "zstd: window": _window,
    "zstd: one segment": _one_segment,
    "zstd: bomb": _bomb,
    "zstd: bomb after a header": _bomb_after_header,
    "zstd: descriptor": _descriptor,
    "zstd: header of a block": _block_header,
    "zstd: tiny blocks": _tiny_blocks,
    "zstd: tiny frames": _tiny_frames,
    "zstd: frames to skip": _skippable,
    "zstd: dictionary": _dictionary,
    "zstd: bits": _bits,
    "zstd: cut": _cut,
    "zstd: added": _added,
    "zstd: another format": _foreign,
}
