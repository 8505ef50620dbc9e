"""A checkpoint's ONNX model, run without torch or XGBoost."""

from typing import Final

import numpy as np
import numpy.typing as npt
import onnxruntime as ort
from onnxruntime.capi import onnxruntime_pybind11_state as ort_errors

from cis490_pipeline.checkpoints.onnx.check import INPUT_NAME, OUTPUT_NAME, require_plain_onnx
from cis490_pipeline.domain import PHASES
from cis490_pipeline.errors import CheckpointError, DatasetError

__all__ = ["INPUT_NAME", "OUTPUT_NAME", "OnnxClassifier"]

_UNREADABLE: Final = (
    ort_errors.Fail,
    ort_errors.InvalidArgument,
    ort_errors.InvalidGraph,
    ort_errors.InvalidProtobuf,
    ort_errors.NotImplemented,
    ort_errors.RuntimeException,
)


class OnnxClassifier:
    """Probabilities of the five phases by ONNX Runtime; 5 to 40 times torch at one window.

    Parameters
    ----------
    onnx : a model as ``export_onnx`` makes it: input ``windows`` (n, *shape), output
        ``probabilities`` (n, 5).
    threads : of one prediction.
    checked : whether ``require_plain_onnx`` took it already.

    Raises
    ------
    CheckpointError
        If it is no such model.
    """

    def __init__(self, onnx: bytes, *, threads: int = 1, checked: bool = False) -> None:
        if not onnx:
            raise CheckpointError(
                "this checkpoint has no model.onnx; train it again, which exports it"
            )
        if not checked:
            require_plain_onnx(onnx)
        options = ort.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        # Errors only, as exceptions: the runtime would print its warnings to stderr.
        options.log_severity_level = 4
        try:
            self._session = ort.InferenceSession(
                onnx, sess_options=options, providers=["CPUExecutionProvider"]
            )
        except _UNREADABLE as fault:
            raise CheckpointError(f"model.onnx cannot be run: {fault}") from fault
        self.shape: tuple[int, ...] = tuple(self._session.get_inputs()[0].shape[1:])

    def predict_proba(self, X: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
        """Probability of each phase.

        Parameters
        ----------
        X : (n_windows, *shape) float32, calibrated; NaN is unknown.

        Returns
        -------
        (n_windows, 5), rows summing to 1.

        Raises
        ------
        DatasetError
            If the shape or type is another.
        """
        if X.dtype != np.float32 or X.shape[1:] != self.shape:
            raise DatasetError(
                f"X must be float32 of (n_windows, {', '.join(map(str, self.shape))}), "
                f"got {X.dtype} of {X.shape}"
            )
        if len(X) == 0:
            return np.zeros((0, len(PHASES)))
        (raw,) = self._session.run([OUTPUT_NAME], {INPUT_NAME: X})
        probabilities = raw.astype(np.float64)
        normalized: npt.NDArray[np.float64] = probabilities / probabilities.sum(
            axis=1, keepdims=True
        )
        return normalized
