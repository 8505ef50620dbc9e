"""What assets get from outside: the opened workspace."""

import dagster as dg

from cis490_pipeline.config import Settings
from cis490_pipeline.experiment.workspace import Workspace

_OPTIONAL = {
    "store": (str, "Receiver store to read: a folder or an address."),
    "data": (str, "Where everything made here goes to: a folder or an address."),
    "cache": (str, "Folder for local copies of what lies at an address."),
    "seed": (int, "Seed of training and resampling."),
    "train_hosts": (str, "Hosts the host split trains on, with commas between them."),
    "workers": (int, "Processes for episode-sized work."),
    "dask_address": (str, "Dask scheduler for episode-sized work: tls://, or tcp:// on loopback."),
    "threads": (int, "Threads of each numeric library; part of a checkpoint's identity."),
}


@dg.resource(
    config_schema={
        name: dg.Field(kind, is_required=False, description=text)
        for name, (kind, text) in _OPTIONAL.items()
    },
    description="Settings from the environment and cis490.toml; what is set here wins over both.",
)
def workspace_resource(context: dg.InitResourceContext) -> Workspace:
    """Open the workspace a run works on."""
    run = context.run.run_id if context.run else ""
    return Workspace(Settings.load(**context.resource_config), run=run)
