"""What faults of the recording cost: the change of macro F1 under each scenario."""

from typing import NotRequired, TypedDict

from cis490_pipeline.evaluation.schema.board import RobustnessRow, Scenario
from cis490_pipeline.reporting.page.drawing import Dot, dot_of, reach_of
from cis490_pipeline.reporting.page.numbers import Numbers
from cis490_pipeline.reporting.page.words import reasons


class ScenarioDot(Dot):
    """The chosen model under one fault, with the places of its dot."""

    scenario: Scenario
    row: RobustnessRow


class ModelLine(TypedDict):
    """A model, with one cell for each fault."""

    model: str
    cells: list[RobustnessRow | None]


class RobustnessView(TypedDict):
    """The section on robustness."""

    scenarios: list[Scenario]
    rows: list[ModelLine]
    whys: list[str]
    chosen: NotRequired[list[ScenarioDot]]
    model: NotRequired[str]


def view(numbers: Numbers) -> RobustnessView:
    """Return what the section on robustness shows; ``scenarios`` is empty where it was not run."""
    robustness = numbers.board.get("robustness")
    if not robustness or not robustness["rows"]:
        return {"scenarios": [], "rows": [], "whys": []}
    cells = {(row["model"], row["scenario"]): row for row in robustness["rows"]}
    names = [scenario["name"] for scenario in robustness["scenarios"]]
    order = [report["model"] for report in numbers.reports]
    models = [name for name in order if any((name, s) in cells for s in names)]
    models += sorted({model for model, _ in cells} - set(models))
    reach = reach_of(robustness["rows"])
    return {
        "scenarios": robustness["scenarios"],
        "chosen": [
            {"scenario": scenario, "row": row, **dot_of(row, reach)}
            for scenario in robustness["scenarios"]
            if (row := cells.get((numbers.chosen["model"], scenario["name"])))
        ],
        "model": numbers.chosen["model"],
        "rows": [{"model": m, "cells": [cells.get((m, name)) for name in names]} for m in models],
        "whys": reasons(robustness["rows"]),
    }
