"""``cis490 tune``: search better settings of one model, on validation alone."""

import json
from typing import Any

import click

from cis490_pipeline.cli.options import (
    json_option,
    print_json,
    progress_bars,
    recipe_option,
    workspace_options,
)
from cis490_pipeline.config import Settings
from cis490_pipeline.domain import Architecture, Recipe, Variant
from cis490_pipeline.experiment.order import corpus_stages, dataset_stages
from cis490_pipeline.experiment.pipeline.training import TrainedCheckpoint
from cis490_pipeline.experiment.stages.make import make_stages
from cis490_pipeline.experiment.stages.workspace import Workspace


@click.command()
@click.argument("architecture", type=click.Choice([str(a) for a in Architecture]))
@click.argument("variant", type=click.Choice([str(v) for v in Variant]))
@recipe_option
@click.option("--trials", type=click.IntRange(1, 10_000), default=30, show_default=True)
@click.option("--minutes", type=click.FloatRange(min=0.0, min_open=True), help="Stop after these.")
@workspace_options
@json_option
def tune(
    architecture: str,
    variant: str,
    recipe: str,
    trials: int,
    minutes: float | None,
    as_json: bool,
    **flags: Any,
) -> int:
    """Search settings of ARCHITECTURE under VARIANT by macro F1 on validation.

    The first trial has the default settings. A search that was stopped goes on when it is run
    again. The test side is not opened: what the result is worth is for `cis490 evaluate` to say.
    """
    from cis490_pipeline.experiment.tools.tune import tune as search

    with progress_bars() as report:
        workspace = Workspace(Settings.load(**flags), report)
        make_stages((*corpus_stages(workspace), *dataset_stages(workspace, Recipe(recipe))))
        model = TrainedCheckpoint(
            workspace, Recipe(recipe), Architecture(architecture), Variant(variant)
        )
        found = search(model, n_trials=trials, timeout_s=60 * minutes if minutes else None)
    if as_json:
        print_json(found.to_dict())
        return 0
    default = "n/a" if found.default_val_macro_f1 is None else f"{found.default_val_macro_f1:.3f}"
    click.echo(
        f"{found.model}: val macro F1 {found.best_val_macro_f1:.3f}, default settings {default}, "
        f"on {found.n_val_episodes} episodes, {found.n_val_windows} windows; {found.n_finished} "
        f"trials finished, {found.n_pruned} given up early, {found.n_failed} failed"
    )
    click.echo("the best of many is too good by chance; only another side says what it is worth")
    if not found.best:
        click.echo("no trial was better than the default settings")
        return 0
    click.echo("to use it everywhere, in cis490.toml:\n")
    click.echo(f"[models.{architecture}]")
    for name, value in found.best.items():
        click.echo(f"{name} = {json.dumps(value)}")
    return 0
