"""Persistence of splits: made once, extended by their own rule, never silently remade."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import polars as pl

from cis490_pipeline.domain import Recipe
from cis490_pipeline.errors import SplitError, StoreError
from cis490_pipeline.splits.recipes import make_split
from cis490_pipeline.splits.split import Split
from cis490_pipeline.storage.files import read_object, write_json

_RULE_PARAMETERS: Final = ("train_hosts", "val_fraction", "test_fraction")
"""Parameters a caller chooses; the recipe derives the others (cuts, hosts)."""


def load_split(path: Path) -> Split:
    """Read a stored split; SplitError if the file is missing, incomplete or was edited."""
    if not path.is_file():
        raise SplitError(f"{path}: no split is stored here; make it first (cis490 split)")
    try:
        return Split.from_dict(read_object(path))
    except (SplitError, StoreError) as fault:
        raise SplitError(f"{path}: {fault}") from fault


def load_or_make(path: Path, recipe: Recipe, episodes: pl.DataFrame, **parameters: Any) -> Split:
    """Load the stored split and extend it by new episodes, or make one.

    A stored episode that is not given (it no longer validates) keeps its side in the file, so
    that it returns to the same side, and is absent from the result.

    Parameters
    ----------
    path : ``split_v<n>.json``; written if episodes were added.
    parameters : of the recipe (``train_hosts``, ``test_fraction``, ``seed``, …).

    Raises
    ------
    SplitError
        If the stored split is of another recipe or was made with other parameters.
    """
    if not path.exists():
        split = make_split(recipe, episodes, **parameters)
        write_json(path, split.to_dict())
        return split
    stored = load_split(path)
    _require_same_rule(path, stored, recipe, parameters)
    extended = make_split(recipe, episodes, stored=stored, **_rule_of(stored))
    away = stored.assignment.join(extended.assignment, on="episode_id", how="anti")
    whole = replace(extended, assignment=pl.concat([extended.assignment, away]).sort("episode_id"))
    if whole.to_dict() != stored.to_dict():
        write_json(path, whole.to_dict())
    return extended


def _rule_of(split: Split) -> dict[str, Any]:
    chosen = {name: value for name, value in split.parameters.items() if name in _RULE_PARAMETERS}
    return {"seed": split.seed, "version": split.version, **chosen}


def _require_same_rule(
    path: Path, stored: Split, recipe: Recipe, parameters: Mapping[str, Any]
) -> None:
    if stored.recipe is not recipe:
        raise SplitError(f"{path}: holds a {stored.recipe} split, a {recipe} split was asked for")
    rule = _rule_of(stored)
    asked = dict(parameters)
    if "train_hosts" in asked:
        asked["train_hosts"] = sorted(set(asked["train_hosts"]))
    differing = [
        f"{name} was {rule.get(name)!r}, is {asked[name]!r}"
        for name in sorted(asked)
        if rule.get(name) != asked[name]
    ]
    if differing:
        raise SplitError(
            f"{path}: was made with other parameters: {'; '.join(differing)}. "
            "Use another data folder (--data), or remove the file to assign the sides again"
        )
