"""Flags that producers share, and how one runs by itself."""

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import click

from cis490_pipeline.config import Settings, pin_library_threads
from cis490_pipeline.dashboard.producers.ticks import DEFAULT_URL
from cis490_pipeline.domain import Recipe
from cis490_pipeline.errors import ConfigError, PipelineError
from cis490_pipeline.events.publisher import Publisher
from cis490_pipeline.store.data_paths import DataPaths

Command = TypeVar("Command", bound=Callable[..., Any])
FOLDER = click.Path(file_okay=False, path_type=Path)
FILE = click.Path(dir_okay=False, path_type=Path)

split_option = click.option(
    "--split-recipe",
    "--split",
    "recipe",
    type=click.Choice([str(recipe) for recipe in Recipe]),
    default=str(Recipe.HOST),
    show_default=True,
    help="Which split's models.",
)
validation_option = click.option(
    "--validation",
    type=FILE,
    help="The split's validation_index.parquet, split_v1.json beside it; by default the data's.",
)
artifacts_option = click.option(
    "--artifacts", type=FOLDER, help="Folder of all splits' checkpoints; by default the data's."
)
tensors_option = click.option(
    "--tensors", type=FOLDER, help="The split's tensor_window_v1; by default the data's."
)
episode_option = click.option(
    "--episode", "name", metavar="HOST/ULID", help="Which; by default one is chosen."
)
# Not "seed": the settings have one, of training.
simulate_option = click.option(
    "--simulate", "made_up", type=click.IntRange(min=0), help="Make one up, by this seed."
)


def speed_option(default: float) -> Callable[[Command], Command]:
    """Return the option of how fast an episode is replayed."""
    return click.option(
        "--speed",
        type=click.FloatRange(min=0, min_open=True),
        metavar="TIMES",
        default=default,
        show_default=True,
        help="Seconds of the episode for each second of the clock.",
    )


def publish_options(command: Command) -> Command:
    """Add where to publish to, how often, and ``--dry-run``."""
    for option in (
        click.option("--dry-run", is_flag=True, help="Print the events once, publish nothing."),
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
            help=f"Dashboard; by default CIS490_DASHBOARD_URL, or {DEFAULT_URL}.",
        ),
    ):
        command = option(command)
    return command


@dataclass(frozen=True)
class Places:
    """Where a split's files lie."""

    recipe: str
    validation: Path
    artifacts: Path
    summary: Path
    tensors: Path
    reports: Path

    @classmethod
    def of(
        cls,
        recipe: str,
        *,
        validation: Path | None = None,
        artifacts: Path | None = None,
        summary: Path | None = None,
        tensors: Path | None = None,
        data_folder: Path | None = None,
    ) -> "Places":
        """Complete what was given from the data folder, by default the settings'.

        Raises
        ------
        ConfigError
            If something was not given and the data are no folder of this machine.
        """
        data = data_folder or Settings.load().data
        if not isinstance(data, Path):
            raise ConfigError(f"producers read a folder of this machine, got {data}; bring it here")
        paths = DataPaths(data)
        return cls(
            recipe=recipe,
            validation=validation or paths.validation_index(recipe),
            artifacts=(artifacts or data / "artifacts") / recipe,
            summary=summary or paths.feature_dir(recipe),
            tensors=tensors or paths.tensor_dir(recipe),
            reports=paths.leaderboard(recipe).parent,
        )


def publisher_of(url: str | None) -> Publisher:
    """Return the publisher that flags and settings name.

    Raises
    ------
    ConfigError
        If they name several dashboards.
    """
    settings = Settings.load(dashboard_url=url)
    if len(settings.dashboards) > 1:
        raise ConfigError(
            f"a producer feeds one dashboard, but {len(settings.dashboards)} are set: "
            f"{settings.dashboard_url}; start one for each, with --publish-url"
        )
    return Publisher(settings.dashboard_url or DEFAULT_URL, settings.dashboard_token)


def run_alone(command: click.Command) -> None:
    """Run one producer as ``python -m`` does, and exit with its code."""
    pin_library_threads()
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
