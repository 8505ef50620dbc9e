"""Stores of one recorded episode whose rows were spoilt as recorders and shippers spoil them."""

import hashlib
import io
import json
import tarfile
from itertools import pairwise

import numpy as np
import zstandard

from cis490_pipeline.domain import CHANNELS, Kind, Source
from cis490_pipeline.store.receiver import LocalStore


def delivered_again(folder, store, ref):
    """A batch of netflow rows comes twice, and each guest row right after itself."""

    def change(members):
        rows = members[Source.NETFLOW.member]
        members[Source.NETFLOW.member] = rows[:300] + rows[200:]
        members[Source.GUEST.member] = [r for r in members[Source.GUEST.member] for _ in range(2)]

    return _packed(folder, store, ref, change)


def at_10_hz(folder, store, ref):
    """The agent samples ten times a second; counters grow evenly between the recorded rows."""
    counters = {c.field for c in CHANNELS if c.source is Source.GUEST and c.kind is Kind.COUNTER}
    moving = counters | {"t_wall_ns", "t_mono_ns"}
    jitter_ms = [0, 31, -22, 44, -40, 12, -9, 38, -35, 5]

    def change(members):
        rows, more = members[Source.GUEST.member], []
        for one, two in pairwise(rows):
            span = two["t_wall_ns"] - one["t_wall_ns"]
            for k in range(10):
                at = span * k // 10 + jitter_ms[k] * 1_000_000
                between = {f: one[f] + (two[f] - one[f]) * at // span for f in moving & one.keys()}
                more.append(one | between)
        members[Source.GUEST.member] = [*more, rows[-1]]

    return _packed(folder, store, ref, change)


def dips_and_negatives(folder, store, ref):
    """Readings fall by one, to zero or below it, or are missing; a source restarts."""

    def change(members):
        rng = np.random.default_rng(0)
        for source in Source:
            rows = members[source.member]
            fields = [c.field for c in CHANNELS if c.source is source]
            counters = [c.field for c in CHANNELS if c.source is source and c.kind is Kind.COUNTER]
            for field in counters:
                stood = rows[len(rows) // 2][field]
                for row in rows[len(rows) // 2 :]:
                    row[field] -= stood
            for row in rows:
                for field in fields:
                    if rng.random() < 0.05:
                        row[field] = [0, -1, None, max(0, row[field] - 1)][rng.integers(4)]

    return _packed(folder, store, ref, change)


def _packed(folder, store, ref, change):
    raw = (
        zstandard.ZstdDecompressor()
        .decompressobj()
        .decompress(store.archive_path(ref).read_bytes())
    )
    members = {}
    with tarfile.open(fileobj=io.BytesIO(raw)) as tar:
        for member in tar:
            if member.isfile():
                members[member.name.rpartition("/")[2]] = tar.extractfile(member).read()
    rows = {s.member: [json.loads(x) for x in members[s.member].splitlines()] for s in Source}
    change(rows)
    for name, some in rows.items():
        members[name] = b"".join(json.dumps(row).encode() + b"\n" for row in some)
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for name, content in sorted(members.items()):
            info = tarfile.TarInfo(f"{ref.episode_id}/{name}")
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    blob = zstandard.ZstdCompressor().compress(buffer.getvalue())
    path = LocalStore(folder).archive_path(ref)
    path.parent.mkdir(parents=True)
    path.write_bytes(blob)
    row = {
        "received_at_wall": "2026-11-22T10:00:00Z",
        "host_id": ref.host_id,
        "episode_id": ref.episode_id,
        "sha256": hashlib.sha256(blob).hexdigest(),
        "bytes": len(blob),
        "schema_version": 1,
    }
    (folder / "index.jsonl").write_text(json.dumps(row) + "\n", encoding="utf-8")
    return LocalStore(folder), ref
