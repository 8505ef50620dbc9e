"""Whether intervals and tests keep their word, and how fast: ``make bench-evaluation``."""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks import agreement, bootstrap_speed, coverage, evaluation_page
from benchmarks.measuring import machine

RESULTS = Path(__file__).parent / "results" / "evaluation.json"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--simulations", type=int, default=4000, help="of every cell")
    parser.add_argument("--repetitions", type=int, default=5, help="of the timing")
    parser.add_argument("--quick", action="store_true", help="200 of each, print, write nothing")
    options = parser.parse_args()
    described = machine()
    n_simulations = 200 if options.quick else options.simulations
    result: dict[str, Any] = {
        "machine": described,
        "n_simulations": n_simulations,
        "n_resamples": coverage.N_RESAMPLES,
        "n_permutations": coverage.N_PERMUTATIONS,
        "agreement": agreement.measure(),
        "speed": bootstrap_speed.measure(1 if options.quick else options.repetitions),
        **coverage.simulate(n_simulations, lambda what: print(what, file=sys.stderr)),
    }
    show(result)
    if not options.quick:
        RESULTS.parent.mkdir(exist_ok=True)
        RESULTS.write_text(json.dumps(result, indent=1, ensure_ascii=False) + "\n", "utf-8")
        evaluation_page.write(result)


def show(result: dict[str, Any]) -> None:
    """Print the page's tables."""
    console = Console(width=150)
    for title, table in evaluation_page.tables(result).items():
        shown = Table(title=title)
        for heading in table.headings:
            shown.add_column(heading)
        for row in table.rows:
            shown.add_row(*row)
        console.print(shown)
    console.print(f"load average at the start: {result['machine']['load_average']}")


if __name__ == "__main__":
    main()
