"""What assets get from outside: the opened workspace."""

import dataclasses
from collections.abc import Mapping
from typing import Any, Final

import dagster as dg

from cis490_pipeline.config import Settings
from cis490_pipeline.domain import Architecture
from cis490_pipeline.experiment.workspace import Workspace

DEFAULT_EPOCHS: Final = 40
DEFAULT_ROUNDS: Final = 1500
"""As the architectures' own settings have them; a test holds that. Those import torch."""

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
}


def with_limits(
    models: Mapping[str, Mapping[str, Any]], epochs: int, rounds: int
) -> dict[str, dict[str, Any]]:
    """Return settings of architectures with the launchpad's limits in them.

    A limit at its default is no setting: records stay what the command line makes, and what
    ``cis490.toml`` says holds.
    """
    limits = {
        str(architecture): ("max_rounds", rounds, DEFAULT_ROUNDS)
        if architecture is Architecture.GBT
        else ("max_epochs", epochs, DEFAULT_EPOCHS)
        for architecture in Architecture
    }
    merged = {name: dict(settings) for name, settings in models.items()}
    for architecture, (name, value, default) in limits.items():
        if value != default:
            merged.setdefault(architecture, {})[name] = value
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
    settings = Settings.load(**given)
    models = with_limits(settings.models, epochs, rounds)
    run = context.run.run_id if context.run else ""
    return Workspace(dataclasses.replace(settings, models=models), run=run)
