"""What is made from the sample corpus: its hosts, profiles, samples, phases and faults."""

from collections import Counter
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import polars as pl

from cis490_pipeline.compute import SerialCompute
from cis490_pipeline.domain import PHASES, EpisodeRef, Verdict
from cis490_pipeline.features.resample import step_count
from cis490_pipeline.features.windows import touches_baseline, window_labels, window_starts
from cis490_pipeline.store.episode import load_episode, open_episode
from cis490_pipeline.store.receiver import LocalStore
from cis490_pipeline.store.verdicts.sweep import sweep
from docs.make_reference.markdown import code, table

ROOT = Path(__file__).resolve().parents[2]
CLEAN_ONLY = "clean-only"


@cache
def swept() -> tuple[pl.DataFrame, LocalStore]:
    """Verdicts on the sample corpus, made now from its files."""
    store = LocalStore(ROOT / "data" / "sample")
    return sweep(store, None, SerialCompute()).frame, store


@cache
def machines() -> dict[str, tuple[int, int]]:
    """Virtual processors and memory, MiB, of each host's machine."""
    frame, store = swept()
    index = store.read_index()
    found: dict[str, tuple[int, int]] = {}
    for host, episode in frame.select("host_id", "episode_id").rows():
        ref = EpisodeRef(host, episode)
        meta = open_episode(store, ref, index.rows[ref]).meta
        assert meta is not None
        shape = (meta.vm.vcpus, meta.vm.ram_mib)
        assert found.setdefault(host, shape) == shape, f"{host} has two shapes"
    return found


def hosts() -> str:
    """Give the machines of the corpus, and the verdicts on their episodes."""
    frame, _ = swept()
    counts = Counter(frame.select("host_id", "status").rows())
    rows = [
        (code(host), *machines()[host], *(counts[host, str(v)] for v in Verdict))
        for host in sorted(machines())
    ]
    totals = [sum(counts[host, str(v)] for host in machines()) for v in Verdict]
    rows.append(("all", "", "", *totals))
    head = ("host", "vCPUs", "memory, MiB", *(str(verdict) for verdict in Verdict))
    return table(head, rows, right=range(1, len(head)))


def profiles() -> str:
    """Count episodes by profile and host; a dash where a profile never ran."""
    frame, _ = swept()
    frame = frame.with_columns(pl.col("profile").fill_null(CLEAN_ONLY))
    counts = Counter(frame.select("profile", "host_id").rows())
    hosts = sorted(set(frame["host_id"]))
    profiles = sorted(set(frame["profile"]), key=lambda name: (name == CLEAN_ONLY, name))
    rows: list[Sequence[Any]] = []
    for profile in profiles:
        by_host = [counts[profile, host] for host in hosts]
        rows.append((profile, *(n or "–" for n in by_host), sum(by_host)))
    totals = [frame.filter(host_id=host).height for host in hosts]
    rows.append(("all", *totals, sum(totals)))
    return table(("profile", *hosts, "all"), rows, right=range(1, len(hosts) + 2))


def samples() -> str:
    """Give the samples of each profile and how often each ran."""
    frame, _ = swept()
    ran = frame.filter(pl.col("sample_name").is_not_null())
    counts = Counter(ran.select("profile", "sample_name").rows())
    rows = [
        (
            profile,
            ", ".join(f"{name} ({n})" for (p, name), n in sorted(counts.items()) if p == profile),
        )
        for profile in sorted(set(ran["profile"]))
    ]
    return table(("profile", "samples, with their episodes"), rows)


def phases() -> str:
    """Count windows by phase: all of every usable episode, and those after its baseline."""
    frame, store = swept()
    index = store.read_index()
    every: Counter[str] = Counter()
    later: Counter[str] = Counter()
    for host, episode_id in (
        frame.filter(pl.col("status").is_in(["accepted", "degraded"]))
        .select("host_id", "episode_id")
        .rows()
    ):
        ref = EpisodeRef(host, episode_id)
        episode = load_episode(store, ref, index.rows[ref])
        starts = window_starts(step_count(episode.t0_ns, episode.end_ns))
        times = [label.t_wall_ns for label in episode.labels]
        names = [label.phase for label in episode.labels]
        y, _ = window_labels(times, names, episode.t0_ns, episode.end_ns, starts)
        every.update(str(PHASES[k]) for k in y)
        later.update(str(PHASES[k]) for k in y[~touches_baseline(starts)])
    rows = [(code(phase), every[str(phase)], later[str(phase)]) for phase in PHASES]
    rows.append(("all", every.total(), later.total()))
    head = ("phase", "windows", "of them clear of the first 15 s")
    return table(head, rows, right=(1, 2))


def faults() -> str:
    """List the episodes that are not simply accepted, with their reasons in words."""
    frame, _ = swept()
    rows = [
        (
            code(f"{row['host_id']}/{row['episode_id']}"),
            row["status"],
            ", ".join(code(reason) for reason in row["reasons"]),
            "; ".join(detail.split(": ", 1)[1] for detail in row["details"]),
        )
        for row in frame.filter(pl.col("reasons").list.len() > 0).iter_rows(named=True)
    ]
    return table(("episode", "verdict", "reasons", "what the validator says"), rows)
