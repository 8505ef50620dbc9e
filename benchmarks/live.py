"""What live inference costs: a recorded episode at its own pace, then an hour of it at once.

``python -m benchmarks.live``; needs the models of the host split (`make run`).
"""

import argparse
import json
import os
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

from benchmarks.measuring import Line, at_most
from cis490_pipeline.compute.process import pin_library_threads
from cis490_pipeline.domain import NS_PER_S

RESULT = Path(__file__).parent / "results" / "live.json"
ROOT = Path(__file__).parents[1]
EPISODE = ROOT / "data/sample/episodes/lab-nuc/01M81BARRCN7QZCM8VAFDHK0QX.tar.zst"
SETTLED_S = 20.0
"""Seconds after the start from which the share of a core is taken: start and calibration apart."""
HOUR_S = 3600
TICKS = os.sysconf("SC_CLK_TCK")


def cpu_s(pid: int) -> float:
    """CPU time of a process so far, s."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def peak_mb(pid: int) -> float:
    """Most memory a process has held, 10⁶ bytes."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    found = next(line for line in lines if line.startswith("VmHWM"))
    return int(found.split()[1]) * 1024 / 1e6


def at_real_speed(data: Path) -> dict[str, float]:
    """Run the command on an episode at its own pace, and watch it."""
    command = [sys.executable, "-m", "cis490_pipeline", "live", str(EPISODE)]
    process = subprocess.Popen(
        [*command, "--speed", "1", "--plain", "--data", str(data)],
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    )
    began, samples, peak = time.monotonic(), [], 0.0
    while process.poll() is None:
        try:
            samples.append((time.monotonic() - began, cpu_s(process.pid)))
            peak = max(peak, peak_mb(process.pid))
        except (FileNotFoundError, ProcessLookupError, StopIteration):
            break
        time.sleep(0.5)
    assert process.stdout is not None
    windows = sum(" window " in line for line in process.stdout)
    if process.wait() or not windows:
        raise SystemExit("cis490 live failed; run `make run` first, which trains its models")
    settled = [(t, cpu) for t, cpu in samples if t >= SETTLED_S]
    (t0, cpu0), (t1, cpu1) = settled[0], settled[-1]
    return {
        "share_of_a_core": (cpu1 - cpu0) / (t1 - t0),
        "start_cpu_s": cpu0,
        "seconds_watched": t1 - t0,
        "windows": windows,
        "peak_mb": peak,
    }


def an_hour_at_once(data: Path) -> dict[str, float]:
    """Feed an hour of rows as fast as they are taken: time per window, growth of memory."""
    from cis490_pipeline.live.engine import LiveEngine
    from cis490_pipeline.live.feeds.folder import ArchiveFeed
    from cis490_pipeline.live.feeds.rows import LiveRow
    from cis490_pipeline.live.loading import load_models

    folders = sorted(path for path in (data / "artifacts" / "host").iterdir() if path.is_dir())
    engine = LiveEngine(load_models(folders).models)
    feed = ArchiveFeed(EPISODE)
    rows: list[LiveRow] = []
    while not feed.ended:
        rows += [row for row in feed.poll(0) if isinstance(row, LiveRow)]
    length_ns = rows[-1].t_wall_ns - rows[0].t_wall_ns + NS_PER_S // 10
    cpu, windows, early_mb = time.process_time(), 0, 0.0
    for lap in range(HOUR_S * NS_PER_S // length_ns + 1):
        for row in rows:
            moved = replace(row, t_wall_ns=row.t_wall_ns + lap * length_ns)
            windows += len(engine.feed(moved, 0))
        engine.notes.clear()
        if lap == 2:
            early_mb = peak_mb(os.getpid())
    return {
        "models": len(folders),
        "windows": windows,
        "ms_per_window": (time.process_time() - cpu) / windows * 1e3,
        "growth_mb": peak_mb(os.getpid()) - early_mb,
    }


def lines_of(slow: dict[str, float], hour: dict[str, float]) -> list[Line]:
    """Compare what was measured with what was wanted."""
    amounts = f"{hour['models']:.0f} models, {slow['windows']:.0f} windows, one per 5 s"
    return [
        at_most("share of one core, %", 100 * slow["share_of_a_core"], 5, unit="%", detail=amounts),
        at_most("memory of the process, MB", slow["peak_mb"], 200, unit="MB"),
        at_most(
            "memory after an hour more than after minutes, MB", hour["growth_mb"], 5, unit="MB"
        ),
        at_most("CPU per window and its rows, ms", hour["ms_per_window"], 250, unit="ms"),
    ]


def main() -> None:
    """Measure, print, and keep the result."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=ROOT / "data")
    data = parser.parse_args().data.resolve()
    pin_library_threads()
    slow, hour = at_real_speed(data), an_hour_at_once(data)
    lines = lines_of(slow, hour)
    for line in lines:
        met = "met" if line.met else "NOT MET"
        print(f"{line.name:<52} {line.measured:8.2f} {line.wanted:>8} {met}  {line.detail}")
    print(f"start and calibration: {slow['start_cpu_s']:.2f} s of CPU")
    content = {"at_real_speed": slow, "hour": hour, "lines": [line.to_dict() for line in lines]}
    RESULT.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    sys.exit(0 if all(line.met for line in lines) else 1)


if __name__ == "__main__":
    main()
