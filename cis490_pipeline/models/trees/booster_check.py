"""Validation of a booster file before XGBoost loads it.

XGBoost's loader checks neither lengths nor indices: of 45 flipped bits of one model, three crashed
the process. Everything that it relies on is therefore validated first: the keys, one array entry
per node, features within range, and that every path from a root ends at a leaf.
"""

import math
import re
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from cis490_pipeline.checkpoints.onnx.rooted import NoTreeError, require_trees
from cis490_pipeline.domain import PHASES
from cis490_pipeline.domain.arrays import Ints
from cis490_pipeline.errors import CheckpointError
from cis490_pipeline.models.trees.ubjson import UbjsonError, Value, decode_ubjson

_N_CLASSES: Final = len(PHASES)
_ROOT_PARENT: Final = 2**31 - 1
_NODE_TYPES: Final = {
    "base_weights": "f4",
    "default_left": "u1",
    "left_children": "i4",
    "loss_changes": "f4",
    "parents": "i4",
    "right_children": "i4",
    "split_conditions": "f4",
    "split_indices": "i4",
    "split_type": "u1",
    "sum_hessian": "f4",
}
"""Arrays of a tree with one entry per node."""
_EMPTY: Final = ("categories", "categories_nodes", "categories_segments", "categories_sizes")
_TREE: Final = frozenset({*_NODE_TYPES, *_EMPTY, "id", "tree_param"})
_LEARNER: Final = frozenset(
    (
        "attributes",
        "feature_names",
        "feature_types",
        "gradient_booster",
        "learner_model_param",
        "objective",
    )
)
_MODEL: Final = frozenset(["gbtree_model_param", "iteration_indptr", "tree_info", "trees"])
_NUMBER: Final = r"[-+]?[0-9.]{1,20}(?:[eE][-+]?[0-9]{1,3})?"
_BASE_SCORE: Final = re.compile(rf"{_NUMBER}|\[{_NUMBER}(?:,{_NUMBER}){{0,4}}\]")


def require_sound_booster(content: bytes, *, n_features: int) -> None:
    """Raise unless XGBoost's ``.ubj`` holds valid trees of the phases over ``n_features`` columns.

    Raises
    ------
    CheckpointError
        Naming the first violation.
    """
    try:
        root = _object("the file", decode_ubjson(content), {"learner", "version"})
        learner = _object("learner", root["learner"], _LEARNER)
        _require_parameters(learner, n_features)
        _require_texts("attributes", learner["attributes"])
        model = _model(learner["gradient_booster"])
        _require_trees(_rounds(model), n_features)
    except (UbjsonError, NoTreeError, _WrongError) as fault:
        raise CheckpointError(
            f"model.ubj is no XGBoost model of {_N_CLASSES} phases: {fault}; copy or train it again"
        ) from None


class _WrongError(ValueError):
    """A booster is invalid."""


def _object(what: str, value: Value, keys: frozenset[str] | set[str]) -> dict[str, Value]:
    present = value if isinstance(value, dict) else {}
    if present.keys() != keys:
        raise _WrongError(f"{what} has the keys {sorted(present)[:20]}, wanted {sorted(keys)}")
    return present


def _require(what: str, actual: object, *wanted: object) -> None:
    if not any(type(actual) is type(value) and actual == value for value in wanted):
        shown = " or ".join(repr(value) for value in wanted)
        raise _WrongError(f"{what} is {str(actual)[:60]!r}, wanted {shown}")


def _require_empty(what: str, value: Value) -> None:
    if not isinstance(value, list | np.ndarray) or len(value):
        raise _WrongError(f"{what} must be empty")


def _require_texts(what: str, value: Value) -> None:
    texts = value.values() if isinstance(value, dict) else [value]
    if not all(isinstance(text, str) and len(text) <= 4096 for text in texts):
        raise _WrongError(f"{what} must be texts by name")


def _require_parameters(learner: Mapping[str, Value], n_features: int) -> None:
    for name in ("feature_names", "feature_types"):
        _require_empty(name, learner[name])
    objective = _object("objective", learner["objective"], {"name", "softmax_multiclass_param"})
    _require("objective", objective["name"], "multi:softprob")
    of_objective = objective["softmax_multiclass_param"]
    counted = _object("softmax_multiclass_param", of_objective, {"num_class"})
    _require("num_class of the objective", counted["num_class"], str(_N_CLASSES))
    names = {"base_score", "boost_from_average", "num_class", "num_feature", "num_target"}
    parameters = _object("learner_model_param", learner["learner_model_param"], names)
    _require("num_class", parameters["num_class"], str(_N_CLASSES))
    _require("num_target", parameters["num_target"], "1")
    _require("boost_from_average", parameters["boost_from_average"], "0", "1")
    if parameters["num_feature"] != str(n_features):
        raise _WrongError(
            f"it takes {str(parameters['num_feature'])[:20]} features, the model {n_features}"
        )
    _require_base_score(parameters["base_score"])


def _require_base_score(text: Value) -> None:
    """Check the initial margins: one number for all phases, or one each, as text."""
    scores = [math.nan]
    if isinstance(text, str) and _BASE_SCORE.fullmatch(text):
        with suppress(ValueError):
            scores = [float(number) for number in text.strip("[]").split(",")]
    if len(scores) not in (1, _N_CLASSES) or not all(map(math.isfinite, scores)):
        raise _WrongError(f"base_score is {str(text)[:60]!r}, wanted 1 or {_N_CLASSES} numbers")


def _model(value: Value) -> dict[str, Value]:
    booster = _object("gradient_booster", value, {"model", "name"})
    _require("name of the booster", booster["name"], "gbtree")
    model = booster["model"]
    # XGBoost 3.1 added a field for categories, which telemetry does not have.
    with_cats = isinstance(model, dict) and "cats" in model
    model = _object("model", model, _MODEL | {"cats"} if with_cats else _MODEL)
    if with_cats:
        names = {"enc", "feature_segments", "sorted_idx"}
        for name, part in _object("cats", model["cats"], names).items():
            _require_empty(f"{name} of cats", part)
    return model


def _rounds(model: Mapping[str, Value]) -> list[Value]:
    """Return the trees, after checking that each round has one per phase, in phase order."""
    trees = model["trees"] if isinstance(model["trees"], list) else []
    n_trees = len(trees)
    if n_trees == 0 or n_trees % _N_CLASSES:
        raise _WrongError(f"it has {n_trees} trees, wanted {_N_CLASSES} a round")
    names = {"num_parallel_tree", "num_trees"}
    parameters = _object("gbtree_model_param", model["gbtree_model_param"], names)
    _require("num_parallel_tree", parameters["num_parallel_tree"], "1")
    _require("num_trees", parameters["num_trees"], str(n_trees))
    wanted = {
        "iteration_indptr": range(0, n_trees + 1, _N_CLASSES),
        "tree_info": [position % _N_CLASSES for position in range(n_trees)],
    }
    for name, numbers in wanted.items():
        if _whole(model[name]) != list(numbers):
            raise _WrongError(f"{name} does not give each round one tree of each phase")
    return trees


def _whole(value: Value) -> list[Value] | None:
    """Return whole numbers as a list, and None for anything else."""
    if isinstance(value, np.ndarray) and value.dtype.kind in "iu":
        value = value.tolist()
    if isinstance(value, list) and all(type(number) is int for number in value):
        return value
    return None


def _require_trees(trees: list[Value], n_features: int) -> None:
    parts: dict[str, list[npt.NDArray[Any]]] = {name: [] for name in _NODE_TYPES}
    sizes = []
    for position, value in enumerate(trees):
        tree = _object(f"tree {position}", value, _TREE)
        sizes.append(_n_nodes(position, tree, n_features))
        for name, kind in _NODE_TYPES.items():
            parts[name].append(_node_array(f"{name} of tree {position}", tree[name], kind))
            if (n := parts[name][-1].size) != sizes[-1]:
                raise _WrongError(
                    f"{name} of tree {position} has {n} entries, the tree {sizes[-1]} nodes"
                )
        for name in _EMPTY:
            _require_empty(f"{name} of tree {position}", tree[name])
    nodes = {name: np.concatenate(arrays) for name, arrays in parts.items()}
    _require_values(nodes, n_features)
    _require_paths(nodes, np.array(sizes, dtype=np.int64))


def _n_nodes(position: int, tree: Mapping[str, Value], n_features: int) -> int:
    names = {"num_deleted", "num_feature", "num_nodes", "size_leaf_vector"}
    parameters = _object(f"tree_param of tree {position}", tree["tree_param"], names)
    _require(f"id of tree {position}", tree["id"], position)
    _require(f"num_deleted of tree {position}", parameters["num_deleted"], "0")
    _require(f"num_feature of tree {position}", parameters["num_feature"], str(n_features))
    _require(f"size_leaf_vector of tree {position}", parameters["size_leaf_vector"], "0", "1")
    text = parameters["num_nodes"]
    if not isinstance(text, str) or not re.fullmatch(r"[1-9][0-9]{0,8}", text):
        raise _WrongError(f"num_nodes of tree {position} is {str(text)[:20]!r}, wanted a number")
    return int(text)


def _node_array(what: str, value: Value, kind: str) -> npt.NDArray[Any]:
    if not isinstance(value, np.ndarray) or value.dtype.str.lstrip("<>|=") != kind:
        raise _WrongError(f"{what} is no array of {kind}")
    return value


def _require_values(nodes: Mapping[str, npt.NDArray[Any]], n_features: int) -> None:
    features = nodes["split_indices"]
    checks = {
        "split_indices": (features >= 0) & (features < n_features),
        "split_type": nodes["split_type"] == 0,
        "default_left": nodes["default_left"] <= 1,
        "split_conditions": np.isfinite(nodes["split_conditions"]),
        "base_weights": np.isfinite(nodes["base_weights"]),
    }
    for name, holds in checks.items():
        if not holds.all():
            wrong = nodes[name][~holds]
            raise _WrongError(f"{wrong.size} of {holds.size} nodes have {name} {wrong[0]}")


def _require_paths(nodes: Mapping[str, npt.NDArray[Any]], sizes: Ints) -> None:
    """Check that nodes form trees, and that each names its actual parent."""
    left, right, named = (
        nodes[name].astype(np.int64) for name in ("left_children", "right_children", "parents")
    )
    if ((right != -1) != (left != -1)).any():
        raise _WrongError("a node has one child, wanted two or none")
    parents = require_trees(sizes, left != -1, left, right)
    starts = np.repeat(np.cumsum(sizes) - sizes, sizes)
    roots = np.arange(starts.size) == starts
    if (named[roots] != _ROOT_PARENT).any():
        raise _WrongError("a root has a parent")
    if (named[~roots] + starts[~roots] != parents[~roots]).any():
        raise _WrongError("a node names another parent than it has")
