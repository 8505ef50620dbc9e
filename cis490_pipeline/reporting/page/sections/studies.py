"""The opt-in studies: profiles and hosts left out, decay over time, drift."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from cis490_pipeline.reporting.page.drawing import bar_of
from cis490_pipeline.reporting.page.numbers import Numbers
from cis490_pipeline.reporting.page.words import reasons

COMMAND: Final = "cis490 study"
_MOST_CHANNELS: Final = 12
"""Channels named in the table of drift; all of them are in study.json."""

Study = Mapping[str, Any]


def view(numbers: Numbers) -> dict[str, Any]:
    """Return what the section on studies shows; ``why`` where there is nothing to show."""
    study = numbers.board.get("study")
    if not study or study.get("status") == "stale":
        return {
            "models": [],
            "drift": None,
            "why": study["why"] if study else "not run",
            "command": None if study else COMMAND,
        }
    return {
        "models": [model_view(name, found) for name, found in sorted(study["models"].items())],
        "drift": drift_view(study["drift"]) if study.get("drift") else None,
        "rule": study.get("alarm_rule"),
        "why": None,
        "command": COMMAND,
    }


def model_view(name: str, found: Study) -> dict[str, Any]:
    """Gather the three studies of one model; each is None where it was not run."""
    profiles, hosts, time = (found.get(part) for part in ("profiles", "hosts", "time"))
    return {
        "model": name,
        "profiles": profile_rows(profiles) if profiles else None,
        "profile_whys": reasons(profiles["rows"]) if profiles else [],
        "hosts": host_table(hosts) if hosts else None,
        "host_whys": reasons(hosts["cells"]) if hosts else [],
        "time": {**time, "slots": [{**slot, **bar_of(slot)} for slot in time["slots"]]}
        if time
        else None,
    }


def profile_rows(found: Study) -> list[dict[str, Any]]:
    """One row for each profile left out, with the alarm of the model that was trained on it."""
    trained = {row["profile"]: row["alarm"] for row in found["reference"]}
    return [
        {**row, "trained": trained.get(row["profile"]) if row["scope"] == "test side" else None}
        for row in found["rows"]
    ]


def host_table(found: Study) -> dict[str, Any]:
    """Hosts trained on down, hosts tested on across."""
    cells = {(cell["trained_on"], cell["tested_on"]): cell for cell in found["cells"]}
    hosts = found["hosts"]
    rows = [{"host": a, "cells": [cells.get((a, b)) for b in hosts]} for a in hosts]
    return {"hosts": hosts, "rows": rows}


def drift_view(found: Study) -> dict[str, Any]:
    """Summary by group and view, and the channels that moved most as models see them."""
    known = [row for row in found["rows"] if row["psi"] is not None and row["view"] == "relative"]
    return {
        "threshold": found["threshold"],
        "views": found["views"],
        "summary": found["summary"],
        "moved": _most_moved(known),
    }


def _most_moved(rows: Sequence[Study]) -> list[Study]:
    flagged = [row for row in rows if row["flagged"]]
    return sorted(flagged, key=lambda row: (-row["psi"], row["channel"]))[:_MOST_CHANNELS]
