"""PNG figures of leaderboards, confusion and learning curves, small enough for asset metadata."""

from collections.abc import Sequence
from io import BytesIO

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from cis490_pipeline.checkpoints.checkpoint import SavedHistory
from cis490_pipeline.domain import Variant
from cis490_pipeline.domain.arrays import Floats
from cis490_pipeline.evaluation.schema.board import Leaderboard
from cis490_pipeline.evaluation.schema.report import EvalReport
from cis490_pipeline.reporting.page.words import phase_name

_DPI = 100
_COLOURS: dict[str, str] = {
    Variant.REALISTIC: "#0072b2",
    Variant.ORACLE: "#a8430b",
    Variant.NETWORK: "#5b4b9a",
}


def leaderboard_png(leaderboard: Leaderboard) -> bytes:
    """Draw every row's macro F1 with its interval: realistic filled, oracle outlined, probes grey.

    A PNG under 100 kB.
    """
    rows = list(reversed(leaderboard["rows"]))
    figure = Figure(figsize=(7.2, 0.8 + 0.3 * len(rows)), dpi=_DPI, layout="constrained")
    axes = figure.add_subplot()
    for y, row in enumerate(rows):
        if row["macro_f1"] is None:
            axes.text(0.01, y, "n/a", va="center", color="#55606c")
            continue
        colour = _COLOURS.get(row["variant"] or "", "#8a939d")
        axes.barh(
            y,
            row["macro_f1"],
            height=0.62,
            color="white" if row["variant"] == Variant.ORACLE else colour,
            edgecolor=colour,
            linewidth=1.4,
        )
        if row["ci_low"] is not None and row["ci_high"] is not None:
            reach = [[row["macro_f1"] - row["ci_low"]], [row["ci_high"] - row["macro_f1"]]]
            axes.errorbar(row["macro_f1"], y, xerr=np.maximum(reach, 0), color="black", capsize=3)
        axes.text(1.01, y, f"{row['macro_f1']:.3f}", va="center", fontsize=9)
    # Names come from outside: without this a "$" in one would start mathematics.
    axes.set_yticks(range(len(rows)), [_literal(row["model"]) for row in rows])
    axes.set_xlim(0, 1)
    axes.set_xlabel("macro F1 on test, 95 % interval by episode")
    axes.set_title(_literal(f"split {leaderboard['split']}"), loc="left", fontsize=11)
    axes.spines[["top", "right"]].set_visible(False)
    return _png(figure)


def confusion_png(report: EvalReport) -> bytes:
    """Draw a report's confusion matrix, shares of the true phase with the counts inside.

    A PNG under 100 kB.
    """
    labels = [phase_name(label) for label in report["confusion"]["labels"]]
    counts = np.asarray(report["confusion"]["counts"], dtype=np.float64)
    totals = counts.sum(axis=1, keepdims=True)
    shares = np.divide(counts, totals, out=np.zeros_like(counts), where=totals > 0)
    figure = Figure(figsize=(5.2, 4.4), dpi=_DPI, layout="constrained")
    axes = figure.add_subplot()
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    for (i, j), share in np.ndenumerate(shares):
        axes.text(
            j,
            i,
            f"{share:.0%}\n{counts[i, j]:.0f}" if totals[i, 0] else "n/a",
            ha="center",
            va="center",
            fontsize=9,
            color="white" if share > 0.5 else "black",
        )
    axes.set_xticks(range(len(labels)), labels)
    axes.set_yticks(range(len(labels)), labels)
    axes.set_xlabel("predicted")
    axes.set_ylabel("true")
    axes.set_title(_literal(report["model"]), loc="left", fontsize=11)
    return _png(figure)


def learning_curve_png(model: str, history: SavedHistory) -> bytes:
    """Draw losses and validation macro F1 by epoch or boosting round, and mark the one kept.

    A PNG under 100 kB.
    """
    epochs = history.get("epochs", [])
    figure = Figure(figsize=(6.4, 3.6), dpi=_DPI, layout="constrained")
    axes = figure.add_subplot()
    x = [row["epoch"] for row in epochs]
    for name, values, colour in (
        ("train", [row["train_loss"] for row in epochs], "#8a939d"),
        ("val", [row["val_loss"] for row in epochs], "#a8430b"),
    ):
        axes.plot(x, _numbers(values), color=colour, label=f"loss, {name}")
    axes.set_xlabel("epoch or boosting round")
    axes.set_ylabel("loss")
    score = axes.twinx()
    scores = _numbers([row["val_macro_f1"] for row in epochs])
    score.plot(x, scores, color="#0072b2", label="macro F1, val")
    score.set_ylim(0, 1)
    score.set_ylabel("macro F1")
    if (best := history.get("best_epoch")) is not None:
        axes.axvline(best, color="black", linewidth=0.8, linestyle=":", label=f"kept: {best}")
    figure.legend(loc="outside upper right", ncols=4, fontsize=8, frameon=False)
    axes.set_title(_literal(model), loc="left", fontsize=11)
    return _png(figure)


def _numbers(values: Sequence[float | None]) -> Floats:
    return np.array([np.nan if value is None else value for value in values], dtype=np.float64)


def _literal(text: str) -> str:
    return str(text).replace("$", r"\$")


def _png(figure: Figure) -> bytes:
    # The object interface: pyplot keeps every figure alive and picks a backend by itself.
    FigureCanvasAgg(figure)
    stream = BytesIO()
    figure.savefig(stream, format="png")
    return stream.getvalue()
