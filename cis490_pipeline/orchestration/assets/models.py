"""Assets of models: twelve checkpoints, twelve reports, two further tables, the leaderboard."""

import base64
from collections.abc import Sequence
from typing import Any

import dagster as dg
import msgspec

from cis490_pipeline.domain import Architecture, Recipe, Variant
from cis490_pipeline.domain.catalogue import ARCHITECTURE_VERSIONS, INPUT_KINDS, MODELS
from cis490_pipeline.evaluation.generalization.robustness import ROBUSTNESS_VERSION
from cis490_pipeline.evaluation.report import EVALUATION_VERSION
from cis490_pipeline.evaluation.schema.board import Leaderboard as Board
from cis490_pipeline.evaluation.schema.stored import read_form, read_report
from cis490_pipeline.events.contract import leaderboard_events
from cis490_pipeline.experiment.leaderboard import Leaderboard
from cis490_pipeline.experiment.pipeline.ablation import ABLATION_VERSION, CalibrationAblation
from cis490_pipeline.experiment.pipeline.evaluation import EvaluationReport
from cis490_pipeline.experiment.pipeline.robustness import Robustness
from cis490_pipeline.experiment.pipeline.training import TrainedCheckpoint
from cis490_pipeline.experiment.stages.make import make_stages
from cis490_pipeline.experiment.stages.workspace import Workspace
from cis490_pipeline.features.stress.perturbations import PERTURBATIONS_VERSION
from cis490_pipeline.orchestration.assets.dataset import (
    feature_shards,
    tensor_shards,
    validation_index,
)
from cis490_pipeline.orchestration.assets.partitions import OWNER, recipes
from cis490_pipeline.orchestration.assets.recording import recorded


def _image(title: str, png: bytes) -> dg.MetadataValue[Any]:
    return dg.MetadataValue.md(
        f"![{title}](data:image/png;base64,{base64.b64encode(png).decode()})"
    )


def checkpoint_key(architecture: Architecture, variant: Variant) -> dg.AssetKey:
    """Key of a model's checkpoint asset."""
    return dg.AssetKey(["model", str(architecture), str(variant), "checkpoint"])


def report_key(architecture: Architecture, variant: Variant) -> dg.AssetKey:
    """Key of a model's report asset."""
    return dg.AssetKey(["model", str(architecture), str(variant), "eval_report"])


def checkpoint_asset(architecture: Architecture, variant: Variant) -> dg.AssetsDefinition:
    """Return the asset that trains one model."""
    dataset = feature_shards if INPUT_KINDS[architecture] == "summary" else tensor_shards

    @dg.asset(
        key=checkpoint_key(architecture, variant),
        deps=[validation_index, dataset],
        partitions_def=recipes,
        group_name="models",
        owners=[OWNER],
        kinds={"python", "xgboost" if architecture is Architecture.GBT else "pytorch"},
        tags={"arch": str(architecture), "variant": str(variant)},
        code_version=str(ARCHITECTURE_VERSIONS[architecture]),
        pool="train",
        description=f"Trained {architecture}, {variant}: weights, calibration, ONNX, golden.",
    )
    def checkpoint(
        context: dg.AssetExecutionContext, workspace: dg.ResourceParam[Workspace]
    ) -> dg.MaterializeResult[None]:
        recipe = Recipe(context.partition_key)
        stage = TrainedCheckpoint(workspace, recipe, architecture, variant)
        (outcome,) = make_stages((stage,), checked=False)
        return recorded(outcome, workspace)

    return checkpoint


def report_asset(architecture: Architecture, variant: Variant) -> dg.AssetsDefinition:
    """Return the asset that scores one model on the test side."""

    @dg.asset(
        key=report_key(architecture, variant),
        deps=[checkpoint_key(architecture, variant), validation_index],
        partitions_def=recipes,
        group_name="models",
        owners=[OWNER],
        kinds={"python", "json"},
        tags={"arch": str(architecture), "variant": str(variant)},
        code_version=EVALUATION_VERSION,
        description=f"Macro F1 with interval, by class, profile, host: {architecture}, {variant}.",
    )
    def eval_report(
        context: dg.AssetExecutionContext, workspace: dg.ResourceParam[Workspace]
    ) -> dg.MaterializeResult[None]:
        from cis490_pipeline.reporting.figures import confusion_png

        recipe = Recipe(context.partition_key)
        stage = EvaluationReport(workspace, recipe, architecture, variant)
        (outcome,) = make_stages((stage,), checked=False)
        path = workspace.paths.report_json(recipe, stage.name)
        return recorded(
            outcome,
            workspace,
            confusion=_image("confusion", confusion_png(read_report(path))),
            report=dg.MetadataValue.path(str(path)),
        )

    return eval_report


def table_asset(
    stage: type[CalibrationAblation] | type[Robustness],
    *,
    deps: Sequence[dg.AssetKey | dg.AssetsDefinition],
    kinds: set[str],
    code_version: str,
    description: str,
) -> dg.AssetsDefinition:
    """Return the asset of a table that the leaderboard shows beside its scores."""

    @dg.asset(
        key=stage.key.split("/"),
        deps=deps,
        partitions_def=recipes,
        group_name="models",
        owners=[OWNER],
        kinds=kinds,
        code_version=code_version,
        pool="train",
        description=description,
    )
    def table(
        context: dg.AssetExecutionContext, workspace: dg.ResourceParam[Workspace]
    ) -> dg.MaterializeResult[None]:
        (outcome,) = make_stages((stage(workspace, Recipe(context.partition_key)),), checked=False)
        return recorded(outcome, workspace)

    return table


ablation = table_asset(
    CalibrationAblation,
    deps=[validation_index, feature_shards],
    kinds={"python", "xgboost"},
    code_version=ABLATION_VERSION,
    description="Macro F1 of eleven ways of calibration: trees trained on identical windows.",
)

robustness = table_asset(
    Robustness,
    deps=[validation_index, tensor_shards, *(checkpoint_key(*model) for model in MODELS)],
    kinds={"python", "json"},
    code_version=f"{ROBUSTNESS_VERSION}.{PERTURBATIONS_VERSION}",
    description="What ten recording faults cost each model: test episodes cut and scored again.",
)


@dg.asset(
    key=["model", "leaderboard"],
    deps=[*(report_key(*model) for model in MODELS), ablation, robustness],
    partitions_def=recipes,
    group_name="models",
    owners=[OWNER],
    kinds={"python", "html"},
    code_version=EVALUATION_VERSION,
)
def leaderboard(
    context: dg.AssetExecutionContext, workspace: dg.ResourceParam[Workspace]
) -> dg.MaterializeResult[None]:
    """Comparison of all models and probes of a recipe with tested differences, and report.html."""
    from cis490_pipeline.reporting.figures import leaderboard_png

    recipe = Recipe(context.partition_key)
    (outcome,) = make_stages((Leaderboard(workspace, recipe),), checked=False)
    board = read_form(workspace.paths.leaderboard(recipe), Board)
    page = workspace.paths.report_html(recipe)
    return recorded(
        outcome,
        workspace,
        scores=_image("leaderboard", leaderboard_png(board)),
        # Publish the scores of this materialization, not whatever is on disk at delivery.
        events=dg.MetadataValue.json(msgspec.to_builtins(leaderboard_events(board))),
        report=dg.MetadataValue.path(str(page)),
    )


checkpoints = [checkpoint_asset(*model) for model in MODELS]
reports = [report_asset(*model) for model in MODELS]
