import msgspec
import pytest

from cis490_pipeline.events.contract import (
    AttackProfile,
    Confusion,
    Embedding,
    Episode,
    ModelMetric,
    ModelPerf,
    PhaseNow,
    Prediction,
    decode,
)
from cis490_pipeline.events.older import older_form

# Of the design, §5: the six types with exactly these keys.
OLDER = {
    "model_metric": {"model", "accuracy"},
    "model_perf": {"model", "latency_us", "accuracy"},
    "prediction": {"episode_id", "window_idx", "predicted", "actual"},
    "attack_profile": {"name", "shape", "curve"},
    "embedding": {"x", "y", "phase"},
    "phase": {"phase"},
}
EVENTS = [
    ModelMetric(model="m", accuracy=0.5, ci_low=0.4, event_id="a"),
    ModelPerf(model="m", latency_us=3.0, accuracy=0.5, p99_us=9.0),
    Prediction(episode_id="e", window_idx=3, predicted="armed", actual="clean", model="m"),
    AttackProfile(name="flood", shape="median", curve=[1.0, None], low=[0.0, None]),
    Embedding(x=0.5, y=0.5, phase="clean", model="m"),
    PhaseNow(phase="clean", episode_id="e"),
]


@pytest.mark.parametrize("event", EVENTS, ids=lambda event: type(event).__name__)
def test_the_six_types_keep_the_old_keys_alone(event):
    form = older_form(event)

    assert form.keys() - {"type"} == OLDER[form["type"]]
    assert decode(msgspec.json.encode(form))[0].__class__ is type(event)


@pytest.mark.parametrize(
    "event",
    [
        Confusion(model="m", labels=["clean"], counts=[[1]]),
        Episode(episode_id="e"),
        Prediction(episode_id="e", window_idx=3, predicted="armed", actual=None),
        ModelPerf(model="m", latency_us=3.0, accuracy=None),
    ],
    ids=["extension", "episode", "no truth", "no score"],
)
def test_what_the_older_dashboard_has_no_word_for_is_left_out(event):
    assert older_form(event) is None
