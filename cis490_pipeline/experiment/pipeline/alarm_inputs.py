"""What alarm reports are judged by besides predictions: labels, and the look-alikes that ran."""

from collections.abc import Sequence
from functools import lru_cache
from itertools import starmap

import polars as pl

from cis490_pipeline.domain import EpisodeRef, Recipe, Side
from cis490_pipeline.evaluation.detection.fit import label_sequences
from cis490_pipeline.evaluation.detection.look_alikes import LOOK_ALIKE_SCHEMA
from cis490_pipeline.evaluation.detection.report import AlarmInputs
from cis490_pipeline.evaluation.detection.windows import TRUTH_COLUMNS
from cis490_pipeline.experiment.pipeline.corpus import GridShards
from cis490_pipeline.experiment.stages.workspace import Workspace
from cis490_pipeline.features.datasets.load import window_keys
from cis490_pipeline.features.datasets.opened import OpenDataset
from cis490_pipeline.features.grids.store import GridStore
from cis490_pipeline.storage.parquet import read_table
from cis490_pipeline.store.receiver import LocalStore
from cis490_pipeline.store.recorder_notes import recorder_notes


def alarm_inputs(workspace: Workspace, recipe: Recipe, dataset: OpenDataset) -> AlarmInputs:
    """Read the label sequences of the train side, the labels of every episode, and what ran.

    The true start of a phase is its row in ``labels.jsonl``, as the grids' index keeps it.
    """
    grids = GridStore(GridShards(workspace).folder)
    return AlarmInputs(
        label_sequences(window_keys(dataset, Side.TRAIN)),
        grids.frame.select(TRUTH_COLUMNS),
        look_alikes(workspace, recipe, grids.digest),
    )


def look_alikes(workspace: Workspace, recipe: Recipe, grids_digest: str) -> pl.DataFrame | None:
    """Read which look-alikes ran in the episodes of val and test, from the recorder's notes.

    Returns
    -------
    A table of ``LOOK_ALIKE_SCHEMA``. None if no episode has notes, or the store is elsewhere: to
    fetch every archive again for this would cost more than all else of a report.
    """
    store = workspace.store
    if not isinstance(store, LocalStore):
        return None
    index = read_table(workspace.paths.validation_index(recipe))
    scored = index.filter(pl.col("side").is_in([str(Side.VAL), str(Side.TEST)]))
    refs = starmap(EpisodeRef, scored.select("host_id", "episode_id").sort("episode_id").rows())
    return _noted(store, tuple(refs), grids_digest)


@lru_cache(maxsize=2)
def _noted(store: LocalStore, refs: Sequence[EpisodeRef], digest: str) -> pl.DataFrame | None:
    """Read the notes of these episodes once for all models; ``digest`` is of their contents."""
    index = store.read_index()
    notes = {ref: recorder_notes(store, ref, index.rows.get(ref)) for ref in refs}
    if not any(notes.values()):
        return None
    rows = [
        (ref.episode_id, ran.activity, ran.began_ns, ran.ended_ns)
        for ref, of in notes.items()
        if of is not None
        for ran in of.backgrounds
    ]
    return pl.DataFrame(rows, schema=LOOK_ALIKE_SCHEMA, orient="row")
