"""Windows of a side in the order an alarm sees them, gaps filled, with their true phases."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Final

import numpy as np
import polars as pl

from cis490_pipeline.domain import INFECTED_PHASES, NS_PER_S, PHASES, Phase
from cis490_pipeline.domain.arrays import Bools, Floats, Ints, class_indices
from cis490_pipeline.errors import EvaluationError
from cis490_pipeline.evaluation.detection.infections import Infections, infections_in
from cis490_pipeline.evaluation.predictions import probabilities, true_classes
from cis490_pipeline.features.windows import STRIDE_S

TRUTH_COLUMNS: Final = ("episode_id", "label_t_wall_ns", "label_phase")

_STRIDE_NS: Final = round(STRIDE_S * NS_PER_S)
_K: Final = len(PHASES)


@dataclass(frozen=True, kw_only=True, eq=False)
class AlarmWindows:
    """Windows of E episodes, one episode after the other; a missing window has a row of its own.

    Attributes
    ----------
    proba : (n, K) the classifier's probabilities; uniform where the window is missing.
    present : (n,) False where the window is missing.
    lengths : (E,) rows of each episode.
    end_s : (n,) end of each window, s since the episode's first label.
    phase_at_end : (n,) true class at the end of the window, which the alarm is judged by.
    y_true : (n,) true class at the window's centre; −1 where it is missing.
    onset_s : (E,) first label of ``INFECTED_PHASES``, s since the first label; NaN in an episode
        without one.
    infection : (n,) which of the infections the window ends in; −1 for none.
    infections : of all episodes.
    clean_only : (E,) no label but ``clean``.
    t0_ns : (E,) time of the first label, Unix ns.
    episode_ids, profiles, hosts : (E,) names; a clean-only run has no profile.
    """

    proba: Floats
    present: Bools
    lengths: Ints
    end_s: Floats
    phase_at_end: Ints
    y_true: Ints
    onset_s: Floats
    infection: Ints
    infections: Infections
    clean_only: Bools
    t0_ns: Ints
    episode_ids: tuple[str, ...]
    profiles: tuple[str | None, ...]
    hosts: tuple[str, ...]

    def __len__(self) -> int:
        """Return the number of episodes."""
        return len(self.lengths)

    @cached_property
    def starts(self) -> Ints:
        """(E,) first row of each episode."""
        starts: Ints = np.cumsum(self.lengths) - self.lengths
        return starts

    @cached_property
    def episode(self) -> Ints:
        """(n,) number of each row's episode."""
        return np.repeat(np.arange(len(self), dtype=np.int64), self.lengths)

    def with_constant_emissions(self, class_prior: Floats) -> "AlarmWindows":
        """Return the same windows with the class prior for all that was predicted."""
        return replace(self, proba=np.tile(class_prior, (self.present.size, 1)))

    @cached_property
    def digest(self) -> str:
        """SHA-256 of everything an alarm may be fitted on."""
        total = hashlib.sha256("\n".join(self.episode_ids).encode())
        begin_s, onset_s = self.infections.begin_s, self.infections.onset_s
        for values in (self.proba, self.end_s, self.onset_s, begin_s, onset_s):
            total.update(np.ascontiguousarray(values, dtype="<f8").tobytes())
        counted = (self.present, self.lengths, self.phase_at_end, self.infection, self.clean_only)
        for counts in counted:
            total.update(np.ascontiguousarray(counts, dtype="<i8").tobytes())
        return total.hexdigest()


def alarm_windows(frame: pl.DataFrame, truth: pl.DataFrame) -> AlarmWindows:
    """Put the windows of one side in order, fill their gaps, and look up the true phases.

    Parameters
    ----------
    frame : rows of ``PREDICTION_SCHEMA``, of one side.
    truth : one row per episode: ``episode_id``, ``label_t_wall_ns`` and ``label_phase`` (lists: the
        phase from each time to the next).

    Raises
    ------
    EvaluationError
        If the labels of an episode are missing.
    """
    missing = [name for name in TRUTH_COLUMNS if name not in truth.columns]
    if missing:
        raise EvaluationError(f"the labels lack the columns {missing}, got {truth.columns}")
    labels = {
        episode_id: (np.array(t_ns, dtype=np.int64), phases)
        for episode_id, t_ns, phases in truth.select(TRUTH_COLUMNS).iter_rows()
    }
    frame = frame.sort("episode_id", "window_idx")
    unknown = sorted(set(frame["episode_id"]) - set(labels))
    if unknown:
        raise EvaluationError(
            f"no labels of {len(unknown)} episodes that were predicted: {', '.join(unknown[:5])}; "
            "build the grids again"
        )
    keys = frame.select("episode_id", "window_idx", "t_end_wall_ns", "profile", "host_id")
    proba, y_true = probabilities(frame), true_classes(frame)
    parts, first = [], 0
    for episode in keys.partition_by("episode_id", maintain_order=True):
        rows = slice(first, first + episode.height)
        first += episode.height
        parts.append(
            _episode(episode, proba[rows], y_true[rows], *labels[episode["episode_id"][0]])
        )
    return _joined(parts)


def _episode(
    keys: pl.DataFrame, proba: Floats, y_true: Ints, label_t_ns: Ints, label_phases: Sequence[str]
) -> AlarmWindows:
    index = keys["window_idx"].to_numpy()
    place = index - index[0]
    n_rows = int(place[-1]) + 1
    end_ns = keys["t_end_wall_ns"][0] + np.arange(n_rows, dtype=np.int64) * _STRIDE_NS
    end_ns[place] = keys["t_end_wall_ns"].to_numpy()
    classes = class_indices(label_phases)
    began = [
        t for t, phase in zip(label_t_ns, label_phases, strict=True) if phase in INFECTED_PHASES
    ]
    spans = np.array(list(infections_in(label_t_ns, label_phases)), dtype=np.int64).reshape(-1, 3)
    filled = np.full((n_rows, _K), 1 / _K)
    filled[place] = proba
    present = np.zeros(n_rows, dtype=np.bool_)
    present[place] = True
    true = np.full(n_rows, -1, dtype=np.int64)
    true[place] = y_true
    return AlarmWindows(
        proba=filled,
        present=present,
        lengths=np.array([n_rows], dtype=np.int64),
        end_s=(end_ns - label_t_ns[0]) / NS_PER_S,
        phase_at_end=classes[np.searchsorted(label_t_ns, end_ns, side="right") - 1],
        y_true=true,
        onset_s=np.array([(began[0] - label_t_ns[0]) / NS_PER_S if began else np.nan]),
        infection=_infection_of(end_ns, spans),
        infections=Infections(
            episode=np.zeros(len(spans), dtype=np.int64),
            begin_s=(spans[:, 0] - label_t_ns[0]) / NS_PER_S,
            onset_s=(spans[:, 1] - label_t_ns[0]) / NS_PER_S,
        ),
        clean_only=np.array([set(label_phases) == {Phase.CLEAN}]),
        t0_ns=label_t_ns[:1],
        episode_ids=(keys["episode_id"][0],),
        profiles=(keys["profile"][0],),
        hosts=(keys["host_id"][0],),
    )


def _infection_of(end_ns: Ints, spans: Ints) -> Ints:
    """(n,) number of the infection that each time lies in, of (I, 3) spans; −1 outside of all.

    A window that ends with an infection's beginning saw nothing of it, and one that ends with its
    end is of the phase after it.
    """
    if not len(spans):
        return np.full(end_ns.size, -1, dtype=np.int64)
    latest = np.searchsorted(spans[:, 0], end_ns, side="left") - 1
    inside = (latest >= 0) & (end_ns < spans[latest, 2])
    return np.where(inside, latest, -1)


_ARRAYS: Final = (
    "proba",
    "present",
    "lengths",
    "end_s",
    "phase_at_end",
    "y_true",
    "onset_s",
    "clean_only",
    "t0_ns",
)
_NONE: Final = AlarmWindows(
    proba=np.zeros((0, _K)),
    present=np.zeros(0, dtype=np.bool_),
    lengths=np.zeros(0, dtype=np.int64),
    end_s=np.zeros(0),
    phase_at_end=np.zeros(0, dtype=np.int64),
    y_true=np.zeros(0, dtype=np.int64),
    onset_s=np.zeros(0),
    infection=np.zeros(0, dtype=np.int64),
    infections=Infections(
        episode=np.zeros(0, dtype=np.int64), begin_s=np.zeros(0), onset_s=np.zeros(0)
    ),
    clean_only=np.zeros(0, dtype=np.bool_),
    t0_ns=np.zeros(0, dtype=np.int64),
    episode_ids=(),
    profiles=(),
    hosts=(),
)


def _joined(episodes: Sequence[AlarmWindows]) -> AlarmWindows:
    # Of no episode every array still has its type and number of columns.
    parts = [_NONE, *episodes]
    arrays = {name: np.concatenate([getattr(part, name) for part in parts]) for name in _ARRAYS}
    n_infections = [len(part.infections) for part in parts]
    before = np.cumsum(n_infections) - n_infections
    shifted = [
        np.where(part.infection >= 0, part.infection + n, -1)
        for part, n in zip(parts, before, strict=True)
    ]
    infections = Infections(
        # The first part is of no episode.
        episode=np.repeat(np.arange(-1, len(episodes), dtype=np.int64), n_infections),
        begin_s=np.concatenate([part.infections.begin_s for part in parts]),
        onset_s=np.concatenate([part.infections.onset_s for part in parts]),
    )
    return AlarmWindows(
        **arrays,
        infection=np.concatenate(shifted),
        infections=infections,
        episode_ids=tuple(name for part in parts for name in part.episode_ids),
        profiles=tuple(name for part in parts for name in part.profiles),
        hosts=tuple(name for part in parts for name in part.hosts),
    )
