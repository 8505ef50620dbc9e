"""``cis490 tune``: hyperparameter search of one model, on validation only."""

import json
from dataclasses import asdict
from typing import Any

import click

from cis490_pipeline.cli.options import (
    common_options,
    opened_workspace,
    print_json,
    recipe_option,
)
from cis490_pipeline.cli.tables import number_text
from cis490_pipeline.domain import Architecture, Recipe, Variant
from cis490_pipeline.experiment.order import corpus_stages, dataset_stages
from cis490_pipeline.experiment.pipeline.training import TrainedCheckpoint
from cis490_pipeline.experiment.stages.make import make_stages


@click.command()
@click.argument("architecture", type=click.Choice([str(a) for a in Architecture]))
@click.argument("variant", type=click.Choice([str(v) for v in Variant]))
@recipe_option
@click.option("--trials", type=click.IntRange(1, 10_000), default=30, show_default=True)
@click.option(
    "--minutes", type=click.FloatRange(min=0.0, min_open=True), help="Stop after this many minutes."
)
@common_options
def tune(
    architecture: str,
    variant: str,
    recipe: str,
    trials: int,
    minutes: float | None,
    as_json: bool,
    **flags: Any,
) -> int:
    """Tune the settings of ARCHITECTURE and VARIANT by macro F1 on validation.

    The first trial has the default settings. A search that was stopped continues when run again.
    The test side is not opened; `cis490 evaluate` measures the result.
    """
    from cis490_pipeline.experiment.tools.tune import tune as search

    with opened_workspace(flags) as workspace:
        make_stages((*corpus_stages(workspace), *dataset_stages(workspace, Recipe(recipe))))
        model = TrainedCheckpoint(
            workspace, Recipe(recipe), Architecture(architecture), Variant(variant)
        )
        result = search(model, n_trials=trials, timeout_s=60 * minutes if minutes else None)
    if as_json:
        print_json(asdict(result))
        return 0
    default = number_text(result.default_val_macro_f1)
    click.echo(
        f"{result.model}: val macro F1 {result.best_val_macro_f1:.3f}, default settings {default}, "
        f"on {result.n_val_episodes} episodes, {result.n_val_windows} windows; {result.n_finished} "
        f"trials finished, {result.n_pruned} pruned, {result.n_failed} failed"
    )
    click.echo(
        "the best of many trials is optimistically biased; only the test side shows its value"
    )
    if not result.best:
        click.echo("no trial was better than the default settings")
        return 0
    click.echo("to use it everywhere, in cis490.toml:\n")
    click.echo(f"[models.{architecture}]")
    for name, value in result.best.items():
        click.echo(f"{name} = {json.dumps(value)}")
    return 0
