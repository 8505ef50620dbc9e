import json

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from sklearn.decomposition import PCA

from cis490_pipeline.checkpoints.runnable import load_runnable
from cis490_pipeline.dashboard.producers.embedding import InnerLayer, Plane, fit_map
from cis490_pipeline.dashboard.producers.perf import device_name
from cis490_pipeline.dashboard.producers.replay import play, recording, replay, replayed
from cis490_pipeline.dashboard.producers.timeline import Timed
from cis490_pipeline.domain import Architecture, Side, Variant
from cis490_pipeline.errors import EventError, StoreError
from cis490_pipeline.events.contract import (
    Embedding,
    Episode,
    ModelFailure,
    PhaseNow,
    Prediction,
    Telemetry,
    decode,
    encode,
)
from cis490_pipeline.events.publisher import Publisher
from cis490_pipeline.features.datasets.load import load_windows
from cis490_pipeline.features.datasets.opened import open_dataset
from cis490_pipeline.models.export.onnx import export_onnx
from cis490_pipeline.store.receiver import LocalStore
from cis490_pipeline_tests.events.endpoint import Dashboard, serving
from cis490_pipeline_tests.experiment.runs import SAMPLE
from cis490_pipeline_tests.models.conftest import fitted_model
from cis490_pipeline_tests.models.made_up import make_windows

NAME = "garage-pi/01M819ERXT8DP0P021JH3Q31VP"


@pytest.fixture(scope="module")
def unfolded(finished):
    from cis490_pipeline.dashboard.producers.options import Places

    places = Places.of("host", data_folder=finished.paths.root)
    with recording(LocalStore(SAMPLE), NAME, None) as chosen:
        return chosen.episode, replayed(places, chosen, 2.0)


def of_kind(timeline, kind):
    return [timed for timed in timeline if isinstance(timed.event, kind)]


@pytest.mark.parametrize("architecture", list(Architecture), ids=str)
def test_the_inner_layer_of_an_export_is_the_models(architecture):
    model = fitted_model(architecture, Variant.REALISTIC)
    X = make_windows(model.spec.shape, 20, seed=5).X

    embedded = InnerLayer(export_onnx(model)).embed(X)

    if architecture is Architecture.GBT:
        own = model.logits(X)
    else:
        own = model.network_.embed(torch.from_numpy(X)).detach().numpy()
    np.testing.assert_allclose(embedded, own.reshape(20, -1), atol=1e-4)


def test_the_plane_is_the_principal_one_and_train_fills_it():
    rng = np.random.default_rng(0)
    train = rng.normal(size=(200, 7)) * [5, 1, 3, 0.1, 0.1, 0.1, 0.1] + 4

    plane = Plane.fit(train)
    placed = plane.place(train)

    wanted = PCA(2, svd_solver="full").fit_transform(train)
    for axis in range(2):
        assert abs(np.corrcoef(placed[:, axis], wanted[:, axis])[0, 1]) == pytest.approx(1)
    np.testing.assert_allclose(placed.min(axis=0), 0, atol=1e-12)
    np.testing.assert_allclose(placed.max(axis=0), 1, atol=1e-12)


def test_what_lies_beyond_train_lies_on_the_edge():
    train = np.random.default_rng(0).normal(size=(50, 3))

    placed = Plane.fit(train).place(train * 1000)

    assert placed.min() == 0
    assert placed.max() == 1


def test_the_map_is_fitted_on_train_alone(places):
    model = load_runnable(places.artifacts / "mlp_oracle")
    fitted = fit_map(model, places.artifacts / "mlp_oracle", places.summary)
    train = load_windows(open_dataset(places.summary, "summary"), Side.TRAIN, model.calibrator)

    placed = fitted.place(train.take(np.arange(len(train))))

    np.testing.assert_allclose(placed.min(axis=0), 0, atol=1e-6)
    np.testing.assert_allclose(placed.max(axis=0), 1, atol=1e-6)


def test_a_timeline_is_in_order_and_keeps_the_contract(unfolded):
    _, timeline = unfolded

    assert [timed.t_s for timed in timeline] == sorted(timed.t_s for timed in timeline)
    events = [timed.event for timed in timeline]
    assert decode(encode(events)) == events


def test_a_timeline_begins_with_the_truth_and_ends_with_the_end(unfolded):
    episode, timeline = unfolded
    first, last = timeline[0].event, timeline[-1].event

    assert isinstance(first, Episode)
    assert [span.phase for span in first.phases] == [str(label.phase) for label in episode.labels]
    assert first.phases[-1].end_s == first.duration_s == (episode.end_ns - episode.t0_ns) / 1e9
    assert (first.origin, first.speed, len(first.models)) == ("replay", 2.0, 4)
    assert (last.state, last.episode_id) == ("ended", first.episode_id)


def test_each_prediction_is_known_two_seconds_after_its_window_and_bears_the_truth(unfolded):
    episode, timeline = unfolded
    starts = [(label.t_wall_ns - episode.t0_ns) / 1e9 for label in episode.labels]

    for timed in of_kind(timeline, Prediction):
        event = timed.event
        assert timed.t_s == pytest.approx(event.t_end_s + 2)
        centre = (event.t_start_s + event.t_end_s) / 2
        phase = [
            str(label.phase)
            for start, label in zip(starts, episode.labels, strict=True)
            if start <= centre
        ][-1]
        assert event.actual == phase
    assert len(of_kind(timeline, Prediction)) == len(of_kind(timeline, Embedding)) == 4 * 11


def test_points_of_a_replay_lie_in_the_plane(unfolded):
    _, timeline = unfolded

    for timed in of_kind(timeline, Embedding):
        assert 0 <= timed.event.x <= 1
        assert 0 <= timed.event.y <= 1


def test_telemetry_comes_each_second_in_five_readings_of_all_46_channels(unfolded):
    episode, timeline = unfolded
    telemetry = of_kind(timeline, Telemetry)

    assert len(telemetry) == int((episode.end_ns - episode.t0_ns) / 1e9)
    assert all(len(timed.event.values) == 46 for timed in telemetry)
    assert [t for timed in telemetry for t in timed.event.t_s] == pytest.approx(
        [0.2 * (k + 1) for k in range(5 * len(telemetry))]
    )
    assert all(timed.t_s == timed.event.t_s[-1] for timed in telemetry)


def test_a_replay_arrives_whole_and_in_order_at_its_speed(unfolded):
    _, timeline = unfolded
    with serving() as server:
        play(timeline, Publisher(server.url), speed=200, interval_s=0)

        kinds = [event["type"] for event in server.events]
        assert len(kinds) == len(timeline)
        assert (kinds[0], kinds[-1]) == ("episode", "episode")
        phases = [event["phase"] for event in server.events if event["type"] == "phase"]
    assert phases == [timed.event.phase for timed in of_kind(timeline, PhaseNow)]


def test_a_replay_keeps_its_pace():
    now, slept = [0.0], []

    class Stop:
        def is_set(self):
            return False

        def wait(self, seconds):
            slept.append(seconds)
            now[0] += seconds

    timeline = [Timed(t, PhaseNow(phase=f"p{t}")) for t in (0.0, 1.0, 4.0)]
    with serving() as server:
        play(
            timeline,
            Publisher(server.url),
            speed=2,
            interval_s=0,
            stop=Stop(),
            clock=lambda: now[0],
        )

    assert now[0] == pytest.approx(2.0)
    assert max(slept) <= 0.1


def test_a_replay_to_nobody_is_an_error():
    server = Dashboard()
    server.server_close()
    timeline = [Timed(0.0, PhaseNow(phase="clean"))]

    with pytest.raises(EventError, match="1 events of the replay were not delivered"):
        play(timeline, Publisher(server.url), speed=1, interval_s=0, close_s=0.2)


def test_an_episode_made_on_the_fly_is_replayed_and_says_that_it_is(places, monkeypatch):
    monkeypatch.setenv("CIS490_DATA", str(places.artifacts.parents[1]))

    done = CliRunner().invoke(replay, ["--simulate", "3", "--dry-run"], standalone_mode=False)

    events = [json.loads(line) for line in done.stdout.splitlines()]
    assert done.exception is None
    assert events[0]["origin"] == "simulated"
    assert {e["actual"] for e in events if e["type"] == "prediction"} > {"clean", "infecting"}


def test_a_damaged_model_is_published_as_failed_and_the_others_replay(copied, caplog):
    (copied.artifacts / "gbt_oracle" / "model.onnx").write_bytes(b"damaged")

    caplog.set_level("INFO")
    with recording(LocalStore(SAMPLE), NAME, None) as chosen:
        events = [timed.event for timed in replayed(copied, chosen, 1.0)]

    (failure,) = [event for event in events if isinstance(event, ModelFailure)]
    assert (failure.model, failure.device) == ("gbt_oracle", device_name())
    assert "model.onnx" in failure.why
    models = {event.model for event in events if isinstance(event, Prediction)}
    assert models == {"gbt_realistic", "mlp_realistic", "mlp_oracle"}
    assert "3 models replay, 1 failed, 8 are not trained" in caplog.messages


def test_an_episode_that_is_not_there_is_named_with_one_that_is():
    with (
        pytest.raises(StoreError, match=r"no episode 'lab-nuc/\.\.'; name one as HOST/ULID, such"),
        recording(LocalStore(SAMPLE), "lab-nuc/..", None),
    ):
        pass
