"""How fast the data path is, as ratios to floors and peers: ``make bench`` prints this table."""

import argparse
import json
import tempfile
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmarks import one_episode, scale_page, whole_store
from benchmarks.measuring import Line, machine

RESULTS = Path(__file__).parent / "results" / "data_path.json"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--episodes", type=int, default=5000, help="of the larger store")
    parser.add_argument("--repetitions", type=int, default=9)
    parser.add_argument("--only-one-episode", action="store_true", help="print, write nothing")
    options = parser.parse_args()
    described = machine()
    with tempfile.TemporaryDirectory(prefix="cis490-bench-") as folder:
        lines, figures = one_episode.measure(Path(folder), options.repetitions)
        if not options.only_one_episode:
            more_lines, more_figures = whole_store.measure(Path(folder), options.episodes)
            lines += more_lines
            figures |= more_figures
    show(lines, described)
    if not options.only_one_episode:
        result = {
            "machine": described,
            "episodes": options.episodes,
            "lines": [line.to_dict() for line in lines],
            "figures": {name: round(value, 4) for name, value in figures.items()},
        }
        RESULTS.parent.mkdir(exist_ok=True)
        RESULTS.write_text(json.dumps(result, indent=1, ensure_ascii=False) + "\n", "utf-8")
        scale_page.write(result)


def show(lines: list[Line], described: dict[str, object]) -> None:
    table = Table(title=f"{described['processor']}, {described['cores']} cores")
    for heading in ("what", "measured", "wanted", "", "figures"):
        table.add_column(heading)
    for line in lines:
        measured = f"{line.measured:.3g} {line.unit}"
        table.add_row(
            line.name, measured, line.wanted, "met" if line.met else "MISSED", line.detail
        )
    Console(width=150).print(table, f"load average at the start: {described['load_average']}")


if __name__ == "__main__":
    main()
