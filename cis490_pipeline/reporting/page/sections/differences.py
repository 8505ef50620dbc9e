"""Which differences are shown: the pairs within a view, oracle against realistic, the probes."""

from collections.abc import Mapping
from typing import TypedDict

from cis490_pipeline.domain import Variant
from cis490_pipeline.evaluation.schema.board import Versus
from cis490_pipeline.evaluation.schema.parts import Pair
from cis490_pipeline.reporting.page.drawing import Dot, dot_of, reach_of
from cis490_pipeline.reporting.page.numbers import Board, Numbers
from cis490_pipeline.reporting.page.words import counted, shown


class PairCell(TypedDict):
    """A pair as row minus column."""

    difference: float | None
    low: float | None
    high: float | None
    p_holm: float | None
    shown: bool


class PairLine(TypedDict):
    """A row of a triangle of differences; empty cells are None."""

    name: str
    cells: list[PairCell | None]


class PairTable(TypedDict):
    """A triangle of differences."""

    variant: str
    columns: list[str]
    rows: list[PairLine]


class Price(Dot):
    """Oracle minus realistic of one architecture, with the places of dot and whisker."""

    name: str
    pair: Pair
    shown: bool


class DifferencesView(TypedDict):
    """The section of differences."""

    tables: list[PairTable]
    versus: Versus
    summary: str


def view(numbers: Numbers) -> DifferencesView:
    """Return what the section of differences shows."""
    pairs = [p for p in numbers.board["pairs"] if p["family"].startswith("within")]
    n_shown = sum(map(shown, pairs))
    return {
        "tables": pair_tables(numbers.board),
        "versus": numbers.board["best_vs_probe"],
        "summary": f"Of {counted(len(pairs), 'pair')} of architectures within a view, {n_shown} "
        f"{'shows' if n_shown == 1 else 'show'} a difference at 5 % after Holm's correction.",
    }


def pair_tables(board: Board) -> list[PairTable]:
    """One triangle of differences for each variant, row minus column."""
    tables: list[PairTable] = []
    for variant in Variant:
        pairs = [pair for pair in board["pairs"] if pair["family"] == f"within {variant}"]
        if not pairs:
            continue
        cells = {(pair["a"], pair["b"]): pair for pair in pairs}
        models = [row for row in board["rows"] if row["kind"] == "model"]
        order = [row["model"] for row in models if row["variant"] == variant]
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


def _oriented(cells: Mapping[tuple[str, str], Pair], first: str, second: str) -> PairCell:
    """Return a pair as first minus second; its interval is mirrored with it."""
    pair = cells.get((first, second)) or cells[second, first]
    difference, low, high = pair["difference"], pair["ci_low"], pair["ci_high"]
    if pair["a"] != first:
        difference, low, high = (None if x is None else -x for x in (difference, high, low))
    return {
        "difference": difference,
        "low": low,
        "high": high,
        "p_holm": pair["p_holm"],
        "shown": shown(pair),
    }


def _architecture(model: str, variant: str) -> str:
    return model.removesuffix(f"_{variant}")


def price_rows(board: Board) -> list[Price]:
    """Return oracle minus realistic of each architecture."""
    pairs = [pair for pair in board["pairs"] if pair["family"].startswith("oracle")]
    reach = reach_of(pairs)
    return [
        {
            "name": _architecture(pair["a"], Variant.ORACLE),
            "pair": pair,
            "shown": shown(pair),
            **dot_of(pair, reach),
        }
        for pair in pairs
    ]
