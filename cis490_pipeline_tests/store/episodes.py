"""Made-up episodes of format 1, small and valid until a test changes one thing."""

import hashlib
import io
import json
import tarfile
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import zstandard

from cis490_pipeline.domain import CHANNELS, NS_PER_S, EpisodeRef, Kind, Source
from cis490_pipeline.store.receiver import LocalStore
from cis490_pipeline.store.receiver_index import IndexRow

REF = EpisodeRef("lab-nuc", "01M81BARRCN7QZCM8VAFDHK0QX")
OTHER_REF = EpisodeRef("lab-nuc", "01M81BARRCN7QZCM8VAFDHK0QY")
T0_NS = 1_795_340_000 * NS_PER_S
DURATION_S = 20
PHASE_STARTS_S = {"clean": 0, "armed": 12, "infecting": 14, "infected_running": 16, "dormant": 18}
EVENTS = {
    "armed": "workload_armed",
    "infecting": "workload_infecting",
    "infected_running": "workload_started",
    "dormant": "workload_killed",
}

Row = dict[str, Any]


def wall(t_ns: int) -> str:
    moment = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=t_ns // 1000)
    return moment.isoformat().replace("+00:00", "Z")


def jsonl(rows: list[Row]) -> bytes:
    return b"".join(json.dumps(row).encode() + b"\n" for row in rows)


def make_meta(ref: EpisodeRef = REF) -> Row:
    return {
        "episode_id": ref.episode_id,
        "schema_version": 1,
        "host_id": ref.host_id,
        "started_at_wall": wall(T0_NS),
        "ended_at_wall": wall(T0_NS + DURATION_S * NS_PER_S),
        "git_commit": "0" * 40,
        "host_fingerprint": {
            "kernel": "6.1",
            "qemu_version": "7.2",
            "cpu_model": "made up",
            "accel": "tcg",
            "netdev": "user",
        },
        "vm": {
            "image_name": "guest.qcow2",
            "image_sha256": "0" * 64,
            "vcpus": 2,
            "ram_mib": 512,
            "snapshot_name": "ready",
        },
        "exploit": None,
        "sample": {
            "name": "heron",
            "family": "wader",
            "category": "rat",
            "profile": "low-and-slow",
            "kind": "mimic",
            "sha256": None,
        },
        "code_version": {"commit": "0" * 40, "dirty": False},
        "result": {
            "duration_observed_s": float(DURATION_S),
            "phases_observed": list(PHASE_STARTS_S),
            "rows_proc": 200,
            "rows_guest": 20,
            "rows_qmp": 20,
            "rows_netflow": 200,
            "rows_perf": 0,
            "pcap_bytes": 0,
        },
    }


def make_rows(source: Source) -> list[Row]:
    """Rows at the nominal rate; every reading grows faster from phase to phase."""
    rows = []
    value = 1000
    for k in range(1, round(DURATION_S * source.rate_hz) + 1):
        t_s = k / source.rate_hz
        phase = sum(t_s > start for start in PHASE_STARTS_S.values())
        value += phase
        row: Row = {
            "t_wall_ns": T0_NS + round(t_s * NS_PER_S),
            "t_mono_ns": round(t_s * NS_PER_S),
            "source": source.row_tag,
            "available_in_deployment": source.deployable,
        }
        for channel in (c for c in CHANNELS if c.source is source):
            reading = value if channel.kind is Kind.COUNTER else phase
            row[channel.field] = reading / 4 if channel.is_float else reading
        rows.append(row)
    return rows


def make_labels() -> list[Row]:
    labels: list[Row] = []
    for phase, start_s in PHASE_STARTS_S.items():
        labels.append(
            {
                "phase": phase,
                "prev": labels[-1]["phase"] if labels else None,
                "reason": "made up",
                "t_mono_ns": start_s * NS_PER_S,
                "t_wall_ns": T0_NS + start_s * NS_PER_S,
            }
        )
    return labels


@dataclass
class MadeEpisode:
    """A valid episode; change what is to be wrong, then `write` it."""

    ref: EpisodeRef = REF
    meta: Row = field(default_factory=make_meta)
    labels: list[Row] = field(default_factory=make_labels)
    events: list[Row] = field(
        default_factory=lambda: [
            {"event": EVENTS[label["phase"]], **{k: label[k] for k in ("t_mono_ns", "t_wall_ns")}}
            for label in make_labels()[1:]
        ]
    )
    rows: dict[Source, list[Row]] = field(
        default_factory=lambda: {source: make_rows(source) for source in Source}
    )
    raw: dict[str, bytes | None] = field(default_factory=dict)
    """Members given as bytes, in place of or beside the usual ones; ``None`` leaves one out."""
    tar_entries: list[tuple[tarfile.TarInfo, bytes]] = field(default_factory=list)
    """Entries added to the archive as they are."""
    prefix: str = ""

    def members(self) -> dict[str, bytes]:
        usual: dict[str, bytes | None] = {
            "meta.json": json.dumps(self.meta).encode(),
            "labels.jsonl": jsonl(self.labels),
            "events.jsonl": jsonl(self.events),
            **{source.member: jsonl(rows) for source, rows in self.rows.items()},
            "done.marker": b"",
        }
        return {name: x for name, x in (usual | self.raw).items() if x is not None}

    def archive(self) -> bytes:
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w") as tar:
            for name, content in self.members().items():
                entry = tarfile.TarInfo(self.prefix + name)
                entry.size = len(content)
                tar.addfile(entry, io.BytesIO(content))
            for entry, content in self.tar_entries:
                tar.addfile(entry, io.BytesIO(content))
        return zstandard.ZstdCompressor().compress(buffer.getvalue())

    def write(self, root: Path) -> IndexRow:
        """Write the archive into a store; return the row its index would have."""
        content = self.archive()
        path = LocalStore(root).archive_path(self.ref)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        return index_row(self.ref, content)

    def write_folder(self, root: Path) -> IndexRow:
        """Write the unpacked folder into a store; return the row its index would have."""
        folder = root / "episodes" / self.ref.host_id / self.ref.episode_id
        folder.mkdir(parents=True)
        for name, content in self.members().items():
            (folder / name).write_bytes(content)
        return index_row(self.ref, None)


def index_row(
    ref: EpisodeRef, content: bytes | None, received_at_wall: str = "2026-11-22T10:00:00Z"
) -> IndexRow:
    return IndexRow(
        ref=ref,
        received_at_wall=received_at_wall,
        sha256=None if content is None else hashlib.sha256(content).hexdigest(),
        bytes=None if content is None else len(content),
        schema_version=1,
    )


def write_index(root: Path, rows: list[IndexRow], extra: str = "") -> None:
    root.mkdir(parents=True, exist_ok=True)
    lines = [
        {
            "received_at_wall": row.received_at_wall,
            "host_id": row.ref.host_id,
            "episode_id": row.ref.episode_id,
            "sha256": row.sha256,
            "bytes": row.bytes,
            "schema_version": row.schema_version,
        }
        for row in rows
    ]
    (root / "index.jsonl").write_bytes(jsonl(lines) + extra.encode())
