"""Changes to a checkpoint or to the part of it in a bundle, by name.

Each takes the folder. ``SIMPLE`` leaves digests as they were; ``CONSISTENT`` are followed by
digests made right again, as an author of every file would make them.
"""

import json
import os
import pickle

import numpy as np
from onnx import TensorProto, helper, load_from_string, numpy_helper
from safetensors.numpy import load as load_tensors
from safetensors.numpy import save as save_tensors

from cis490_pipeline_tests.checkpoints.consistent import edit_json, seal

CALIBRATION, GOLDEN = "calibration.safetensors", "golden.safetensors"
ONNX, MANIFEST, ALARM = "model.onnx", "checkpoint.json", "alarm.json"


def file(name, content):
    """Write other bytes; a function makes them of those there were."""

    def change(folder):
        path = folder / name
        path.write_bytes(content(path.read_bytes()) if callable(content) else content)

    return change


def manifest(change, sealed=False):
    def changed(folder):
        edit_json(folder / MANIFEST, change)
        if sealed:
            seal(folder)

    return changed


def put(*path, value):
    """Set one value of a JSON object."""

    def change(content):
        for key in path[:-1]:
            content = content[key]
        content[path[-1]] = value

    return change


def drop(*path):
    def change(content):
        for key in path[:-1]:
            content = content[key]
        content.pop(path[-1])

    return change


def tensors(name, **arrays):
    """Replace arrays of a safetensors file; None takes one out."""

    def change(content):
        found = load_tensors(content)
        for key, value in arrays.items():
            full = key.replace("__", ".")
            made = value(found[full]) if callable(value) else value
            found.pop(full, None)
            if made is not None:
                found[full] = np.ascontiguousarray(made)
        return save_tensors(found)

    return file(name, change)


def header(change):
    """Change the header of the golden windows' file, and its length with it."""

    def changed(content):
        size = int.from_bytes(content[:8], "little")
        made = change(json.loads(content[8 : 8 + size]))
        raw = made if isinstance(made, bytes) else json.dumps(made).encode()
        return len(raw).to_bytes(8, "little") + raw + content[8 + size :]

    return file(GOLDEN, changed)


def entry(name, **values):
    return header(lambda found: {**found, name: {**found[name], **values}})


def nodes_first(*nodes, tied=None, **constants):
    """Put nodes before those of the model; the mean of one value is added to the margins."""

    def change(content):
        model = load_from_string(content)
        made = [numpy_helper.from_array(value, name) for name, value in constants.items()]
        model.graph.initializer.extend(made)
        there = [*model.graph.node]
        del model.graph.node[:]
        model.graph.node.extend([*nodes, *there])
        if tied is not None:
            last = model.graph.node.pop()
            model.graph.node.append(helper.make_node("ReduceMean", [tied], ["mean"], keepdims=0))
            model.graph.node.append(helper.make_node("Add", [last.input[0], "mean"], ["sum"]))
            last.input[0] = "sum"
            model.graph.node.append(last)
        return model.SerializeToString()

    return file(ONNX, change)


def loop(content):
    """A loop of 2**62 rounds, whose result is used by nobody."""
    body = helper.make_graph(
        [
            helper.make_node("Identity", ["c"], ["c_out"]),
            helper.make_node("Add", ["v", "v"], ["v_out"]),
        ],
        "body",
        [
            helper.make_tensor_value_info("i", TensorProto.INT64, []),
            helper.make_tensor_value_info("c", TensorProto.BOOL, []),
            helper.make_tensor_value_info("v", TensorProto.FLOAT, [1]),
        ],
        [
            helper.make_tensor_value_info("c_out", TensorProto.BOOL, []),
            helper.make_tensor_value_info("v_out", TensorProto.FLOAT, [1]),
        ],
    )
    model = load_from_string(content)
    there = [*model.graph.node]
    del model.graph.node[:]
    rounds = helper.make_node("Loop", ["rounds", "go", "start"], ["end"], body=body)
    model.graph.node.extend([rounds, *there])
    model.graph.initializer.extend(
        [
            numpy_helper.from_array(np.array(2**62), "rounds"),
            numpy_helper.from_array(np.array(True), "go"),
            numpy_helper.from_array(np.ones(1, np.float32), "start"),
        ]
    )
    return model.SerializeToString()


def branch(content):
    graph = helper.make_graph(
        [helper.make_node("Constant", [], ["b"], value_float=1.0)],
        "branch",
        [],
        [helper.make_tensor_value_info("b", TensorProto.FLOAT, [])],
    )
    model = load_from_string(content)
    chosen = helper.make_node("If", ["go"], ["either"], then_branch=graph, else_branch=graph)
    model.graph.node.insert(0, chosen)
    model.graph.initializer.append(numpy_helper.from_array(np.array(True), "go"))
    return model.SerializeToString()


def elsewhere(content):
    model = load_from_string(content)
    tensor = TensorProto(name="x", data_type=1, dims=[1], data_location=TensorProto.EXTERNAL)
    tensor.external_data.add(key="location", value="/etc/passwd")
    model.graph.initializer.append(tensor)
    return model.SerializeToString()


def function(content):
    model = load_from_string(content)
    body = [helper.make_node("Identity", ["x"], ["y"])]
    opset = [helper.make_opsetid("", 17)]
    model.functions.append(helper.make_function("own", "f", ["x"], ["y"], body, opset))
    return model.SerializeToString()


def trees(name, at, value):
    """Set one entry of the lists that an exported ensemble is made of."""

    def change(content):
        model = load_from_string(content)
        attribute = next(a for a in model.graph.node[0].attribute if a.name == name)
        (attribute.ints or attribute.floats)[at] = value
        return model.SerializeToString()

    return file(ONNX, change)


def input_of(n):
    def change(content):
        model = load_from_string(content)
        model.graph.input[0].type.tensor_type.shape.dim[1].dim_value = n
        return model.SerializeToString()

    return file(ONNX, change)


def other_golden(folder):
    """The ONNX model of another training in place of its own."""
    path = folder / ONNX
    model = load_from_string(path.read_bytes())
    lists = {a.name: a for a in model.graph.node[0].attribute}
    lists["target_weights"].floats[:] = [-v for v in lists["target_weights"].floats]
    path.write_bytes(model.SerializeToString())


def empty_golden(folder):
    tensors(GOLDEN, inputs=lambda a: a[:0], probabilities=lambda a: a[:0])(folder)


def both(*changes):
    def change(folder):
        for one in changes:
            one(folder)

    return change


def link(name):
    def change(folder):
        (folder / name).rename(folder / "elsewhere")
        (folder / name).symlink_to(folder / "elsewhere")

    return change


def pipe(name):
    def change(folder):
        (folder / name).unlink()
        os.mkfifo(folder / name)

    return change


def flip(name):
    def change(content):
        at = len(content) // 2
        return content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :]

    return file(name, change)


WIDE = 4000

SIMPLE = {
    "checkpoint.json not UTF-8": file(MANIFEST, lambda c: c.replace(b'"seed"', b'"se\xffd"')),
    "checkpoint.json nested without end": file(
        MANIFEST, lambda c: c.replace(b'"history": {', b'"history": {"a": ' + b"[" * 200_000, 1)
    ),
    "checkpoint.json nested 500 levels": file(
        MANIFEST,
        lambda c: c.replace(b'"history": {', b'"history": {"a": ' + b"[" * 500 + b"]" * 500 + b","),
    ),
    "checkpoint.json cut": file(MANIFEST, lambda c: c[:-40]),
    "checkpoint.json with NaN": file(
        MANIFEST, lambda c: c.replace(b'"threads": 1', b'"threads": NaN')
    ),
    "checkpoint.json with half a pair": file(
        MANIFEST, lambda c: c.replace(b'"commit": null', rb'"commit": "\ud800"')
    ),
    "checkpoint.json an array": file(MANIFEST, b"[]"),
    "checkpoint.json empty": file(MANIFEST, b""),
    "a metric edited": manifest(put("metrics", "val_macro_f1", value=0.7)),
    "the history edited": manifest(put("history", "best_epoch", value=1)),
    "the commit edited": manifest(put("commit", value="0" * 40)),
    "the seal taken out": manifest(drop("seal")),
    "the seal and the version taken out": manifest(
        lambda m: (m.pop("seal"), m.pop("weights_digest"), m.update(format_version=2))
    ),
    "the version as true": manifest(put("format_version", value=True)),
    "the version a text": manifest(put("format_version", value="3")),
    "a later version": manifest(put("format_version", value=4)),
    "a field more": manifest(put("pickle", value="x")),
    "settings edited and sealed": manifest(put("config", "seed", value=9), sealed=True),
    "the digest edited and sealed": manifest(put("digest", value="0" * 64), sealed=True),
    "architecture renamed and sealed": manifest(put("architecture", value="mlp"), sealed=True),
    "a size edited and sealed": manifest(put("files", ONNX, "bytes", value=1), sealed=True),
    "a size below zero": manifest(put("files", ONNX, "bytes", value=-1), sealed=True),
    "a digest that is none": manifest(put("files", ONNX, "sha256", value="zz"), sealed=True),
    "the check of the baseline taken out and sealed": both(
        tensors(CALIBRATION, **{f"cleanliness__{n}": None for n in ("centre", "scale", "weights")}),
        tensors(CALIBRATION, cleanliness__bias=None, cleanliness__references=None),
        manifest(put("calibrator", "cleanliness", value=None), sealed=True),
    ),
    "an idle ONNX node": nodes_first(helper.make_node("Relu", ["windows"], ["idle"])),
    "a bit of model.onnx": flip(ONNX),
    "a bit of the golden windows": flip(GOLDEN),
    "a bit of the calibration": flip(CALIBRATION),
    "model.onnx missing": lambda folder: (folder / ONNX).unlink(),
    "golden windows missing": lambda folder: (folder / GOLDEN).unlink(),
    "calibration missing": lambda folder: (folder / CALIBRATION).unlink(),
    "checkpoint.json missing": lambda folder: (folder / MANIFEST).unlink(),
    "model.onnx a link": link(ONNX),
    "checkpoint.json a link": link(MANIFEST),
    "golden windows a pipe": pipe(GOLDEN),
}

CONSISTENT = {
    "a metric far from its history": manifest(put("metrics", "val_macro_f1", value=0.999)),
    "a metric above one": manifest(put("metrics", "val_macro_f1", value=7.0)),
    "a metric of 400 digits": manifest(put("history", "best_val_macro_f1", value=10**400)),
    "a metric that is a text": manifest(put("metrics", "val_macro_f1", value="0.9")),
    "trees renamed mlp": manifest(put("architecture", value="mlp")),
    "trees renamed gru": manifest(put("architecture", value="gru")),
    "an architecture nobody knows": manifest(put("architecture", value="svm")),
    "another variant": manifest(put("variant", value="oracle")),
    "architecture version 99": manifest(put("architecture_version", value=99)),
    "architecture version 0": manifest(put("architecture_version", value=0)),
    "classes in another order": manifest(
        put("classes", value=["armed", "clean", "infecting", "infected_running", "dormant"])
    ),
    "windows of another kind": manifest(put("input_kind", value="tensor")),
    "a file elsewhere": manifest(
        put("files", "../../secret", value={"bytes": 1, "sha256": "0" * 64})
    ),
    "no files": manifest(put("files", value={})),
    "weights beside trees": both(
        file("weights.safetensors", save_tensors({"a": np.ones(1, np.float32)})),
    ),
    "scaler 1e30": tensors(CALIBRATION, z_sd=lambda a: np.full_like(a, 1e30)),
    "scaler's mean 1e30": tensors(CALIBRATION, z_mean=lambda a: np.full_like(a, 1e30)),
    "scaler's floor 1e30": tensors(CALIBRATION, floor=lambda a: np.full_like(a, 1e30)),
    "scaler of NaN": tensors(CALIBRATION, z_sd=lambda a: np.full_like(a, np.nan)),
    "scaler of infinity": tensors(CALIBRATION, z_mean=lambda a: np.full_like(a, np.inf)),
    "scaler of zero": tensors(CALIBRATION, z_sd=lambda a: a * 0),
    "scaler below zero": tensors(CALIBRATION, z_sd=lambda a: -a),
    "scaler of fewer columns": tensors(CALIBRATION, z_sd=lambda a: a[:-1]),
    "the check's references emptied": tensors(CALIBRATION, cleanliness__references=lambda a: a[:0]),
    "the check's weights zero": tensors(CALIBRATION, cleanliness__weights=lambda a: a * 0),
    "the check's references 1e30": tensors(
        CALIBRATION, cleanliness__references=lambda a: np.full_like(a, 1e30)
    ),
    "the check's scale zero": tensors(CALIBRATION, cleanliness__scale=lambda a: a * 0),
    "another model's ONNX": other_golden,
    "another model's ONNX, golden windows emptied": both(other_golden, empty_golden),
    "golden windows emptied": empty_golden,
    "golden probabilities edited": tensors(GOLDEN, probabilities=lambda a: a[:, ::-1]),
    "golden probabilities of NaN": tensors(GOLDEN, probabilities=lambda a: a * np.nan),
    "golden probabilities that are none": tensors(GOLDEN, probabilities=lambda a: a * 3),
    "golden windows of infinity": tensors(GOLDEN, inputs=lambda a: a + np.float32(np.inf)),
    "golden windows all unknown": tensors(GOLDEN, inputs=lambda a: a * np.float32(np.nan)),
    "golden windows of other columns": tensors(GOLDEN, inputs=lambda a: a[:, :-1]),
    "golden windows as float64": tensors(GOLDEN, inputs=lambda a: a.astype(np.float64)),
    "a golden array more": tensors(GOLDEN, more=np.ones(1)),
    "tensors' header beyond the file": file(GOLDEN, lambda c: b"\xff" * 7 + b"\x7f" + c[8:]),
    "tensors' header of 2 MB": header(lambda found: json.dumps(found).encode() + b" " * (2 << 20)),
    "tensors' header not UTF-8": header(lambda found: b'{"\xff": 1}'),
    "tensors' header nested": header(lambda found: b"[" * 100_000),
    "tensors that overlap": entry("inputs", data_offsets=[0, 2320]),
    "tensors of a type nobody has": entry("inputs", dtype="BF16"),
    "tensors below zero": entry("inputs", shape=[-8, -145]),
    "tensors beyond all sizes": entry("inputs", shape=[2**62, 2**62]),
    "tensors with words beside": header(lambda found: {**found, "__metadata__": {"a": "b"}}),
    "a pickle": file(GOLDEN, pickle.dumps({"a": 1})),
    "tensors cut": file(GOLDEN, lambda c: c[:-1]),
    "an ONNX loop without end": file(ONNX, loop),
    "an ONNX branch": file(ONNX, branch),
    "ONNX data of another file": file(ONNX, elsewhere),
    "an ONNX function": file(ONNX, function),
    "an ONNX node of another library": nodes_first(
        helper.make_node("Own", ["windows"], ["own"], domain="own.ops")
    ),
    "an ONNX size made of a window": nodes_first(
        helper.make_node("Cast", ["windows"], ["whole"], to=TensorProto.INT64),
        helper.make_node("ConstantOfShape", ["whole"], ["large"]),
    ),
    "ONNX constants multiplied for hours": nodes_first(
        helper.make_node("MatMul", ["high", "wide"], ["m0"]),
        *(helper.make_node("MatMul", [f"m{k}", f"m{k}"], [f"m{k + 1}"]) for k in range(2000)),
        tied="m2000",
        high=np.ones((WIDE, 1), np.float32),
        wide=np.ones((1, WIDE), np.float32),
    ),
    "ONNX constants that fill the memory": nodes_first(
        helper.make_node("Concat", ["few", "few"], ["d0"], axis=0),
        *(helper.make_node("Concat", [f"d{k}"] * 64, [f"d{k + 1}"], axis=0) for k in range(6)),
        tied="d6",
        few=np.ones((64, 64), np.float32),
    ),
    "ONNX in a circle": nodes_first(
        helper.make_node("Add", ["a", "windows"], ["b"]),
        helper.make_node("Add", ["b", "windows"], ["a"]),
    ),
    "ONNX of other columns": input_of(144),
    "ONNX cut": file(ONNX, lambda c: c[: len(c) // 2]),
    "ONNX of noise": file(ONNX, np.random.default_rng(0).bytes(5000)),
    "ONNX empty": file(ONNX, b""),
    "ONNX trees in a circle": trees("nodes_truenodeids", 1, 1),
    "ONNX trees beyond their nodes": trees("nodes_falsenodeids", 0, 10**6),
    "ONNX trees on a feature there is not": trees("nodes_featureids", 0, 10**6),
    "ONNX trees on a feature below none": trees("nodes_featureids", 0, -5),
    "ONNX trees for a class there is not": trees("target_ids", 0, 99),
    "ONNX trees with a leaf of NaN": trees("target_weights", 0, float("nan")),
}

ALARMS_SIMPLE = {
    "the alarm edited": lambda folder: edit_json(folder / ALARM, put("threshold", value=0.97)),
    "the alarm taken away": lambda folder: (folder / ALARM).unlink(),
    "the alarm a link": link(ALARM),
}
"""Only what runs live has an alarm."""


def alarm(*path, value):
    return lambda folder: edit_json(folder / ALARM, put(*path, value=value))


ALARMS_CONSISTENT = {
    "an alarm that never rises": both(alarm("threshold", value=1 - 1e-12)),
    "an alarm that always stands": both(
        alarm("release", value=1e-9), alarm("threshold", value=1e-6)
    ),
    "an alarm that cannot leave clean": alarm("transition", value=np.eye(5).tolist()),
    "an alarm that holds for ever": alarm("hold_windows", value=10**9),
    "an alarm of other steps": alarm("step_s", value=1e9),
    "an alarm without power": alarm("emission_power", value=1e-9),
    "an alarm of another model": alarm("checkpoint_digest", value="0" * 64),
    "an alarm of no model": lambda folder: edit_json(folder / ALARM, drop("checkpoint_digest")),
    "an alarm of another version": alarm("version", value="0"),
    "an alarm of 400 digits": alarm("emission_power", value=10**400),
    "an alarm of text": alarm("threshold", value="high"),
    "an alarm not UTF-8": file(ALARM, lambda c: c.replace(b'"format"', b'"form\xff"')),
    "an alarm nested without end": file(ALARM, b"[" * 200_000),
    "an alarm that is an array": file(ALARM, b"[]"),
}

WEIGHTS_ONLY = {
    "a booster of noise": file("model.ubj", b"noise" * 99),
    "a booster cut": file("model.ubj", lambda c: c[: len(c) // 2]),
    "a booster without its end": file("model.ubj", lambda c: c[:-1]),
    "a booster with children beyond its trees": file(
        "model.ubj",
        lambda c: c.replace(b"\0\0\0\x01\xff\xff\xff\xff", b"\0\x7f\0\x01\xff\xff\xff\xff"),
    ),
    "no booster": lambda folder: (folder / "model.ubj").unlink(),
}
"""Only a whole checkpoint has weights."""
