"""The same networks through the same loop on data nobody here wrote, beside well-kept peers.

BasicMotions (6 channels, 100 steps, 4 classes), JapaneseVowels (12 channels, 25 steps, 9 classes;
the version of equal length) and PickupGestureWiimoteZ (an accelerometer, here 30 steps, 10 classes)
lie in aeon's wheel with their default train and test split.
One setting serves all sets: the architectures' own defaults, but batches of 16 (40 series make no
64) and all 100 epochs on all training series with the last averaged weights kept: a validation
side of eight series would choose by chance. No source is dropped, as there is only one.

Networks fall behind where short series are few and hold one event each: they memorize when it
happens. Such a set is measured a second time, with copies moved by a few steps and `SHORT`.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from torch import nn

from benchmarks.kept import Kept
from benchmarks.model_peers import PEERS, Classes, Floats
from cis490_pipeline.features.datasets.window_data import ArrayWindows
from cis490_pipeline.features.summary import summarize
from cis490_pipeline.models.nets.cnn import CnnConfig, CnnNetwork
from cis490_pipeline.models.nets.recurrent import RecurrentConfig, RecurrentNetwork
from cis490_pipeline.models.nets.transformer import TransformerConfig, TransformerNetwork
from cis490_pipeline.training.config import TrainConfig
from cis490_pipeline.training.loop import reproducible, train_network

SETTINGS: Final = {
    "max_epochs": 100,
    "batch_size": 16,
    "source_dropout": 0.0,
    "shift_jitter": 0.0,
}
FILES: Final = {
    "BasicMotions": "BasicMotions",
    "JapaneseVowels": "JapaneseVowels_eq",
    "PickupGestureWiimoteZ": "PickupGestureWiimoteZ",
}
RESAMPLED_STEPS: Final = 30
"""Steps that series of unequal length are brought to."""
MOVED: Final = ("PickupGestureWiimoteZ",)
"""Sets that are measured with moved copies too."""
MOST_MOVED: Final = 3
"""Steps that copies are moved by at most, either way."""
SHORT: Final = {"max_epochs": 15}
"""Settings for moved copies: as many optimizer steps as without."""
WANTED: Final = {"BasicMotions": 0.975, "JapaneseVowels": 0.98}


@dataclass(frozen=True, eq=False)
class PublicSet:
    """One set, each channel standardized by the training series' mean and standard deviation."""

    name: str
    X: Floats
    """(n_series, n_channels, n_steps)."""
    y: Classes
    X_test: Floats
    y_test: Classes

    @property
    def n_classes(self) -> int:
        """Number of classes."""
        return int(self.y.max()) + 1


def standardized(name: str, X: Any, y: Any, X_test: Any, y_test: Any) -> PublicSet:
    """Make a set whose classes are numbered and whose channels are standardized by train."""
    mean = X.mean(axis=(0, 2), keepdims=True)
    sd = np.maximum(X.std(axis=(0, 2), keepdims=True), 1e-6)
    classes, numbered = np.unique(y, return_inverse=True)
    numbered_test = np.searchsorted(classes, y_test)
    return PublicSet(
        name,
        ((X - mean) / sd).astype(np.float32),
        numbered.astype(np.int64),
        ((X_test - mean) / sd).astype(np.float32),
        numbered_test.astype(np.int64),
    )


def load(name: str) -> PublicSet:
    """Read a set from aeon's wheel; nothing is downloaded."""
    import aeon.datasets

    folder = Path(aeon.datasets.__file__).parent / "data" / name
    X, y = aeon.datasets.load_from_ts_file(str(folder / f"{FILES[name]}_TRAIN.ts"))
    X_test, y_test = aeon.datasets.load_from_ts_file(str(folder / f"{FILES[name]}_TEST.ts"))
    if isinstance(X, list):
        X, X_test = resampled(X), resampled(X_test)
    return standardized(name, X, y, X_test, y_test)


def resampled(series: Sequence[Any]) -> Any:
    """Interpolate series of unequal length to (n_series, n_channels, RESAMPLED_STEPS)."""
    share = np.linspace(0, 1, RESAMPLED_STEPS)
    return np.array(
        [[np.interp(share, np.linspace(0, 1, c.size), c) for c in one] for one in series]
    )


def moved(data: PublicSet, most: int = MOST_MOVED) -> PublicSet:
    """Training series with copies moved by up to ``most`` steps, their ends repeated."""
    last = data.X.shape[2] - 1
    steps = [np.clip(np.arange(last + 1) + by, 0, last) for by in range(-most, most + 1)]
    X = np.concatenate([data.X[:, :, at] for at in steps])
    return replace(data, name=f"{data.name}, moved", X=X, y=np.tile(data.y, len(steps)))


Build = Callable[[int, int, int], tuple[nn.Module, TrainConfig]]
"""From channels, steps and classes to a network and its configuration, given a seed elsewhere."""


def _networks(seed: int, settings: Mapping[str, Any]) -> dict[str, Build]:
    def recurrent(layer: type[nn.GRU] | type[nn.LSTM]) -> Build:
        config = RecurrentConfig(seed=seed, **settings)
        return lambda c, _, k: (
            RecurrentNetwork(layer, c, (slice(0, c),), config, n_classes=k),
            config,
        )

    cnn, transformer = CnnConfig(seed=seed, **settings), TransformerConfig(seed=seed, **settings)
    return {
        "cnn": lambda c, _, k: (CnnNetwork(c, (slice(0, c),), cnn, n_classes=k), cnn),
        "gru": recurrent(nn.GRU),
        "lstm": recurrent(nn.LSTM),
        "transformer": lambda c, t, k: (
            TransformerNetwork(c, t, (slice(0, c),), transformer, n_classes=k),
            transformer,
        ),
    }


NETWORKS: Final = ("cnn", "gru", "lstm", "transformer")


def network_accuracy(
    name: str, data: PublicSet, seed: int, settings: Mapping[str, Any] = SETTINGS
) -> float:
    """Test accuracy of one network trained by the project's loop."""
    n_channels, n_steps = data.X.shape[1:]
    with reproducible(seed=seed, threads=1):
        network, config = _networks(seed, settings)[name](n_channels, n_steps, data.n_classes)
    series = ArrayWindows(data.X, data.y, np.arange(len(data.y)).astype(str))
    train_network(network, series, None, config, sources=(), n_classes=data.n_classes)
    with torch.inference_mode():
        predicted = network(torch.from_numpy(data.X_test)).argmax(dim=1).numpy()
    return float((predicted == data.y_test).mean())


def summaries(X: Floats) -> Floats:
    """Statistics of each channel: the pipeline's five, and what tells more of so few steps.

    Minimum, maximum, quartiles, and the mean absolute difference of successive steps: peers that
    read summaries do better by them on these sets.
    """
    more = [X.min(axis=2), X.max(axis=2), *np.quantile(X, (0.25, 0.5, 0.75), axis=2)]
    more.append(np.abs(np.diff(X, axis=2)).mean(axis=2))
    return np.concatenate([summarize(X.transpose(0, 2, 1)), *more], axis=1).astype(np.float32)


def peer_accuracy(name: str, data: PublicSet, seed: int) -> float:
    """Test accuracy of one peer."""
    kind = PEERS[name]
    X, X_test = data.X, data.X_test
    if kind.input_kind == "summary":
        X, X_test = summaries(X), summaries(X_test)
    peer = kind.make(seed)
    peer.fit(X, data.y, None, None)
    return float((peer.predict(X_test) == data.y_test).mean())


def measure(kept: Kept, seeds: int, settings: Mapping[str, Any] = SETTINGS) -> list[dict[str, Any]]:
    """Accuracy of every network and peer on all sets, for each seed."""
    rows = []
    for data, own in _sets():
        for name in (*NETWORKS, *PEERS):
            found = [
                _kept_accuracy(kept, name, data, seed, {**settings, **own}) for seed in range(seeds)
            ]
            rows.append(
                {
                    "set": data.name,
                    "model": name,
                    "accuracies": [round(value, 4) for value in found],
                    "wanted": WANTED.get(data.name) if name in NETWORKS else None,
                }
            )
    return rows


def _sets() -> Iterator[tuple[PublicSet, Mapping[str, Any]]]:
    """Each set with the settings of its own."""
    for name in FILES:
        yield load(name), {}
    for name in MOVED:
        yield moved(load(name)), SHORT


def _kept_accuracy(
    kept: Kept, name: str, data: PublicSet, seed: int, settings: Mapping[str, Any]
) -> float:
    is_network = name in NETWORKS
    what = {
        "set": data.name,
        "model": name,
        "seed": seed,
        "settings": dict(settings) if is_network else None,
    }

    def measured() -> float:
        if is_network:
            return network_accuracy(name, data, seed, settings)
        return peer_accuracy(name, data, seed)

    return float(kept.get(what, lambda: {"accuracy": np.array(measured())})["accuracy"])
