import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from cis490_pipeline.errors import DashboardDownError, EventError, EventRefusedError
from cis490_pipeline.events import publisher as publisher_module
from cis490_pipeline.events.contract import Confusion, ModelMetric
from cis490_pipeline.events.publisher import MAX_EVENTS, Publisher
from cis490_pipeline_tests.events.endpoint import Dashboard

EVENTS = [ModelMetric(model="gbt_realistic", accuracy=0.5), ModelMetric(model="mlp", accuracy=0.4)]


@pytest.fixture
def silent_port() -> Iterator[int]:
    """A port that is taken and that nobody listens on."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield taken.getsockname()[1]


def test_publishing_returns_what_was_delivered(dashboard: Dashboard) -> None:
    assert Publisher(dashboard.url).publish(EVENTS) == 2


def test_events_arrive_in_order_in_one_request(dashboard: Dashboard) -> None:
    Publisher(dashboard.url).publish(EVENTS)

    ((path, headers, body),) = dashboard.received
    assert (path, headers["Content-Type"]) == ("/publish", "application/json")
    assert [event["model"] for event in body] == ["gbt_realistic", "mlp"]


def test_token_is_sent_as_a_bearers(dashboard: Dashboard) -> None:
    Publisher(dashboard.url, "secret").publish(EVENTS)

    assert dashboard.received[0][1]["Authorization"] == "Bearer secret"


@pytest.mark.parametrize("token", [None, ""])
def test_without_a_token_none_is_sent(dashboard: Dashboard, token: str | None) -> None:
    Publisher(dashboard.url, token).publish(EVENTS)

    assert "Authorization" not in dashboard.received[0][1]


@pytest.mark.parametrize("status", [401, 413, 500])
def test_refusal_carries_the_status_and_the_dashboards_words(
    dashboard: Dashboard, status: int
) -> None:
    dashboard.status, dashboard.answer = status, b"not like this"

    with pytest.raises(EventError, match=f"refused with HTTP {status}: not like this"):
        Publisher(dashboard.url).publish(EVENTS)


@pytest.mark.parametrize(
    "answer",
    [b"<html>hello</html>", b"", b'{"delivered": "all"}', b"[]", b'{"received": 2}'],
    ids=["html", "empty", "words", "list", "another key"],
)
def test_answer_that_is_no_dashboards_is_not_taken_for_one(
    dashboard: Dashboard, answer: bytes
) -> None:
    dashboard.answer = answer

    with pytest.raises(EventError, match=r"not \{\"delivered\": N\}: is it a dashboard\?"):
        Publisher(dashboard.url).publish(EVENTS)


def test_dashboard_that_is_not_there_is_named_with_what_to_do(silent_port: int) -> None:
    url = f"http://127.0.0.1:{silent_port}/publish"

    with pytest.raises(EventError, match=f"^{url} cannot be reached .*set CIS490_DASHBOARD_URL"):
        Publisher(url).publish(EVENTS)


def test_what_does_not_speak_http_cannot_be_reached() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def greet() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(65536)
                connection.sendall(b"220 a mail server\r\n")

        thread = threading.Thread(target=greet)
        thread.start()
        url = f"http://127.0.0.1:{listener.getsockname()[1]}/publish"

        with pytest.raises(EventError, match="cannot be reached"):
            Publisher(url).publish(EVENTS)
        thread.join()


@pytest.mark.parametrize("status", [408, 429, 502, 503, 504, 507])
def test_dashboard_that_takes_nothing_now_is_down_and_no_refusal(
    dashboard: Dashboard, status: int
) -> None:
    dashboard.status = dashboard.health = status

    with pytest.raises(DashboardDownError, match=f"refused with HTTP {status}"):
        Publisher(dashboard.url).publish(EVENTS)
    with pytest.raises(DashboardDownError, match=f"/healthz answers HTTP {status}$"):
        Publisher(dashboard.url).require_up()


@pytest.mark.parametrize("health", [200, 302, 401, 404, 500])
def test_dashboard_is_up_if_it_answers_even_without_a_page_of_its_health(
    dashboard: Dashboard, health: int
) -> None:
    dashboard.health = health

    Publisher(dashboard.url, "secret").require_up()

    assert dashboard.n_asked == 1
    assert dashboard.received == []


def test_dashboard_that_is_not_there_is_down(silent_port: int) -> None:
    with pytest.raises(DashboardDownError, match="cannot be reached"):
        Publisher(f"http://127.0.0.1:{silent_port}/publish").require_up()


def test_dashboard_that_does_not_answer_about_its_health_is_down(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(publisher_module, "HEALTH_TIMEOUT_S", 0.05)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}/publish"

        with pytest.raises(DashboardDownError, match="timed out"):
            Publisher(url).require_up()


def test_file_is_no_dashboard(tmp_path: Path) -> None:
    (tmp_path / "answer").write_text('{"delivered": 2}')

    with pytest.raises(EventError, match="starts with http:// or https://"):
        Publisher((tmp_path / "answer").as_uri()).publish(EVENTS)


def test_redirect_is_a_refusal_and_takes_the_token_nowhere(dashboard: Dashboard) -> None:
    dashboard.status = 302
    dashboard.location = dashboard.url

    with pytest.raises(EventError, match="refused with HTTP 302"):
        Publisher(dashboard.url, "secret").publish(EVENTS)
    assert len(dashboard.received) == 1


def test_the_older_dashboard_gets_single_events_with_old_keys(dashboard: Dashboard) -> None:
    dashboard.older = True
    confusion = Confusion(model="m", labels=["clean"], counts=[[1]])

    Publisher(dashboard.url, older=True).publish([EVENTS[0], confusion, EVENTS[1]])

    assert dashboard.events == [
        {"type": "model_metric", "model": "gbt_realistic", "accuracy": 0.5},
        {"type": "model_metric", "model": "mlp", "accuracy": 0.4},
    ]


def test_the_older_dashboard_is_not_guessed_but_the_refusal_says_how_to_name_it(
    dashboard: Dashboard,
) -> None:
    dashboard.older = True

    with pytest.raises(EventRefusedError, match="needs CIS490_OLDER_DASHBOARD=true"):
        Publisher(dashboard.url).publish(EVENTS)
    assert dashboard.events == []


def test_many_events_go_out_in_requests_of_bounded_size(dashboard: Dashboard) -> None:
    Publisher(dashboard.url).publish(EVENTS * (MAX_EVENTS // 2) + EVENTS[:1])

    assert [len(body) for _, _, body in dashboard.received] == [MAX_EVENTS, 1]
