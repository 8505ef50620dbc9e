"""The opt-in studies: profiles and hosts left out, decay over time, drift."""

from collections.abc import Sequence
from typing import Final, TypedDict

from cis490_pipeline.evaluation.schema.study import (
    Alarms,
    AreaUnderTime,
    DriftRow,
    DriftStudy,
    DriftSummary,
    HostCell,
    HostStudy,
    ProfileRow,
    ProfileStudy,
    Slot,
    StudyModel,
    TimeStudy,
)
from cis490_pipeline.reporting.page.drawing import Bar, bar_of
from cis490_pipeline.reporting.page.numbers import Numbers
from cis490_pipeline.reporting.page.sections import host_out
from cis490_pipeline.reporting.page.sections.host_out import HostOutView
from cis490_pipeline.reporting.page.words import reasons

COMMAND: Final = "cis490 study"
_MOST_CHANNELS: Final = 12
"""Channels named in the table of drift; all of them are in study.json."""


class ProfileLine(ProfileRow):
    """A profile left out, with the alarm of the model that was trained on it."""

    trained: Alarms | None


class HostLine(TypedDict):
    """A host trained on, with one cell for each host tested on."""

    host: str
    cells: list[HostCell | None]


class HostTable(TypedDict):
    """Hosts trained on down, hosts tested on across."""

    hosts: list[str]
    rows: list[HostLine]


class SlotBar(Slot, Bar):
    """A slot of time, with the places of its bar."""


class TimeView(AreaUnderTime):
    """Decay over time, each slot with its bar."""

    cut: str | None
    slots: list[SlotBar]


class ModelView(TypedDict):
    """The three studies of one model; each is None where it was not run."""

    model: str
    profiles: list[ProfileLine] | None
    profile_whys: list[str]
    hosts: HostTable | None
    host_whys: list[str]
    time: TimeView | None


class DriftView(TypedDict):
    """Drift by group and view, and the channels that moved most as models see them."""

    threshold: float
    views: dict[str, str]
    summary: list[DriftSummary]
    moved: list[DriftRow]


class StudiesView(TypedDict):
    """The section on studies; ``why`` where there is nothing to show."""

    models: list[ModelView]
    drift: DriftView | None
    host_out: HostOutView | None
    rule: str | None
    why: str | None
    command: str | None


def view(numbers: Numbers) -> StudiesView:
    """Return what the section on studies shows."""
    study = numbers.board.get("study")
    if not study or study["status"] == "stale":
        return {
            "models": [],
            "drift": None,
            "host_out": None,
            "rule": None,
            "why": study["why"] if study else "not run",
            "command": None if study else COMMAND,
        }
    drift = study["drift"]
    return {
        "models": [model_view(name, model) for name, model in sorted(study["models"].items())],
        "drift": drift_view(drift) if drift else None,
        "host_out": host_out.view(numbers),
        "rule": study["alarm_rule"],
        "why": None,
        "command": COMMAND,
    }


def model_view(name: str, model: StudyModel) -> ModelView:
    """Gather the three studies of one model."""
    profiles, hosts, time = model["profiles"], model["hosts"], model["time"]
    return {
        "model": name,
        "profiles": profile_rows(profiles) if profiles else None,
        "profile_whys": reasons(profiles["rows"]) if profiles else [],
        "hosts": host_table(hosts) if hosts else None,
        "host_whys": reasons(hosts["cells"]) if hosts else [],
        "time": time_view(time) if time else None,
    }


def profile_rows(study: ProfileStudy) -> list[ProfileLine]:
    """Return one row for each profile left out."""
    trained = {row["profile"]: row["alarm"] for row in study["reference"]}
    return [
        {**row, "trained": trained.get(row["profile"]) if row["scope"] == "test side" else None}
        for row in study["rows"]
    ]


def host_table(study: HostStudy) -> HostTable:
    """Arrange the cells of the cross-host study."""
    cells = {(cell["trained_on"], cell["tested_on"]): cell for cell in study["cells"]}
    hosts = study["hosts"]
    rows: list[HostLine] = [{"host": a, "cells": [cells.get((a, b)) for b in hosts]} for a in hosts]
    return {"hosts": hosts, "rows": rows}


def time_view(study: TimeStudy) -> TimeView:
    """Place a bar for each slot of time."""
    return {
        "cut": study["cut"],
        "aut": study["aut"],
        "ci_low": study["ci_low"],
        "ci_high": study["ci_high"],
        "why": study["why"],
        "slots": [{**slot, **bar_of(slot)} for slot in study["slots"]],
    }


def drift_view(study: DriftStudy) -> DriftView:
    """Return the summary by group and view, and the channels that moved most."""
    return {
        "threshold": study["threshold"],
        "views": study["views"],
        "summary": study["summary"],
        "moved": _most_moved([row for row in study["rows"] if row["view"] == "relative"]),
    }


def _most_moved(rows: Sequence[DriftRow]) -> list[DriftRow]:
    moved = [
        (-row["psi"], row["channel"], k)
        for k, row in enumerate(rows)
        if row["flagged"] and row["psi"] is not None
    ]
    return [rows[k] for _, _, k in sorted(moved)[:_MOST_CHANNELS]]
