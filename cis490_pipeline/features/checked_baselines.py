"""The baselines of stored episodes, each asked whether it was clean."""

from collections.abc import Sequence

from cis490_pipeline.features.cleanliness import Cleanliness, CleanlinessCheck
from cis490_pipeline.features.grid_store import GridStore
from cis490_pipeline.features.windows import BASELINE_STEPS


def checked_baselines(
    grids: GridStore, check: CleanlinessCheck | None, episode_ids: Sequence[str]
) -> dict[str, Cleanliness | None]:
    """Check each episode's own first 15 s; None where there is no check or nothing to look at."""
    found: dict[str, Cleanliness | None] = {}
    for episode_id in dict.fromkeys(episode_ids):
        grid = grids.grid(episode_id)[:BASELINE_STEPS]
        found[episode_id] = check.judge(grid) if check is not None else None
    return found
