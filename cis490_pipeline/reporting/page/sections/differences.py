"""Which differences are shown: the pairs within a view, oracle against realistic, the probes."""

from collections.abc import Mapping
from typing import Any

from cis490_pipeline.domain import Variant
from cis490_pipeline.reporting.page.drawing import dot_of, reach_of
from cis490_pipeline.reporting.page.numbers import Board, Numbers
from cis490_pipeline.reporting.page.words import counted, shown


def view(numbers: Numbers) -> dict[str, Any]:
    """Return what the section of differences shows."""
    pairs = [p for p in numbers.board["pairs"] if p["family"].startswith("within")]
    found = sum(map(shown, pairs))
    return {
        "tables": pair_tables(numbers.board),
        "versus": numbers.board["best_vs_probe"],
        "summary": f"Of {counted(len(pairs), 'pair')} of architectures within a view, {found} "
        f"{'shows' if found == 1 else 'show'} a difference at 5 % after Holm's correction.",
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
    """Return a pair as first minus second; its interval turns round with it."""
    pair = cells.get((first, second)) or cells[second, first]
    turned = {"difference": pair["difference"], "low": pair["ci_low"], "high": pair["ci_high"]}
    if pair["a"] != first:
        turned = {"difference": pair["difference"], "low": pair["ci_high"], "high": pair["ci_low"]}
        turned = {name: None if end is None else -end for name, end in turned.items()}
    return {**turned, "p_holm": pair["p_holm"], "shown": shown(pair)}


def _architecture(model: str, variant: str) -> str:
    return model.removesuffix(f"_{variant}")


def price_rows(board: Board) -> list[dict[str, Any]]:
    """Oracle minus realistic of each architecture, with the places of dot and whisker."""
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
