"""What an alarm learns beside a model's predictions: the order of phases, and when they began."""

from cis490_pipeline.domain import Side
from cis490_pipeline.evaluation.detection.fit import label_sequences
from cis490_pipeline.evaluation.detection.report import AlarmInputs
from cis490_pipeline.evaluation.detection.windows import TRUTH_COLUMNS
from cis490_pipeline.experiment.pipeline.corpus import GridShards
from cis490_pipeline.experiment.stages.workspace import Workspace
from cis490_pipeline.features.datasets.load import window_keys
from cis490_pipeline.features.datasets.opened import OpenDataset
from cis490_pipeline.features.grids.store import GridStore


def alarm_inputs(workspace: Workspace, dataset: OpenDataset) -> AlarmInputs:
    """Read the label sequences of the train side, and the labels of every episode.

    Parameters
    ----------
    workspace : whose grids hold the labels.
    dataset : the recipe's feature or tensor shards.

    Notes
    -----
    The true start of a phase is its row in ``labels.jsonl``, as the grids' index keeps it.
    """
    train = window_keys(dataset, Side.TRAIN)
    grids = GridStore(GridShards(workspace).folder).frame
    return AlarmInputs(label_sequences(train), grids.select(TRUTH_COLUMNS))
