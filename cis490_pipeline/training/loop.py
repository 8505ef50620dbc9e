"""Training loop of all networks: returns the best averaged weights and a history."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import nn

from cis490_pipeline.domain import PHASES
from cis490_pipeline.errors import TrainingError
from cis490_pipeline.features.datasets.window_data import WindowData
from cis490_pipeline.training.batches import in_memory
from cis490_pipeline.training.config import TrainConfig
from cis490_pipeline.training.history import EpochListener, History
from cis490_pipeline.training.run import TrainingRun
from cis490_pipeline.training.snapshot import Snapshots, training_identity


@contextmanager
def reproducible(*, seed: int, threads: int) -> Iterator[None]:
    """Fix torch's random state and number of threads inside the block; restore both after it."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            yield
    finally:
        torch.set_num_threads(before)


def train_network(
    network: nn.Module,
    train: WindowData,
    val: WindowData | None,
    config: TrainConfig,
    *,
    sources: Sequence[slice],
    progress: EpochListener | None = None,
    snapshots: Snapshots | None = None,
    n_classes: int = len(PHASES),
    columns_per_channel: int = 1,
) -> History:
    """Train a network in place; at the end it holds its best averaged weights.

    Parameters
    ----------
    network : maps (n_windows, *shape) with NaN for unknown to logits (n_windows, n_classes).
    train : windows that weights are fitted on; every class must occur.
    val : windows that choose the epoch, by macro F1; None trains all epochs and keeps the last.
    config : everything else the result depends on.
    sources : columns of each telemetry source on a window's first axis, for source dropout.
    progress : called after each epoch.
    snapshots : store for the state after each epoch. A training killed at any batch resumes from
        it and ends with bit-identical weights.
    n_classes : classes of the labels.
    columns_per_channel : neighbours on a window's first axis that channel dropout masks together.

    Returns
    -------
    The history; the network is in evaluation mode, on the CPU.

    Raises
    ------
    TrainingError
        If a class has no training window, ``val`` is empty, or the loss, a gradient or every
        validation score is not finite.
    """
    if val is not None and len(val) == 0:
        raise TrainingError("there is no validation window: the best epoch could not be chosen")
    with reproducible(seed=config.seed, threads=config.threads):
        held = None if val is None else in_memory(val)
        run = TrainingRun(
            network, in_memory(train), held, config, tuple(sources), n_classes, columns_per_channel
        )
        identity = ""
        if snapshots is not None:
            identity = training_identity(config, train, val, network, snapshots.about)
            run.restore(snapshots.load(identity))
        while not run.is_finished:
            record = run.advance()
            if snapshots is not None:
                snapshots.save(identity, run.state())
            if progress is not None:
                progress(record)
    history = run.history()
    network.load_state_dict(run.best.state)
    network.to("cpu").eval()
    return history
