"""Detection: delay of the alarm, false alarms, and what an alarm is worth."""

import math
from collections.abc import Mapping, Sequence
from typing import TypedDict

from cis490_pipeline.evaluation.schema.alarm import (
    Alarm,
    AlarmAblation,
    AlarmedEpisodes,
    AtRate,
    Detection,
    ElapsedAlarms,
    HourlyRates,
    NamedRate,
    PredictiveValue,
    ProfileTimes,
    Times,
)
from cis490_pipeline.evaluation.schema.host_baseline import HostBaseline
from cis490_pipeline.evaluation.schema.report import EvalReport
from cis490_pipeline.reporting.page.drawing import Chart, Curve, Frame, chart
from cis490_pipeline.reporting.page.numbers import NOT_MEASURED, Numbers
from cis490_pipeline.reporting.page.words import percent, reasons, score, seconds


class DetectionRow(Detection):
    """One model's line of the table."""

    report: EvalReport


class RateRow(TypedDict):
    """Detection of one model at each budget."""

    report: EvalReport
    cells: list[AtRate]


class RateTable(TypedDict):
    """Detection of each model at a budget of false alarms a device-day."""

    budgets: list[float]
    rows: list[RateRow]
    whys: list[str]


class EpisodesRow(AlarmedEpisodes):
    """Alarmed episodes of one kind."""

    name: str


class ElapsedRow(ElapsedAlarms):
    """Alarms of clean runs a device-hour, with the end of a bar."""

    rate: float | None
    end: str | None


class HourlyTable(TypedDict):
    """False alarms a device-hour: all, by host, and by the look-alike that ran."""

    all: NamedRate
    by_host: list[NamedRate]
    by_look_alike: list[NamedRate]
    whys: list[str]


class HostBaselineView(HostBaseline):
    """The table of both calibrations, with what was left out."""

    whys: list[str]


class DetectionView(TypedDict):
    """The section on detection."""

    alarm: Alarm
    alarm_text: str
    model: str
    curve: Chart
    rows: list[DetectionRow]
    false_whys: list[str]
    rates: RateTable
    by_profile: list[ProfileTimes]
    ppv: list[PredictiveValue]
    ppv_whys: list[str]
    episodes: list[EpisodesRow]
    ablations: list[AlarmAblation]
    time_whys: list[str]
    per_hour: HourlyTable | None
    by_host: HostBaselineView | None
    by_host_per_hour: HourlyTable | None
    elapsed: list[ElapsedRow]


class NotMeasured(TypedDict):
    """The section of reports that were made without an alarm."""

    alarm: None
    not_measured: str


def view(numbers: Numbers) -> DetectionView | NotMeasured:
    """Return what the section on detection shows."""
    chosen = numbers.chosen.get("detection")
    rows: list[DetectionRow] = [
        {"report": report, **part} for report in numbers.models if (part := report.get("detection"))
    ]
    if not rows or not chosen:
        return {"alarm": None, "not_measured": NOT_MEASURED}
    drawn = {
        report["model"]: part["time_to_detection"]
        for report in (numbers.chosen, numbers.chosen_oracle)
        if report is not None and (part := report.get("detection"))
    }
    return {
        "alarm": chosen["alarm"],
        "alarm_text": _alarm_text(chosen["alarm"]),
        "model": numbers.chosen["model"],
        "curve": curve(drawn),
        "rows": rows,
        "false_whys": reasons([row["false_alarms"] for row in rows]),
        "rates": rate_table(rows),
        "by_profile": chosen["by_profile"],
        "ppv": chosen["ppv"],
        "ppv_whys": reasons(chosen["ppv"]),
        "episodes": [{"name": name, **row} for name, row in chosen["episodes"].items()],
        "ablations": chosen.get("ablations") or [],
        "time_whys": reasons([{"why": row["time_to_detection"].get("why")} for row in rows]),
        "per_hour": hourly_table(chosen.get("per_hour")),
        **_by_host(numbers.chosen.get("host_baseline")),
        "elapsed": elapsed_rows(chosen["by_elapsed"]),
    }


def _alarm_text(alarm: Alarm) -> str:
    parts = [f"alarm at a probability of infection of {score(alarm['threshold'])} or more"]
    if alarm["release"] is not None:
        parts.append(f"released below {score(alarm['release'])}")
    if alarm["hold_windows"] is not None:
        parts.append(f"held over {alarm['hold_windows']} windows")
    if alarm["prior_per_day"] is not None:
        parts.append(f"prior of {alarm['prior_per_day']:g} from clean to armed a day")
    return f"{', '.join(parts)}; fitted on {alarm['fitted_on']}"


def curve(times: Mapping[str, Times]) -> Chart:
    """Draw the share of infections found against the time since each began, by model."""
    points = {model: [(p["t_s"], p["share"]) for p in of["curve"]] for model, of in times.items()}
    last = max((t for of in points.values() for t, _ in of), default=0)
    return chart(
        Frame(x=(0, 20 * max(1, math.ceil(last / 20)))),
        [
            Curve(name=model, points=[(0.0, 0.0), *of], style=style, steps=True)
            for (model, of), style in zip(points.items(), "ab", strict=False)
        ],
        title="Share of infections found by time since infection",
        text="; ".join(
            f"{model}: {percent(of['share_detected'])} of {of['n_infected']} found, median "
            f"{seconds(of['median_s'])}"
            for model, of in times.items()
        ),
        x="seconds since the infection began",
        y="share found",
    )


def rate_table(rows: Sequence[DetectionRow]) -> RateTable:
    """Tabulate detection of each model at a budget of false alarms a device-day."""
    return {
        "budgets": [entry["per_day"] for entry in rows[0]["at_rates"]],
        "rows": [{"report": row["report"], "cells": row["at_rates"]} for row in rows],
        "whys": reasons([cell for row in rows for cell in row["at_rates"]]),
    }


def hourly_table(rates: HourlyRates | None) -> HourlyTable | None:
    """Tabulate false alarms a device-hour; None for reports that were made without them."""
    if rates is None:
        return None
    return {
        "all": {"name": "all clean time", **rates["all"]},
        "by_host": rates["by_host"],
        "by_look_alike": rates["by_look_alike"] or [],
        "whys": reasons([rates]),
    }


class _ByHost(TypedDict):
    by_host: HostBaselineView | None
    by_host_per_hour: HourlyTable | None


def _by_host(account: HostBaseline | None) -> _ByHost:
    """Return what is shown of a model with each host's own record; None where it was not asked."""
    if account is None:
        return {"by_host": None, "by_host_per_hour": None}
    detection = account["detection"]
    without = [f"{host}: {why}" for host, why in account["hosts_without"].items()]
    whys = [*reasons([account]), *without, *reasons(account["lengths"])]
    return {
        "by_host": {**account, "whys": whys},
        "by_host_per_hour": hourly_table(detection.get("per_hour") if detection else None),
    }


def elapsed_rows(entries: Sequence[ElapsedAlarms]) -> list[ElapsedRow]:
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
