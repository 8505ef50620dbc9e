"""Warning checks of the newest sweep: unusable uploads, vanished episodes, drifting hosts.

They block nothing.
"""

from typing import Final

import polars as pl

from cis490_pipeline.domain import Recipe, Verdict
from cis490_pipeline.experiment.pipeline.corpus import GridShards, ValidationSweep
from cis490_pipeline.experiment.stages.workspace import Workspace
from cis490_pipeline.experiment.upkeep.checks import Check, Finding
from cis490_pipeline.experiment.upkeep.new_episodes import ALPHA, host_drifts, level_of
from cis490_pipeline.features.grids.store import GridStore
from cis490_pipeline.features.stress.population_stability import THRESHOLD
from cis490_pipeline.storage.parquet import read_table
from cis490_pipeline.store.verdicts.eligibility import usable_expr
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


def new_episode_drift(workspace: Workspace, recipe: Recipe | None = None) -> Finding:
    """Check that newly arrived episodes are distributed as earlier ones of their hosts.

    Warns of hosts with a channel over .25 that is significant at 1 % over all hosts and channels of
    the sweep.
    """
    verdicts = read_table(workspace.paths.validation)
    grids = GridStore(GridShards(workspace).folder)
    gridded = verdicts.filter(usable_expr()).join(
        grids.frame.select("host_id", "episode_id"), on=["host_id", "episode_id"], how="semi"
    )
    is_new = pl.col("episode_id").is_in(arrived(verdicts)["episode_id"].to_list())
    new, earlier = gridded.filter(is_new), gridded.filter(~is_new)
    numbers: dict[str, int | float | str] = {"new_episodes": new.height}
    if new.is_empty():
        return Finding(True, "the newest sweep brought no usable episode to compare", numbers)
    drifts = host_drifts(grids, earlier, new, seed=workspace.settings.seed)
    level = level_of(drifts)
    shifted = {drift: found for drift in drifts if (found := drift.test.shifted(level))}
    numbers |= {
        "earlier_episodes": earlier.height,
        "threshold": THRESHOLD,
        "alpha": ALPHA,
        "hosts_compared": sum(drift.smallest_p <= level for drift in drifts),
        "hosts_with_too_few_episodes": sum(drift.smallest_p > level for drift in drifts),
        "new_hosts": ", ".join(drift.host for drift in drifts if drift.is_new),
        "hosts_drifted": len(shifted),
        "channels_drifted": sum(map(len, shifted.values())),
    }
    if largest := [index for drift in drifts if (index := drift.test.largest) is not None]:
        numbers["largest_psi"] = max(largest)
    if not shifted:
        return Finding(True, f"no host of {new.height} new episodes has drifted", numbers)
    named = "; ".join(
        f"{drift.n_new} new episodes of {drift.host} against {drift.compared_with}: "
        + ", ".join(f"{channel} ({psi:.2f})" for channel, psi in found[:_MAX_NAMED])
        for drift, found in list(shifted.items())[:_MAX_NAMED]
    )
    return Finding(
        False, f"{named}; look at those devices before you trust verdicts on them", numbers
    )


DRIFT: Final = Check(
    GridShards.key,
    "new_episodes_have_not_drifted",
    "Newly arrived episodes are distributed as earlier ones of their hosts.",
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
