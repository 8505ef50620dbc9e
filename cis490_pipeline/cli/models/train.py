"""``cis490 train``, ``evaluate`` and ``report``."""

from itertools import product
from typing import Any

import click

from cis490_pipeline.api.models import evaluate_checkpoint, read_leaderboard
from cis490_pipeline.cli.options import (
    chosen_models,
    common_options,
    model_options,
    open_option,
    opened_workspace,
    parallel_option,
    print_json,
    recipe_option,
    seeds_option,
)
from cis490_pipeline.cli.tables import interval_text, print_leaderboard
from cis490_pipeline.domain import Recipe
from cis490_pipeline.errors import EvaluationError
from cis490_pipeline.experiment.leaderboard import Leaderboard
from cis490_pipeline.experiment.order import corpus_stages, dataset_stages
from cis490_pipeline.experiment.pipeline.evaluation import EvaluationReport
from cis490_pipeline.experiment.pipeline.training import TrainedCheckpoint
from cis490_pipeline.experiment.report_files import draw_report
from cis490_pipeline.experiment.stages.gates import require_current_passed
from cis490_pipeline.experiment.stages.make import make_stages
from cis490_pipeline.experiment.stages.record import Metrics


@click.command()
@recipe_option
@model_options
@seeds_option
@click.option("--force", is_flag=True, help="Train even if up to date.")
@parallel_option
@common_options
def train(
    recipe: str,
    architectures: tuple[str, ...],
    variants: tuple[str, ...],
    seeds: int,
    force: bool,
    as_json: bool,
    **flags: Any,
) -> int:
    """Train models of a recipe, after making missing or outdated data."""
    results: dict[str, Metrics] = {}
    with opened_workspace(flags) as workspace:
        make_stages((*corpus_stages(workspace), *dataset_stages(workspace, Recipe(recipe))))
        checkpoints = [
            TrainedCheckpoint(
                workspace, Recipe(recipe), *model, seed=workspace.settings.seed + seed
            )
            for seed, model in product(range(seeds), chosen_models(architectures, variants))
        ]
        outcomes = make_stages(checkpoints, force=force)
    for checkpoint, outcome in zip(checkpoints, outcomes, strict=True):
        row = results[checkpoint.full_name] = {
            "why": outcome.why,
            "path": str(checkpoint.folder),
            "digest": outcome.record.digest,
            "seconds": outcome.record.seconds,
            **outcome.numbers,
        }
        if not as_json:
            click.echo(
                f"{checkpoint.full_name}: val macro F1 {row['val_macro_f1']:.3f} "
                f"({row['why']}, {row['seconds']:.1f} s) {row['path']}"
            )
    if as_json:
        print_json(results)
    return 0


@click.command()
@recipe_option
@model_options
@seeds_option
@common_options
def evaluate(
    recipe: str,
    architectures: tuple[str, ...],
    variants: tuple[str, ...],
    seeds: int,
    as_json: bool,
    **flags: Any,
) -> int:
    """Score trained checkpoints on the test side: macro F1 with a 95 % interval by episode."""
    results = {}
    with opened_workspace(flags) as workspace:
        for model, seed in product(chosen_models(architectures, variants), range(seeds)):
            of = (workspace, Recipe(recipe), *model)
            name = EvaluationReport(*of, seed=workspace.settings.seed + seed).full_name
            results[name] = evaluate_checkpoint(*of, seed=workspace.settings.seed + seed)
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
@recipe_option
@open_option
@common_options
def report(recipe: str, open_report: bool, as_json: bool, **flags: Any) -> int:
    """Compare all evaluated models and probes of a recipe; write the report and its tables.

    Compares stored predictions; the test side is not opened. If only the drawing changed, or only
    the JSON of a report is present, the page is redrawn from the JSON.
    """
    with opened_workspace(flags) as workspace:
        stage = Leaderboard(workspace, Recipe(recipe))
        require_current_passed(dataset_stages(workspace, Recipe(recipe)))
        if stage.inputs() is not None:
            make_stages((*stage.tables_to_make(), stage))
        elif workspace.paths.leaderboard(recipe).is_file():
            draw_report(workspace.paths, Recipe(recipe))
        else:
            raise EvaluationError(
                f"no model of recipe {recipe} is evaluated and up to date; "
                f"run: cis490 run --recipe {recipe}"
            )
    board = read_leaderboard(workspace, recipe)
    page = workspace.paths.report_html(recipe)
    if as_json:
        print_json({"leaderboard": board, "report": str(page)})
        return 0
    print_leaderboard(board)
    click.echo(f"report: {page}")
    if open_report:
        click.launch(str(page))
    return 0
