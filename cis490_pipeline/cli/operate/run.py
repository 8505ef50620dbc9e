"""``cis490 run``: the whole pipeline of one recipe, ending with the leaderboard."""

import time
from typing import Any

import click

from cis490_pipeline.cli.options import (
    json_option,
    print_json,
    progress_bars,
    recipe_option,
    stderr,
    workspace_options,
)
from cis490_pipeline.cli.tables import print_leaderboard
from cis490_pipeline.config import Settings
from cis490_pipeline.domain import Recipe
from cis490_pipeline.experiment.order import corpus_stages, recipe_stages
from cis490_pipeline.experiment.stages.make import made_keys, make_stages
from cis490_pipeline.experiment.stages.stage import UP_TO_DATE
from cis490_pipeline.experiment.stages.workspace import Workspace
from cis490_pipeline.storage.files import read_json


@click.command()
@recipe_option
@click.option(
    "--dagster/--no-dagster",
    default=True,
    show_default=True,
    help="Record the run in data/dagster, where the UI shows it.",
)
@click.option("--open", "open_report", is_flag=True, help="Open the report in a browser.")
@workspace_options
@json_option
def run(recipe: str, dagster: bool, open_report: bool, as_json: bool, **flags: Any) -> int:
    """Validate, split, extract, train twelve models, evaluate them with intervals, and report.

    What is up to date is not made again.
    """
    started = time.perf_counter()
    with progress_bars() as report:
        workspace = Workspace(Settings.load(**flags), report)
        made = _with_dagster(workspace, recipe) if dagster else _alone(workspace, recipe)
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


def _announce(key: str, reason: str) -> None:
    style = "dim" if reason == UP_TO_DATE else None
    stderr.print(f"{key:<44} {reason}", style=style, soft_wrap=True)


def _with_dagster(workspace: Workspace, recipe: str) -> list[str]:
    # Imported here: Dagster takes seconds to import.
    from cis490_pipeline.orchestration.runtime.materialize import materialize_recipe

    return materialize_recipe(workspace, Recipe(recipe), _announce)


def _alone(workspace: Workspace, recipe: str) -> list[str]:
    stages = (*corpus_stages(workspace), *recipe_stages(workspace, Recipe(recipe)))
    return made_keys(make_stages(stages, announce=_announce))
