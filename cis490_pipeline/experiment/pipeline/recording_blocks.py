"""Clean windows of a recorded store by block, and the prediction of the block from them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from cis490_pipeline.domain import CLASS_INDEX, Phase, Variant
from cis490_pipeline.domain.arrays import Float32s
from cis490_pipeline.evaluation.probes.recording_block import block_prediction
from cis490_pipeline.evaluation.schema.controls import BlockPrediction
from cis490_pipeline.features.baseline import baseline_statistics
from cis490_pipeline.features.extract import extract_episode
from cis490_pipeline.features.summary import STATISTICS
from cis490_pipeline.features.windows import touches_baseline
from cis490_pipeline.store.episode import Episode

VARIANT: Final = Variant.REALISTIC
MAX_WINDOWS: Final = 20
"""Clean windows of an episode, drawn by the seed: a run of 30 minutes counts as any other."""
_SHIFTED: Final = np.array([name in ("mean", "p95") for name in STATISTICS])


@dataclass(frozen=True, eq=False)
class CleanWindows:
    """Clean windows of one episode after its baseline.

    Attributes
    ----------
    summary : (n, 145) statistics of each channel.
    relative : (n, 145) the same less the episode's baseline, as models read them.
    """

    block: int
    host_id: str
    episode_id: str
    summary: Float32s
    relative: Float32s


def clean_windows(episode: Episode, block: int, rng: np.random.Generator) -> CleanWindows:
    """Cut the clean windows of an episode, or draw 20 of more."""
    cut = extract_episode(episode, VARIANT)
    is_clean = (cut.y == CLASS_INDEX[Phase.CLEAN]) & ~touches_baseline(cut.starts)
    rows = np.flatnonzero(is_clean)
    if rows.size > MAX_WINDOWS:
        rows = np.sort(rng.choice(rows, MAX_WINDOWS, replace=False))
    summary = cut.summary[rows]
    statistics = summary.reshape(rows.size, -1, _SHIFTED.size)
    # An episode without a window after its baseline may be too short to have one.
    if rows.size:
        median, _ = baseline_statistics(cut.grid)
        statistics = statistics - np.where(_SHIFTED, median[:, None], np.float32(0))
    return CleanWindows(
        block=block,
        host_id=episode.ref.host_id,
        episode_id=episode.ref.episode_id,
        summary=summary,
        relative=statistics.reshape(summary.shape),
    )


def predict_blocks(episodes: Sequence[CleanWindows], *, seed: int) -> list[BlockPrediction]:
    """Predict the block from clean windows, before and after calibration by their baseline."""
    n = [len(episode.summary) for episode in episodes]
    blocks = np.repeat(np.array([e.block for e in episodes], dtype=np.int64), n)
    hosts, names = (
        np.repeat(np.array(part, dtype=np.str_), n)
        for part in ([e.host_id for e in episodes], [e.episode_id for e in episodes])
    )
    none = np.zeros((0, 0), dtype=np.float32)
    return [
        block_prediction(
            np.concatenate(parts) if parts else none,
            blocks,
            hosts,
            names,
            features=features,
            seed=seed,
        )
        for features, parts in (
            ("before calibration", [e.summary for e in episodes]),
            ("after calibration", [e.relative for e in episodes]),
        )
    ]
