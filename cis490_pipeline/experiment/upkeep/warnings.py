"""Warning checks of the newest sweep: unusable uploads, vanished episodes, drift from train.

They block nothing.
"""

from typing import Final

import polars as pl

from cis490_pipeline.domain import Recipe, Side, Verdict
from cis490_pipeline.experiment.pipeline.corpus import GridShards, ValidationSweep
from cis490_pipeline.experiment.pipeline.dataset import ValidationIndex
from cis490_pipeline.experiment.stages.workspace import Workspace
from cis490_pipeline.experiment.studies.drawing import ids_of
from cis490_pipeline.experiment.studies.drift import drift_of, drift_reference
from cis490_pipeline.experiment.upkeep.checks import Check, Finding
from cis490_pipeline.features.grids.store import GridStore
from cis490_pipeline.features.stress.population_stability import THRESHOLD
from cis490_pipeline.storage.parquet import read_table
from cis490_pipeline.store.verdicts.vanished import episode_names, vanished_rows

_MAX_NAMED: Final = 10


def arrived(verdicts: pl.DataFrame) -> pl.DataFrame:
    """Rows whose verdict the newest sweep made; none if it made every verdict."""
    newest = _newest(verdicts)
    return newest.clear() if newest.height == verdicts.height else newest


def _newest(verdicts: pl.DataFrame) -> pl.DataFrame:
    return verdicts.filter(pl.col("checked_at") == pl.col("checked_at").max())


def sound_uploads(workspace: Workspace, recipe: Recipe | None = None) -> Finding:
    """Check that all episodes of the newest sweep are usable."""
    newest = _newest(read_table(workspace.paths.validation))
    bad = newest.filter(pl.col("status").is_in([Verdict.REJECTED, Verdict.ERRORED]))
    names = [
        f"{row['host_id']}/{row['episode_id']} ({', '.join(row['reasons'])})"
        for row in bad.sort("host_id", "episode_id").iter_rows(named=True)
    ]
    numbers = {"checked_last": newest.height, "of_these_unusable": bad.height}
    if not names:
        return Finding(True, "everything the newest sweep read can be used", numbers)
    return Finding(False, f"cannot be used: {_named(names)}", numbers)


def no_vanished(workspace: Workspace, recipe: Recipe | None = None) -> Finding:
    """Check that every episode with a verdict is still in the store."""
    rows = vanished_rows(read_table(workspace.paths.validation))
    numbers = {"episodes_vanished": rows.height}
    if rows.is_empty():
        return Finding(True, "every episode with a verdict is in the store", numbers)
    since = rows["vanished_at"].sort().item(0)
    return Finding(
        False,
        f"not in the store any more, the first since {since}: {_named(episode_names(rows))}; their "
        "verdicts and grids stay in use until `cis490 gc` removes them; bring the episodes back, "
        "or run it",
        numbers,
    )


def _named(names: list[str]) -> str:
    more = f", and {len(names) - _MAX_NAMED} more" if len(names) > _MAX_NAMED else ""
    return ", ".join(names[:_MAX_NAMED]) + more


def new_episode_drift(workspace: Workspace, recipe: Recipe) -> Finding:
    """Check that the channels of newly arrived episodes do not drift from train.

    The population stability index of each channel's window means less the episode's own baseline,
    against train without the new episodes. A channel counts if it is over .25 and beyond what
    chance gives between episodes alike. What train's own hosts never showed is drift too.
    """
    index = read_table(workspace.paths.validation_index(recipe))
    grids = GridStore(GridShards(workspace).folder)
    new = set(arrived(read_table(workspace.paths.validation))["episode_id"])
    gridded = set(grids.frame["episode_id"])
    of_index = index.filter(pl.col("episode_id").is_in(sorted(gridded)))
    here = of_index.filter(pl.col("episode_id").is_in(sorted(new)))
    train = of_index.filter(
        (pl.col("side") == Side.TRAIN) & ~pl.col("episode_id").is_in(sorted(new))
    )
    numbers: dict[str, int | float | str] = {
        "new_episodes": here.height,
        "train_episodes": train.height,
        "threshold": THRESHOLD,
    }
    if here.is_empty():
        return Finding(True, "the newest sweep brought no usable episode to compare", numbers)
    if train.is_empty():
        return Finding(True, "train has no older episode to compare with", numbers)
    seed = workspace.settings.seed
    rows = drift_of(grids, drift_reference(grids, ids_of(train)), ids_of(here), seed=seed)
    drifted = [
        (row["psi"], row["channel"])
        for row in rows
        if row["psi"] is not None and row["flagged"] and row["beyond_chance"]
    ]
    drifted.sort(key=lambda channel: -channel[0])
    numbers |= {"channels": len(rows), "channels_drifted": len(drifted)}
    known = [row["psi"] for row in rows if row["psi"] is not None]
    if known:
        numbers["largest_psi"] = max(known)
    if not drifted:
        return Finding(True, f"{here.height} new episodes look like train's", numbers)
    named = ", ".join(f"{channel} ({psi:.2f})" for psi, channel in drifted[:_MAX_NAMED])
    return Finding(
        False,
        f"{len(drifted)} of {len(rows)} channels of {here.height} new episodes are not as in "
        f"train: {named}; look at those devices before you trust verdicts on them",
        numbers,
    )


DRIFT: Final = Check(
    ValidationIndex.key,
    "new_episodes_look_like_train",
    "Channels of the newest sweep's episodes are distributed as train's are.",
    new_episode_drift,
)
UPLOADS: Final = Check(
    ValidationSweep.key,
    "uploads_are_sound",
    "Everything the newest sweep read can be used.",
    sound_uploads,
)
VANISHED: Final = Check(
    ValidationSweep.key,
    "no_episode_vanished",
    "Every episode with a verdict is still in the store.",
    no_vanished,
)
