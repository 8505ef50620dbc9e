import contextlib
import json
import shutil
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import dagster as dg
import msgspec
import pytest

from cis490_pipeline.config import Settings
from cis490_pipeline.dashboard.producers.metrics import MetricEvents
from cis490_pipeline.dashboard.producers.options import Places
from cis490_pipeline.dashboard.producers.scores import Scores
from cis490_pipeline.dashboard.state.current import Outcome, State
from cis490_pipeline.domain import Recipe
from cis490_pipeline.errors import ConfigError
from cis490_pipeline.events import publisher as publisher_module
from cis490_pipeline.events.contract import ModelMetric, decode, leaderboard_events
from cis490_pipeline.experiment.leaderboard import Leaderboard
from cis490_pipeline.experiment.stages.workspace import Workspace
from cis490_pipeline.orchestration.assets.models import leaderboard
from cis490_pipeline.orchestration.publish.dashboard import model_metric_events, unpublished_scores
from cis490_pipeline.orchestration.publish.drain import EVENTS, OVERLAP_S, acknowledged
from cis490_pipeline.storage.files import read_json
from cis490_pipeline_tests.orchestration.making import workspace_in


class Dashboard(ThreadingHTTPServer):
    """A dashboard that keeps what it is sent, and answers as it is told."""

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Answer)
        self.status, self.received, self.wait_s = 200, [], 0.0
        self.url = f"http://127.0.0.1:{self.server_port}/publish"


class Answer(BaseHTTPRequestHandler):
    server: Dashboard

    def do_POST(self):
        events = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        time.sleep(self.server.wait_s)
        if self.server.status == 200:
            self.server.received.append(events)
        self.send_response(self.server.status)
        self.end_headers()
        with contextlib.suppress(OSError):
            self.wfile.write(json.dumps({"delivered": len(events)}).encode())

    def log_message(self, *_):
        pass


@contextlib.contextmanager
def serving():
    dashboard = Dashboard()
    thread = threading.Thread(target=dashboard.serve_forever)
    thread.start()
    yield dashboard
    dashboard.shutdown()
    thread.join()
    dashboard.server_close()


@pytest.fixture
def dashboard(monkeypatch, tmp_path):
    with serving() as dashboard:
        monkeypatch.chdir(tmp_path)
        monkeypatch.setenv("CIS490_DASHBOARD_URL", dashboard.url)
        yield dashboard


@pytest.fixture
def second(dashboard, monkeypatch):
    """Another dashboard beside the first."""
    with serving() as second:
        monkeypatch.setenv("CIS490_DASHBOARD_URL", f"{dashboard.url}, {second.url}")
        yield second


@pytest.fixture
def instance(tmp_path):
    (tmp_path / "home").mkdir()
    with dg.instance_for_test(temp_dir=str(tmp_path / "home")) as instance:
        yield instance


def run(asset, workspace, instance, tags=None):
    return dg.materialize(
        [asset],
        partition_key="host",
        instance=instance,
        resources={"workspace": dg.ResourceDefinition.hardcoded_resource(workspace)},
        run_config={"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}},
        raise_on_error=False,
        tags=tags,
    )


@pytest.fixture(scope="module")
def board(first_runs, tmp_path_factory):
    """A host split with a leaderboard, which no instance knows of."""
    data = tmp_path_factory.mktemp("dashboard") / "data"
    shutil.copytree(first_runs[0].paths.root, data)
    Leaderboard(workspace_in(data), Recipe.HOST).ensure()
    return workspace_in(data)


def compare_again(instance, score=0.5, partition="host"):
    """Record another leaderboard, of one model."""
    row = {"model": "gbt_realistic", "kind": "model", "variant": "realistic"}
    row["macro_f1"] = score
    row |= dict.fromkeys(("ci_low", "ci_high", "n_episodes", "n_windows"))
    board = {"split": partition, "split_digest": "5a" * 32, "rows": [row], "untested_profiles": {}}
    events = msgspec.to_builtins(leaderboard_events(board))
    instance.report_runless_asset_event(
        dg.AssetMaterialization(
            leaderboard.key, partition=partition, metadata={EVENTS: dg.MetadataValue.json(events)}
        )
    )


def scores_in(received):
    return [event["accuracy"] for events in received for event in events]


@pytest.fixture
def scored(board, instance):
    """The same, after Dagster recorded it."""
    assert run(leaderboard, board, instance).success
    return board


class Sensor:
    """Ticks of the sensor, its cursor carried on."""

    def __init__(self, instance):
        self.instance, self.cursor = instance, None

    def tick(self):
        context = dg.build_sensor_context(instance=self.instance, cursor=self.cursor)
        answer = unpublished_scores(context)
        if isinstance(answer, dg.SkipReason):
            return answer
        self.cursor = answer.cursor
        return answer.run_requests


@pytest.fixture
def sensor(instance):
    return Sensor(instance)


@pytest.fixture
def publish(scored, instance, dashboard):
    """Publish as a run does: to what the settings name when it starts."""

    def publish(tags=None):
        settings = Settings.load(store=scored.settings.store, data=scored.settings.data)
        return run(model_metric_events, Workspace(settings), instance, tags)

    return publish


def test_the_leaderboard_shows_who_is_best_and_where_its_page_is(board, instance):
    result = run(leaderboard, board, instance)

    (event,) = result.get_asset_materialization_events()
    shown = event.materialization.metadata
    assert shown["models"].value == 1
    assert shown["chosen_on_val"].value == "gbt_realistic"
    assert shown["report"].value == str(board.paths.report_html("host"))
    assert shown["scores"].value.startswith("![leaderboard](data:image/png;base64,")
    assert len(shown["scores"].value) < 100_000


def test_without_an_address_the_sensor_skips(sensor, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("CIS490_DASHBOARD_URL", raising=False)

    assert "CIS490_DASHBOARD_URL is not set" in sensor.tick().skip_message


def test_without_a_leaderboard_nothing_is_requested(sensor, dashboard):
    assert sensor.tick() == []


def test_an_unpublished_leaderboard_is_requested_by_its_partition(sensor, scored, dashboard):
    (request,) = sensor.tick()

    assert request.partition_key == "host"


def test_a_tick_before_the_run_ends_asks_for_the_same_run(sensor, scored, dashboard):
    assert sensor.tick()[0].run_key == sensor.tick()[0].run_key


def test_the_dashboard_gets_every_score_with_its_interval(publish, scored, dashboard):
    result = publish()

    (events,) = dashboard.received
    board = read_json(scored.paths.leaderboard("host"))
    (row,) = [row for row in board["rows"] if row["kind"] == "model"]
    assert result.success
    assert len(events) == 1
    assert events[0]["type"] == "model_metric"
    assert events[0]["accuracy"] == row["macro_f1"]
    assert (events[0]["ci_low"], events[0]["ci_high"]) == (row["ci_low"], row["ci_high"])
    identity = f"{board['split_digest'][:12]}/host/gbt_realistic/"
    assert events[0]["event_id"].startswith(identity)
    assert events[0]["publisher"].split("/")[1:] == ["model", "leaderboard", "host"]
    assert events[0]["revision"] > 0


def test_after_the_acknowledgement_the_sensor_is_quiet_until_there_is_more(
    sensor, publish, scored, instance
):
    first = sensor.tick()[0].run_key

    publish()

    assert sensor.tick() == []
    compare_again(instance)
    (request,) = sensor.tick()
    assert request.run_key != first


@pytest.mark.long
def test_a_dashboard_that_fails_is_asked_again_ever_more_seldom(sensor, publish, dashboard):
    dashboard.status = 503
    for failures in range(3):
        waited = 0
        while not (requests := sensor.tick()):
            waited += 1
        assert waited < 2**failures
        assert requests[0].run_key.endswith(f"-{failures}")
        result = publish(requests[0].tags)
        assert not result.success

    ticks = [len(sensor.tick()) for _ in range(16)]

    assert sum(ticks) == 2
    assert dashboard.received == []


@pytest.mark.long
def test_a_dashboard_that_recovers_gets_the_scores_and_is_left_alone(sensor, publish, dashboard):
    dashboard.status = 503
    publish(sensor.tick()[0].tags)
    dashboard.status = 200
    while not (requests := sensor.tick()):
        pass
    publish(requests[0].tags)

    assert len(dashboard.received) == 1
    assert [sensor.tick() for _ in range(4)] == [[]] * 4


@pytest.mark.parametrize("status", [401, 503])
@pytest.mark.long
def test_a_refusal_fails_the_run_with_its_reason(publish, dashboard, status):
    dashboard.status = status

    result = publish()

    (event,) = [event for event in result.all_events if event.is_step_failure]
    assert f"refused with HTTP {status}" in event.step_failure_data.user_failure_data.description


def test_a_materialization_reported_by_hand_breaks_no_tick(sensor, scored, instance, dashboard):
    instance.report_runless_asset_event(
        dg.AssetMaterialization(model_metric_events.key, partition="host")
    )

    assert len(sensor.tick()) == 1


def test_every_leaderboard_arrives_once_and_in_order(publish, instance, dashboard):
    for score in (0.1, 0.2, 0.3):
        compare_again(instance, score)

    publish()
    publish()

    assert scores_in(dashboard.received)[1:] == [0.1, 0.2, 0.3]
    revisions = [event["revision"] for events in dashboard.received for event in events]
    assert sorted(set(revisions)) == revisions


@pytest.mark.long
def test_one_dashboard_that_is_down_holds_up_no_other_and_gets_all_later(
    sensor, publish, instance, dashboard, second
):
    dashboard.status = 503
    (request,) = sensor.tick()
    assert not publish(request.tags).success
    compare_again(instance, 0.25)
    assert not publish().success

    assert dashboard.received == []
    assert scores_in(second.received)[1:] == [0.25]
    dashboard.status = 200
    while not (requests := sensor.tick()):
        pass
    assert publish(requests[0].tags).success
    assert scores_in(dashboard.received) == scores_in(second.received)
    assert sensor.tick() == []


@pytest.mark.long
def test_a_slow_dashboard_is_given_up_for_this_run_and_asked_again(
    sensor, publish, dashboard, monkeypatch
):
    monkeypatch.setattr(publisher_module, "TIMEOUT_S", 0.2)
    dashboard.wait_s = 0.6

    result = publish(sensor.tick()[0].tags)

    assert not result.success
    # Given up on here, it still arrives there; only then is it asked again.
    until = time.monotonic() + 30
    while not dashboard.received and time.monotonic() < until:
        time.sleep(0.02)
    dashboard.wait_s = 0.0
    while not (requests := sensor.tick()):
        pass
    assert publish(requests[0].tags).success
    first, again = dashboard.received
    # It had arrived though its answer had not: the same event under the same identity.
    assert first == again
    assert sensor.tick() == []


def test_one_that_fails_in_the_middle_gets_no_later_event_before_it(
    publish, instance, dashboard, monkeypatch
):
    for score in (0.1, 0.2, 0.3):
        compare_again(instance, score)
    real, answers = Answer.do_POST, iter([200, 200, 503])

    def do_post(handler):
        handler.server.status = next(answers, 200)
        real(handler)

    monkeypatch.setattr(Answer, "do_POST", do_post)

    assert not publish().success
    assert scores_in(dashboard.received)[1:] == [0.1]
    assert publish().success
    assert scores_in(dashboard.received)[1:] == [0.1, 0.2, 0.3]


@pytest.mark.long
def test_after_a_restart_nothing_acknowledged_is_sent_again(
    sensor, publish, instance, dashboard, tmp_path
):
    publish(sensor.tick()[0].tags)
    compare_again(instance, 0.7)

    # Another process on the same storage, whose sensor has lost its cursor.
    with dg.DagsterInstance.from_ref(instance.get_ref()) as reopened:
        restarted = Sensor(reopened)
        (request,) = restarted.tick()
        settings = publish(request.tags)
        assert settings.success
        assert restarted.tick() == []
    assert scores_in(dashboard.received)[1:] == [0.7]


@pytest.mark.long
def test_an_event_that_shows_up_behind_one_already_read_is_published_too(
    publish, instance, dashboard, monkeypatch
):
    compare_again(instance, 0.1)
    compare_again(instance, 0.2)
    real = type(instance).fetch_materializations
    hidden = real(instance, leaderboard.key, limit=10).records[1].storage_id

    def not_committed(self, *arguments, **named):
        found = real(self, *arguments, **named)
        kept = [record for record in found.records if record.storage_id != hidden]
        return type(found)(kept, found.cursor, found.has_more)

    with monkeypatch.context() as before_the_commit:
        before_the_commit.setattr(type(instance), "fetch_materializations", not_committed)
        publish()
    assert scores_in(dashboard.received)[1:] == [0.2]

    assert publish().success
    assert scores_in(dashboard.received)[1:] == [0.2, 0.1]
    publish()
    assert len(dashboard.received) == 3
    # It arrives last and is older: a dashboard goes on showing the newer one.
    state = State()
    for events in dashboard.received:
        for event in decode(json.dumps(events).encode()):
            state.apply(event, 0)
    assert [json.loads(event)["accuracy"] for event in state.snapshot()] == [0.2]


def test_scores_that_return_are_published_under_their_identity_and_shown(
    publish, instance, dashboard
):
    for score in (0.1, 0.2, 0.1):
        compare_again(instance, score)

    publish()

    events = [decode(json.dumps(events).encode())[0] for events in dashboard.received][1:]
    state = State()
    assert [state.apply(event, 0)[0] for event in events] == [Outcome.TAKEN] * 3
    assert events[0].event_id == events[2].event_id != events[1].event_id


def test_sensor_and_producer_give_the_same_scores_the_same_identity(publish, scored, dashboard):
    publish()

    (events,) = dashboard.received
    made = MetricEvents(Scores(Places.of("host", data_folder=scored.paths.root))).make()
    ids = {event.model: event.event_id for event in made if isinstance(event, ModelMetric)}
    assert {event["model"]: event["event_id"] for event in events} == ids


def test_cancelled_runs_count_for_the_back_off(sensor, scored, instance, dashboard):
    (request,) = sensor.tick()
    for _ in range(2):
        instance.add_run(
            dg.DagsterRun(
                job_name="__ASSET_JOB",
                tags={**request.tags, "dagster/partition": "host"},
                status=dg.DagsterRunStatus.CANCELED,
            )
        )

    asked = [requests[0].run_key for _ in range(8) if (requests := sensor.tick())]

    assert len(asked) == 2
    assert all(key.endswith("-2") for key in asked)


def test_what_a_dashboard_acknowledged_is_known_by_its_address(
    publish, instance, dashboard, second
):
    publish()

    for url in (dashboard.url, second.url):
        assert acknowledged(instance, model_metric_events.key, "host", url).up_to > 0
    assert acknowledged(instance, model_metric_events.key, "host", "http://new/").up_to == 0
    assert acknowledged(instance, model_metric_events.key, "time", dashboard.url).up_to == 0
    assert OVERLAP_S == 600


def test_addresses_are_given_with_commas_or_as_a_list(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("CIS490_DASHBOARD_URL", raising=False)
    (tmp_path / "cis490.toml").write_text(
        'dashboard_url = ["http://a/publish", "http://b/publish"]'
    )

    assert Settings.load().dashboards == ("http://a/publish", "http://b/publish")
    assert Settings.load(dashboard_url="http://c/, http://c/").dashboards == ("http://c/",)
    with pytest.raises(ConfigError, match="must be an http"):
        Settings.load(dashboard_url="http://a/, ftp://b/")
