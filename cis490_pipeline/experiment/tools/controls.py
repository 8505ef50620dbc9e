"""What recorded controls show of the recorder, read from a store's archives on demand."""

from collections.abc import Collection, Iterator, Sequence
from typing import Final

import numpy as np

from cis490_pipeline.domain import NS_PER_S, EpisodeRef, Phase, Recipe
from cis490_pipeline.domain.arrays import Bools, Float32s, Ints
from cis490_pipeline.errors import EpisodeRejectedError, StoreError
from cis490_pipeline.evaluation.probes.control_steps import ControlRun, LabelSteps, control_steps
from cis490_pipeline.evaluation.schema.controls import ControlsReport
from cis490_pipeline.experiment.stages.workspace import Workspace
from cis490_pipeline.experiment.tools.control_scores import stored_control_scores
from cis490_pipeline.experiment.tools.recording_blocks import (
    CleanWindows,
    clean_windows,
    predict_blocks,
)
from cis490_pipeline.features.resample import episode_grid, step_count
from cis490_pipeline.features.steps import SIDE_S, step_changes
from cis490_pipeline.store.episode import Episode, load_episode
from cis490_pipeline.store.receiver_index import StoreIndex
from cis490_pipeline.store.recorder_notes import RecorderNotes, Sham, recorder_notes

_GUARD_NS: Final = round((SIDE_S + 1.0) * NS_PER_S)
"""How far a step lies from other causes: its own side, and one interval of the slower sources."""
_SPACING_NS: Final = round(2 * SIDE_S * NS_PER_S)


def controls_report(
    workspace: Workspace, hosts: Collection[str] | None = None, recipe: Recipe = Recipe.HOST
) -> ControlsReport:
    """Find what of the recorder shows in the episodes of some hosts.

    Parameters
    ----------
    hosts : by default the hosts of the train and val sides where the settings name both, so that no
        test host is looked at; else all.
    recipe : whose models' stored predictions are scored, if there are any.

    Returns
    -------
    Which channels step at the shams of controls; how well the block of the recording is predicted
    from clean windows, before and after they are taken relative to their baseline; and how models
    score against the phases that the controls would have had.

    Raises
    ------
    StoreError
        If the store has no episode of these hosts.
    EvaluationError
        If stored predictions are damaged.
    """
    settings = workspace.settings
    index = workspace.store.read_index()
    refs = _chosen(workspace, index, hosts)
    unreadable: dict[str, str] = {}
    rng = np.random.default_rng(settings.seed)
    controls: list[ControlRun] = []
    infected: list[LabelSteps] = []
    clean: list[CleanWindows] = []
    shams: dict[str, tuple[Sham, ...]] = {}
    for episode, notes in _recorded(workspace, index, refs, unreadable):
        is_clean = {label.phase for label in episode.labels} == {Phase.CLEAN}
        if notes.shams and not is_clean:
            unreadable[str(episode.ref)] = "it has shams, and labels other than clean"
            continue
        if notes.shams:
            controls.append(control_run(episode, notes, rng))
            shams[episode.ref.episode_id] = notes.shams
        elif not is_clean:
            infected.append(label_steps(episode, notes))
        if notes.block is not None:
            clean.append(clean_windows(episode, notes.block, rng))
    chosen = sorted({ref.host_id for ref in refs})
    return {
        "format": "controls",
        "store": workspace.store.name,
        "hosts": chosen,
        "n_episodes": len(refs),
        "unreadable": unreadable,
        "steps": control_steps(controls, infected, seed=settings.seed),
        "blocks": predict_blocks(clean, seed=settings.seed),
        "recipe": str(recipe),
        "models": stored_control_scores(workspace.paths, recipe, shams, chosen, seed=settings.seed),
    }


def _chosen(
    workspace: Workspace, index: StoreIndex, hosts: Collection[str] | None
) -> list[EpisodeRef]:
    settings = workspace.settings
    if hosts is None and settings.val_hosts:
        hosts = (*settings.train_hosts, *settings.val_hosts)
    every = workspace.store.require_episodes(index)
    refs = [ref for ref in every if hosts is None or ref.host_id in hosts]
    if not refs:
        known = ", ".join(sorted({ref.host_id for ref in every}))
        raise StoreError(
            f"{workspace.store.name}: no episode of {', '.join(sorted(hosts or ()))}; its hosts "
            f"are {known}"
        )
    return refs


def _recorded(
    workspace: Workspace,
    index: StoreIndex,
    refs: Sequence[EpisodeRef],
    unreadable: dict[str, str],
) -> Iterator[tuple[Episode, RecorderNotes]]:
    """Yield the episodes with notes of a recorder; of those that are rejected, note why."""
    for done, ref in enumerate(refs, 1):
        row = index.rows.get(ref)
        notes = recorder_notes(workspace.store, ref, row)
        workspace.progress("episodes", done, len(refs))
        if notes is None:
            continue
        try:
            yield load_episode(workspace.store, ref, row), notes
        except EpisodeRejectedError as rejected:
            unreadable[str(ref)] = str(rejected)


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
