"""All models of a recipe side by side, the probes among them, and which differences are real."""

from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any, Final, cast

import polars as pl

from cis490_pipeline.domain import Side, Variant
from cis490_pipeline.errors import EvaluationError
from cis490_pipeline.evaluation.predictions import matrices_of, require_scored
from cis490_pipeline.evaluation.probes.verdict import against_probes
from cis490_pipeline.evaluation.schema.report import EvalReport
from cis490_pipeline.evaluation.uncertainty.intervals import N_RESAMPLES, finite_or_none
from cis490_pipeline.evaluation.uncertainty.paired import compare, holm, require_identical_windows
from cis490_pipeline.evaluation.uncertainty.seeds import seed_summary

Report = Mapping[str, Any]

_ROW_FIELDS: Final = (
    "model",
    "kind",
    "architecture",
    "variant",
    "macro_f1",
    "ci_low",
    "ci_high",
    "ci_level",
    "ci_method",
    "n_episodes",
    "n_windows",
    "accuracy",
    "balanced_accuracy",
    "matthews",
    "mean_confidence",
    "calibration_error",
    "host_minimum",
    "checkpoint_digest",
    "seed",
)
_SHARED_FIELDS: Final = ("split", "split_digest")


def compare_models(
    reports: Sequence[Report],
    probe_reports: Sequence[Report],
    predictions: Mapping[str, pl.DataFrame],
    *,
    seed: int,
    n_resamples: int = N_RESAMPLES,
) -> dict[str, Any]:
    """Test every difference the leaderboard shows, on the test side.

    Three families, each corrected by Holm for itself: the pairs of architectures within a variant,
    realistic against oracle of one architecture, and the chosen model against each probe.

    Parameters
    ----------
    reports, probe_reports : what ``evaluate`` gave.
    predictions : prediction frames by model name, of both.
    seed : of the draws.
    n_resamples : of every comparison.

    Returns
    -------
    ``pairs`` (the first two families) and ``best_vs_probe``, as ``against_probes`` says it.

    Raises
    ------
    EvaluationError
        If predictions are missing, touch the baseline, or were not made on identical windows.
    """
    named = {report["model"]: report for report in (*reports, *probe_reports)}
    missing = sorted(set(named) - set(predictions))
    if missing:
        raise EvaluationError(f"no predictions to compare of {missing}")
    test = {name: predictions[name].filter(pl.col("split") == Side.TEST) for name in named}
    for name, frame in test.items():
        require_scored(name, frame)
    require_identical_windows(test)
    counts = {name: matrices_of(frame).counts for name, frame in test.items()}

    def family(name: str, pairs: Sequence[tuple[str, str]]) -> list[dict[str, Any]]:
        found = [
            compare(counts[a], counts[b], seed=seed, n_resamples=n_resamples) for a, b in pairs
        ]
        adjusted = holm([pair.p_value for pair in found])
        return [
            {"family": name, "a": a, "b": b, **pair.to_dict(), "p_holm": finite_or_none(p)}
            for (a, b), pair, p in zip(pairs, found, adjusted, strict=True)
        ]

    pairs: list[dict[str, Any]] = []
    for variant in Variant:
        models = sorted(r["model"] for r in reports if r["variant"] == variant)
        pairs += family(f"within {variant}", list(combinations(models, 2)))
    pairs += family("oracle against realistic", _views_of_one_architecture(reports))
    chosen = selected_model(reports, Variant.REALISTIC) or selected_model(reports, Variant.ORACLE)
    probes = [report["model"] for report in probe_reports]
    against = family("best against probes", [(chosen, p) for p in probes]) if chosen else []
    return {"pairs": pairs, "best_vs_probe": against_probes(chosen, against, probe_reports)}


def leaderboard(
    reports: Sequence[Report],
    probe_reports: Sequence[Report],
    paired: Mapping[str, Any],
    *,
    schema: str,
    seeds: Mapping[str, Mapping[str, Any]] | None = None,
    ablation: Mapping[str, Any] | None = None,
    study: Mapping[str, Any] | None = None,
    probes: Mapping[str, Any] | None = None,
    host_identity: Mapping[str, Any] | None = None,
    robustness: Mapping[str, Any] | None = None,
    processor: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """Gather the reports of one recipe.

    Parameters
    ----------
    reports, probe_reports : what ``evaluate`` gave, all of one split.
    paired : what ``compare_models`` gave of them.
    schema : hash of the feature schema the models were trained on.
    seeds : what ``seed_summary`` gave of the models that were trained with several seeds.
    ablation : what each way of calibration is worth, if it was computed: ``rows`` become the
        board's ``ablation``, all else its ``ablation_of``.
    study : profiles, hosts and times left out, as ``study.json`` has it; None: not run.
    probes : what the probes learnt from, and what each knows.
    host_identity : how well the host is told from the features.
    robustness : what recording faults cost each model. These three are carried as they are; null
        where they were not computed.
    processor : what the comparison was computed on; the board has no such key without it.

    Returns
    -------
    JSON values. ``rows``: models by macro F1 on test, best first, then the probes; ``selected``
    marks each variant's best on *validation*, which is the one to speak of.

    Raises
    ------
    EvaluationError
        If there is no report, two have one name, or they are of different splits.
    """
    everything = [*reports, *probe_reports]
    _require_one_split(everything)
    first = everything[0]
    selected = {str(variant): selected_model(reports, variant) for variant in Variant}
    rows = [
        {
            **{name: report[name] for name in _ROW_FIELDS},
            "val_macro_f1": report["val"]["macro_f1"],
            "selected": report["model"] in selected.values(),
            "seeds": dict(
                (seeds or {}).get(report["model"]) or seed_summary([cast("EvalReport", report)])
            ),
        }
        for group in (reports, probe_reports)
        for report in sorted(group, key=_by_test_score)
    ]
    carried = ("selected_on", "untested_profiles", "shared", "counts", "excluded")
    return {
        "format": "leaderboard",
        "split": first["split"],
        "split_digest": first["split_digest"],
        "split_version": first["version"],
        "schema": schema,
        **{name: first[name] for name in carried},
        "metric": "macro_f1",
        "selected": selected,
        "rows": rows,
        "pairs": list(paired["pairs"]),
        "best_vs_probe": paired["best_vs_probe"],
        "ablation": list(ablation["rows"]) if ablation is not None else [],
        "ablation_of": {k: v for k, v in (ablation or {}).items() if k != "rows"},
        "study": dict(study) if study is not None else None,
        "probes": probes,
        "host_identity": host_identity,
        "robustness": robustness,
        **({"processor": dict(processor)} if processor is not None else {}),
    }


def modes_as_used(board: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Rows of the ablation that differ from the row in use in their mode of calibration alone.

    The board says which row is in use; another treatment of gauges or another scaling is another
    setting, and no answer to what the mode is worth.

    Parameters
    ----------
    board : a leaderboard.

    Returns
    -------
    The row in use first, then the others in the board's order; empty where none was computed.

    Raises
    ------
    EvaluationError
        If the board has an ablation and not one row of it is in use.
    """
    rows: list[dict[str, Any]] = board["ablation"]
    used = [row for row in rows if row["in_use"]]
    if not rows:
        return []
    if len(used) != 1:
        raise EvaluationError(
            f"{len(used)} of {len(rows)} ablation rows are in use, wanted exactly one; "
            "make the leaderboard again"
        )
    same = [row for row in rows if all(row[k] == used[0][k] for k in ("gauges", "scaling"))]
    return [*used, *(row for row in same if not row["in_use"])]


def selected_model(reports: Sequence[Report], variant: Variant) -> str | None:
    """Name of a variant's best model on validation; None if no model has a score there."""
    scored = [
        report
        for report in reports
        if report["variant"] == variant and report["val"]["macro_f1"] is not None
    ]
    if not scored:
        return None
    best = min(scored, key=lambda report: (-report["val"]["macro_f1"], report["model"]))
    return str(best["model"])


def _views_of_one_architecture(reports: Sequence[Report]) -> list[tuple[str, str]]:
    by_view = {(report["architecture"], report["variant"]): report["model"] for report in reports}
    return [
        (by_view[architecture, Variant.ORACLE], by_view[architecture, Variant.REALISTIC])
        for architecture in sorted({str(report["architecture"]) for report in reports})
        if {(architecture, variant) for variant in Variant} <= set(by_view)
    ]


def _by_test_score(report: Report) -> tuple[float, str]:
    score = report["macro_f1"]
    return (-score if score is not None else 1.0, report["model"])


def _require_one_split(reports: Sequence[Report]) -> None:
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
