"""Breakdowns of a score: by phase, device and profile, and by which windows are counted."""

from typing import TypedDict

from cis490_pipeline.evaluation.schema.report import (
    CellScore,
    Confusion,
    HostScore,
    Segments,
    Subset,
)
from cis490_pipeline.reporting.page.numbers import NOT_MEASURED, Numbers, Report


class PhaseCell(TypedDict):
    """Windows of one true and one predicted phase."""

    n: int
    share: float | None
    right: bool
    predicted: str


class PhaseLine(TypedDict):
    """One true phase of a confusion matrix."""

    label: str
    cells: list[PhaseCell]
    total: int
    recall: float | None


class ModelConfusion(TypedDict):
    """The confusion matrix of one model."""

    report: Report
    rows: list[PhaseLine]


class ProfileLine(TypedDict):
    """One profile on every host."""

    profile: str
    cells: list[CellScore]


class ProfileMap(TypedDict):
    """Profiles down, hosts across."""

    hosts: list[str]
    rows: list[ProfileLine]


class HostLine(TypedDict):
    """One model on every host."""

    report: Report
    scores: list[HostScore | None]


class HostMatrix(TypedDict):
    """Models down, hosts across."""

    hosts: list[str]
    rows: list[HostLine]


class SegmentLine(Segments):
    """Scores by segment of one model."""

    report: Report


class BreakdownsView(TypedDict):
    """The section of breakdowns."""

    confusion: list[PhaseLine]
    small_confusions: list[ModelConfusion]
    map: ProfileMap
    host_matrix: HostMatrix
    subsets: list[Subset]
    segments: list[SegmentLine]
    not_measured: str


def view(numbers: Numbers) -> BreakdownsView:
    """Return what the section of breakdowns shows, most of it of the chosen model."""
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


def confusion_rows(confusion: Confusion) -> list[PhaseLine]:
    """Return a confusion matrix by row, each cell with its share of the true phase's windows."""
    rows: list[PhaseLine] = []
    for i, (label, counts) in enumerate(zip(confusion["labels"], confusion["counts"], strict=True)):
        total = sum(counts)
        cells: list[PhaseCell] = [
            {"n": n, "share": n / total if total else None, "right": i == j, "predicted": predicted}
            for j, (n, predicted) in enumerate(zip(counts, confusion["labels"], strict=True))
        ]
        recall = counts[i] / total if total else None
        rows.append({"label": label, "cells": cells, "total": total, "recall": recall})
    return rows


def profile_map(report: Report) -> ProfileMap:
    """Profiles down, hosts across, for one model; what was never tested has no colour."""
    cells = {(cell["profile"], cell["host_id"]): cell for cell in report["profile_host"]}
    hosts = sorted({host for _, host in cells})
    profiles = list(dict.fromkeys(cell["profile"] for cell in report["profile_host"]))
    return {
        "hosts": hosts,
        "rows": [{"profile": p, "cells": [cells[p, host] for host in hosts]} for p in profiles],
    }


def _host_matrix(numbers: Numbers) -> HostMatrix:
    """Arrange the score of every model on every device."""
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


def segment_rows(numbers: Numbers) -> list[SegmentLine]:
    """Return the scores by segment of every model that has them."""
    rows: list[SegmentLine] = []
    for report in numbers.models:
        segments: Segments | None = report.get("segments")
        if segments is not None:
            rows.append({"report": report, **segments})
    return rows
