"""``cis490 calibrate``: write a device's calibration record from clean telemetry."""

from pathlib import Path
from typing import Any

import click

from cis490_pipeline.cli.main import EXIT_FINDINGS
from cis490_pipeline.cli.options import (
    FILE,
    common_options,
    opened_workspace,
    print_json,
    recipe_option,
    stderr,
)
from cis490_pipeline.domain import Recipe
from cis490_pipeline.experiment.pipeline.calibration import calibrate_host
from cis490_pipeline.experiment.pipeline.corpus import corpus_stages
from cis490_pipeline.experiment.pipeline.dataset import ValidationIndex
from cis490_pipeline.experiment.stages.make import make_stages
from cis490_pipeline.features.calibration.record import CalibrationRecord, write_record


@click.command()
@click.option("--host", required=True, metavar="HOST", help="Device to calibrate.")
@click.option(
    "--episode",
    metavar="ULID",
    help="Episode to use; by default the host's earliest accepted clean-only one.",
)
@click.option(
    "--first",
    "first_s",
    type=float,
    metavar="SECONDS",
    help="Use only its first SECONDS; by default all of a clean-only episode, else 15.",
)
@click.option(
    "--out",
    type=FILE,
    help="File to write; by default DATA/processed/calibrations/HOST.json.",
)
@click.option(
    "--accept-unclean",
    is_flag=True,
    help="Write it although it was not found clean; it and all its predictions are marked.",
)
@recipe_option
@common_options
def calibrate(
    host: str,
    episode: str | None,
    first_s: float | None,
    out: Path | None,
    accept_unclean: bool,
    recipe: str,
    as_json: bool,
    **flags: Any,
) -> int:
    """Write the calibration record of HOST, the baseline of its windows.

    The cleanliness check is fitted on the train side. Without --accept-unclean, a baseline that is
    not found clean gives exit code 1 and no file.
    """
    with opened_workspace(flags) as workspace:
        index = ValidationIndex(workspace, Recipe(recipe))
        make_stages((*corpus_stages(workspace), index))
        record = calibrate_host(
            workspace,
            Recipe(recipe),
            host,
            episode_id=episode,
            first_s=first_s,
            accept_unclean=accept_unclean,
        )
    path = out or workspace.paths.calibration(host)
    refused = record.suspect and not accept_unclean
    if not refused:
        write_record(path, record)
    if as_json:
        print_json({**_summary(record), "path": None if refused else str(path)})
    else:
        for name, value in _summary(record).items():
            click.echo(f"{name}: {value}")
        click.echo("not written" if refused else f"record: {path}")
    if refused:
        stderr.print(
            "the baseline was not found clean: use another episode, or --accept-unclean to use it "
            "and mark everything predicted with it"
        )
    return EXIT_FINDINGS if refused else 0


def _summary(record: CalibrationRecord) -> dict[str, Any]:
    verdict = record.cleanliness
    known = [channel for channel in record.channels if channel.n_known]
    return {
        "id": record.id,
        "host": record.host_id,
        "episodes": [part.episode_id for part in record.telemetry],
        "from_ns": min(part.start_ns for part in record.telemetry),
        "to_ns": max(part.end_ns for part in record.telemetry),
        "duration_s": record.duration_s,
        "known_channels": len(known),
        "labelled_clean": record.labelled_clean,
        "suspect": record.suspect,
        "accepted_unclean": record.accepted_unclean,
        "p_value": None if verdict is None else round(verdict.p_value, 4),
        "flagged_at": None if verdict is None else verdict.level,
        "compared_with": None if verdict is None else verdict.n_references,
        "unchecked": record.unchecked,
    }
