"""What is measured of a recorder's episodes, one after another: steps at shams, clean windows."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from cis490_pipeline.domain import NS_PER_S, EpisodeRef, Phase
from cis490_pipeline.domain.arrays import Bools, Float32s, Ints
from cis490_pipeline.errors import EpisodeRejectedError
from cis490_pipeline.evaluation.probes.control_steps import ControlRun, LabelSteps
from cis490_pipeline.experiment.pipeline.recording_blocks import CleanWindows, clean_windows
from cis490_pipeline.experiment.stages.workspace import Workspace
from cis490_pipeline.features.resample import episode_grid, step_count
from cis490_pipeline.features.steps import SIDE_S, step_changes
from cis490_pipeline.store.episode import Episode, load_episode
from cis490_pipeline.store.receiver_index import StoreIndex
from cis490_pipeline.store.recorder_notes import RecorderNotes, Sham, recorder_notes

_GUARD_NS: Final = round((SIDE_S + 1.0) * NS_PER_S)
"""How far a step lies from other causes: its own side, and one interval of the slower sources."""
_SPACING_NS: Final = round(2 * SIDE_S * NS_PER_S)


@dataclass(frozen=True, eq=False)
class Recordings:
    """What was measured of episodes with notes of a recorder; no telemetry is kept.

    Attributes
    ----------
    shams : of each control, by episode id.
    unreadable : episodes left out, and why.
    """

    controls: list[ControlRun] = field(default_factory=list)
    infected: list[LabelSteps] = field(default_factory=list)
    clean: list[CleanWindows] = field(default_factory=list)
    shams: dict[str, tuple[Sham, ...]] = field(default_factory=dict)
    unreadable: dict[str, str] = field(default_factory=dict)

    def add(self, episode: Episode, notes: RecorderNotes, rng: np.random.Generator) -> None:
        """Measure an episode as what it is: a control, an infected run, or neither."""
        is_clean = {label.phase for label in episode.labels} == {Phase.CLEAN}
        if notes.shams and not is_clean:
            self.unreadable[str(episode.ref)] = "it has shams, and labels other than clean"
            return
        if notes.shams:
            self.controls.append(control_run(episode, notes, rng))
            self.shams[episode.ref.episode_id] = notes.shams
        elif not is_clean:
            self.infected.append(label_steps(episode, notes))
        if notes.block is not None:
            self.clean.append(clean_windows(episode, notes.block, rng))


def notes_of(
    workspace: Workspace, index: StoreIndex, refs: Collection[EpisodeRef]
) -> dict[EpisodeRef, RecorderNotes]:
    """Read the notes of those episodes that have any; raises as ``recorder_notes``."""
    found = {ref: recorder_notes(workspace.store, ref, index.rows.get(ref)) for ref in refs}
    return {ref: notes for ref, notes in found.items() if notes is not None}


def measure(
    workspace: Workspace, index: StoreIndex, notes: Mapping[EpisodeRef, RecorderNotes]
) -> Recordings:
    """Read and measure episodes by the seed of the settings; one that is rejected says why."""
    recordings = Recordings()
    rng = np.random.default_rng(workspace.settings.seed)
    for done, (ref, of_episode) in enumerate(notes.items(), 1):
        try:
            episode = load_episode(workspace.store, ref, index.rows.get(ref))
        except (EpisodeRejectedError, OSError) as fault:
            recordings.unreadable[str(ref)] = str(fault)
        else:
            recordings.add(episode, of_episode, rng)
        workspace.progress("controls", done, len(notes))
    return recordings


def control_run(episode: Episode, notes: RecorderNotes, rng: np.random.Generator) -> ControlRun:
    """Measure a control's steps at its shams and at random times that no other step overlaps.

    Both are left out beside the begin or end of a look-alike, the others also beside a sham: what
    is left differs by the sham alone.
    """
    shams = np.array([sham.t_wall_ns for sham in notes.shams], dtype=np.int64)
    edges = _edges(notes)
    grid = _grid(episode)
    seconds = np.arange(episode.t0_ns, episode.end_ns, NS_PER_S, dtype=np.int64)
    # Within the second at random: rows of 1 Hz come at one place of it.
    others = seconds + rng.integers(NS_PER_S, size=seconds.size)
    sides_ns = round(SIDE_S * NS_PER_S)
    others = others[(others - episode.t0_ns >= sides_ns) & (episode.end_ns - others >= sides_ns)]
    others = _apart(others[_away(others, np.concatenate([shams, edges]))], rng)
    begins = np.array([ran.began_ns for ran in notes.backgrounds], dtype=np.int64)
    # Each is an edge itself: the only one so near.
    alone = (np.abs(begins[:, None] - edges[None, :]) <= _GUARD_NS).sum(axis=1) == 1
    phases = [sham.phase for sham in notes.shams]
    kept = np.flatnonzero(_away(shams, edges))
    return ControlRun(
        episode_id=episode.ref.episode_id,
        host_id=episode.ref.host_id,
        phases=tuple(phases[k] for k in kept),
        before=tuple(["clean", *phases][k] for k in kept),
        steps=step_changes(grid, episode.t0_ns, shams[kept]),
        elsewhere=step_changes(grid, episode.t0_ns, others),
        look_alikes=step_changes(grid, episode.t0_ns, begins[alone & _away(begins, shams)]),
        n_left_out=shams.size - kept.size,
    )


def label_steps(episode: Episode, notes: RecorderNotes) -> LabelSteps:
    """Measure an infected run's steps at its labels, but for those beside a look-alike's edge."""
    labels = episode.labels
    times = np.array([label.t_wall_ns for label in labels[1:]], dtype=np.int64)
    kept = np.flatnonzero(_away(times, _edges(notes)))
    return LabelSteps(
        episode_id=episode.ref.episode_id,
        host_id=episode.ref.host_id,
        phases=tuple(labels[k + 1].phase for k in kept),
        before=tuple(labels[k].phase for k in kept),
        steps=step_changes(_grid(episode), episode.t0_ns, times[kept]),
    )


def _edges(notes: RecorderNotes) -> Ints:
    return np.array(
        [t_ns for ran in notes.backgrounds for t_ns in (ran.began_ns, ran.ended_ns)], dtype=np.int64
    )


def _grid(episode: Episode) -> Float32s:
    n_steps = step_count(episode.t0_ns, episode.end_ns)
    return episode_grid(episode.columns, episode.t0_ns, n_steps)


def _apart(times: Ints, rng: np.random.Generator) -> Ints:
    """Draw times of which no two are under 10 s apart, until none is left that would be.

    Steps that overlap are alike, and an event would stand out against a few bursts seen often: with
    a time in every second, 15 % of bursty channels had p ≤ .05 by chance, and so 5 %.
    """
    chosen: list[int] = []
    for t_ns in rng.permutation(times).tolist():
        if all(abs(t_ns - other) >= _SPACING_NS for other in chosen):
            chosen.append(t_ns)
    return np.sort(np.array(chosen, dtype=np.int64))


def _away(times: Ints, causes: Ints) -> Bools:
    """(n,) whether each time lies over 6 s from every cause."""
    if not causes.size:
        return np.ones(times.size, dtype=np.bool_)
    away = np.abs(times[:, None] - causes[None, :]).min(axis=1) > _GUARD_NS
    return np.asarray(away, dtype=np.bool_)
