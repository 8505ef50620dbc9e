"""The order of all stages: what the asset graph and the command line both walk."""

from cis490_pipeline.domain import Recipe
from cis490_pipeline.experiment.corpus import GridShards, ValidationSweep
from cis490_pipeline.experiment.dataset import FeatureShards, TensorShards, ValidationIndex
from cis490_pipeline.experiment.evaluation import EvaluationReport
from cis490_pipeline.experiment.leaderboard import Leaderboard
from cis490_pipeline.experiment.stage import Stage
from cis490_pipeline.experiment.training import TrainedCheckpoint
from cis490_pipeline.experiment.workspace import Workspace
from cis490_pipeline.models.catalogue import MODELS


def corpus_stages(workspace: Workspace) -> tuple[Stage, ...]:
    """Return what all recipes share, in order."""
    return (ValidationSweep(workspace), GridShards(workspace))


def dataset_stages(workspace: Workspace, recipe: Recipe) -> tuple[Stage, ...]:
    """Return the data of one recipe, in order."""
    return (
        ValidationIndex(workspace, recipe),
        FeatureShards(workspace, recipe),
        TensorShards(workspace, recipe),
    )


def recipe_stages(workspace: Workspace, recipe: Recipe) -> tuple[Stage, ...]:
    """Return everything of one recipe, in order: data, twelve models, their reports, the board."""
    return (
        *dataset_stages(workspace, recipe),
        *(TrainedCheckpoint(workspace, recipe, *model) for model in MODELS),
        *(EvaluationReport(workspace, recipe, *model) for model in MODELS),
        Leaderboard(workspace, recipe),
    )
