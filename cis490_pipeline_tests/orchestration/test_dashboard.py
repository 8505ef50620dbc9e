import json
import shutil
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import dagster as dg
import pytest

from cis490_pipeline.config import Settings
from cis490_pipeline.domain import Recipe
from cis490_pipeline.experiment.leaderboard import Leaderboard
from cis490_pipeline.experiment.workspace import Workspace
from cis490_pipeline.orchestration.dashboard import model_metric_events, unpublished_scores
from cis490_pipeline.orchestration.models import leaderboard
from cis490_pipeline.store.files import read_json
from cis490_pipeline_tests.orchestration.making import workspace_in


class Dashboard(ThreadingHTTPServer):
    """A dashboard that keeps what it is sent, and answers as it is told."""

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Answer)
        self.status, self.received = 200, []
        self.url = f"http://127.0.0.1:{self.server_port}/publish"


class Answer(BaseHTTPRequestHandler):
    server: Dashboard

    def do_POST(self):
        events = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.server.status == 200:
            self.server.received.append(events)
        self.send_response(self.server.status)
        self.end_headers()
        self.wfile.write(json.dumps({"delivered": len(events)}).encode())

    def log_message(self, *_):
        pass


@pytest.fixture
def dashboard(monkeypatch, tmp_path):
    dashboard = Dashboard()
    thread = threading.Thread(target=dashboard.serve_forever)
    thread.start()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CIS490_DASHBOARD_URL", dashboard.url)
    yield dashboard
    dashboard.shutdown()
    thread.join()
    dashboard.server_close()


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


def compare_again(instance):
    instance.report_runless_asset_event(dg.AssetMaterialization(leaderboard.key, partition="host"))


@pytest.fixture
def scored(board, instance):
    """The same, after Dagster recorded it."""
    compare_again(instance)
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
    settings = Settings(
        store=scored.settings.store, data=scored.settings.data, dashboard_url=dashboard.url
    )
    return lambda tags=None: run(model_metric_events, Workspace(settings), instance, tags)


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
    digest = Leaderboard(scored, Recipe.HOST).record().digest
    assert result.success
    assert len(events) == 1
    assert events[0]["type"] == "model_metric"
    assert events[0]["accuracy"] == row["macro_f1"]
    assert (events[0]["ci_low"], events[0]["ci_high"]) == (row["ci_low"], row["ci_high"])
    assert events[0]["event_id"] == f"host/gbt_realistic/{digest[:12]}"


def test_after_the_acknowledgement_the_sensor_is_quiet_until_there_is_more(
    sensor, publish, scored, instance
):
    first = sensor.tick()[0].run_key

    publish()

    assert sensor.tick() == []
    compare_again(instance)
    (request,) = sensor.tick()
    assert request.run_key != first


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
