"""The model chosen on validation beside each peer, on the recorded corpus' unseen hosts.

This looks at the test side; docs/decisions.md logs each such look. Nothing is chosen by it.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.contest import MODELS, Arrangement, counts, run
from benchmarks.host_sides import checked
from benchmarks.kept import Kept
from benchmarks.unseen_hosts import CONTESTANTS, Runs, pairs, standings
from cis490_pipeline.config import Settings
from cis490_pipeline.domain import Recipe
from cis490_pipeline.evaluation.uncertainty.intervals import episode_interval
from cis490_pipeline.experiment.pipeline.dataset import ValidationIndex
from cis490_pipeline.experiment.stages.workspace import Workspace
from cis490_pipeline.splits.recipes import make_split

NAME = "recorded"


def arrangement(store: Path, folder: Path) -> Arrangement:
    """Sides of the project's own host split, under its default settings."""
    workspace = checked(Workspace(Settings(store=store, data=folder / "data", workers=1)))
    index = ValidationIndex(workspace, Recipe.HOST)
    episodes = index.episodes()
    split = make_split(Recipe.HOST, episodes, **index.rule())
    sides = split.assignment.select("episode_id", "side")
    return Arrangement(NAME, workspace, episodes.join(sides, on="episode_id"), folder / NAME)


def measure(
    place: Arrangement, kept: Kept, seeds: int, settings: Mapping[str, Mapping[str, Any]]
) -> tuple[dict[str, Any], Runs]:
    """Standings with intervals by episode; the model chosen on validation against each peer."""
    runs = {
        (name, NAME, seed): run(kept, place, name, seed, settings.get(name))
        for seed in range(seeds)
        for name in CONTESTANTS
    }
    rows = standings(runs)
    for row in rows:
        found = [r for key, r in sorted(runs.items()) if key[0] == row["name"]]
        interval = episode_interval(counts(found), seed=0)
        row |= {"ci_low": round(interval.low, 4), "ci_high": round(interval.high, 4)}
    chosen = max((row for row in rows if row["name"] in MODELS), key=lambda r: r["val_macro_f1"])
    some = next(iter(runs.values()))
    return {
        "standings": rows,
        "chosen": chosen["name"],
        "pairs": pairs(runs, [chosen["name"]]),
        "n_test_episodes": len(set(some["episode"])),
        "n_test_windows": len(some["episode"]),
    }, runs
