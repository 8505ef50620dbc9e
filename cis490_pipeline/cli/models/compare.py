"""``cis490 compare``: compare two runs, paired by episode."""

from pathlib import Path

import click
from rich.table import Table

from cis490_pipeline.cli.options import console, json_option, print_json, recipe_option
from cis490_pipeline.cli.tables import difference_text, number_text
from cis490_pipeline.domain import Recipe
from cis490_pipeline.experiment.tools.compare import FolderComparison, compare_folders

_RUN = click.Path(path_type=Path)


@click.command()
@click.argument("run_a", type=_RUN)
@click.argument("run_b", type=_RUN)
@recipe_option
@click.option("--seed", type=int, default=0, show_default=True, help="Seed of the bootstrap.")
@json_option
def compare(run_a: Path, run_b: Path, recipe: str, seed: int, as_json: bool) -> int:
    """Compare the stored predictions of RUN_A and RUN_B on identical windows, paired by episode.

    Each is a data folder, a report folder (data/reports/RECIPE) or a checkpoint folder, of any
    seed. States which inputs of the two differ: the seed alone, or settings, data, split, features
    or code. The test side is not opened.
    """
    comparison = compare_folders(run_a, run_b, Recipe(recipe), seed=seed)
    if as_json:
        print_json(comparison)
        return 0
    out = console(min_width=112)
    out.print(_table(comparison))
    for line in _lines(comparison):
        out.print(line, soft_wrap=True)
    return 0


def _table(comparison: FolderComparison) -> Table:
    table = Table(title="macro F1 on test: RUN_B minus RUN_A, paired by episode")
    table.add_column("model", no_wrap=True)
    for name in ("RUN_A", "RUN_B", "difference [95 % CI]", "p (Holm)", "episodes", "windows"):
        table.add_column(name, justify="right", no_wrap=True)
    for row in comparison["rows"]:
        table.add_row(
            row["model"],
            number_text(row["first"]),
            number_text(row["second"]),
            difference_text(row),
            "n/a" if row["p_holm"] is None else f"{row['p_holm']:.4f}",
            str(row["n_episodes"]),
            str(row["n_windows"]),
        )
    return table


def _lines(comparison: FolderComparison) -> list[str]:
    """Return lines on which inputs differ and which models one run lacks."""
    rows = comparison["rows"]
    lines = [f"{row['model']}: {row['verdict']}" for row in rows]
    if len({row["verdict"] for row in rows}) == 1:
        lines = [rows[0]["verdict"]]
    lines += [f"{row['model']}: {row['why']}" for row in rows if row["why"]]
    return lines + [
        f"only in {run}: {', '.join(names)}"
        for run, names in comparison["only_in"].items()
        if names
    ]
