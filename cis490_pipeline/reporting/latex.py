"""The leaderboard as a LaTeX table for a paper; it needs ``booktabs``."""

from cis490_pipeline.domain import Variant
from cis490_pipeline.evaluation.schema.board import Row
from cis490_pipeline.reporting.escaping import latex_escape
from cis490_pipeline.reporting.page.numbers import Numbers

_COLUMNS = ("Model", "Macro F1", r"95\,\% CI", "Validation", "Worst host", "MCC")


def leaderboard_latex(numbers: Numbers) -> str:
    r"""Write the leaderboard as a ``table`` of booktabs: a block per variant, probes.

    LaTeX to ``\input`` after ``\usepackage{booktabs}``. Text from outside is escaped; the model
    chosen is set bold. The caption says split, n, interval and what is untested.
    """
    groups = (
        *([row for row in numbers.board["rows"] if row["variant"] == v] for v in Variant),
        [row for row in numbers.board["rows"] if row["kind"] == "probe"],
    )
    blocks = [
        "".join(_line(row, numbers.chosen["model"]) for row in group) for group in groups if group
    ]
    return (
        "\\begin{table}\n  \\centering\n"
        f"  \\caption{{{_caption(numbers)}}}\n"
        f"  \\label{{tab:leaderboard-{latex_escape(numbers.board['split'])}}}\n"
        f"  \\begin{{tabular}}{{l{'r' * (len(_COLUMNS) - 1)}}}\n    \\toprule\n"
        f"    {' & '.join(_COLUMNS)} \\\\\n    \\midrule\n"
        + "    \\midrule\n".join(blocks)
        + "    \\bottomrule\n  \\end{tabular}\n\\end{table}\n"
    )


def _line(row: Row, chosen: str) -> str:
    worst = row["host_minimum"]
    ends = "--"
    if row["ci_low"] is not None:
        ends = f"[{_number(row['ci_low'])}, {_number(row['ci_high'])}]"
    name = latex_escape(row["model"])
    cells = (
        f"\\textbf{{{name}}}" if row["model"] == chosen else name,
        _number(row["macro_f1"]),
        ends,
        _number(row["val_macro_f1"]),
        _number(worst["macro_f1"] if worst else None),
        _number(row["matthews"]),
    )
    return f"    {' & '.join(cells)} \\\\\n"


def _number(value: float | None) -> str:
    if value is None:
        return "n/a"
    return f"$-${abs(value):.3f}" if value < 0 else f"{value:.3f}"


def _caption(numbers: Numbers) -> str:
    chosen, board = numbers.chosen, numbers.board
    untested = "; ".join(
        f"{', '.join(profiles)} on {host}" for host, profiles in board["untested_profiles"].items()
    )
    text = (
        f"Macro F1 on {numbers.tested_on} ({board['split']} split, {chosen['n_episodes']} "
        f"episodes, {chosen['n_windows']} windows), 95 % interval by episode. Bold: chosen on "
        f"{numbers.chosen_on}."
    )
    return latex_escape(text + (f" Untested: {untested}." if untested else ""))
