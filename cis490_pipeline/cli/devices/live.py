"""``cis490 live`` and ``cis490 bundle``, without torch, XGBoost, pandas or Dagster."""

import time
from pathlib import Path
from typing import Any

import click
from rich.console import Console

from cis490_pipeline.cli.devices.live_output import Printer, Stop, say, say_end
from cis490_pipeline.cli.devices.live_table import LiveTable
from cis490_pipeline.cli.options import (
    FILE,
    FOLDER,
    chosen_models,
    json_option,
    model_options,
    print_json,
    recipe_option,
)
from cis490_pipeline.config import Settings
from cis490_pipeline.domain import Variant
from cis490_pipeline.domain.terms import model_name
from cis490_pipeline.errors import CheckpointError, ConfigError
from cis490_pipeline.events.outbox import Outbox
from cis490_pipeline.events.publisher import publishers
from cis490_pipeline.features.calibration.record import CalibrationRecord, read_record
from cis490_pipeline.live.bundle import load_bundle, write_bundle
from cis490_pipeline.live.calibration import Baseline
from cis490_pipeline.live.clocks.time_texts import time_text
from cis490_pipeline.live.engine import LiveEngine
from cis490_pipeline.live.feeds.feed import Feed
from cis490_pipeline.live.feeds.open import open_feed
from cis490_pipeline.live.kept_calibration import FILE as KEPT_FILE
from cis490_pipeline.live.kept_calibration import (
    CalibrationKeeper,
    KeptCalibration,
    kept_calibration,
)
from cis490_pipeline.live.loading import LoadedModels, load_models
from cis490_pipeline.live.outputs.publishing import Publishing
from cis490_pipeline.live.outputs.sinks import (
    REPLAY_WAIT_S,
    JsonLines,
    PlainLines,
    PrintedJson,
    Sink,
)
from cis490_pipeline.live.run import run_live
from cis490_pipeline.live.state_folder import held_state
from cis490_pipeline.storage.data_paths import DataPaths


@click.command()
@click.argument("source")
@click.option("--bundle", "bundle_folder", type=FOLDER, help="Folder written by `bundle`.")
@recipe_option
@model_options
@click.option("--data", metavar="DIR", help="Data folder, if no bundle is given.")
@click.option(
    "--calibration",
    "record_path",
    type=FILE,
    help="Calibration record from `calibrate`; default: the bundle's, else the first 15 s.",
)
@click.option(
    "--state",
    "state_folder",
    type=FOLDER,
    help="Store the device's calibration here, and continue with it after a restart.",
)
@click.option(
    "--speed",
    type=click.FloatRange(min=0, min_open=True),
    metavar="TIMES",
    help="Replay a recording at this multiple of real time; default: without waiting.",
)
@click.option(
    "--token-file", type=FILE, help="Token of connections to tcp:HOST:PORT; needed off loopback."
)
@click.option("--out", type=FILE, help="Append every window and state change as JSON lines.")
@click.option("--publish-url", metavar="URL", help="Dashboard to publish to.")
@click.option("--plain", is_flag=True, help="Print lines instead of a table.")
@json_option
def live(
    source: str,
    bundle_folder: Path | None,
    recipe: str,
    architectures: tuple[str, ...],
    variants: tuple[str, ...],
    data: str | None,
    record_path: Path | None,
    state_folder: Path | None,
    speed: float | None,
    token_file: Path | None,
    out: Path | None,
    publish_url: str | None,
    plain: bool,
    as_json: bool,
) -> int:
    """Predict a device's phases from its rows as they arrive; alarm on an infection.

    SOURCE is an episode's folder, which may still grow, an archive (*.tar.zst), - (rows as JSON
    lines, as `cis490 agent` sends them), serial:DEVICE, or tcp:HOST:PORT or unix:PATH to listen.

    Lines that are not rows are left out and counted. Troubles and calibration show as states.
    """
    settings = Settings.load(data=data, dashboard_url=publish_url)
    if bundle_folder is not None and (architectures or variants or data):
        raise ConfigError("--bundle has its own models: leave out --model, --variant and --data")
    if record_path is not None and state_folder is not None:
        raise ConfigError("--calibration and --state both give a calibration: use one of them")
    if bundle_folder is None:
        folders = _trained(_local(settings.data), recipe, architectures, variants)
        loaded, record = load_models(folders), None
    else:
        bundle = load_bundle(bundle_folder)
        loaded, record = bundle.loaded, bundle.record
    record = record if record_path is None else read_record(record_path)
    if record is not None and state_folder is not None:
        say(f"calibrated by the record: nothing is stored in {state_folder}")
        state_folder = None
    lead = leading_model(loaded)
    with Stop() as stop, held_state(state_folder):
        kept = None if state_folder is None else kept_calibration(state_folder)
        feed = open_feed(source, speed, token_file)
        try:
            _say_models(loaded, lead, record)
            if record is None:
                _say_state(feed, state_folder, kept)
            printer = Printer(wait=feed.pace == 0)
            sinks = _sinks(feed, loaded, lead, record, settings, printer, out, plain, as_json)
        except BaseException:
            # The feed has created its Unix socket already.
            feed.close()
            raise
        if state_folder is not None:
            sinks.insert(0, CalibrationKeeper(state_folder, kept))
        engine = _engine(feed, loaded, _baseline(record, kept))
        alone = not settings.dashboards and out is None
        ended = run_live(
            feed, engine, sinks, say, stop=lambda: stop.asked or (alone and printer.gone)
        )
    return say_end(ended, stopped=stop.asked or printer.gone)


@click.command()
@click.argument("folder", type=FOLDER)
@recipe_option
@model_options
@click.option("--data", metavar="DIR", help="Data folder with the trained models.")
@click.option(
    "--calibration",
    "record_path",
    type=FILE,
    help="Calibration record of the target device, from `calibrate`; default: its first 15 s.",
)
@json_option
def bundle(
    folder: Path,
    recipe: str,
    architectures: tuple[str, ...],
    variants: tuple[str, ...],
    data: str | None,
    record_path: Path | None,
    as_json: bool,
) -> int:
    """Write FOLDER with models as ONNX, calibration, alarm settings and file digests.

    Default: all realistic models of the recipe, since a device outside the lab lacks the other
    channels.
    """
    settings = Settings.load(data=data)
    seen = variants or (str(Variant.REALISTIC),)
    checkpoints = _trained(_local(settings.data), recipe, architectures, seen)
    record = None if record_path is None else read_record(record_path)
    manifest = write_bundle(folder, checkpoints, record)
    n_bytes = sum(file.bytes for file in manifest.files.values())
    without = manifest.without_alarm
    if as_json:
        print_json(
            {
                "path": str(folder),
                "models": manifest.models,
                "calibration": manifest.calibration,
                "bytes": n_bytes,
                "without_alarm": without,
                "digest": manifest.digest,
            }
        )
        return 0
    size = f"{len(manifest.models)} models, {n_bytes / 1e6:.1f} MB"
    click.echo(f"{folder}: {size}, digest {manifest.digest:.12}")
    if without:
        click.echo(
            f"without an alarm, since they are not evaluated: {', '.join(without)}", err=True
        )
    return 0


def leading_model(loaded: LoadedModels) -> str:
    """Return the leading model: the best on validation, realistic before network before oracle."""
    order = [Variant.ORACLE, Variant.NETWORK, Variant.REALISTIC]

    def rank(place: int) -> tuple[int, float]:
        manifest = loaded.runnable[place].manifest
        score = manifest.metrics.get("val_macro_f1")
        return order.index(Variant(manifest.variant)), score if isinstance(score, float) else 0.0

    return loaded.runnable[max(range(len(loaded.runnable)), key=rank)].name


def _local(data: Any) -> Path:
    if not isinstance(data, Path):
        raise ConfigError(f"models are read from a local folder, got {data}; use --data")
    return data


def _trained(
    data: Path, recipe: str, architectures: tuple[str, ...], variants: tuple[str, ...]
) -> list[Path]:
    """Folders of the chosen models that are trained."""
    paths = DataPaths(data)
    wanted = [
        paths.checkpoint(recipe, model_name(*model))
        for model in chosen_models(architectures, variants)
    ]
    trained = [folder for folder in wanted if folder.is_dir()]
    if not trained:
        asked = "".join(f" --variant {variant}" for variant in variants)
        raise CheckpointError(
            f"{data}: none of the {len(wanted)} chosen models of recipe {recipe} is trained; "
            f"run: cis490 train --recipe {recipe}{asked}, or give --bundle"
        )
    return trained


def _sinks(
    feed: Feed,
    loaded: LoadedModels,
    lead: str,
    record: CalibrationRecord | None,
    settings: Settings,
    printer: Printer,
    out: Path | None,
    plain: bool,
    as_json: bool,
) -> list[Sink]:
    wait_s = REPLAY_WAIT_S if feed.pace == 0 else 0.0
    sinks: list[Sink] = [] if out is None else [JsonLines(out, wait_s=wait_s)]
    names = [model.name for model in loaded.models]
    host = None if record is None else record.host_id
    sinks.extend(
        Publishing(Outbox(publisher, say), feed.name, names, lead, host)
        for publisher in publishers(settings)
    )
    # The table is last: it draws over what other sinks print.
    console = Console()
    if as_json:
        sinks.append(PrintedJson(printer, printer.output))
    elif plain or not console.is_terminal:
        sinks.append(PlainLines(printer, lead, printer.output))
    else:
        sinks.append(LiveTable(console, feed.name))
    return sinks


def _engine(feed: Feed, loaded: LoadedModels, baseline: Baseline | None) -> LiveEngine:
    return LiveEngine(
        loaded.models,
        baseline=baseline,
        check=loaded.check,
        start_ns=feed.start_ns,
        name=feed.name,
        wall_ns=time.time_ns if feed.pace == 1 else None,
    )


def _baseline(record: CalibrationRecord | None, kept: KeptCalibration | None) -> Baseline | None:
    if record is not None:
        return Baseline.of_record(record)
    return None if kept is None else kept.baseline


def _say_models(loaded: LoadedModels, lead: str, record: CalibrationRecord | None) -> None:
    by = (
        "" if record is None else f"; calibrated by the record of {record.host_id}, {record.id:.12}"
    )
    say(f"{len(loaded.models)} models, {lead} leads{by}")
    if record is not None and record.suspect:
        say("the record was not found clean: predictions relative to it may be wrong")
    for notice in loaded.notices():
        say(notice)


def _say_state(feed: Feed, folder: Path | None, kept: KeptCalibration | None) -> None:
    """Print how the device is calibrated, and what a restart does."""
    if kept is not None:
        taken = f"{time_text(kept.taken_at_ns)} ({kept.baseline.id})"
        say(f"calibrated as stored in {folder}: taken at {taken}; not taken again")
        return
    if folder is not None:
        say(f"calibrated by its first 15 s, stored in {folder / KEPT_FILE} for a restart")
    elif feed.pace:
        say(
            "calibrated by its first 15 s, and again after a restart, infected or not: "
            "--state DIR stores the calibration"
        )
    else:
        say("calibrated by its first 15 s")
