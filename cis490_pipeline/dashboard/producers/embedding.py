"""Embeddings: PCA of the layer before a network's head, or of a tree model's margins."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from cis490_pipeline.checkpoints.manifest import ONNX
from cis490_pipeline.checkpoints.onnx.check import INPUT_NAME, OUTPUT_NAME
from cis490_pipeline.checkpoints.onnx.session import open_session
from cis490_pipeline.checkpoints.runnable import RunnableModel
from cis490_pipeline.domain import Side
from cis490_pipeline.domain.arrays import Floats
from cis490_pipeline.errors import CheckpointError, ConfigError
from cis490_pipeline.features.datasets.load import load_windows
from cis490_pipeline.features.datasets.opened import dataset_kind, open_dataset

MAX_TRAIN: Final = 4000
"""Train windows used for the fit; more would hardly change the plane."""
_HEAD: Final = "Gemm"
_TREES: Final = "TreeEnsembleRegressor"


class InnerLayer:
    """Runs an exported model up to the layer that its probabilities are computed from.

    Raises `CheckpointError` if its last layers are not those of this project's exports, and
    `ConfigError` if onnx, which reads the graph, is not installed.
    """

    def __init__(self, content: bytes) -> None:
        try:
            import onnx
        except ModuleNotFoundError as missing:
            raise ConfigError(
                "an embedding needs onnx, which is not installed here; "
                "pip install 'cis490_pipeline[train]' brings it"
            ) from missing
        model = onnx.load_model_from_string(content)
        self._name = _inner_name(model.graph)
        # The runtime infers the shape.
        inner = onnx.helper.make_tensor_value_info(self._name, onnx.TensorProto.FLOAT, None)
        model.graph.output.append(inner)
        self._session = open_session(model.SerializeToString())

    def embed(self, X: npt.NDArray[np.float32]) -> Floats:
        """Embed calibrated windows: (n_windows, *shape) -> (n_windows, n_dimensions)."""
        (inner,) = self._session.run([self._name], {INPUT_NAME: X})
        embedded: Floats = inner.astype(np.float64).reshape(len(X), -1)
        return embedded


def _inner_name(graph: Any) -> str:
    made_by = {output: node for node in graph.node for output in node.output}
    softmax = made_by.get(OUTPUT_NAME)
    before = made_by.get(softmax.input[0]) if softmax is not None else None
    if softmax is not None and before is not None and before.op_type in (_HEAD, _TREES):
        return str(softmax.input[0] if before.op_type == _TREES else before.input[0])
    raise CheckpointError(
        f"model.onnx ends in {getattr(before, 'op_type', 'an unknown node')}, wanted {_HEAD} or "
        f"{_TREES} before its softmax; export the model again"
    )


@dataclass(frozen=True, eq=False)
class Plane:
    """First two principal components of the train windows, scaled to 0…1.

    Attributes
    ----------
    centre : (n_dimensions,) mean of the train windows.
    axes : (n_dimensions, 2) orthonormal axes, largest variance first.
    low, high : (2,) range of the train windows along the axes.
    """

    centre: Floats
    axes: Floats
    low: Floats
    high: Floats

    @classmethod
    def fit(cls, embedded: Floats) -> "Plane":
        """Fit on train windows (n_windows, n_dimensions), of at least two dimensions.

        Principal components by SVD; the sign of each axis makes its largest component positive, so
        that the same windows give the same picture.
        """
        centre = embedded.mean(axis=0)
        _, _, rows = np.linalg.svd(embedded - centre, full_matrices=False)
        axes = rows[:2].T
        largest = np.abs(axes).argmax(axis=0)
        axes = axes * np.where(axes[largest, [0, 1]] < 0, -1.0, 1.0)
        along = (embedded - centre) @ axes
        return cls(centre, axes, along.min(axis=0), along.max(axis=0))

    def place(self, embedded: Floats) -> Floats:
        """Project windows: (n_windows, n_dimensions) -> (n_windows, 2) within 0…1.

        Values beyond the range of train are clipped.
        """
        along = (embedded - self.centre) @ self.axes
        width = np.where(self.high > self.low, self.high - self.low, 1.0)
        placed: Floats = np.clip((along - self.low) / width, 0.0, 1.0)
        return placed


@dataclass(frozen=True, eq=False)
class EmbeddingMap:
    """Inner layer of a model, and the plane of its windows."""

    layer: InnerLayer
    plane: Plane

    def place(self, X: npt.NDArray[np.float32]) -> Floats:
        """Project calibrated windows: (n_windows, *shape) -> (n_windows, 2) within 0…1."""
        return self.plane.place(self.layer.embed(X))


def fit_map(model: RunnableModel, checkpoint: Path, dataset: Path) -> EmbeddingMap:
    """Fit a model's embedding on up to 4,000 evenly spaced windows of its train side.

    Raises `DatasetError` if the dataset is missing, changed, or has no train window; otherwise
    fails as ``InnerLayer``.
    """
    kind = dataset_kind(dataset, model.schema.input_kind)
    opened = open_dataset(dataset, kind)
    windows = load_windows(opened, Side.TRAIN, model.calibrator)
    rows = np.unique(np.linspace(0, len(windows) - 1, num=min(MAX_TRAIN, len(windows))).round())
    layer = InnerLayer((checkpoint / ONNX).read_bytes())
    return EmbeddingMap(layer, Plane.fit(layer.embed(windows.take(rows.astype(np.int64)))))
