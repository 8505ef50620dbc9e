"""Progress in Dagster's log: what every layer reports, as few lines of the log of a step."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import dagster as dg

from cis490_pipeline.compute.progress import ProgressLines, both
from cis490_pipeline.experiment.stages.workspace import Workspace

EVERY_S: Final = 20.0
"""Least time between two lines of a step."""
QUIET_S: Final = 30.0
"""Time without a report after which the newest is logged again."""


@contextmanager
def logged(
    workspace: Workspace, context: dg.AssetExecutionContext | dg.AssetCheckExecutionContext
) -> Iterator[Workspace]:
    """Yield the workspace with its progress logged in a step as well."""
    lines = ProgressLines(context.log.info, every_s=EVERY_S, quiet_s=QUIET_S)
    with lines.ticking():
        yield workspace.with_listeners(both(workspace.progress, lines), workspace.announce)
