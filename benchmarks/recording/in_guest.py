"""The guest's own count of its packets beside the tap's: the same sums, from the same run.

``python -m benchmarks.recording.in_guest PLAN NUMBER IMAGE FOLDER`` boots one machine of a plan,
whose agent captures too, and prints what both counted. Nothing of it goes into a store.
"""

import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from cis490_pipeline.domain import CHANNELS, NS_PER_S, Source
from cis490_pipeline.recording.channel.clocks import ClockMap, fit_clock
from cis490_pipeline.recording.episode import Run
from cis490_pipeline.recording.host.machine import MachineFiles, dies_with
from cis490_pipeline.recording.host.network import enter_namespace
from cis490_pipeline.recording.image import Image
from cis490_pipeline.recording.lane import boot_and_record
from cis490_pipeline.recording.plan import read_plan
from cis490_pipeline.recording.schedule import schedule

FIELDS: Final = tuple(channel.field for channel in CHANNELS if channel.source is Source.NETFLOW)
DISTINCT: Final = ("dst_ips", "dst_ports")
"""Distinct in a bucket: the guest's buckets begin at other moments than the tap's."""
QUIET_NS: Final = NS_PER_S // 2
Row = dict[str, Any]


def compare(tap: Sequence[Row], guest: Sequence[Row], clock: ClockMap) -> dict[str, Any]:
    """Sum both over the longest stretch that begins and ends in silence.

    Parameters
    ----------
    tap : netflow rows of the recorder.
    guest : those of the guest's agent, with times of the guest.
    clock : places them in the host's time.

    Returns
    -------
    Sums by field of both, their length, the buckets of unknown amounts, and the verdict.

    Raises
    ------
    SystemExit
        If there is no such stretch, or the guest sent no netflow.
    """
    placed = [(clock.host_ns(row["t_mono_ns"]), row) for row in guest]
    if not placed:
        raise SystemExit(
            "the guest sent no netflow rows: make its image again, cis490 record image"
        )
    first_ns, last_ns = placed[0][0] + NS_PER_S, placed[-1][0] - NS_PER_S
    inside = [row for row in tap if first_ns < row["t_wall_ns"] < last_ns]
    quiet = _middles_of_silence(inside)
    if len(quiet) < 2:
        raise SystemExit("no stretch of the run begins and ends in silence of half a second")
    begin_ns, end_ns = quiet[0], quiet[-1]
    of_tap = [row for row in tap if begin_ns < row["t_wall_ns"] <= end_ns]
    of_guest = [row for t_ns, row in placed if begin_ns < t_ns <= end_ns]
    sums = {name: {"tap": _sum(of_tap, name), "guest": _sum(of_guest, name)} for name in FIELDS}
    unknown = {
        "tap": sum(row["pkts_out"] is None for row in of_tap),
        "guest": sum(row["pkts_out"] is None for row in of_guest),
    }
    return {
        "seconds": round((end_ns - begin_ns) / NS_PER_S, 1),
        "buckets": {"tap": len(of_tap), "guest": len(of_guest)},
        "buckets_unknown": unknown,
        "sums": {name: both for name, both in sums.items() if name not in DISTINCT},
        "distinct_per_bucket": {name: sums[name] for name in DISTINCT},
        "same": not any(unknown.values())
        and all(both["tap"] == both["guest"] for n, both in sums.items() if n not in DISTINCT),
    }


def _middles_of_silence(rows: Sequence[Row]) -> list[int]:
    """Return times with no packet a quarter of a second before and after, Unix ns."""
    middles, since_ns = [], None
    for row in rows:
        end_ns = row["t_wall_ns"]
        if row["pkts_out"] != 0 or row["pkts_in"] != 0:
            since_ns = None
            continue
        since_ns = end_ns if since_ns is None else since_ns
        if end_ns - since_ns >= QUIET_NS:
            middles.append(end_ns - QUIET_NS // 2)
    return middles


def _sum(rows: Sequence[Row], name: str) -> int:
    return sum(row[name] or 0 for row in rows)


def checked(run: Run, files: MachineFiles) -> dict[str, Any]:
    """Compare both counts of one run."""
    if run.failure is not None or run.sampled is None:
        raise SystemExit(f"the run failed: {run.failure}; it printed: {files.last_words()}")
    return compare(run.sampled.netflow, run.sampled.guest.netflow, fit_clock(run.brackets))


def main() -> None:
    """Record one run of a plan in this process's own namespace, and print the comparison."""
    plan, number, image, folder = sys.argv[1:]
    planned = schedule(read_plan(Path(plan)))[int(number)]
    opened = Image.opened(Path(image).resolve())
    parent = os.getppid()
    # Paths of sockets have at most 107 bytes.
    os.chdir(folder)
    enter_namespace()
    # So that an interrupted benchmark leaves no machine.
    dies_with(parent)()
    files = MachineFiles(Path())
    run = boot_and_record(planned, opened, files, capture_inside=True)
    profile = planned.treatment.activity if planned.treatment else None
    print(json.dumps({"profile": profile, "host": planned.host.name, **checked(run, files)}))


if __name__ == "__main__":
    main()
