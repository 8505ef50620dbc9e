import numpy as np
import pytest
from onnx import helper, load_from_string, numpy_helper

from cis490_pipeline.checkpoints.onnx import trial
from cis490_pipeline.checkpoints.onnx.check import require_plain_onnx
from cis490_pipeline.checkpoints.onnx.trial import note_run, require_runs
from cis490_pipeline.errors import CheckpointError
from cis490_pipeline_tests.checkpoints.made_up import make_onnx

WINDOWS = np.zeros((2, 145), np.float32)


@pytest.fixture(autouse=True)
def nothing_ran(monkeypatch):
    monkeypatch.setattr(trial, "_ran", set())


def with_constants(*nodes, tied, **constants):
    """The made-up model, to whose windows the mean of one constant is added."""
    model = load_from_string(make_onnx())
    there = [*model.graph.node]
    for node in there:
        node.input[:] = ["moved" if name == "windows" else name for name in node.input]
    del model.graph.node[:]
    ends = [
        helper.make_node("ReduceMean", [tied], ["mean"], keepdims=0),
        helper.make_node("Add", ["windows", "mean"], ["moved"]),
    ]
    model.graph.node.extend([*nodes, *ends, *there])
    model.graph.initializer.extend(numpy_helper.from_array(a, n) for n, a in constants.items())
    return model.SerializeToString()


def hours(size=3000, n=5000):
    nodes = [helper.make_node("MatMul", ["a", "b"], ["m0"])]
    nodes += [helper.make_node("MatMul", [f"m{k}"] * 2, [f"m{k + 1}"]) for k in range(n)]
    a, b = np.ones((size, 1), np.float32), np.ones((1, size), np.float32)
    return with_constants(*nodes[:4000], tied="m3999", a=a, b=b)


def test_a_model_that_answers_runs():
    require_runs([("here", make_onnx(), WINDOWS)])


def test_a_model_whose_constants_take_hours_is_refused_after_its_time():
    endless = hours()
    require_plain_onnx(endless)

    with pytest.raises(CheckpointError, match=r"second: model\.onnx cannot be run: .*after 1 s"):
        require_runs([("first", make_onnx(), WINDOWS), ("second", endless, WINDOWS)], limit_s=1)


def test_a_model_that_fills_the_memory_is_refused():
    nodes = [
        helper.make_node("Concat", ["few"] * 64, ["d0"], axis=0),
        *(helper.make_node("Concat", [f"d{k}"] * 64, [f"d{k + 1}"], axis=0) for k in range(5)),
    ]
    large = with_constants(*nodes, tied="d5", few=np.ones((64, 64), np.float32))
    require_plain_onnx(large)

    with pytest.raises(CheckpointError, match=r"large: model\.onnx cannot be run: tried in a proc"):
        require_runs([("large", large, WINDOWS)])


def test_a_process_that_dies_of_a_model_is_a_refusal_that_names_it(monkeypatch, tmp_path):
    deadly = tmp_path / "trial_run.py"
    deadly.write_text("import os\nprint('ran', flush=True)\nos.kill(os.getpid(), 11)\n")
    monkeypatch.setattr(trial, "SCRIPT", deadly)

    with pytest.raises(CheckpointError, match=r"second: .* it was ended by signal 11; copy or"):
        require_runs([("first", make_onnx(), WINDOWS), ("second", make_onnx(seed=1), WINDOWS)])


def test_what_ran_is_not_run_again_and_another_is(monkeypatch):
    require_runs([("here", make_onnx(), WINDOWS)])
    note_run(make_onnx(seed=1), WINDOWS)

    def forbidden(*args, **kwargs):
        raise AssertionError("a process was started")

    monkeypatch.setattr(trial.subprocess, "Popen", forbidden)
    require_runs([("here", make_onnx(), WINDOWS), ("made", make_onnx(seed=1), WINDOWS)])
    with pytest.raises(AssertionError, match="a process was started"):
        require_runs([("here", make_onnx(), WINDOWS + 1)])
