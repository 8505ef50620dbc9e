"""``cis490`` command: a table of subcommands, each imported only when it is called."""

import importlib
import io
import sys
from typing import Any, Final

import click

from cis490_pipeline import __version__
from cis490_pipeline.compute.process import log_to_stderr, pin_library_threads
from cis490_pipeline.errors import PipelineError, advice_on

# name -> (module, help). The help is here so that `cis490 --help` imports no subcommand.
COMMANDS: Final[dict[str, tuple[str, str]]] = {
    "run": (
        "operate.run",
        "Run the whole pipeline for one recipe: validate, extract, train, evaluate, report.",
    ),
    "simulate": ("data.simulate", "Write a simulated store of any size, optionally with faults."),
    "record": ("data.record", "Record a corpus from virtual machines of a plan."),
    "validate": ("data.corpus", "Validate every episode of a store."),
    "extract": (
        "data.corpus",
        "Extract windows as features and tensors, of one episode or a whole recipe.",
    ),
    "split": ("data.corpus", "Show which episodes are on which side of a split, and why."),
    "controls": (
        "data.controls",
        "Test on recorded controls which channels show the recorder, not the malware.",
    ),
    "calibrate": (
        "devices.calibrate",
        "Write a device's calibration record from clean telemetry.",
    ),
    "train": ("models.train", "Train models and save their checkpoints."),
    "tune": ("models.tune", "Tune the settings of one model on validation only."),
    "evaluate": ("models.train", "Score checkpoints on the test side, with confidence intervals."),
    "study": (
        "models.study",
        "Measure generalization to left-out profiles, hosts and times.",
    ),
    "inspect": ("models.checkpoints", "Print the content of a checkpoint."),
    "export": ("models.checkpoints", "Export a checkpoint as ONNX, verified against its model."),
    "agent": (
        "devices.agent",
        "Send this machine's rows to a live reader or a recorder, or pack the agent in one file.",
    ),
    "bundle": ("devices.live", "Bundle models and calibration for a device in one folder."),
    "live": ("devices.live", "Predict a device's phases from its rows as they arrive, and alarm."),
    "watch": (
        "devices.watch",
        "Watch this machine: learn what is usual, then say when it looks infected.",
    ),
    "rows": (
        "devices.rows",
        "Print a device's netflow rows from a capture file or a Zeek conn.log.",
    ),
    "report": ("models.train", "Compare all models of a recipe and write report.html."),
    "compare": ("models.compare", "Compare two runs, or two checkpoints, on identical windows."),
    "demo": (
        "operate.demo",
        "Replay a recorded episode on the dashboard, with the predictions of twelve models.",
    ),
    "produce": (
        "operate.produce",
        "Publish scores, latencies, profiles or a replay to a dashboard.",
    ),
    "dashboard": ("operate.dashboard", "Serve the live dashboard."),
    "stale": ("operate.stale", "Show what is outdated, by recipe, and why."),
    "backfill": (
        "operate.stale",
        "Remake what is stale, in order of dependencies, and nothing else.",
    ),
    "gc": ("operate.gc", "Remove files that no artefact refers to any more."),
    "doctor": ("operate.doctor", "Check this installation, the store and the data folder."),
}

_MOST: Final = "train,orchestrate"
_EXTRA_OF: Final = {"aiohttp": "live", "onnxruntime": "live", "safetensors": "live"}
"""Smallest extra that brings a module; the others come with _MOST."""

EXIT_FINDINGS: Final = 1
EXIT_USAGE: Final = 2
EXIT_INTERRUPTED: Final = 130


class LazyGroup(click.Group):
    """Click group that imports the module of a subcommand on use."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Names in order of use."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import and return a subcommand."""
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
        """List subcommands from the table, without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in COMMANDS.items()])


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="cis490")
def cis490() -> None:
    """Detect the phase of a malware infection from a device's telemetry.

    Settings come from flags, then CIS490_… in the environment, then cis490.toml, then defaults.
    """


def main(arguments: list[str] | None = None) -> None:
    """Run the command line and exit with its code."""
    pin_library_threads()
    log_to_stderr()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # A file name may hold undecodable bytes, and a terminal may be ASCII only.
            stream.reconfigure(errors="backslashreplace")
    try:
        code: Any = cis490.main(args=arguments, prog_name="cis490", standalone_mode=False)
    except (click.exceptions.Abort, KeyboardInterrupt):
        click.echo("interrupted; finished work is kept, run again to continue", err=True)
        sys.exit(EXIT_INTERRUPTED)
    except click.ClickException as error:
        error.show()
        sys.exit(EXIT_USAGE)
    except PipelineError as error:
        click.echo(f"{type(error).__name__}: {error}", err=True)
        sys.exit(EXIT_USAGE)
    except OSError as error:
        # Such as a full disk or a read-only folder; the system's message names the path.
        where = "" if error.filename is not None else " (of no file: a pipe, or standard output)"
        advice = advice_on(error)
        text = f"{type(error).__name__}: {error}{where}" + (f"; {advice}" if advice else "")
        click.echo(text, err=True)
        sys.exit(EXIT_USAGE)
    sys.exit(code if isinstance(code, int) else 0)
