"""Out-of-distribution detection: AUROC of novelty scores on profiles left out of training."""

from typing import Final

import numpy as np
import scipy

from cis490_pipeline.domain.arrays import Floats, Strings
from cis490_pipeline.errors import EvaluationError
from cis490_pipeline.evaluation.schema.study import Auroc, EpisodeShare
from cis490_pipeline.evaluation.uncertainty.intervals import finite_or_none, interval_of
from cis490_pipeline.evaluation.uncertainty.rates import share_dict
from cis490_pipeline.evaluation.uncertainty.resampling import resample_weights
from cis490_pipeline.features.calibration.segments import hash_order

N_RESAMPLES: Final = 2000
MAX_EPISODES: Final = 1000
"""Of each kind that are compared; of more, those that a fixed draw takes."""


def max_softmax_score(proba: Floats) -> Floats:
    """Doubt as one minus the highest probability, (n_windows, K) -> (n_windows,); high is novel.

    Hendrycks and Gimpel, 2017, "A Baseline for Detecting Misclassified and Out-of-Distribution
    Examples in Neural Networks".
    """
    doubt: Floats = 1.0 - proba.max(axis=1)
    return doubt


def energy_score(logits: Floats, temperature: float = 1.0) -> Floats:
    """Free energy of the logits, −T · log Σ exp(logit / T); higher is more novel.

    Parameters
    ----------
    logits : (n_windows, K) before the softmax: a network's outputs, or margins of trees.

    Notes
    -----
    Liu et al., 2020, "Energy-based Out-of-distribution Detection". Softmax does not change when
    all logits move together, energy does: training fixes it less than the probabilities.
    """
    energy: Floats = -temperature * scipy.special.logsumexp(logits / temperature, axis=1)
    return energy


def episode_auroc(
    novel: Floats,
    novel_episodes: Strings,
    known: Floats,
    known_episodes: Strings,
    *,
    seed: int,
    n_resamples: int = N_RESAMPLES,
    level: float = 0.95,
) -> Auroc:
    """Area under the ROC curve of a score, with an interval that resamples episodes.

    The share of pairs of one novel and one known window in which the novel one scores higher, ties
    counting half (Mann and Whitney, 1947). Episodes of the two kinds are drawn apart; the
    interval's method is by the smaller number of episodes, as for a macro F1.

    Parameters
    ----------
    novel, known : (n,) and (m,) scores of windows that should score high, and low.

    Raises
    ------
    EvaluationError
        If scores and episodes are not equally many, or a score is not finite.
    """
    of_novel = _by_episode("novel", novel, novel_episodes)
    of_known = _by_episode("known", known, known_episodes)
    found: Auroc = {
        "auroc": None,
        "ci_low": None,
        "ci_high": None,
        "ci_level": level,
        "ci_method": None,
        "n_novel_episodes": len(of_novel),
        "n_novel_windows": sum(map(len, of_novel)),
        "n_known_episodes": len(of_known),
        "n_known_windows": sum(map(len, of_known)),
        "why": None,
    }
    if not of_novel or not of_known:
        return {**found, "why": f"there is no {'known' if of_novel else 'novel'} window"}
    wins = _wins(of_novel, of_known)
    sizes = [np.array([len(part) for part in group], float) for group in (of_novel, of_known)]
    found["auroc"] = estimate = float(wins.sum() / (sizes[0].sum() * sizes[1].sum()))
    fewest = min(len(of_novel), len(of_known))
    if fewest < 2:
        why = f"an interval needs two episodes of each, there are {len(of_novel)} and "
        return {**found, "why": why + str(len(of_known))}
    rng = np.random.default_rng(seed)
    drawn = [
        np.concatenate(list(resample_weights(rng, len(group), n_resamples)))
        for group in (of_novel, of_known)
    ]
    pairs = (drawn[0] @ sizes[0]) * (drawn[1] @ sizes[1])
    resamples = ((drawn[0] @ wins) * drawn[1]).sum(axis=1) / pairs
    method, low, high = interval_of(resamples, estimate, fewest, level)
    found["ci_low"] = finite_or_none(max(0.0, low))
    found["ci_high"] = finite_or_none(min(1.0, high))
    found["ci_method"] = method
    return found


def _by_episode(what: str, scores: Floats, episodes: Strings) -> list[Floats]:
    if scores.shape != episodes.shape:
        raise EvaluationError(
            f"{what}: {scores.size} scores of {episodes.size} windows; one of each is needed"
        )
    if not np.isfinite(scores).all():
        first = int(np.flatnonzero(~np.isfinite(scores))[0])
        raise EvaluationError(f"{what}: the score of window {first} is {scores[first]}")
    names, number = np.unique(episodes, return_inverse=True)
    taken = sorted(range(names.size), key=lambda i: hash_order(str(names[i])))[:MAX_EPISODES]
    return [scores[number == i] for i in sorted(taken)]


def _wins(of_novel: list[Floats], of_known: list[Floats]) -> Floats:
    """(n_novel_episodes, n_known_episodes) pairs of windows won by the novel one; ties half."""
    every = np.concatenate(of_novel)
    edges = np.cumsum([0, *(len(part) for part in of_novel[:-1])])
    columns = []
    for part in of_known:
        ordered = np.sort(part)
        below = np.searchsorted(ordered, every, side="left")
        not_above = np.searchsorted(ordered, every, side="right")
        columns.append(np.add.reduceat((below + not_above) / 2, edges))
    wins: Floats = np.stack(columns, axis=1)
    return wins


def share_of(n: int, of: int) -> EpisodeShare:
    """Share of ``n`` in ``of`` episodes with Wilson's 95 % interval; null of none."""
    found = share_dict(n, of)
    why = "there is no episode" if not of else None
    return {
        "share": found["share"],
        "share_low": found["low"],
        "share_high": found["high"],
        "why": why,
    }
