import json
import subprocess
import sys

import numpy as np
import pytest

from cis490_pipeline.domain import Variant
from cis490_pipeline.errors import CheckpointError
from cis490_pipeline.models import registry
from cis490_pipeline.models.base import ModelState
from cis490_pipeline.models.trees.booster_check import require_sound_booster
from cis490_pipeline.models.trees.ubjson import MAX_DEPTH, UbjsonError, decode_ubjson
from cis490_pipeline_tests.models.boosters import encode_ubjson
from cis490_pipeline_tests.models.conftest import fitted_model

N_FEATURES = 145


@pytest.fixture(scope="module")
def booster():
    return fitted_model("gbt", Variant.REALISTIC).state().booster


def changed(booster, change):
    root = decode_ubjson(booster)
    change(root["learner"], root["learner"]["gradient_booster"]["model"])
    return encode_ubjson(root)


def tree(model, position=0):
    return model["trees"][position]


def put(position, name, node, value):
    """Set one entry of one tree's array."""

    def change(learner, model):
        array = tree(model, position)[name].copy()
        array[node] = value
        tree(model, position)[name] = array

    return change


def shorten(name, by=1):
    def change(learner, model):
        tree(model)[name] = tree(model)[name][:-by]

    return change


def param(path, name, value):
    def change(learner, model):
        place = {"learner": learner["learner_model_param"], "model": model["gbtree_model_param"]}
        place["tree"] = tree(model)["tree_param"]
        place["objective"] = learner["objective"]["softmax_multiclass_param"]
        place[path][name] = value

    return change


def swap_children(learner, model):
    """Two nodes that are each other's child, reached from nowhere."""
    at = next(t for t in model["trees"] if len(t["left_children"]) >= 7)
    n = len(at["left_children"])
    for name in ("left_children", "right_children", "parents"):
        at[name] = at[name].copy()
    inner = [k for k in range(1, n) if at["left_children"][k] != -1]
    first = inner[0]
    child = at["left_children"][first]
    at["left_children"][first] = first
    at["parents"][first] = first
    at["left_children"][0] = child if at["left_children"][0] == first else at["left_children"][0]
    at["right_children"][0] = child if at["right_children"][0] == first else at["right_children"][0]
    at["parents"][child] = 0


def drop(name):
    def change(learner, model):
        del tree(model)[name]

    return change


def retype(name, kind):
    def change(learner, model):
        tree(model)[name] = tree(model)[name].astype(kind)

    return change


CHANGES = {
    "child after the last node": (put(0, "left_children", 0, 10**6), "a child is outside its tree"),
    "child before the first": (put(0, "right_children", 0, -7), "a child is outside its tree"),
    "the root as a child": (put(0, "left_children", 0, 0), "a child is outside its tree"),
    "a child of two": (put(0, "left_children", 0, 2), "the child of two nodes, or of none"),
    "a node its own child": (swap_children, "some nodes are children of each other"),
    "one child only": (put(0, "left_children", 0, -1), "a node has one child"),
    "another parent": (put(0, "parents", 1, 2), "a node names another parent"),
    "a parent above the root": (put(0, "parents", 0, 1), "a root has a parent"),
    "a feature there is not": (put(0, "split_indices", 0, N_FEATURES), "have split_indices 145"),
    "a feature below none": (put(3, "split_indices", 0, -1), "have split_indices -1"),
    "a threshold of NaN": (put(0, "split_conditions", 0, np.nan), "have split_conditions nan"),
    "a weight of infinity": (put(0, "base_weights", 0, np.inf), "have base_weights inf"),
    "a split on categories": (put(0, "split_type", 0, 1), "have split_type 1"),
    "a default of two": (put(0, "default_left", 0, 2), "have default_left 2"),
    "fewer thresholds": (shorten("split_conditions"), "has 6 entries, the tree 7 nodes"),
    "fewer losses": (shorten("loss_changes"), "loss_changes of tree 0 has 6 entries"),
    "more nodes than arrays": (param("tree", "num_nodes", "8"), "has 7 entries, the tree 8 nodes"),
    "nodes without number": (param("tree", "num_nodes", "-1"), "num_nodes of tree 0 is '-1'"),
    "deleted nodes": (param("tree", "num_deleted", "1"), "num_deleted of tree 0 is '1'"),
    "vectors in leaves": (param("tree", "size_leaf_vector", "5"), "size_leaf_vector of tree 0"),
    "a tree of other features": (param("tree", "num_feature", "9"), "num_feature of tree 0"),
    "another input": (param("learner", "num_feature", "230"), "takes 230 features, the model 145"),
    "more classes": (param("learner", "num_class", "6"), "num_class is '6'"),
    "more classes of the loss": (param("objective", "num_class", "50"), "num_class of the obj"),
    "several targets": (param("learner", "num_target", "2"), "num_target is '2'"),
    "a start of infinity": (param("learner", "base_score", "[1E99999]"), "base_score is"),
    "a start of two": (param("learner", "base_score", "[0.1,0.2]"), "base_score is"),
    "a start without end": (param("learner", "base_score", "[0.1"), "base_score is"),
    "more trees than there are": (param("model", "num_trees", "999"), "num_trees is '999'"),
    "parallel trees": (param("model", "num_parallel_tree", "3"), "num_parallel_tree is '3'"),
    "no tree": (lambda learner, model: model.update(trees=[]), "it has 0 trees"),
    "half a round": (lambda learner, model: model["trees"].pop(), "it has 29 trees"),
    "rounds beyond the trees": (
        lambda learner, model: model["iteration_indptr"].__setitem__(-1, 10**9),
        "iteration_indptr does not give",
    ),
    "trees of a class there is not": (
        lambda learner, model: model["tree_info"].__setitem__(0, 77),
        "tree_info does not give",
    ),
    "numbers of trees as fractions": (
        lambda learner, model: model.update(tree_info=np.arange(30, dtype=">f4")),
        "tree_info does not give",
    ),
    "another booster": (
        lambda learner, model: learner["gradient_booster"].update(name="dart"),
        "name of the booster is 'dart'",
    ),
    "another loss": (
        lambda learner, model: learner["objective"].update(name="reg:squarederror"),
        "objective is 'reg:squarederror'",
    ),
    "names of features": (
        lambda learner, model: learner.update(feature_names=["a"]),
        "feature_names must be empty",
    ),
    "an attribute of arrays": (
        lambda learner, model: learner["attributes"].update(a=[1]),
        "attributes must be texts",
    ),
    "categories": (
        lambda learner, model: tree(model).update(categories=np.ones(3, ">i4")),
        "categories of tree 0 must be empty",
    ),
    "a key more": (lambda learner, model: model.update(dart=1), "model has the keys"),
    "no thresholds": (drop("split_conditions"), "tree 0 has the keys"),
    "thresholds of text": (
        lambda learner, model: tree(model).update(split_conditions="abc"),
        "split_conditions of tree 0 is no array",
    ),
    "children as floats": (retype("left_children", ">f4"), "left_children of tree 0 is no array"),
    "children of 64 bits": (retype("left_children", ">i8"), "left_children of tree 0 is no array"),
    "a tree that is none": (lambda learner, model: model["trees"].__setitem__(0, 5), "tree 0 has"),
    "an id of another": (lambda learner, model: tree(model).update(id=1), "id of tree 0 is '1'"),
}


@pytest.mark.parametrize("name", CHANGES)
def test_what_is_no_tree_never_reaches_xgboost(booster, name, monkeypatch):
    change, problem = CHANGES[name]
    content = changed(booster, change)

    def crash(self, raw):
        raise AssertionError("XGBoost was given it")

    monkeypatch.setattr("xgboost.Booster.load_model", crash)
    with pytest.raises(CheckpointError, match=problem):
        registry.create("gbt", "realistic", seed=0).restore(ModelState(booster=content), {})


@pytest.mark.parametrize("variant", list(Variant))
def test_what_xgboost_writes_is_sound(variant):
    model = fitted_model("gbt", variant)

    require_sound_booster(model.state().booster, n_features=model.spec.n_columns)


def test_what_is_read_is_all_there_is(booster):
    assert encode_ubjson(decode_ubjson(booster)) == booster


@pytest.mark.long
def test_no_damaged_booster_ends_the_process(booster, tmp_path):
    path = tmp_path / "model.ubj"
    path.write_bytes(booster)
    command = [sys.executable, "-m", "cis490_pipeline_tests.models.boosters", path, "0", "400"]

    done = subprocess.run(command, capture_output=True, text=True, check=False)

    assert (done.returncode, done.stderr) == (0, "")
    outcomes = json.loads(done.stdout)
    assert outcomes["refused"] + outcomes["loaded"] == 400
    assert outcomes["refused"] > outcomes["loaded"] > 0


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"", "wants 1 bytes at byte 0"),
        (b"{", "wants 1 bytes"),
        (b"[#L" + b"\x7f" + b"\xff" * 7, "an array of 9223372036854775807 elements"),
        (b"[#L" + b"\xff" * 8, "an array of -1 elements"),
        (b"[$d#L" + b"\x10" + b"\x00" * 7, "wants 4611686018427387904 bytes"),
        (b"[$d#L" + b"\xff" * 8, "wants -4 bytes"),
        (b"[$Z#L" + b"\x7f" + b"\xff" * 7, "holds b'Z' at byte"),
        (b"[" * 200, r"holds b'\['"),
        (b"[#L\0\0\0\0\0\0\0\x01" * 200, f"nested deeper than {MAX_DEPTH} levels"),
        (b"SL\0\0\0\0\0\0\0\x01\xff", "is not UTF-8"),
        (b"{L\0\0\0\0\0\0\0\x01aTL\0\0\0\0\0\0\0\x01aT}", "key 'a' is given twice"),
        (b"TT", "goes on after its end"),
        (b"H", "holds b'H'"),
        (b"[$", "wants 1 bytes"),
    ],
)
def test_bytes_that_xgboost_never_writes_are_refused(content, problem):
    with pytest.raises(UbjsonError, match=problem):
        decode_ubjson(content)
