"""What assets get from outside: the opened workspace."""

import dataclasses
from collections.abc import Mapping
from typing import Any, Final

import dagster as dg

from cis490_pipeline.config import Settings
from cis490_pipeline.domain import Architecture
from cis490_pipeline.experiment.stages.workspace import Workspace

DEFAULT_EPOCHS: Final = 40
DEFAULT_ROUNDS: Final = 1500
"""As the architectures' own settings have them; a test holds that. Those import torch."""

_Models = Mapping[str, Mapping[str, Any]]

_OPTIONAL = {
    "store": (str, "Receiver store to read: a folder or an address."),
    "data": (str, "Where everything made here goes to: a folder or an address."),
    "cache": (str, "Folder for local copies of what lies at an address."),
    "seed": (int, "Seed of training and resampling (default 0)."),
    "train_hosts": (str, "Hosts the host split trains on, with commas between them."),
    "workers": (int, "Processes for episode-sized work (default: every processor)."),
    "dask_address": (str, "Dask scheduler for episode-sized work: tls://, or tcp:// on loopback."),
    "threads": (int, "Threads of each numeric library; part of a checkpoint's identity (1)."),
    "dashboard_url": (str, "Where scores are published, with commas between several."),
}
_TRAINING = {
    "epochs": dg.Field(
        int,
        default_value=DEFAULT_EPOCHS,
        description="Most epochs of each network; patience usually ends earlier. Another than the "
        "default is what `max_epochs` of its table in cis490.toml is, and trains anew.",
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
        description="Settings of single architectures, each over what cis490.toml and `epochs` or "
        "`rounds` say of it. Which architectures are made is chosen by selecting their assets.",
    ),
}


def with_launchpad(
    models: _Models, epochs: int, rounds: int, chosen: _Models
) -> dict[str, dict[str, Any]]:
    """Return settings of architectures with the launchpad's limits and tables in them.

    A limit at its default is no setting: records stay what the command line makes, and what
    ``cis490.toml`` says holds.
    """
    merged = {name: dict(settings) for name, settings in models.items()}
    for architecture in map(str, Architecture):
        name, value, default = (
            ("max_rounds", rounds, DEFAULT_ROUNDS)
            if architecture == Architecture.GBT
            else ("max_epochs", epochs, DEFAULT_EPOCHS)
        )
        limit = {name: value} if value != default else {}
        if told := limit | dict(chosen.get(architecture, {})):
            merged[architecture] = merged.get(architecture, {}) | told
    return merged


@dg.resource(
    config_schema={
        name: dg.Field(kind, is_required=False, description=text)
        for name, (kind, text) in _OPTIONAL.items()
    }
    | _TRAINING,
    description="Settings from the environment and cis490.toml; what is set here wins over both.",
)
def workspace_resource(context: dg.InitResourceContext) -> Workspace:
    """Open the workspace a run works on."""
    given = dict(context.resource_config)
    epochs, rounds = given.pop("epochs"), given.pop("rounds")
    # Loaded for its refusals alone: tables of the launchpad join the file's, they replace none.
    chosen = Settings.load(models=given.pop("models", None) or {}).models
    settings = Settings.load(**given)
    models = with_launchpad(settings.models, epochs, rounds, chosen)
    run = context.run.run_id if context.run else ""
    return Workspace(dataclasses.replace(settings, models=models), run=run)
