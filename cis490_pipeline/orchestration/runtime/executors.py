"""How a run's steps become processes."""

from collections.abc import Mapping
from typing import Any

import dagster as dg

_STEPS_AT_ONCE = {
    "max_concurrent": dg.Field(
        int,
        default_value=2,
        description="Steps at once. Training stays one model at a time (pool `train`).",
    )
}


def _forked_after(preload: str) -> dg.ExecutorDefinition:
    def configure(config: Mapping[str, Any]) -> dict[str, Any]:
        return {**config, "start_method": {"forkserver": {"preload_modules": [preload]}}}

    return dg.multiprocess_executor.configured(
        configure, name="multiprocess", config_schema=_STEPS_AT_ONCE
    )


# The workers load torch, the definitions do not. A step that imports what it needs begins after
# 2 s, a spawned one after 3.9 s, one forked from a process that has it all after .4 s.
model_executor = _forked_after("cis490_pipeline.orchestration.runtime.preload_models")
corpus_executor = _forked_after("cis490_pipeline.orchestration.runtime.preload")
"""Without torch and what else only models need, which take 3 s to load."""
