"""``cis490 watch``: the agent and live inference on this machine, and one verdict."""

import contextlib
import re
import shlex
import socket
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import click

from cis490_pipeline.cli.dashboard_process import dashboard_process, free_port, open_browser
from cis490_pipeline.cli.devices.live import leading_model
from cis490_pipeline.cli.devices.live_output import Printer, Stop, say, say_end
from cis490_pipeline.config import Settings
from cis490_pipeline.domain import is_host_id
from cis490_pipeline.errors import CheckpointError, ConfigError
from cis490_pipeline.events.outbox import Outbox
from cis490_pipeline.events.publisher import Publisher, publishers
from cis490_pipeline.features.channels import channel_indices, source_slices
from cis490_pipeline.live.bundle import Bundle, load_bundle
from cis490_pipeline.live.clocks.time_texts import time_text
from cis490_pipeline.live.engine import LiveEngine
from cis490_pipeline.live.kept_calibration import (
    FILE,
    CalibrationKeeper,
    KeptCalibration,
    kept_calibration,
)
from cis490_pipeline.live.models import LiveModel
from cis490_pipeline.live.outputs.publishing import Publishing
from cis490_pipeline.live.outputs.sinks import JsonLines, Sink
from cis490_pipeline.live.run import run_live
from cis490_pipeline.live.state_folder import held_state
from cis490_pipeline.live.watch.agent_feed import AgentFeed
from cis490_pipeline.live.watch.alarm_command import AlarmCommand
from cis490_pipeline.live.watch.drift import DriftMonitor
from cis490_pipeline.live.watch.kept_alarms import AlarmKeeper
from cis490_pipeline.live.watch.verdict import VerdictSink

MIN_LEARN_S: Final = 60.0
"""Shortest learning time: after 15 s, nets raised false alarms in 3 of 58 clean starts; after 60 s
in none of 25."""
_UNITS: Final = {"s": 1, "m": 60, "min": 60, "h": 3600}
_FOLDER: Final = click.Path(file_okay=False, path_type=Path)


def _duration_s(context: click.Context, option: click.Parameter, value: str) -> float:
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*(s|min|m|h)", value.strip())
    if match is None:
        raise click.BadParameter(f"{value!r} is no duration; wanted one like 90s, 2min or 1h")
    seconds = float(match[1]) * _UNITS[match[2]]
    if seconds < MIN_LEARN_S:
        raise click.BadParameter(
            f"{value} is too short to tell usual from unusual; wanted {MIN_LEARN_S:.0f}s or more"
        )
    return seconds


@click.command()
@click.option("--bundle", "bundle_folder", type=_FOLDER, required=True, help="Folder of models.")
@click.option(
    "--learn",
    "learn_s",
    default="1h",
    show_default=True,
    metavar="TIME",
    callback=_duration_s,
    help="Learn what is usual for this long, such as 2min or 1h; at least 60s.",
)
@click.option(
    "--state",
    "state_folder",
    type=_FOLDER,
    help="Store what was learnt and the alarms here, and continue with them after a restart.",
)
@click.option("--relearn", is_flag=True, help="Forget what is stored in --state, and learn again.")
@click.option("--on-alarm", metavar="COMMAND", help="Run at the begin and end of an alarm.")
@click.option("--iface", default="auto", show_default=True, metavar="A,B", help="Interfaces.")
@click.option("--no-netflow", is_flag=True, help="Watch without the network.")
@click.option("--device", metavar="NAME", help="Name of this device; default: its host's.")
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), help="Append JSON lines.")
@click.option("--publish-url", metavar="URL", help="Dashboard to publish to.")
@click.option("--dashboard", is_flag=True, help="Show it on a dashboard of its own.")
@click.option("--unit", is_flag=True, help="Print a systemd unit with these options, and end.")
def watch(
    bundle_folder: Path,
    learn_s: float,
    state_folder: Path | None,
    relearn: bool,
    on_alarm: str | None,
    iface: str,
    no_netflow: bool,
    device: str | None,
    out: Path | None,
    publish_url: str | None,
    dashboard: bool,
    unit: bool,
) -> int:
    """Learn what is usual on this machine, then say when it looks infected.

    One verdict at a time, decided by the bundle's leading model: learning, ready, alarm, no
    telemetry. Without CAP_NET_RAW the network is not seen, and the verdict says so. Runs until
    Ctrl-C.

    --on-alarm is run without a shell, with the verdict in CIS490_VERDICT and CIS490_TEXT and as
    JSON on its standard input.
    """
    if unit:
        click.echo(_unit(sys.argv[1:]), nl=False)
        return 0
    settings = Settings.load(dashboard_url=publish_url)
    name = _device_name(device)
    bundle = load_bundle(bundle_folder)
    lead = _leading(bundle)
    with Stop() as stop, held_state(state_folder), contextlib.ExitStack() as resources:
        if relearn:
            _forget(state_folder)
        kept = None if state_folder is None else kept_calibration(state_folder)
        feed = AgentFeed(_agent_words(name, iface, no_netflow), name)
        to = list(publishers(settings))
        if dashboard:
            to.append(resources.enter_context(_own_dashboard(settings)))
        printer = Printer(wait=False)
        models = bundle.loaded.models
        command = None if on_alarm is None else AlarmCommand(on_alarm, name, say)
        if command is not None:
            resources.callback(command.close)
        sinks: list[Sink] = [] if out is None else [JsonLines(out)]
        names = [model.name for model in models]
        sinks += [Publishing(Outbox(one, say), name, names, lead.name, name) for one in to]
        if state_folder is not None:
            sinks += _keepers(state_folder, models, kept)
        sinks.append(_verdict_sink(lead, printer, command))
        say(f"{lead.name} decides; {len(models)} models in all")
        engine = _engine(bundle, kept, learn_s, name)
        alone = out is None and not to and on_alarm is None

        def is_over() -> bool:
            if command is not None:
                command.poll()
            return stop.asked or (alone and printer.gone)

        ended = run_live(feed, engine, sinks, say, stop=is_over)
    return say_end(ended, stopped=stop.asked or printer.gone)


def _engine(bundle: Bundle, kept: KeptCalibration | None, learn_s: float, name: str) -> LiveEngine:
    return LiveEngine(
        bundle.loaded.models,
        baseline=None if kept is None else kept.baseline,
        learn_s=learn_s,
        check=bundle.loaded.check,
        name=name,
        wall_ns=time.time_ns,
    )


def _keepers(folder: Path, models: Sequence[LiveModel], kept: KeptCalibration | None) -> list[Sink]:
    """Return the sinks that store a device's state, after continuing with what is stored."""
    alarms = AlarmKeeper(folder, models)
    if kept is None:
        say(f"what is learnt is stored in {folder}: a restart continues with it")
    else:
        say(
            f"what is usual was learnt by {time_text(kept.taken_at_ns)} and is stored in {folder}; "
            "--relearn learns again"
        )
        restored = alarms.restore()
        if restored is not None:
            say(restored)
    return [CalibrationKeeper(folder, kept), alarms]


def _verdict_sink(lead: LiveModel, printer: Printer, command: AlarmCommand | None) -> VerdictSink:
    seen = lead.calibrator.seen
    return VerdictSink(
        lead.name,
        tuple(source_slices(lead.variant)),
        printer,
        output=printer.output,
        drift=DriftMonitor(channel_indices(lead.variant)[seen], lead.calibrator.floor[seen]),
        alarming=lead.alarm is not None and lead.alarm.kept()[1],
        on_change=lambda change: None if command is None else command.changed(change),
    )


def _leading(bundle: Bundle) -> LiveModel:
    name = leading_model(bundle.loaded)
    if bundle.record is not None:
        say(
            f"the bundle's record of {bundle.record.host_id} is not used: watch learns this "
            "device; `cis490 live` uses a record"
        )
    lead = next(model for model in bundle.loaded.models if model.name == name)
    if lead.alarm is None:
        raise CheckpointError(
            f"{name} leads and has no alarm; evaluate it and bundle it again: cis490 evaluate"
        )
    return lead


def _device_name(given: str | None) -> str:
    """Name of the device: as given, or this host's in the form that device names have."""
    name = given or re.sub(r"[^A-Za-z0-9._-]", "-", socket.gethostname())[:63]
    if not is_host_id(name):
        raise ConfigError(f"{name!r} is no name of a device; give it one with --device")
    return name


def _agent_words(name: str, iface: str, no_netflow: bool) -> list[str]:
    words = [sys.executable, "-m", "cis490_pipeline.collect", "--to", "-"]
    words += ["--iface", iface, "--device", name]
    return [*words, "--no-netflow"] if no_netflow else words


@contextmanager
def _own_dashboard(settings: Settings) -> Iterator[Publisher]:
    if not isinstance(settings.data, Path):
        raise ConfigError(f"--dashboard needs a local data folder, got {settings.data}")
    with dashboard_process(free_port(), settings.data) as url:
        click.echo(f"dashboard: {url}", err=True)
        open_browser(url)
        yield Publisher(f"{url}publish", settings.dashboard_token)


def _forget(folder: Path | None) -> None:
    """Set aside what was learnt, so that a mistaken --relearn can be undone."""
    if folder is None:
        raise ConfigError("--relearn forgets what --state stores: give --state too")
    for name in (FILE, "alarms.json"):
        path = folder / name
        if path.exists():
            path.replace(path.with_suffix(".before.json"))


def _unit(arguments: list[str]) -> str:
    """Return a systemd unit that runs this command."""
    words = [word for word in arguments if word != "--unit"]
    command = shlex.join([sys.executable, "-m", "cis490_pipeline", *words])
    return (
        "[Unit]\n"
        "Description=Watch this machine for signs of an infection (cis490)\n"
        "After=network.target time-sync.target\n\n"
        "[Service]\n"
        f"ExecStart={command}\n"
        "DynamicUser=yes\n"
        "StateDirectory=cis490\n"
        "AmbientCapabilities=CAP_NET_RAW\n"
        "CapabilityBoundingSet=CAP_NET_RAW\n"
        "NoNewPrivileges=yes\n"
        "ProtectSystem=strict\n"
        "ProtectHome=read-only\n"
        "PrivateTmp=yes\n"
        "Restart=always\n"
        "RestartSec=5\n"
        "MemoryMax=400M\n\n"
        "[Install]\n"
        "WantedBy=multi-user.target\n"
    )
