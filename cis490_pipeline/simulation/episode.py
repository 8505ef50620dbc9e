"""Simulation of one episode, determined by the store's seed and the episode's number."""

from dataclasses import dataclass
from typing import Final

import numpy as np

from cis490_pipeline.domain import NS_PER_S, EpisodeRef, Phase
from cis490_pipeline.simulation.characters import (
    HostCharacter,
    SampleCharacter,
    host_character,
    samples_of,
)
from cis490_pipeline.simulation.demand import run_load
from cis490_pipeline.simulation.draft import Draft, EventLine, Meta
from cis490_pipeline.simulation.machine import machine_steps
from cis490_pipeline.simulation.parameters import SIMULATOR_DIGEST
from cis490_pipeline.simulation.plan import Plan, draw_plan
from cis490_pipeline.simulation.recorders import Clocks, draw_clocks, record
from cis490_pipeline.store.writing import LabelLine, wall_text
from cis490_pipeline.store.writing import ulid as encode_ulid

COMMIT: Final = f"simulator-{SIMULATOR_DIGEST[:16]}"
"""Takes the place of the recorder's commit in recorded episodes."""
EPOCH_NS: Final = 1_800_000_000 * NS_PER_S
"""Start of the first run in every store, so that no clock is read."""
_APART_NS: Final = 100 * NS_PER_S


@dataclass(frozen=True, kw_only=True)
class EpisodeSpec:
    """Specification of an episode to simulate."""

    seed: int
    number: int
    """Position in the store, from 0."""
    host_id: str
    infected: bool | None = None
    """Whether it must leave ``clean``; drawn at random if ``None``."""


def simulate_episode(spec: EpisodeSpec) -> Draft:
    """Simulate one episode; equal specs give equal episodes, in any process and order."""
    rng = np.random.Generator(
        np.random.PCG64(np.random.SeedSequence(spec.seed, spawn_key=(spec.number,)))
    )
    host = host_character(spec.host_id)
    t0_ns = EPOCH_NS + spec.number * _APART_NS + int(rng.integers(10**6)) * 1000
    plan = draw_plan(rng, infected=spec.infected)
    samples = samples_of(spec.seed)
    drawn = samples[int(rng.integers(len(samples)))]
    sample = drawn if len(plan.phases) > 1 else None
    clocks = draw_clocks(t0_ns, rng)
    load = run_load(plan, host, sample, rng)
    rows = record(machine_steps(load, host, rng), host, t0_ns, plan.duration_s, clocks, rng)
    labels = _labels(plan, t0_ns, clocks)
    ref = EpisodeRef(spec.host_id, ulid(spec.seed, spec.number))
    end_ns = t0_ns + round(plan.duration_s * 1000) * 1_000_000
    draft = Draft(
        ref=ref,
        meta=_meta(ref, spec, plan, host, sample, t0_ns, end_ns),
        labels=labels,
        events=_events(plan, labels, rng),
        rows=rows,
        t0_ns=t0_ns,
        end_ns=end_ns,
    )
    draft.count_rows()
    return draft


def ulid(seed: int, number: int) -> str:
    """Return an episode's id: its time, followed by digits derived from seed and number."""
    words = np.random.SeedSequence(seed, spawn_key=(number, 1)).generate_state(3)
    return encode_ulid((EPOCH_NS + number * _APART_NS) // 1_000_000, words.tobytes())


def received_at_wall(number: int) -> str:
    """Return the time of receipt of an episode, which increases with its number."""
    return wall_text(EPOCH_NS + (number + 2) * _APART_NS)


def _labels(plan: Plan, t0_ns: int, clocks: Clocks) -> list[LabelLine]:
    labels: list[LabelLine] = []
    for phase, second in zip(plan.phases, plan.label_s, strict=True):
        t_wall_ns = t0_ns + round(float(second) * NS_PER_S)
        labels.append(
            {
                "phase": str(phase),
                "prev": labels[-1]["phase"] if labels else None,
                "reason": f"simulated: {phase} by plan",
                "t_mono_ns": t_wall_ns - clocks.proc_ns,
                "t_wall_ns": t_wall_ns,
            }
        )
    return labels


def _events(plan: Plan, labels: list[LabelLine], rng: np.random.Generator) -> list[EventLine]:
    """Generate the event that justifies each label after the first, within half a second."""
    events: list[EventLine] = []
    for name, label in zip(plan.events, labels[1:], strict=True):
        lag_ns = int(rng.uniform(-0.5, 0.02) * NS_PER_S)
        events.append(
            {
                "event": name,
                "t_mono_ns": label["t_mono_ns"] + lag_ns,
                "t_wall_ns": label["t_wall_ns"] + lag_ns,
                "simulated": True,
            }
        )
    return events


def _meta(
    ref: EpisodeRef,
    spec: EpisodeSpec,
    plan: Plan,
    host: HostCharacter,
    sample: SampleCharacter | None,
    t0_ns: int,
    end_ns: int,
) -> Meta:
    observed = [str(phase) for phase in Phase if phase in plan.phases]
    return {
        "episode_id": ref.episode_id,
        "schema_version": 1,
        "host_id": ref.host_id,
        "started_at_wall": wall_text(t0_ns),
        "ended_at_wall": wall_text(end_ns),
        "git_commit": COMMIT,
        "host_fingerprint": {
            "kernel": "simulated",
            "qemu_version": "simulated",
            "cpu_model": "simulated",
            "accel": "kvm" if host.kvm else "tcg",
            "netdev": "simulated",
        },
        "vm": {
            "image_name": "simulated",
            "image_sha256": None,
            "vcpus": host.cores,
            "ram_mib": host.ram_bytes >> 20,
            "snapshot_name": "simulated",
        },
        "exploit": None,
        "sample": None
        if sample is None
        else {
            "name": sample.name,
            "family": "simulated",
            "category": sample.category,
            "profile": sample.profile,
            "kind": "synth",
            "sha256": None,
        },
        "code_version": {"commit": COMMIT, "dirty": False},
        "result": {
            "duration_observed_s": plan.duration_s,
            "phases_observed": observed,
            "rows_perf": 0,
            "pcap_bytes": 0,
        },
        "simulator": {"digest": SIMULATOR_DIGEST, "seed": spec.seed, "number": spec.number},
    }
