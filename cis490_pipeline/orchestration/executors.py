"""How a run's steps become processes."""

import dagster as dg


def _forked_after(preload: str) -> dg.ExecutorDefinition:
    return dg.multiprocess_executor.configured(
        {"max_concurrent": 2, "start_method": {"forkserver": {"preload_modules": [preload]}}}
    )


# The workers load torch, the definitions do not. A step that imports what it needs begins after
# 2 s, a spawned one after 3.9 s, one forked from a process that has it all after .5 s.
model_executor = _forked_after("cis490_pipeline.orchestration.preload_models")
corpus_executor = _forked_after("cis490_pipeline.orchestration.preload")
"""Without torch and what else only models need, which take 5 s to load."""
