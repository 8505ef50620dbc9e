"""Where a score holds: phases, devices, profiles, and which windows are counted."""

from collections.abc import Mapping
from typing import Any

from cis490_pipeline.reporting.page.numbers import NOT_MEASURED, Numbers, Report


def view(numbers: Numbers) -> dict[str, Any]:
    """Return what the section on places shows, all of it of the chosen model."""
    chosen = numbers.chosen
    return {
        "confusion": confusion_rows(chosen["confusion"]),
        "small_confusions": [
            {"report": report, "rows": confusion_rows(report["confusion"])}
            for report in numbers.models
        ],
        "map": profile_map(chosen),
        "host_matrix": _host_matrix(numbers),
        "subsets": chosen.get("subsets") or [],
        "segments": segment_rows(numbers),
        "not_measured": NOT_MEASURED,
    }


def confusion_rows(confusion: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Rows of a confusion matrix, each cell with its share of the true phase's windows."""
    rows = []
    for i, (label, counts) in enumerate(zip(confusion["labels"], confusion["counts"], strict=True)):
        total = sum(counts)
        cells = [
            {"n": n, "share": n / total if total else None, "right": i == j, "predicted": predicted}
            for j, (n, predicted) in enumerate(zip(counts, confusion["labels"], strict=True))
        ]
        recall = counts[i] / total if total else None
        rows.append({"label": label, "cells": cells, "total": total, "recall": recall})
    return rows


def profile_map(report: Report) -> dict[str, Any]:
    """Profiles down, hosts across, for one model; what was never tested has no colour."""
    cells = {(cell["profile"], cell["host_id"]): cell for cell in report["profile_host"]}
    hosts = sorted({host for _, host in cells})
    profiles = list(dict.fromkeys(cell["profile"] for cell in report["profile_host"]))
    return {
        "hosts": hosts,
        "rows": [{"profile": p, "cells": [cells[p, host] for host in hosts]} for p in profiles],
    }


def _host_matrix(numbers: Numbers) -> dict[str, Any]:
    """Every model on every device, with its minimum."""
    hosts = [host["host_id"] for host in numbers.chosen["per_host"]]
    return {
        "hosts": hosts,
        "rows": [
            {
                "report": report,
                "scores": [
                    next((h for h in report["per_host"] if h["host_id"] == host), None)
                    for host in hosts
                ],
            }
            for report in numbers.models
        ],
    }


def segment_rows(numbers: Numbers) -> list[dict[str, Any]]:
    """Scores by segment of every model that has them."""
    return [{"report": r, **part} for r in numbers.models if (part := r.get("segments"))]
