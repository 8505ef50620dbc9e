"""What the benchmark of processors found: which weights and scores change under which switch."""

from collections.abc import Mapping
from typing import Any

from cis490_pipeline.domain import Architecture
from docs.make_reference.markdown import code, prose, table
from docs.make_reference.results import count, listed, processor, result, score, signed

AS_IT_IS = "as it is"


def origin() -> str:
    """Say where the switches were measured."""
    found = result("processors")
    on = found["runs"][AS_IT_IS]["computed_on"]
    return prose(
        f"Measured on {found['date']} at commit `{found['commit'][:12]}` on {processor(on)}, torch "
        f"{found['versions']['torch']} with MKL {on.get('mkl', 'n/a')} and oneDNN "
        f"{on.get('onednn', 'n/a')}, by `python -m benchmarks.processors` "
        "([as JSON](../../benchmarks/results/processors.json))."
    )


def switches() -> str:
    """Give each emulation with the models whose weights it changed, and how far scores moved."""
    runs = result("processors")["runs"]
    rows = []
    for name, run in runs.items():
        if name == AS_IT_IS:
            continue
        changed = _changed(run)
        by_switch = " ".join(f"{key}={value}" for key, value in run["switches"].items())
        moved = [abs(_moved(run, model)) for model in changed]
        rows.append(
            (
                name,
                code(by_switch),
                _other_data(run, runs[AS_IT_IS]),
                _families(changed),
                f"{len(changed)} of {len(run['models'])}",
                score(max(moved)) if moved else "–",
            )
        )
    head = (
        "emulated",
        "switch",
        "other datasets",
        "other weights",
        "models and probes",
        "macro F1 moved by up to",
    )
    return table(head, rows)


def scores() -> str:
    """Give the macro F1 on test of each network, as it is and under each emulation."""
    runs = result("processors")["runs"]
    shown = [name for name in runs if name == AS_IT_IS or _changed(runs[name])]
    models = sorted(
        model
        for model in runs[AS_IT_IS]["models"]
        if any(model in _changed(runs[name]) for name in shown if name != AS_IT_IS)
    )
    rows = [
        (code(model), *(score(runs[name]["models"][model]["macro_f1"]) for name in shown))
        for model in models
    ]
    return table(("model", *shown), rows, right=range(1, len(shown) + 1))


def score_changes() -> tuple[float, float]:
    """Return the furthest a macro F1 fell and rose under any emulation."""
    runs = result("processors")["runs"]
    moved = [
        _moved(run, model)
        for name, run in runs.items()
        if name != AS_IT_IS
        for model in run["models"]
    ]
    return min(moved), max(moved)


def unmoved() -> str:
    """Name what no emulation changed."""
    runs = result("processors")["runs"]
    ever = {model for name, run in runs.items() if name != AS_IT_IS for model in _changed(run)}
    rest = sorted(runs[AS_IT_IS]["models"].keys() - ever)
    least, most = score_changes()
    return prose(
        f"Under none of {count(len(runs) - 1)} emulations other weights or another score: "
        f"{listed(map(code, rest))}. All others moved, by {signed(least)} to {signed(most)} macro "
        "F1."
    )


def _other_data(run: Mapping[str, Any], before: Mapping[str, Any]) -> str:
    """Name the datasets with another digest; a run from before summaries were kept has none."""
    kinds = {"dataset": "tensors", "summaries": "summaries"}
    return (
        ", ".join(name for key, name in kinds.items() if run.get(key) != before.get(key)) or "none"
    )


def _changed(run: Mapping[str, Any]) -> list[str]:
    """Models with another checkpoint, or another score where a probe has none."""
    before = result("processors")["runs"][AS_IT_IS]["models"]
    return sorted(model for model, found in run["models"].items() if found != before[model])


def _moved(run: Mapping[str, Any], model: str) -> float:
    before = result("processors")["runs"][AS_IT_IS]["models"][model]["macro_f1"]
    after = run["models"][model]["macro_f1"]
    return 0.0 if before is None or after is None else float(after - before)


def _families(models: list[str]) -> str:
    """Name architectures of which both variants changed once, others by model."""
    names = set(models)
    whole = [a for a in Architecture if {f"{a}_realistic", f"{a}_oracle"} <= names]
    single = [name for name in models if name.rpartition("_")[0] not in whole]
    return ", ".join(code(name) for name in (*whole, *single)) or "none"
