"""``cis490 gc``: remove files that no artefact refers to."""

from dataclasses import asdict
from typing import Any

import click

from cis490_pipeline.cli.options import common_options, print_json
from cis490_pipeline.config import Settings
from cis490_pipeline.experiment.stages.workspace import Workspace
from cis490_pipeline.experiment.upkeep.gc import collect_garbage
from cis490_pipeline.experiment.upkeep.shared_gc import OLDER_THAN_DAYS, collect_copy_and_address


@click.command()
@click.option("--dry-run", is_flag=True, help="Only list what would be removed.")
@click.option(
    "--older-than",
    "older_than_days",
    type=click.FloatRange(min=0),
    metavar="DAYS",
    default=OLDER_THAN_DAYS,
    show_default=True,
    help="At an address: keep newer files, to which another machine may be about to refer.",
)
@common_options
def gc(dry_run: bool, older_than_days: float, as_json: bool, **flags: Any) -> int:
    """Remove grids, dataset files and partial files that no artefact refers to any more.

    Also removes the verdicts and grids of episodes that vanished from the store; what was made from
    them is stale then.

    Looks only below the data folder, and keeps what a lock or a running process uses. Episodes,
    splits, checkpoints, reports and Dagster's own storage are never touched. For data at an address
    the local copy is cleaned, and at the address all files, checkpoints and reports included, that
    no record lists.
    """
    workspace = Workspace(Settings.load(**flags))
    if workspace.shared is None:
        result = collect_garbage(workspace, dry_run=dry_run)
    else:
        result = collect_copy_and_address(
            workspace, workspace.shared, older_than_days=older_than_days, dry_run=dry_run
        )
    if as_json:
        print_json(
            {
                "removed": not dry_run,
                "bytes": result.n_bytes,
                "files": [asdict(item) for item in result.garbage],
                "spared": result.spared,
                "forgotten": result.forgotten,
            }
        )
        return 0
    for name in result.forgotten:
        click.echo(f"{'vanished':>12}  {name}  (verdict and grid)")
    for item in result.garbage:
        click.echo(f"{item.n_bytes:>12,}  {item.path}  ({item.why})")
    for path, reason in result.spared.items():
        click.echo(f"{'kept':>12}  {path}  ({reason})")
    verb = "would be removed" if dry_run else "removed"
    click.echo(f"{len(result.garbage)} files, {result.n_bytes / 2**20:.1f} MiB {verb}")
    return 0
