"""Members of a recorded episode: meta, labels, events and rows, of one run."""

import os
from typing import Final, NotRequired, TypedDict

import msgspec

from cis490_pipeline.collect.contract import Row
from cis490_pipeline.domain import NS_PER_S, EpisodeRef, Source
from cis490_pipeline.domain.terms import FAILED_LABEL
from cis490_pipeline.errors import RecordingError
from cis490_pipeline.recording.channel.clocks import ClockFields, ClockMap, fit_clock
from cis490_pipeline.recording.episode import Ran, Run, lateness_s
from cis490_pipeline.recording.guest.protocol import Parameters
from cis490_pipeline.recording.host.neighbours import NeighbourUse
from cis490_pipeline.recording.host.pressure import HostPressure, cpu_flags, cpu_model
from cis490_pipeline.recording.labels import EventLine, confirmed_ns, labels_and_events
from cis490_pipeline.recording.provenance import Provenance
from cis490_pipeline.recording.schedule import PlannedEpisode
from cis490_pipeline.recording.sources import Sampled
from cis490_pipeline.storage.json_text import Json
from cis490_pipeline.store.metadata import SCHEMA_VERSION
from cis490_pipeline.store.writing import LabelLine, ulid, wall_text

_ENCODER: Final = msgspec.json.Encoder()
_MARGIN_NS: Final = {
    Source.PROC: NS_PER_S // 4,
    Source.QMP: NS_PER_S,
    Source.GUEST: NS_PER_S,
}
"""How far rows before the first label and after the end are kept: one reading more of each."""
_MAX_LOG_BYTES: Final = 65_536


class _Recording(TypedDict):
    """``meta.recording``: how the run went, and what was lost or not believed."""

    plan_sha256: str
    recorder_sha256: str
    number: int
    block: int
    settle_s: float
    lateness_s: float
    backgrounds: list[Ran]
    shams: list[dict[str, str | int]]
    neighbours: list[NeighbourUse]
    guest_rows_invalid: int
    guest_rows_implausible: int
    packets: int
    packets_dropped: int
    agent: dict[str, int | float | str] | None
    """The agent's last status."""


class _Meta(TypedDict):
    """``meta.json``."""

    episode_id: str
    schema_version: int
    host_id: str
    started_at_wall: str
    ended_at_wall: str
    git_commit: str
    host_fingerprint: dict[str, str | None]
    vm: dict[str, Json]
    exploit: None
    sample: dict[str, str | Parameters | None] | None
    code_version: dict[str, str | bool]
    clocks: dict[str, ClockFields]
    host_pressure: HostPressure | None
    recording: _Recording
    result: NotRequired[dict[str, float | list[str]]]
    failure: NotRequired[str]


def reference(planned: PlannedEpisode, run: Run) -> EpisodeRef:
    """Return the reference of a run that reached its first label.

    Only a sound run gets the plan's token: ``--resume`` records a failed one again.
    """
    token = planned.token if run.failure is None else os.urandom(10)
    return EpisodeRef(planned.host.name, ulid((run.begin_ns or 0) // 1_000_000, token))


def episode_members(
    planned: PlannedEpisode, run: Run, ref: EpisodeRef, provenance: Provenance, log: bytes
) -> dict[str, bytes]:
    """Return the members of a run that reached its first label.

    Parameters
    ----------
    planned, run : the script and its record.
    ref : the episode's host and id.
    provenance : code, plan and image.
    log : what QEMU and the guest's console printed.

    Raises
    ------
    RecordingError
        If the run has no first label, or no exchange from which to map the guest's clock.
    """
    begin_ns, sampled = run.begin_ns, run.sampled
    if begin_ns is None or sampled is None:
        raise RecordingError(f"the run failed before its first label: {run.failure}")
    guest_clock = fit_clock(run.brackets)
    labels, events, failure = _labels(run, begin_ns, guest_clock)
    rows = {source: _rows(source, sampled, begin_ns, run.end_ns, guest_clock) for source in Source}
    meta = _meta(planned, run, sampled, ref, provenance, guest_clock)
    phases = [label["phase"] for label in labels if label["phase"] != FAILED_LABEL]
    meta["result"] = {
        "duration_observed_s": round((run.end_ns - begin_ns) / NS_PER_S, 3),
        "phases_observed": sorted(set(phases), key=phases.index),
        **{f"rows_{source}": len(rows[source]) for source in Source},
        "rows_perf": 0,
        "pcap_bytes": 0,
    }
    if failure is not None:
        meta["failure"] = failure
    return {
        "meta.json": _ENCODER.encode(meta),
        "labels.jsonl": _ENCODER.encode_lines(labels),
        "events.jsonl": _ENCODER.encode_lines(events),
        **{source.member: _ENCODER.encode_lines(rows[source]) for source in Source},
        "stderr.log": log[-_MAX_LOG_BYTES:],
        "done.marker": b"",
    }


def _labels(
    run: Run, begin_ns: int, guest_clock: ClockMap
) -> tuple[list[LabelLine], list[EventLine], str | None]:
    failed = None if run.failure is None else (run.end_ns, run.failure)
    try:
        labels, events = labels_and_events(begin_ns, run.confirmed, guest_clock, run.clock, failed)
    except RecordingError as lie:
        failed = (run.end_ns, str(lie))
        labels, events = labels_and_events(begin_ns, [], guest_clock, run.clock, failed)
    return labels, events, failed and failed[1]


def _rows(
    source: Source, sampled: Sampled, begin_ns: int, end_ns: int, guest_clock: ClockMap
) -> list[Row]:
    if source is Source.NETFLOW:
        # A bucket is stamped with its end: one that ends at the first label lies before it.
        return _between(sampled.netflow, begin_ns + 1, end_ns)
    first_ns, last_ns = begin_ns - _MARGIN_NS[source], end_ns + _MARGIN_NS[source]
    if source is Source.GUEST:
        return sampled.guest.placed(guest_clock, first_ns, last_ns)
    every = sampled.proc if source is Source.PROC else sampled.qmp
    return _between(every, first_ns, last_ns)


def _between(rows: list[Row], first_ns: int, last_ns: int) -> list[Row]:
    return [
        row
        for row in rows
        if isinstance(t_ns := row["t_wall_ns"], int) and first_ns <= t_ns <= last_ns
    ]


def _meta(
    planned: PlannedEpisode,
    run: Run,
    sampled: Sampled,
    ref: EpisodeRef,
    provenance: Provenance,
    guest_clock: ClockMap,
) -> _Meta:
    begin_ns = run.begin_ns or 0
    host = planned.host
    return {
        "episode_id": ref.episode_id,
        "schema_version": SCHEMA_VERSION,
        "host_id": ref.host_id,
        "started_at_wall": wall_text(begin_ns),
        "ended_at_wall": wall_text(run.end_ns),
        "git_commit": provenance.commit,
        "host_fingerprint": {
            "kernel": provenance.host_kernel,
            "qemu_version": run.emulator.version if run.emulator else None,
            "cpu_model": cpu_model(),
            "cpu_flags": cpu_flags(),
            "accel": run.emulator.accel if run.emulator else None,
            "netdev": "tap",
        },
        "vm": {
            "image_name": provenance.image_name,
            "image_sha256": provenance.image_sha256,
            "vcpus": host.vcpus,
            "ram_mib": host.ram_mib,
            "snapshot_name": None,
            "shape": msgspec.to_builtins(host),
        },
        "exploit": None,
        "sample": _sample(planned),
        "code_version": {"commit": provenance.commit, "dirty": provenance.dirty},
        "clocks": {"guest": guest_clock.fields()},
        "host_pressure": run.pressure,
        "recording": {
            "plan_sha256": provenance.plan_sha256,
            "recorder_sha256": provenance.recorder_sha256,
            "number": planned.number,
            "block": planned.block,
            "settle_s": planned.settle_s,
            "lateness_s": round(lateness_s([*run.confirmed, *run.shams], begin_ns), 3),
            "backgrounds": run.backgrounds,
            "shams": _shams(run, guest_clock),
            "neighbours": run.neighbours,
            "guest_rows_invalid": sampled.guest.invalid,
            "guest_rows_implausible": sampled.guest.implausible,
            "packets": sampled.packets,
            "packets_dropped": sampled.packets_dropped,
            "agent": sampled.guest.status,
        },
    }


def _shams(run: Run, guest_clock: ClockMap) -> list[dict[str, str | int]]:
    """Return the steps of a sham-armed control: the phase that each would begin, and when."""
    if run.failure is not None:
        return []
    return [
        {"phase": str(item.step.phase), "t_wall_ns": confirmed_ns(item, guest_clock)}
        for item in run.shams
    ]


def _sample(planned: PlannedEpisode) -> dict[str, str | Parameters | None] | None:
    """Return ``meta.sample``; None for a run that stays clean."""
    treatment = planned.treatment
    if treatment is None:
        return None
    return {
        "name": treatment.profile.name,
        "family": treatment.profile.family,
        "category": treatment.profile.category,
        "profile": treatment.activity,
        "kind": treatment.profile.kind,
        "sha256": None,
        "parameters": treatment.parameters,
    }
