"""Order of all stages, for the asset graph and the command line.

Stages without models (verdicts, grids, datasets) are ordered where they are defined, so that a
device without torch can make them.
"""

from typing import Final

from cis490_pipeline.domain import Recipe
from cis490_pipeline.domain.catalogue import MODELS, ON_REQUEST
from cis490_pipeline.experiment.leaderboard import Leaderboard
from cis490_pipeline.experiment.pipeline.ablation import CalibrationAblation
from cis490_pipeline.experiment.pipeline.corpus import corpus_stages
from cis490_pipeline.experiment.pipeline.dataset import dataset_stages
from cis490_pipeline.experiment.pipeline.evaluation import EvaluationReport
from cis490_pipeline.experiment.pipeline.robustness import Robustness
from cis490_pipeline.experiment.pipeline.training import TrainedCheckpoint
from cis490_pipeline.experiment.stages.stage import Stage
from cis490_pipeline.experiment.stages.workspace import Workspace

TABLES: Final = (CalibrationAblation, Robustness)
"""What the leaderboard shows beside its scores, each a stage that takes as long as training."""

__all__ = ["corpus_stages", "dataset_stages", "further_stages", "recipe_stages"]


def recipe_stages(workspace: Workspace, recipe: Recipe) -> tuple[Stage, ...]:
    """Return all stages of one recipe in order: data, models, reports, further tables, board."""
    return (
        *dataset_stages(workspace, recipe),
        *(TrainedCheckpoint(workspace, recipe, *model) for model in MODELS),
        *(EvaluationReport(workspace, recipe, *model) for model in MODELS),
        *(table(workspace, recipe) for table in TABLES),
        Leaderboard(workspace, recipe),
    )


def further_stages(workspace: Workspace, recipe: Recipe) -> tuple[Stage, ...]:
    """Return checkpoints and reports of variants on request and of further seeds, in order.

    Only the command line makes them (``--variant``, ``--seeds``); they are no assets.
    """
    models = [TrainedCheckpoint(workspace, recipe, *model) for model in (*MODELS, *ON_REQUEST)]
    return tuple(
        kind(workspace, recipe, model.architecture, model.variant, seed=seed)
        for model in models
        for seed in (
            *([] if (model.architecture, model.variant) in MODELS else [model.seed]),
            *model.further_seeds(),
        )
        for kind in (TrainedCheckpoint, EvaluationReport)
    )
