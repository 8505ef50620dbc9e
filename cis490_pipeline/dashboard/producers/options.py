"""Flags shared by producers, and the entry point of ``python -m``."""

import functools
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final, TypeVar

import click

from cis490_pipeline.compute.process import log_to_stderr, pin_library_threads
from cis490_pipeline.config import Settings
from cis490_pipeline.dashboard.producers.places import Places
from cis490_pipeline.dashboard.producers.ticks import DEFAULT_URL, print_events, publish_on_ticks
from cis490_pipeline.domain import Recipe
from cis490_pipeline.errors import ConfigError, PipelineError
from cis490_pipeline.events.contract import Event
from cis490_pipeline.events.publisher import Publisher, publishers

Command = TypeVar("Command", bound=Callable[..., Any])
TRAIN_HOSTS: Final = "--train-hosts"


class ProducerCommand(click.Command):
    """Command whose ``--train-hosts`` takes several words, as in the older system."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Repeat the flag before each of its words, the form that click accepts."""
        return super().parse_args(ctx, list(_flag_by_word(args)))


def _flag_by_word(args: list[str]) -> Iterator[str]:
    within = named = False
    for i, arg in enumerate(args):
        if arg == "--":
            yield from args[i:]
            return
        if arg.startswith("-"):
            within = arg == TRAIN_HOSTS or arg.startswith(f"{TRAIN_HOSTS}=")
            named = arg == TRAIN_HOSTS
        elif within:
            # The first word after the flag has the flag already.
            if not named:
                yield TRAIN_HOSTS
            named = False
        yield arg


def split_options(*, must_exist: bool) -> Callable[[Command], Command]:
    """Return a decorator that adds the flags of a split's files; the command gets ``places``.

    All producers take the same flags, so that one set of flags starts any of them. ``must_exist``
    says whether a given index or dataset must exist at the start; otherwise the command publishes
    what is missing.
    """
    return functools.partial(_with_split_options, must_exist=must_exist)


def _with_split_options(command: Command, *, must_exist: bool) -> Command:
    @functools.wraps(command)
    def with_places(
        *arguments: Any,
        recipe: str,
        validation: Path | None,
        artifacts: Path | None,
        summary: Path | None,
        tensors: Path | None,
        train_hosts: tuple[str, ...],
        **others: Any,
    ) -> Any:
        if must_exist:
            _require_there(validation=validation, summary=summary, tensors=tensors)
        places = Places.of(
            recipe, validation=validation, artifacts=artifacts, summary=summary, tensors=tensors
        )
        if train_hosts:
            names = (name.strip() for words in train_hosts for name in words.split(","))
            places.require_train_hosts(tuple(name for name in names if name))
        return command(*arguments, places=places, **others)

    with_options: Any = with_places
    for option in (
        click.option(
            TRAIN_HOSTS,
            multiple=True,
            metavar="HOST…",
            help="Refuse a split with other train hosts; several as A B, A,B or repeated.",
        ),
        click.option(
            "--recipe",
            "--split-recipe",
            "--split",
            "recipe",
            type=click.Choice([str(recipe) for recipe in Recipe]),
            default=str(Recipe.HOST),
            show_default=True,
            help="Split recipe of the models.",
        ),
        _path_option("--tensors", "Folder tensor_window_v1 of the recipe, or a file in it."),
        _path_option("--summary", "Folder features_window_v1 of the recipe, or a file in it."),
        _path_option("--artifacts", "Folder of the checkpoints of all recipes, or of this one."),
        _path_option("--validation", "Index of all verdicts, or the recipe's validation_index."),
    ):
        with_options = option(with_options)
    done: Command = with_options
    return done


def _require_there(**named: Path | None) -> None:
    missing = [f"--{flag} {path}" for flag, path in named.items() if path and not path.exists()]
    if missing:
        raise ConfigError(f"no such file or folder: {', '.join(missing)}")


def _path_option(flag: str, text: str) -> Callable[[Command], Command]:
    return click.option(
        flag, type=click.Path(path_type=Path), help=f"{text} [default: in the data folder]"
    )


episode_option = click.option(
    "--episode",
    "name",
    metavar="HOST/ULID",
    help="Episode to use; default: the newest sound infected one.",
)
# Not "seed", which is the setting for training.
simulate_option = click.option(
    "--simulate",
    "made_up",
    type=click.IntRange(min=0),
    help="Simulate an episode with this seed instead.",
)


def speed_option(default: float) -> Callable[[Command], Command]:
    """Return the option for the speed of a replay."""
    return click.option(
        "--speed",
        type=click.FloatRange(min=0, min_open=True),
        metavar="TIMES",
        default=default,
        show_default=True,
        help="Seconds of the episode per second of real time.",
    )


def publish_options(command: Command) -> Command:
    """Add ``--publish-url``, ``--interval`` and ``--dry-run``."""
    for option in (
        click.option(
            "--dry-run", is_flag=True, help="Print the events once instead of publishing."
        ),
        click.option(
            "--interval",
            "interval_s",
            type=click.FloatRange(min=0),
            metavar="SECONDS",
            default=20.0,
            show_default=True,
            help="Seconds between two publications; 0 publishes once.",
        ),
        click.option(
            "--publish-url",
            metavar="URL",
            help=f"Dashboard; default: CIS490_DASHBOARD_URL, or {DEFAULT_URL}.",
        ),
    ):
        command = option(command)
    return command


def publisher_of(url: str | None) -> Publisher:
    """Return the publisher from flags and settings; `ConfigError` for several dashboards."""
    settings = Settings.load(dashboard_url=url)
    if len(settings.dashboards) > 1:
        raise ConfigError(
            f"a producer feeds one dashboard, but {len(settings.dashboards)} are set: "
            f"{settings.dashboard_url}; start one for each, with --publish-url"
        )
    default = Publisher(DEFAULT_URL, settings.dashboard_token, settings.older_dashboard)
    return next(iter(publishers(settings)), default)


def publish(
    make: Callable[[], list[Event]], url: str | None, *, interval_s: float, dry_run: bool
) -> None:
    """Publish the events of ``make`` as the flags say, or print them once."""
    if dry_run:
        print_events(make())
    else:
        publish_on_ticks(make, publisher_of(url), interval_s=interval_s)


def run_alone(command: click.Command) -> None:
    """Run a producer as a module, and exit with its code."""
    pin_library_threads()
    log_to_stderr()
    try:
        code: Any = command.main(standalone_mode=False)
    except (click.exceptions.Abort, KeyboardInterrupt):
        click.echo("interrupted", err=True)
        sys.exit(130)
    except click.ClickException as error:
        error.show()
        sys.exit(2)
    except (PipelineError, OSError) as error:
        click.echo(f"{type(error).__name__}: {error}", err=True)
        sys.exit(2)
    sys.exit(code if isinstance(code, int) else 0)
