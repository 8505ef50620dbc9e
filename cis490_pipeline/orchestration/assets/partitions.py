"""Partitions: one per split recipe, in one definition that all assets of a recipe share."""

from typing import Final

import dagster as dg

from cis490_pipeline.domain import Recipe

OWNER: Final = "team:cis490"
"""Owner of the assets in the catalog."""

recipes = dg.StaticPartitionsDefinition([str(recipe) for recipe in Recipe])
