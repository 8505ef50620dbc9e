"""``cis490 produce``: what is published to a dashboard, one command for each producer."""

import click

from cis490_pipeline.dashboard.producers.metrics import metrics
from cis490_pipeline.dashboard.producers.perf import perf
from cis490_pipeline.dashboard.producers.profiles import profiles
from cis490_pipeline.dashboard.producers.replay import replay


@click.group()
def produce() -> None:
    """Publish scores, speed, profiles or a replay to a dashboard, again and again.

    Each runs by itself as well: python -m cis490_pipeline.dashboard.producers.metrics.
    """


for _command in (metrics, perf, profiles, replay):
    produce.add_command(_command)
