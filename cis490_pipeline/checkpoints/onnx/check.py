"""Allow-list validation of ONNX files before ONNX Runtime loads them.

Creating a session already evaluates the constant parts of a graph, and graphs may loop, call
functions, read other files, or allocate tensors of any size from a number in their input. Exports
of this package are chains of about thirty operators; everything else is refused.
"""

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from cis490_pipeline.checkpoints.onnx.file import Attribute, Graph, Node, OnnxFormError, read_onnx
from cis490_pipeline.checkpoints.onnx.nodes import NODES, TREES
from cis490_pipeline.checkpoints.onnx.rooted import NoTreeError, require_trees
from cis490_pipeline.domain import PHASES, Architecture
from cis490_pipeline.errors import CheckpointError

INPUT_NAME: Final = "windows"
OUTPUT_NAME: Final = "probabilities"
OPSETS: Final = {"": 17, "ai.onnx.ml": 3}
MAX_NODES: Final = 4096
"""Upper bound; the largest export has 190, and a transformer block about 60."""
_MAX_SIZE: Final = 2**16
"""Maximal size of one window dimension."""

_SIZES: Final[Mapping[str, tuple[int, ...]]] = {
    "ConstantOfShape": (0,),
    "Gather": (1,),
    "Reshape": (1,),
    "Slice": (1, 2, 3, 4),
    "Split": (1,),
    "Squeeze": (1,),
    "Unsqueeze": (1,),
    "ReduceMax": (1,),
    "ReduceMean": (1,),
    "ReduceSum": (1,),
}
"""Inputs of operators that determine the size or the origin of their output."""

OPS: Final = frozenset(
    {*_SIZES, TREES}
    | {"Add", "Cast", "Concat", "Constant", "Conv", "Div", "Erf", "GRU", "Gemm", "Identity"}
    | {"IsNaN", "LSTM", "LayerNormalization", "MatMul", "Mul", "Not", "Pow", "Relu", "Shape"}
    | {"Softmax", "Sqrt", "Sub", "Transpose", "Where"}
)
"""Operators used by the exports of all architectures."""

_N_CLASSES: Final = len(PHASES)


def require_plain_onnx(content: bytes, architecture: Architecture | None = None) -> None:
    """Raise unless a file is an export of a model, and of the architecture if one is given.

    The `CheckpointError` names the first element that no export has.
    """
    try:
        graph = read_onnx(content)
        _require_interface(graph)
        _require_order(graph)
        for node in graph.nodes:
            if node.op == TREES:
                _require_ensemble(node, graph.input_shape)
        if architecture is not None:
            _require_architecture(graph, architecture)
    except (OnnxFormError, NoTreeError) as fault:
        raise CheckpointError(
            f"model.onnx cannot be run: {fault}; copy or train it again"
        ) from None


def _require_interface(graph: Graph) -> None:
    if (graph.inputs, graph.outputs) != ((INPUT_NAME,), (OUTPUT_NAME,)):
        raise OnnxFormError(
            f"it maps {list(graph.inputs)[:4]} to {list(graph.outputs)[:4]}, wanted {INPUT_NAME} "
            f"to {OUTPUT_NAME}"
        )
    if not graph.input_shape or not all(0 < size <= _MAX_SIZE for size in graph.input_shape):
        raise OnnxFormError(f"its input has shape (n, {graph.input_shape}), wanted sizes")
    other = {name: v for name, v in graph.opsets.items() if OPSETS.get(name) != v}
    if other or "" not in graph.opsets:
        raise OnnxFormError(f"its opsets are {graph.opsets}, wanted some of {OPSETS}")
    unknown = sorted({node.op for node in graph.nodes} - OPS)
    if unknown:
        raise OnnxFormError(f"it has nodes of {', '.join(unknown)[:200]}, which no export has")
    if len(graph.nodes) > MAX_NODES:
        raise OnnxFormError(f"it has {len(graph.nodes)} nodes, at most {MAX_NODES} are run")


def _require_order(graph: Graph) -> None:
    """Every value is made once, before it is used, and no size depends on a window's values."""
    known = {"", *graph.inputs}
    of_windows = {INPUT_NAME}
    for name in graph.tensors:
        _require_new(known, name, "a tensor")
    for node in graph.nodes:
        unknown = sorted(set(node.inputs) - known)
        if unknown:
            raise OnnxFormError(f"a node of {node.op} reads {unknown[0][:60]!r} before it is made")
        sizes = (node.inputs[k] for k in _SIZES.get(node.op, ()) if k < len(node.inputs))
        if not of_windows.isdisjoint(sizes):
            raise OnnxFormError(f"a node of {node.op} makes its size of a window's values")
        depends = node.op != "Shape" and not of_windows.isdisjoint(node.inputs)
        for name in node.outputs:
            _require_new(known, name, f"a node of {node.op}")
            if depends:
                of_windows.add(name)
    if OUTPUT_NAME not in known:
        raise OnnxFormError(f"no node makes {OUTPUT_NAME}")
    read = {OUTPUT_NAME}.union(*(node.inputs for node in graph.nodes))
    idle = [node.op for node in graph.nodes if read.isdisjoint(node.outputs)]
    if idle:
        raise OnnxFormError(f"nobody reads what its node of {idle[0]} makes")


def _require_new(known: set[str], name: str, what: str) -> None:
    if name in known:
        raise OnnxFormError(f"{what} makes {name[:60]!r}, which there is already")
    known.add(name)


def _require_architecture(graph: Graph, architecture: Architecture) -> None:
    ops = {node.op for node in graph.nodes}
    wanted, others = NODES[architecture]
    if missing := sorted(wanted - ops):
        raise OnnxFormError(f"it is no {architecture}: it has no node of {', '.join(missing)}")
    if strange := sorted(others & ops):
        raise OnnxFormError(f"it is no {architecture}: it has nodes of {', '.join(strange)}")


_NODE_LISTS: Final = (
    *("treeids", "nodeids", "featureids", "modes", "values", "truenodeids", "falsenodeids"),
    "missing_value_tracks_true",
)
_LEAF_LISTS: Final = ("treeids", "nodeids", "ids", "weights")
_ENSEMBLE: Final = frozenset(
    {f"nodes_{name}" for name in _NODE_LISTS}
    | {f"target_{name}" for name in _LEAF_LISTS}
    | {"n_targets", "aggregate_function", "post_transform", "base_values"}
)


def _require_ensemble(node: Node, input_shape: tuple[int, ...]) -> None:
    """Trees over the window whose every walk ends at a leaf that adds to one of the phases."""
    attributes = node.attributes
    if node.inputs != (INPUT_NAME,) or len(input_shape) != 1:
        raise OnnxFormError(f"its trees read {list(node.inputs)[:4]} of shape {input_shape}")
    if attributes.keys() != _ENSEMBLE:
        raise OnnxFormError(f"its trees have the attributes {sorted(attributes)[:20]}")
    fixed = (
        attributes["n_targets"].i == _N_CLASSES
        and attributes["aggregate_function"].s == b"SUM"
        and attributes["post_transform"].s == b"NONE"
        and len(attributes["base_values"].floats) in (0, _N_CLASSES)
    )
    if not fixed:
        raise OnnxFormError(f"its trees do not sum to {_N_CLASSES} phases")
    lists = {name: _list(attributes, f"nodes_{name}") for name in _NODE_LISTS}
    leaves = {name: _list(attributes, f"target_{name}") for name in _LEAF_LISTS}
    for these in (lists, leaves):
        if len({len(values) for values in these.values()}) != 1:
            raise OnnxFormError("the lists of its trees are not equally long")
    _require_nodes(lists, leaves, input_shape[0])


def _list(attributes: Mapping[str, Attribute], name: str) -> npt.NDArray[Any]:
    attribute = attributes[name]
    if name == "nodes_modes":
        strange = sorted(set(attribute.strings) - {b"LEAF", b"BRANCH_LT"})
        if strange:
            raise OnnxFormError(f"its trees have nodes of mode {strange[0][:20]!r}")
        return np.array([mode == b"LEAF" for mode in attribute.strings], dtype=np.bool_)
    values = attribute.floats if name in ("nodes_values", "target_weights") else attribute.ints
    if values.dtype.kind == "f" and not np.isfinite(values).all():
        raise OnnxFormError(f"{name} of its trees are not all finite")
    return values


def _require_nodes(
    nodes: Mapping[str, npt.NDArray[Any]], leaves: Mapping[str, npt.NDArray[Any]], n_columns: int
) -> None:
    trees, is_leaf = nodes["treeids"], nodes["modes"]
    _, sizes = np.unique(trees, return_counts=True)
    numbered = np.concatenate([np.arange(size) for size in sizes]) if sizes.size else trees
    in_order = np.array_equal(trees, np.repeat(np.arange(sizes.size), sizes))
    if not sizes.size or not in_order or not np.array_equal(nodes["nodeids"], numbered):
        raise OnnxFormError("the nodes of its trees are not numbered in order")
    features = nodes["featureids"]
    if ((features < 0) | (features >= n_columns)).any():
        raise OnnxFormError(f"its trees split on features that are none of {n_columns}")
    require_trees(sizes, ~is_leaf, nodes["truenodeids"], nodes["falsenodeids"])
    same = np.array_equal(leaves["treeids"], trees[is_leaf])
    same = same and np.array_equal(leaves["nodeids"], nodes["nodeids"][is_leaf])
    if not same or ((leaves["ids"] < 0) | (leaves["ids"] >= _N_CLASSES)).any():
        raise OnnxFormError("the leaves of its trees are not those that add to the phases")
