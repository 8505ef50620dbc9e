import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from cis490_pipeline.checkpoints.onnx.session import OnnxClassifier
from cis490_pipeline.errors import CheckpointError, DatasetError


def softmax_model(input_name="windows", output_name="probabilities"):
    graph = helper.make_graph(
        [helper.make_node("Softmax", [input_name], [output_name], axis=1)],
        "softmax",
        [helper.make_tensor_value_info(input_name, TensorProto.FLOAT, ["n", 5])],
        [helper.make_tensor_value_info(output_name, TensorProto.FLOAT, ["n", 5])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    return model.SerializeToString()


def test_probabilities_are_those_of_the_model():
    X = np.random.default_rng(0).normal(size=(6, 5)).astype(np.float32)

    p = OnnxClassifier(softmax_model()).predict_proba(X)

    wanted = np.exp(X.astype(np.float64))
    np.testing.assert_allclose(p, wanted / wanted.sum(axis=1, keepdims=True), atol=1e-6)
    np.testing.assert_allclose(p.sum(axis=1), 1, rtol=0, atol=1e-12)


def test_no_windows_give_no_probabilities():
    classifier = OnnxClassifier(softmax_model())

    assert classifier.predict_proba(np.zeros((0, 5), np.float32)).shape == (0, 5)


@pytest.mark.parametrize("X", [np.zeros((2, 4), np.float32), np.zeros((2, 5))])
def test_windows_of_another_form_are_refused(X):
    with pytest.raises(DatasetError, match=r"X must be float32 of \(n_windows, 5\), got"):
        OnnxClassifier(softmax_model()).predict_proba(X)


def test_a_checkpoint_without_export_is_refused():
    with pytest.raises(CheckpointError, match=r"no model\.onnx; train it again"):
        OnnxClassifier(b"")


def test_damaged_bytes_are_refused():
    with pytest.raises(CheckpointError, match=r"model\.onnx cannot be run"):
        OnnxClassifier(b"not a model")


def test_a_model_of_other_names_is_refused():
    with pytest.raises(CheckpointError, match=r"it maps \['x'\] to \['y'\], wanted windows"):
        OnnxClassifier(softmax_model("x", "y"))
