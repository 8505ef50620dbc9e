"""Preload of Dagster's forkserver: imports that each forked step then need not repeat.

Imports only: polars starts its threads on first use, and a process forked after that deadlocks. The
definitions use polars (a schema hashes a golden fixture), so each step loads them itself, in 0.1 s
once their imports are here.
"""

import gc
import importlib

import cis490_pipeline.events.contract
import cis490_pipeline.events.publisher
import cis490_pipeline.experiment.order
import cis490_pipeline.experiment.upkeep.checks
import cis490_pipeline.experiment.upkeep.stale
import cis490_pipeline.experiment.upkeep.warnings
from cis490_pipeline.orchestration.dagster_internals import FORKSERVER_PRELOADS

for module in FORKSERVER_PRELOADS:
    importlib.import_module(module)

# Exempt loaded objects from collection: else the first full collection of each step touches, and so
# copies, every page shared with its siblings, which takes half a second.
gc.freeze()
