"""Assets of models: twelve checkpoints, twelve reports, two further tables, the leaderboard."""

import base64
from functools import partial

import dagster as dg
import msgspec

from cis490_pipeline.domain import Architecture, Variant
from cis490_pipeline.domain.catalogue import ARCHITECTURE_VERSIONS, MODELS, input_kind
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
from cis490_pipeline.features.stress.perturbations import PERTURBATIONS_VERSION
from cis490_pipeline.orchestration.assets.dataset import (
    feature_shards,
    tensor_shards,
    validation_index,
)
from cis490_pipeline.orchestration.assets.recording import Metadata, recipe_asset
from cis490_pipeline.storage.files import read_object


def _image(title: str, png: bytes) -> dg.MarkdownMetadataValue:
    image = base64.b64encode(png).decode()
    return dg.MetadataValue.md(f"![{title}](data:image/png;base64,{image})")


def checkpoint_metadata(stage: TrainedCheckpoint) -> Metadata:
    """Return where the checkpoint lies, and its learning curve."""
    from cis490_pipeline.reporting.figures import learning_curve_png

    history = read_object(stage.folder / "checkpoint.json", "history")["history"]
    return {
        "checkpoint": dg.MetadataValue.path(str(stage.folder)),
        "learning_curve": _image("learning curve", learning_curve_png(stage.name, history)),
    }


def _checkpoint_asset(architecture: Architecture, variant: Variant) -> dg.AssetsDefinition:
    """Return the asset that trains one model."""
    dataset = tensor_shards if input_kind(architecture) == "tensor" else feature_shards
    return recipe_asset(
        f"model/{architecture}/{variant}/checkpoint",
        partial(TrainedCheckpoint, architecture=architecture, variant=variant),
        deps=[validation_index, dataset],
        kinds={"xgboost" if architecture is Architecture.GBT else "pytorch"},
        tags={"arch": str(architecture), "variant": str(variant)},
        code_version=str(ARCHITECTURE_VERSIONS[architecture]),
        pool="train",
        description=f"Trained {architecture}, {variant}: weights, calibration, ONNX, golden.",
        extra=checkpoint_metadata,
    )


def _report_asset(
    architecture: Architecture, variant: Variant, checkpoint: dg.AssetsDefinition
) -> dg.AssetsDefinition:
    """Return the asset that scores one model on the test side."""

    def extra(stage: EvaluationReport) -> Metadata:
        from cis490_pipeline.reporting.figures import confusion_png

        return {
            "confusion": _image("confusion", confusion_png(read_report(stage.report_path))),
            "report": dg.MetadataValue.path(str(stage.report_path)),
        }

    return recipe_asset(
        f"model/{architecture}/{variant}/eval_report",
        partial(EvaluationReport, architecture=architecture, variant=variant),
        deps=[checkpoint, validation_index],
        kinds={"json"},
        tags={"arch": str(architecture), "variant": str(variant)},
        code_version=EVALUATION_VERSION,
        description=f"Macro F1 with interval, by class, profile, host: {architecture}, {variant}.",
        extra=extra,
    )


def _board_metadata(stage: Leaderboard) -> Metadata:
    from cis490_pipeline.reporting.figures import leaderboard_png

    paths = stage.workspace.paths
    board = read_form(paths.leaderboard(stage.recipe), Board)
    return {
        "scores": _image("leaderboard", leaderboard_png(board)),
        # Publish the scores of this materialization, not whatever is on disk at delivery.
        "events": dg.MetadataValue.json(msgspec.to_builtins(leaderboard_events(board))),
        "report": dg.MetadataValue.path(str(paths.report_html(stage.recipe))),
    }


checkpoints = [_checkpoint_asset(*model) for model in MODELS]
reports = [_report_asset(*model, made) for model, made in zip(MODELS, checkpoints, strict=True)]

ablation = recipe_asset(
    CalibrationAblation.key,
    CalibrationAblation,
    deps=[validation_index, feature_shards],
    kinds={"xgboost"},
    code_version=ABLATION_VERSION,
    pool="train",
    description="Macro F1 of eleven ways of calibration: trees trained on identical windows.",
)
robustness = recipe_asset(
    Robustness.key,
    Robustness,
    deps=[validation_index, tensor_shards, *checkpoints],
    kinds={"json"},
    code_version=f"{ROBUSTNESS_VERSION}.{PERTURBATIONS_VERSION}",
    pool="train",
    description="What recording faults cost each model: test episodes cut and scored again.",
)
leaderboard = recipe_asset(
    Leaderboard.key,
    Leaderboard,
    deps=[*reports, ablation, robustness],
    kinds={"html"},
    code_version=EVALUATION_VERSION,
    description="Comparison of all models and probes of a recipe with tested differences, and "
    "report.html.",
    extra=_board_metadata,
)
