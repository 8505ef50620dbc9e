import contextlib
import dataclasses
import json
import shutil
import socket
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
from cis490_pipeline.orchestration.assets.models import leaderboard
from cis490_pipeline.orchestration.publish import dashboard as dashboard_module
from cis490_pipeline.orchestration.publish import delivery as delivery_module
from cis490_pipeline.orchestration.publish.dashboard import model_metric_events, unpublished_scores
from cis490_pipeline.orchestration.publish.delivery import PUBLISHED_TO
from cis490_pipeline.orchestration.publish.drain import EVENTS, OVERLAP_S, acknowledged
from cis490_pipeline.storage.files import read_json
from cis490_pipeline_tests.orchestration.making import workspace_in


class Dashboard(ThreadingHTTPServer):
    """A dashboard that keeps what it is sent, and answers as it is told."""

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Answer)
        self.status, self.health, self.received, self.wait_s = 200, 200, [], 0.0
        self.n_posts = 0
        self.url = f"http://127.0.0.1:{self.server_port}/publish"


class Answer(BaseHTTPRequestHandler):
    server: Dashboard

    def do_GET(self):
        self.send_response(self.server.health if self.path == "/healthz" else 404)
        self.end_headers()

    def do_POST(self):
        self.server.n_posts += 1
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


def run(asset, workspace, instance):
    return dg.materialize(
        [asset],
        partition_key="host",
        instance=instance,
        resources={"workspace": dg.ResourceDefinition.hardcoded_resource(workspace)},
        run_config={"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}},
        raise_on_error=False,
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
        """Return what the tick says; that it asks for no run is checked each time."""
        context = dg.build_sensor_context(instance=self.instance, cursor=self.cursor)
        answer = unpublished_scores(context)
        if isinstance(answer, dg.SkipReason):
            return answer.skip_message
        self.cursor = answer.cursor
        assert not answer.run_requests
        return answer.skip_reason.skip_message


@pytest.fixture
def sensor(instance):
    return Sensor(instance)


@pytest.fixture
def alerts(monkeypatch):
    """Texts that were sent to the alert address."""
    sent = []
    monkeypatch.setattr(dashboard_module, "alert", sent.append)
    return sent


def published(instance, partition="host"):
    """Return the metadata of the asset's materializations, newest first."""
    records = instance.fetch_materializations(
        dg.AssetRecordsFilter(model_metric_events.key, asset_partitions=[partition]), limit=10
    ).records
    return [
        {name: value.value for name, value in record.asset_materialization.metadata.items()}
        for record in records
    ]


QUIET = "every leaderboard is acknowledged"


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

    assert "CIS490_DASHBOARD_URL is not set" in sensor.tick()


def test_without_a_leaderboard_nothing_is_published_and_nobody_is_asked(sensor, dashboard):
    dashboard.health = 503

    assert sensor.tick() == QUIET
    assert dashboard.received == []


def test_the_dashboard_gets_every_score_with_its_interval(sensor, scored, dashboard):
    sensor.tick()

    (events,) = dashboard.received
    board = read_json(scored.paths.leaderboard("host"))
    (row,) = [row for row in board["rows"] if row["kind"] == "model"]
    assert len(events) == 1
    assert events[0]["type"] == "model_metric"
    assert events[0]["accuracy"] == row["macro_f1"]
    assert (events[0]["ci_low"], events[0]["ci_high"]) == (row["ci_low"], row["ci_high"])
    identity = f"{board['split_digest'][:12]}/host/gbt_realistic/"
    assert events[0]["event_id"].startswith(identity)
    assert events[0]["publisher"].split("/")[1:] == ["model", "leaderboard", "host"]
    assert events[0]["revision"] > 0


def test_what_was_published_is_recorded_as_a_materialization_without_a_run(
    sensor, instance, dashboard
):
    for score in (0.1, 0.2):
        compare_again(instance, score)
    newest = instance.fetch_materializations(leaderboard.key, limit=1).records[0].storage_id

    assert sensor.tick() == "published leaderboards of host: 2"

    (metadata,) = published(instance)
    assert metadata == {
        "events": 2,
        "delivered": 2,
        "dashboards": 1,
        "leaderboards_without_scores": 0,
        PUBLISHED_TO: newest,
    }
    assert instance.get_runs_count() == 0


def test_what_one_leaderboard_counts_is_recorded_as_numbers(sensor, instance, dashboard):
    compare_again(instance, 0.1)

    sensor.tick()

    assert {type(value) for value in published(instance)[0].values()} == {int}


def test_after_the_acknowledgement_nothing_is_sent_until_there_is_more(sensor, instance, dashboard):
    compare_again(instance, 0.1)
    sensor.tick()

    assert [sensor.tick() for _ in range(3)] == [QUIET] * 3
    compare_again(instance, 0.2)
    sensor.tick()
    assert scores_in(dashboard.received) == [0.1, 0.2]


@pytest.mark.parametrize("down", ["not there", "restarting", "full"])
def test_a_dashboard_that_is_down_fails_no_run_alerts_nobody_and_gets_all_once_it_is_back(
    sensor, instance, dashboard, alerts, monkeypatch, down
):
    compare_again(instance, 0.1)
    with monkeypatch.context() as meanwhile:
        if down == "not there":
            with socket.socket() as taken:
                taken.bind(("127.0.0.1", 0))
                nobody = f"http://127.0.0.1:{taken.getsockname()[1]}/publish"
                # The same address before and after: it is what acknowledgements are known by.
                real = publisher_module.Publisher.require_up
                meanwhile.setattr(
                    publisher_module.Publisher,
                    "require_up",
                    lambda self: real(dataclasses.replace(self, url=nobody)),
                )
                waiting = [sensor.tick() for _ in range(3)]
        else:
            setattr(dashboard, "health" if down == "restarting" else "status", 503)
            waiting = [sensor.tick() for _ in range(3)]
    compare_again(instance, 0.2)
    assert all(text.startswith("waiting: http://127.0.0.1:") for text in waiting)
    assert (dashboard.received, published(instance)) == ([], [])

    dashboard.health = dashboard.status = 200
    sensor.tick()

    assert sensor.tick() == QUIET
    assert scores_in(dashboard.received) == [0.1, 0.2]
    assert len(published(instance)) == 1
    assert alerts == []
    assert instance.get_runs_count() == 0


def test_nothing_is_posted_to_a_dashboard_whose_health_says_that_it_restarts(
    sensor, instance, dashboard
):
    compare_again(instance)
    dashboard.health = 503

    sensor.tick()

    assert dashboard.n_posts == 0


def test_a_refusal_is_alerted_once_and_asked_again_ever_more_seldom(
    sensor, instance, dashboard, alerts
):
    compare_again(instance, 0.1)
    dashboard.status = 401

    asked = []
    for _ in range(40):
        before = dashboard.n_posts
        assert "refused" in sensor.tick()
        asked.append(dashboard.n_posts - before)

    # After 1, 2, 4, 8, 16 ticks.
    assert [tick for tick, n in enumerate(asked, 1) if n] == [1, 2, 4, 8, 16, 32]
    (text,) = alerts
    assert text.startswith(f"scores are not published: {dashboard.url} refused with HTTP 401")
    assert instance.get_runs_count() == 0


def test_a_refusal_that_is_over_is_forgotten(sensor, instance, dashboard, alerts):
    compare_again(instance, 0.1)
    dashboard.status = 401
    sensor.tick()
    dashboard.status = 200
    sensor.tick()
    assert scores_in(dashboard.received) == [0.1]

    compare_again(instance, 0.2)
    dashboard.status = 401
    sensor.tick()

    assert len(alerts) == 2


def test_a_split_whose_scores_are_refused_holds_up_no_other(
    sensor, instance, dashboard, alerts, monkeypatch
):
    compare_again(instance, 0.1, "host")
    compare_again(instance, 0.2, "time")
    answers = iter([422, 200])
    real = Answer.do_POST

    def do_post(handler):
        handler.server.status = next(answers)
        real(handler)

    monkeypatch.setattr(Answer, "do_POST", do_post)

    sensor.tick()

    assert scores_in(dashboard.received) == [0.2]
    assert len(alerts) == 1


def test_an_alert_address_that_refuses_fails_the_tick_and_loses_nothing(
    sensor, instance, dashboard, second, monkeypatch
):
    compare_again(instance, 0.1)
    dashboard.status = 401

    def refuse(_):
        raise OSError("HTTP 500")

    with monkeypatch.context() as meanwhile:
        meanwhile.setattr(dashboard_module, "alert", refuse)
        with pytest.raises(OSError, match="500"):
            sensor.tick()
    dashboard.status = 200
    sensor.tick()

    assert scores_in(dashboard.received) == scores_in(second.received) == [0.1]


@pytest.mark.parametrize("cursor", ["17", "no cursor", '{"tick": "x"}'])
def test_a_cursor_of_another_version_is_begun_anew(sensor, instance, dashboard, cursor):
    compare_again(instance, 0.1)
    sensor.cursor = cursor

    sensor.tick()

    assert scores_in(dashboard.received) == [0.1]


def test_a_tick_ends_in_time_and_the_next_one_goes_on(sensor, instance, dashboard, monkeypatch):
    for score in (0.1, 0.2, 0.3):
        compare_again(instance, score)
    clock = iter([0.0, 1.0, delivery_module.BUDGET_S + 1])
    with monkeypatch.context() as meanwhile:
        meanwhile.setattr(delivery_module.time, "monotonic", lambda: next(clock))
        sensor.tick()
    assert scores_in(dashboard.received) == [0.1]
    assert published(instance) == []

    sensor.tick()

    assert scores_in(dashboard.received) == [0.1, 0.2, 0.3]
    assert len(published(instance)) == 1


def test_a_materialization_reported_by_hand_breaks_no_tick(sensor, instance, dashboard):
    compare_again(instance, 0.1)
    for key in (model_metric_events.key, leaderboard.key):
        instance.report_runless_asset_event(dg.AssetMaterialization(key, partition="host"))

    sensor.tick()

    assert scores_in(dashboard.received) == [0.1]
    assert published(instance)[0]["leaderboards_without_scores"] == 1


def test_every_leaderboard_arrives_once_and_in_order(sensor, scored, instance, dashboard):
    for score in (0.1, 0.2, 0.3):
        compare_again(instance, score)

    sensor.tick()
    sensor.tick()

    assert scores_in(dashboard.received)[1:] == [0.1, 0.2, 0.3]
    revisions = [event["revision"] for events in dashboard.received for event in events]
    assert sorted(set(revisions)) == revisions


def test_one_dashboard_that_is_down_holds_up_no_other_and_gets_all_later(
    sensor, instance, dashboard, second
):
    dashboard.status = 503
    compare_again(instance, 0.1)
    sensor.tick()
    compare_again(instance, 0.25)
    sensor.tick()

    assert dashboard.received == []
    assert scores_in(second.received) == [0.1, 0.25]
    assert published(instance) == []
    dashboard.status = 200
    sensor.tick()
    assert scores_in(dashboard.received) == scores_in(second.received)
    assert sensor.tick() == QUIET
    assert len(published(instance)) == 1


def test_a_slow_dashboard_is_given_up_for_this_tick_and_asked_again(
    sensor, instance, dashboard, monkeypatch
):
    compare_again(instance, 0.1)
    monkeypatch.setattr(publisher_module, "TIMEOUT_S", 0.2)
    dashboard.wait_s = 0.6

    assert "waiting" in sensor.tick()

    # Given up on here, it still arrives there; only then is it asked again.
    until = time.monotonic() + 30
    while not dashboard.received and time.monotonic() < until:
        time.sleep(0.02)
    dashboard.wait_s = 0.0
    monkeypatch.setattr(publisher_module, "TIMEOUT_S", 30)
    sensor.tick()
    first, again = dashboard.received
    # It had arrived though its answer had not: the same event under the same identity.
    assert first == again
    assert sensor.tick() == QUIET


def test_one_that_fails_in_the_middle_gets_no_later_event_before_it(
    sensor, instance, dashboard, monkeypatch
):
    for score in (0.1, 0.2, 0.3):
        compare_again(instance, score)
    real, answers = Answer.do_POST, iter([200, 503])

    def do_post(handler):
        handler.server.status = next(answers, 200)
        real(handler)

    monkeypatch.setattr(Answer, "do_POST", do_post)

    sensor.tick()
    assert scores_in(dashboard.received) == [0.1]
    sensor.tick()
    assert scores_in(dashboard.received) == [0.1, 0.2, 0.3]


def test_after_a_restart_nothing_acknowledged_is_sent_again(sensor, instance, dashboard):
    compare_again(instance, 0.1)
    sensor.tick()
    compare_again(instance, 0.7)

    # Another process on the same storage, whose sensor has lost its cursor.
    with dg.DagsterInstance.from_ref(instance.get_ref()) as reopened:
        restarted = Sensor(reopened)
        restarted.tick()
        assert restarted.tick() == QUIET
    assert scores_in(dashboard.received) == [0.1, 0.7]


def test_an_event_that_shows_up_behind_one_already_read_is_published_too(
    sensor, instance, dashboard, monkeypatch
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
        sensor.tick()
    assert scores_in(dashboard.received) == [0.2]

    sensor.tick()
    assert scores_in(dashboard.received) == [0.2, 0.1]
    sensor.tick()
    assert len(dashboard.received) == 2
    # It arrives last and is older: a dashboard goes on showing the newer one.
    state = State()
    for events in dashboard.received:
        for event in decode(json.dumps(events).encode()):
            state.apply(event, 0)
    assert [json.loads(event)["accuracy"] for event in state.snapshot()] == [0.2]


def test_scores_that_return_are_published_under_their_identity_and_shown(
    sensor, instance, dashboard
):
    for score in (0.1, 0.2, 0.1):
        compare_again(instance, score)

    sensor.tick()

    events = [decode(json.dumps(events).encode())[0] for events in dashboard.received]
    state = State()
    assert [state.apply(event, 0)[0] for event in events] == [Outcome.TAKEN] * 3
    assert events[0].event_id == events[2].event_id != events[1].event_id


def test_sensor_and_producer_give_the_same_scores_the_same_identity(sensor, scored, dashboard):
    sensor.tick()

    (events,) = dashboard.received
    made = MetricEvents(Scores(Places.of("host", data_folder=scored.paths.root))).make()
    ids = {event.model: event.event_id for event in made if isinstance(event, ModelMetric)}
    assert {event["model"]: event["event_id"] for event in events} == ids


def test_what_a_dashboard_acknowledged_is_known_by_its_address(sensor, instance, dashboard, second):
    compare_again(instance)
    sensor.tick()

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
