"""Options and output shared by commands."""

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, get_args

import click
from rich import progress
from rich.console import Console
from rich.text import Text

from cis490_pipeline.domain import Architecture, Recipe, Variant
from cis490_pipeline.domain.catalogue import RUN_VARIANTS, FlatKind

if TYPE_CHECKING:
    from cis490_pipeline.compute.progress import Progress as Report
    from cis490_pipeline.experiment.stages.stage import StageResult
    from cis490_pipeline.experiment.stages.workspace import Announce, Workspace

Command = TypeVar("Command", bound=Callable[..., Any])

RECIPES = [str(recipe) for recipe in Recipe]


def console(*, min_width: int = 0, to_stderr: bool = False) -> Console:
    """Return a console without markup or emoji.

    Paths, hosts and samples may hold ``[``, which rich reads as markup, and ``:name:``, which it
    replaces by an emoji.

    Parameters
    ----------
    min_width : fewest columns, so that a table in a log file is not truncated.
    to_stderr : whether to print on stderr instead of stdout.
    """
    plain = Console(stderr=to_stderr, markup=False, emoji=False, highlight=False)
    if plain.width < min_width:
        plain.width = min_width
    return plain


stderr = console(to_stderr=True)


def workspace_options(command: Command) -> Command:
    """Add the flags of commands that use a store or data folder."""
    for option in (
        click.option("--store", metavar="PLACE", help="Receiver store: a folder or an address."),
        click.option(
            "--data",
            metavar="PLACE",
            help="Where all artefacts are written: a folder or an address.",
        ),
        click.option(
            "--cache", metavar="DIR", help="Folder for local copies of data at an address."
        ),
        click.option("--seed", type=int, help="Seed of training and resampling."),
        click.option(
            "--train-hosts", metavar="A,B", help="Hosts on the train side of recipe `host`."
        ),
        click.option("--val-hosts", metavar="A,B", help="Hosts on the val side of recipe `host`."),
        click.option(
            "--features",
            type=click.Choice(get_args(FlatKind)),
            help="What gbt and mlp get of a window.",
        ),
        click.option("--workers", type=int, help="Processes for per-episode work."),
        click.option("--threads", type=int, help="Threads of each numeric library."),
    ):
        command = option(command)
    return command


parallel_option = click.option(
    "--parallel-models",
    type=int,
    metavar="N",
    help="Models trained at the same time; changes no result. Default: by processors and memory.",
)


json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


def common_options(command: Command) -> Command:
    """Add the workspace's flags and ``--json``."""
    return workspace_options(json_option(command))


accept_loss_option = click.option(
    "--accept-loss",
    is_flag=True,
    help="Go on although the store lost its index or over 5 % of its episodes: they are gone for "
    "good.",
)

recipe_option = click.option(
    "--recipe",
    "--split",
    "recipe",
    type=click.Choice(RECIPES),
    default=str(Recipe.HOST),
    show_default=True,
    help="Split recipe: what the test side holds out.",
)
seeds_option = click.option(
    "--seeds",
    type=click.IntRange(1, 100),
    default=1,
    show_default=True,
    help="Train each model with this many seeds, from --seed on.",
)
open_option = click.option(
    "--open", "open_report", is_flag=True, help="Open the report in a browser."
)
FILE = click.Path(dir_okay=False, path_type=Path)
FOLDER = click.Path(file_okay=False, path_type=Path)


def model_options(command: Command) -> Command:
    """Add the choice of architectures and variants."""
    for option in (
        click.option(
            "--variant",
            "variants",
            multiple=True,
            type=click.Choice([str(variant) for variant in Variant]),
            help="Only this variant; may be repeated. Default: realistic and oracle.",
        ),
        click.option(
            "--model",
            "architectures",
            multiple=True,
            type=click.Choice([str(architecture) for architecture in Architecture]),
            help="Only this architecture; may be repeated.",
        ),
    ):
        command = option(command)
    return command


def chosen_models(
    architectures: tuple[str, ...], variants: tuple[str, ...]
) -> list[tuple[Architecture, Variant]]:
    """Return the chosen models: all architectures and the variants of a run by default."""
    return [
        (architecture, variant)
        for architecture in Architecture
        if not architectures or architecture in architectures
        for variant in Variant
        if variant in (variants or RUN_VARIANTS)
    ]


def announce(result: "StageResult") -> None:
    """Print that an artefact is there, the seconds it took, and why it was made."""
    seconds = f"{result.record.seconds:,.1f} s" if result.made else ""
    line = f"{result.record.key:<44} {seconds:>10}  {result.why}"
    stderr.print(line, style=None if result.made else "dim", soft_wrap=True)


def announce_made(result: "StageResult") -> None:
    """Print the same of an artefact that was made."""
    if result.made:
        announce(result)


def print_vanished(workspace: "Workspace") -> None:
    """Warn of episodes that have a verdict and are not in the store."""
    from cis490_pipeline.experiment.upkeep.warnings import no_vanished

    found = no_vanished(workspace)
    if not found.passed:
        stderr.print(f"warning: {found.text}", soft_wrap=True)


def print_json(value: Any) -> None:
    """Print one JSON value on stdout."""
    click.echo(json.dumps(value, indent=1, sort_keys=True, ensure_ascii=False))


class _Rate(progress.ProgressColumn):
    """Rate in items per second."""

    def render(self, task: progress.Task) -> Text:
        speed = task.finished_speed or task.speed
        return Text("" if speed is None else f"{speed:,.1f}/s", style="progress.data.speed")


class _Bars:
    """A progress bar per task, hidden once it ends."""

    def __init__(self, bars: progress.Progress) -> None:
        self._bars = bars
        self._tasks: dict[str, progress.TaskID] = {}
        self._done: dict[str, int] = {}

    def __call__(self, what: str, done: int, total: int, detail: str = "") -> None:
        """Draw what is done of a task."""
        # A task of the same name that ended, or has less done, is another recipe's: as one task,
        # rich would count its rate and its time from the first one's begin.
        if what in self._tasks and done < self._done[what]:
            self._bars.remove_task(self._tasks.pop(what))
        if what not in self._tasks:
            self._tasks[what] = self._bars.add_task(what, total=total, detail=detail)
        self._done[what] = done
        self._bars.update(self._tasks[what], completed=done, total=total, detail=detail)
        if done >= total:
            self._bars.remove_task(self._tasks.pop(what))


@contextmanager
def progress_bars() -> "Iterator[Report]":
    """Show a progress bar per task on stderr; yields ``report(what, done, total, detail)``."""
    from cis490_pipeline.compute.progress import ProgressLines

    if not stderr.is_terminal:
        # In a log file bars would leave only empty lines.
        lines = ProgressLines(partial(click.echo, err=True), every_s=10.0, quiet_s=30.0)
        with lines.ticking():
            yield lines
        return
    columns = (
        progress.SpinnerColumn(),
        progress.TextColumn("{task.description}", markup=False),
        progress.BarColumn(bar_width=24),
        progress.MofNCompleteColumn(),
        _Rate(),
        progress.TimeElapsedColumn(),
        progress.TimeRemainingColumn(compact=True),
        progress.TextColumn("{task.fields[detail]}", markup=False),
    )
    with progress.Progress(*columns, console=stderr, transient=True) as bars:
        yield _Bars(bars)


@contextmanager
def opened_workspace(
    flags: Mapping[str, Any], announce: "Announce" = announce_made, *, accept_loss: bool = False
) -> "Iterator[Workspace]":
    """Open the workspace of a command's flags, with progress bars while it is in use.

    Parameters
    ----------
    announce : called with each artefact once it is there.
    accept_loss : of the workspace.
    """
    from cis490_pipeline.config import Settings
    from cis490_pipeline.experiment.stages.workspace import Workspace

    with progress_bars() as report:
        yield Workspace(Settings.load(**flags), report, announce, accept_loss=accept_loss)
