"""What watching one's own machine costs: agent, leading model and details, after learning.

``python -m benchmarks.watch``; needs the models of the host split (`make run`) and a machine that
does nothing else.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.live import cpu_s
from benchmarks.measuring import Line, at_most, machine

RESULT = Path(__file__).parent / "results" / "watch.json"
ROOT = Path(__file__).parents[1]
LEARN_S = 60
READY_S = 100.0
"""Seconds after the start at which it has started and learnt, and the share of a core begins."""


def tree(pid: int) -> list[int]:
    """List a process and all its descendants."""
    found = [pid]
    for task in Path(f"/proc/{pid}/task").iterdir():
        for child in (task / "children").read_text().split():
            found += tree(int(child))
    return found


def pss_mb(pid: int) -> float:
    """Return what a process holds, shared pages by their share (PSS), 10⁶ bytes."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("Pss:")).split()[1]) * 1024 / 1e6


def watched(command: list[str], folder: Path, seconds: float) -> dict[str, Any]:
    """Run the command through its learning, then measure all its processes for some seconds."""
    rows = folder / "watch.jsonl"
    with (folder / "printed.txt").open("w") as printed:
        process = subprocess.Popen(
            [*command, "--out", str(rows)], stdout=printed, stderr=subprocess.STDOUT, cwd=ROOT
        )
    try:
        time.sleep(READY_S)
        if process.poll() is not None:
            raise SystemExit(f"cis490 watch failed:\n{(folder / 'printed.txt').read_text()}")
        pids = tree(process.pid)
        began, before = time.monotonic(), sum(map(cpu_s, pids))
        time.sleep(seconds)
        took, cpu = time.monotonic() - began, sum(map(cpu_s, pids)) - before
        memory = sum(map(pss_mb, pids))
    finally:
        process.terminate()
        process.wait()
    lines = [json.loads(line) for line in rows.read_text().splitlines()]
    agent = next(line["agent"] for line in reversed(lines) if line.get("agent"))
    return {
        "seconds_watched": took,
        "processes": len(pids),
        "share_of_a_core": cpu / took,
        "pss_mb": memory,
        "agent": agent,
        "printed": (folder / "printed.txt").read_text().splitlines(),
    }


def lines_of(found: dict[str, Any]) -> list[Line]:
    """Compare what was measured with what was wanted."""
    agent = found["agent"]
    return [
        at_most(
            "watch: share of one core, %", 100 * found["share_of_a_core"], 2, unit="%",
            detail=f"{found['processes']} processes, {found['seconds_watched']:.0f} s",
        ),
        at_most("watch: memory of its processes (PSS), MB", found["pss_mb"], 200, unit="MB"),
        at_most("agent: share of one core, %", agent["cpu_percent"], 0.5, unit="%"),
        at_most("agent: lateness p99, ms", agent["lateness_p99_ms"], 10, unit="ms"),
        at_most("agent: memory (RSS), MB", agent["rss_bytes"] / 1e6, 45, unit="MB"),
    ]  # fmt: skip


def main() -> None:
    """Measure, print, and keep the result."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=ROOT / "data")
    parser.add_argument("--seconds", type=float, default=120.0, help="to measure, after learning")
    options = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"
    cli = [sys.executable, "-m", "cis490_pipeline"]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        bundle = ["bundle", str(folder / "bundle"), "--data", str(options.data.resolve())]
        subprocess.run([*cli, *bundle], check=True, cwd=ROOT, stdout=subprocess.DEVNULL)
        command = [*cli, "watch", "--bundle", str(folder / "bundle"), "--learn", f"{LEARN_S}s"]
        found = watched([*command, "--state", str(folder / "state")], folder, options.seconds)
    lines = lines_of(found)
    for line in lines:
        met = "met" if line.met else "NOT MET"
        print(f"{line.name:<46} {line.measured:8.2f} {line.wanted:>8} {met}  {line.detail}")
    content = {"machine": machine(), **found, "lines": [line.to_dict() for line in lines]}
    RESULT.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    sys.exit(0 if all(line.met for line in lines) else 1)


if __name__ == "__main__":
    main()
