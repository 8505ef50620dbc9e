import threading
import time

import pytest

from cis490_pipeline.events.contract import ModelMetric
from cis490_pipeline.events.outbox import MAX_WAITING, Outbox
from cis490_pipeline.events.publisher import Publisher
from cis490_pipeline_tests.events.endpoint import Dashboard, serving


def metric(n):
    return ModelMetric(model=f"m{n}", accuracy=0.5)


def models(dashboard):
    return [event["model"] for event in dashboard.events]


@pytest.fixture
def told():
    return []


@pytest.fixture
def outbox_to(told):
    """Outboxes with short pauses, closed at the end."""
    made = []

    def make(url):
        publisher = Publisher(url)
        made.append(Outbox(publisher, told.append, first_pause_s=0.05, longest_pause_s=0.2))
        return made[-1]

    yield make
    for outbox in made:
        outbox.close(0.1)


def test_events_are_delivered_in_order_in_the_background(dashboard, outbox_to):
    outbox = outbox_to(dashboard.url)

    for n in range(20):
        outbox.put([metric(n)])

    assert outbox.flush(10)
    assert models(dashboard) == [f"m{n}" for n in range(20)]
    assert (outbox.n_taken, outbox.n_dropped) == (20, 0)


def test_a_dashboard_that_does_not_answer_holds_nobody_up(dashboard, outbox_to):
    dashboard.may_answer.clear()
    outbox = outbox_to(dashboard.url)

    for n in range(50):
        outbox.put([metric(n)])

    # All were put while the first still waited for its answer.
    assert not dashboard.events
    dashboard.may_answer.set()
    assert outbox.flush(10)
    assert len(models(dashboard)) == 50


def test_what_waited_for_a_dashboard_that_was_down_is_delivered_when_it_is_up(told, outbox_to):
    server = Dashboard()
    outbox = outbox_to(server.url)
    server.server_close()
    for n in range(5):
        outbox.put([metric(n)])
        time.sleep(0.03)

    with serving(Dashboard(server.server_port)) as again:
        assert outbox.flush(10)

    assert models(again) == [f"m{n}" for n in range(5)]
    assert "cannot be reached" in told[0]
    assert "answers again; 0 events were dropped" in told[-1]
    assert len(told) == 2


def test_of_what_is_published_again_only_the_latest_waits(outbox_to):
    server = Dashboard()
    port = server.server_port
    outbox = outbox_to(server.url)
    server.server_close()
    for n in range(100):
        outbox.put([metric(n), metric(n)], slot="all")
        outbox.put([metric(1000 + n)], slot="other")
    time.sleep(0.1)

    with serving(Dashboard(port)) as again:
        assert outbox.flush(10)

    assert models(again) == ["m99", "m99", "m1099"]
    assert outbox.n_dropped == 0


def test_of_too_many_that_wait_the_oldest_are_dropped_and_counted(outbox_to):
    server = Dashboard()
    outbox = outbox_to(server.url)
    server.server_close()

    outbox.put([metric(n) for n in range(MAX_WAITING + 100)])
    time.sleep(0.1)
    outbox.put([metric(-1)])

    assert outbox.close(0.1) <= MAX_WAITING
    assert outbox.n_dropped >= 100


def test_pauses_between_attempts_double_up_to_their_bound(outbox_to, dashboard, monkeypatch):
    dashboard.status = 503
    outbox = outbox_to(dashboard.url)
    pauses, enough, wait = [], threading.Event(), outbox._closing.wait

    def noted(pause_s):
        pauses.append(pause_s)
        if len(pauses) == 6:
            enough.set()
        return wait(pause_s)

    monkeypatch.setattr(outbox._closing, "wait", noted)
    outbox.put([metric(0)])

    assert enough.wait(30)
    assert pauses[:6] == [0.05, 0.1, 0.2, 0.2, 0.2, 0.2]
    assert len(dashboard.received) >= 6


def test_events_that_are_refused_as_wrong_do_not_stand_in_the_way(dashboard, told, outbox_to):
    dashboard.status, dashboard.answer = 422, b"accuracy: out of range"
    outbox = outbox_to(dashboard.url)
    outbox.put([metric(0)])
    assert outbox.flush(10)
    dashboard.status, dashboard.answer = 200, b'{"delivered": 1}'
    dashboard.received.clear()

    outbox.put([metric(1)])

    assert outbox.flush(10)
    assert models(dashboard) == ["m1"]
    assert outbox.n_dropped == 1
    assert "HTTP 422: accuracy: out of range; " in told[0]
    assert told[0].endswith("; 1 events dropped")


def test_a_missing_token_is_tried_again_and_told_once(dashboard, told, outbox_to):
    dashboard.status = 401
    outbox = outbox_to(dashboard.url)
    outbox.put([metric(0)])
    time.sleep(0.3)
    dashboard.received.clear()
    dashboard.status = 200

    assert outbox.flush(10)
    assert models(dashboard) == ["m0"]
    assert [text for text in told if "HTTP 401" in text] == told[:1]


def test_closing_tells_how_many_were_not_taken(outbox_to):
    server = Dashboard()
    outbox = outbox_to(server.url)
    server.server_close()

    outbox.put([metric(0), metric(1)])

    assert outbox.close(0.2) == 2
