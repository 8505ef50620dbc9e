"""Checkpoints with random weights: no model is trained."""

from functools import cache

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from cis490_pipeline.checkpoints.checkpoint import Checkpoint, Golden
from cis490_pipeline.checkpoints.onnx.session import OnnxClassifier
from cis490_pipeline.domain import Architecture, Variant
from cis490_pipeline.features.calibration.calibrator import CalibrationMode, Calibrator
from cis490_pipeline.features.calibration.cleanliness import CleanlinessCheck
from cis490_pipeline.features.schema import feature_schema

N_COLUMNS = {
    ("summary", Variant.REALISTIC): 145,
    ("summary", Variant.ORACLE): 230,
    ("tensor", Variant.REALISTIC): 29,
    ("tensor", Variant.ORACLE): 46,
    ("summary", Variant.NETWORK): 50,
    ("tensor", Variant.NETWORK): 10,
    ("history", Variant.REALISTIC): 406,
    ("history", Variant.ORACLE): 644,
    ("history", Variant.NETWORK): 140,
}


def make_calibrator(kind="summary", variant=Variant.REALISTIC, quarantine=()):
    n_channels, n_columns = N_COLUMNS["tensor", variant], N_COLUMNS[kind, variant]
    rng = np.random.default_rng(0)
    return Calibrator(
        CalibrationMode.EPISODE_BASELINE,
        variant,
        kind,
        rng.uniform(0.1, 1, n_channels).astype(np.float32),
        rng.normal(size=n_columns).astype(np.float32),
        rng.uniform(0.5, 2, n_columns).astype(np.float32),
        quarantine=quarantine,
    )


def make_cleanliness():
    rng = np.random.default_rng(2)
    n = N_COLUMNS["summary", Variant.REALISTIC]
    return CleanlinessCheck(
        rng.normal(size=n),
        rng.uniform(0.5, 2, n),
        rng.normal(size=n),
        rng.normal(size=1),
        np.sort(rng.normal(size=20)),
    )


@cache
def make_onnx(n_columns=145, seed=0, nodes=(), tensors=()):
    """A perceptron that takes unknown readings for zeros; further nodes and tensors come first."""
    rng = np.random.default_rng(seed)
    arrays = {
        "zero": np.zeros((), np.float32),
        "first": rng.normal(size=(n_columns, 4)).astype(np.float32) / 9,
        "bias": rng.normal(size=4).astype(np.float32),
        "second": rng.normal(size=(4, 5)).astype(np.float32),
    }
    graph = helper.make_graph(
        [
            *nodes,
            helper.make_node("IsNaN", ["windows"], ["unknown"]),
            helper.make_node("Where", ["unknown", "zero", "windows"], ["known"]),
            helper.make_node("Gemm", ["known", "first", "bias"], ["hidden"]),
            helper.make_node("Erf", ["hidden"], ["active"]),
            helper.make_node("Gemm", ["active", "second"], ["logits"]),
            helper.make_node("Softmax", ["logits"], ["probabilities"], axis=1),
        ],
        "made up",
        [helper.make_tensor_value_info("windows", TensorProto.FLOAT, ["n", n_columns])],
        [helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["n", 5])],
        [*tensors, *(numpy_helper.from_array(array, name) for name, array in arrays.items())],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    return model.SerializeToString()


@cache
def make_golden(n_columns=145):
    rng = np.random.default_rng(1)
    inputs = np.where(rng.random((2, n_columns)) < 0.1, np.nan, 1).astype(np.float32)
    return Golden(inputs, OnnxClassifier(make_onnx(n_columns)).predict_proba(inputs))


def make_checkpoint(**changes):
    rng = np.random.default_rng(1)
    parts = {
        "architecture": Architecture.MLP,
        "architecture_version": 1,
        "variant": Variant.REALISTIC,
        "config": {"widths": [4, 4], "peak_lr": 2e-3},
        "schema": feature_schema("summary", Variant.REALISTIC),
        "calibrator": make_calibrator(),
        "cleanliness": make_cleanliness(),
        "seed": 3,
        "threads": 1,
        "data_digest": "d" * 64,
        "split_digest": "5" * 64,
        "golden": make_golden(),
        "weights": {
            "head.weight": rng.normal(size=(5, 4)).astype(np.float32),
            "n_seen": np.array(7, dtype=np.int64),
        },
        "onnx": make_onnx(),
        "commit": "0123456789abcdef",
        "versions": {"numpy": "2"},
        "computed_on": {"name": "AMD EPYC", "torch": "AVX2"},
        "history": {"epochs": [{"val_macro_f1": None}], "best_val_macro_f1": 0.5},
        "metrics": {"val_macro_f1": 0.5},
    }
    return Checkpoint(**(parts | changes))
