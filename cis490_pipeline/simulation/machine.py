"""Host model: maps demand to each channel's rate, level or amount per step."""

from typing import Final

import numpy as np

from cis490_pipeline.domain import CHANNELS, Source
from cis490_pipeline.domain.arrays import Floats
from cis490_pipeline.simulation.characters import HostCharacter
from cis490_pipeline.simulation.demand import LEAD_S, ROW, STEP_S
from cis490_pipeline.simulation.parameters import HOSTS

PAGE: Final = 4096
_GAIN: Final = {channel.name: k for k, channel in enumerate(CHANNELS)}
_FLOW_FIELDS: Final = (
    "pkts_out", "pkts_in", "bytes_out", "bytes_in", "tcp_syn_out", "tcp_rst", "udp_pkts",
    "new_flows", "dst_ips", "dst_ports",
)  # fmt: skip

Fields = dict[str, Floats]
"""(n_steps,) by field: a counter's increment, a gauge's level, or a bucket's amount."""


def machine_steps(
    load: Floats, host: HostCharacter, rng: np.random.Generator
) -> dict[Source, Fields]:
    """Map a load, (n_latents, n_steps) from `run_load`, to channels."""
    asked = {name: np.maximum(load[row], 0.0) for name, row in ROW.items()}
    flow = _traffic(asked, host, rng)
    cpu = _processor(asked, flow, host, rng)
    disk = _disk(asked, host, rng)
    memory = _memory(asked, disk, host, rng)
    guest = _guest(asked, flow, cpu, disk, memory, host, rng)
    qmp = _qmp(disk, host, rng)
    proc = _proc(guest, qmp, cpu, disk, memory, host, rng)
    return {Source.GUEST: guest, Source.NETFLOW: flow, Source.QMP: qmp, Source.PROC: proc}


def _noisy(expected: Floats, host: HostCharacter, channel: str, rng: np.random.Generator) -> Floats:
    """Apply a channel's gain and the host's noise."""
    noise = np.exp(rng.normal(0.0, host.noise, expected.size))
    steps: Floats = expected * host.gain[_GAIN[channel]] * noise
    return steps


def _traffic(asked: Fields, host: HostCharacter, rng: np.random.Generator) -> Fields:
    """Draw network traffic in whole packets, with at most as many flows as packets."""
    n_steps = asked["pkts_out"].size
    counts = {
        field: rng.poisson(asked[latent] * STEP_S).astype(np.float64)
        for field, latent in (
            ("pkts_out", "pkts_out"), ("pkts_in", "pkts_in"), ("tcp_syn_out", "syn"),
            ("tcp_rst", "rst"), ("udp_pkts", "udp"), ("new_flows", "flows"),
        )
    }  # fmt: skip
    chatter = rng.poisson(host.idle_pkts * STEP_S, (3, n_steps)).astype(np.float64)
    counts["pkts_out"] += chatter[0]
    counts["pkts_in"] += chatter[1]
    counts["udp_pkts"] += chatter[0] + chatter[1]
    counts["new_flows"] += np.minimum(chatter[0], chatter[2])
    out, into = counts["pkts_out"], counts["pkts_in"]
    counts["tcp_syn_out"] = np.minimum(counts["tcp_syn_out"], out)
    for field in ("tcp_rst", "udp_pkts", "new_flows"):
        counts[field] = np.minimum(counts[field], out + into)
    # The number of distinct peers is limited by the number of packets.
    for field, latent in (("dst_ips", "ips"), ("dst_ports", "ports")):
        distinct = rng.poisson(asked[latent] * STEP_S * np.minimum(1.0, out))
        counts[field] = np.clip(distinct, np.minimum(out, 1.0), out)
    size = np.exp(rng.normal(0.0, 0.1, (2, n_steps)))
    expected_out = np.maximum(asked["pkts_out"], 1e-9)
    expected_in = np.maximum(asked["pkts_in"], 1e-9)
    mean_out = np.clip(asked["bytes_out"] / expected_out, 60.0, 1460.0)
    mean_in = np.clip(asked["bytes_in"] / expected_in, 60.0, 1460.0)
    counts["bytes_out"] = np.rint(out * mean_out * size[0])
    counts["bytes_in"] = np.rint(into * mean_in * size[1])
    return {field: counts[field] for field in _FLOW_FIELDS}


def _processor(
    asked: Fields, flow: Fields, host: HostCharacter, rng: np.random.Generator
) -> Fields:
    """Busy time by kind, in jiffies per step, limited in total by the number of cores."""
    packets = flow["pkts_out"] + flow["pkts_in"]
    user = (asked["cpu_user"] + host.idle_cpu) / host.speed * 100 * STEP_S
    system = (asked["cpu_sys"] + 0.5 * host.idle_cpu) / host.speed * 100 * STEP_S
    system = system + packets * 2e-3 / host.speed
    softirq = packets * 1.5e-3 / host.speed + 0.02
    user = _noisy(user, host, "guest.cpu_user", rng)
    system = _noisy(system, host, "guest.cpu_sys", rng)
    softirq = _noisy(softirq, host, "guest.cpu_softirq", rng)
    share = np.minimum(1.0, host.cores * 100 * STEP_S / (user + system + softirq))
    return {"user": user * share, "system": system * share, "softirq": softirq * share}


def _disk(asked: Fields, host: HostCharacter, rng: np.random.Generator) -> Fields:
    """Bytes per step that reach the disk: reads that miss the page cache, and flushed writes."""
    read = asked["read"] * STEP_S
    missed = read * (1.0 - host.cache_hit) * np.exp(rng.normal(0.0, host.noise, read.size))
    written = asked["write"] * STEP_S + rng.exponential(200.0, read.size)
    if host.writethrough:
        flushed, dirty = written, np.zeros_like(written)
    else:
        flushed = _written_back(written, max(2, round(host.writeback_s / STEP_S)), rng)
        dirty = np.maximum(np.cumsum(written) - np.cumsum(flushed), 0.0)
    busy = np.minimum(1.0, (missed + flushed) / (host.disk_bytes_per_s * STEP_S))
    return {"read": read, "missed": missed, "flushed": flushed, "dirty": dirty, "busy": busy}


def _written_back(written: Floats, every: int, rng: np.random.Generator) -> Floats:
    """Delay writes and flush them in batches, like the kernel."""
    phase = int(rng.integers(every))
    n_blocks = (written.size + phase) // every + 2
    padded = np.zeros(n_blocks * every)
    padded[phase : phase + written.size] = written
    lumps = padded.reshape(n_blocks, every).sum(axis=1)
    spread = max(1, every // 3)
    flushed = np.zeros((n_blocks, every))
    flushed[1:, :spread] = lumps[:-1, None] / spread
    return flushed.ravel()[phase : phase + written.size]


def _memory(asked: Fields, disk: Fields, host: HostCharacter, rng: np.random.Generator) -> Fields:
    """Memory levels in bytes, drifting to equilibrium after the snapshot."""
    n_steps = disk["missed"].size
    seconds = np.arange(n_steps) * STEP_S - LEAD_S
    drift = host.drift_bytes * (1.0 - np.exp(-(seconds + LEAD_S) / host.drift_s))
    wobble = rng.normal(0.0, HOSTS.cache_wobble_pages, n_steps).cumsum() * PAGE
    # Most reads replace older pages in the cache.
    grown = HOSTS.cache_share * np.cumsum(disk["missed"]) + 0.3 * drift + wobble
    cached = np.clip(grown, 0.0, 0.4 * host.ram_bytes)
    used = np.minimum(asked["memory"], 0.4 * host.ram_bytes)
    return {"drift": drift, "cached": cached, "used": used}


def _guest(
    asked: Fields,
    flow: Fields,
    cpu: Fields,
    disk: Fields,
    memory: Fields,
    host: HostCharacter,
    rng: np.random.Generator,
) -> Fields:
    packets = flow["pkts_out"] + flow["pkts_in"]
    operations = (disk["missed"] + disk["flushed"]) / host.block_bytes
    forks = rng.poisson((asked["forks"] + 0.5) * host.gain[_GAIN["guest.forks"]] * STEP_S)
    switches = (asked["ctxt"] + 0.3 * host.idle_ctxt) * STEP_S + 0.5 * packets + 3.0 * forks
    interrupts = (60.0 + 0.5 * host.idle_ctxt) * STEP_S + 0.6 * packets + 2.0 * operations
    interrupts = interrupts + 0.8 * (cpu["user"] + cpu["system"])
    demand = (asked["cpu_user"] + asked["cpu_sys"]) / host.speed
    running = 1.0 + rng.poisson(np.minimum(demand, 6.0)).astype(np.float64)
    established = np.rint(asked["sockets"])
    half_open = rng.poisson(np.minimum(asked["syn"] * 0.05, 60.0))
    ram = float(host.ram_bytes)
    available = 0.75 * ram - memory["used"] - 0.8 * memory["drift"] - 0.1 * memory["cached"]
    wobble = rng.normal(0.0, 6.0, running.size).cumsum() * PAGE
    return {
        "cpu_user": cpu["user"],
        "cpu_sys": cpu["system"],
        "cpu_iowait": _noisy(disk["busy"] * 60 * STEP_S, host, "guest.cpu_iowait", rng),
        "cpu_softirq": cpu["softirq"],
        "ctxt": _noisy(switches, host, "guest.ctxt", rng),
        "intr": _noisy(interrupts, host, "guest.intr", rng),
        "forks": forks.astype(np.float64),
        "net_rx_bytes": flow["bytes_in"] + 14 * flow["pkts_in"],
        "net_tx_bytes": flow["bytes_out"] + 14 * flow["pkts_out"],
        "net_rx_packets": flow["pkts_in"],
        "net_tx_packets": flow["pkts_out"],
        "procs_running": running,
        "load_1m": _load_average(running - 1.0, float(rng.uniform(0.05, 0.6))),
        "mem_available_bytes": _pages(available + wobble, 0.05 * ram),
        "mem_cached_bytes": _pages(0.1 * ram + memory["cached"], 0.0),
        "mem_dirty_bytes": _pages(disk["dirty"], 0.0),
        "tcp_established": established,
        "tcp_total": 2.0 + established + half_open,
        "top_rss_bytes": _pages(16e6 + memory["used"] + 0.05 * memory["drift"], PAGE),
    }


def _qmp(disk: Fields, host: HostCharacter, rng: np.random.Generator) -> Fields:
    read, written = disk["missed"], disk["flushed"]
    flushes = (
        np.zeros(read.size)
        if host.writethrough
        else rng.poisson(np.minimum(written / host.block_bytes, 20.0) * 0.15).astype(np.float64)
    )
    return {
        "blk_rd_bytes": read,
        "blk_wr_bytes": written,
        "blk_rd_ops": _noisy(read / host.block_bytes, host, "qmp.blk_rd_ops", rng),
        "blk_wr_ops": _noisy(written / host.block_bytes, host, "qmp.blk_wr_ops", rng),
        "blk_flush_ops": flushes,
    }


def _proc(
    guest: Fields,
    qmp: Fields,
    cpu: Fields,
    disk: Fields,
    memory: Fields,
    host: HostCharacter,
    rng: np.random.Generator,
) -> Fields:
    busy = cpu["user"] + cpu["system"] + cpu["softirq"]
    operations = qmp["blk_rd_ops"] + qmp["blk_wr_ops"]
    packets = guest["net_rx_packets"] + guest["net_tx_packets"]
    # Emulation costs user time; with KVM, guest time is accounted by the kernel.
    user = busy * (0.97 if host.kvm else 1.15) + host.idle_cpu * 100 * STEP_S
    system = 0.03 * busy + 0.004 * packets + 0.02 * operations + 0.1
    held = np.maximum.accumulate(memory["used"] + memory["drift"] + memory["cached"])
    growth = np.diff(held, prepend=held[0])
    voluntary = host.idle_ctxt * STEP_S + 0.8 * guest["intr"] + 2.0 * operations
    calls = float(host.counts_io_calls)
    threads = 4 + host.cores + rng.poisson(np.minimum(operations, 8.0))
    return {
        "cpu_user_jiffies": _noisy(user, host, "proc.cpu_user_jiffies", rng),
        "cpu_sys_jiffies": _noisy(system, host, "proc.cpu_sys_jiffies", rng),
        "minor_faults": _noisy(growth / PAGE + 2.0 * STEP_S, host, "proc.minor_faults", rng),
        "major_faults": (rng.random(busy.size) < 0.001).astype(np.float64),
        "ctxt_voluntary": _noisy(voluntary, host, "proc.ctxt_voluntary", rng),
        "ctxt_involuntary": _noisy(0.6 * busy + 0.3, host, "proc.ctxt_involuntary", rng),
        "io_read_bytes": disk["missed"],
        "io_write_bytes": disk["flushed"],
        "io_read_calls": calls * (qmp["blk_rd_ops"] + packets),
        "io_write_calls": calls * (qmp["blk_wr_ops"] + packets + 1.0),
        "rss_bytes": _pages(0.35 * host.ram_bytes + held, PAGE),
        "num_threads": threads.astype(np.float64),
    }


def _load_average(waiting: Floats, start: float) -> Floats:
    """One-minute load average of Linux: an exponential mean, updated every 5 s."""
    every = round(5.0 / STEP_S)
    levels = np.empty(waiting.size // every + 1)
    decay = float(np.exp(-5.0 / 60.0))
    for k in range(levels.size):
        levels[k] = start
        start = start * decay + float(waiting[min((k + 1) * every, waiting.size) - 1]) * (1 - decay)
    return np.round(np.repeat(levels, every)[: waiting.size], 2)


def _pages(level: Floats, least: float) -> Floats:
    whole: Floats = np.maximum(np.rint(level / PAGE) * PAGE, least // PAGE * PAGE)
    return whole
