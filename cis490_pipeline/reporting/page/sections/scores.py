"""The leaderboard: bars with whiskers, realistic beside oracle, the probes below."""

from typing import NotRequired, TypedDict

from cis490_pipeline.domain import CHANNELS, Architecture, Variant
from cis490_pipeline.domain.catalogue import RUN_VARIANTS, VARIANT_SOURCES
from cis490_pipeline.evaluation.choice import HOST_OUT, chosen_by
from cis490_pipeline.evaluation.probes.learn import POSITION, PROBES
from cis490_pipeline.evaluation.schema.board import Row
from cis490_pipeline.evaluation.schema.parts import Pair
from cis490_pipeline.reporting.page.drawing import Bar, bar_of
from cis490_pipeline.reporting.page.numbers import Board, Numbers, Report
from cis490_pipeline.reporting.page.sections.differences import Price, price_rows
from cis490_pipeline.reporting.page.words import p_value, score, signed


class ModelBar(TypedDict):
    """A model in one variant; without a row where it was not scored."""

    row: Row | None
    variant: str
    end: NotRequired[str | None]
    low: NotRequired[str | None]
    high: NotRequired[str | None]


class BarGroup(TypedDict):
    """The bars of one architecture."""

    name: str
    best: float
    bars: list[ModelBar]


class ProbeBar(Bar):
    """A probe, what it knows, and how the chosen model compares."""

    row: Row
    name: str
    what: str
    pair: Pair | None
    compared: str


class ScoresView(TypedDict):
    """The section of scores."""

    groups: list[BarGroup]
    probes: list[ProbeBar]
    clock: str | None
    n_channels: dict[str, int]
    seeded: list[Row]
    prices: list[Price]
    reports: list[Report]
    phases: list[str]
    chosen_on: str
    tags: dict[str, str]


def view(numbers: Numbers) -> ScoresView:
    """Return what the section of scores shows."""
    probe_bars = probes(numbers.board)
    shown = {row["variant"] for row in numbers.board["rows"]}
    return {
        "groups": bars(numbers.board),
        "probes": probe_bars,
        "clock": next((p["end"] for p in probe_bars if p["row"]["model"] == POSITION), None),
        "n_channels": {
            str(variant): sum(channel.source in sources for channel in CHANNELS)
            for variant, sources in VARIANT_SOURCES.items()
            if variant in RUN_VARIANTS or variant in shown
        },
        "seeded": [row for row in numbers.board["rows"] if row["seeds"]["n_seeds"] > 1],
        "prices": price_rows(numbers.board),
        "reports": numbers.reports,
        "phases": [entry["phase"] for entry in numbers.chosen["per_class"]],
        "chosen_on": numbers.chosen_on,
        "tags": tags(numbers.board),
    }


def tags(board: Board) -> dict[str, str]:
    """Mark each variant's chosen model by what chose it, and each ensemble by its parts."""
    chosen = {
        name: "best on devices left out" if chosen_by(board, variant) == HOST_OUT else "best on val"
        for variant, name in board["selected"].items()
        if name is not None
    }
    means = {
        row["model"]: f"mean of {' and '.join(row['parts'])}"
        for row in board["rows"]
        if "parts" in row
    }
    return chosen | means


def bars(board: Board) -> list[BarGroup]:
    """Rows of the bar chart: for each architecture a bar of each view.

    Ordered by the best of them; an architecture lacks the views it was not scored in. Of the views
    that no recipe run has, only those it was scored in are drawn.
    """
    models = [row for row in board["rows"] if row["kind"] == "model"]
    known = [str(architecture) for architecture in Architecture]
    names = list(dict.fromkeys(str(row["architecture"]) for row in models))
    groups: list[BarGroup] = []
    for name in sorted(names, key=lambda n: known.index(n) if n in known else len(known)):
        views = {str(row["variant"]): row for row in models if row["architecture"] == name}
        best = max((row["macro_f1"] or 0.0 for row in views.values()), default=0.0)
        drawn = [
            _bar(views.get(variant), variant)
            for variant in Variant
            if variant in RUN_VARIANTS or variant in views
        ]
        groups.append({"name": name, "best": best, "bars": drawn})
    return sorted(groups, key=lambda group: -group["best"])


def _bar(row: Row | None, variant: Variant) -> ModelBar:
    if row is None:
        return {"row": None, "variant": str(variant)}
    return {"row": row, "variant": str(variant), **bar_of(row)}


def probes(board: Board) -> list[ProbeBar]:
    """Return the probes' bars."""
    compared = {pair["b"]: pair for pair in board["best_vs_probe"]["comparisons"]}
    return [
        {
            "row": row,
            "name": row["model"].removeprefix("probe_"),
            "what": PROBES.get(row["model"], "a guess without telemetry"),
            "pair": compared.get(row["model"]),
            "compared": _compared(compared.get(row["model"])),
            **bar_of(row),
        }
        for row in board["rows"]
        if row["kind"] == "probe"
    ]


def _compared(pair: Pair | None) -> str:
    if pair is None or pair["difference"] is None:
        return ""
    place = "above" if pair["difference"] > 0 else "below"
    ends = f"{signed(pair['ci_low'], 3)}, {signed(pair['ci_high'], 3)}"
    by = score(abs(pair["difference"]), 3)
    return f"; {pair['a']} is {by} {place} it [{ends}], {p_value(pair['p_holm'])}"
