import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from cis490_pipeline.errors import EventError
from cis490_pipeline.events.contract import ModelMetric
from cis490_pipeline.events.publisher import Publisher
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
