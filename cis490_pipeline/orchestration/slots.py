"""Tags by which Dagster's run queue limits training runs and orders all others.

``dagster.yaml`` limits them (``tag_concurrency_limits``). Tags, because the pool ``train`` limits
steps: a recipe run is started for its first step, and then holds its slot of the queue while it
waits for the pool, for days if other recipes train.

A run of assets selected in the UI belongs to no job of ours and has none of these tags. It has
``dagster/partition``, as all runs of a split do and those of the corpus do not; the limit on that
tag leaves the corpus a slot whatever else is launched.
"""

from typing import Final

_PRIORITY: Final = "dagster/priority"
"""The queue starts runs with higher numbers first; without this tag a run has 0."""

TRAINING: Final = {"cis490/work": "training", _PRIORITY: "-10"}
"""Runs that may train and last for hours: after all others, as many as the pool has slots."""
DATASETS: Final = {_PRIORITY: "5"}
"""Runs that cut datasets again: before runs selected by hand, which may wait for the pool."""
CORPUS: Final = {_PRIORITY: "10"}
"""Runs of the corpus, on which all others depend: first."""
