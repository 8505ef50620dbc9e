"""What the page says and where its bars end, worked out before any markup."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, Final

from cis490_pipeline.domain import Architecture, Recipe, Variant
from cis490_pipeline.evaluation.probes import POSITION, PROBES

Report = Mapping[str, Any]
Board = Mapping[str, Any]

SIGNIFICANT: Final = 0.05

_HELD_OUT: Final[Mapping[str, tuple[str, str]]] = {
    Recipe.HOST: ("held out by host", "unseen devices"),
    Recipe.SAMPLE: ("held out by sample", "unseen samples"),
    Recipe.TIME: ("held out by time", "later episodes"),
}
_PHASE_NAMES: Final = {"infected_running": "running"}


def score(value: float | None, digits: int = 2) -> str:
    """Write a score, or n/a."""
    return "n/a" if value is None else f"{value:.{digits}f}"


def signed(value: float | None, digits: int = 2) -> str:
    """Write a difference with its sign, or n/a."""
    if value is None:
        return "n/a"
    text = f"{abs(value):.{digits}f}"
    return text if float(text) == 0 else ("+" if value > 0 else "−") + text


def p_value(value: float | None) -> str:
    """Write a p-value as a reader compares it."""
    if value is None:
        return "not tested"
    return "p < 0.001" if value < 0.001 else f"p = {value:.{3 if value < 0.1 else 2}f}"


def phase_name(phase: str) -> str:
    """Shorten a phase's name to fit a column."""
    return _PHASE_NAMES.get(phase, phase.replace("_", " "))


def provenance_text(value: Any) -> str:
    """Write a value of the provenance, a mapping as its entries."""
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {entry}" for name, entry in value.items())
    return str(value)


def level(value: float | None) -> str:
    """Step 0 to 10 of a colour scale, for a share between 0 and 1; ``none`` where undefined."""
    return "none" if value is None else str(min(10, max(0, math.floor(value * 10 + 0.5))))


def thousands(value: int) -> str:
    """Write a count with thin spaces."""
    return f"{value:,}".replace(",", " ")


def heading(board: Board) -> dict[str, str]:
    """Name what was held out."""
    held_out, on = _HELD_OUT.get(board["split"], (f"split {board['split']}", "the test side"))
    return {"held_out": held_out, "on": on}


def chosen_report(board: Board, named: Mapping[str, Report]) -> Report:
    """Report of the model one may speak of: realistic, best on validation.

    Where there is no realistic model it is the oracle's, and without any the first row's.
    """
    chosen = board["selected"].get(Variant.REALISTIC) or board["selected"].get(Variant.ORACLE)
    return named[chosen if chosen is not None else board["rows"][0]["model"]]


def in_board_order(board: Board, named: Mapping[str, Report]) -> list[Report]:
    """Put the reports in the order of the leaderboard's rows."""
    return [named[row["model"]] for row in board["rows"]]


def tiles(board: Board, named: Mapping[str, Report], chosen: Report) -> list[dict[str, str]]:
    """State the four things at the top: score, hardest device, clock alone, price of deployment."""
    found = [_score_tile(board, chosen)]
    worst = chosen["host_minimum"]
    if worst is not None and len(chosen["per_host"]) > 1:
        rest = [host for host in chosen["per_host"] if host["host_id"] == worst["host_id"]]
        found.append(
            {
                "title": "Hardest device",
                "value": score(worst["macro_f1"]),
                "range": _range(rest[0]),
                "text": f"{worst['host_id']}, {rest[0]['n_episodes']} episodes; "
                f"{len(chosen['per_host'])} devices were tested, each on its own below",
            }
        )
    found += [
        {
            "title": "Against the clock alone",
            "value": signed(pair["difference"]),
            "range": _range(pair, signed),
            "text": f"{chosen['model']} minus a forest that knows only the time since the start "
            f"({score(named[POSITION]['macro_f1'])}); {_verdict(pair)}",
        }
        for pair in board["best_vs_probe"]["comparisons"]
        if pair["b"] == POSITION and pair["a"] == chosen["model"]
    ]
    found += [
        {
            "title": "Price of deployment",
            "value": signed(pair["difference"]),
            "range": _range(pair, signed),
            "text": f"what {pair['a']} gains by seeing the lab's channels too; {_verdict(pair)}",
        }
        for pair in board["pairs"]
        if pair["family"].startswith("oracle") and pair["b"] == chosen["model"]
    ]
    return found


def _score_tile(board: Board, chosen: Report) -> dict[str, str]:
    return {
        "title": f"Macro F1 on {heading(board)['on']}",
        "value": score(chosen["macro_f1"]),
        "range": _range(chosen),
        "text": f"{chosen['model']}, the best {chosen['variant'] or 'model'} on validation "
        f"({board['selected_on']}); {thousands(chosen['n_episodes'])} episodes, "
        f"{thousands(chosen['n_windows'])} windows",
    }


def _range(entry: Mapping[str, Any], write: Any = score) -> str:
    if entry["ci_low"] is None:
        return "no interval"
    return f"{write(entry['ci_low'])} to {write(entry['ci_high'])}"


def _verdict(pair: Mapping[str, Any]) -> str:
    if pair["p_holm"] is None:
        return "not tested"
    shown = "a difference" if pair["p_holm"] < SIGNIFICANT else "no difference"
    return f"{shown} is shown ({p_value(pair['p_holm'])})"


def bars(board: Board) -> list[dict[str, Any]]:
    """Rows of the bar chart, a realistic and an oracle bar for each architecture.

    Ordered by the better of the two; an architecture lacks the views it was not scored in.
    """
    models = [row for row in board["rows"] if row["kind"] == "model"]
    known = [str(architecture) for architecture in Architecture]
    names = list(dict.fromkeys(row["architecture"] for row in models))
    groups = []
    for name in sorted(names, key=lambda n: known.index(n) if n in known else len(known)):
        views = [
            next((r for r in models if (r["architecture"], r["variant"]) == (name, v)), None)
            for v in Variant
        ]
        best = max((row["macro_f1"] or 0.0 for row in views if row), default=0.0)
        drawn = [_bar(row, variant) for row, variant in zip(views, Variant, strict=True)]
        groups.append({"name": name, "best": best, "bars": drawn})
    return sorted(groups, key=lambda group: -group["best"])


def _bar(row: Mapping[str, Any] | None, variant: Variant) -> dict[str, Any]:
    if row is None:
        return {"row": None, "variant": str(variant)}
    return {"row": row, "variant": str(variant), **_lengths(row)}


def _lengths(row: Mapping[str, Any]) -> dict[str, Any]:
    """Place the ends of a bar and its whisker, per cent of the axis from 0 to 1."""
    share = {name: _percent(row[name]) for name in ("macro_f1", "ci_low", "ci_high")}
    return {"end": share["macro_f1"], "low": share["ci_low"], "high": share["ci_high"]}


def _percent(value: float | None) -> str | None:
    return None if value is None else f"{100 * min(1.0, max(0.0, value)):.2f}"


def probes(board: Board) -> list[dict[str, Any]]:
    """List the probes' bars, with what each of them knows."""
    compared = {pair["b"]: pair for pair in board["best_vs_probe"]["comparisons"]}
    return [
        {
            "row": row,
            "name": row["model"].removeprefix("probe_"),
            "what": PROBES.get(row["model"], "a guess without telemetry"),
            "compared": _compared(compared.get(row["model"])),
            **_lengths(row),
        }
        for row in board["rows"]
        if row["kind"] == "probe"
    ]


def _compared(pair: Mapping[str, Any] | None) -> str:
    if pair is None or pair["difference"] is None:
        return ""
    place = "above" if pair["difference"] > 0 else "below"
    ends = f"{signed(pair['ci_low'], 3)}, {signed(pair['ci_high'], 3)}"
    by = score(abs(pair["difference"]), 3)
    return f"; {pair['a']} is {by} {place} it [{ends}], {p_value(pair['p_holm'])}"


def confusion_rows(confusion: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Rows of a confusion matrix, each cell with its share of the true phase's windows."""
    rows = []
    for i, (label, counts) in enumerate(zip(confusion["labels"], confusion["counts"], strict=True)):
        total = sum(counts)
        cells = [
            {"n": n, "share": n / total if total else None, "right": i == j, "predicted": predicted}
            for j, (n, predicted) in enumerate(zip(counts, confusion["labels"], strict=True))
        ]
        recall = counts[i] / total if total else None
        rows.append({"label": label, "cells": cells, "total": total, "recall": recall})
    return rows


def profile_map(report: Report) -> dict[str, Any]:
    """Profiles down, hosts across, for one model; what was never tested has no colour."""
    cells = {(cell["profile"], cell["host_id"]): cell for cell in report["profile_host"]}
    hosts = sorted({host for _, host in cells})
    profiles = list(dict.fromkeys(cell["profile"] for cell in report["profile_host"]))
    return {
        "hosts": hosts,
        "rows": [{"profile": p, "cells": [cells[p, host] for host in hosts]} for p in profiles],
    }


def pair_tables(board: Board) -> list[dict[str, Any]]:
    """One triangle of differences for each variant, row minus column."""
    tables = []
    for variant in Variant:
        pairs = [pair for pair in board["pairs"] if pair["family"] == f"within {variant}"]
        if not pairs:
            continue
        cells = {(pair["a"], pair["b"]): pair for pair in pairs}
        order = [row["model"] for row in board["rows"] if row["variant"] == variant]
        tables.append(
            {
                "variant": str(variant),
                "columns": [_architecture(name, variant) for name in order[1:]],
                "rows": [
                    {
                        "name": _architecture(name, variant),
                        "cells": [
                            _oriented(cells, name, other) if j > i else None
                            for j, other in enumerate(order)
                        ][1:],
                    }
                    for i, name in enumerate(order[:-1])
                ],
            }
        )
    return tables


def _oriented(
    cells: Mapping[tuple[str, str], Mapping[str, Any]], first: str, second: str
) -> dict[str, Any]:
    pair = cells.get((first, second)) or cells[second, first]
    sign = 1 if pair["a"] == first else -1
    difference = pair["difference"]
    shown = pair["p_holm"] is not None and pair["p_holm"] < SIGNIFICANT
    return {
        "difference": None if difference is None else sign * difference,
        "p_holm": pair["p_holm"],
        "shown": shown,
    }


def _architecture(model: str, variant: str) -> str:
    return model.removesuffix(f"_{variant}")


def view_rows(board: Board) -> list[dict[str, Any]]:
    """Oracle minus realistic of each architecture, with the ends of its whisker on −1…1 halved."""
    pairs = [pair for pair in board["pairs"] if pair["family"].startswith("oracle")]
    reach = max([0.1, *(abs(end) for pair in pairs for end in _ends(pair))])
    return [
        {
            "name": _architecture(pair["a"], Variant.ORACLE),
            "pair": pair,
            "shown": pair["p_holm"] is not None and pair["p_holm"] < SIGNIFICANT,
            "at": _place(pair["difference"], reach),
            "low": _place(pair["ci_low"], reach),
            "high": _place(pair["ci_high"], reach),
        }
        for pair in pairs
    ]


def _ends(pair: Mapping[str, Any]) -> Sequence[float]:
    return [pair[name] for name in ("ci_low", "ci_high") if pair[name] is not None]


def _place(value: float | None, reach: float) -> str | None:
    return None if value is None else f"{50 + 48 * value / reach:.2f}"
