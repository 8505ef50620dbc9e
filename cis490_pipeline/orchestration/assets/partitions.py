"""Split recipe = partition. One object, shared by every asset of a recipe."""

from typing import Final

import dagster as dg

from cis490_pipeline.domain import Recipe

OWNER: Final = "team:cis490"
"""Whose the assets are, as the catalog shows it."""

recipes = dg.StaticPartitionsDefinition([str(recipe) for recipe in Recipe])
