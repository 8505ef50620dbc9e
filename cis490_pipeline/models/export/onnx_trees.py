"""Conversion of XGBoost trees to an ONNX tree ensemble, from the booster's JSON."""

import json
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
    ensemble = _Ensemble()
    for position, tree in enumerate(model["trees"]):
        ensemble.add(position, tree, phase=int(model["tree_info"][position]))
    attributes: dict[str, Any] = {
        "n_targets": _N_CLASSES,
        "aggregate_function": "SUM",
        "post_transform": "NONE",
        "base_values": _base_scores(learner),
        **ensemble.attributes,
    }
    nodes = [
        helper.make_node(
            "TreeEnsembleRegressor",
            [INPUT_NAME],
            ["margins"],
            domain="ai.onnx.ml",
            **attributes,
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


def _base_scores(learner: dict[str, Any]) -> list[float]:
    """Return the initial margin of each phase; older XGBoost stores one number for all."""
    stored = json.loads(learner["learner_model_param"]["base_score"])
    scores = np.atleast_1d(np.asarray(stored, dtype=np.float32))
    return [float(score) for score in np.broadcast_to(scores, (_N_CLASSES,))]


class _Ensemble:
    """Attributes of a TreeEnsembleRegressor: one entry per node over all trees."""

    def __init__(self) -> None:
        self.attributes: dict[str, list[Any]] = {
            f"nodes_{name}": []
            for name in (
                "treeids",
                "nodeids",
                "featureids",
                "modes",
                "values",
                "truenodeids",
                "falsenodeids",
                "missing_value_tracks_true",
            )
        } | {f"target_{name}": [] for name in ("treeids", "nodeids", "ids", "weights")}

    def add(self, position: int, tree: dict[str, Any], phase: int) -> None:
        """Append one tree that adds to one phase's margin."""
        if any(tree["split_type"]):
            raise CheckpointError(f"tree {position} splits on categories; ONNX export has none")
        rows = zip(
            tree["left_children"],
            tree["right_children"],
            tree["split_indices"],
            tree["split_conditions"],
            tree["default_left"],
            strict=True,
        )
        for node, (left, right, feature, value, default_left) in enumerate(rows):
            is_leaf = left == -1
            # XGBoost goes left if x < value; a leaf's value is stored in the same field.
            self._append(
                treeids=position,
                nodeids=node,
                featureids=0 if is_leaf else feature,
                modes="LEAF" if is_leaf else "BRANCH_LT",
                values=0.0 if is_leaf else value,
                truenodeids=0 if is_leaf else left,
                falsenodeids=0 if is_leaf else right,
                missing_value_tracks_true=0 if is_leaf else int(default_left),
            )
            if is_leaf:
                leaf = {"treeids": position, "nodeids": node, "ids": phase, "weights": value}
                for name, entry in leaf.items():
                    self.attributes[f"target_{name}"].append(entry)

    def _append(self, **entries: Any) -> None:
        for name, entry in entries.items():
            self.attributes[f"nodes_{name}"].append(entry)
