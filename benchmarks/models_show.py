"""Prints the benchmark of models."""

from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks.models_tables import TextTable, tables, wanted


def show(result: Mapping[str, Any]) -> None:
    """Print every table, and what was wanted last."""
    console = Console(width=150)
    machine = result["machine"]
    console.print(
        f"{result['date']}, {machine['processor']}, {machine['cores']} cores, Python "
        f"{machine['python']}, load average at the start: {machine['load_average']}; "
        f"simulated store of seed {result['scale']['simulation_seed']}, training seeds 0 to "
        f"{result['scale']['seeds'] - 1}"
    )
    console.print(", ".join(f"{name} {v}" for name, v in sorted(result["versions"].items())))
    for table in (*tables(result), wanted(result["lines"])):
        console.print(_rich(table))


def _rich(text: TextTable) -> Table:
    table = Table(title=text.title)
    for heading in text.headings:
        table.add_column(heading)
    for row in text.rows:
        table.add_row(*row)
    return table
