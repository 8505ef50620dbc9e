"""What the numbers were made from, and how often the test side was opened."""

from collections.abc import Mapping
from typing import Any

from cis490_pipeline.reporting.page.numbers import Numbers
from cis490_pipeline.reporting.page.sections.calibration import baselines_text
from cis490_pipeline.reporting.page.words import provenance_text

NOT_RECORDED = "not recorded"


def view(numbers: Numbers) -> dict[str, Any]:
    """Return what the section on provenance shows."""
    return {
        "facts": {str(k): provenance_text(v) for k, v in numbers.provenance.items()},
        "rows": [_row(report, numbers.checkpoints) for report in numbers.models],
        "baselines": baselines_text(numbers.chosen),
        "openings": _openings(numbers),
        "trained_on": _trained_on(numbers),
    }


def _row(report: Mapping[str, Any], checkpoints: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    described = checkpoints.get(report["model"], {})
    return {
        "report": report,
        "opened": report.get("n_test_openings"),
        "seconds": described.get("seconds"),
    }


def _trained_on(numbers: Numbers) -> list[dict[str, str]]:
    """Each processor that models were trained on, with their names; ``all`` if there is one."""
    models: dict[str, list[str]] = {}
    for report in numbers.models:
        described = numbers.checkpoints.get(report["model"], {}).get("computed_on")
        text = provenance_text(described) if described else NOT_RECORDED
        models.setdefault(text, []).append(report["model"])
    only = len(models) == 1
    return [
        {"processor": text, "models": "all" if only else ", ".join(names)}
        for text, names in models.items()
    ]


def _openings(numbers: Numbers) -> str:
    counts = [report.get("n_test_openings") for report in numbers.models]
    known = [n for n in counts if n is not None]
    if not known:
        return "not recorded"
    often = f"{min(known)}" if min(known) == max(known) else f"{min(known)} to {max(known)}"
    return (
        f"{often} times for each checkpoint: when it was first scored, and when it was scored anew "
        "because it, or what predictions hold, had changed. All numbers are read from what was kept"
    )
