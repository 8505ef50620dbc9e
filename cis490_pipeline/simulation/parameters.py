"""All parameters of the simulator, frozen by a digest.

Signatures follow published measurements (Mirai's scanner sends 160 SYNs in one burst per second,
floods send 1,000 packets per second, beacons come every 1 to 33 s, a benign ``zip`` writes three
times as much as ransomware). Changing a number changes the meaning of every score on simulated
hosts: `SIMULATOR_DIGEST` then no longer matches, and a test fails.
"""

from typing import Final

import msgspec

from cis490_pipeline.domain import Phase
from cis490_pipeline.storage.files import digest

LATENTS: Final = (
    "cpu_user",  # busy reference cores
    "cpu_sys",
    "read",  # bytes/s, before the page cache
    "write",
    "pkts_out",  # per second, as all below up to ctxt
    "pkts_in",
    "bytes_out",
    "bytes_in",
    "syn",
    "rst",
    "udp",
    "flows",
    "ips",  # distinct peers
    "ports",
    "forks",
    "ctxt",
    "memory",  # bytes held while it runs
    "sockets",  # connections held while it runs
)
"""Resources that programs demand; a host maps them to its 46 channels."""
LEVELS: Final = ("memory", "sockets")
"""Latents held from start to end, independent of bursts."""

MB: Final = 1e6

ACTIVITIES: Final[dict[str, dict[str, float]]] = {
    # Benign programs, each of which resembles some attack.
    "zip": {
        "cpu_user": 0.6, "cpu_sys": 0.1, "read": 3 * MB, "write": 6 * MB, "forks": 0.3,
        "ctxt": 220, "memory": 24 * MB,
    },
    "browse": {
        "cpu_user": 0.25, "cpu_sys": 0.07, "pkts_out": 60, "pkts_in": 85, "bytes_out": 9e3,
        "bytes_in": 1e5, "syn": 5, "rst": 2, "udp": 8, "flows": 8, "ips": 9, "ports": 5,
        "forks": 0.4, "ctxt": 240, "memory": 18 * MB, "sockets": 5,
    },
    "download": {
        "cpu_sys": 0.08, "write": 0.3 * MB, "pkts_out": 110, "pkts_in": 230, "bytes_out": 6e3,
        "bytes_in": 3.2e5, "syn": 0.3, "udp": 0.5, "flows": 0.5, "ips": 9, "ports": 8,
        "ctxt": 160, "memory": 5 * MB, "sockets": 1,
    },
    "cron": {
        "cpu_user": 0.6, "cpu_sys": 0.08, "read": 0.6 * MB, "write": 0.1 * MB, "forks": 5,
        "ctxt": 180, "memory": 9 * MB,
    },
    "update": {
        "cpu_user": 0.4, "cpu_sys": 0.15, "read": 1.5 * MB, "write": 1.6 * MB, "pkts_out": 35,
        "pkts_in": 70, "bytes_out": 3e3, "bytes_in": 9e4, "syn": 1, "udp": 1, "flows": 1.5,
        "ips": 6, "ports": 5, "forks": 8, "ctxt": 260, "memory": 16 * MB, "sockets": 2,
    },
    "backup": {
        "cpu_user": 0.15, "cpu_sys": 0.1, "read": 1.2 * MB, "pkts_out": 150, "pkts_in": 80,
        "bytes_out": 1.9e5, "bytes_in": 4e3, "syn": 0.2, "flows": 0.2, "ips": 9, "ports": 9,
        "ctxt": 200, "memory": 8 * MB, "sockets": 1,
    },
    "indexer": {
        "cpu_user": 0.12, "cpu_sys": 0.22, "read": 1.6 * MB, "write": 0.1 * MB, "ctxt": 280,
        "memory": 6 * MB,
    },
    "discovery": {
        "cpu_user": 0.05, "cpu_sys": 0.06, "pkts_out": 45, "pkts_in": 22, "bytes_out": 3e3,
        "bytes_in": 1.6e3, "syn": 28, "rst": 14, "udp": 8, "flows": 34, "ips": 28, "ports": 18,
        "ctxt": 120, "memory": 5 * MB,
    },
    "call": {
        "cpu_user": 0.3, "cpu_sys": 0.1, "pkts_out": 240, "pkts_in": 240, "bytes_out": 5e4,
        "bytes_in": 6e4, "udp": 480, "flows": 0.2, "ips": 10, "ports": 10, "ctxt": 350,
        "memory": 12 * MB, "sockets": 1,
    },
    "poll": {
        "cpu_user": 0.03, "cpu_sys": 0.02, "pkts_out": 20, "pkts_in": 18, "bytes_out": 2.5e3,
        "bytes_in": 3.5e3, "syn": 5, "rst": 2, "udp": 5, "flows": 7, "ips": 8, "ports": 7,
        "ctxt": 40, "memory": 2 * MB,
    },
    "journal": {"cpu_sys": 0.04, "read": 0.25 * MB, "write": 0.3 * MB, "forks": 1.0, "ctxt": 60},
    # Activities of a sample before its main behaviour.
    "recon": {
        "cpu_user": 0.1, "cpu_sys": 0.14, "read": 0.2 * MB, "pkts_out": 22, "pkts_in": 18,
        "bytes_out": 1.6e3, "bytes_in": 2e3, "syn": 5, "rst": 1, "udp": 6, "flows": 9, "ips": 8,
        "ports": 7, "forks": 5, "ctxt": 200, "memory": 1 * MB,
    },
    "unpack": {
        "cpu_user": 0.5, "cpu_sys": 0.2, "read": 0.5 * MB, "write": 1.3 * MB, "forks": 6,
        "ctxt": 240, "memory": 5 * MB,
    },
    "stage": {
        "cpu_sys": 0.06, "write": 0.2 * MB, "pkts_out": 60, "pkts_in": 110, "bytes_out": 4e3,
        "bytes_in": 1.5e5, "syn": 1, "udp": 1, "flows": 1.2, "ips": 9, "ports": 8, "ctxt": 110,
        "sockets": 1,
    },
    "beacon": {
        "cpu_user": 0.06, "cpu_sys": 0.05, "pkts_out": 36, "pkts_in": 26, "bytes_out": 9e3,
        "bytes_in": 2.8e3, "syn": 5, "rst": 1, "udp": 1, "flows": 6, "ips": 8, "ports": 8,
        "ctxt": 90,
    },
    # Main behaviour, by profile.
    "cpu-saturate": {"cpu_user": 1.0, "cpu_sys": 0.03, "ctxt": 90, "memory": 14 * MB},
    "scan-and-dial": {
        "cpu_user": 0.06, "cpu_sys": 0.12, "pkts_out": 165, "pkts_in": 45, "bytes_out": 9e3,
        "bytes_in": 2.2e3, "syn": 160, "rst": 40, "flows": 160, "ips": 150, "ports": 3,
        "ctxt": 130, "memory": 3 * MB, "sockets": 2,
    },
    "flood": {
        "cpu_user": 0.1, "cpu_sys": 0.4, "pkts_out": 1000, "pkts_in": 8, "bytes_out": 4.2e5,
        "bytes_in": 6e2, "udp": 900, "flows": 3, "ips": 10, "ports": 10, "ctxt": 260,
        "memory": 3 * MB,
    },
    "exfil-burst": {
        "cpu_user": 0.25, "cpu_sys": 0.12, "read": 1.0 * MB, "pkts_out": 230, "pkts_in": 110,
        "bytes_out": 3e5, "bytes_in": 6e3, "syn": 0.7, "flows": 0.7, "ips": 9, "ports": 9,
        "ctxt": 220, "memory": 7 * MB, "sockets": 1,
    },
    "io-walk": {
        "cpu_user": 0.4, "cpu_sys": 0.2, "read": 2.2 * MB, "write": 2.0 * MB, "ctxt": 300,
        "memory": 9 * MB,
    },
    "low-and-slow": {
        "cpu_user": 0.1, "cpu_sys": 0.07, "read": 0.08 * MB, "pkts_out": 16, "pkts_in": 12,
        "bytes_out": 4e3, "bytes_in": 1.5e3, "syn": 1, "flows": 1.5, "ips": 7, "ports": 7,
        "forks": 0.8, "ctxt": 90, "memory": 5 * MB, "sockets": 1,
    },
}  # fmt: skip
"""Demand of each activity per second while it is active, at intensity 1."""

BENIGN: Final = (
    "zip", "browse", "download", "cron", "update", "backup", "indexer", "discovery", "call",
)  # fmt: skip
PROFILES: Final[dict[str, str]] = {
    "cpu-saturate": "miner",
    "scan-and-dial": "worm",
    "flood": "ddos",
    "exfil-burst": "stealer",
    "io-walk": "ransomware",
    "low-and-slow": "rat",
}
"""Profiles and the category of their samples."""
BURSTS: Final[dict[str, tuple[float, float, float, float]]] = {
    "cpu-saturate": (6.0, 30.0, 0.80, 1.00),
    "scan-and-dial": (0.8, 1.4, 0.08, 0.12),
    "flood": (6.0, 25.0, 0.40, 0.80),
    "exfil-burst": (3.0, 12.0, 0.35, 0.70),
    "io-walk": (4.0, 15.0, 0.55, 0.95),
    "low-and-slow": (1.0, 6.0, 0.15, 0.40),
}
"""Bursts by profile: shortest and longest period (s), smallest and largest duty cycle."""


class _Behaviour(msgspec.Struct, frozen=True):
    """What a sample does."""

    samples_per_profile: int = 4
    sample_sigma: float = 0.3
    sample_intensity: tuple[float, float] = (0.8, 2.0)
    run_sigma: float = 0.2
    recon_period_s: tuple[float, float] = (1.5, 4.0)
    recon_intensity: tuple[float, float] = (1.2, 2.6)
    unpack_period_s: tuple[float, float] = (2.0, 6.0)
    unpack_duty: tuple[float, float] = (0.5, 0.95)
    unpack_intensity: tuple[float, float] = (1.3, 2.6)
    stage_intensity: tuple[float, float] = (0.4, 1.5)
    beacon_period_s: tuple[float, float] = (1.0, 33.0)
    beacon_on_s: tuple[float, float] = (0.4, 1.2)
    resident_bytes: tuple[float, float] = (1e6, 6e6)


BEHAVIOUR: Final = _Behaviour()


class _BenignLoad(msgspec.Struct, frozen=True):
    """What a clean machine does."""

    per_minute: tuple[float, float] = (0.8, 3.2)
    duration_s: tuple[float, float] = (3.0, 16.0)
    intensity_sigma: float = 0.6
    intensity: float = 0.5
    poll_period_s: tuple[float, float] = (2.0, 30.0)
    journal_period_s: tuple[float, float] = (1.5, 6.0)
    services: float = 2.5
    service_bytes: tuple[float, float] = (1e6, 16e6)
    service_sockets: float = 0.6
    preference: float = 0.7


BENIGN_LOAD: Final = _BenignLoad()
PHASE_LETTERS: Final = {
    "C": Phase.CLEAN,
    "A": Phase.ARMED,
    "I": Phase.INFECTING,
    "R": Phase.INFECTED_RUNNING,
    "D": Phase.DORMANT,
}


class _Timing(msgspec.Struct, frozen=True):
    """When phases begin."""

    duration_s: tuple[float, float] = (75.0, 90.0)
    clean_s: float = 15.6
    phase_s: float = 5.5
    clean_share: tuple[float, float] = (0.0, 0.9)
    dirichlet: float = 0.7
    offset_s: tuple[float, float] = (0.6, 3.8)
    p_behaviour_first: float = 0.2
    plans: tuple[tuple[float, str], ...] = (
        (0.12, "C"),
        (0.12, "CAIRD"),
        (0.07, "CAIR"),
        (0.06, "CIRD"),
        (0.05, "CAI"),
        (0.04, "CID"),
        (0.06, "CA"),
        (0.06, "CAC"),
        (0.07, "CACIRD"),
        (0.08, "CAIRC"),
        (0.06, "CIRDC"),
        (0.10, "CAIRDR"),
        (0.11, "CIRDRD"),
    )


TIMING: Final = _Timing()


class _Hosts(msgspec.Struct, frozen=True):
    """How machines differ."""

    cores: tuple[int, ...] = (1, 2, 2, 4)
    ram_mib: tuple[int, ...] = (512, 1024, 2048)
    speed: tuple[float, float] = (0.5, 2.0)
    disk_bytes_per_s: tuple[float, float] = (15e6, 150e6)
    cache_hit: tuple[float, float] = (0.1, 0.9)
    gain_sigma: float = 0.3
    noise: tuple[float, float] = (0.05, 0.18)
    idle_cpu: tuple[float, float] = (0.01, 0.08)
    idle_ctxt: tuple[float, float] = (40.0, 400.0)
    idle_pkts: tuple[float, float] = (0.5, 4.0)
    drift_bytes: tuple[float, float] = (2e6, 40e6)
    drift_s: tuple[float, float] = (20.0, 200.0)
    writeback_s: tuple[float, float] = (2.0, 6.0)
    block_bytes: tuple[float, float] = (16e3, 128e3)
    cache_share: float = 0.25
    cache_wobble_pages: float = 60.0
    p_writethrough: float = 0.3
    p_no_io_calls: float = 0.3
    guest_hz: tuple[float, ...] = (1.0, 1.0, 2.0, 5.0)
    p_guest_stall: float = 0.05
    p_row_lost: float = 0.01
    p_iowait_falls: float = 0.01


HOSTS: Final = _Hosts()

GENERATOR_VERSION: Final = "1"
"""Raised when the code draws differently from the same parameters."""

SIMULATOR_DIGEST: Final = "9b9c4d9e8cc5b16c8bb5f1314bb2a9f86c68cd023b2a6f4f462df02effc91314"
"""Digest of all parameters; written into every simulated store."""


def parameters_digest() -> str:
    """Compute the SHA-256 of the current parameters."""
    return digest(
        {
            "generator": GENERATOR_VERSION,
            "phases": PHASE_LETTERS,
            "latents": [LATENTS, LEVELS],
            "activities": ACTIVITIES,
            "profiles": [PROFILES, BURSTS, BENIGN],
            "behaviour": msgspec.to_builtins(BEHAVIOUR),
            "benign_load": msgspec.to_builtins(BENIGN_LOAD),
            "timing": msgspec.to_builtins(TIMING),
            "hosts": msgspec.to_builtins(HOSTS),
        }
    )
