"""The report as flat tables: what a person opens in a spreadsheet or reads into a notebook."""

import csv
import io
from collections.abc import Mapping, Sequence
from typing import Any, Final

from cis490_pipeline.reporting.escaping import spreadsheet_escape
from cis490_pipeline.reporting.page.numbers import Numbers
from cis490_pipeline.reporting.page.sections.scores import probes

Rows = list[dict[str, Any]]

_SCORE: Final = ("macro_f1", "ci_low", "ci_high")
_SIZE: Final = ("n_episodes", "n_windows")
_PAIR: Final = ("difference", "ci_low", "ci_high", "p_value", "p_holm", "n_episodes")
_TIMES: Final = (
    "n_infected",
    "n_detected",
    "n_missed",
    "n_already_alarming",
    "share_detected",
    "share_low",
    "share_high",
    "median_s",
    "p90_s",
)


def csv_text(rows: Sequence[Mapping[str, Any]]) -> str:
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


def _cell(value: Any) -> Any:
    if isinstance(value, bool):
        return str(value).lower()
    return spreadsheet_escape(value) if isinstance(value, str) else value


def tables(numbers: Numbers) -> dict[str, Rows]:
    """Return every table that these numbers fill, by name; each row names split and model."""
    every = {
        "leaderboard": _leaderboard(numbers),
        "pairs": _pairs(numbers),
        "per_class": _parts(numbers, "per_class", "phase"),
        "per_host": _groups(numbers, "per_host", "host_id"),
        "per_profile": _groups(numbers, "per_profile", "profile"),
        "profile_host": _groups(numbers, "profile_host", "profile", "host_id"),
        "subsets": _parts(numbers, "subsets", "subset"),
        "reliability": _reliability(numbers),
        "detection": _detection(numbers),
        "detection_at_rates": _at_rates(numbers),
        "probes": _probes(numbers),
        "robustness": _robustness(numbers),
    }
    return {name: rows for name, rows in every.items() if rows}


def _of(numbers: Numbers, model: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "split": numbers.board["split"],
        "model": model["model"],
        "variant": model.get("variant"),
    }


def _taken(entry: Mapping[str, Any], names: Sequence[str]) -> dict[str, Any]:
    return {name: entry.get(name) for name in names}


def _leaderboard(numbers: Numbers) -> Rows:
    return [
        {
            **_of(numbers, row),
            **_taken(row, ("kind", "architecture", "selected")),
            **_taken(row, (*_SCORE, "ci_level", "ci_method", *_SIZE, "val_macro_f1")),
            "worst_host": (row["host_minimum"] or {}).get("host_id"),
            "worst_host_macro_f1": (row["host_minimum"] or {}).get("macro_f1"),
            **_taken(row, ("accuracy", "balanced_accuracy", "matthews", "calibration_error")),
            **_taken(row, ("seed", "checkpoint_digest")),
        }
        for row in numbers.board["rows"]
    ]


def _pairs(numbers: Numbers) -> Rows:
    versus = numbers.board["best_vs_probe"]["comparisons"]
    return [
        {"split": numbers.board["split"], **_taken(pair, ("family", "a", "b", *_PAIR))}
        for pair in (*numbers.board["pairs"], *versus)
    ]


def _parts(numbers: Numbers, name: str, first: str) -> Rows:
    """One row for each entry of a list that reports hold, all with every key that one has."""
    entries = [(r, entry) for r in numbers.reports for entry in r.get(name) or []]
    columns = list(dict.fromkeys([first, *(key for _, entry in entries for key in entry)]))
    return [{**_of(numbers, report), **_taken(entry, columns)} for report, entry in entries]


def _groups(numbers: Numbers, name: str, *keys: str) -> Rows:
    columns = [*keys, "tested", *_SCORE, "accuracy", *_SIZE, "why"]
    if name == "profile_host":
        columns = [column for column in columns if not column.startswith("ci_")]
    return [
        {**_of(numbers, report), **_taken(entry, columns)}
        for report in numbers.reports
        for entry in report[name]
    ]


def _reliability(numbers: Numbers) -> Rows:
    return [
        {
            **_of(numbers, report),
            **_taken(report["reliability"], ("temperature", "fitted_on", "aurc")),
            **{
                f"{name}_{when}": report["reliability"][when][name]
                for name in ("brier", "log_loss", "ece")
                for when in ("before", "after")
            },
        }
        for report in numbers.reports
        if report.get("reliability")
    ]


def _detection(numbers: Numbers) -> Rows:
    rows = []
    for report in numbers.reports:
        if found := report.get("detection"):
            whole = {"profile": None, **found["time_to_detection"]}
            false = {f"false_alarms_{k}": v for k, v in found["false_alarms"].items()}
            rows += [
                {
                    **_of(numbers, report),
                    "profile": times["profile"],
                    **_taken(times, _TIMES),
                    # Clean time has no profile: the rates are of the whole.
                    **(false if times is whole else dict.fromkeys(false)),
                }
                for times in (whole, *found["by_profile"])
            ]
    return rows


def _at_rates(numbers: Numbers) -> Rows:
    names = ("per_day", "threshold", "share_detected", "share_low", "share_high", "median_s", "why")
    return [
        {**_of(numbers, report), **_taken(entry, names)}
        for report in numbers.reports
        if report.get("detection")
        for entry in report["detection"]["at_rates"]
    ]


def _probes(numbers: Numbers) -> Rows:
    return [
        {
            **_of(numbers, probe["row"]),
            "what": probe["what"],
            **_taken(probe["row"], (*_SCORE, *_SIZE, "val_macro_f1")),
            "against": (probe["pair"] or {}).get("a"),
            **{
                f"against_{name}": (probe["pair"] or {}).get(name)
                for name in ("difference", "ci_low", "ci_high", "p_holm")
            },
        }
        for probe in probes(numbers.board)
    ]


def _robustness(numbers: Numbers) -> Rows:
    found = numbers.board.get("robustness") or {"rows": []}
    names = ("scenario", "macro_f1", "difference", "ci_low", "ci_high", *_SIZE, "why")
    return [
        {**_of(numbers, numbers.named.get(row["model"], row)), **_taken(row, names)}
        for row in found["rows"]
    ]
