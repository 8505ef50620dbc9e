"""Properties of hosts and samples, drawn from their names, so that they are equal in all stores."""

import hashlib
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from cis490_pipeline.domain import CHANNELS
from cis490_pipeline.domain.arrays import Floats
from cis490_pipeline.simulation.parameters import (
    BEHAVIOUR,
    BENIGN,
    BENIGN_LOAD,
    BURSTS,
    HOSTS,
    LATENTS,
    PROFILES,
)

_NAMES = (
    "heron", "egret", "plover", "curlew", "avocet", "godwit", "dunlin", "knot", "ruff", "stint",
    "whimbrel", "turnstone", "lapwing", "snipe", "sanderling", "redshank", "oriole", "siskin",
    "twite", "linnet", "brambling", "crossbill", "hawfinch", "serin",
)  # fmt: skip


@dataclass(frozen=True, eq=False, kw_only=True)
class HostCharacter:
    """Properties of one machine: hardware, idle behaviour and recorders."""

    name: str
    cores: int
    ram_bytes: int
    speed: float
    """Speed of a core, relative to the reference core of the activities."""
    disk_bytes_per_s: float
    cache_hit: float
    """Share of reads served by the page cache."""
    kvm: bool
    noise: float
    """Standard deviation of the log of each channel's rate, per step."""
    idle_cpu: float
    idle_ctxt: float
    idle_pkts: float
    drift_bytes: float
    """Drift of memory gauges after restoring the snapshot, bytes."""
    drift_s: float
    writeback_s: float
    block_bytes: float
    writethrough: bool
    counts_io_calls: bool
    guest_hz: float
    gain: Floats
    """(46,) factor of each channel."""
    benign_per_minute: float
    benign_preference: Floats
    """Share of each kind of benign load."""
    poll_period_s: float
    journal_period_s: float


@dataclass(frozen=True, eq=False, kw_only=True)
class SampleCharacter:
    """Properties of one simulated sample: its profile and behaviour."""

    name: str
    profile: str
    category: str
    mix: Floats
    """(n_latents,) factor on the demand of its activities."""
    intensity: float
    period_s: float
    duty: float
    recon_period_s: float
    recon_intensity: float
    unpack_period_s: float
    unpack_duty: float
    unpack_intensity: float
    stage_intensity: float
    beacon_period_s: float
    beacon_on_s: float
    resident_bytes: float


@lru_cache(maxsize=1024)
def host_character(name: str) -> HostCharacter:
    """Draw a host's properties from its name."""
    rng = _rng("host", name)

    def between(key: str) -> float:
        return _log_uniform(rng, getattr(HOSTS, key))

    return HostCharacter(
        name=name,
        cores=int(rng.choice(HOSTS.cores)),
        ram_bytes=int(rng.choice(HOSTS.ram_mib)) << 20,
        speed=between("speed"),
        disk_bytes_per_s=between("disk_bytes_per_s"),
        cache_hit=float(rng.uniform(*HOSTS.cache_hit)),
        kvm=bool(rng.random() < 0.5),
        noise=between("noise"),
        idle_cpu=between("idle_cpu"),
        idle_ctxt=between("idle_ctxt"),
        idle_pkts=between("idle_pkts"),
        drift_bytes=between("drift_bytes"),
        drift_s=between("drift_s"),
        writeback_s=between("writeback_s"),
        block_bytes=between("block_bytes"),
        writethrough=bool(rng.random() < HOSTS.p_writethrough),
        counts_io_calls=bool(rng.random() >= HOSTS.p_no_io_calls),
        guest_hz=float(rng.choice(HOSTS.guest_hz)),
        gain=np.exp(rng.normal(0.0, HOSTS.gain_sigma, len(CHANNELS))),
        benign_per_minute=_log_uniform(rng, BENIGN_LOAD.per_minute),
        benign_preference=rng.dirichlet(np.full(len(BENIGN), BENIGN_LOAD.preference)),
        poll_period_s=_log_uniform(rng, BENIGN_LOAD.poll_period_s),
        journal_period_s=_log_uniform(rng, BENIGN_LOAD.journal_period_s),
    )


@lru_cache(maxsize=1024)
def sample_character(name: str, profile: str) -> SampleCharacter:
    """Draw a sample's properties from its name and profile."""
    rng = _rng("sample", name)

    def between(key: str) -> float:
        return _log_uniform(rng, getattr(BEHAVIOUR, key))

    shortest, longest, least, greatest = BURSTS[profile]
    return SampleCharacter(
        name=name,
        profile=profile,
        category=PROFILES[profile],
        mix=np.exp(rng.normal(0.0, BEHAVIOUR.sample_sigma, len(LATENTS))),
        intensity=between("sample_intensity"),
        period_s=_log_uniform(rng, (shortest, longest)),
        duty=float(rng.uniform(least, greatest)),
        recon_period_s=between("recon_period_s"),
        recon_intensity=between("recon_intensity"),
        unpack_period_s=between("unpack_period_s"),
        unpack_duty=between("unpack_duty"),
        unpack_intensity=between("unpack_intensity"),
        stage_intensity=between("stage_intensity"),
        beacon_period_s=between("beacon_period_s"),
        beacon_on_s=between("beacon_on_s"),
        resident_bytes=between("resident_bytes"),
    )


@lru_cache(maxsize=64)
def samples_of(seed: int) -> tuple[SampleCharacter, ...]:
    """Return the samples of a store; each seed has its own."""
    profiles = [profile for profile in PROFILES for _ in range(BEHAVIOUR.samples_per_profile)]
    return tuple(
        sample_character(f"sim-{name}-{seed}", profile)
        for name, profile in zip(_NAMES, profiles, strict=True)
    )


def _rng(kind: str, name: str) -> np.random.Generator:
    words = hashlib.sha256(f"{kind}\n{name}".encode()).digest()
    return np.random.Generator(np.random.PCG64(int.from_bytes(words[:16], "big")))


def _log_uniform(rng: np.random.Generator, limits: tuple[float, float]) -> float:
    low, high = limits
    return float(np.exp(rng.uniform(np.log(low), np.log(high))))
