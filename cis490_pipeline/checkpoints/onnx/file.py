"""Strict parser of ONNX files: nodes, attributes and tensors within bounds, nothing else."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

import numpy as np
import numpy.typing as npt

from cis490_pipeline.checkpoints.onnx.protobuf import (
    ProtobufError,
    Value,
    fields,
    lists_apart,
    packed_varints,
    signed,
)

_MODEL: Final = {1: "ir_version", 2: "", 3: "", 4: "", 5: "", 6: "", 7: "graph", 8: "opset"}
_GRAPH: Final = {1: "node", 2: "", 5: "tensor", 10: "", 11: "input", 12: "output", 13: ""}
_NODE: Final = {1: "input", 2: "output", 3: "", 4: "op", 5: "attribute", 6: "", 7: "domain"}
_ATTRIBUTE: Final = {
    1: "name",
    2: "f",
    3: "i",
    4: "s",
    5: "t",
    7: "floats",
    8: "ints",
    9: "strings",
    13: "",
    20: "type",
}
_TENSOR: Final = {1: "dims", 2: "type", 8: "name", 9: "raw", 12: ""}
_OPSET: Final = {1: "domain", 2: "version"}
_VALUE: Final = {1: "name", 2: "type", 3: ""}
_TYPE: Final = {1: "tensor"}
_TENSOR_TYPE: Final = {1: "type", 2: "shape"}
_SHAPE: Final = {1: "dim"}
_DIM: Final = {1: "size", 2: "symbol"}
"""Allowed fields by number; "" is skipped. Subgraphs in attributes, functions, training info and
sparse or external data are not among them."""

_BYTES_OF_TYPE: Final = {1: 4, 6: 4, 7: 8, 9: 1, 11: 8}
"""float32, int32, int64, bool, float64."""
_MAX_RANK: Final = 6


class OnnxFormError(ValueError):
    """A file is not an ONNX model of the exported kind."""


@dataclass(frozen=True)
class Attribute:
    """One attribute of a node; absent values are empty."""

    i: int | None = None
    s: bytes = b""
    ints: npt.NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))
    floats: npt.NDArray[np.float32] = field(default_factory=lambda: np.zeros(0, np.float32))
    strings: tuple[bytes, ...] = ()


@dataclass(frozen=True)
class Node:
    """One operation."""

    op: str
    """Operator with its domain unless that is ONNX's own: ``ai.onnx.ml.TreeEnsembleRegressor``."""
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: Mapping[str, Attribute]


@dataclass(frozen=True)
class Graph:
    """Nodes in order, with the graph's inputs, outputs and tensors."""

    nodes: tuple[Node, ...]
    tensors: tuple[str, ...]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    input_shape: tuple[int, ...]
    """Shape of one window: the first input's shape without the batch size."""
    opsets: Mapping[str, int]


def read_onnx(content: bytes) -> Graph:
    """Parse a model; raise `OnnxFormError` if it is damaged or has content that no export has."""
    try:
        return _model(content)
    except (ProtobufError, UnicodeDecodeError) as fault:
        raise OnnxFormError(str(fault)) from None


Parts = dict[str, list[Value]]


def _parts(what: str, content: Value, names: Mapping[int, str]) -> Parts:
    """Collect a message's fields by name; unknown fields are refused."""
    if isinstance(content, int):
        raise OnnxFormError(f"{what} is a number")
    parts: Parts = {}
    for number, _, value in fields(content):
        if number not in names:
            raise OnnxFormError(f"{what} has field {number}, which no export of a model has")
        parts.setdefault(names[number], []).append(value)
    return parts


def _one(what: str, parts: Parts, name: str) -> Value:
    values = parts.get(name, [])
    if len(values) != 1:
        raise OnnxFormError(f"{what} has {len(values)} {name}, wanted one")
    return values[0]


def _text(value: Value) -> str:
    if isinstance(value, int):
        raise OnnxFormError(f"a name is the number {value}")
    return value.decode()


def _number(value: Value) -> int:
    if not isinstance(value, int):
        raise OnnxFormError("a number has bytes")
    return signed(value)


def _model(content: bytes) -> Graph:
    parts = _parts("the model", content, _MODEL)
    opsets: dict[str, int] = {}
    for value in parts.get("opset", []):
        opset = _parts("an opset", value, _OPSET)
        domain = _text(opset.get("domain", [b""])[0])
        opsets[domain] = _number(_one("an opset", opset, "version"))
    graph = _parts("the graph", _one("the model", parts, "graph"), _GRAPH)
    return Graph(
        nodes=tuple(map(_node, graph.get("node", []))),
        tensors=tuple(_tensor(value) for value in graph.get("tensor", [])),
        inputs=_names(graph, "input"),
        outputs=_names(graph, "output"),
        input_shape=_input_shape(graph),
        opsets=opsets,
    )


def _names(graph: Parts, which: str) -> tuple[str, ...]:
    values = (_parts(f"an {which}", value, _VALUE) for value in graph.get(which, []))
    return tuple(_text(_one(f"an {which}", value, "name")) for value in values)


def _input_shape(graph: Parts) -> tuple[int, ...]:
    """Sizes after the first; a symbolic size counts as 0."""
    value = _parts("an input", _one("the graph", graph, "input"), _VALUE)
    kind = _parts("a type", _one("an input", value, "type"), _TYPE)
    tensor = _parts("a type", _one("a type", kind, "tensor"), _TENSOR_TYPE)
    shape = _parts("a shape", _one("a type", tensor, "shape"), _SHAPE)
    dims = [_parts("a size", dim, _DIM) for dim in shape.get("dim", [])]
    return tuple(_number(dim["size"][-1]) if dim.keys() == {"size"} else 0 for dim in dims[1:])


def _node(content: Value) -> Node:
    parts = _parts("a node", content, _NODE)
    op, domain = _text(_one("a node", parts, "op")), _text(parts.get("domain", [b""])[-1])
    attributes: dict[str, Attribute] = {}
    for value in parts.get("attribute", []):
        name, attribute = _attribute(value)
        if name in attributes:
            raise OnnxFormError(f"a node of {op} has attribute {name!r} twice")
        attributes[name] = attribute
    return Node(
        op=f"{domain}.{op}" if domain else op,
        inputs=tuple(map(_text, parts.get("input", []))),
        outputs=tuple(map(_text, parts.get("output", []))),
        attributes=attributes,
    )


def _attribute(content: Value) -> tuple[str, Attribute]:
    if isinstance(content, int):
        raise OnnxFormError("an attribute is a number")
    short, lists, strings = lists_apart(content)
    parts = _parts("an attribute", short, _ATTRIBUTE)
    for tensor in parts.get("t", []):
        _tensor(tensor)
    attribute = Attribute(
        i=_number(parts["i"][-1]) if "i" in parts else None,
        s=_raw(parts["s"][-1]) if "s" in parts else b"",
        ints=np.concatenate([lists.get(8, _NO_INTS), *map(_ints, parts.get("ints", []))]),
        floats=np.concatenate([lists.get(7, _NO_FLOATS), *map(_floats, parts.get("floats", []))]),
        strings=(*strings, *map(_raw, parts.get("strings", []))),
    )
    return _text(_one("an attribute", parts, "name")), attribute


_NO_INTS: Final = np.zeros(0, dtype=np.int64)
_NO_FLOATS: Final = np.zeros(0, dtype=np.float32)


def _raw(value: Value) -> bytes:
    if isinstance(value, int):
        raise OnnxFormError(f"bytes are the number {value}")
    return value


def _ints(value: Value) -> npt.NDArray[np.int64]:
    return np.array([signed(value)]) if isinstance(value, int) else packed_varints(value)


def _floats(value: Value) -> npt.NDArray[np.float32]:
    raw = _raw(value)
    if len(raw) % 4:
        raise OnnxFormError(f"a list of float32 has {len(raw)} bytes")
    return np.frombuffer(raw, dtype="<f4")


def _tensor(content: Value) -> str:
    """Check a tensor's size against its shape; return its name."""
    parts = _parts("a tensor", content, _TENSOR)
    kind = _number(_one("a tensor", parts, "type"))
    dims = [int(n) for value in parts.get("dims", []) for n in _ints(value)]
    raw = _raw(_one("a tensor", parts, "raw")) if "raw" in parts else b""
    name = _text(parts.get("name", [b""])[-1])
    good = kind in _BYTES_OF_TYPE and len(dims) <= _MAX_RANK and all(n >= 0 for n in dims)
    if not good or math.prod(dims) * _BYTES_OF_TYPE[kind] != len(raw):
        raise OnnxFormError(
            f"tensor {name[:60]!r} of type {kind} and shape {dims[:8]} has {len(raw)} bytes"
        )
    return name
