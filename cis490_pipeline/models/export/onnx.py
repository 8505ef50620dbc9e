"""ONNX export, verified against the model's own predictions."""

import io
import warnings
from typing import TYPE_CHECKING, Final

import numpy as np
import numpy.typing as npt

from cis490_pipeline.checkpoints.onnx.check import INPUT_NAME, OUTPUT_NAME
from cis490_pipeline.checkpoints.onnx.session import OnnxClassifier
from cis490_pipeline.errors import CheckpointError
from cis490_pipeline.models.base import BaseModel

if TYPE_CHECKING:
    from cis490_pipeline.models.nets.neural import NeuralModel

OPSET: Final = 17
PARITY: Final = 1e-5
"""Maximal difference of a probability due to float32 rounding."""
PARITY_BATCHES: Final = (1, 3, 17)


def export_onnx(model: BaseModel) -> bytes:
    """Export a fitted model: input ``windows`` (n, *shape), output ``probabilities`` (n, 5).

    Raises
    ------
    NotFittedError
        If the model is not fitted.
    CheckpointError
        If the export's probabilities differ from the model's.
    """
    onnx = _export(model)
    require_parity(model, onnx)
    return onnx


def require_parity(model: BaseModel, onnx: bytes) -> None:
    """Raise if an export differs from its model, at several batch sizes and with unknown values.

    Some versions of torch silently exported a GRU with a misplaced reset gate, whose predictions
    were only slightly wrong.

    Raises
    ------
    CheckpointError
        Naming the largest difference.
    """
    for n_windows, difference in parity(model, onnx).items():
        # Written so that NaN fails.
        if not difference <= PARITY:
            raise CheckpointError(
                f"the ONNX export of {model.architecture} ({model.variant}) differs from the model "
                f"by {difference:.3g} in a probability at batch {n_windows}, allowed is "
                f"{PARITY:g}; try other versions of torch, onnx or onnxruntime"
            )


def parity(model: BaseModel, onnx: bytes) -> dict[int, float]:
    """Compute the maximal difference of a probability between model and export, by batch size."""
    classifier = OnnxClassifier(onnx)
    differences = {}
    for n_windows in PARITY_BATCHES:
        X = _probe_windows(model, n_windows)
        exported, expected = classifier.predict_proba(X), model.predict_proba(X)
        differences[n_windows] = float(np.abs(exported - expected).max())
    return differences


def _probe_windows(model: BaseModel, n_windows: int) -> npt.NDArray[np.float32]:
    """Generate calibrated windows with unknown readings, one unknown source and window."""
    rng = np.random.default_rng(n_windows)
    X = rng.normal(0, 2, size=(n_windows, *model.spec.shape)).clip(-8, 8).astype(np.float32)
    X[rng.random(X.shape) < 0.02] = np.nan
    X[0, model.spec.source_columns[0]] = np.nan
    X[1:2] = np.nan
    return X


def _export(model: BaseModel) -> bytes:
    if model.state().booster:
        from cis490_pipeline.models.export.onnx_trees import trees_to_onnx
        from cis490_pipeline.models.trees.gbt import Gbt

        assert isinstance(model, Gbt)
        return trees_to_onnx(model.booster_)
    from cis490_pipeline.models.nets.neural import NeuralModel

    assert isinstance(model, NeuralModel)
    return _export_network(model)


def _export_network(model: "NeuralModel") -> bytes:
    import torch

    from cis490_pipeline.models.nets.layers import PhaseNetwork

    class WithSoftmax(torch.nn.Module):
        """The network with its softmax, so that the file yields probabilities."""

        def __init__(self, network: PhaseNetwork) -> None:
            super().__init__()
            self.network = network

        def forward(self, windows: torch.Tensor) -> torch.Tensor:
            return torch.softmax(self.network(windows), dim=1)

    buffer = io.BytesIO()
    with warnings.catch_warnings():
        # The older, deprecated exporter of torch: 0.3 s instead of 12 s for a GRU, prints nothing,
        # and every export is compared with its model afterwards.
        warnings.simplefilter("ignore")
        torch.onnx.export(
            WithSoftmax(model.network_).eval(),
            (torch.zeros(2, *model.spec.shape),),
            buffer,  # type: ignore[arg-type]  # this exporter takes a stream
            input_names=[INPUT_NAME],
            output_names=[OUTPUT_NAME],
            dynamic_axes={INPUT_NAME: {0: "n"}, OUTPUT_NAME: {0: "n"}},
            opset_version=OPSET,
            dynamo=False,
        )
    return buffer.getvalue()
