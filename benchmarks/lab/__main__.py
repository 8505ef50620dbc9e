"""`make bench-lab`: models, peers, and parts of the history on `data/lab`, hosts left out in turn.

Each finished training is kept in the work folder; a stopped run goes on where it was. Without
``--own`` no test host is opened; each run with it is logged in docs/decisions.md.
"""

import argparse
import json
import tomllib
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from benchmarks.contest import Arrangement
from benchmarks.kept import Kept
from benchmarks.lab import contestants, page
from benchmarks.lab.contestants import Contestant
from benchmarks.lab.folds import LAB, LabSides, lab_sides
from benchmarks.lab.tables import Runs, ensemble, pairs, standings
from benchmarks.measuring import machine
from cis490_pipeline.checkpoints.versions import library_versions
from cis490_pipeline.config import FILE_NAME
from cis490_pipeline.domain import PHASES

RESULTS: Final = Path(__file__).parents[1] / "results" / "lab.json"
SECTIONS: Final = ("contest", "ablation")
NETS: Final = ("mlp_history", "cnn", "gru", "lstm", "transformer")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--store", type=Path, default=LAB)
    parser.add_argument("--work", type=Path, default=Path("data/bench-lab"))
    parser.add_argument("--seeds", type=int, default=3, help="of each training")
    parser.add_argument("--only", nargs="+", metavar="NAME", help="of these contestants")
    parser.add_argument("--sections", nargs="+", choices=SECTIONS, default=SECTIONS)
    parser.add_argument("--own", action="store_true", help="open the store's own test hosts too")
    parser.add_argument("--dry", action="store_true", help="print, and write no result")
    options = parser.parse_args()
    sides = lab_sides(options.work, options.store)
    settings = tomllib.loads((options.store / FILE_NAME).read_text(encoding="utf-8"))
    result = measure(
        sides,
        settings.get("models", {}),
        work=options.work,
        seeds=options.seeds,
        only=options.only,
        sections=options.sections,
        own=options.own,
    )
    show(result)
    if not options.dry and not options.only:
        RESULTS.write_text(json.dumps(result, indent=1, ensure_ascii=False) + "\n", "utf-8")
        page.write(result)


def measure(
    sides: LabSides,
    settings: Mapping[str, Mapping[str, Any]],
    *,
    work: Path,
    seeds: int,
    only: Iterable[str] | None = None,
    sections: Iterable[str] = SECTIONS,
    own: bool = False,
) -> dict[str, Any]:
    """Measure what is asked for; train what is not kept yet."""
    versions = library_versions() | {name: version(name) for name in ("aeon", "numba")}
    result: dict[str, Any] = {
        "date": datetime.now(UTC).date().isoformat(),
        "machine": machine(),
        "versions": versions,
        "hosts": list(sides.hosts),
        "seeds": seeds,
        "settings": {name: dict(of) for name, of in settings.items()},
    }
    kept = Kept(work / "kept", versions)
    wanted = {
        "contest": {**contestants.models(settings), **contestants.peers()},
        "ablation": contestants.ablation(settings.get("gbt", {})),
    }
    places = {host: sides.without(host) for host in sides.hosts}
    for section in sections:
        chosen = _chosen(wanted[section], only)
        runs = _runs(kept, places, chosen, seeds)
        if section == "contest":
            result[section] = _contest(runs)
            if own:
                result["own"] = _contest(_runs(kept, {"own": sides.own()}, chosen, seeds))
        elif chosen:
            rows = standings(runs)
            against = [] if "all" not in chosen else pairs(runs, "all", chosen)
            result[section] = {"standings": rows, "pairs": against}
    return result


def _chosen(rows: Mapping[str, Contestant], only: Iterable[str] | None) -> Mapping[str, Contestant]:
    names = None if only is None else set(only)
    return {name: of for name, of in rows.items() if names is None or name in names}


def _runs(
    kept: Kept,
    places: Mapping[str, Arrangement],
    chosen: Mapping[str, Contestant],
    seeds: int,
) -> Runs:
    todo = [(name, host, seed) for seed in range(seeds) for host in places for name in chosen]
    runs = {}
    with Progress(console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("train", total=len(todo))
        for name, host, seed in todo:
            progress.update(task, description=f"{name}, {host}, seed {seed}")
            runs[name, host, seed] = chosen[name].run(kept, places[host], seed)
            progress.advance(task)
    return runs


def _contest(runs: Runs) -> dict[str, Any]:
    """Standings with the ensemble of trees and the best net, and the best row against the others.

    The net is the best of these very windows, so that the ensemble's row is a little too good; on
    the store's own sides the one chosen here is scored.
    """
    rows = {row["name"]: row for row in standings(runs)}
    nets = [name for name in NETS if name in rows]
    if "gbt_history" in rows and nets:
        net = max(nets, key=lambda name: float(rows[name]["macro_f1"]))
        runs = {**runs, **ensemble(runs, ("gbt_history", net), f"ensemble with {net}")}
    ranked = standings(runs)
    first = next((r["name"] for r in ranked if r["name"] not in contestants.peers()), None)
    others = [row["name"] for row in ranked]
    return {"standings": ranked, "pairs": [] if first is None else pairs(runs, first, others)}


def show(result: Mapping[str, Any]) -> None:
    """Print each section's table."""
    console = Console()
    for section in ("contest", "own", "ablation"):
        if section not in result:
            continue
        table = Table(title=f"{section}: macro F1, {result['seeds']} seeds")
        for heading in ("name", "macro F1", "95 %", *map(str, PHASES), "difference", "p (Holm)"):
            table.add_column(heading)
        against = {row["second"]: row for row in result[section]["pairs"]}
        for row in result[section]["standings"]:
            pair = against.get(row["name"])
            table.add_row(
                row["name"],
                f"{row['macro_f1']:.3f}",
                f"{row['ci_low']:.3f}–{row['ci_high']:.3f}",
                *(f"{row['by_phase'][str(phase)]:.2f}" for phase in PHASES),
                "" if pair is None else f"{-pair['difference']:+.3f}",
                "" if pair is None else f"{pair['p_holm']:.3f}",
            )
        console.print(table)


if __name__ == "__main__":
    main()
