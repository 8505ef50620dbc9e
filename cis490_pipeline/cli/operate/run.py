"""``cis490 run``: the whole pipeline of one recipe, ending with the leaderboard."""

import time
from typing import Any

import click

from cis490_pipeline.cli.options import (
    accept_loss_option,
    announce,
    common_options,
    open_option,
    opened_workspace,
    parallel_option,
    print_json,
    print_vanished,
    recipe_option,
)
from cis490_pipeline.cli.tables import print_leaderboard
from cis490_pipeline.domain import Recipe
from cis490_pipeline.experiment.order import corpus_stages, recipe_stages
from cis490_pipeline.experiment.stages.make import made_keys, make_stages
from cis490_pipeline.storage.files import read_json


@click.command()
@recipe_option
@click.option(
    "--dagster/--no-dagster",
    default=True,
    show_default=True,
    help="Record the run in data/dagster, where the UI shows it.",
)
@open_option
@accept_loss_option
@parallel_option
@common_options
def run(
    recipe: str, dagster: bool, open_report: bool, accept_loss: bool, as_json: bool, **flags: Any
) -> int:
    """Validate, split, extract, train twelve models, evaluate them with intervals, and report.

    What is up to date is not made again.
    """
    started = time.perf_counter()
    with opened_workspace(flags, announce, accept_loss=accept_loss) as workspace:
        if dagster:
            # Imported here: Dagster takes seconds to import.
            from cis490_pipeline.orchestration.runtime.materialize import materialize_recipe

            made = materialize_recipe(workspace, Recipe(recipe))
        else:
            stages = (*corpus_stages(workspace), *recipe_stages(workspace, Recipe(recipe)))
            made = made_keys(make_stages(stages))
    print_vanished(workspace)
    board = read_json(workspace.paths.leaderboard(recipe))
    page = workspace.paths.report_html(recipe)
    if as_json:
        print_json({"leaderboard": board, "made": made, "report": str(page)})
        return 0
    print_leaderboard(board)
    seconds = time.perf_counter() - started
    summary = f"{len(made)} artefacts made in {seconds:.0f} s" if made else "everything up to date"
    click.echo(f"{summary}; report: {page}")
    if open_report:
        click.launch(str(page))
    return 0
