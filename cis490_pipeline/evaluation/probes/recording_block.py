"""Recording block: accuracy of predicting from clean windows when they were recorded.

A plan is recorded in blocks over hours, each with every host in it. Where the block can be
predicted from clean telemetry, the recording machine drifted; a corpus whose treatments are spread
evenly over its blocks bears that, and any other does not.
"""

from typing import Final

import numpy as np

from cis490_pipeline.domain.arrays import Float32s, Ints, Strings
from cis490_pipeline.errors import EvaluationError
from cis490_pipeline.evaluation.probes.host_identity import host_prediction_hits, score_hosts
from cis490_pipeline.evaluation.schema.controls import BlockPrediction

MIN_EPISODES: Final = 5
"""Episodes with clean windows in each block, or there is none of it in some fold."""


def block_prediction(
    X: Float32s, blocks: Ints, hosts: Strings, episodes: Strings, *, features: str, seed: int
) -> BlockPrediction:
    """Predict the block of clean windows by the learner of the host identity.

    Parameters
    ----------
    X : (n_windows, n_columns); NaN is unknown.
    blocks, hosts, episodes : (n_windows,) of each window.
    features : what the columns are.

    Returns
    -------
    Accuracy and mean recall over the blocks, held out by episode, with intervals that resample
    episodes; beside chance, 1 / blocks, and what knowing the host alone would score on these very
    windows. ``why`` and no score where there are not two blocks of five episodes; episodes of
    smaller blocks are left out.

    Raises
    ------
    EvaluationError
        If the lengths differ.
    """
    if not len(X) == blocks.size == hosts.size == episodes.size:
        raise EvaluationError(
            f"each window has a block, a host and an episode, got {len(X)} windows, {blocks.size} "
            f"blocks, {hosts.size} hosts and {episodes.size} episodes"
        )
    every = {int(block): len(set(episodes[blocks == block])) for block in np.unique(blocks)}
    large = {block: n for block, n in every.items() if n >= MIN_EPISODES}
    chosen = np.isin(blocks, list(large))
    X, blocks, hosts, episodes = X[chosen], blocks[chosen], hosts[chosen], episodes[chosen]
    found: BlockPrediction = {
        "features": features,
        "n_windows": len(X),
        "episodes_by_block": {str(block): n for block, n in large.items()},
        "blocks_left_out": [str(block) for block in every if block not in large],
        "seed": seed,
        "chance_balanced": None,
        "host_balanced": None,
        "scores": None,
        "why": None,
    }
    if len(large) < 2:
        why = f"{len(large)} blocks of {MIN_EPISODES} episodes with clean windows, two are needed"
        return {**found, "why": why}
    # Not a bare number, which scikit-learn takes for one when it weights classes.
    names = np.char.add("block ", blocks.astype(np.str_))
    hits = host_prediction_hits(X, names, episodes, seed=seed)
    return {
        **found,
        "chance_balanced": 1 / len(large),
        "host_balanced": _known_by_host(names, hosts),
        "scores": score_hosts(hits, names, episodes, seed=seed),
    }


def _known_by_host(blocks: Strings, hosts: Strings) -> float:
    """Mean recall over the blocks of guessing the block with the largest share of the host's."""
    sizes = {block: int((blocks == block).sum()) for block in np.unique(blocks)}
    guess = blocks.copy()
    for host in np.unique(hosts):
        of_host = hosts == host
        # Weighted as mean recall weights them, or the largest block would be every guess.
        shares = {block: (blocks[of_host] == block).sum() / n for block, n in sizes.items()}
        guess[of_host] = max(shares, key=lambda block: float(shares[block]))
    return float(np.mean([(guess[blocks == block] == block).mean() for block in sizes]))
