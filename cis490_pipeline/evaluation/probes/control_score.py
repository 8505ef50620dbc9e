"""Sham-armed control score: whether a model predicts phases that never were.

The truth of a control is clean throughout. A model that predicts the phases of its shams better
than chance, or turns from clean when one comes, reads what the recorder does and no malware.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import polars as pl

from cis490_pipeline.domain import NS_PER_S, PHASES, Phase
from cis490_pipeline.domain.arrays import Floats, Ints, class_indices
from cis490_pipeline.errors import EvaluationError
from cis490_pipeline.evaluation.confusion import N_CLASSES, macro_f1_over, seen_classes
from cis490_pipeline.evaluation.predictions import predicted_classes, require_scored
from cis490_pipeline.evaluation.schema.controls import ControlScore, FalseAround
from cis490_pipeline.evaluation.uncertainty.intervals import finite_or_none
from cis490_pipeline.evaluation.uncertainty.resampling import swap_signs
from cis490_pipeline.store.recorder_notes import Sham

N_PERMUTATIONS: Final = 10_000
AROUND_S: Final = 10.0
"""Windows that begin within so many seconds after a sham are compared with those that end so many
before it, unless they follow another sham as closely."""
_AROUND_NS: Final = round(AROUND_S * NS_PER_S)
_CLEAN: Final = PHASES.index(Phase.CLEAN)
_ANY: Final = "any"
_SAME = 1e-12
_PER_CHUNK: Final = 500


def control_score(
    predictions: pl.DataFrame,
    shams: Mapping[str, Sequence[Sham]],
    *,
    seed: int,
    n_permutations: int = N_PERMUTATIONS,
) -> ControlScore:
    """Score predictions of sham-armed controls against the phases that would have been.

    Parameters
    ----------
    predictions : a prediction frame; windows of other episodes than the controls are left out.
    shams : of each control, by episode id.

    Returns
    -------
    Macro F1 and accuracy against the would-be phase at each window's centre, beside chance: their
    mean where the would-be phases of a control change places among its stretches between shams. The
    clean lead keeps its place, or the time since the start would count as reading the recorder. And
    the share of windows predicted other than clean, in all and around each kind of sham.

    Raises
    ------
    EvaluationError
        If a control's window has another truth than clean, or touches the baseline.
    """
    controls = _controls_among(predictions, shams)
    rng = np.random.default_rng(seed)
    total = sum((control.matrix(control.phases) for control in controls), _no_windows())
    permuted = _permuted(controls, rng, n_permutations)
    labels = seen_classes(total)
    n = total.sum()
    macro, macros, accuracy, accuracies = (
        np.asarray(score)
        for score in (
            macro_f1_over(total, labels) if n else np.nan,
            macro_f1_over(permuted, labels) if n else np.nan,
            np.trace(total) / n if n else np.nan,
            np.trace(permuted, axis1=1, axis2=2) / n if n else np.nan,
        )
    )
    return {
        "n_controls": len(controls),
        "n_windows": int(n),
        "n_shams": sum(len(control.phases) - 1 for control in controls),
        "false_share": finite_or_none(1 - total[:, _CLEAN].sum() / n) if n else None,
        "macro_f1": finite_or_none(float(macro)),
        "macro_f1_chance": finite_or_none(float(macros.mean())),
        "p_macro_f1": _p_value(macros, float(macro)),
        "accuracy": finite_or_none(float(accuracy)),
        "accuracy_chance": finite_or_none(float(accuracies.mean())),
        "p_accuracy": _p_value(accuracies, float(accuracy)),
        "around": list(_around(controls)),
        "p_around": _p_around(controls, rng, n_permutations),
        "seed": seed,
        "n_permutations": n_permutations,
        "why": None if controls else "no window of a sham-armed control is among the predictions",
    }


@dataclass(frozen=True, eq=False)
class _Control:
    """One control.

    Attributes
    ----------
    phases : (S,) would-be class of each stretch, the lead's first.
    counts : (S, K) windows by stretch and predicted class.
    before, after : (S − 1, 2) windows around each sham: predicted other than clean, and all.
    """

    phases: Ints
    counts: Ints
    before: Ints
    after: Ints

    def matrix(self, phases: Ints) -> Floats:
        """(..., S) classes of the stretches -> (..., K, K) windows by would-be and predicted."""
        one_hot = np.eye(N_CLASSES)[phases]
        matrices: Floats = np.einsum("...sk,sp->...kp", one_hot, self.counts.astype(np.float64))
        return matrices

    @property
    def rises(self) -> Floats:
        """Share false after less before, of each sham with windows on both sides."""
        both = (self.before[:, 1] > 0) & (self.after[:, 1] > 0)
        before, after = self.before[both], self.after[both]
        rises: Floats = after[:, 0] / after[:, 1] - before[:, 0] / before[:, 1]
        return rises


def _controls_among(
    predictions: pl.DataFrame, shams: Mapping[str, Sequence[Sham]]
) -> list[_Control]:
    names = [name for name, of in shams.items() if of]
    frame = predictions.filter(pl.col("episode_id").is_in(names)).sort("episode_id", "window_idx")
    require_scored("controls", frame)
    n_other = frame.filter(pl.col("y_true") != Phase.CLEAN).height
    if n_other:
        raise EvaluationError(
            f"{n_other} of {frame.height} windows of controls have another truth than clean: name "
            "the shams of sham-armed controls alone"
        )
    return [
        _control(windows, shams[str(name)])
        for (name,), windows in frame.group_by("episode_id", maintain_order=True)
    ]


def _control(windows: pl.DataFrame, shams: Sequence[Sham]) -> _Control:
    ordered = sorted(shams, key=lambda sham: sham.t_wall_ns)
    times = np.array([sham.t_wall_ns for sham in ordered], dtype=np.int64)
    phases = class_indices([str(Phase.CLEAN), *(sham.phase for sham in ordered)])
    begin, end = (windows[f"t_{name}_wall_ns"].to_numpy() for name in ("start", "end"))
    stretch = np.searchsorted(times, (begin + end) // 2, side="right")
    predicted = predicted_classes(windows)
    counts = np.zeros((phases.size, N_CLASSES), dtype=np.int64)
    np.add.at(counts, (stretch, predicted), 1)
    false = predicted != _CLEAN
    since = begin - times[:, None]
    is_after = (since >= 0) & (since < _AROUND_NS)
    # Of shams in quick succession, what is before one is after another.
    at_rest = ~((since < _AROUND_NS) & (end > times[:, None])).any(axis=0)
    is_before = (end <= times[:, None]) & (end > times[:, None] - _AROUND_NS) & at_rest
    before, after = (
        np.stack([(near & false).sum(axis=1), near.sum(axis=1)], axis=1)
        for near in (is_before, is_after)
    )
    return _Control(phases, counts, before, after)


def _no_windows() -> Floats:
    return np.zeros((N_CLASSES, N_CLASSES))


def _permuted(
    controls: Sequence[_Control], rng: np.random.Generator, n_permutations: int
) -> Floats:
    """(B, K, K) matrices with the phases of each control's stretches permuted after its lead."""
    permuted = np.zeros((n_permutations, N_CLASSES, N_CLASSES))
    for control in controls:
        for start in range(0, n_permutations, _PER_CHUNK):
            part = permuted[start : start + _PER_CHUNK]
            phases = np.tile(control.phases, (len(part), 1))
            phases[:, 1:] = rng.permuted(phases[:, 1:], axis=1)
            part += control.matrix(phases)
    return permuted


def _p_value(permuted: Floats, score: float) -> float | None:
    """One-sided p-value of a score by its permutations; None if it is undefined."""
    if np.isnan(score):
        return None
    return float((1 + (permuted >= score - _SAME).sum()) / (permuted.size + 1))


def _around(controls: Sequence[_Control]) -> Iterator[FalseAround]:
    phases = np.concatenate([np.zeros(0, dtype=np.int64), *(c.phases[1:] for c in controls)])
    before, after = (
        np.concatenate([np.zeros((0, 2), dtype=np.int64), *parts])
        for parts in ([c.before for c in controls], [c.after for c in controls])
    )
    both = (before[:, 1] > 0) & (after[:, 1] > 0)
    kinds = [(_ANY, both), *((str(p), both & (phases == k)) for k, p in enumerate(PHASES))]
    for name, chosen in kinds:
        shares = [
            finite_or_none(part[chosen, 0].sum() / n) if (n := part[chosen, 1].sum()) else None
            for part in (before, after)
        ]
        yield {
            "transition": name,
            "n_shams": int(chosen.sum()),
            "before": shares[0],
            "after": shares[1],
        }


def _p_around(
    controls: Sequence[_Control], rng: np.random.Generator, n_permutations: int
) -> float | None:
    """Two-sided p-value of the rise at shams, from swapping before and after in whole controls."""
    rises = np.array([control.rises.sum() for control in controls if control.rises.size])
    if rises.size < 2:
        return None
    n_as_far = sum(
        int((np.abs((2 * kept - 1) @ rises) >= abs(rises.sum()) - _SAME).sum())
        for kept in swap_signs(rng, rises.size, n_permutations)
    )
    return (1 + n_as_far) / (n_permutations + 1)
