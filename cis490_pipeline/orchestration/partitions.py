"""Split recipe = partition. One object, shared by every asset of a recipe."""

import dagster as dg

from cis490_pipeline.domain import Recipe

recipes = dg.StaticPartitionsDefinition([str(recipe) for recipe in Recipe])
