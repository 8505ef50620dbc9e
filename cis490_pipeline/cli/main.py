"""The ``cis490`` command: a table of commands, each imported only when it is called."""

import importlib
import io
import sys
from typing import Any, Final

import click

from cis490_pipeline import __version__
from cis490_pipeline.compute.process import pin_library_threads
from cis490_pipeline.errors import PipelineError, advice_on

# name -> (module, one line of help). Help is here so that `cis490 --help` imports none of them.
COMMANDS: Final[dict[str, tuple[str, str]]] = {
    "run": (
        "operate.run",
        "Do the whole job for one split: validate, cut, train, compare, report.",
    ),
    "simulate": ("data.simulate", "Write a made-up store of any size, with faults if asked."),
    "validate": ("data.corpus", "Give every episode of a store its verdict."),
    "extract": ("data.corpus", "Cut features and tensors: of one episode, or of a whole split."),
    "split": ("data.corpus", "Show which episodes are on which side of a split, and why."),
    "calibrate": (
        "devices.calibrate",
        "Write a device's calibration record, from clean telemetry.",
    ),
    "train": ("models.train", "Train models of a split and save their checkpoints."),
    "tune": ("models.tune", "Search better settings of one model, on validation alone."),
    "evaluate": ("models.train", "Score checkpoints on the held-out side, with intervals."),
    "study": (
        "models.study",
        "Leave profiles, hosts and times out: what a model is worth beyond its test.",
    ),
    "inspect": ("models.checkpoints", "Print a checkpoint for a person."),
    "export": ("models.checkpoints", "Write a checkpoint as ONNX, compared with its model."),
    "bundle": ("devices.live", "Make one folder of models and calibration for a device."),
    "live": ("devices.live", "Tell a device's phases as its rows arrive, and alarm."),
    "report": ("models.train", "Compare all models of a split and write report.html."),
    "compare": ("models.compare", "Compare two runs, or two checkpoints, on identical windows."),
    "demo": (
        "operate.demo",
        "Watch a recorded episode unfold on the dashboard, seen by twelve models.",
    ),
    "produce": ("operate.produce", "Publish scores, speed, profiles or a replay to a dashboard."),
    "dashboard": ("operate.dashboard", "Serve the live dashboard."),
    "stale": ("operate.stale", "Show what a change outdated, split by split, and why."),
    "backfill": (
        "operate.stale",
        "Make again what is stale, from the root down, and nothing else.",
    ),
    "gc": ("operate.gc", "Remove files that nothing made here names any more."),
    "doctor": ("operate.doctor", "Check this installation, the store and the data folder."),
}

_MOST: Final = "train,orchestrate"
_EXTRA_OF: Final = {"aiohttp": "live", "onnxruntime": "live", "safetensors": "live"}
"""Extra that brings a module, where the others would bring far more."""

EXIT_FINDINGS: Final = 1
EXIT_USAGE: Final = 2
EXIT_INTERRUPTED: Final = 130


class LazyGroup(click.Group):
    """A group whose commands live in modules that are imported on use."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Names in the order people use them."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import and return one command."""
        if cmd_name not in COMMANDS:
            return None
        try:
            module = importlib.import_module(f"cis490_pipeline.cli.{COMMANDS[cmd_name][0]}")
        except ModuleNotFoundError as error:
            raise click.UsageError(
                f"`cis490 {cmd_name}` needs {error.name}, which is not installed here; "
                f"pip install 'cis490_pipeline[{_EXTRA_OF.get(str(error.name), _MOST)}]' brings it"
            ) from error
        command: click.Command = getattr(module, cmd_name)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List commands from the table, without importing any."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in COMMANDS.items()])


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="cis490")
def cis490() -> None:
    """Tell from a device's telemetry which phase of a malware infection it is in.

    Settings come from flags, then CIS490_… in the environment, then cis490.toml, then defaults.
    """


def main(arguments: list[str] | None = None) -> None:
    """Run the command line and exit with its code."""
    pin_library_threads()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # A file's name may hold bytes that are no text, and a terminal may know ASCII alone.
            stream.reconfigure(errors="backslashreplace")
    try:
        code: Any = cis490.main(args=arguments, prog_name="cis490", standalone_mode=False)
    except (click.exceptions.Abort, KeyboardInterrupt):
        click.echo("interrupted; what was finished is kept, run again to go on", err=True)
        sys.exit(EXIT_INTERRUPTED)
    except click.ClickException as error:
        error.show()
        sys.exit(EXIT_USAGE)
    except PipelineError as error:
        click.echo(f"{type(error).__name__}: {error}", err=True)
        sys.exit(EXIT_USAGE)
    except OSError as error:
        # A full disk, a folder that may not be written: the system's words name the path.
        where = "" if error.filename is not None else " (of no file: a pipe, or standard output)"
        advice = advice_on(error)
        text = f"{type(error).__name__}: {error}{where}" + (f"; {advice}" if advice else "")
        click.echo(text, err=True)
        sys.exit(EXIT_USAGE)
    sys.exit(code if isinstance(code, int) else 0)
