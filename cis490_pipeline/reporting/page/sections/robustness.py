"""What faults of the recording cost: the change of macro F1 under each scenario."""

from typing import Any

from cis490_pipeline.reporting.page.drawing import dot_of, reach_of
from cis490_pipeline.reporting.page.numbers import Numbers
from cis490_pipeline.reporting.page.words import reasons


def view(numbers: Numbers) -> dict[str, Any]:
    """Return what the section on robustness shows; ``scenarios`` is empty where it was not run."""
    found = numbers.board.get("robustness")
    if not found or not found["rows"]:
        return {"scenarios": [], "rows": [], "whys": []}
    cells = {(row["model"], row["scenario"]): row for row in found["rows"]}
    names = [scenario["name"] for scenario in found["scenarios"]]
    order = [report["model"] for report in numbers.reports]
    models = [name for name in order if any((name, s) in cells for s in names)]
    models += sorted({model for model, _ in cells} - set(models))
    reach = reach_of(found["rows"])
    return {
        "scenarios": found["scenarios"],
        "chosen": [
            {"scenario": scenario, "row": row, **dot_of(row, reach)}
            for scenario in found["scenarios"]
            if (row := cells.get((numbers.chosen["model"], scenario["name"])))
        ],
        "model": numbers.chosen["model"],
        "rows": [{"model": m, "cells": [cells.get((m, name)) for name in names]} for m in models],
        "whys": reasons(found["rows"]),
    }
