"""Scores of models over hosts left out in turn: rows, ensembles, paired differences, the best."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Final

import polars as pl

from cis490_pipeline.domain import Architecture, Variant
from cis490_pipeline.domain.terms import model_name
from cis490_pipeline.evaluation.ensemble import ensemble_name, mean_predictions
from cis490_pipeline.evaluation.predictions import matrices_of, require_scored
from cis490_pipeline.evaluation.report import host_scores, phase_scores
from cis490_pipeline.evaluation.schema.host_out import HostOutRow, HostOutStudy
from cis490_pipeline.evaluation.schema.parts import Pair
from cis490_pipeline.evaluation.uncertainty.host_interval import host_interval
from cis490_pipeline.evaluation.uncertainty.intervals import N_RESAMPLES, episode_interval
from cis490_pipeline.evaluation.uncertainty.paired import (
    compare_family,
    require_identical_windows,
)
from cis490_pipeline.evaluation.uncertainty.seeds import seed_summary

WITHIN: Final = "host-out, within"
AGAINST_PARTS: Final = "host-out, ensemble against its parts"


@dataclass(frozen=True, kw_only=True)
class Pooled:
    """What one model predicted of all hosts left out, by seed, or why it could not.

    Attributes
    ----------
    by_seed : prediction frames of the scored windows; the first is the one that is shown.
    """

    architecture: str | None
    variant: Variant
    by_seed: Mapping[int, pl.DataFrame]
    parts: tuple[str, ...] = ()
    why: str | None = None

    @property
    def name(self) -> str:
        """Name of the model, or of the ensemble."""
        if self.architecture is None:
            return ensemble_name(self.variant)
        return model_name(Architecture(self.architecture), self.variant)

    @property
    def shown(self) -> pl.DataFrame:
        """The first seed's predictions."""
        return next(iter(self.by_seed.values()))


def host_out_scores(
    models: Sequence[Pooled], *, seed: int, n_resamples: int = N_RESAMPLES
) -> tuple[list[HostOutRow], list[Pair]]:
    """Score models over all hosts left out, add each variant's ensemble, and compare them.

    Parameters
    ----------
    models : trees and networks; those with a ``why`` get a row without a number.
    seed : of the intervals and permutations.

    Returns
    -------
    Rows, best first by the mean over seeds; and the paired differences in families: the models
    within a variant, and each variant's ensemble against its parts.

    Raises
    ------
    EvaluationError
        If two models were not scored on identical windows, or on windows that touch the baseline.
    """
    known = [model for model in models if model.why is None]
    frames = {model.name: model.shown for model in known}
    for name, frame in frames.items():
        require_scored(name, frame)
    require_identical_windows(frames)
    rows = [_row(model, seed, n_resamples) for model in models]
    ensembles = [
        made
        for variant in Variant
        if (made := _ensemble([m for m in known if m.variant is variant], rows)) is not None
    ]
    rows += [_row(model, seed, n_resamples) for model in ensembles]
    counts = {model.name: matrices_of(model.shown).counts for model in (*known, *ensembles)}
    families = {
        f"{WITHIN} {variant}": list(
            combinations(sorted(m.name for m in known if m.variant is variant), 2)
        )
        for variant in Variant
    }
    families[AGAINST_PARTS] = [(made.name, part) for made in ensembles for part in made.parts]
    pairs = [
        pair
        for family, of_it in families.items()
        for pair in compare_family(family, of_it, counts, seed=seed, n_resamples=n_resamples)
    ]
    return sorted(rows, key=_by_score), pairs


def best_on_host_out(rows: Sequence[HostOutRow], names: set[str]) -> str | None:
    """Name of the best of these models by the mean over its seeds; None if none has a score."""
    scored = [row for row in rows if row["model"] in names and row["seeds"]["mean"] is not None]
    return min(scored, key=_by_score)["model"] if scored else None


def ensembles_borne_out(study: HostOutStudy) -> dict[str, list[str]]:
    """Parts of each ensemble that hosts left out bear out, by its name.

    That is, the interval of its paired difference lies above zero for each of its parts.
    """
    ahead = [
        (pair["a"], pair["b"])
        for pair in study["pairs"]
        if pair["family"] == AGAINST_PARTS and pair["ci_low"] is not None and pair["ci_low"] > 0
    ]
    return {
        row["model"]: row["parts"]
        for row in study["rows"]
        if row["kind"] == "ensemble" and all((row["model"], part) in ahead for part in row["parts"])
    }


def _ensemble(models: Sequence[Pooled], rows: Sequence[HostOutRow]) -> Pooled | None:
    """Average the trees and the network that is best on the hosts left out."""
    trees = next((m for m in models if m.architecture == Architecture.GBT), None)
    nets = {m.name: m for m in models if m.architecture != Architecture.GBT}
    best = best_on_host_out(rows, set(nets))
    if trees is None or best is None:
        return None
    net = nets[best]
    by_seed = {
        seed: mean_predictions(frame, net.by_seed[seed])
        for seed, frame in trees.by_seed.items()
        if seed in net.by_seed
    }
    return Pooled(
        architecture=None, variant=trees.variant, by_seed=by_seed, parts=(trees.name, net.name)
    )


def _row(model: Pooled, seed: int, n_resamples: int) -> HostOutRow:
    frame = model.shown if model.why is None else pl.DataFrame()
    intervals = {
        of: episode_interval(matrices_of(each).counts, seed=seed, n_resamples=n_resamples)
        for of, each in model.by_seed.items()
    }
    row: HostOutRow = {
        "model": model.name,
        "kind": "model" if model.architecture is not None else "ensemble",
        "variant": str(model.variant),
        "parts": list(model.parts),
        "macro_f1": None,
        "ci_low": None,
        "ci_high": None,
        "ci_level": 0.95,
        "ci_method": "none",
        "n_episodes": 0,
        "n_windows": 0,
        "seeds": seed_summary(
            [
                {"macro_f1": interval.to_dict()["macro_f1"], "seed": of}
                for of, interval in intervals.items()
            ]
        ),
        "over_hosts": None,
        "per_class": [],
        "per_host": [],
        "why": model.why,
    }
    if model.why is not None:
        return row
    matrices = matrices_of(frame)
    host_of = dict(frame.select("episode_id", "host_id").unique().iter_rows())
    hosts = [host_of[str(name)] for name in matrices.episode_ids]
    over_hosts = host_interval(matrices.counts, hosts, seed=seed, n_resamples=n_resamples)
    return {
        **row,
        **next(iter(intervals.values())).to_dict(),
        "over_hosts": over_hosts.to_dict() if over_hosts is not None else None,
        "per_class": phase_scores(frame),
        "per_host": host_scores(frame, seed=seed, n_resamples=n_resamples),
    }


def _by_score(row: HostOutRow) -> tuple[float, str]:
    mean = row["seeds"]["mean"]
    return (-mean if mean is not None else 1.0, row["model"])
