"""``cis490 produce``: one subcommand for each producer of dashboard events."""

import click

from cis490_pipeline.dashboard.producers.metrics import metrics
from cis490_pipeline.dashboard.producers.perf import perf
from cis490_pipeline.dashboard.producers.profiles import profiles
from cis490_pipeline.dashboard.producers.replay import replay


@click.group()
def produce() -> None:
    """Publish scores, latencies, profiles or a replay to a dashboard periodically.

    Each can also be run as a module: python -m cis490_pipeline.dashboard.producers.metrics.
    """


for _command in (metrics, perf, profiles, replay):
    produce.add_command(_command)
