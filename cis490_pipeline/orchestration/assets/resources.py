"""Dagster resource of all assets: the opened workspace."""

import dataclasses
from collections.abc import Mapping
from typing import Final

import dagster as dg

from cis490_pipeline.config import Settings
from cis490_pipeline.domain import Architecture
from cis490_pipeline.domain.terms import Setting
from cis490_pipeline.experiment.stages.workspace import Workspace

DEFAULT_EPOCHS: Final = 40
DEFAULT_ROUNDS: Final = 1500
"""Defaults of the architectures' settings, copied because those import torch; a test compares."""

_Models = Mapping[str, Mapping[str, Setting]]

_OPTIONAL = {
    "store": (str, "Receiver store to read: a folder or an address."),
    "data": (str, "Where all artefacts are written: a folder or an address."),
    "cache": (str, "Folder for local copies of data at an address."),
    "seed": (int, "Seed of training and resampling (default 0)."),
    "train_hosts": (str, "Hosts on the train side of recipe `host`, separated by commas."),
    "val_hosts": (str, "Hosts on the val side of recipe `host`, separated by commas."),
    "features": (str, "What gbt and mlp get of a window: summary (default) or history."),
    "workers": (int, "Processes for per-episode work (default: every processor)."),
    "dask_address": (str, "Dask scheduler for per-episode work: tls://, or tcp:// on loopback."),
    "threads": (int, "Threads of each numeric library; part of a checkpoint's identity (1)."),
    "dashboard_url": (str, "Dashboards that scores are published to, separated by commas."),
}
_TRAINING = {
    "epochs": dg.Field(
        int,
        default_value=DEFAULT_EPOCHS,
        description="Most epochs of each network; patience usually ends earlier. A value other "
        "than the default acts as `max_epochs` in cis490.toml and retrains.",
    ),
    "rounds": dg.Field(
        int,
        default_value=DEFAULT_ROUNDS,
        description="Most boosting rounds of gbt; `max_rounds` in cis490.toml.",
    ),
    "models": dg.Field(
        {
            str(architecture): dg.Field(
                dict,
                is_required=False,
                description=f"The table [models.{architecture}] of cis490.toml.",
            )
            for architecture in Architecture
        },
        is_required=False,
        description="Settings of single architectures, which override cis490.toml, `epochs` and "
        "`rounds`. Select assets to choose which architectures are made.",
    ),
}


def with_launchpad(
    models: _Models, epochs: int, rounds: int, chosen: _Models
) -> dict[str, dict[str, Setting]]:
    """Merge the launchpad's limits and tables into the settings of architectures.

    A limit at its default is not set, so that records equal those of the command line and
    ``cis490.toml`` applies.
    """
    merged = {name: dict(settings) for name, settings in models.items()}
    for architecture in map(str, Architecture):
        name, value, default = (
            ("max_rounds", rounds, DEFAULT_ROUNDS)
            if architecture == Architecture.GBT
            else ("max_epochs", epochs, DEFAULT_EPOCHS)
        )
        limit = {name: value} if value != default else {}
        if changes := limit | dict(chosen.get(architecture, {})):
            merged[architecture] = merged.get(architecture, {}) | changes
    return merged


@dg.resource(
    config_schema={
        name: dg.Field(kind, is_required=False, description=text)
        for name, (kind, text) in _OPTIONAL.items()
    }
    | {
        "accept_loss": dg.Field(
            bool,
            default_value=False,
            description="Go on although the store lost its index or over 5 % of the episodes it "
            "had: they are gone for good.",
        )
    }
    | _TRAINING,
    description="Settings from the environment and cis490.toml; values set here override both.",
)
def workspace_resource(context: dg.InitResourceContext) -> Workspace:
    """Open the workspace of a run."""
    given = dict(context.resource_config)
    accept_loss = given.pop("accept_loss")
    epochs, rounds = given.pop("epochs"), given.pop("rounds")
    # Loaded only to validate them: the launchpad's tables are merged into the file's.
    chosen = Settings.load(models=given.pop("models", None) or {}).models
    settings = Settings.load(**given)
    models = with_launchpad(settings.models, epochs, rounds, chosen)
    run = context.run.run_id if context.run else ""
    settings = dataclasses.replace(settings, models=models)
    return Workspace(settings, run=run, accept_loss=accept_loss)
