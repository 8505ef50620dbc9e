"""One model's report: its headline with an interval, and where it holds and where it does not."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import numpy as np
import polars as pl

from cis490_pipeline.domain import PHASES, Side
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
from cis490_pipeline.evaluation.subsets import subset_scores
from cis490_pipeline.evaluation.uncertainty.intervals import (
    N_RESAMPLES,
    episode_interval,
    finite_or_none,
)

EVALUATION_VERSION: Final = "3"
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
    split: Mapping[str, Any],
    checkpoint_digest: str | None,
    seed: int,
    kind: str = "model",
    n_resamples: int = N_RESAMPLES,
    alarm: AlarmInputs | None = None,
    baseline_windows: pl.DataFrame | None = None,
    extra: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Score the predictions of one model or probe.

    Parameters
    ----------
    frame : rows of ``PREDICTION_SCHEMA``, val and test; only windows that may be scored (clear of
        the baseline, of scorable episodes).
    model, architecture, variant : names; a probe has neither of the latter two.
    split : ``Split.summary()``.
    checkpoint_digest : of what predicted; None for a probe.
    seed : of the resamples.
    kind : ``model`` or ``probe``.
    n_resamples : of every interval.
    alarm : what the account of the alarm needs; without it ``detection`` is null.
    baseline_windows : predictions of windows that touch the baseline, read by ``subsets`` alone.
    extra : further JSON values to carry, such as the number of test openings.

    Returns
    -------
    JSON values only; what is undefined is null and says why.

    Raises
    ------
    EvaluationError
        If the frame cannot be scored, holds a window that touches the baseline, or no test window,
        or the split's summary is incomplete.
    """
    frame = checked_predictions(frame)
    require_scored(model, frame)
    absent = [name for name in _SPLIT_FIELDS if name not in split]
    if absent:
        raise EvaluationError(f"{model}: the split's summary lacks {absent}")
    sides = {side: frame.filter(pl.col("split") == side) for side in (Side.VAL, Side.TEST)}
    test = sides[Side.TEST]
    if not test.height:
        raise EvaluationError(f"{model}: no window of the {split['recipe']} split's test side")
    untested: Mapping[str, Sequence[str]] = split["untested_profiles"]
    profiles = [*_groups(test, "profile", seed, n_resamples), *_never_tested(test, untested)]
    hosts = list(_groups(test, "host_id", seed, n_resamples))
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
        "split": split["recipe"],
        "split_digest": split["digest"],
        **{name: split[name] for name in _SPLIT_FIELDS if name not in ("recipe", "digest")},
        **_side(test, seed, n_resamples),
        "val": _side(sides[Side.VAL], seed, n_resamples),
        "baselines": {str(side): _baselines(rows) for side, rows in sides.items()},
        "reliability": reliability(sides[Side.VAL], test),
        "segments": segment_scores(test),
        "subsets": subset_scores(
            test, _on_test(baseline_windows), seed=seed, n_resamples=n_resamples
        ),
        "per_class": _per_class(test),
        "confusion": _confusion(test),
        "per_profile": profiles,
        "per_host": hosts,
        "host_minimum": _minimum(hosts),
        "profile_host": _profile_by_host(test, untested),
        "detection": None
        if alarm is None
        else detection_report(frame, alarm, seed=seed, n_resamples=n_resamples),
        **(extra or {}),
    }


def _side(frame: pl.DataFrame, seed: int, n_resamples: int) -> dict[str, Any]:
    matrices = matrices_of(frame)
    pooled, proba, y_true = matrices.pooled, probabilities(frame), true_classes(frame)
    scores = {
        "accuracy": accuracy(pooled),
        "balanced_accuracy": balanced_accuracy(pooled),
        "matthews": matthews(pooled),
        "mean_confidence": proba.max(axis=1).mean() if frame.height else float("nan"),
        "brier": brier(y_true, proba),
        "log_loss": log_loss(y_true, proba),
        "calibration_error": calibration_error(y_true, proba),
    }
    interval = episode_interval(matrices.counts, seed=seed, n_resamples=n_resamples)
    return {**interval.to_dict(), **{k: finite_or_none(v) for k, v in scores.items()}}


def _baselines(frame: pl.DataFrame) -> dict[str, Any]:
    """Say of how many episodes the baseline was checked, and which were flagged."""
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
    return checked_predictions(windows).filter(pl.col("split") == Side.TEST)


def _per_class(frame: pl.DataFrame) -> list[dict[str, Any]]:
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


def _confusion(frame: pl.DataFrame) -> dict[str, Any]:
    pooled = matrices_of(frame).pooled
    seen = np.flatnonzero(seen_classes(pooled))
    return {
        "labels": [str(PHASES[k]) for k in seen],
        "counts": pooled[np.ix_(seen, seen)].tolist(),
    }


def _groups(
    frame: pl.DataFrame, column: str, seed: int, n_resamples: int
) -> Iterator[dict[str, Any]]:
    name = "host_id" if column == "host_id" else "profile"
    keyed = frame.with_columns(pl.col("profile").fill_null(CLEAN_ONLY))
    for (group,), rows in sorted(keyed.group_by(column), key=lambda item: str(item[0][0])):
        yield {name: str(group), "tested": True, **_group_scores(rows, seed, n_resamples)}


def _group_scores(rows: pl.DataFrame, seed: int, n_resamples: int) -> dict[str, Any]:
    matrices = matrices_of(rows)
    n_true = int((matrices.pooled.sum(axis=1) > 0).sum())
    scores = episode_interval(matrices.counts, seed=seed, n_resamples=n_resamples).to_dict()
    why = None
    if n_true < 2:
        # With one true phase a macro average is that phase's F1 and zeros for each false alarm.
        why = f"one true phase only ({rows['y_true'][0]}): see accuracy"
        scores |= {"macro_f1": None, "ci_low": None, "ci_high": None, "ci_method": None}
    return {**scores, "accuracy": finite_or_none(accuracy(matrices.pooled)), "why": why}


def _never_tested(
    test: pl.DataFrame, untested: Mapping[str, Sequence[str]]
) -> Iterator[dict[str, Any]]:
    named = {profile for profiles in untested.values() for profile in profiles}
    for profile in sorted(named - set(test["profile"].drop_nulls())):
        yield {"profile": profile, **_nothing("untested: no test host ran it")}


def _nothing(why: str) -> dict[str, Any]:
    return {
        "tested": False,
        "macro_f1": None,
        "ci_low": None,
        "ci_high": None,
        "accuracy": None,
        "n_episodes": 0,
        "n_windows": 0,
        "why": why,
    }


def _minimum(hosts: Sequence[Mapping[str, Any]]) -> dict[str, Any] | None:
    scored = [host for host in hosts if host["macro_f1"] is not None]
    if not scored:
        return None
    worst = min(scored, key=lambda host: (host["macro_f1"], host["host_id"]))
    kept = ("host_id", "macro_f1", "ci_low", "ci_high", "ci_method", "n_episodes", "n_windows")
    return {name: worst[name] for name in kept}


def _profile_by_host(
    test: pl.DataFrame, untested: Mapping[str, Sequence[str]]
) -> list[dict[str, Any]]:
    keyed = test.with_columns(pl.col("profile").fill_null(CLEAN_ONLY))
    hosts = sorted(set(keyed["host_id"]))
    named = {profile for profiles in untested.values() for profile in profiles}
    cells = {(p, h): rows for (p, h), rows in keyed.group_by("profile", "host_id")}
    return [
        {"profile": profile, "host_id": host, **_cell(cells.get((profile, host)))}
        for profile in sorted(set(keyed["profile"]) | named, key=lambda p: (p == CLEAN_ONLY, p))
        for host in hosts
    ]


def _cell(rows: pl.DataFrame | None) -> dict[str, Any]:
    if rows is None:
        return _nothing("untested: this host did not run it")
    # Cells hold a few episodes; a point with its n is all they can bear.
    point = _group_scores(rows, seed=0, n_resamples=2)
    kept = ("macro_f1", "accuracy", "n_episodes", "n_windows", "why")
    return {"tested": True, **{name: point[name] for name in kept}}
