"""Certainty: calibration of probabilities, selective prediction, precision and recall."""

import math
from collections.abc import Sequence
from typing import TypedDict

from cis490_pipeline.evaluation.schema.report import Bin, EvalReport, Reliability
from cis490_pipeline.reporting.page.drawing import Chart, Curve, Frame, Point, chart
from cis490_pipeline.reporting.page.numbers import NOT_MEASURED, Numbers
from cis490_pipeline.reporting.page.words import score


class ReliabilityRow(Reliability):
    """One model's line of the table."""

    report: EvalReport


class PhaseAreas(TypedDict):
    """Area under precision and recall of one model, by phase."""

    report: EvalReport
    values: list[float | None]


class CertaintyView(TypedDict):
    """The section on certainty; charts are None where a report was made without them."""

    model: str
    of: Reliability | None
    diagram: Chart | None
    risk: Chart | None
    rows: list[ReliabilityRow]
    pr_auc: list[PhaseAreas]
    not_measured: str


def view(numbers: Numbers) -> CertaintyView:
    """Return what the section on certainty shows; reports without ``reliability`` are left out."""
    of = numbers.chosen.get("reliability")
    rows: list[ReliabilityRow] = [
        {"report": report, **part}
        for report in numbers.models
        if (part := report.get("reliability"))
    ]
    return {
        "model": numbers.chosen["model"],
        "of": of,
        "diagram": reliability_diagram(of) if of else None,
        "risk": risk_curve(numbers) if of and of["risk_coverage"] else None,
        "rows": rows,
        "pr_auc": pr_auc_rows(numbers),
        "not_measured": NOT_MEASURED,
    }


def reliability_diagram(of: Reliability) -> Chart:
    """Draw accuracy against confidence, before and after the temperature."""
    after = of["after"]["ece"] if of["after"] else None
    return chart(
        Frame(x=(0, 1)),
        [
            Curve(name="before", points=_points(of["bins_before"]), style="b", dots=True),
            Curve(
                name=f"after, T = {score(of['temperature'])}",
                points=_points(of["bins_after"] or []),
                style="a",
                dots=True,
            ),
        ],
        title="Reliability: how often predictions of each confidence are right",
        text=f"Calibration error {score(of['before']['ece'], 3)} before and "
        f"{score(after, 3)} after the temperature; below the diagonal a model is too "
        "sure of itself",
        x="confidence",
        y="share right",
        diagonal=True,
    )


def _points(bins: Sequence[Bin]) -> list[Point]:
    return sorted(
        (confidence, accuracy)
        for entry in bins
        if entry["n"]
        and (confidence := entry["confidence"]) is not None
        and (accuracy := entry["accuracy"]) is not None
    )


def risk_curve(numbers: Numbers) -> Chart:
    """Draw the risk–coverage curves of the chosen model and of the best oracle."""
    drawn = {
        report["model"]: part
        for report in (numbers.chosen, numbers.chosen_oracle)
        if report is not None and (part := report.get("reliability")) and part["risk_coverage"]
    }
    worst = max(point["risk"] for part in drawn.values() for point in part["risk_coverage"])
    return chart(
        Frame(x=(0, 1), y=(0, max(0.2, math.ceil(5 * worst) / 5))),
        [
            Curve(
                name=model,
                points=[(point["coverage"], point["risk"]) for point in part["risk_coverage"]],
                style=style,
            )
            for (model, part), style in zip(drawn.items(), "ab", strict=False)
        ],
        title="Risk and coverage: share wrong if only the surest windows are answered",
        text="; ".join(
            f"{model}: area under the curve {score(part['aurc'], 3)}"
            for model, part in drawn.items()
        ),
        x="share of windows answered",
        y="share wrong",
    )


def pr_auc_rows(numbers: Numbers) -> list[PhaseAreas]:
    """Tabulate the area under precision and recall by model; empty in older reports."""
    return [
        {"report": report, "values": [entry.get("pr_auc") for entry in report["per_class"]]}
        for report in numbers.models
        if any("pr_auc" in entry for entry in report["per_class"])
    ]
