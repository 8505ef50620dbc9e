import asyncio
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cis490_pipeline.dashboard.server import browser as browser_module
from cis490_pipeline.dashboard.server.frames import (
    MAX_RING_BYTES,
    MAX_RING_FRAMES,
    PIECE_BYTES,
    pieces,
)
from cis490_pipeline.dashboard.state.current import State
from cis490_pipeline.dashboard.state.hub import MAX_FRAME_EVENTS, Hub
from cis490_pipeline.events import contract as c


def point(i, y=0.0):
    return c.Embedding(x=float(i), y=y, phase="clean", episode_id="e", window_idx=i)


def told(chunks):
    """Messages in bytes that went out, as (event, id, data)."""
    messages = []
    for block in b"".join(chunks).decode().split("\n\n"):
        fields = dict(line.split(": ", 1) for line in block.split("\n") if ": " in line)
        if "data" in fields:
            data = json.loads(fields["data"])
            messages.append((fields.get("event"), fields.get("id"), data))
    return messages


def picture(chunks):
    """What a page that got these bytes shows: the newest of each window."""
    shown = {}
    for event, _, data in told(chunks):
        if event == "reset":
            shown = {}
        elif event is None:
            for each in data:
                shown.pop(each["window_idx"], None)
                shown[each["window_idx"]] = each["y"]
    return shown


def beginning(hub, last=None):
    return list(hub._beginning(last))


def test_ids_are_the_epoch_and_a_number_that_rises():
    hub = Hub(State())
    with hub.attached() as browser:
        for i in range(3):
            hub.publish([point(i)])
            hub.flush()
        ids = [id_ for _, id_, _ in told(browser.take())]

    assert ids == [f"{hub.epoch}.{n}" for n in (1, 2, 3)]


def test_events_of_one_tick_go_out_together():
    hub = Hub(State())
    with hub.attached() as browser:
        for i in range(10):
            hub.publish([point(i)])
        hub.flush()

        ((_, _, data),) = told(browser.take())

    assert [e["window_idx"] for e in data] == list(range(10))


def test_two_starts_have_two_epochs():
    assert Hub(State()).epoch != Hub(State()).epoch


def test_a_browser_that_comes_back_gets_what_it_missed_and_no_more():
    hub = Hub(State())
    for i in range(5):
        hub.publish([point(i)])
        hub.flush()

    back = told(beginning(hub, f"{hub.epoch}.3"))

    assert [event for event, _, _ in back] == [None, None, "status"]
    assert [e["window_idx"] for _, _, data in back[:2] for e in data] == [3, 4]


@pytest.mark.parametrize(
    "last",
    [
        *(None, "", "other.3", "{epoch}", "{epoch}.", "{epoch}.99", "{epoch}.part", "{epoch}.-1"),
        *("{epoch}.1e3", "{epoch}." + "9" * 5000, "{epoch}.٣", "\ud800"),
    ],
)
def test_what_cannot_be_resumed_is_told_from_the_start(last):
    hub = Hub(State())
    for i in range(5):
        hub.publish([point(i)])
        hub.flush()

    chunks = beginning(hub, last and last.replace("{epoch}", hub.epoch))

    assert [event for event, _, _ in told(chunks)] == ["reset", None, "ready", "status"]
    assert picture(chunks) == dict.fromkeys(range(5), 0.0)


def test_a_snapshot_that_broke_off_cannot_be_resumed():
    hub = Hub(State())
    hub.publish([point(i) for i in range(5)])
    hub.flush()
    ids = [id_ for _, id_, _ in told(beginning(hub))]

    assert hub._missed(ids[0]) is None
    assert hub._missed(ids[2]) == []


def test_the_ring_is_bounded_in_number_and_in_bytes():
    hub = Hub(State())
    for i in range(MAX_RING_FRAMES + 50):
        hub.publish([point(i)])
        hub.flush()
    assert hub._missed(f"{hub.epoch}.49") is None
    assert len(hub._missed(f"{hub.epoch}.50")) == MAX_RING_FRAMES

    text = "x" * 128
    for i in range(40):
        hub.publish([c.GroupMetric(model=f"{k}{text}"[:128], profile=text, host_id=text,
                     macro_f1=i / 40) for k in range(500)])  # fmt: skip
        hub.flush()
    assert sum(len(frame.message) for frame in hub._ring._frames) <= MAX_RING_BYTES


def test_a_large_list_goes_out_in_several_frames():
    hub = Hub(State())
    with hub.attached() as browser:
        hub.publish([point(i) for i in range(MAX_FRAME_EVENTS + 1)])
        hub.flush()

        sizes = [len(data) for _, _, data in told(browser.take())]

    assert sizes == [MAX_FRAME_EVENTS, 1]


def test_a_snapshot_goes_out_in_pieces():
    events = [b'"' + b"x" * 1000 + b'"'] * 500

    sizes = [len(piece) for piece in pieces(events)]

    assert max(sizes) < PIECE_BYTES + 2000
    assert sum(len(json.loads(p[6:])) for p in pieces(events)) == 500


def test_a_slow_browser_gets_the_newest_of_each_key_in_their_order():
    hub = Hub(State())
    with hub.attached() as browser:
        for i in range(100):
            hub.publish([point(i % 7, y=float(i)), point(1000 + i % 3, y=float(i))])
            hub.flush()
        chunks = list(browser.take())

    ((_, id_, data),) = told(chunks)
    assert id_ == f"{hub.epoch}.100"
    assert len(data) == 10
    assert [e["y"] for e in data] == sorted(e["y"] for e in data)
    assert data[-1]["y"] == 99


def test_a_browser_that_is_far_too_slow_gets_the_state_anew(monkeypatch):
    monkeypatch.setattr(browser_module, "MAX_PENDING", 50)

    async def run():
        hub = Hub(State())
        with hub.attached() as browser:
            chunks = []
            messages = hub.messages(browser, None)
            while b"event: status" not in (chunk := await anext(messages)):
                chunks.append(chunk)
            for i in range(200):
                hub.publish([point(i)])
                hub.flush()
            assert not browser._merged
            browser.close()
            chunks += [chunk async for chunk in messages]
        assert picture(chunks) == dict.fromkeys(range(200), 0.0)
        assert [event for event, _, _ in told(chunks)].count("reset") == 2
        assert hub.n_overflows == 1

    asyncio.run(run())


@given(
    st.lists(
        st.one_of(
            st.tuples(st.just("publish"), st.integers(0, 12)),
            st.tuples(st.sampled_from(["flush", "read"]), st.just(0)),
        ),
        max_size=80,
    )
)
def test_whatever_the_pace_a_browser_ends_with_the_servers_picture(steps):
    hub = Hub(State())
    with hub.attached() as browser:
        chunks = beginning(hub)
        for n, (step, window) in enumerate(steps):
            if step == "publish":
                hub.publish([point(window, y=float(n))])
            elif step == "flush":
                hub.flush()
            else:
                chunks += browser.take()
        hub.flush()
        if browser.needs_snapshot:
            chunks += hub._snapshot()
        chunks += browser.take()

    wanted = {e["window_idx"]: e["y"] for e in map(json.loads, hub.state.snapshot())}
    assert list(picture(chunks).items()) == list(wanted.items())


def test_an_event_that_comes_again_is_not_sent_again():
    hub = Hub(State())
    event = c.ModelMetric(model="a", accuracy=0.5, event_id="a")
    with hub.attached() as browser:
        deliveries = [hub.publish([event]) for _ in range(2)]
        hub.flush()
        messages = told(browser.take())

    assert [(d.delivered, d.duplicates) for d in deliveries] == [(1, 0), (0, 1)]
    assert len(messages) == 1
