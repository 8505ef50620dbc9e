"""What Dagster's forkserver loads once, so that each step starts by forking instead of importing.

Imports only: polars starts its threads on first use, and a process forked after that waits for
them forever. The definitions themselves use polars (a schema hashes a golden fixture), so each
step loads those anew, in a tenth of a second once all they import is here.
"""

import gc
import importlib

import cis490_pipeline.events.contract
import cis490_pipeline.events.publisher
import cis490_pipeline.experiment.order
import cis490_pipeline.experiment.upkeep.checks
import cis490_pipeline.experiment.upkeep.warnings
from cis490_pipeline.orchestration.dagster_internals import FORKSERVER_PRELOADS

for module in FORKSERVER_PRELOADS:
    importlib.import_module(module)

# What is loaded stays: without this the first full collection of each step visits, and thereby
# copies, every page it shares with its siblings, for half a second.
gc.freeze()
