"""Tables of a generalization study on stdout."""

from collections.abc import Iterator

from rich.table import Table

from cis490_pipeline.cli.options import console
from cis490_pipeline.cli.tables import difference_text, interval_text, number_text
from cis490_pipeline.evaluation.schema import study as form
from cis490_pipeline.evaluation.schema.host_out import HostOutStudy

_WIDTH = 110


def print_study(study: form.Study) -> None:
    """Print every section that was run."""
    out = console(min_width=_WIDTH)
    for name, model in sorted(study["models"].items()):
        heading = f"{name}, split {study['split']}"
        for title, part in (
            ("profiles", model["profiles"] and _profiles(heading, model["profiles"])),
            ("hosts", model["hosts"] and _hosts(heading, model["hosts"])),
            ("time", model["time"] and _time(heading, model["time"])),
        ):
            for line in part or (f"{heading}: {title} not run",):
                out.print(line)
    out.print("drift: not run" if study["drift"] is None else _drift(study["drift"]))
    host_out = study["host_out"]
    for shown in _host_out(host_out) if host_out is not None else ("host_out: not run",):
        out.print(shown)


def _profiles(heading: str, section: form.ProfileStudy) -> Iterator[Table | str]:
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
            _episodes(row["alarm"], new=False),
            _episodes(row["alarm"], new=True),
            _episodes(reference, new=True),
            _share(row["quiet"]),
            _area(areas.get("max_softmax")),
            _area(areas.get("energy")),
        )
        table.add_row(*cells)
    yield table
    for row in section["rows"]:
        if row["why"] is not None:
            yield f"{row['profile']}, {row['scope']}: {row['why']}"


def _hosts(heading: str, section: form.HostStudy) -> Iterator[Table | str]:
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
    yield table
    for cell in section["cells"]:
        if cell["why"] is not None:
            yield f"{cell['trained_on']} on {cell['tested_on']}: {cell['why']}"


def _time(heading: str, section: form.TimeStudy) -> Iterator[Table | str]:
    area = number_text(section["aut"])
    if section["ci_low"] is not None:
        area += f" [{section['ci_low']:.3f}, {section['ci_high']:.3f}]"
    table = Table(title=f"{heading}: area under time {area}, cut at {section['cut']}")
    for column in ("from", "macro F1 [95 % CI]", "episodes", "windows"):
        table.add_column(column, justify="left" if column == "from" else "right")
    for slot in section["slots"]:
        n = (str(slot["n_episodes"]), str(slot["n_windows"]))
        table.add_row(slot["from"], interval_text(slot), *n)
    yield table
    if section["why"] is not None:
        yield section["why"]


def _drift(section: form.DriftStudy) -> Table:
    limit = section["threshold"]
    table = Table(title=f"channels whose population stability index is over {limit:g}")
    for column in ("compared with train", "view", "episodes", "over", "and beyond chance", "of"):
        table.add_column(column, justify="left" if column == "view" else "right")
    for row in section["summary"]:
        flagged = (row["n_flagged"], row["n_flagged_beyond_chance"])
        counts = (row["n_episodes"], *flagged, row["n_channels"])
        table.add_row(row["group"], row["view"], *map(str, counts))
    return table


def _host_out(section: HostOutStudy) -> Iterator[Table | str]:
    if section["why"] is not None:
        yield f"host_out: {section['why']}"
        return
    scored = [row for row in section["rows"] if row["why"] is None]
    table = Table(title=f"macro F1 over {len(section['folds'])} hosts, each left out in turn")
    for column in ("model", "95 % by episode", "95 % over hosts", "seeds, mean", "episodes"):
        table.add_column(column, justify="left" if column == "model" else "right")
    for row in scored:
        over, seeds = row["over_hosts"], row["seeds"]
        table.add_row(
            row["model"],
            interval_text(row),
            interval_text(over) if over is not None else "n/a",
            f"{seeds['n_seeds']}, {number_text(seeds['mean'])}",
            str(row["n_episodes"]),
        )
    yield table
    by_host = Table(title="macro F1 by host left out")
    for column in ("host", *(row["model"] for row in scored)):
        by_host.add_column(column, justify="left" if column == "host" else "right")
    hosts = [{host["host_id"]: host for host in row["per_host"]} for row in scored]
    for fold in section["folds"]:
        of_host = (found.get(fold["scored"]) for found in hosts)
        cells = ("n/a" if host is None else interval_text(host) for host in of_host)
        by_host.add_row(f"{fold['scored']} (stopped on {fold['val']})", *cells)
    yield by_host
    yield from (f"{row['model']}: {row['why']}" for row in section["rows"] if row["why"])
    for pair in section["pairs"]:
        p_holm = "n/a" if pair["p_holm"] is None else f"{pair['p_holm']:.4f}"
        yield f"{pair['a']} against {pair['b']}: {difference_text(pair)}, p = {p_holm} (Holm)"
    if section["opened_test"]:
        opened = ", ".join(f"{host}: {n}" for host, n in section["opened_test"].items())
        yield f"opened episodes of the test side, log it in docs/decisions.md: {opened}"


def _episodes(alarms: form.Alarms | None, new: bool) -> str:
    if alarms is None:
        return "n/a"
    return f"{alarms['new' if new else 'any']['n']} of {alarms['n_episodes']}"


def _share(quiet: form.QuietWindows | None) -> str:
    if quiet is None or quiet["share_of_windows"] is None:
        return "n/a"
    return f"{quiet['share_of_windows']:.0%} of {quiet['n_windows']}"


def _area(area: form.Auroc | None) -> str:
    if area is None or area["auroc"] is None:
        return "n/a"
    if area["ci_low"] is None:
        return f"{area['auroc']:.2f} [n/a]"
    return f"{area['auroc']:.2f} [{area['ci_low']:.2f}, {area['ci_high']:.2f}]"
