"""Provenance: what the numbers were made from, and how often the test side was opened."""

from collections.abc import Mapping
from typing import TypedDict

from cis490_pipeline.evaluation.schema.origin import CheckpointSummary
from cis490_pipeline.evaluation.schema.report import EvalReport
from cis490_pipeline.reporting.page.numbers import Numbers
from cis490_pipeline.reporting.page.words import provenance_text

NOT_RECORDED = "not recorded"


class CheckpointRow(TypedDict):
    """One model's line of the table of checkpoints."""

    report: EvalReport
    opened: int | None
    seconds: float | None


class TrainedOn(TypedDict):
    """A processor, and the models that were trained on it."""

    processor: str
    models: str


class OriginView(TypedDict):
    """The section on provenance."""

    facts: dict[str, str]
    rows: list[CheckpointRow]
    baselines: str
    openings: str
    trained_on: list[TrainedOn]


def view(numbers: Numbers) -> OriginView:
    """Return what the section on provenance shows."""
    return {
        "facts": {name: provenance_text(fact) for name, fact in numbers.provenance.items()},
        "rows": [_row(report, numbers.checkpoints) for report in numbers.models],
        "baselines": _baselines(numbers.chosen),
        "openings": _openings(numbers),
        "trained_on": _trained_on(numbers),
    }


def _row(report: EvalReport, checkpoints: Mapping[str, CheckpointSummary]) -> CheckpointRow:
    described = checkpoints.get(report["model"])
    return {
        "report": report,
        "opened": report.get("n_test_openings"),
        "seconds": described.get("seconds") if described else None,
    }


def _trained_on(numbers: Numbers) -> list[TrainedOn]:
    """List each processor that models were trained on; ``all`` if there is one."""
    models: dict[str, list[str]] = {}
    for report in numbers.models:
        described = numbers.checkpoints.get(report["model"])
        processor = described.get("computed_on") if described else None
        text = provenance_text(processor) if processor else NOT_RECORDED
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
        return NOT_RECORDED
    often = f"{min(known)}" if min(known) == max(known) else f"{min(known)} to {max(known)}"
    return (
        f"{often} times for each checkpoint: when it was first scored, and again when "
        "it, or what predictions hold, had changed. All numbers are read from what was kept"
    )


def _baselines(report: EvalReport) -> str:
    """Write of how many test episodes the baseline was checked, and which were flagged."""
    found = report["baselines"]["test"]
    if not found["n_checked"]:
        return f"not checked: none of {found['n_episodes']} test episodes"
    named = f": {', '.join(found['suspect'])}" if found["suspect"] else ""
    return f"{found['n_suspect']} of {found['n_checked']} test episodes{named}"
