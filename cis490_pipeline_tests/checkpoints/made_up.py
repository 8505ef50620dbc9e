"""Checkpoints with random weights: no model is trained."""

import numpy as np

from cis490_pipeline.checkpoints.checkpoint import Checkpoint, Golden
from cis490_pipeline.domain import Architecture, Variant
from cis490_pipeline.features.calibration import CalibrationMode, Calibrator
from cis490_pipeline.features.cleanliness import CleanlinessCheck
from cis490_pipeline.features.schema import feature_schema

N_COLUMNS = {
    ("summary", Variant.REALISTIC): 145,
    ("summary", Variant.ORACLE): 230,
    ("tensor", Variant.REALISTIC): 29,
    ("tensor", Variant.ORACLE): 46,
}


def make_calibrator(kind="summary", variant=Variant.REALISTIC):
    n_channels, n_columns = N_COLUMNS["tensor", variant], N_COLUMNS[kind, variant]
    rng = np.random.default_rng(0)
    return Calibrator(
        CalibrationMode.EPISODE_BASELINE,
        variant,
        kind,
        rng.uniform(0.1, 1, n_channels).astype(np.float32),
        rng.normal(size=n_columns).astype(np.float32),
        rng.uniform(0.5, 2, n_columns).astype(np.float32),
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
        "golden": Golden(
            np.where(rng.random((2, 145)) < 0.1, np.nan, 1).astype(np.float32),
            np.full((2, 5), 0.2),
        ),
        "weights": {
            "head.weight": rng.normal(size=(5, 4)).astype(np.float32),
            "n_seen": np.array(7, dtype=np.int64),
        },
        "onnx": b"onnx",
        "commit": "0123456789abcdef",
        "versions": {"numpy": "2"},
        "computed_on": {"name": "AMD EPYC", "torch": "AVX2"},
        "history": {"epochs": [{"val_macro_f1": None}]},
        "metrics": {"macro_f1": 0.5},
    }
    return Checkpoint(**(parts | changes))
