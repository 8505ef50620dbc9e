"""What the agent does with a capture, and what that costs; a process of its own.

It imports nothing but `collect`, so that its memory is that of a device's agent. Prints a JSON
object when its standard input ends.
"""

import json
import resource
import select
import sys
import time
from pathlib import Path

from cis490_pipeline.collect.capture import open_capture
from cis490_pipeline.collect.contract import BUCKET_NS

TICK_NS = 10 * BUCKET_NS


def resident_mb() -> float:
    resident = int(Path("/proc/self/statm").read_text().split()[1])
    return resident * resource.getpagesize() / 1e6


def cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def main() -> None:
    """Close ten buckets each second until standard input ends."""
    if sys.argv[1] != "ring":
        # As on a device without it.
        sys.modules["numpy"] = None  # type: ignore[assignment]
    capture = open_capture(["v0"], ring=sys.argv[1] != "sockets")
    end_ns = time.monotonic_ns() // TICK_NS * TICK_NS
    print("ready", flush=True)
    sums: dict[str, int] = {}
    n_null = n_waked = 0
    memory_mb = [resident_mb()]
    began_cpu_s, began_s = cpu_s(), time.monotonic()
    ending = ended = closing = False
    while not closing:
        wait_s = max(0.0, (end_ns + TICK_NS + capture.lag_ns - time.monotonic_ns()) / 1e9)
        watched = [*capture.filenos(), *([] if ending else [sys.stdin])]
        ready, _, _ = select.select(watched, [], [], wait_s)
        # What was sent before the end is counted by the second tick after it.
        ending = ending or sys.stdin in ready
        n_waked += 1
        capture.receive()
        if time.monotonic_ns() < end_ns + TICK_NS + capture.lag_ns:
            time.sleep(capture.pause_ns / 1e9)
            continue
        closing = ending and ended
        ended = ending
        for _ in range(10):
            end_ns += BUCKET_NS
            row = capture.close_bucket(end_ns, end_ns)
            n_null += row["pkts_out"] is None
            for field, value in row.items():
                if type(value) is int:
                    sums[field] = sums.get(field, 0) + value
        memory_mb.append(resident_mb())
    elapsed_s = time.monotonic() - began_s
    result = {
        **{field: value for field, value in sums.items() if not field.startswith("t_")},
        "buckets_without_amounts": n_null,
        "kernel": capture.statistics()._asdict(),
        "share_of_a_core": (cpu_s() - began_cpu_s) / elapsed_s,
        "cpu_us_per_packet": 1e6 * (cpu_s() - began_cpu_s) / max(capture.statistics().packets, 1),
        "wake_ups_per_s": n_waked / elapsed_s,
        "memory_at_start_mb": memory_mb[0],
        "memory_at_half_mb": memory_mb[len(memory_mb) // 2],
        "memory_at_end_mb": memory_mb[-1],
        "memory_peak_mb": max(memory_mb),
    }
    print(json.dumps(result), flush=True)


if __name__ == "__main__":
    main()
