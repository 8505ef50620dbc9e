"""How sure a model may be: its probabilities against what came true."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from cis490_pipeline.reporting.page.drawing import Frame, chart
from cis490_pipeline.reporting.page.numbers import NOT_MEASURED, Numbers, Report
from cis490_pipeline.reporting.page.words import score


def view(numbers: Numbers) -> dict[str, Any]:
    """Return what the section on certainty shows; reports without ``reliability`` are left out."""
    chosen, with_bins = numbers.chosen, numbers.having("reliability")
    of = chosen.get("reliability")
    return {
        "model": chosen["model"],
        "of": of,
        "diagram": reliability_diagram(of) if of else None,
        "risk": risk_curve(numbers) if of and of.get("risk_coverage") else None,
        "rows": [{"report": report, **report["reliability"]} for report in with_bins],
        "pr_auc": pr_auc_rows(numbers),
        "not_measured": NOT_MEASURED,
    }


def reliability_diagram(of: Mapping[str, Any]) -> dict[str, Any]:
    """Accuracy against confidence, before and after the temperature."""
    return chart(
        Frame(x=(0, 1)),
        [
            {"name": "before", "points": _bins(of["bins_before"]), "style": "b", "dots": True},
            {
                "name": f"after, T = {score(of['temperature'])}",
                "points": _bins(of["bins_after"]),
                "style": "a",
                "dots": True,
            },
        ],
        title="Reliability: how often predictions of each confidence are right",
        text=f"Calibration error {score(of['before']['ece'], 3)} before and "
        f"{score(of['after']['ece'], 3)} after the temperature; below the diagonal a model is too "
        "sure of itself",
        x="confidence",
        y="share right",
        diagonal=True,
    )


def _bins(bins: Sequence[Mapping[str, Any]]) -> list[tuple[float, float]]:
    known = [entry for entry in bins if entry["n"] and entry["accuracy"] is not None]
    return sorted((entry["confidence"], entry["accuracy"]) for entry in known)


def risk_curve(numbers: Numbers) -> dict[str, Any]:
    """Share wrong among the windows a model is surest of."""
    shown: list[Report] = [
        report
        for report in (numbers.chosen, numbers.chosen_oracle)
        if report is not None and (report.get("reliability") or {}).get("risk_coverage")
    ]
    curves = {
        report["model"]: [
            (p["coverage"], p["risk"]) for p in report["reliability"]["risk_coverage"]
        ]
        for report in shown
    }
    worst = max(risk for points in curves.values() for _, risk in points)
    text = "; ".join(
        f"{report['model']}: area under the curve {score(report['reliability']['aurc'], 3)}"
        for report in shown
    )
    return chart(
        Frame(x=(0, 1), y=(0, max(0.2, math.ceil(5 * worst) / 5))),
        [
            {"name": name, "points": points, "style": style}
            for (name, points), style in zip(curves.items(), "ab", strict=False)
        ],
        title="Risk and coverage: share wrong if only the surest windows are answered",
        text=text,
        x="share of windows answered",
        y="share wrong",
    )


def pr_auc_rows(numbers: Numbers) -> list[dict[str, Any]]:
    """Area under precision and recall of each phase, by model; empty in older reports."""
    return [
        {"report": report, "values": [entry.get("pr_auc") for entry in report["per_class"]]}
        for report in numbers.models
        if any("pr_auc" in entry for entry in report["per_class"])
    ]
