"""``cis490 gc``: remove files of older versions."""

from dataclasses import asdict
from typing import Any

import click

from cis490_pipeline.cli.options import json_option, print_json, workspace_options
from cis490_pipeline.config import Settings
from cis490_pipeline.experiment.gc import collect_garbage
from cis490_pipeline.experiment.workspace import Workspace


@click.command()
@click.option("--dry-run", is_flag=True, help="Only list what would go.")
@workspace_options
@json_option
def gc(dry_run: bool, as_json: bool, **flags: Any) -> int:
    """Remove grids, dataset files and half-written files that nothing made here names any more.

    Looks only below the data folder, and leaves what a lock or a running process uses. Episodes,
    sides, checkpoints, reports and Dagster's own storage are never touched.
    """
    found = collect_garbage(Workspace(Settings.load(**flags)), dry_run=dry_run)
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
