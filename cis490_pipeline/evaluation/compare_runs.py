"""Comparison of two runs on identical windows, and of what their models were made of."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, TypedDict

import polars as pl

from cis490_pipeline.domain import Side
from cis490_pipeline.errors import EvaluationError
from cis490_pipeline.evaluation.confusion import macro_f1
from cis490_pipeline.evaluation.predictions import matrices_of
from cis490_pipeline.evaluation.schema.parts import Tested
from cis490_pipeline.evaluation.uncertainty.intervals import N_RESAMPLES, finite_or_none
from cis490_pipeline.evaluation.uncertainty.paired import compare, holm

_KEYS: Final = ("episode_id", "window_idx")
_MADE_BY: Final = ("model", "settings", "data", "split", "features", "code")
"""What makes a model besides its seed."""


Changed = dict[str, list[str | None]]
"""What two models were made of that differs, with both values, by name."""


class RunDifference(Tested):
    """One model in both runs; the difference is second minus first."""

    model: str
    first: float | None
    second: float | None
    n_windows: int
    changed: Changed
    why: str | None
    p_holm: float | None
    verdict: str


class RunComparison(TypedDict):
    """All models that two runs have in common."""

    metric: str
    side: str
    rows: list[RunDifference]


@dataclass(frozen=True, eq=False)
class Run:
    """One run's predictions of a model."""

    name: str
    """Shown name, such as the folder it lies in."""
    frame: pl.DataFrame
    """Rows of ``PREDICTION_SCHEMA``."""
    made_of: Mapping[str, str]
    """``seed`` and the other things it was made of, as text or digest; unknown ones are absent."""


def compare_runs(
    pairs: Mapping[str, tuple[Run, Run]], *, seed: int, n_resamples: int = N_RESAMPLES
) -> RunComparison:
    """Compare models of two runs, paired by episode on identical windows of the test side.

    Parameters
    ----------
    pairs : by name, a model of the first run and one of the second.

    Raises
    ------
    EvaluationError
        If there is no pair, or two were not scored on the same windows: it says how they differ.
    """
    if not pairs:
        raise EvaluationError("there is no model to compare in both runs")
    frames = {name: _on_same_windows(name, *runs) for name, runs in pairs.items()}
    counts = {name: [matrices_of(frame).counts for frame in of] for name, of in frames.items()}
    found = {
        name: compare(second, first, seed=seed, n_resamples=n_resamples)
        for name, (first, second) in counts.items()
    }
    adjusted = holm([pair.p_value for pair in found.values()])
    rows: list[RunDifference] = []
    for (name, pair), p_holm in zip(found.items(), adjusted, strict=True):
        first, second = (finite_or_none(macro_f1(of.sum(axis=0))) for of in counts[name])
        differs = changed(*(run.made_of for run in pairs[name]))
        rows.append(
            {
                "model": name,
                "first": first,
                "second": second,
                **pair.to_dict(),
                "p_holm": finite_or_none(p_holm),
                "n_windows": frames[name][0].height,
                "changed": differs,
                "verdict": in_words(differs),
                "why": None if pair.n_episodes > 1 else "an interval needs two episodes",
            }
        )
    return {"metric": "macro_f1", "side": str(Side.TEST), "rows": rows}


def changed(first: Mapping[str, str], second: Mapping[str, str]) -> Changed:
    """Return what two models were made of that differs, with both values; empty if nothing does."""
    return {
        name: [first.get(name), second.get(name)]
        for name in ("seed", *_MADE_BY)
        if first.get(name) != second.get(name)
    }


def in_words(found: Changed) -> str:
    """Summarize what ``changed`` found: nothing, the seed alone, or what else."""
    if not found:
        return "made alike"
    if list(found) == ["seed"]:
        return "only the seed differs"
    return f"differ in {', '.join(found)}"


def _on_same_windows(name: str, first: Run, second: Run) -> tuple[pl.DataFrame, pl.DataFrame]:
    one, other = (
        side.frame.filter(pl.col("side") == Side.TEST).sort(_KEYS) for side in (first, second)
    )
    faults = _differences(one, other, first.name, second.name)
    if not one.height:
        faults.append(f"{first.name} has no window of the test side")
    if faults:
        raise EvaluationError(
            f"{name}: the two were not scored on the same windows: {'; '.join(faults)}. Evaluate "
            "both on one split of one store"
        )
    return one, other


def _differences(one: pl.DataFrame, other: pl.DataFrame, first: str, second: str) -> list[str]:
    faults = []
    for here, there, name in ((one, other, first), (other, one, second)):
        alone = here.join(there, on=_KEYS, how="anti")
        if alone.height:
            episodes = sorted(set(alone["episode_id"]))
            hosts = sorted(set(alone["host_id"]))
            faults.append(
                f"{alone.height} of {here.height} windows are in {name} alone "
                f"({len(episodes)} episodes of {', '.join(hosts)}, first {episodes[0]})"
            )
    both = one.join(other.select(*_KEYS, other="y_true"), on=_KEYS, how="inner")
    relabelled = both.filter(pl.col("y_true") != pl.col("other"))
    if relabelled.height:
        row = relabelled.row(0, named=True)
        faults.append(
            f"{relabelled.height} windows have another truth, first window {row['window_idx']} of "
            f"{row['episode_id']}: {row['y_true']} and {row['other']}"
        )
    return faults
