"""What the fuzzer starts from: the sample's members, cut short, and archives made to be hostile."""

import contextlib
import hashlib
from functools import cache
from pathlib import Path

import zstandard

from cis490_pipeline.domain import Source
from cis490_pipeline.store.archive.unpack import EVENTS, LABELS, META, read_members
from cis490_pipeline_tests.store.episodes import REF, MadeEpisode
from cis490_pipeline_tests.store.hostile import HOSTILE

SAMPLE = Path(__file__).parents[2] / "data" / "sample"
MAX_SEED_BYTES = 32_768
"""Also of what the fuzzer makes of the seeds."""
N_LINES = 3
# In the order of the harness's targets: an input's first byte says which of them reads it.
ARCHIVE, TAR, FOLDER = range(3)
ROWS = {source: 3 + i for i, source in enumerate(Source)}
META_AT, LABELS_AT, EVENTS_AT, INDEX_AT = range(3 + len(ROWS), 7 + len(ROWS))

_ODD_ROWS = (
    b'{"t_wall_ns": 1, "pkts_out": 2}\n{"t_wall_ns":2,"x":{"a":[1]}}\n',
    b'{"t_wall_ns": 9223372036854775807, "load_1m": 1e300}\r\n{"t_wall_ns": -1}\n',
    b'{"t_wall_ns" :1, "t_wall_ns": 2}\n\xef\xbb\xbf{"t_wall_ns": 3}\n',
    b'{"t_wall_ns": 007, "note": "\\ud800 \\u00e9"}\n{"t_wall_ns": NaN}\n',
)
_ODD_INDEX_ROWS = (
    (b'{"received', b'\xef\xbb\xbf{"received', 1),
    (b'"bytes":', b'"bytes": -1, "b":'),
    (b'"bytes":', b'"bytes": 9223372036854775808, "b":'),
    (b'"schema_version": 1', b'"schema_version": -1'),
    (b"2026-", b"0001-"),
    (b'"received_at_wall":', b'"received_at_wall": 1795341600, "r":'),
)


def write_corpus(folder: Path) -> Path:
    """Write the seeds, each named by its own digest; returns the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for target, content in seeds():
        data = bytes([target]) + content
        if len(data) <= MAX_SEED_BYTES:
            (folder / hashlib.sha256(data).hexdigest()[:16]).write_bytes(data)
    return folder


@cache
def seeds() -> tuple[tuple[int, bytes], ...]:
    """Pairs of target and content."""
    made: list[tuple[int, bytes]] = []
    for host in sorted((SAMPLE / "episodes").iterdir()):
        members = {
            name: _first_lines(content)
            for name, content in read_members(min(host.glob("*.tar.zst"))).items()
        }
        made += [(at, members[source.member]) for source, at in ROWS.items()]
        made += [(META_AT, members[META]), (LABELS_AT, members[LABELS])]
        made.append((EVENTS_AT, members.get(EVENTS, b"")))
        made.append((FOLDER, b"\0\0".join(n.encode() + b"\0" + c for n, c in members.items())))
        short: dict[str, bytes | None] = dict(members)
        archive = MadeEpisode(raw=short).archive()
        made += [(ARCHIVE, archive), (TAR, _tar_in(archive))]
    made += [(at, rows) for at in ROWS.values() for rows in _ODD_ROWS]
    index = _first_lines((SAMPLE / "index.jsonl").read_bytes())
    made += [(INDEX_AT, index), (INDEX_AT, index.replace(REF.host_id.encode(), b"../..") * 2)]
    made += [(INDEX_AT, index.replace(*change)) for change in _ODD_INDEX_ROWS]
    for make, _ in HOSTILE.values():
        archive = make()
        if len(archive) < MAX_SEED_BYTES:
            made += [(ARCHIVE, archive), (TAR, _tar_in(archive))]
    return tuple(made)


def _first_lines(content: bytes) -> bytes:
    return b"".join(content.splitlines(keepends=True)[:N_LINES])


def _tar_in(archive: bytes) -> bytes:
    """Return what the archive's first frame unpacks to, as much of it as a seed may have."""
    reader = zstandard.ZstdDecompressor(max_window_size=1 << 27).stream_reader(archive)
    with contextlib.suppress(zstandard.ZstdError):
        return reader.read(MAX_SEED_BYTES - 1)
    return b""
