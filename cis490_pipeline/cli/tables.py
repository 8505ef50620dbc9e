"""Leaderboard as a table on stdout."""

from typing import Final, TypedDict

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from cis490_pipeline.evaluation.choice import chosen_by
from cis490_pipeline.evaluation.leaderboard import modes_as_used
from cis490_pipeline.evaluation.schema.board import AblationRow, Leaderboard, SelectedBy, Versus
from cis490_pipeline.evaluation.schema.parts import Difference, Pair, Seeds

MIN_WIDTH: Final = 88
"""Columns, at least: a narrower table would wrap its cells."""

CHOSEN_ON: Final[dict[SelectedBy, str]] = {"val": "val", "host_out": "hosts left out"}


class ScoreWithEnds(TypedDict):
    """What any score has, of a model, a slot of time or a cell of a table."""

    macro_f1: float | None
    ci_low: float | None
    ci_high: float | None


def number_text(value: float | None) -> str:
    """Format a score with three decimals; ``n/a`` without one."""
    return "n/a" if value is None else f"{value:.3f}"


def interval_text(row: ScoreWithEnds) -> str:
    """Format a score with its interval, such as ``0.710 [0.660, 0.760]``; else ``n/a``."""
    if row["macro_f1"] is None:
        return "n/a"
    if row["ci_low"] is None:
        return f"{row['macro_f1']:.3f} [n/a]"
    return f"{row['macro_f1']:.3f} [{row['ci_low']:.3f}, {row['ci_high']:.3f}]"


def print_leaderboard(board: Leaderboard, console: Console | None = None) -> None:
    """Print models and probes with intervals, then what the scores do not cover."""
    table = Table(title=f"split: {board['split']}   chosen on: {escape(board['selected_on'])}")
    table.add_column("model")
    for column in ("macro F1, test [95 % CI]", "val", "episodes", "windows"):
        table.add_column(column, justify="right")
    for row in board["rows"]:
        by = CHOSEN_ON[chosen_by(board, str(row["variant"]))]
        chosen = f"  chosen on {by}" if row["selected"] else ""
        table.add_row(
            f"{escape(row['model'])}{chosen}",
            escape(interval_text(row)),
            number_text(row["val_macro_f1"]),
            str(row["n_episodes"]),
            str(row["n_windows"]),
            style="dim" if row["kind"] == "probe" else None,
        )
    console = console or Console(width=max(Console().width, MIN_WIDTH))
    console.print(table)
    for line in leaderboard_lines(board):
        console.print(line, highlight=False, markup=False, soft_wrap=True)


def leaderboard_lines(board: Leaderboard) -> list[str]:
    """Return the lines below the table: seeds, untested cells, calibration, probes."""
    by_host = sorted(board["untested_profiles"].items())
    untested = [f"untested on {host}: {', '.join(profiles)}" for host, profiles in by_host]
    refused = board["ablation_of"].get("hosts_refused", {})
    versus = board["best_vs_probe"]
    return [
        *seed_lines(board),
        *(untested or ["untested profiles: none"]),
        *(_calibration_line(row) for row in modes_as_used(board)),
        *(f"no calibration record of {host}: {reason}" for host, reason in sorted(refused.items())),
        *(_versus(pair) for pair in versus["comparisons"]),
        best_probe_line(versus),
    ]


def _calibration_line(row: AblationRow) -> str:
    score = f"n/a ({row['why_missing']})" if row["test"] is None else interval_text(row["test"])
    used = ", in use" if row["in_use"] else ""
    return f"calibrated by {row['mode']} ({row['model']}, common windows): {score}{used}"


def seed_lines(board: Leaderboard) -> list[str]:
    """Mean and interval over seeds of each model with several; one line for single seeds."""
    models = [row for row in board["rows"] if row["kind"] == "model"]
    several = [row for row in models if row["seeds"]["n_seeds"] > 1]
    lines = [f"{row['model']} over {_over_seeds(row['seeds'])}" for row in several]
    if single := {row["seed"] for row in models if row["seeds"]["n_seeds"] == 1}:
        seeds = ", ".join(map(str, sorted(single)))
        lines.append(f"one seed ({seeds}) {'for all others' if lines else 'for each'}")
    return lines


def _over_seeds(seeds: Seeds) -> str:
    if seeds["ci_low"] is None:
        return f"{seeds['n_seeds']} seeds: n/a"
    ends = f"[{seeds['ci_low']:.3f}, {seeds['ci_high']:.3f}]"
    return f"{seeds['n_seeds']} seeds: mean {seeds['mean']:.3f} {ends} (t over seeds)"


def best_probe_line(versus: Versus) -> str:
    """Say whether the selected model beats the best probe, both selected on validation."""
    if versus["beats"] is None:
        return f"against the best probe: n/a ({versus['why']})"
    verb = "beats" if versus["beats"] else "does not beat"
    others = [name for name in versus["not_beaten"] if name != versus["best_probe"]]
    further = f"; not shown against {', '.join(others)}" if others else ""
    return f"{versus['model']} {verb} the best probe on validation, {versus['best_probe']}{further}"


def _versus(pair: Pair) -> str:
    name = f"{pair['a']} against {pair['b']}"
    p_holm = "n/a" if pair["p_holm"] is None else f"{pair['p_holm']:.4f}"
    text = difference_text(pair)
    return f"{name}: n/a" if text == "n/a" else f"{name}: {text}, p = {p_holm} (Holm)"


def difference_text(pair: Difference) -> str:
    """Format a difference with its interval, ``+.05 [+.01, +.09]``; ``n/a`` without one."""
    if pair["difference"] is None or pair["ci_low"] is None:
        return "n/a"
    return f"{pair['difference']:+.3f} [{pair['ci_low']:+.3f}, {pair['ci_high']:+.3f}]"
