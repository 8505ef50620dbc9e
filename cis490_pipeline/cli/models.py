"""Commands on models: ``train``, ``evaluate``, ``inspect``, ``report``."""

from pathlib import Path
from typing import Any

import click

from cis490_pipeline.cli.options import (
    chosen_models,
    json_option,
    model_options,
    print_json,
    progress_bars,
    split_option,
    workspace_options,
)
from cis490_pipeline.cli.tables import interval_text, print_leaderboard
from cis490_pipeline.config import Settings
from cis490_pipeline.domain import Recipe
from cis490_pipeline.errors import EvaluationError
from cis490_pipeline.experiment.evaluation import EvaluationReport
from cis490_pipeline.experiment.leaderboard import Leaderboard
from cis490_pipeline.experiment.pipeline import corpus_stages, dataset_stages
from cis490_pipeline.experiment.training import TrainedCheckpoint
from cis490_pipeline.experiment.workspace import Workspace
from cis490_pipeline.store.files import read_json


@click.command()
@split_option
@model_options
@click.option("--force", is_flag=True, help="Train even what is up to date.")
@workspace_options
@json_option
def train(
    recipe: str,
    architectures: tuple[str, ...],
    variants: tuple[str, ...],
    force: bool,
    as_json: bool,
    **flags: Any,
) -> int:
    """Train models of a split, making their data first where it is missing."""
    results: dict[str, Any] = {}
    with progress_bars() as report:
        workspace = Workspace(Settings.load(**flags), report)
        for stage in (*corpus_stages(workspace), *dataset_stages(workspace, Recipe(recipe))):
            stage.ensure()
        for architecture, variant in chosen_models(architectures, variants):
            checkpoint = TrainedCheckpoint(workspace, Recipe(recipe), architecture, variant)
            outcome = checkpoint.ensure(force=force)
            results[checkpoint.name] = {
                "why": outcome.why,
                "path": str(checkpoint.folder),
                "digest": outcome.record.digest,
                "seconds": outcome.record.seconds,
                **outcome.record.numbers,
            }
            if not as_json:
                row = results[checkpoint.name]
                click.echo(
                    f"{checkpoint.name}: val macro F1 {row['val_macro_f1']:.3f} "
                    f"({row['why']}, {row['seconds']:.1f} s) {row['path']}"
                )
    if as_json:
        print_json(results)
    return 0


@click.command()
@split_option
@model_options
@workspace_options
@json_option
def evaluate(
    recipe: str,
    architectures: tuple[str, ...],
    variants: tuple[str, ...],
    as_json: bool,
    **flags: Any,
) -> int:
    """Score trained checkpoints on the held-out side: macro F1 with a 95 % interval by episode."""
    results = {}
    with progress_bars() as report:
        workspace = Workspace(Settings.load(**flags), report)
        for architecture, variant in chosen_models(architectures, variants):
            stage = EvaluationReport(workspace, Recipe(recipe), architecture, variant)
            if stage.checkpoint.current() is None:
                if stage.checkpoint.record() is not None:
                    stage.checkpoint.load()  # refuses by name what was trained on other features
                raise EvaluationError(
                    f"{stage.name} on split {recipe}: {stage.checkpoint.outdated()}; "
                    f"train it first: cis490 train --split {recipe} --model {architecture}"
                )
            stage.ensure()
            path = workspace.paths.report_json(recipe, stage.name)
            results[stage.name] = read_json(path)
    if as_json:
        print_json(results)
        return 0
    for name, result in results.items():
        click.echo(
            f"{name}: macro F1 {interval_text(result)} on {recipe} test, "
            f"{result['n_episodes']} episodes, {result['n_windows']} windows"
        )
    return 0


@click.command()
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
@json_option
def inspect(folder: Path, as_json: bool) -> int:
    """Print what the checkpoint in FOLDER is, was trained on, and promises."""
    from cis490_pipeline.checkpoints.describe import describe

    described = describe(folder)
    if as_json:
        print_json(described)
    else:
        for name, value in described.items():
            click.echo(f"{name}: {value}")
    return 0


@click.command()
@split_option
@workspace_options
@json_option
def report(recipe: str, as_json: bool, **flags: Any) -> int:
    """Compare every evaluated model of a split, probes beside them; write report.html."""
    with progress_bars() as progress:
        workspace = Workspace(Settings.load(**flags), progress)
        stage = Leaderboard(workspace, Recipe(recipe))
        if stage.inputs() is None:
            raise EvaluationError(
                f"no model of split {recipe} is evaluated and up to date; "
                f"run: cis490 run --split {recipe}"
            )
        stage.ensure()
    board = read_json(workspace.paths.leaderboard(recipe))
    page = workspace.paths.report_html(recipe)
    if as_json:
        print_json({"leaderboard": board, "report": str(page)})
        return 0
    print_leaderboard(board)
    click.echo(f"report: {page}")
    return 0
