"""Commands of the live side: ``live`` and ``bundle``; no torch, XGBoost, pandas or Dagster."""

from pathlib import Path
from typing import Any

import click
from rich.console import Console

from cis490_pipeline.cli.live_table import LiveTable
from cis490_pipeline.cli.options import (
    chosen_models,
    json_option,
    model_options,
    print_json,
    split_option,
    stderr,
)
from cis490_pipeline.config import Settings
from cis490_pipeline.domain import Variant
from cis490_pipeline.domain.terms import model_name
from cis490_pipeline.errors import CheckpointError, ConfigError
from cis490_pipeline.events.delivery import Delivery
from cis490_pipeline.events.outbox import Outbox
from cis490_pipeline.events.publisher import Publisher
from cis490_pipeline.features.calibration_record import CalibrationRecord, read_record
from cis490_pipeline.live.bundle import load_bundle, write_bundle
from cis490_pipeline.live.calibration import Baseline
from cis490_pipeline.live.engine import LiveEngine
from cis490_pipeline.live.feeds.feed import Feed
from cis490_pipeline.live.feeds.open import open_feed
from cis490_pipeline.live.loading import LoadedModels, load_models
from cis490_pipeline.live.publishing import Publishing
from cis490_pipeline.live.run import Ended, run_live
from cis490_pipeline.live.sinks import FaultTeller, JsonLines, PlainLines, PrintedJson, Sink
from cis490_pipeline.store.data_paths import DataPaths

_FOLDER = click.Path(file_okay=False, path_type=Path)
_FILE = click.Path(dir_okay=False, path_type=Path)


@click.command()
@click.argument("source")
@click.option("--bundle", "bundle_folder", type=_FOLDER, help="Folder that `bundle` made.")
@split_option
@model_options
@click.option("--data", metavar="DIR", help="Data folder, where no bundle is given.")
@click.option(
    "--calibration",
    "record_path",
    type=_FILE,
    help="The device's record, as `calibrate` wrote it; else the bundle's, else the first 15 s.",
)
@click.option(
    "--speed",
    type=click.FloatRange(min=0, min_open=True),
    metavar="TIMES",
    help="Replay a recording at this many times its own pace; else as fast as rows are there.",
)
@click.option("--out", type=_FILE, help="Append every window and change of state as JSON lines.")
@click.option("--publish-url", metavar="URL", help="Dashboard to publish to.")
@click.option("--plain", is_flag=True, help="Lines in place of the table on a terminal.")
@json_option
def live(
    source: str,
    bundle_folder: Path | None,
    recipe: str,
    architectures: tuple[str, ...],
    variants: tuple[str, ...],
    data: str | None,
    record_path: Path | None,
    speed: float | None,
    out: Path | None,
    publish_url: str | None,
    plain: bool,
    as_json: bool,
) -> int:
    """Tell the phases of a device from its rows as they arrive; alarm when it is infected.

    SOURCE is the folder of an episode that may still grow, an archive (*.tar.zst), - for rows on
    standard input (one JSON object a line, each with its `source`), tcp:HOST:PORT or unix:PATH to
    take them from connections.

    A row that is none is counted, named and left out. Sources that fall silent or come late, a
    clock that jumps and a calibration under way are told as states.
    """
    settings = Settings.load(data=data, dashboard_url=publish_url)
    if bundle_folder is not None and (architectures or variants or data):
        raise ConfigError("--bundle names its models itself: leave --model, --variant, --data out")
    if bundle_folder is not None:
        bundle = load_bundle(bundle_folder)
        loaded, record = bundle.loaded, bundle.record
    else:
        folders = _trained(_local(settings.data), recipe, architectures, variants)
        loaded, record = load_models(folders), None
    if record_path is not None:
        record = read_record(record_path)
    feed = open_feed(source, speed)
    engine = LiveEngine(
        loaded.models,
        baseline=None if record is None else Baseline.of_record(record),
        check=loaded.check,
        start_ns=feed.start_ns,
        name=feed.name,
    )
    lead = leading_model(loaded)
    _tell_of_models(loaded, lead, record)
    sinks = _sinks(feed, loaded, lead, record, settings, out=out, plain=plain, as_json=as_json)
    ended = run_live(feed, engine, sinks, FaultTeller(_tell))
    _tell_of_end(ended)
    return 0


@click.command()
@click.argument("folder", type=_FOLDER)
@split_option
@model_options
@click.option("--data", metavar="DIR", help="Data folder with the trained models.")
@click.option(
    "--calibration",
    "record_path",
    type=_FILE,
    help="Record of the device it is for, as `calibrate` wrote it; else its first 15 s count.",
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
    """Make FOLDER: models as ONNX, calibration, alarm settings, and the digest of each file.

    By default all realistic models of the split: a device outside the lab has no other telemetry.
    """
    settings = Settings.load(data=data)
    seen = variants or (str(Variant.REALISTIC),)
    checkpoints = _trained(_local(settings.data), recipe, architectures, seen)
    record = None if record_path is None else read_record(record_path)
    manifest = write_bundle(folder, checkpoints, record)
    n_bytes = sum(file.bytes for file in manifest.files.values())
    without = [c.name for c in checkpoints if not (c / "alarm.json").is_file()]
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
    click.echo(
        f"{folder}: {len(manifest.models)} models, {n_bytes / 1e6:.1f} MB, digest ", nl=False
    )
    click.echo(f"{manifest.digest:.12}")
    if without:
        click.echo(f"without an alarm, as they are not evaluated: {', '.join(without)}", err=True)
    return 0


def leading_model(loaded: LoadedModels) -> str:
    """Name the model whose phase is the device's: the best on validation, a realistic one first."""

    def worth(place: int) -> tuple[bool, float]:
        manifest = loaded.runnable[place].manifest
        score = manifest.metrics.get("val_macro_f1")
        return manifest.variant == Variant.REALISTIC, score if isinstance(score, float) else 0.0

    return loaded.runnable[max(range(len(loaded.runnable)), key=worth)].name


def _local(data: Any) -> Path:
    if not isinstance(data, Path):
        raise ConfigError(f"models are read from a folder of this machine, got {data}; use --data")
    return data


def _trained(
    data: Path, recipe: str, architectures: tuple[str, ...], variants: tuple[str, ...]
) -> list[Path]:
    """Folders of the chosen models that were trained."""
    paths = DataPaths(data)
    wanted = [
        paths.checkpoint(recipe, model_name(*model))
        for model in chosen_models(architectures, variants)
    ]
    found = [folder for folder in wanted if folder.is_dir()]
    if not found:
        raise CheckpointError(
            f"{data}: no trained model of split {recipe} among {len(wanted)} asked for; "
            f"cis490 train --split {recipe}, or --bundle"
        )
    return found


def _sinks(
    feed: Feed,
    loaded: LoadedModels,
    lead: str,
    record: CalibrationRecord | None,
    settings: Settings,
    *,
    out: Path | None,
    plain: bool,
    as_json: bool,
) -> list[Sink]:
    sinks: list[Sink] = [] if out is None else [JsonLines(out)]
    names = [model.name for model in loaded.models]
    host = None if record is None else record.host_id
    for url in settings.dashboards:
        outbox = Outbox(Delivery(Publisher(url, settings.dashboard_token), _tell), _tell)
        sinks.append(Publishing(outbox, feed.name, names, lead, host))
    # Last: what follows it is drawn over.
    console = Console()
    if as_json:
        sinks.append(PrintedJson(click.echo))
    elif plain or not console.is_terminal:
        sinks.append(PlainLines(click.echo, lead))
    else:
        sinks.append(LiveTable(console, feed.name))
    return sinks


def _tell(text: str) -> None:
    stderr.print(text, markup=False, highlight=False, soft_wrap=True)


def _tell_of_models(loaded: LoadedModels, lead: str, record: CalibrationRecord | None) -> None:
    without = [model.name for model in loaded.models if model.alarm is None]
    by = "its first 15 s" if record is None else f"the record of {record.host_id}, {record.id:.12}"
    _tell(f"{len(loaded.models)} models, {lead} leads; calibrated by {by}")
    if record is not None and record.suspect:
        _tell("the record is not found clean: what is told with it may be wrong")
    if without:
        _tell(f"without an alarm, as they are not evaluated: {', '.join(without)}")


def _tell_of_end(ended: Ended) -> None:
    state, faults = ended.state, ended.faults
    late = sum(said.n_late for said in state.sources.values())
    _tell(f"ended after {state.n_windows} windows; {late} rows late, {faults.n} lines left out")
