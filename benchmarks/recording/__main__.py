"""What the recorder is worth, measured on what it records: ``python -m benchmarks.recording``.

Records `benchmarks/plans/labels.toml` by the product's own code, then measures the store: rates,
lateness and losses, episodes an hour, labels against behaviour, the guest's count against the
tap's. Half an hour on two cores; ``--resume`` goes on where a stopped call was.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from benchmarks.measuring import Line, at_least, at_most, machine
from benchmarks.recording.episodes import Recorded, read_store, sound
from benchmarks.recording.labels import SEEN, by_the_guests_log, control, edges, summaries
from benchmarks.recording.rates import by_host, row_of, throughput
from cis490_pipeline.experiment.stages.provenance import commit
from cis490_pipeline.recording.lanes import RecordingConfig, lacking, record_plan
from cis490_pipeline.recording.plan import RecordingPlan, read_plan
from cis490_pipeline.recording.schedule import schedule
from cis490_pipeline.storage.files import read_json, write_json

ROOT = Path(__file__).parents[2]
RESULT = ROOT / "benchmarks" / "results" / "recording.json"
PLAN = ROOT / "benchmarks" / "plans" / "labels.toml"
QUICK_EPISODES = 12
TALKING = ("scan-and-dial", "flood", "exfil-burst")
"""Mimics for the comparison of both counts: connections, datagrams, and full-sized packets."""
CALLS, BOTH_COUNTS = "calls.jsonl", "in_guest.json"
MEDIAN_S, P95_S, EPISODES_PER_HOUR = 0.3, 1.0, 90


def beside(store: Path, what: str) -> Path:
    """Path of a file of this benchmark beside the store, which holds episodes alone."""
    return store.with_name(f"{store.name}.{what}")


def record(plan: RecordingPlan, options: argparse.Namespace) -> None:
    """Record what the store lacks, and note how long it took and how busy the machine was."""
    text, _, dirty = commit().partition("+")
    config = RecordingConfig(
        store=options.store,
        image=options.image,
        lanes=options.lanes,
        resume=options.resume,
        commit=text,
        dirty=bool(dirty),
    )
    load, began = [round(value, 2) for value in os.getloadavg()], time.monotonic()
    failures: list[str] = []
    options.store.mkdir(parents=True, exist_ok=True)
    before = lacking(options.store, schedule(plan))
    try:
        failures = record_plan(plan, config, _show).failures
    finally:
        # A stopped call has recorded, too; the runs that it cut off count as time alone.
        call = {
            "lanes": options.lanes,
            "recorded": len(before) - len(lacking(options.store, schedule(plan))),
            "failures": failures,
            "wall_s": round(time.monotonic() - began, 1),
            "load": load,
        }
        with beside(options.store, CALLS).open("a", encoding="utf-8") as journal:
            journal.write(json.dumps(call) + "\n")


def _show(what: str, done: int, total: int, detail: str = "") -> None:
    print(f"{what} {done}/{total} {detail}".rstrip(), file=sys.stderr)


def in_guest(plan_file: Path, plan: RecordingPlan, image: Path) -> list[dict[str, Any]]:
    """Compare the guest's count with the tap's: one run of each mimic that talks, side by side."""
    first: dict[str, int] = {}
    for planned in schedule(plan):
        if planned.treatment is not None:
            first.setdefault(planned.treatment.activity, planned.number)
    running = []
    with tempfile.TemporaryDirectory() as scratch:
        for name in TALKING:
            folder = Path(scratch) / name
            folder.mkdir()
            words = [str(plan_file), str(first[name]), str(image), str(folder)]
            command = [sys.executable, "-m", "benchmarks.recording.in_guest", *words]
            running.append(subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT))
        texts = [process.communicate()[0] for process in running]
    if any(process.returncode for process in running):
        raise SystemExit("a run to compare both counts failed; its message is above")
    return [json.loads(text.splitlines()[-1]) for text in texts]


def measured(episodes: Sequence[Recorded], calls: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Measure a recorded store."""
    rng = np.random.default_rng(0)
    rows, whole = [row_of(episode) for episode in episodes], sound(episodes)
    return {
        "episodes": rows,
        "hosts": by_host(rows),
        "throughput": throughput(calls, whole),
        "labels": summaries(edges(whole, rng)),
        "control": {profile: control(whole, profile, rng) for profile in SEEN},
        "guests_log": by_the_guests_log(whole),
    }


def lines_of(found: dict[str, Any]) -> list[Line]:
    """Compare what was measured with what was wanted."""
    rows, rate = found["episodes"], found["throughput"]
    accepted = sum(row["verdict"] == "accepted" for row in rows)
    lines = [
        at_least("episodes accepted", accepted, len(rows), unit="", detail=f"of {len(rows)}"),
        at_most(
            "packets dropped by the recorder", sum(row["packets_dropped"] for row in rows), 0,
            unit="", detail=f"of {sum(row['packets'] for row in rows)}",
        ),
    ]  # fmt: skip
    if rate["episodes_per_hour"]:
        detail = f"{rate['lanes']} lanes, {rate['episodes']} of {rate['mean_length_s']} s"
        lines.append(
            at_least(
                "episodes an hour", rate["episodes_per_hour"], EPISODES_PER_HOUR,
                unit="/h", detail=detail,
            )
        )  # fmt: skip
    for row in found["labels"]:
        if "beside" in row or "median_s" not in row:
            continue
        name = f"{row['profile']}, {row['edge']}"
        detail = f"n = {row['n']} in {row['episodes']}, {row['not_found']} not found"
        for what, limit in (("median", MEDIAN_S), ("p95", P95_S)):
            interval = row.get(f"{what}_ci_s")
            lines.append(
                at_most(
                    f"label to change point, {name}: {what}, s", row[f"{what}_s"], limit,
                    unit="s", detail=f"{interval}, {detail}",
                )
            )  # fmt: skip
    lines += [
        at_least(
            f"in-guest = tap, {one['profile']}", one["same"], 1, unit="",
            detail=f"{one['sums']['pkts_out']['tap']} packets out, {one['seconds']} s",
        )
        for one in found.get("in_guest", [])
    ]  # fmt: skip
    return lines


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--image", type=Path, help="of `cis490 record image`; without it, what is there is measured"
    )
    parser.add_argument("--store", type=Path, required=True)
    parser.add_argument("--lanes", type=int, default=4)
    parser.add_argument("--resume", action="store_true")
    parser.add_argument("--quick", action="store_true", help="a quarter of it, nothing kept")
    return parser.parse_args()


def main() -> None:
    """Record, measure, print, and keep the result."""
    options = _options()
    plan = read_plan(PLAN)
    if options.quick:
        plan = msgspec.structs.replace(plan, episodes=QUICK_EPISODES)
    both_counts = beside(options.store, BOTH_COUNTS)
    if options.image is not None:
        record(plan, options)
        if not both_counts.exists():
            write_json(both_counts, in_guest(PLAN, plan, options.image.resolve()))
    calls = beside(options.store, CALLS)
    journal = calls.read_text(encoding="utf-8").splitlines() if calls.exists() else []
    found = measured(read_store(options.store), [json.loads(line) for line in journal])
    if both_counts.exists():
        found["in_guest"] = read_json(both_counts)
    lines = lines_of(found)
    for line in lines:
        met = "met" if line.met else "NOT MET"
        print(f"{line.name:<52} {line.measured:8.2f} {line.wanted:>8} {met}  {line.detail}")
    content = {
        "machine": machine(),
        "commit": commit(),
        **found,
        "lines": [line.to_dict() for line in lines],
    }
    if not options.quick:
        RESULT.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    sys.exit(0 if all(line.met for line in lines) else 1)


if __name__ == "__main__":
    main()
