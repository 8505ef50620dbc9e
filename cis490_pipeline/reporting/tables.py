"""Flat tables of a report as CSV, for spreadsheets and notebooks."""

import csv
import io
from collections.abc import Mapping, Sequence
from typing import Any, Final, Literal

from cis490_pipeline.evaluation.schema.alarm import FalseAlarms, Times
from cis490_pipeline.evaluation.schema.report import EvalReport, Sureness
from cis490_pipeline.reporting.escaping import spreadsheet_escape
from cis490_pipeline.reporting.page.numbers import Numbers
from cis490_pipeline.reporting.page.sections.scores import probes

Cell = str | int | float | bool | None
Rows = list[dict[str, Cell]]
ListOfReport = Literal["per_class", "per_host", "per_profile", "profile_host", "subsets"]

_GROUP: Final = "tested macro_f1 ci_low ci_high accuracy n_episodes n_windows why"
_LISTS: Final[Mapping[ListOfReport, str]] = {
    "per_class": "phase f1 pr_auc precision predicted prevalence recall support",
    "per_host": f"host_id {_GROUP}",
    "per_profile": f"profile {_GROUP}",
    "profile_host": "profile host_id tested macro_f1 accuracy n_episodes n_windows why",
    "subsets": "subset ci_high ci_level ci_low ci_method macro_f1 n_episodes n_windows what why",
}
"""Columns of the tables that are a list of each report."""


def csv_text(rows: Sequence[Mapping[str, Cell]]) -> str:
    """Write rows as CSV (RFC 4180 but for the line ends), the columns of the first row in order.

    Null is an empty cell, a number stays a number, whatever its sign; text that a spreadsheet would
    take for a formula gets an apostrophe before it.
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
    every: dict[str, Rows] = {
        "leaderboard": _leaderboard(numbers),
        "pairs": _pairs(numbers),
        **{str(part): _of_reports(numbers, part, columns) for part, columns in _LISTS.items()},
        "reliability": _reliability(numbers),
        "detection": _detection(numbers),
        "detection_at_rates": _at_rates(numbers),
        "probes": _probes(numbers),
        "robustness": _robustness(numbers),
    }
    return {name: rows for name, rows in every.items() if rows}


def _of(report: EvalReport) -> dict[str, Cell]:
    return {"split": report["split"], "model": report["model"], "variant": report["variant"]}


def _cells(entry: Any, columns: str) -> dict[str, Cell]:
    """Columns of an entry of a board or report, by their names; null where older ones lack one."""
    return {name: entry.get(name) for name in columns.split()}


def _of_reports(numbers: Numbers, part: ListOfReport, columns: str) -> Rows:
    return [
        {**_of(report), **_cells(entry, columns)}
        for report in numbers.reports
        for entry in report.get(part) or []
    ]


def _leaderboard(numbers: Numbers) -> Rows:
    return [
        {
            "split": numbers.board["split"],
            **_cells(row, "model variant kind architecture selected macro_f1 ci_low ci_high"),
            **_cells(row, "ci_level ci_method n_episodes n_windows val_macro_f1"),
            "worst_host": row["host_minimum"] and row["host_minimum"]["host_id"],
            "worst_host_macro_f1": row["host_minimum"] and row["host_minimum"]["macro_f1"],
            **_cells(row, "accuracy balanced_accuracy matthews calibration_error seed"),
            "checkpoint_digest": row["checkpoint_digest"],
        }
        for row in numbers.board["rows"]
    ]


def _pairs(numbers: Numbers) -> Rows:
    board = numbers.board
    columns = "family a b difference ci_low ci_high p_value p_holm n_episodes"
    pairs = (*board["pairs"], *board["best_vs_probe"]["comparisons"])
    return [{"split": board["split"], **_cells(pair, columns)} for pair in pairs]


def _reliability(numbers: Numbers) -> Rows:
    nothing: Sureness = {"brier": None, "log_loss": None, "ece": None}
    return [
        {
            **_of(report),
            **_cells(part, "temperature fitted_on aurc"),
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
    counts = _cells(times, "n_infected n_detected n_missed n_already_alarming")
    delays = _cells(times, "share_detected share_low share_high median_s p90_s")
    alarms = _cells(false or {}, "device_days high low n per_day why")
    return {
        "profile": profile,
        **counts,
        **delays,
        **{f"false_alarms_{name}": value for name, value in alarms.items()},
    }


def _at_rates(numbers: Numbers) -> Rows:
    columns = "per_day threshold share_detected share_low share_high median_s why"
    return [
        {**_of(report), **_cells(entry, columns)}
        for report in numbers.reports
        if (part := report.get("detection"))
        for entry in part["at_rates"]
    ]


def _probes(numbers: Numbers) -> Rows:
    rows: Rows = []
    for probe in probes(numbers.board):
        row, pair = probe["row"], probe["pair"]
        against = _cells(pair or {}, "difference ci_low ci_high p_holm")
        rows.append(
            {
                "split": numbers.board["split"],
                **_cells(row, "model variant"),
                "what": probe["what"],
                **_cells(row, "macro_f1 ci_low ci_high n_episodes n_windows val_macro_f1"),
                "against": pair and pair["a"],
                **{f"against_{name}": value for name, value in against.items()},
            }
        )
    return rows


def _robustness(numbers: Numbers) -> Rows:
    robustness = numbers.board.get("robustness")
    variants = {name: report["variant"] for name, report in numbers.named.items()}
    columns = "scenario macro_f1 difference ci_low ci_high n_episodes n_windows why"
    return [
        {
            "split": numbers.board["split"],
            "model": row["model"],
            "variant": variants.get(row["model"]),
            **_cells(row, columns),
        }
        for row in (robustness["rows"] if robustness else [])
    ]
