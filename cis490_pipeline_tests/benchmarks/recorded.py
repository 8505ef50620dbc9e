"""Stores of made-up recordings, whose labels lie a known time from what they name."""

import json
from pathlib import Path
from typing import Any

import numpy as np

from cis490_pipeline.domain import CHANNELS, NS_PER_S, EpisodeRef, Source
from cis490_pipeline.store.writing import commit_episode, pack, ulid, wall_text

T0_NS = 1_700_000_000 * NS_PER_S
PHASES = ((0, "clean"), (20, "infected_running"), (32, "dormant"), (44, "infected_running"))
EVENTS = {"infected_running": "workload_started", "dormant": "session_idle"}
DURATION_S = 60
STEP_NS = NS_PER_S // 10


def made_store(root: Path, profiles: list[str], *, label_late_s: float = 0.0) -> Path:
    """Write one episode per profile; the labels come ``label_late_s`` after the behaviour."""
    for number, profile in enumerate(profiles):
        begin_ns = T0_NS + number * 100 * NS_PER_S
        ref = EpisodeRef(f"lab-{number % 3}", ulid(begin_ns // 1_000_000, bytes([number] * 10)))
        members = _members(ref, profile, begin_ns, round(label_late_s * NS_PER_S), number)
        commit_episode(root, ref, pack(members), received_at_wall=wall_text(begin_ns), commit="0")
    return root


def _members(
    ref: EpisodeRef, profile: str, begin_ns: int, late_ns: int, seed: int
) -> dict[str, bytes]:
    rng = np.random.default_rng(seed)
    at_ns = [begin_ns + s * NS_PER_S + (late_ns if s else 0) for s, _ in PHASES]
    names = [phase for _, phase in PHASES]
    labels = [
        {"phase": phase, "prev": before, "reason": "made", "t_mono_ns": 0, "t_wall_ns": t_ns}
        for phase, before, t_ns in zip(names, [None, *names], at_ns, strict=False)
    ]
    events = [
        {"event": EVENTS[phase], "t_mono_ns": 0, "t_wall_ns": t_ns, "sent_wall_ns": t_ns - 10**7}
        for phase, t_ns in zip(names[1:], at_ns[1:], strict=True)
    ]
    runs = [(20, 32), (44, 60)]
    rows: dict[Source, list[dict[str, Any]]] = {source: [] for source in Source}
    totals: dict[str, float] = dict.fromkeys((c.field for c in CHANNELS), 0)
    for step in range(DURATION_S * 10 + 1):
        is_on = any(a * 10 < step <= b * 10 for a, b in runs)
        totals["cpu_user_jiffies"] += 8 * is_on + rng.integers(2)
        totals["io_write_bytes"] += 65_536 * is_on + 4096 * (rng.random() < 0.02)
        amounts = {"tcp_syn_out": rng.poisson(5 * is_on), "udp_pkts": rng.poisson(50 * is_on)}
        rows[Source.PROC].append(_row(Source.PROC, begin_ns, step, 2_000_000, totals))
        if step:
            rows[Source.NETFLOW].append(_row(Source.NETFLOW, begin_ns, step, 0, amounts))
        if step % 10 == 0:
            rows[Source.QMP].append(_row(Source.QMP, begin_ns, step, 5_000_000, totals))
            rows[Source.GUEST].append(_row(Source.GUEST, begin_ns, step, 1_000_000, totals))
    meta = _meta(ref, profile, begin_ns, {s: len(rows[s]) for s in Source})
    return {
        "meta.json": json.dumps(meta).encode(),
        "labels.jsonl": _lines(labels),
        "events.jsonl": _lines(events),
        **{source.member: _lines(rows[source]) for source in Source},
        "done.marker": b"",
    }


def _row(
    source: Source, begin_ns: int, step: int, late_ns: int, values: dict[str, Any]
) -> dict[str, Any]:
    fields = [c.field for c in CHANNELS if c.source is source]
    return {
        "t_wall_ns": begin_ns + step * STEP_NS + late_ns,
        "t_mono_ns": step * STEP_NS + late_ns,
        "source": source.row_tag,
        "available_in_deployment": source.deployable,
        **{name: int(values.get(name, 0)) for name in fields},
    }


def _lines(objects: list[dict[str, Any]]) -> bytes:
    return b"".join(json.dumps(one).encode() + b"\n" for one in objects)


def _meta(
    ref: EpisodeRef, profile: str, begin_ns: int, counts: dict[Source, int]
) -> dict[str, Any]:
    end_ns = begin_ns + DURATION_S * NS_PER_S
    return {
        "episode_id": ref.episode_id,
        "schema_version": 1,
        "host_id": ref.host_id,
        "started_at_wall": wall_text(begin_ns),
        "ended_at_wall": wall_text(end_ns),
        "git_commit": "0" * 40,
        "host_fingerprint": dict.fromkeys(
            ("kernel", "qemu_version", "cpu_model", "accel", "netdev")
        ),
        "vm": {
            "image_name": None,
            "image_sha256": None,
            "vcpus": 1,
            "ram_mib": 256,
            "snapshot_name": None,
        },
        "exploit": None,
        "sample": {
            "name": "made",
            "family": "made",
            "category": "made",
            "profile": profile,
            "kind": "mimic",
            "sha256": None,
        },
        "clocks": {"guest": {"offset_ns": 0, "drift_ppm": 0.0, "uncertainty_ns": 400_000}},
        "host_pressure": {
            "duration_s": 60.0,
            "processors": 2,
            "load_1m": 1.0,
            "some_share": {"cpu": 0.5, "io": 0.0, "memory": 0.0},
            "qemu_run_s": 6.0,
            "qemu_wait_s": 4.0,
            "qemu_wait_share": 0.4,
        },
        "recording": {
            "lateness_s": 0.05,
            "guest_rows_invalid": 0,
            "guest_rows_implausible": 0,
            "packets": 1000,
            "packets_dropped": 0,
            "agent": {"rows_dropped": 0, "ticks_missed": 0, "lateness_p99_ms": 2.0},
        },
        "result": {
            "duration_observed_s": float(DURATION_S),
            "phases_observed": ["clean", "infected_running", "dormant"],
            **{f"rows_{source}": n for source, n in counts.items()},
            "rows_perf": 0,
            "pcap_bytes": 0,
        },
    }
