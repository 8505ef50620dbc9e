"""``cis490 calibrate``: write a device's calibration record from clean telemetry."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cis490_pipeline.cli.devices.live_output import Stop, say
from cis490_pipeline.cli.main import EXIT_FINDINGS
from cis490_pipeline.cli.options import (
    FILE,
    FOLDER,
    common_options,
    opened_workspace,
    print_json,
    recipe_option,
    stderr,
)
from cis490_pipeline.domain import Recipe
from cis490_pipeline.errors import ConfigError
from cis490_pipeline.features.calibration.record import CalibrationRecord, write_record
from cis490_pipeline.storage.json_text import Json

if TYPE_CHECKING:
    from cis490_pipeline.experiment.stages.workspace import Workspace


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
    "--from",
    "source",
    metavar="SOURCE",
    help="Calibrate by live rows instead, of any SOURCE of `live`; needs --bundle.",
)
@click.option("--bundle", type=FOLDER, help="With --from: bundle that the record is for.")
@click.option(
    "--seconds",
    type=click.FloatRange(min=15),
    default=600.0,
    show_default=True,
    help="With --from: seconds of rows to take.",
)
@click.option(
    "--out",
    type=FILE,
    help="File to write; default: DATA/processed/calibrations/HOST.json, with --from HOST.json.",
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
    source: str | None,
    bundle: Path | None,
    seconds: float,
    out: Path | None,
    accept_unclean: bool,
    recipe: str,
    as_json: bool,
    **flags: Any,
) -> int:
    """Write the calibration record of HOST, the baseline of its windows.

    With --from its rows are taken as they arrive, while it is known to be clean.

    The cleanliness check is fitted on the train side. Without --accept-unclean, a baseline that is
    not found clean gives exit code 1 and no file.
    """
    if source is not None:
        record = _by_rows(source, bundle, host, seconds)
        path = out or Path(f"{host}.json")
    elif bundle is not None:
        raise ConfigError("--bundle goes with --from; without it the recipe's check is used")
    else:
        with opened_workspace(flags) as workspace:
            record = _by_episode(workspace, Recipe(recipe), host, episode, first_s, accept_unclean)
            path = out or workspace.paths.calibration(host)
    if record.suspect and accept_unclean:
        record = replace(record, accepted_unclean=True)
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


def _by_episode(
    workspace: "Workspace",
    recipe: Recipe,
    host: str,
    episode: str | None,
    first_s: float | None,
    accept_unclean: bool,
) -> CalibrationRecord:
    # A device that calibrates itself has none of these.
    from cis490_pipeline.experiment.pipeline.calibration import calibrate_host
    from cis490_pipeline.experiment.pipeline.corpus import corpus_stages
    from cis490_pipeline.experiment.pipeline.dataset import ValidationIndex
    from cis490_pipeline.experiment.stages.make import make_stages

    make_stages((*corpus_stages(workspace), ValidationIndex(workspace, recipe)))
    return calibrate_host(
        workspace,
        recipe,
        host,
        episode_id=episode,
        first_s=first_s,
        accept_unclean=accept_unclean,
    )


def _by_rows(source: str, bundle: Path | None, host: str, seconds: float) -> CalibrationRecord:
    from cis490_pipeline.live.bundle import load_bundle
    from cis490_pipeline.live.feeds.open import open_feed
    from cis490_pipeline.live.live_record import record_of_feed

    if bundle is None:
        raise ConfigError("--from needs --bundle: its models say which rows, its check judges them")
    loaded = load_bundle(bundle).loaded
    with Stop() as stop:
        return record_of_feed(
            open_feed(source),
            loaded,
            host_id=host,
            seconds=seconds,
            say=say,
            stop=lambda: stop.asked,
        )


def _summary(record: CalibrationRecord) -> dict[str, Json]:
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
