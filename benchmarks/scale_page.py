"""Writes docs/concepts/scale.md from the results of the data path's benchmark."""

import json
from pathlib import Path
from typing import Any

PAGE = Path(__file__).parents[1] / "docs" / "concepts" / "scale.md"
LAB_EPISODES = 76_660
LAB_BYTES = 90e9
CORES = (1, 2, 64)


def write(result: dict[str, Any]) -> None:
    PAGE.parent.mkdir(parents=True, exist_ok=True)
    PAGE.write_text(page(result), encoding="utf-8")


def page(result: dict[str, Any]) -> str:
    """Return the page's text."""
    newline = "\n"
    figures, machine = result["figures"], result["machine"]
    # Of what two processes that share nothing gained in the same minutes; the rest is neighbours.
    share = min(1.0, figures["two_processes"] / figures["two_spinning"])
    stages = {
        "validate and extract from `.tar.zst`, one reading": figures["lab_archive"],
        "the same in two stages, each reading": figures["lab_two_stages"],
        "peer: orjson with the same checks, `np.percentile`": figures["lab_peer"],
        "sweep again, nothing new": figures["resweep_ms"],
    }
    rows = [
        f"| {name} | {ms:.2f} | " + " | ".join(_time(ms, cores, share) for cores in CORES) + " |"
        for name, ms in stages.items()
    ]
    lines = [
        f"| {line['name']} | {line['measured']:.3g} {line['unit']} | {line['wanted']} "
        f"| {'met' if line['met'] else '**missed**'} | {line['detail']} |"
        for line in result["lines"]
    ]
    return f"""# Scale

<!-- Written by `make bench` from benchmarks/results/data_path.json; do not edit. -->

What {LAB_EPISODES:,} episodes cost, projected from figures measured on {machine["processor"]},
{machine["cores"]} cores, Python {machine["python"]}, with a load average of
{machine["load_average"][0]} at the start.

| stage | CPU ms per episode | 1 core | 2 cores | 64 cores |
|---|---|---|---|---|
{newline.join(rows)}

## What this assumes

- Lab episodes hold {LAB_BYTES / LAB_EPISODES / 1e6:.2f} MB of rows. The stages were measured on
  recorded episodes of {figures["megabytes"]:.2f} MB, made as long as the lab's: their rows again,
  later, with counters that count on. A sweep with nothing new reads no rows.
- Each of n processes works at {share:.0%} of one alone. Two gained
  {figures["two_processes"]:.2f} ×, where two loops that share nothing gained
  {figures["two_spinning"]:.2f} × in the same minutes. That 64 do as well is an assumption: nothing
  is shared but the disk and the parent that collects results.
- The disk delivers. An archive is 6 to 8 % of its rows' size: about 6 GB in all.
- An episode has {figures["windows"]:.0f} windows here; none is stored twice. Memory does not grow
  with the store (see below).

## What was measured

Ratios of CPU time in one run, medians of interleaved repetitions, one thread per process; wall time
where it says so.

| what | measured | wanted | | figures |
|---|---|---|---|---|
{newline.join(lines)}

Grids are float32. A 16-bit grid would halve them again; it is not offered, because no benchmark has
shown that macro F1 stays the same.
"""


def _time(ms: float, cores: int, share: float) -> str:
    seconds = ms / 1e3 * LAB_EPISODES / (1 if cores == 1 else cores * share)
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"


if __name__ == "__main__":
    path = Path(__file__).parent / "results" / "data_path.json"
    write(json.loads(path.read_text(encoding="utf-8")))
