"""Persistence of splits: made once, extended by their own rule, never silently remade."""

from dataclasses import replace
from pathlib import Path
from typing import Unpack

import polars as pl

from cis490_pipeline.domain import Recipe
from cis490_pipeline.errors import SplitError, StoreError
from cis490_pipeline.splits.recipes import make_split
from cis490_pipeline.splits.split import Split, SplitRule
from cis490_pipeline.storage.files import read_object, write_json


def load_split(path: Path) -> Split:
    """Read a stored split; SplitError if the file is missing, incomplete or was edited."""
    if not path.is_file():
        raise SplitError(f"{path}: no split is stored here; make it first (cis490 split)")
    try:
        return Split.from_dict(read_object(path))
    except (SplitError, StoreError) as fault:
        raise SplitError(f"{path}: {fault}") from fault


def load_or_make(
    path: Path, recipe: Recipe, episodes: pl.DataFrame, **chosen: Unpack[SplitRule]
) -> Split:
    """Load the stored split and extend it by new episodes, or make one.

    A stored episode that is not given (it no longer validates) keeps its side in the file, so
    that it returns to the same side, and is absent from the result.

    Parameters
    ----------
    path : ``split_v<n>.json``; written if episodes were added.
    chosen : parameters of the recipe (``train_hosts``, ``test_fraction``, ``seed``, …).

    Raises
    ------
    SplitError
        If the stored split is of another recipe or was made with other parameters.
    """
    if not path.exists():
        split = make_split(recipe, episodes, **chosen)
        write_json(path, split.to_dict())
        return split
    stored = load_split(path)
    _require_same_rule(path, stored, recipe, chosen)
    extended = make_split(recipe, episodes, stored=stored, **_rule_of(stored))
    away = stored.assignment.join(extended.assignment, on="episode_id", how="anti")
    whole = replace(extended, assignment=pl.concat([extended.assignment, away]).sort("episode_id"))
    if whole.to_dict() != stored.to_dict():
        write_json(path, whole.to_dict())
    return extended


def _rule_of(split: Split) -> SplitRule:
    rule: SplitRule = {"seed": split.seed, "version": split.version}
    if "train_hosts" in split.parameters:
        rule["train_hosts"] = split.parameters["train_hosts"]
    if "val_hosts" in split.parameters:
        rule["val_hosts"] = split.parameters["val_hosts"]
    if "val_fraction" in split.parameters:
        rule["val_fraction"] = split.parameters["val_fraction"]
    if "test_fraction" in split.parameters:
        rule["test_fraction"] = split.parameters["test_fraction"]
    return rule


def _require_same_rule(path: Path, stored: Split, recipe: Recipe, chosen: SplitRule) -> None:
    if stored.recipe is not recipe:
        raise SplitError(f"{path}: holds a {stored.recipe} split, a {recipe} split was asked for")
    rule = _rule_of(stored)
    asked = chosen.copy()
    if "train_hosts" in asked:
        asked["train_hosts"] = sorted(set(asked["train_hosts"]))
    if recipe is Recipe.HOST:
        # Given or not: a split whose validation hosts were named is another without their names.
        rule.setdefault("val_hosts", [])
        asked["val_hosts"] = sorted(set(asked.get("val_hosts", ())))
    differing = [
        f"{name} was {rule.get(name)!r}, is {value!r}"
        for name, value in sorted(asked.items())
        if rule.get(name) != value
    ]
    if differing:
        raise SplitError(
            f"{path}: was made with other parameters: {'; '.join(differing)}. "
            "Use another data folder (--data), or remove the file to assign the sides again"
        )
