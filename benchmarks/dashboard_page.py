"""Writes docs/concepts/dashboard-measured.md from the results of the dashboard's benchmark."""

from pathlib import Path
from typing import Any

PAGE = Path(__file__).parents[1] / "docs" / "concepts" / "dashboard-measured.md"


def write(result: dict[str, Any]) -> None:
    PAGE.write_text(page(result), encoding="utf-8")


def page(result: dict[str, Any]) -> str:
    """Return the page's text."""
    newline = "\n"
    machine = result["machine"]
    loads = ", ".join(map(str, machine["load_average"]))
    rows = [
        f"| {line['name']} | {line['measured']:,.4g} {line['unit']} | {line['wanted']} "
        f"| {'met' if line['met'] else '**missed**'} | {line['detail']} |"
        for line in result["lines"]
    ]
    return f"""# The dashboard, measured

<!-- Written by `make bench-dashboard` from benchmarks/results/dashboard.json; do not edit. -->

Measured on {machine["processor"]}, {machine["cores"]} cores, Python {machine["python"]}, with a
load average of {loads} over 1, 5 and 15 minutes at the start. The dashboard, the
browsers of the load test and the producer are processes of their own on that one machine, and take
CPU from each other.

| what | measured | wanted | | detail |
|---|---|---|---|---|
{newline.join(rows)}

A delivery is one event that one browser received; each carries the time it was sent. Events are
collected for 50 ms, so that half of that is in every figure of latency. CPU is that of the
server's process, user and system. The page was drawn by Debian's Chromium without a graphics card;
its CPU is what the page's main thread worked. Rasterisation is in other threads, and not counted.
"""
