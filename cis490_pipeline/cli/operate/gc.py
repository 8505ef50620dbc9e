"""``cis490 gc``: remove files of older versions."""

from dataclasses import asdict
from typing import Any

import click

from cis490_pipeline.cli.options import json_option, print_json, workspace_options
from cis490_pipeline.config import Settings
from cis490_pipeline.experiment.stages.workspace import Workspace
from cis490_pipeline.experiment.upkeep.gc import collect_garbage
from cis490_pipeline.experiment.upkeep.shared_gc import OLDER_THAN_DAYS, collect_copy_and_address


@click.command()
@click.option("--dry-run", is_flag=True, help="Only list what would go.")
@click.option(
    "--older-than",
    "older_than_days",
    type=click.FloatRange(min=0),
    metavar="DAYS",
    default=OLDER_THAN_DAYS,
    show_default=True,
    help="At an address: leave what was sent later, as another machine may be about to name it.",
)
@workspace_options
@json_option
def gc(dry_run: bool, older_than_days: float, as_json: bool, **flags: Any) -> int:
    """Remove grids, dataset files and half-written files that nothing made here names any more.

    Looks only below the data folder, and leaves what a lock or a running process uses. Episodes,
    sides, checkpoints, reports and Dagster's own storage are never touched. Of data at an address
    the local copy is cleaned, and there what no record names, older checkpoints and reports too.
    """
    workspace = Workspace(Settings.load(**flags))
    if workspace.shared is None:
        found = collect_garbage(workspace, dry_run=dry_run)
    else:
        found = collect_copy_and_address(
            workspace, workspace.shared, older_than_days=older_than_days, dry_run=dry_run
        )
    if as_json:
        print_json(
            {
                "removed": not dry_run,
                "bytes": found.n_bytes,
                "files": [asdict(item) for item in found.garbage],
                "spared": found.spared,
            }
        )
        return 0
    for item in found.garbage:
        click.echo(f"{item.n_bytes:>12,}  {item.path}  ({item.why})")
    for path, why in found.spared.items():
        click.echo(f"{'kept':>12}  {path}  ({why})")
    verb = "would go" if dry_run else "removed"
    click.echo(f"{len(found.garbage)} files, {found.n_bytes / 2**20:.1f} MiB {verb}")
    return 0
