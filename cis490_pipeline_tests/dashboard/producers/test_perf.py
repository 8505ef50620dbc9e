import numpy as np
import pytest

from cis490_pipeline.checkpoints.runnable import load_runnable
from cis490_pipeline.dashboard.producers.perf import device_name, measure, perf_events
from cis490_pipeline.dashboard.state.current import Outcome, State
from cis490_pipeline.events.contract import ModelFailure, ModelMetric, ModelPerf
from cis490_pipeline.storage.files import read_json, write_json


def test_times_are_the_quantiles_of_what_the_clock_said_without_the_warm_up(places):
    model = load_runnable(places.artifacts / "mlp_realistic")
    # The k-th window takes k µs, from k = 0 on.
    reads = iter(np.cumsum([ns for k in range(101) for ns in (5, 1000 * k)]).tolist())

    found = measure(model, 101, timer=lambda: next(reads))

    assert found.n == 101
    assert (found.p50, found.p95, found.p99, found.mean) == pytest.approx((50, 95, 99, 50))


def test_every_model_is_told_its_time_and_score_or_why_it_has_none(places):
    events = perf_events(places, 10)

    told = {event.model: event for event in events if isinstance(event, ModelPerf)}
    failed = [event for event in events if isinstance(event, ModelFailure)]
    assert (len(told), len(failed)) == (4, 8)
    for name, event in told.items():
        assert event.accuracy == read_json(places.reports / f"{name}.json")["macro_f1"]
        assert 0 < event.p50_us <= event.p95_us <= event.p99_us
        assert event.latency_us == event.p50_us
        assert event.device == device_name()


def test_a_report_on_another_checkpoint_gives_no_score(copied):
    path = copied.reports / "mlp_oracle.json"
    write_json(path, read_json(path) | {"checkpoint_digest": "0" * 64})

    events = {event.model: event for event in perf_events(copied, 10)}

    assert events["mlp_oracle"].accuracy is None
    assert events["mlp_realistic"].accuracy is not None


def test_a_failure_is_of_this_device_and_leaves_the_score(copied):
    (copied.artifacts / "mlp_oracle" / "model.onnx").unlink()
    score = ModelMetric(model="mlp_oracle", accuracy=0.5, split="host")

    (failure,) = [event for event in perf_events(copied, 10) if event.model == "mlp_oracle"]

    assert isinstance(failure, ModelFailure)
    assert failure.device == device_name()
    state = State()
    assert [state.apply(event, 0)[0] for event in (score, failure)] == [Outcome.TAKEN] * 2
    assert len(state.snapshot()) == 2
