"""Tables for people, on stdout."""

from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table


def interval_text(row: dict[str, Any]) -> str:
    """``.71 [.66, .76]``, or ``n/a`` where there is no score."""
    if row["macro_f1"] is None:
        return "n/a"
    if row["ci_low"] is None:
        return f"{row['macro_f1']:.3f} [n/a]"
    return f"{row['macro_f1']:.3f} [{row['ci_low']:.3f}, {row['ci_high']:.3f}]"


def print_leaderboard(board: dict[str, Any]) -> None:
    """Print models and probes with intervals, and what the numbers do not cover."""
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
            f"{row['model']}{chosen}",
            interval_text(row),
            val,
            str(row["n_episodes"]),
            str(row["n_windows"]),
            style="dim" if row["kind"] == "probe" else None,
        )
    console = Console(width=max(Console().width, 88))
    console.print(table)
    for told in seed_lines(board):
        console.print(told, highlight=False, markup=False)
    untested = board["untested_profiles"]
    for host, profiles in sorted(untested.items()):
        console.print(f"untested on {host}: {', '.join(profiles)}", highlight=False, markup=False)
    if not untested:
        console.print("untested profiles: none")
    for row in board["ablation"]:
        if row["test"] is not None and row["gauges"] == "recorded" and row["scaling"] == "device":
            text = f"calibrated by {row['mode']} ({row['model']}, common windows): "
            console.print(text + interval_text(row["test"]), highlight=False, markup=False)
    for host, why in sorted(board["ablation_of"].get("hosts_refused", {}).items()):
        console.print(f"no calibration record of {host}: {why}", highlight=False, markup=False)
    versus = board["best_vs_probe"]
    for row in versus["comparisons"]:
        console.print(_versus(versus["model"], row), highlight=False, markup=False)
    console.print(best_probe_line(versus), highlight=False, markup=False)


def seed_lines(board: dict[str, Any]) -> list[str]:
    """Mean and interval over seeds of each model that has several; one line for those with one."""
    models = [row for row in board["rows"] if row["kind"] == "model"]
    lines = []
    for row in models:
        told = row["seeds"]
        if told["ci_low"] is not None:
            lines.append(
                f"{row['model']} over {told['n_seeds']} seeds: mean {told['mean']:.3f} "
                f"[{told['ci_low']:.3f}, {told['ci_high']:.3f}] (t over seeds)"
            )
    if len(lines) < len(models):
        seeds = ", ".join(sorted({str(r["seed"]) for r in models if r["seeds"]["n_seeds"] == 1}))
        lines.append(f"one seed ({seeds}) {'for all others' if lines else 'for each'}")
    return lines


def best_probe_line(versus: dict[str, Any]) -> str:
    """Say whether the chosen model beats the best shortcut, both chosen on validation."""
    if versus["beats"] is None:
        return f"against the best probe: n/a ({versus['why']})"
    said = "beats" if versus["beats"] else "does not beat"
    others = [name for name in versus["not_beaten"] if name != versus["best_probe"]]
    further = f"; not shown against {', '.join(others)}" if others else ""
    return f"{versus['model']} {said} the best probe on validation, {versus['best_probe']}{further}"


def _versus(model: str, row: dict[str, Any]) -> str:
    if row["difference"] is None or row["ci_low"] is None:
        return f"{model} against {row['b']}: n/a"
    return (
        f"{model} against {row['b']}: {row['difference']:+.3f} "
        f"[{row['ci_low']:+.3f}, {row['ci_high']:+.3f}], p = {row['p_holm']:.4f} (Holm)"
    )
