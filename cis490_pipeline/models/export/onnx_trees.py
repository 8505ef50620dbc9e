"""Conversion of XGBoost trees to an ONNX tree ensemble, from the booster's JSON."""

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
import onnx
import xgboost as xgb
from onnx import TensorProto, helper

from cis490_pipeline.checkpoints.onnx.check import INPUT_NAME, OUTPUT_NAME
from cis490_pipeline.domain import PHASES
from cis490_pipeline.errors import CheckpointError

OPSET: Final = 17
ML_OPSET: Final = 3
IR_VERSION: Final = 8
_N_CLASSES: Final = len(PHASES)
_TREE_COLUMNS: Final = (
    *("left_children", "right_children", "split_indices", "split_conditions", "default_left"),
)


def trees_to_onnx(booster: xgb.Booster) -> bytes:
    """Convert a booster to an equivalent ONNX model, including unknown values.

    Parameters
    ----------
    booster : trained with ``multi:softprob``; one tree per phase and round.

    Raises
    ------
    CheckpointError
        If the trees split on categories, which telemetry does not have.
    """
    learner = json.loads(bytes(booster.save_raw("json")))["learner"]
    model = learner["gradient_booster"]["model"]
    attributes: dict[str, Any] = {
        "n_targets": _N_CLASSES,
        "aggregate_function": "SUM",
        "post_transform": "NONE",
        "base_values": _base_scores(learner["learner_model_param"]["base_score"]),
        **_ensemble(model["trees"], model["tree_info"]),
    }
    nodes = [
        helper.make_node(
            "TreeEnsembleRegressor", [INPUT_NAME], ["margins"], domain="ai.onnx.ml", **attributes
        ),
        helper.make_node("Softmax", ["margins"], [OUTPUT_NAME], axis=1),
    ]
    n_columns = booster.num_features()
    graph = helper.make_graph(
        nodes,
        "gbt",
        [helper.make_tensor_value_info(INPUT_NAME, TensorProto.FLOAT, ["n", n_columns])],
        [helper.make_tensor_value_info(OUTPUT_NAME, TensorProto.FLOAT, ["n", _N_CLASSES])],
    )
    exported = helper.make_model(
        graph,
        opset_imports=[
            helper.make_opsetid("", OPSET),
            helper.make_opsetid("ai.onnx.ml", ML_OPSET),
        ],
        ir_version=IR_VERSION,
    )
    onnx.checker.check_model(exported)
    content: bytes = exported.SerializeToString()
    return content


def _base_scores(stored: str) -> list[float]:
    """Return the initial margin of each phase; older XGBoost stores one number for all."""
    scores = np.atleast_1d(np.asarray(json.loads(stored), dtype=np.float32))
    return [float(score) for score in np.broadcast_to(scores, (_N_CLASSES,))]


def _ensemble(
    trees: Sequence[Mapping[str, Sequence[float]]], phases: Sequence[int]
) -> dict[str, list[float | str]]:
    """Return the attributes of a TreeEnsembleRegressor: one entry per node, or leaf, of all trees.

    Each tree adds to one phase's margin.
    """
    nodes: list[dict[str, float | str]] = []
    leaves: list[dict[str, float | str]] = []
    for position, (tree, phase) in enumerate(zip(trees, phases, strict=True)):
        if any(tree["split_type"]):
            raise CheckpointError(f"tree {position} splits on categories; ONNX export has none")
        columns = (tree[name] for name in _TREE_COLUMNS)
        for node, (left, right, feature, value, default_left) in enumerate(
            zip(*columns, strict=True)
        ):
            place = {"treeids": position, "nodeids": node}
            is_leaf = left == -1
            # XGBoost goes left if x < value; a leaf's value is stored in the same field.
            branch = {
                "featureids": feature,
                "values": value,
                "truenodeids": left,
                "falsenodeids": right,
                "missing_value_tracks_true": int(default_left),
            }
            if is_leaf:
                leaves.append({**place, "ids": int(phase), "weights": value})
                branch = {**dict.fromkeys(branch, 0), "values": 0.0}
            nodes.append({**place, "modes": "LEAF" if is_leaf else "BRANCH_LT", **branch})
    return {
        f"{kind}_{name}": [row[name] for row in rows]
        for kind, rows in (("nodes", nodes), ("target", leaves))
        for name in rows[0]
    }
