"""Plan of a recording, read from TOML: hosts, mimic profiles, benign look-alikes, number, seed."""

import tomllib
from pathlib import Path
from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta

from cis490_pipeline.domain import HOST_ID_FORM
from cis490_pipeline.errors import ConfigError
from cis490_pipeline.recording.guest.protocol import Parameters
from cis490_pipeline.storage.files import digest, read_bounded

PLAN_FORMAT: Final = 1
_MAX_PLAN_BYTES: Final = 1 << 20
_REAL_KEYS: Final = frozenset({"sha256", "sha1", "md5", "path", "file", "binary", "url", "command"})
_Share = Annotated[float, Meta(ge=0.0, le=1.0)]
_Strength = Annotated[float, Meta(ge=0.1, le=10.0)]
_Name = Annotated[str, Meta(min_length=1, max_length=200)]
_Port = Annotated[int, Meta(ge=1, le=65535)]
_Ports = Annotated[tuple[_Port, ...], Meta(min_length=1, max_length=100)]


class _Strict(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Base of every table: an unknown key is an error."""


class Link(_Strict, frozen=True, kw_only=True):
    """Conditions of a host's network link on the way to the guest, by netem (sch_netem)."""

    delay_ms: Annotated[int, Meta(ge=0, le=2000)] = 0
    loss_percent: Annotated[float, Meta(ge=0, le=50)] = 0.0
    rate_kbit: Annotated[int, Meta(ge=64, le=10**7)] | None = None


class HostShape(_Strict, frozen=True, kw_only=True):
    """One kind of machine, which the corpus knows as a host."""

    name: Annotated[str, Meta(pattern=f"^{HOST_ID_FORM}$")]
    vcpus: Annotated[int, Meta(ge=1, le=16)] = 1
    ram_mib: Annotated[int, Meta(ge=128, le=65536)] = 512
    machine: Literal["pc", "q35"] = "q35"
    cpu: Literal["qemu64", "Nehalem", "max"] = "max"
    threads: Literal["single", "multi"] = "multi"
    """Threads of the emulator: one for all processors, or one for each."""
    tb_size_mib: Annotated[int, Meta(ge=8, le=4096)] = 128
    """Cache of translated code."""
    disk: Literal["virtio-blk", "virtio-scsi", "ide", "nvme", "none"] = "virtio-blk"
    """``none``: the scratch folder is in memory (tmpfs), and `qmp` channels stay zero."""
    filesystem: Literal["ext4", "tmpfs"] | None = None
    """Of the guest's scratch folder; by default ext4 where there is a disk. With tmpfs a disk is
    there and stays unused."""
    disk_mib: Annotated[int, Meta(ge=32, le=65536)] = 256
    cache: Literal["writeback", "writethrough", "none", "unsafe"] = "writeback"
    aio: Literal["threads", "io_uring", "native"] = "threads"
    cpu_percent: Annotated[int, Meta(ge=5, le=1600)] | None = None
    """Limit of the whole emulator, percent of one core, by a control group."""
    link: Link | None = None
    services: list[str] = []
    """Look-alikes, by name, that run from boot to the end."""
    lookalikes: list[str] | None = None
    """Look-alikes that come and go on this host, in place of the plan's."""
    neighbours: Annotated[int, Meta(ge=0, le=3)] = 0
    """Processes that compete for this recorder's processors while the machine runs."""
    clean_runs_s: list[Annotated[int, Meta(ge=60, le=7200)]] = []
    """Lengths of additional runs that stay clean, with look-alikes, for false alarms per hour."""

    @property
    def scratch(self) -> str:
        """File system of the guest's scratch folder."""
        return self.filesystem or ("tmpfs" if self.disk == "none" else "ext4")

    def problems(self) -> list[str]:
        """Return combinations that QEMU or the guest kernel would refuse."""
        found = []
        if self.disk == "ide" and self.machine != "pc":
            found.append(f"host {self.name}: disk 'ide' needs machine 'pc', not {self.machine!r}")
        if self.aio == "native" and self.cache != "none":
            found.append(f"host {self.name}: aio 'native' needs cache 'none', not {self.cache!r}")
        if self.disk == "none" and self.filesystem == "ext4":
            found.append(f"host {self.name}: filesystem 'ext4' needs a disk, not disk 'none'")
        return found


class CpuSaturate(_Strict, frozen=True, kw_only=True):
    """A miner: computing processes, busy for a share of the time."""

    processes: Annotated[int, Meta(ge=1, le=16)] = 1
    share: Annotated[float, Meta(ge=0.05, le=1.0)] = 1.0


class LowAndSlow(_Strict, frozen=True, kw_only=True):
    """A backdoor: a few bytes every so often."""

    every_s: Annotated[float, Meta(ge=0.1, le=60)] = 3.0
    bytes: Annotated[int, Meta(ge=1, le=65536)] = 256


class IoWalk(_Strict, frozen=True, kw_only=True):
    """Ransomware: files read, transformed and written back."""

    files: Annotated[int, Meta(ge=1, le=10_000)] = 100
    file_kib: Annotated[int, Meta(ge=1, le=4096)] = 64
    files_per_s: Annotated[float, Meta(ge=0.1, le=1000)] = 20.0


class ScanAndDial(_Strict, frozen=True, kw_only=True):
    """A botnet: connection attempts to many addresses."""

    per_s: Annotated[float, Meta(ge=0.1, le=2000)] = 50.0
    ports: _Ports = (23, 80, 8080)
    silent_share: _Share = 0.5
    """Share of targets that never answer; the others refuse, or accept where a port is open."""


class ExfilBurst(_Strict, frozen=True, kw_only=True):
    """A stealer: bursts of data to one address."""

    burst_kib: Annotated[int, Meta(ge=16, le=65536)] = 512
    every_s: Annotated[float, Meta(ge=0.1, le=60)] = 2.0


class Flood(_Strict, frozen=True, kw_only=True):
    """A flooder: datagrams to one address."""

    per_s: Annotated[int, Meta(ge=50, le=20_000)] = 1000
    bytes: Annotated[int, Meta(ge=1, le=1400)] = 64
    port: _Port = 80


class _Profile(_Strict, frozen=True, kw_only=True, tag_field="profile"):
    """A sample: names as the corpus shows them, and one or more sets of parameters."""

    name: _Name
    family: _Name
    category: _Name
    kind: Literal["mimic"] = "mimic"
    only_on: list[str] = []
    """Hosts that alone get it: parameters kept back from the others. Empty: every host does."""


class CpuSaturateProfile(_Profile, frozen=True, kw_only=True, tag="cpu-saturate"):
    """Sample of the profile ``cpu-saturate``."""

    parameters: list[CpuSaturate]


class LowAndSlowProfile(_Profile, frozen=True, kw_only=True, tag="low-and-slow"):
    """Sample of the profile ``low-and-slow``."""

    parameters: list[LowAndSlow]


class IoWalkProfile(_Profile, frozen=True, kw_only=True, tag="io-walk"):
    """Sample of the profile ``io-walk``."""

    parameters: list[IoWalk]


class ScanAndDialProfile(_Profile, frozen=True, kw_only=True, tag="scan-and-dial"):
    """Sample of the profile ``scan-and-dial``."""

    parameters: list[ScanAndDial]


class ExfilBurstProfile(_Profile, frozen=True, kw_only=True, tag="exfil-burst"):
    """Sample of the profile ``exfil-burst``."""

    parameters: list[ExfilBurst]


class FloodProfile(_Profile, frozen=True, kw_only=True, tag="flood"):
    """Sample of the profile ``flood``."""

    parameters: list[Flood]


Profile = (
    CpuSaturateProfile
    | LowAndSlowProfile
    | IoWalkProfile
    | ScanAndDialProfile
    | ExfilBurstProfile
    | FloodProfile
)

LOOKALIKES: Final[dict[str, Parameters]] = {
    "package-update": {"package_kib": 800},
    "backup": {"mib": 4},
    "compile": {"jobs": 2},
    "speed-test": {"mib": 4},
    "web-server": {"page_kib": 20, "requests_per_s": 4.0},
    "database": {"writes_per_s": 15.0},
    "log-rotation": {"copies": 4},
    "port-monitor": {"servers": 30, "pause_s": 2.0},
    "video": {"kbit_per_s": 1500},
    "desktop": {"actions_per_s": 1.0},
}
"""Benign look-alikes of the guest, with their parameters at strength 1."""


class Timing(_Strict, frozen=True, kw_only=True):
    """Times of a run, seconds."""

    settle_s: tuple[float, float] = (5.0, 30.0)
    """From boot to the first label, drawn uniformly."""
    lead_s: Annotated[float, Meta(ge=5, le=600)] = 30.0
    """Shortest clean lead; 15 s of it are the baseline."""
    lead_mean_s: Annotated[float, Meta(ge=0, le=600)] = 22.0
    """Mean of the exponential part added to it, which takes the clock away from a model."""
    lead_cap_s: Annotated[float, Meta(ge=5, le=1200)] = 120.0
    chain_s: tuple[float, float] = (55.0, 85.0)
    """Length of the phases after the lead, drawn uniformly."""
    phase_s: tuple[float, float] = (6.0, 35.0)
    """Shortest and longest phase after the lead."""
    phase_mean_s: Annotated[float, Meta(gt=0, le=600)] = 9.0

    def problems(self) -> list[str]:
        """Return bounds that contradict each other."""
        found = [
            f"timing.{name} must be two ascending, non-negative numbers, got {list(bounds)}"
            for name, bounds in (
                ("settle_s", self.settle_s),
                ("chain_s", self.chain_s),
                ("phase_s", self.phase_s),
            )
            if not 0 <= bounds[0] <= bounds[1] <= 3600
        ]
        if self.lead_cap_s < self.lead_s:
            found.append(f"timing.lead_cap_s must be at least lead_s, {self.lead_s:g}")
        if self.phase_s[0] <= 0 or self.chain_s[0] < self.phase_s[0]:
            found.append("timing.phase_s must be over 0 and fit into chain_s")
        return found


class RecordingPlan(_Strict, frozen=True, kw_only=True):
    """A whole plan; equal plans give equal schedules."""

    format: Literal[1]
    episodes: Annotated[int, Meta(ge=1, le=100_000)]
    """Runs besides ``baseline_run_s`` and the hosts' ``clean_runs_s``."""
    blocks: Annotated[int, Meta(ge=1, le=1000)] = 1
    """Parts that are recorded and committed one by one; each has every host in it."""
    seed: Annotated[int, Meta(ge=0, le=2**63 - 1)] = 0
    clean_only_share: _Share = 0.15
    sham_share: _Share = 0.5
    """Share of clean-only runs that are sham-armed: the recorder sends an infected run's requests,
    and the guest answers each by a process that does nothing. They show the recorder's trace."""
    baseline_run_s: Annotated[int, Meta(ge=60, le=7200)] | None = None
    """Length of one additional clean run of each host, without look-alikes."""
    lookalikes: list[str] = []
    """Look-alikes that come and go in every phase; see `LOOKALIKES`. A host may name its own."""
    lookalikes_per_minute: Annotated[float, Meta(ge=0, le=20)] = 1.0
    lookalike_strength: tuple[_Strength, _Strength] = (0.5, 2.0)
    """Bounds of the factor by which each occurrence scales its parameters, drawn log-uniformly."""
    timing: Timing = Timing()
    host: Annotated[list[HostShape], Meta(min_length=1, max_length=100)]
    profile: Annotated[list[Profile], Meta(max_length=1000)] = []

    @property
    def digest(self) -> str:
        """SHA-256 (hex) of the plan's meaning."""
        return digest(msgspec.to_builtins(self))

    def problems(self) -> list[str]:
        """Return every contradiction that the types cannot express."""
        found = [*self.timing.problems(), *(p for host in self.host for p in host.problems())]
        found += _doubled("host", [host.name for host in self.host])
        found += _doubled("profile", [profile.name for profile in self.profile])
        named = [name for host in self.host for name in (*host.services, *(host.lookalikes or ()))]
        if unknown := {*self.lookalikes, *named} - {*LOOKALIKES}:
            found.append(
                f"unknown look-alikes {', '.join(sorted(unknown))}; known are "
                f"{', '.join(sorted(LOOKALIKES))}"
            )
        found += [
            f"profile {p.name}: parameters is empty" for p in self.profile if not p.parameters
        ]
        found += self._unfit_hosts()
        if self.lookalike_strength[0] > self.lookalike_strength[1]:
            found.append(f"lookalike_strength must ascend, got {list(self.lookalike_strength)}")
        if not self.profile and self.clean_only_share < 1.0:
            found.append("no profile is given: add one, or set clean_only_share = 1.0")
        if self.blocks > 1 and self.episodes < self.blocks * len(self.host):
            found.append(
                f"episodes must be at least {self.blocks * len(self.host)}, not {self.episodes}, "
                f"for every one of {len(self.host)} hosts in each of {self.blocks} blocks"
            )
        return found

    def _unfit_hosts(self) -> list[str]:
        """Return what is wrong with the hosts that profiles are kept for."""
        names = {host.name for host in self.host}
        found = [
            f"profile {p.name}: only_on names hosts that the plan lacks: {', '.join(unknown)}"
            for p in self.profile
            if (unknown := sorted({*p.only_on} - names))
        ]
        found += [
            f"host {name}: every profile is kept for others by only_on"
            for name in sorted(names)
            if self.profile and all(p.only_on and name not in p.only_on for p in self.profile)
        ]
        return found


def _doubled(table: str, names: list[str]) -> list[str]:
    twice = sorted({name for name in names if names.count(name) > 1})
    return [f"{table} names must differ, twice: {', '.join(twice)}"] if twice else []


def read_plan(path: Path) -> RecordingPlan:
    """Read and check a plan.

    Raises
    ------
    ConfigError
        Naming every fault, and any profile that is a real sample: only mimics are recorded.
    OSError
        If it cannot be read.
    """
    try:
        given = tomllib.loads(read_bounded(path, _MAX_PLAN_BYTES).decode())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as wrong:
        raise ConfigError(f"{path}: not TOML: {wrong}") from wrong
    _refuse_real_samples(path, given.get("profile"))
    try:
        plan = msgspec.convert(given, RecordingPlan)
    except msgspec.ValidationError as wrong:
        raise ConfigError(f"{path}: {wrong}") from wrong
    if problems := plan.problems():
        raise ConfigError(f"{path}: " + "; ".join(problems))
    return plan


def _refuse_real_samples(path: Path, profiles: object) -> None:
    """Raise if a profile names a program to run instead of a mimic's parameters."""
    for number, profile in enumerate(profiles if isinstance(profiles, list) else [], 1):
        if not isinstance(profile, dict):
            continue
        kind = profile.get("kind", "mimic")
        sets = profile.get("parameters", [])
        keys = {*profile, *(k for s in sets if isinstance(s, dict) for k in s)} & _REAL_KEYS
        if kind != "mimic" or keys:
            reason = f"kind {kind!r}" if kind != "mimic" else f"key {', '.join(sorted(keys))}"
            raise ConfigError(
                f"{path}: profile {number} ({profile.get('name', 'without a name')}) names a real "
                f"sample ({reason}); only mimics are recorded: describe its behaviour by a "
                "profile and its parameters"
            )
