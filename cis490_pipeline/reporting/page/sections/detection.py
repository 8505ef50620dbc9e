"""The alarm: how soon it finds an infection, and how often it cries wolf."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from cis490_pipeline.reporting.page.drawing import Frame, chart
from cis490_pipeline.reporting.page.numbers import NOT_MEASURED, Numbers, Report
from cis490_pipeline.reporting.page.words import percent, reasons, score, seconds


def view(numbers: Numbers) -> dict[str, Any]:
    """Return what the section on detection shows; only ``not_measured`` where there is nothing."""
    with_alarm = numbers.having("detection")
    chosen = numbers.chosen.get("detection")
    if not with_alarm or not chosen:
        return {"alarm": None, "not_measured": NOT_MEASURED}
    shown = [report for report in (numbers.chosen, numbers.chosen_oracle) if report in with_alarm]
    return {
        "alarm": chosen["alarm"],
        "alarm_text": _alarm_text(chosen["alarm"]),
        "model": numbers.chosen["model"],
        "curve": curve(shown),
        "rows": [{"report": report, **report["detection"]} for report in with_alarm],
        "false_whys": reasons([report["detection"]["false_alarms"] for report in with_alarm]),
        "rates": rate_table(with_alarm),
        "by_profile": chosen["by_profile"],
        "ppv": chosen["ppv"],
        "ppv_whys": reasons(chosen["ppv"]),
        "episodes": [{"name": name, **row} for name, row in chosen["episodes"].items()],
        "ablations": chosen.get("ablations") or [],
        "time_whys": reasons([report["detection"]["time_to_detection"] for report in with_alarm]),
        "elapsed": elapsed_rows(chosen["by_elapsed"]),
        "not_measured": NOT_MEASURED,
    }


def _alarm_text(alarm: Mapping[str, Any]) -> str:
    told = [f"alarm at a probability of infection of {score(alarm['threshold'])} or more"]
    if alarm.get("release") is not None:
        told.append(f"released below {score(alarm['release'])}")
    if alarm.get("hold_windows") is not None:
        told.append(f"held over {alarm['hold_windows']} windows")
    if alarm.get("prior_per_day") is not None:
        told.append(f"prior of {alarm['prior_per_day']:g} from clean to armed a day")
    return f"{', '.join(told)}; fitted on {alarm['fitted_on']}"


def curve(reports: Sequence[Report]) -> dict[str, Any]:
    """Share of infections found against the time since each began."""
    found = {r["model"]: r["detection"]["time_to_detection"] for r in reports}
    last = max((p["t_s"] for time in found.values() for p in time["curve"]), default=0)
    text = "; ".join(
        f"{model}: {percent(time['share_detected'])} of {time['n_infected']} found, median "
        f"{seconds(time['median_s'])}"
        for model, time in found.items()
    )
    return chart(
        Frame(x=(0, 20 * max(1, math.ceil(last / 20)))),
        [
            {
                "name": model,
                "points": [(0.0, 0.0), *((p["t_s"], p["share"]) for p in time["curve"])],
                "style": style,
                "steps": True,
            }
            for (model, time), style in zip(found.items(), "ab", strict=False)
        ],
        title="Share of infections found by time since infection",
        text=text,
        x="seconds since the infection began",
        y="share found",
    )


def rate_table(reports: Sequence[Report]) -> dict[str, Any]:
    """Tabulate detection of each model at a budget of false alarms a device-day."""
    budgets = [entry["per_day"] for entry in reports[0]["detection"]["at_rates"]]
    rows = [{"report": report, "cells": report["detection"]["at_rates"]} for report in reports]
    return {
        "budgets": budgets,
        "rows": rows,
        "whys": reasons([cell for row in rows for cell in row["cells"]]),
    }


def elapsed_rows(entries: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Alarms of clean runs a device-hour, by the time since the run began, with bars."""
    rates = [
        entry["n_alarms"] / entry["device_hours"] if entry["device_hours"] else None
        for entry in entries
    ]
    most = max((rate for rate in rates if rate), default=1)
    return [
        {**entry, "rate": rate, "end": None if rate is None else f"{100 * rate / most:.2f}"}
        for entry, rate in zip(entries, rates, strict=True)
    ]
