"""Writes docs/concepts/lab-measured.md from the results of `make bench-lab`."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from cis490_pipeline.domain import PHASES

PAGE: Final = Path(__file__).parents[2] / "docs" / "concepts" / "lab-measured.md"


def write(result: Mapping[str, Any]) -> None:
    """Write the page."""
    PAGE.write_text(page(result), encoding="utf-8")


def page(result: Mapping[str, Any]) -> str:
    """Return the page's text; what was not measured is named."""
    machine, n = result["machine"], _of(result)
    versions = ", ".join(f"{name} {v}" for name, v in sorted(result["versions"].items()))
    own = (
        _section("The store's own test hosts", result["own"])
        if "own" in result
        else "## The store's own test hosts\n\nNot opened in this run.\n"
    )
    return f"""# The recorded corpus, measured

<!-- Written by `make bench-lab` from benchmarks/results/lab.json; do not edit. -->

Models beside peers on [`data/lab`](../../data/lab/README.md), {n["n_episodes"]} episodes and
{n["n_windows"]} windows of the {len(result["hosts"])} machines to train and choose on, each left
out in turn: it is scored, the next by name validates, the others train. {result["seeds"]} seeds;
realistic variant, calibrated by episode. Intervals resample episodes; paired tests exchange two
contestants' predictions episode by episode, with Holm's correction over a table. Measured on
{result["date"]} on {machine["processor"]}, {machine["cores"]} cores, one thread. With {versions}.

Peers as their users run them: MiniRocket with a ridge classifier, MultiRocketHydra and QUANT on
calibrated windows, ExtraTrees and XGBoost on features; all weigh classes by inverse frequency.
`_summary` and `_history` name the kind of features. The ensemble is the mean of the probabilities
of the trees and of the net that is best in this very table.

{_section("Models and peers", result["contest"])}
{_section("Parts of the history", result["ablation"])}
All rows of this table are the trees; `all` is compared with the others. Bins in log units are means
of the log1p values, in linear units of the values themselves, squashed by their quantum: see
[features](features.md).

{own}"""


def _of(result: Mapping[str, Any]) -> Mapping[str, Any]:
    first: Mapping[str, Any] = result["contest"]["standings"][0]
    return first


def _section(title: str, section: Mapping[str, Any]) -> str:
    against = {row["second"]: row for row in section["pairs"]}
    first = next((row["first"] for row in section["pairs"]), None)
    rows = [
        (
            f"`{row['name']}`",
            f"{row['macro_f1']:.3f} [{row['ci_low']:.3f}, {row['ci_high']:.3f}]",
            *(f"{row['by_phase'][str(phase)]:.2f}" for phase in PHASES),
            _difference(against.get(row["name"])),
            f"{row['cpu_seconds']:.0f}",
        )
        for row in section["standings"]
    ]
    difference = f"`{first}` is ahead by, p" if first else "difference"
    heading = ("contestant", "macro F1", *map(str, PHASES), difference, "CPU, s")
    hosts = sorted(section["standings"][0]["by_host"])
    by_host = [
        (f"`{row['name']}`", *(f"{row['by_host'][host]:.2f}" for host in hosts))
        for row in section["standings"]
    ]
    return f"""## {title}

{_table(heading, rows)}

By machine:

{_table(("contestant", *hosts), by_host)}
"""


def _difference(row: Mapping[str, Any] | None) -> str:
    if row is None:
        return "–"
    return (
        f"{row['difference']:+.3f} [{row['ci_low']:+.3f}, {row['ci_high']:+.3f}], "
        f"{row['p_holm']:.3f}"
    )


def _table(heading: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [heading, ("---", *("---:" for _ in heading[1:])), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)
