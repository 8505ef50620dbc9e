"""Devices left out in turn: the headline beside the recipe's own test, and the table of models."""

from typing import TypedDict

from cis490_pipeline.evaluation.schema.host_out import HostOutRow, HostOutStudy
from cis490_pipeline.evaluation.schema.parts import Pair
from cis490_pipeline.reporting.page.numbers import Numbers
from cis490_pipeline.reporting.page.words import between, counted, listed, reasons, score, shown


class ComparedPair(Pair):
    """A paired difference, and whether it is shown at 5 %."""

    shown: bool


class HostOutView(TypedDict):
    """Every model over the devices left out in turn."""

    hosts: list[str]
    rows: list[HostOutRow]
    phases: list[str]
    pairs: list[ComparedPair]
    whys: list[str]
    opened: str | None


def section_of(numbers: Numbers) -> HostOutStudy | None:
    """Return the board's section on devices left out; None unless it is current and has a score."""
    study = numbers.board.get("study")
    section = study.get("host_out") if study and study["status"] == "current" else None
    return section if section is not None and section["rows"] else None


def headline(numbers: Numbers) -> HostOutRow | None:
    """Return the chosen model's row, or that of the best of its variant if it was not studied."""
    section = section_of(numbers)
    chosen = numbers.chosen
    rows = [
        row
        for row in (section["rows"] if section else [])
        if row["variant"] == chosen["variant"] and row["macro_f1"] is not None
    ]
    models = [row for row in rows if row["kind"] == "model"]
    own = [row for row in models if row["model"] == chosen["model"]]
    return next(iter(own or models), None)


def sentence(numbers: Numbers) -> str | None:
    """State the headline over devices left out, with its intervals, n and seeds."""
    row = headline(numbers)
    if row is None:
        return None
    text = (
        f"Trained again without each of {counted(len(row['per_host']), 'device')} in turn, "
        f"{row['model']} reaches {score(row['macro_f1'])} on the devices left out "
        f"({between(row)}, 95 % by episode{_over_hosts(row)}) over "
        f"{counted(row['n_episodes'], 'episode')}{_over_seeds(row)}."
    )
    opened = opened_text(numbers)
    return f"{text} {opened}" if opened else text


def text_of(row: HostOutRow) -> str:
    """State what the headline is of."""
    return (
        f"{row['model']}, trained without each of {counted(len(row['per_host']), 'device')} in "
        f"turn; {counted(row['n_episodes'], 'episode')}, "
        f"{counted(row['n_windows'], 'window')}{_over_hosts(row)}{_over_seeds(row)}"
    )


def opened_text(numbers: Numbers) -> str | None:
    """Name the test devices that these scores looked at, by which nothing was chosen."""
    section = section_of(numbers)
    if section is None or not section["opened_test"]:
        return None
    return (
        f"That scored the test side too ({listed(list(section['opened_test']))}), "
        "so nothing was chosen by it."
    )


def view(numbers: Numbers) -> HostOutView | None:
    """Return the table of all models that were studied."""
    section = section_of(numbers)
    if section is None:
        return None
    return {
        "hosts": [fold["scored"] for fold in section["folds"]],
        "rows": section["rows"],
        "phases": [
            entry["phase"]
            for entry in next((r["per_class"] for r in section["rows"] if r["per_class"]), [])
        ],
        "pairs": [{**pair, "shown": shown(pair)} for pair in section["pairs"]],
        "whys": reasons(section["rows"]),
        "opened": opened_text(numbers),
    }


def _over_hosts(row: HostOutRow) -> str:
    over = row["over_hosts"]
    return f"; {between(over)} over other devices" if over is not None else ""


def _over_seeds(row: HostOutRow) -> str:
    seeds = row["seeds"]
    return (
        f"; mean of {seeds['n_seeds']} seeds {score(seeds['mean'])}" if seeds["n_seeds"] > 1 else ""
    )
