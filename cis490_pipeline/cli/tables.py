"""Leaderboard as a table on stdout."""

from collections.abc import Mapping
from typing import Any, Final

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from cis490_pipeline.evaluation.leaderboard import modes_as_used

MIN_WIDTH: Final = 88
"""Columns, at least: a narrower table would wrap its cells."""


def interval_text(row: Mapping[str, Any]) -> str:
    """Format a score with its interval, such as ``0.710 [0.660, 0.760]``; else ``n/a``."""
    if row["macro_f1"] is None:
        return "n/a"
    if row["ci_low"] is None:
        return f"{row['macro_f1']:.3f} [n/a]"
    return f"{row['macro_f1']:.3f} [{row['ci_low']:.3f}, {row['ci_high']:.3f}]"


def print_leaderboard(board: Mapping[str, Any], console: Console | None = None) -> None:
    """Print models and probes with intervals, then what the scores do not cover.

    Parameters
    ----------
    board : content of ``leaderboard.json``.
    console : where to print; default: stdout, at least ``MIN_WIDTH`` wide.
    """
    table = Table(title=f"split: {board['split']}   chosen on: {escape(board['selected_on'])}")
    table.add_column("model")
    table.add_column("macro F1, test [95 % CI]", justify="right")
    table.add_column("val", justify="right")
    table.add_column("episodes", justify="right")
    table.add_column("windows", justify="right")
    for row in board["rows"]:
        chosen = "  chosen on val" if row["selected"] else ""
        val = "n/a" if row["val_macro_f1"] is None else f"{row['val_macro_f1']:.3f}"
        table.add_row(
            f"{escape(row['model'])}{chosen}",
            escape(interval_text(row)),
            val,
            str(row["n_episodes"]),
            str(row["n_windows"]),
            style="dim" if row["kind"] == "probe" else None,
        )
    console = console or Console(width=max(Console().width, MIN_WIDTH))
    console.print(table)
    for line in leaderboard_lines(board):
        console.print(line, highlight=False, markup=False, soft_wrap=True)


def leaderboard_lines(board: Mapping[str, Any]) -> list[str]:
    """Return the lines below the table: seeds, untested cells, calibration, probes."""
    untested = [f"untested on {h}: {', '.join(p)}" for h, p in _sorted(board["untested_profiles"])]
    refused = board["ablation_of"].get("hosts_refused", {})
    versus = board["best_vs_probe"]
    return [
        *seed_lines(board),
        *(untested or ["untested profiles: none"]),
        *(_calibration_line(row) for row in modes_as_used(board)),
        *(f"no calibration record of {host}: {why}" for host, why in _sorted(refused)),
        *(_versus(versus["model"], row) for row in versus["comparisons"]),
        best_probe_line(versus),
    ]


def _sorted(by_name: dict[str, Any]) -> list[tuple[str, Any]]:
    return sorted(by_name.items())


def _calibration_line(row: dict[str, Any]) -> str:
    score = f"n/a ({row['why_missing']})" if row["test"] is None else interval_text(row["test"])
    used = ", in use" if row["in_use"] else ""
    return f"calibrated by {row['mode']} ({row['model']}, common windows): {score}{used}"


def seed_lines(board: Mapping[str, Any]) -> list[str]:
    """Mean and interval over seeds of each model with several; one line for single seeds."""
    models = [row for row in board["rows"] if row["kind"] == "model"]
    several = [row for row in models if row["seeds"]["n_seeds"] > 1]
    lines = [f"{row['model']} over {_over_seeds(row['seeds'])}" for row in several]
    if single := {int(row["seed"]) for row in models if row["seeds"]["n_seeds"] == 1}:
        seeds = ", ".join(map(str, sorted(single)))
        lines.append(f"one seed ({seeds}) {'for all others' if lines else 'for each'}")
    return lines


def _over_seeds(seeds: dict[str, Any]) -> str:
    if seeds["ci_low"] is None:
        return f"{seeds['n_seeds']} seeds: n/a"
    ends = f"[{seeds['ci_low']:.3f}, {seeds['ci_high']:.3f}]"
    return f"{seeds['n_seeds']} seeds: mean {seeds['mean']:.3f} {ends} (t over seeds)"


def best_probe_line(versus: dict[str, Any]) -> str:
    """Say whether the selected model beats the best probe, both selected on validation."""
    if versus["beats"] is None:
        return f"against the best probe: n/a ({versus['why']})"
    verb = "beats" if versus["beats"] else "does not beat"
    others = [name for name in versus["not_beaten"] if name != versus["best_probe"]]
    further = f"; not shown against {', '.join(others)}" if others else ""
    return f"{versus['model']} {verb} the best probe on validation, {versus['best_probe']}{further}"


def _versus(model: str, row: dict[str, Any]) -> str:
    if row["difference"] is None or row["ci_low"] is None:
        return f"{model} against {row['b']}: n/a"
    p_holm = "n/a" if row["p_holm"] is None else f"{row['p_holm']:.4f}"
    return (
        f"{model} against {row['b']}: {row['difference']:+.3f} "
        f"[{row['ci_low']:+.3f}, {row['ci_high']:+.3f}], p = {p_holm} (Holm)"
    )
