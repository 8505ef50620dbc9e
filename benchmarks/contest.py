"""One contestant trained and tested on one arrangement's windows, kept for the next time."""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from benchmarks.host_sides import Sides, cut, without
from benchmarks.kept import Arrays, Kept
from benchmarks.model_peers import PEERS
from cis490_pipeline.domain import Architecture, Variant
from cis490_pipeline.domain.arrays import Ints
from cis490_pipeline.domain.catalogue import (
    ARCHITECTURE_VERSIONS,
    DEFAULT_FEATURES,
    FlatKind,
    InputKind,
    input_kind,
)
from cis490_pipeline.evaluation.confusion import confusion, episode_confusions, macro_f1
from cis490_pipeline.experiment.pipeline.training import CALIBRATION, GAUGES, SCALING
from cis490_pipeline.experiment.stages.workspace import Workspace
from cis490_pipeline.features.datasets.window_data import ArrayWindows
from cis490_pipeline.features.schema import feature_schema
from cis490_pipeline.models import registry
from cis490_pipeline.models.base import BaseModel
from cis490_pipeline.models.export.onnx import export_onnx

MODELS = tuple(str(architecture) for architecture in Architecture)


@dataclass(frozen=True, eq=False)
class Arrangement:
    """Who is on which side of one store, under one variant."""

    name: str
    workspace: Workspace
    index: pl.DataFrame
    folder: Path
    variant: Variant = Variant.REALISTIC
    features: FlatKind = DEFAULT_FEATURES
    """Kind of the dataset of features; one of history holds summaries too."""
    _read: dict[InputKind, Sides] = field(default_factory=dict)

    def sides(self, kind: InputKind) -> Sides:
        """Calibrated windows, read once."""
        if kind not in self._read:
            built = kind if kind == "tensor" else self.features
            self._read[kind] = cut(
                self.workspace, self.index, self.folder, kind, self.variant, built=built
            )
        return self._read[kind]


def run(
    kept: Kept,
    arrangement: Arrangement,
    name: str,
    seed: int,
    config: Mapping[str, Any] | None = None,
    kind: InputKind | None = None,
) -> Arrays:
    """Predictions of a model or peer on the test side, alive and with each source dead.

    Parameters
    ----------
    kind : of its windows; by default what the architecture or the peer takes by default.

    Returns
    -------
    ``y_true``, ``episode``, ``host``: (n_windows,); ``alive`` and, of models, ``dead_<source>``:
    predicted classes (n_windows,); of models ``proba``: (n_windows, 5); ``val_macro_f1``;
    ``seconds`` of CPU for training.
    """
    is_model = name in MODELS
    if kind is None:
        kind = input_kind(Architecture(name)) if is_model else PEERS[name].input_kind
    what = {
        "arrangement": arrangement.name,
        "variant": str(arrangement.variant),
        "name": name,
        "version": ARCHITECTURE_VERSIONS[Architecture(name)] if is_model else 1,
        "seed": seed,
        "config": dict(config or {}),
        "features": feature_schema(kind, arrangement.variant).hash,
        "calibration": [str(part) for part in (CALIBRATION, GAUGES, SCALING)],
    }
    fit = _of_model if is_model else _of_peer
    return kept.get(
        what, lambda: fit(arrangement.sides(kind), arrangement.variant, name, seed, config, kind)
    )


def _of_model(
    sides: Sides,
    variant: Variant,
    name: str,
    seed: int,
    config: Mapping[str, Any] | None,
    kind: InputKind,
) -> Arrays:
    model = registry.create(name, variant, kind=kind, seed=seed, config=config)
    return fitted(model, sides, variant, seed)


def fitted(model: BaseModel, sides: Sides, variant: Variant, seed: int) -> Arrays:
    """Train a model and return its predictions, as ``run`` does."""
    started = time.process_time()
    model.fit(sides.train, sides.val)
    seconds = time.process_time() - started

    def predicted(windows: ArrayWindows) -> np.ndarray[Any, Any]:
        return model.predict_windows(windows).argmax(axis=1)

    spec = model.spec
    dead = {
        f"dead_{source}": predicted(without(sides.test, columns))
        for (source, _, _), columns in zip(spec.sources, spec.source_columns, strict=True)
    }
    proba = model.predict_windows(sides.test)
    found = _truth(sides, predicted(sides.val), seconds) | dead
    found |= {"alive": proba.argmax(axis=1), "proba": proba.astype(np.float32)}
    if seed == 0 and model.input_kind != "history":
        # For the latency of one window: the trees' depends on how many were grown.
        found["onnx"] = np.frombuffer(export_onnx(model), dtype=np.uint8)
    return found


def _of_peer(
    sides: Sides,
    variant: Variant,
    name: str,
    seed: int,
    config: Mapping[str, Any] | None,
    kind: InputKind,
) -> Arrays:
    started = time.process_time()
    peer = PEERS[name].make(seed)
    peer.fit(sides.train.X, sides.train.y, sides.val.X, sides.val.y)
    seconds = time.process_time() - started
    return _truth(sides, peer.predict(sides.val.X), seconds) | {"alive": peer.predict(sides.test.X)}


def _truth(sides: Sides, on_val: Any, seconds: float) -> Arrays:
    return {
        "y_true": sides.test.y,
        "episode": sides.test.groups,
        "host": sides.test_hosts,
        "val_macro_f1": np.array(macro_f1(confusion(sides.val.y, on_val))),
        "seconds": np.array(seconds),
    }


def score(found: Arrays, predicted: str = "alive") -> float:
    """Macro F1 over all test windows."""
    return macro_f1(confusion(found["y_true"], found[predicted]))


def counts(runs: list[Arrays]) -> Ints:
    """(E, K, K) confusion matrices by episode, summed over the seeds of each episode."""
    matrices = episode_confusions(
        *(np.concatenate([found[key] for found in runs]) for key in ("y_true", "alive", "episode"))
    )
    return matrices.counts
