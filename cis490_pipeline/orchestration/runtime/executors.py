"""Executors: each step of a run is forked from a preloaded process."""

from collections.abc import Mapping

import dagster as dg

from cis490_pipeline.storage.json_text import Json

_STEPS_AT_ONCE = {
    "max_concurrent": dg.Field(
        int,
        default_value=2,
        description="Concurrent steps. Training runs one model at a time (pool `train`).",
    )
}


def _forked_after(preload: str) -> dg.ExecutorDefinition:
    def configure(config: Mapping[str, Json]) -> dict[str, Json]:
        return {**config, "start_method": {"forkserver": {"preload_modules": [preload]}}}

    return dg.multiprocess_executor.configured(
        configure, name="multiprocess", config_schema=_STEPS_AT_ONCE
    )


# Workers need torch, the definitions do not. A step starts after 2 s if it imports what it needs,
# after 3.9 s if spawned, and after 0.4 s if forked from a process that has imported everything.
model_executor = _forked_after("cis490_pipeline.orchestration.runtime.preload_models")
corpus_executor = _forked_after("cis490_pipeline.orchestration.runtime.preload")
"""Executor without torch and other imports of models, which take 3 s."""
