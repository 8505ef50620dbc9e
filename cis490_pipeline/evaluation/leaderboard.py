"""The leaderboard: all models and probes of a recipe, and which of their differences are shown."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from typing import Final, cast

import polars as pl

from cis490_pipeline.domain import Side, Variant
from cis490_pipeline.domain.catalogue import RUN_VARIANTS
from cis490_pipeline.errors import EvaluationError
from cis490_pipeline.evaluation.choice import Choice, choose
from cis490_pipeline.evaluation.predictions import matrices_of, require_scored
from cis490_pipeline.evaluation.probes.verdict import against_probes
from cis490_pipeline.evaluation.schema.board import (
    Ablation,
    AblationInfo,
    AblationRow,
    HostIdentity,
    Leaderboard,
    ProbeTraining,
    Robustness,
    Row,
    Versus,
)
from cis490_pipeline.evaluation.schema.controls import Controls
from cis490_pipeline.evaluation.schema.parts import Pair, Seeds
from cis490_pipeline.evaluation.schema.report import EvalReport
from cis490_pipeline.evaluation.schema.study import CarriedStudy
from cis490_pipeline.evaluation.uncertainty.intervals import N_RESAMPLES
from cis490_pipeline.evaluation.uncertainty.paired import compare_family, require_identical_windows
from cis490_pipeline.evaluation.uncertainty.seeds import seed_summary

_SHARED_FIELDS: Final = ("split", "split_digest")


@dataclass(frozen=True, kw_only=True)
class Comparisons:
    """Every difference a leaderboard shows."""

    pairs: list[Pair]
    best_vs_probe: Versus


@dataclass(frozen=True, kw_only=True)
class Supplements:
    """What a leaderboard shows beside its reports; None where it was not computed.

    Attributes
    ----------
    ablation : what each way of calibration is worth: ``rows`` become the board's ``ablation``, all
        else its ``ablation_of``.
    processor : what the comparison was computed on; the board has no such key without it.
    choice : the model chosen of each variant; by default the best on validation.
    ensembles : parts of each ensemble that has a report, by its name.
    """

    ablation: Ablation | None = None
    study: CarriedStudy | None = None
    probes: ProbeTraining | None = None
    host_identity: HostIdentity | None = None
    robustness: Robustness | None = None
    controls: Controls | None = None
    processor: dict[str, str] | None = None
    choice: Choice | None = None
    ensembles: Mapping[str, Sequence[str]] = field(default_factory=dict)


def compare_models(
    reports: Sequence[EvalReport],
    probe_reports: Sequence[EvalReport],
    predictions: Mapping[str, pl.DataFrame],
    *,
    seed: int,
    n_resamples: int = N_RESAMPLES,
    choice: Choice | None = None,
    ensembles: Mapping[str, Sequence[str]] | None = None,
) -> Comparisons:
    """Test every difference the leaderboard shows, on the test side.

    Families, each corrected by Holm for itself: the pairs of architectures within a variant,
    realistic against oracle of one architecture, the chosen model against each probe, and each
    ensemble against its parts.

    Parameters
    ----------
    reports, probe_reports : of ``evaluate``; ensembles among the former.
    predictions : prediction frames by model name, of both.
    choice : the model chosen of each variant; by default the best on validation.
    ensembles : parts of each ensemble, by its name.

    Raises
    ------
    EvaluationError
        If predictions are missing, touch the baseline, or were not made on identical windows.
    """
    named = {report["model"]: report for report in (*reports, *probe_reports)}
    missing = sorted(set(named) - set(predictions))
    if missing:
        raise EvaluationError(f"no predictions to compare of {missing}")
    test = {name: predictions[name].filter(pl.col("side") == Side.TEST) for name in named}
    for name, frame in test.items():
        require_scored(name, frame)
    require_identical_windows(test)
    counts = {name: matrices_of(frame).counts for name, frame in test.items()}

    def family(name: str, pairs: Sequence[tuple[str, str]]) -> list[Pair]:
        return compare_family(name, pairs, counts, seed=seed, n_resamples=n_resamples)

    pairs: list[Pair] = []
    for variant in Variant:
        models = sorted(
            r["model"] for r in reports if r["variant"] == variant and r["kind"] == "model"
        )
        pairs += family(f"within {variant}", list(combinations(models, 2)))
    pairs += family("oracle against realistic", _views_of_one_architecture(reports))
    if ensembles:
        against_parts = [(name, part) for name, parts in ensembles.items() for part in parts]
        pairs += family("ensemble against its parts", against_parts)
    chosen = (choice or choose(reports)).first
    probes = [report["model"] for report in probe_reports]
    against = family("best against probes", [(chosen, p) for p in probes]) if chosen else []
    versus = against_probes(chosen, against, probe_reports)
    return Comparisons(pairs=pairs, best_vs_probe=versus)


def leaderboard(
    reports: Sequence[EvalReport],
    probe_reports: Sequence[EvalReport],
    comparisons: Comparisons,
    *,
    schema: str,
    seeds: Mapping[str, Seeds] | None = None,
    supplements: Supplements | None = None,
) -> Leaderboard:
    """Gather the reports of one recipe: models by macro F1 on test, best first, ensembles, probes.

    ``selected`` marks each variant's chosen model, which is the one to speak of: the best on
    *validation*, or over hosts left out in turn where ``selected_by`` says so.

    Parameters
    ----------
    comparisons : of ``compare_models`` for the same reports.
    schema : hash of the feature schema the models were trained on.
    seeds : of ``seed_summary`` for the models that were trained with several seeds.
    supplements : what else the board carries.

    Raises
    ------
    EvaluationError
        If there is no report, two have one name, or they are of different splits.
    """
    first = _require_one_split([*reports, *probe_reports])
    beside = supplements or Supplements()
    choice = beside.choice or choose(reports)
    rows = _rows([*reports, *probe_reports], seeds or {}, choice, beside.ensembles)
    board: Leaderboard = {
        "format": "leaderboard",
        "split": first["split"],
        "split_digest": first["split_digest"],
        "split_version": first["version"],
        "schema": schema,
        "selected_on": first["selected_on"],
        "untested_profiles": first["untested_profiles"],
        "shared": first["shared"],
        "counts": first["counts"],
        "excluded": first["excluded"],
        "metric": "macro_f1",
        "selected": choice.selected,
        "rows": rows,
        "pairs": comparisons.pairs,
        "best_vs_probe": comparisons.best_vs_probe,
        "ablation": beside.ablation["rows"] if beside.ablation is not None else [],
        "ablation_of": _ablation_info(beside.ablation),
        "study": beside.study,
        "probes": beside.probes,
        "host_identity": beside.host_identity,
        "robustness": beside.robustness,
        "controls": beside.controls,
    }
    if beside.processor is not None:
        board["processor"] = beside.processor
    if choice.by:
        board["selected_by"] = choice.by
    return board


def _rows(
    reports: Sequence[EvalReport],
    seeds: Mapping[str, Seeds],
    choice: Choice,
    ensembles: Mapping[str, Sequence[str]],
) -> list[Row]:
    """Order the rows: models, ensembles, probes, each kind by its score on test."""
    rows = [
        _row(report, report["model"] in choice.selected.values(), seeds.get(report["model"]))
        for kind in ("model", "ensemble", "probe")
        for report in sorted(reports, key=_by_test_score)
        if report["kind"] == kind
    ]
    for row in rows:
        if row["model"] in ensembles:
            row["parts"] = list(ensembles[row["model"]])
    return rows


def _row(report: EvalReport, is_selected: bool, seeds: Seeds | None) -> Row:
    return {
        "model": report["model"],
        "kind": report["kind"],
        "architecture": report["architecture"],
        "variant": report["variant"],
        "macro_f1": report["macro_f1"],
        "ci_low": report["ci_low"],
        "ci_high": report["ci_high"],
        "ci_level": report["ci_level"],
        "ci_method": report["ci_method"],
        "n_episodes": report["n_episodes"],
        "n_windows": report["n_windows"],
        "accuracy": report["accuracy"],
        "balanced_accuracy": report["balanced_accuracy"],
        "matthews": report["matthews"],
        "mean_confidence": report["mean_confidence"],
        "calibration_error": report["calibration_error"],
        "host_minimum": report["host_minimum"],
        "checkpoint_digest": report["checkpoint_digest"],
        "seed": report["seed"],
        "val_macro_f1": report["val"]["macro_f1"],
        "selected": is_selected,
        "seeds": seeds or seed_summary([report]),
    }


def _ablation_info(ablation: Ablation | None) -> AblationInfo:
    """Return all of an ablation but its rows."""
    info = {name: value for name, value in (ablation or {}).items() if name != "rows"}
    return cast("AblationInfo", info)


def modes_as_used(board: Leaderboard) -> list[AblationRow]:
    """Rows of the ablation that differ from the row in use in their mode of calibration alone.

    The row in use comes first. Rows of another treatment of gauges or another scaling differ in
    more than the mode, so they do not measure what the mode is worth.

    Raises
    ------
    EvaluationError
        If the board has an ablation and not one row of it is in use.
    """
    rows = board["ablation"]
    used = [row for row in rows if row["in_use"]]
    if not rows:
        return []
    if len(used) != 1:
        raise EvaluationError(
            f"{len(used)} of {len(rows)} ablation rows are in use, wanted exactly one; "
            "make the leaderboard again"
        )
    setting = (used[0]["gauges"], used[0]["scaling"])
    same = [row for row in rows if (row["gauges"], row["scaling"]) == setting]
    return [*used, *(row for row in same if not row["in_use"])]


def _views_of_one_architecture(reports: Sequence[EvalReport]) -> list[tuple[str, str]]:
    by_view = {(report["architecture"], report["variant"]): report["model"] for report in reports}
    return [
        (by_view[architecture, Variant.ORACLE], by_view[architecture, Variant.REALISTIC])
        for architecture in sorted({str(report["architecture"]) for report in reports})
        if {(architecture, variant) for variant in RUN_VARIANTS} <= set(by_view)
    ]


def _by_test_score(report: EvalReport) -> tuple[float, str]:
    score = report["macro_f1"]
    return (-score if score is not None else 1.0, report["model"])


def _require_one_split(reports: Sequence[EvalReport]) -> EvalReport:
    """Return the first report, which says what the split of all of them is."""
    if not reports:
        raise EvaluationError("a leaderboard needs a report")
    names = [report["model"] for report in reports]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise EvaluationError(f"two reports of {twice}")
    first = reports[0]
    for report in reports[1:]:
        for name in _SHARED_FIELDS:
            if report[name] != first[name]:
                raise EvaluationError(
                    f"{report['model']} was scored on {name} {report[name]}, "
                    f"{first['model']} on {first[name]}; evaluate both on one split"
                )
    return first
