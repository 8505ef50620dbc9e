"""Host identity in clean telemetry of a recipe: its prediction before and after calibration."""

from typing import Final

import numpy as np
import numpy.typing as npt
import polars as pl

from cis490_pipeline.domain import Phase, Side
from cis490_pipeline.domain.arrays import Float32s
from cis490_pipeline.evaluation.probes.host_identity import (
    N_FOLDS,
    host_prediction_hits,
    largest_host,
    score_hosts,
)
from cis490_pipeline.evaluation.schema.board import HostIdentity, HostIdentityRow
from cis490_pipeline.experiment.pipeline.probes import VARIANT, RecipeProbes
from cis490_pipeline.features.datasets.load import load_windows
from cis490_pipeline.features.datasets.raw_windows import open_windows
from cis490_pipeline.features.datasets.window_index import SIDES
from cis490_pipeline.storage.parquet import scan_table

MAX_EPISODES: Final = 2000
MAX_WINDOWS: Final = 40_000

_WHAT: Final = (
    "which host a window is of, predicted from its statistics: clean phase only, all sides, by "
    "trees that never saw the window's episode"
)
_BEFORE, _AFTER = "before calibration", "after calibration"


def host_identity(probes: RecipeProbes) -> HostIdentity:
    """Predict hosts from clean windows that may be scored, of train, val and test together.

    It measures how much of a device is left in the features; nothing is chosen by it. The
    calibrator is the probes', fitted on train.

    Returns
    -------
    JSON values: ``rows`` with accuracy and balanced accuracy, before and after calibration, on the
    same windows; ``largest_host`` with its share, which always guessing it would score; ``why`` and
    no rows where there are not two hosts.
    """
    before, after, episodes, hosts, n_in_all = _clean_windows(probes)
    n_hosts, n_episodes = np.unique(hosts).size, np.unique(episodes).size
    enough = n_hosts > 1
    rows: list[HostIdentityRow] = []
    for name, X in ((_BEFORE, before), (_AFTER, after)) if enough else ():
        hits = host_prediction_hits(X, hosts, episodes, seed=probes.seed)
        scores = score_hosts(hits, hosts, episodes, seed=probes.seed)
        rows.append({"features": name, **scores})
    return {
        "what": _WHAT,
        "variant": str(VARIANT),
        "learner": f"extremely randomized trees, {N_FOLDS}-fold cross-validation by episode",
        "seed": probes.seed,
        "n_hosts": n_hosts,
        "n_episodes": n_episodes,
        "n_episodes_in_all": n_in_all,
        "n_windows": len(hosts),
        "largest_host": largest_host(hosts) if hosts.size else None,
        "chance_balanced": 1 / n_hosts if enough else None,
        "rows": rows,
        "why": None if enough else f"clean windows of {n_hosts} host, two are needed",
    }


def _clean_windows(
    probes: RecipeProbes,
) -> tuple[Float32s, Float32s, npt.NDArray[np.str_], npt.NDArray[np.str_], int]:
    """Summaries before and after calibration, episodes, hosts; episodes there are in all."""
    clean = (pl.col("y") == Phase.CLEAN) & pl.col("scorable") & ~pl.col("baseline")
    keys = pl.concat(scan_table(table) for table in probes.summaries.tables()).filter(clean)
    names = np.array(sorted(keys.select("episode_id").unique().collect()["episode_id"]))
    n_in_all = names.size
    rng = np.random.default_rng(probes.seed)
    if names.size > MAX_EPISODES:
        names = np.sort(rng.choice(names, MAX_EPISODES, replace=False))
    wanted = clean & pl.col("episode_id").is_in([str(name) for name in names])
    per_side = [keys.filter(wanted, pl.col("split") == side).select(pl.len()) for side in SIDES]
    counts = [int(part.collect().item()) for part in per_side]
    share = min(1.0, MAX_WINDOWS / max(1, sum(counts)))
    parts: list[tuple[Float32s, Float32s, npt.NDArray[np.str_], npt.NDArray[np.str_]]] = []
    for side, n in zip(SIDES, counts, strict=True):
        if not n:
            continue
        rows = np.sort(rng.choice(n, max(1, int(n * share)), replace=False))
        parts.append(_of_side(probes, side, wanted, rows))
    if not parts:
        nothing = np.zeros((0, 0), dtype=np.float32)
        none = np.zeros(0, dtype=np.str_)
        return nothing, nothing, none, none, n_in_all
    before, after, episodes, hosts = (np.concatenate(part) for part in zip(*parts, strict=True))
    return before, after, episodes, hosts, n_in_all


def _of_side(
    probes: RecipeProbes, side: Side, wanted: pl.Expr, rows: npt.NDArray[np.int64]
) -> tuple[Float32s, Float32s, npt.NDArray[np.str_], npt.NDArray[np.str_]]:
    of_side = wanted & (pl.col("split") == side)
    keys, raw = open_windows(probes.summaries, VARIANT, side, of_side, "summary")
    calibrated = load_windows(probes.summaries, side, probes.calibrator, only=wanted)
    number = keys.episode_index[rows]
    ids, hosts = (
        keys.episodes[name].to_numpy().astype(np.str_) for name in ("episode_id", "host_id")
    )
    before = probes.calibrator.masked(raw.take(rows))
    return before, calibrated.take(rows), ids[number], hosts[number]
