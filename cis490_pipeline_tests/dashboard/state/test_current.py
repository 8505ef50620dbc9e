import json
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cis490_pipeline.dashboard.state.current import Outcome, State
from cis490_pipeline.dashboard.state.retention import MAX_EMBEDDING_POINTS, RULES, TYPE_OF
from cis490_pipeline.events import contract as c
from cis490_pipeline_tests.dashboard import scene


def metric(model="gbt", accuracy=0.5, **more):
    return c.ModelMetric(model=model, accuracy=accuracy, **more)


def shown(state):
    return [json.loads(event) for event in state.snapshot()]


def take(state, *events):
    return [state.apply(event, 0)[0] for event in events]


def test_every_event_of_the_contract_has_a_rule():
    assert set(TYPE_OF) == set(c.Event.__args__)
    assert set(RULES) == {kind.__struct_config__.tag for kind in c.Event.__args__}


def test_the_newest_of_a_key_is_kept():
    state = State()

    take(state, metric(accuracy=0.1), metric("mlp"), metric(accuracy=0.9))

    assert [(e["model"], e["accuracy"]) for e in shown(state)] == [("mlp", 0.5), ("gbt", 0.9)]


def test_what_is_true_comes_before_what_happened_whatever_came_first():
    state = State()

    take(state, *scene.points(3), *scene.telemetry(2), *scene.predictions(20), *scene.scores())

    kinds = list(dict.fromkeys(e["type"] for e in shown(state)))
    assert kinds == ["model_metric", "model_failure", "telemetry", "prediction", "embedding"]


def test_a_failure_takes_the_place_of_a_score_and_a_score_that_of_a_failure():
    state = State()
    failed = c.ModelFailure(model="gbt", why="no checkpoint")

    take(state, metric(), failed)
    assert [e["type"] for e in shown(state)] == ["model_failure"]
    take(state, metric())
    assert [e["type"] for e in shown(state)] == ["model_metric"]


def test_splits_do_not_hide_each_other():
    state = State()

    take(state, metric(split="host"), metric(split="time"))

    assert [e["split"] for e in shown(state)] == ["host", "time"]


def test_points_beyond_four_thousand_push_the_oldest_out():
    state = State()
    n = MAX_EMBEDDING_POINTS + 10

    take(state, *(c.Embedding(x=i, y=0, phase="clean") for i in range(n)))

    xs = [e["x"] for e in shown(state)]
    assert xs == list(range(10, n))
    assert state.feeds["embedding"].left_out == 0


def test_a_model_beyond_the_limit_is_left_out_and_counted_and_pushes_nobody_out():
    state = State()
    limit = RULES["model_metric"].limit

    outcomes = take(state, *(metric(str(i)) for i in range(limit + 3)))

    assert outcomes[limit:] == [Outcome.LEFT_OUT] * 3
    assert state.feeds["model_metric"].left_out == 3
    assert {e["model"] for e in shown(state)} == {str(i) for i in range(limit)}


def test_what_was_left_out_may_come_again_once_there_is_room():
    state = State()
    limit = RULES["model_metric"].limit
    take(state, *(metric(str(i)) for i in range(limit)))
    late = metric("late", event_id="late")

    assert take(state, late) == [Outcome.LEFT_OUT]
    take(state, c.ModelFailure(model="0", why="gone"))
    assert take(state, late) == [Outcome.TAKEN]


@pytest.mark.parametrize("name", ["attack_profile", "telemetry", "prediction"])
def test_no_type_grows_beyond_its_bytes_whatever_is_sent(name):
    rule = RULES[name]
    long = [float(i) for i in range(600)]
    many = {
        "attack_profile": lambda i: c.AttackProfile(
            name=str(i), shape="x", curve=[*long, *long], low=long, high=long
        ),
        "telemetry": lambda i: c.Telemetry(
            episode_id="e", t_s=[i + t / 1000 for t in range(600)], values={"a": long, "b": long}
        ),
        "prediction": lambda i: c.Prediction(
            episode_id="x" * 256, window_idx=i, predicted="y" * 128, actual="z" * 128
        ),
    }
    state = State()

    take(state, *(many[name](i) for i in range(400 if name != "prediction" else 9_000)))

    sizes = {kind: (n, size) for kind, n, size in state.kept()}
    assert sizes[name][0] <= rule.limit
    assert sizes[name][1] <= rule.limit_bytes
    assert sizes[name][1] == sum(map(len, state.snapshot()))


def test_names_as_long_as_they_may_be_stay_within_some_megabytes():
    state = State()
    tracemalloc.start()

    for i in range(9_000):
        name = f"{i:0128d}"
        take(
            state,
            metric(name, event_id=f"{i:0256d}"),
            c.GroupMetric(model=name, profile=name, host_id=name, macro_f1=0.5),
            c.Embedding(x=i, y=0, phase=name, model=name, episode_id=name * 2, window_idx=i),
            c.Prediction(episode_id=name * 2, window_idx=i, predicted=name, actual=name),
        )

    held = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert held < 40 * 2**20


@given(
    st.lists(
        st.tuples(st.sampled_from("abc"), st.floats(0, 1), st.none() | st.sampled_from("xyz")),
        max_size=30,
    )
)
def test_bytes_are_counted_as_they_are(drawn):
    state = State()

    take(state, *(metric(name, value, event_id=id_) for name, value, id_ in drawn))

    assert state.n_bytes() == sum(map(len, state.snapshot()))
