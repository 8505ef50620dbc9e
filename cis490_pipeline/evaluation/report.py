"""Evaluation report of one model: scores with intervals, by phase, host, profile and time."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Final

import numpy as np
import polars as pl

from cis490_pipeline.domain import PHASES, Side
from cis490_pipeline.domain.split_summary import SplitSummary
from cis490_pipeline.errors import EvaluationError
from cis490_pipeline.evaluation.confusion import (
    accuracy,
    balanced_accuracy,
    class_scores,
    matthews,
    seen_classes,
)
from cis490_pipeline.evaluation.detection.report import AlarmInputs, detection_report
from cis490_pipeline.evaluation.metrics.average_precision import average_precision
from cis490_pipeline.evaluation.metrics.probability_scores import brier, calibration_error, log_loss
from cis490_pipeline.evaluation.metrics.reliability import reliability
from cis490_pipeline.evaluation.metrics.segments import segment_scores
from cis490_pipeline.evaluation.predictions import (
    checked_predictions,
    matrices_of,
    probabilities,
    require_scored,
    true_classes,
)
from cis490_pipeline.evaluation.schema.alarm import Detection
from cis490_pipeline.evaluation.schema.parts import Host, Kind, Split
from cis490_pipeline.evaluation.schema.report import (
    Baselines,
    CellScore,
    Confusion,
    EvalReport,
    Extra,
    Group,
    HostScore,
    PhaseScores,
    ProfileScore,
    SideScores,
)
from cis490_pipeline.evaluation.subsets import subset_scores
from cis490_pipeline.evaluation.uncertainty.intervals import (
    N_RESAMPLES,
    episode_interval,
    finite_or_none,
)

EVALUATION_VERSION: Final = "4"
"""Raised when a number of a report is computed in another way."""

CLEAN_ONLY: Final = "clean-only"

_SPLIT_FIELDS: Final = (
    "recipe",
    "digest",
    "version",
    "selected_on",
    "untested_profiles",
    "shared",
    "counts",
    "excluded",
)


def evaluate(
    frame: pl.DataFrame,
    *,
    model: str,
    architecture: str | None,
    variant: str | None,
    split: SplitSummary,
    checkpoint_digest: str | None,
    seed: int,
    kind: Kind = "model",
    n_resamples: int = N_RESAMPLES,
    alarm: AlarmInputs | None = None,
    baseline_windows: pl.DataFrame | None = None,
    extra: Extra | None = None,
) -> EvalReport:
    """Score the predictions of one model or probe; what is undefined is null and says why.

    Raises `EvaluationError` if the frame cannot be scored or the split's summary is incomplete.

    Parameters
    ----------
    frame : rows of ``PREDICTION_SCHEMA``, val and test; only windows that may be scored.
    architecture, variant, checkpoint_digest : None for a probe.
    alarm : inputs of the detection report; without them ``detection`` is null.
    baseline_windows : predictions of windows that touch the baseline, read by ``subsets`` alone.
    extra : test openings, training and processor, as far as known.
    """
    sides = _scored_sides(model, frame := checked_predictions(frame), split)
    test = sides[Side.TEST]
    hosts = host_scores(test, seed=seed, n_resamples=n_resamples)
    by_profile = _groups(test, "profile", seed, n_resamples)
    profiles = [ProfileScore(profile=p, **s) for p, s in by_profile]
    untested, touching = split["untested_profiles"], _on_test(baseline_windows)
    return {
        "format": "eval_report",
        "evaluation_version": EVALUATION_VERSION,
        "model": model,
        "kind": kind,
        "architecture": architecture,
        "variant": variant,
        "metric": "macro_f1",
        "checkpoint_digest": checkpoint_digest,
        "seed": seed,
        "version": split["version"],
        **_of_split(split),
        **_side(test, seed, n_resamples),
        "val": _side(sides[Side.VAL], seed, n_resamples),
        "baselines": {str(side): _baselines(rows) for side, rows in sides.items()},
        "reliability": reliability(sides[Side.VAL], test),
        "segments": segment_scores(test),
        "subsets": subset_scores(test, touching, seed=seed, n_resamples=n_resamples),
        "per_class": phase_scores(test),
        "confusion": _confusion(test),
        "per_profile": [*profiles, *_never_tested(test, untested)],
        "per_host": hosts,
        "host_minimum": _minimum(hosts),
        "profile_host": _profile_by_host(test, untested),
        "detection": _detection(frame, alarm, seed, n_resamples),
        **(extra or {}),
    }


def _detection(
    frame: pl.DataFrame, alarm: AlarmInputs | None, seed: int, n_resamples: int
) -> Detection | None:
    if alarm is None:
        return None
    return detection_report(frame, alarm, seed=seed, n_resamples=n_resamples)


def _scored_sides(model: str, frame: pl.DataFrame, split: SplitSummary) -> dict[Side, pl.DataFrame]:
    require_scored(model, frame)
    absent = [name for name in _SPLIT_FIELDS if name not in split]
    if absent:
        raise EvaluationError(f"{model}: the split's summary lacks {absent}")
    sides = {side: frame.filter(pl.col("side") == side) for side in (Side.VAL, Side.TEST)}
    if not sides[Side.TEST].height:
        raise EvaluationError(f"{model}: no window of the {split['recipe']} split's test side")
    return sides


def _of_split(split: SplitSummary) -> Split:
    return {
        "split": split["recipe"],
        "split_digest": split["digest"],
        "selected_on": split["selected_on"],
        "untested_profiles": split["untested_profiles"],
        "shared": split["shared"],
        "counts": split["counts"],
        "excluded": split["excluded"],
    }


def _side(frame: pl.DataFrame, seed: int, n_resamples: int) -> SideScores:
    matrices = matrices_of(frame)
    pooled, proba, y_true = matrices.pooled, probabilities(frame), true_classes(frame)
    confidence = proba.max(axis=1).mean() if frame.height else float("nan")
    interval = episode_interval(matrices.counts, seed=seed, n_resamples=n_resamples)
    return {
        **interval.to_dict(),
        "accuracy": finite_or_none(accuracy(pooled)),
        "balanced_accuracy": finite_or_none(balanced_accuracy(pooled)),
        "matthews": finite_or_none(matthews(pooled)),
        "mean_confidence": finite_or_none(confidence),
        "brier": finite_or_none(brier(y_true, proba)),
        "log_loss": finite_or_none(log_loss(y_true, proba)),
        "calibration_error": finite_or_none(calibration_error(y_true, proba)),
    }


def _baselines(frame: pl.DataFrame) -> Baselines:
    """Count the episodes whose baseline was checked, and list those flagged."""
    by_episode = frame.group_by("episode_id").agg(
        pl.col("baseline_suspect").any(ignore_nulls=False)
    )
    suspect = by_episode["baseline_suspect"]
    return {
        "n_episodes": by_episode.height,
        "n_checked": by_episode.height - suspect.null_count(),
        "n_suspect": int(suspect.sum()),
        "suspect": sorted(by_episode.filter(suspect.fill_null(False))["episode_id"]),
    }


def _on_test(windows: pl.DataFrame | None) -> pl.DataFrame | None:
    if windows is None:
        return None
    return checked_predictions(windows).filter(pl.col("side") == Side.TEST)


def phase_scores(frame: pl.DataFrame) -> list[PhaseScores]:
    """Scores of each phase over all windows of a frame of predictions."""
    scores = class_scores(matrices_of(frame).pooled)
    y_true, proba = true_classes(frame), probabilities(frame)
    return [
        {
            "phase": str(phase),
            "precision": finite_or_none(scores.precision[k]),
            "recall": finite_or_none(scores.recall[k]),
            "f1": finite_or_none(scores.f1[k]),
            "support": int(scores.support[k]),
            "predicted": int(scores.predicted[k]),
            "pr_auc": finite_or_none(average_precision(y_true == k, proba[:, k])),
            "prevalence": finite_or_none((y_true == k).mean()),
        }
        for k, phase in enumerate(PHASES)
    ]


def _confusion(frame: pl.DataFrame) -> Confusion:
    pooled = matrices_of(frame).pooled
    seen = np.flatnonzero(seen_classes(pooled))
    return {
        "labels": [str(PHASES[k]) for k in seen],
        "counts": pooled[np.ix_(seen, seen)].tolist(),
    }


def host_scores(frame: pl.DataFrame, *, seed: int, n_resamples: int) -> list[HostScore]:
    """Scores of each host of a frame of predictions, each with its own interval."""
    return [HostScore(host_id=h, **s) for h, s in _groups(frame, "host_id", seed, n_resamples)]


def _groups(
    frame: pl.DataFrame, column: str, seed: int, n_resamples: int
) -> Iterator[tuple[str, Group]]:
    keyed = frame.with_columns(pl.col("profile").fill_null(CLEAN_ONLY))
    for (group,), rows in sorted(keyed.group_by(column), key=lambda item: str(item[0][0])):
        yield str(group), _group_scores(rows, seed, n_resamples)


def _group_scores(rows: pl.DataFrame, seed: int, n_resamples: int) -> Group:
    matrices = matrices_of(rows)
    interval = episode_interval(matrices.counts, seed=seed, n_resamples=n_resamples).to_dict()
    scores: Group = {
        **interval,
        "tested": True,
        "accuracy": finite_or_none(accuracy(matrices.pooled)),
        "why": None,
    }
    if int((matrices.pooled.sum(axis=1) > 0).sum()) < 2:
        # With one true phase a macro average is that phase's F1 and zeros for each false alarm.
        scores["why"] = f"one true phase only ({rows['y_true'][0]}): see accuracy"
        scores["macro_f1"] = scores["ci_low"] = scores["ci_high"] = scores["ci_method"] = None
    return scores


def _never_tested(
    test: pl.DataFrame, untested: Mapping[str, Sequence[str]]
) -> Iterator[ProfileScore]:
    named = {profile for profiles in untested.values() for profile in profiles}
    for profile in sorted(named - set(test["profile"].drop_nulls())):
        yield {
            "profile": profile,
            "tested": False,
            "macro_f1": None,
            "ci_low": None,
            "ci_high": None,
            "accuracy": None,
            "n_episodes": 0,
            "n_windows": 0,
            "why": "untested: no test host ran it",
        }


def _minimum(hosts: Sequence[HostScore]) -> Host | None:
    scored = [(host["macro_f1"], host["host_id"], host) for host in hosts]
    known = [(score, name, host) for score, name, host in scored if score is not None]
    if not known:
        return None
    score, name, host = min(known, key=lambda entry: entry[:2])
    return {
        "host_id": name,
        "macro_f1": score,
        "ci_low": host["ci_low"],
        "ci_high": host["ci_high"],
        "ci_method": host["ci_method"],
        "n_episodes": host["n_episodes"],
        "n_windows": host["n_windows"],
    }


def _profile_by_host(test: pl.DataFrame, untested: Mapping[str, Sequence[str]]) -> list[CellScore]:
    keyed = test.with_columns(pl.col("profile").fill_null(CLEAN_ONLY))
    hosts = sorted(set(keyed["host_id"]))
    named = {profile for profiles in untested.values() for profile in profiles}
    cells = {(p, h): rows for (p, h), rows in keyed.group_by("profile", "host_id")}
    return [
        _cell(profile, host, cells.get((profile, host)))
        for profile in sorted(set(keyed["profile"]) | named, key=lambda p: (p == CLEAN_ONLY, p))
        for host in hosts
    ]


def _cell(profile: str, host: str, rows: pl.DataFrame | None) -> CellScore:
    if rows is None:
        return {
            "profile": profile,
            "host_id": host,
            "tested": False,
            "macro_f1": None,
            "ci_low": None,
            "ci_high": None,
            "accuracy": None,
            "n_episodes": 0,
            "n_windows": 0,
            "why": "untested: this host did not run it",
        }
    # Cells hold a few episodes; a point with its n is all they can bear.
    point = _group_scores(rows, seed=0, n_resamples=2)
    return {
        "profile": profile,
        "host_id": host,
        "tested": True,
        "macro_f1": point["macro_f1"],
        "accuracy": point["accuracy"],
        "n_episodes": point["n_episodes"],
        "n_windows": point["n_windows"],
        "why": point["why"],
    }
