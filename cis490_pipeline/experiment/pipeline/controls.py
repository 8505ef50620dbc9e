"""What the recorder shows in a recipe's episodes, as the leaderboard carries it."""

from collections.abc import Collection, Mapping
from typing import Final

import numpy as np
import polars as pl

from cis490_pipeline.domain import CHANNELS, EpisodeRef, Phase, Recipe, Side
from cis490_pipeline.errors import StoreError
from cis490_pipeline.evaluation.probes.control_score import control_score
from cis490_pipeline.evaluation.probes.control_steps import clearness, control_steps
from cis490_pipeline.evaluation.schema.controls import Controls, ControlSteps, StepRow
from cis490_pipeline.experiment.pipeline.corpus import GridShards
from cis490_pipeline.experiment.pipeline.recording_blocks import predict_blocks
from cis490_pipeline.experiment.pipeline.recordings import measure
from cis490_pipeline.experiment.stages.workspace import Workspace
from cis490_pipeline.features.grids.store import GridStore
from cis490_pipeline.storage.parquet import read_table
from cis490_pipeline.store.receiver_index import StoreIndex
from cis490_pipeline.store.recorder_notes import RecorderNotes, recorder_notes

MAX_EPISODES: Final = 2000
"""Episodes drawn by the seed, at most: each archive is read again."""
_DEVELOPED_ON: Final = (Side.TRAIN, Side.VAL)
_HELD_OUT: Final = (Side.VAL, Side.TEST)


def recipe_controls(
    workspace: Workspace, recipe: Recipe, predictions: Mapping[str, pl.DataFrame]
) -> Controls:
    """Find what the recorder shows in the episodes of a recipe.

    Parameters
    ----------
    predictions : prediction frames of val and test, by model.

    Returns
    -------
    Steps at shams and the prediction of the recording's block from train and val alone, so that no
    channel is quarantined by what a test host shows; and each model's score over the controls of
    val and test, where it is scored anyway. ``why`` where no episode has notes of a recorder.
    """
    sides, n_in_all = _drawn(workspace, recipe)
    found: Controls = {
        "hosts": [],
        "n_episodes": 0,
        "n_episodes_read": len(sides),
        "n_episodes_in_all": n_in_all,
        "unreadable": {},
        "steps": None,
        "blocks": [],
        "models": [],
        "why": None,
    }
    try:
        index = workspace.store.read_index()
    except StoreError as gone:
        return {**found, "why": f"the store cannot be read: {gone}"}
    notes, unreadable = _notes(workspace, index, sides)
    if not notes:
        why = f"none of {len(sides)} episodes has a recorder's notes, as cis490 record makes them"
        return {**found, "unreadable": unreadable, "why": why}
    known = {ref: of for ref, of in notes.items() if sides[ref] in _DEVELOPED_ON}
    recordings, seed = measure(workspace, index, known), workspace.settings.seed
    clean_only = _clean_only(workspace)
    shams = {
        ref.episode_id: of.shams
        for ref, of in notes.items()
        if sides[ref] in _HELD_OUT and of.shams and ref.episode_id in clean_only
    }
    return {
        **found,
        "hosts": sorted({ref.host_id for ref in known}),
        "n_episodes": len(known),
        "unreadable": {**unreadable, **recordings.unreadable},
        "steps": _clearest(control_steps(recordings.controls, recordings.infected, seed=seed)),
        "blocks": predict_blocks(recordings.clean, seed=seed),
        "models": [
            {"model": name, **control_score(frame, shams, seed=seed)}
            for name, frame in (predictions.items() if shams else ())
        ],
    }


def _drawn(workspace: Workspace, recipe: Recipe) -> tuple[dict[EpisodeRef, str], int]:
    """Sides of a recipe's episodes, or of 2,000 drawn by the seed; and how many there are."""
    columns = ("host_id", "episode_id", "side")
    index = read_table(workspace.paths.validation_index(recipe), columns=columns)
    episodes = index.filter(pl.col("side") != Side.EXCLUDED).sort(columns[:2])
    n_in_all = episodes.height
    if n_in_all > MAX_EPISODES:
        rng = np.random.default_rng(workspace.settings.seed)
        episodes = episodes[np.sort(rng.choice(n_in_all, MAX_EPISODES, replace=False))]
    return {EpisodeRef(host, name): side for host, name, side in episodes.iter_rows()}, n_in_all


def _notes(
    workspace: Workspace, index: StoreIndex, refs: Collection[EpisodeRef]
) -> tuple[dict[EpisodeRef, RecorderNotes], dict[str, str]]:
    """Read notes; of those that cannot be read, why: another recorder's may be of any form."""
    notes: dict[EpisodeRef, RecorderNotes] = {}
    unreadable: dict[str, str] = {}
    for done, ref in enumerate(refs, 1):
        try:
            of_episode = recorder_notes(workspace.store, ref, index.rows.get(ref))
        except (StoreError, OSError) as fault:
            unreadable[str(ref)] = str(fault)
        else:
            if of_episode is not None:
                notes[ref] = of_episode
        workspace.progress("recorder's notes", done, len(refs))
    return notes, unreadable


def _clean_only(workspace: Workspace) -> set[str]:
    """Ids of the episodes that are labelled clean throughout."""
    phases = pl.col("label_phase").list
    clean = (phases.n_unique() == 1) & (phases.first() == Phase.CLEAN)
    return set(GridStore(GridShards(workspace).folder).frame.filter(clean)["episode_id"])


def _clearest(steps: ControlSteps) -> ControlSteps:
    """Keep of each channel the row with the least p-value, then the largest effect."""
    rows: dict[str, StepRow] = {}
    for row in sorted(steps["rows"], key=clearness):
        rows.setdefault(row["channel"], row)
    return {**steps, "rows": [rows[channel.name] for channel in CHANNELS]}
