"""Tables of a generalization study on stdout."""

from typing import Any

from rich.console import Console
from rich.table import Table

from cis490_pipeline.cli.options import console
from cis490_pipeline.cli.tables import interval_text

_WIDTH = 110


def print_study(study: dict[str, Any]) -> None:
    """Print all sections that were run."""
    out = console(min_width=_WIDTH)
    for name, sections in sorted(study["models"].items()):
        for title, draw in (("profiles", _profiles), ("hosts", _hosts), ("time", _time)):
            section = sections[title]
            heading = f"{name}, split {study['split']}"
            if section is None:
                out.print(f"{heading}: {title} not run")
            else:
                out.print(draw(heading, section))
                _print_reasons(out, section)
    if study["drift"] is None:
        out.print("drift: not run")
    else:
        out.print(_drift(study["drift"]))


def _profiles(heading: str, section: dict[str, Any]) -> Table:
    table = Table(title=f"{heading}: trained without the profile")
    for column in (
        "profile",
        "found on",
        "alarm stands in",
        "raised by it in",
        "the same, if trained on",
        "false alarm in quiet windows",
        "AUROC max softmax",
        "AUROC energy",
    ):
        table.add_column(column, justify="left" if column in ("profile", "found on") else "right")
    trained = {row["profile"]: row["alarm"] for row in section["reference"]}
    for row in section["rows"]:
        reference = trained[row["profile"]] if row["scope"] == "test side" else None
        areas = row["auroc"] or {}
        cells = (
            row["profile"],
            row["scope"],
            _episodes(row["alarm"], "any"),
            _episodes(row["alarm"], "new"),
            _episodes(reference, "new"),
            _share(row["quiet"]),
            _area(areas.get("max_softmax")),
            _area(areas.get("energy")),
        )
        table.add_row(*cells)
    return table


def _hosts(heading: str, section: dict[str, Any]) -> Table:
    table = Table(title=f"{heading}: macro F1, trained on the row, tested on the column")
    table.add_column("")
    for host in section["hosts"]:
        table.add_column(host, justify="right")
    cells = {(cell["trained_on"], cell["tested_on"]): cell for cell in section["cells"]}
    for trained_on in section["hosts"]:
        table.add_row(
            trained_on,
            *(
                f"{interval_text(cell)}\nn = {cell['n_episodes']}"
                for tested_on in section["hosts"]
                for cell in (cells[trained_on, tested_on],)
            ),
        )
    return table


def _time(heading: str, section: dict[str, Any]) -> Table:
    area = "n/a" if section["aut"] is None else f"{section['aut']:.3f}"
    if section["ci_low"] is not None:
        area += f" [{section['ci_low']:.3f}, {section['ci_high']:.3f}]"
    table = Table(title=f"{heading}: area under time {area}, cut at {section['cut']}")
    for column in ("from", "macro F1 [95 % CI]", "episodes", "windows"):
        table.add_column(column, justify="left" if column == "from" else "right")
    for slot in section["slots"]:
        n = (str(slot["n_episodes"]), str(slot["n_windows"]))
        table.add_row(slot["from"], interval_text(slot), *n)
    return table


def _drift(section: dict[str, Any]) -> Table:
    limit = section["threshold"]
    table = Table(title=f"channels whose population stability index is over {limit:g}")
    for column in ("compared with train", "view", "episodes", "over", "and beyond chance", "of"):
        table.add_column(column, justify="left" if column == "view" else "right")
    for row in section["summary"]:
        numbers = ("n_episodes", "n_flagged", "n_flagged_beyond_chance", "n_channels")
        table.add_row(row["group"], row["view"], *(str(row[name]) for name in numbers))
    return table


def _print_reasons(out: Console, section: dict[str, Any]) -> None:
    lines = [section.get("why")]
    for row in (*section.get("rows", []), *section.get("cells", [])):
        if row["why"] is not None:
            where = row.get("profile") or f"{row['trained_on']} on {row['tested_on']}"
            lines.append(f"{where}, {row['scope']}: {row['why']}" if "scope" in row else None)
            lines.append(None if "scope" in row else f"{where}: {row['why']}")
    for line in lines:
        if line is not None:
            out.print(line)


def _episodes(alarm: dict[str, Any] | None, which: str) -> str:
    return "n/a" if alarm is None else f"{alarm[which]['n']} of {alarm['n_episodes']}"


def _share(quiet: dict[str, Any] | None) -> str:
    if quiet is None or quiet["share_of_windows"] is None:
        return "n/a"
    return f"{quiet['share_of_windows']:.0%} of {quiet['n_windows']}"


def _area(auroc: dict[str, Any] | None) -> str:
    if auroc is None or auroc["auroc"] is None:
        return "n/a"
    if auroc["ci_low"] is None:
        return f"{auroc['auroc']:.2f} [n/a]"
    return f"{auroc['auroc']:.2f} [{auroc['ci_low']:.2f}, {auroc['ci_high']:.2f}]"
