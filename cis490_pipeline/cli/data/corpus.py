"""``cis490 validate``, ``extract`` and ``split``."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import click
import polars as pl
from rich.console import Console
from rich.table import Table

from cis490_pipeline.api.data import validate_store
from cis490_pipeline.cli.main import EXIT_FINDINGS
from cis490_pipeline.cli.options import (
    FILE,
    accept_loss_option,
    common_options,
    console,
    json_option,
    opened_workspace,
    print_json,
    print_vanished,
    recipe_option,
    stderr,
    workspace_options,
)
from cis490_pipeline.domain import Recipe, Variant, Verdict
from cis490_pipeline.experiment.pipeline.corpus import corpus_stages
from cis490_pipeline.experiment.pipeline.dataset import ValidationIndex, dataset_stages
from cis490_pipeline.experiment.stages.gates import require_passed
from cis490_pipeline.experiment.stages.make import make_stages
from cis490_pipeline.experiment.tools.extract_episode import extract_single
from cis490_pipeline.storage.json_text import Json
from cis490_pipeline.storage.parquet import write_parquet
from cis490_pipeline.store.verdicts.overview import counts_by_host, unknown_field_counts
from cis490_pipeline.store.verdicts.sweep import comparable
from cis490_pipeline.store.verdicts.vanished import episode_names, vanished_rows

_MAX_SHOWN: Final = 200
"""Episodes with findings printed, at most; all are in the parquet file."""


@click.command()
@click.argument("store_path", metavar="[STORE]", required=False)
@workspace_options
@click.option(
    "--export",
    type=FILE,
    help="Also write the verdicts without times and paths, to compare with another run.",
)
@accept_loss_option
@json_option
def validate(
    store_path: str | None, export: Path | None, accept_loss: bool, as_json: bool, **flags: Any
) -> int:
    """Validate every episode of STORE (default: the configured store).

    Writes DATA/processed/validation_v1.parquet. Reads only what is new or changed since the last
    run. Exit code 1 if an episode was rejected or could not be checked, or if index rows or store
    entries do not conform to the format and were left out. A store that lost its index, or over 5 %
    of the episodes it had, is refused with exit code 2, and the earlier verdicts stay. Episodes
    that vanished are named; they remain in use until `gc`.
    """
    if store_path is not None:
        flags["store"] = store_path
    with opened_workspace(flags, accept_loss=accept_loss) as workspace:
        verdicts = validate_store(workspace)
    frame = verdicts.frame
    if export is not None:
        write_parquet(export, comparable(frame))
    if as_json:
        read = {
            "archives_read": verdicts.n_read,
            "path": str(workspace.paths.validation),
            "hosts": _by_host(frame),
            "vanished": episode_names(vanished_rows(frame)),
            "unknown_field_episodes": unknown_field_counts(frame),
        }
        print_json({**verdicts.counts, **read})
    else:
        _print_verdicts(frame)
        print_vanished(workspace)
        _print_left_out(verdicts.n_left_out, verdicts.counts["left_out"])
        stderr.print(
            f"{verdicts.why}; verdicts are in {workspace.paths.validation}", soft_wrap=True
        )
    return 0 if verdicts.sound else EXIT_FINDINGS


def _print_left_out(n: int, named: list[str]) -> None:
    out = console()
    for text in named:
        out.print(f"left out: {text}", soft_wrap=True)
    if n > len(named):
        out.print(f"and {n - len(named)} more index rows and entries left out")


def _by_host(frame: pl.DataFrame) -> dict[str, dict[str, dict[str, int]]]:
    """Episode counts by host, status and reason; ``none`` stands for no reason."""
    nested: dict[str, dict[str, dict[str, int]]] = {}
    for host, status, reason, n_episodes in counts_by_host(frame).iter_rows():
        nested.setdefault(host, {}).setdefault(status, {})[reason or "none"] = n_episodes
    return nested


def _print_verdicts(frame: pl.DataFrame) -> None:
    out = console()
    table = Table(title=f"{frame.height} episodes")
    table.add_column("host")
    for status in Verdict:
        table.add_column(str(status), justify="right")
    for (host,), rows in sorted(frame.group_by("host_id")):
        cells = [str(rows.filter(pl.col("status") == status).height) for status in Verdict]
        table.add_row(str(host), *cells)
    out.print(table)
    _print_reasons(out, frame)
    faulty = frame.filter(pl.col("details").list.len() > 0)
    for row in faulty.head(_MAX_SHOWN).iter_rows(named=True):
        codes = ", ".join(row["reasons"])
        name = f"{row['host_id']}/{row['episode_id']}"
        out.print(f"{row['status']:<9} {name}  {codes}", soft_wrap=True)
        for detail in row["details"]:
            out.print(f"          {detail}", soft_wrap=True)
    if faulty.height > _MAX_SHOWN:
        out.print(f"and {faulty.height - _MAX_SHOWN} more episodes with findings")
    for name, n_episodes in unknown_field_counts(frame).items():
        line = f"unknown field {name} in {n_episodes} episodes: not read, since no channel has it"
        out.print(line, soft_wrap=True)


def _print_reasons(out: Console, frame: pl.DataFrame) -> None:
    reasons = counts_by_host(frame).filter(pl.col("reason").is_not_null())
    if reasons.is_empty():
        return
    table = Table("host", "status", "reason", title="by reason; an episode may have several")
    table.add_column("episodes", justify="right")
    for host, status, reason, n_episodes in reasons.iter_rows():
        table.add_row(host, status, reason, str(n_episodes))
    out.print(table)


@click.command()
@click.argument("episode", required=False)
@recipe_option
@click.option(
    "--variant",
    type=click.Choice([str(variant) for variant in Variant]),
    default=str(Variant.REALISTIC),
    show_default=True,
    help="Variant (channels) of a single episode's windows.",
)
@click.option("--force", is_flag=True, help="Extract the datasets even if they are up to date.")
@click.option("--last", is_flag=True, help="Only the last 10 s of the episode.")
@click.option("--out", type=FILE, help="File for the windows of EPISODE (.npz).")
@common_options
def extract(
    episode: str | None,
    recipe: str,
    variant: str,
    force: bool,
    last: bool,
    out: Path | None,
    as_json: bool,
    **flags: Any,
) -> int:
    """Extract the windows of EPISODE (HOST/ID), or without one of all episodes of the recipe.

    Windows of a single episode come from the same code as the datasets, uncalibrated.
    """
    if episode is None and (last or out is not None):
        raise click.UsageError("--last and --out need an EPISODE, given as HOST/ID")
    with opened_workspace(flags) as workspace:
        if episode is None:
            stages = dataset_stages(workspace, Recipe(recipe))
            for stage in stages:
                stage.require_possible()
            outcomes = make_stages(corpus_stages(workspace))
            outcomes += make_stages(stages, force=force)
            result: Mapping[str, Json] = {
                outcome.record.key: {"why": outcome.why, **outcome.numbers} for outcome in outcomes
            }
        else:
            target = out or Path(f"{episode.replace('/', '_')}_{variant}.npz")
            result = extract_single(workspace, episode, Variant(variant), target, last=last)
    if as_json:
        print_json(result)
    else:
        for name, value in result.items():
            click.echo(f"{name}: {value}")
    return 0


@click.command()
@recipe_option
@common_options
def split(recipe: str, as_json: bool, **flags: Any) -> int:
    """Show the sides of a split: counts, exclusions by reason, untested profiles."""
    with opened_workspace(flags) as workspace:
        index = ValidationIndex(workspace, Recipe(recipe))
        make_stages((*corpus_stages(workspace), index), checked=False)
    summary = index.split().summary()
    if as_json:
        print_json(summary)
    else:
        for name in ("recipe", "counts", "excluded", "selected_on", "untested_profiles", "shared"):
            click.echo(f"{name}: {summary[name]}")
    # Printed first: it shows why a check of the split fails.
    require_passed((index,))
    return 0
