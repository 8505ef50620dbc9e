"""Flat tables of a report as CSV, for spreadsheets and notebooks."""

import csv
import io
from collections.abc import Mapping, Sequence

from cis490_pipeline.evaluation.schema.alarm import FalseAlarms, Times
from cis490_pipeline.evaluation.schema.report import EvalReport, Group, Sureness
from cis490_pipeline.reporting.escaping import spreadsheet_escape
from cis490_pipeline.reporting.page.numbers import Numbers
from cis490_pipeline.reporting.page.sections.scores import probes

Cell = str | int | float | bool | None
Rows = list[dict[str, Cell]]


def csv_text(rows: Sequence[Mapping[str, Cell]]) -> str:
    """Write rows as CSV (RFC 4180 but for the line ends), the columns of the first row in order.

    Parameters
    ----------
    rows : alike in their keys. Null is an empty cell, a number stays a number, whatever its sign;
        text that a spreadsheet would take for a formula gets an apostrophe before it.

    Returns
    -------
    The text, with a line of names; empty without rows.
    """
    if not rows:
        return ""
    stream = io.StringIO()
    writer = csv.DictWriter(stream, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows({name: _cell(value) for name, value in row.items()} for row in rows)
    return stream.getvalue()


def _cell(value: Cell) -> Cell:
    if isinstance(value, bool):
        return str(value).lower()
    return spreadsheet_escape(value) if isinstance(value, str) else value


def tables(numbers: Numbers) -> dict[str, Rows]:
    """Return every table that these numbers fill, by name; each row names split and model."""
    every = {
        "leaderboard": _leaderboard(numbers),
        "pairs": _pairs(numbers),
        "per_class": _per_class(numbers),
        "per_host": _per_host(numbers),
        "per_profile": _per_profile(numbers),
        "profile_host": _profile_host(numbers),
        "subsets": _subsets(numbers),
        "reliability": _reliability(numbers),
        "detection": _detection(numbers),
        "detection_at_rates": _at_rates(numbers),
        "probes": _probes(numbers),
        "robustness": _robustness(numbers),
    }
    return {name: rows for name, rows in every.items() if rows}


def _of(report: EvalReport) -> dict[str, Cell]:
    return {"split": report["split"], "model": report["model"], "variant": report["variant"]}


def _leaderboard(numbers: Numbers) -> Rows:
    return [
        {
            "split": numbers.board["split"],
            "model": row["model"],
            "variant": row["variant"],
            "kind": row["kind"],
            "architecture": row["architecture"],
            "selected": row["selected"],
            "macro_f1": row["macro_f1"],
            "ci_low": row["ci_low"],
            "ci_high": row["ci_high"],
            "ci_level": row["ci_level"],
            "ci_method": row["ci_method"],
            "n_episodes": row["n_episodes"],
            "n_windows": row["n_windows"],
            "val_macro_f1": row["val_macro_f1"],
            "worst_host": row["host_minimum"] and row["host_minimum"]["host_id"],
            "worst_host_macro_f1": row["host_minimum"] and row["host_minimum"]["macro_f1"],
            "accuracy": row["accuracy"],
            "balanced_accuracy": row["balanced_accuracy"],
            "matthews": row["matthews"],
            "calibration_error": row["calibration_error"],
            "seed": row["seed"],
            "checkpoint_digest": row["checkpoint_digest"],
        }
        for row in numbers.board["rows"]
    ]


def _pairs(numbers: Numbers) -> Rows:
    versus = numbers.board["best_vs_probe"]["comparisons"]
    return [
        {
            "split": numbers.board["split"],
            "family": pair["family"],
            "a": pair["a"],
            "b": pair["b"],
            "difference": pair["difference"],
            "ci_low": pair["ci_low"],
            "ci_high": pair["ci_high"],
            "p_value": pair["p_value"],
            "p_holm": pair["p_holm"],
            "n_episodes": pair["n_episodes"],
        }
        for pair in (*numbers.board["pairs"], *versus)
    ]


def _per_class(numbers: Numbers) -> Rows:
    return [
        {
            **_of(report),
            "phase": entry["phase"],
            "f1": entry["f1"],
            "pr_auc": entry.get("pr_auc"),
            "precision": entry["precision"],
            "predicted": entry["predicted"],
            "prevalence": entry.get("prevalence"),
            "recall": entry["recall"],
            "support": entry["support"],
        }
        for report in numbers.reports
        for entry in report["per_class"]
    ]


def _group(group: Group) -> dict[str, Cell]:
    return {
        "tested": group["tested"],
        "macro_f1": group["macro_f1"],
        "ci_low": group["ci_low"],
        "ci_high": group["ci_high"],
        "accuracy": group["accuracy"],
        "n_episodes": group["n_episodes"],
        "n_windows": group["n_windows"],
        "why": group["why"],
    }


def _per_host(numbers: Numbers) -> Rows:
    return [
        {**_of(report), "host_id": host["host_id"], **_group(host)}
        for report in numbers.reports
        for host in report["per_host"]
    ]


def _per_profile(numbers: Numbers) -> Rows:
    return [
        {**_of(report), "profile": profile["profile"], **_group(profile)}
        for report in numbers.reports
        for profile in report["per_profile"]
    ]


def _profile_host(numbers: Numbers) -> Rows:
    return [
        {
            **_of(report),
            "profile": cell["profile"],
            "host_id": cell["host_id"],
            "tested": cell["tested"],
            "macro_f1": cell["macro_f1"],
            "accuracy": cell["accuracy"],
            "n_episodes": cell["n_episodes"],
            "n_windows": cell["n_windows"],
            "why": cell["why"],
        }
        for report in numbers.reports
        for cell in report["profile_host"]
    ]


def _subsets(numbers: Numbers) -> Rows:
    return [
        {
            **_of(report),
            "subset": entry["subset"],
            "ci_high": entry["ci_high"],
            "ci_level": entry.get("ci_level"),
            "ci_low": entry["ci_low"],
            "ci_method": entry["ci_method"],
            "macro_f1": entry["macro_f1"],
            "n_episodes": entry["n_episodes"],
            "n_windows": entry["n_windows"],
            "what": entry["what"],
            "why": entry.get("why"),
        }
        for report in numbers.reports
        for entry in report.get("subsets") or []
    ]


def _reliability(numbers: Numbers) -> Rows:
    nothing: Sureness = {"brier": None, "log_loss": None, "ece": None}
    return [
        {
            **_of(report),
            "temperature": part["temperature"],
            "fitted_on": part["fitted_on"],
            "aurc": part["aurc"],
            "brier_before": part["before"]["brier"],
            "brier_after": after["brier"],
            "log_loss_before": part["before"]["log_loss"],
            "log_loss_after": after["log_loss"],
            "ece_before": part["before"]["ece"],
            "ece_after": after["ece"],
        }
        for report in numbers.reports
        if (part := report.get("reliability"))
        for after in (part["after"] or nothing,)
    ]


def _detection(numbers: Numbers) -> Rows:
    rows: Rows = []
    for report in numbers.reports:
        if part := report.get("detection"):
            whole = _times(None, part["time_to_detection"], part["false_alarms"])
            # Clean time has no profile: the rates are of the whole.
            profiles = (_times(times["profile"], times, None) for times in part["by_profile"])
            rows += [{**_of(report), **row} for row in (whole, *profiles)]
    return rows


def _times(profile: str | None, times: Times, false: FalseAlarms | None) -> dict[str, Cell]:
    return {
        "profile": profile,
        "n_infected": times["n_infected"],
        "n_detected": times["n_detected"],
        "n_missed": times["n_missed"],
        "n_already_alarming": times["n_already_alarming"],
        "share_detected": times["share_detected"],
        "share_low": times["share_low"],
        "share_high": times["share_high"],
        "median_s": times["median_s"],
        "p90_s": times["p90_s"],
        "false_alarms_device_days": false and false["device_days"],
        "false_alarms_high": false and false["high"],
        "false_alarms_low": false and false["low"],
        "false_alarms_n": false and false["n"],
        "false_alarms_per_day": false and false["per_day"],
        "false_alarms_why": false and false["why"],
    }


def _at_rates(numbers: Numbers) -> Rows:
    return [
        {
            **_of(report),
            "per_day": entry["per_day"],
            "threshold": entry["threshold"],
            "share_detected": entry["share_detected"],
            "share_low": entry.get("share_low"),
            "share_high": entry.get("share_high"),
            "median_s": entry["median_s"],
            "why": entry["why"],
        }
        for report in numbers.reports
        if (part := report.get("detection"))
        for entry in part["at_rates"]
    ]


def _probes(numbers: Numbers) -> Rows:
    rows: Rows = []
    for probe in probes(numbers.board):
        row, pair = probe["row"], probe["pair"]
        rows.append(
            {
                "split": numbers.board["split"],
                "model": row["model"],
                "variant": row["variant"],
                "what": probe["what"],
                "macro_f1": row["macro_f1"],
                "ci_low": row["ci_low"],
                "ci_high": row["ci_high"],
                "n_episodes": row["n_episodes"],
                "n_windows": row["n_windows"],
                "val_macro_f1": row["val_macro_f1"],
                "against": pair and pair["a"],
                "against_difference": pair and pair["difference"],
                "against_ci_low": pair and pair["ci_low"],
                "against_ci_high": pair and pair["ci_high"],
                "against_p_holm": pair and pair["p_holm"],
            }
        )
    return rows


def _robustness(numbers: Numbers) -> Rows:
    robustness = numbers.board.get("robustness")
    variants = {name: report["variant"] for name, report in numbers.named.items()}
    return [
        {
            "split": numbers.board["split"],
            "model": row["model"],
            "variant": variants.get(row["model"]),
            "scenario": row["scenario"],
            "macro_f1": row["macro_f1"],
            "difference": row["difference"],
            "ci_low": row["ci_low"],
            "ci_high": row["ci_high"],
            "n_episodes": row["n_episodes"],
            "n_windows": row["n_windows"],
            "why": row["why"],
        }
        for row in (robustness["rows"] if robustness else [])
    ]
