"""``cis490 stale`` and ``backfill``: list outdated artefacts, and remake them."""

from collections import Counter
from dataclasses import asdict
from typing import Any, TypedDict

import click

from cis490_pipeline.cli.main import EXIT_FINDINGS
from cis490_pipeline.cli.options import (
    RECIPES,
    announce,
    common_options,
    opened_workspace,
    parallel_option,
    print_json,
    stderr,
)
from cis490_pipeline.config import Settings
from cis490_pipeline.domain import Recipe
from cis490_pipeline.errors import ConfigError
from cis490_pipeline.experiment.stages.workspace import Workspace
from cis490_pipeline.experiment.upkeep.stale import Artefact, make_again, require_sound, survey
from cis490_pipeline.storage.json_text import Json


class Backfilled(TypedDict, total=False):
    """What ``backfill`` prints as JSON."""

    planned: list[dict[str, Json]]
    made: list[str]
    backfill: str
    status: str
    page: str
    left: list[str]


recipes_option = click.option(
    "--recipe",
    "--split",
    "recipes",
    multiple=True,
    type=click.Choice(RECIPES),
    help="Only this recipe; may be repeated. Default: all.",
)


def _chosen(recipes: tuple[str, ...]) -> tuple[Recipe, ...]:
    return tuple(recipe for recipe in Recipe if not recipes or str(recipe) in recipes)


@click.command()
@recipes_option
@common_options
def stale(recipes: tuple[str, ...], as_json: bool, **flags: Any) -> int:
    """List stale artefacts by recipe, with the reason and the first difference.

    Makes nothing. What was never made is not stale. Exit code 1 if something is stale.
    """
    artefacts = survey(Workspace(Settings.load(**flags)), _chosen(recipes))
    outdated = [artefact for artefact in artefacts if artefact.state == "stale"]
    if as_json:
        print_json({"stale": len(outdated), "artefacts": [asdict(a) for a in artefacts]})
    else:
        _print(artefacts)
    return EXIT_FINDINGS if outdated else 0


def _print(artefacts: list[Artefact]) -> None:
    for scope in dict.fromkeys(artefact.scope for artefact in artefacts):
        of_scope = [artefact for artefact in artefacts if artefact.scope == scope]
        counts = Counter(artefact.state for artefact in of_scope)
        totals = ", ".join(f"{n} {state}" for state, n in sorted(counts.items()))
        click.echo(f"{scope}: {totals}")
        for artefact in of_scope:
            if artefact.why is not None:
                more = f": {artefact.difference}" if artefact.difference else ""
                click.echo(f"  {artefact.key:<40} {artefact.why}{more}")


@click.command()
@recipes_option
@click.option(
    "--url",
    metavar="URL",
    help="Launch it on the Dagster webserver at URL, such as http://127.0.0.1:3000.",
)
@click.option("--wait/--no-wait", default=False, help="With --url: wait until it ends.")
@click.option(
    "--dagster/--no-dagster",
    default=True,
    show_default=True,
    help="Without --url: record it in data/dagster, where the UI shows it.",
)
@click.option("--dry-run", is_flag=True, help="Only list what would be remade.")
@parallel_option
@common_options
def backfill(
    recipes: tuple[str, ...],
    url: str | None,
    wait: bool,
    dagster: bool,
    dry_run: bool,
    as_json: bool,
    **flags: Any,
) -> int:
    """Remake what `cis490 stale` lists, in order of dependencies, and nothing else.

    If interrupted, it continues when run again. What is up to date must still pass its checks:
    while one fails, nothing is made from it, and the exit code is 2. With --url the webserver
    reloads its code and runs the backfill; exit code 1 if a run there fails.
    """
    with opened_workspace(flags, announce) as workspace:
        chosen = _chosen(recipes)
        plan = [artefact for artefact in survey(workspace, chosen) if artefact.wanted]
        result: Backfilled = {"planned": [asdict(artefact) for artefact in plan]}
        if dry_run or not plan:
            result["made"] = []
            for recipe in () if dry_run else chosen:
                require_sound(workspace, recipe)
        elif url is not None:
            result |= _launched(url, plan, wait)
        else:
            result["made"] = _made_here(workspace, chosen, dagster)
    if as_json:
        print_json(result)
    elif dry_run or not plan:
        _print(plan)
        click.echo(f"{len(plan)} artefacts to make again" if plan else "everything up to date")
    elif url is not None:
        click.echo(f"backfill {result['backfill']}: {result['status']}; {result['page']}")
    else:
        click.echo(f"{len(result['made'])} artefacts made or recorded again")
    failed = result.get("status", "") in ("FAILED", "COMPLETED_FAILED", "CANCELED")
    return EXIT_FINDINGS if failed else 0


def _launched(url: str, plan: list[Artefact], wait: bool) -> Backfilled:
    from cis490_pipeline.orchestration.runtime.webserver import Webserver

    left = [artefact.key for artefact in plan if artefact.further]
    assets = [artefact for artefact in plan if not artefact.further]
    hint = (
        f"{len(left)} artefacts of further seeds or variants on request are no assets; remake them "
        "without --url"
    )
    if not assets:
        raise ConfigError(hint)
    if left:
        stderr.print(hint, soft_wrap=True)
    server = Webserver(url)
    server.reload()
    chosen: dict[str, list[str]] = {}
    for artefact in assets:
        partitions = chosen.setdefault(artefact.key, [])
        if artefact.scope in RECIPES:
            partitions.append(artefact.scope)
    backfill_id = server.backfill(chosen)
    status = server.wait_for_backfill(backfill_id) if wait else "REQUESTED"
    page = f"{server.url}/runs/b/{backfill_id}"
    return {"backfill": backfill_id, "status": status, "page": page, "left": left}


def _made_here(workspace: Workspace, recipes: tuple[Recipe, ...], dagster: bool) -> list[str]:
    made: list[str] = []
    for recipe in recipes:
        wanted = [artefact for artefact in survey(workspace, (recipe,)) if artefact.wanted]
        if not wanted:
            require_sound(workspace, recipe)
            continue
        stderr.print(f"recipe {recipe}: {len(wanted)} artefacts")
        if dagster:
            # Imported here: Dagster takes seconds to import.
            from cis490_pipeline.orchestration.runtime.materialize import backfill_recipe

            done = backfill_recipe(workspace, recipe, wanted)
        else:
            done = make_again(workspace, recipe)
        made += [f"{recipe}: {key}" for key in done]
    return made
