"""Which state the dashboard shows after any order of publications, redeliveries and restarts."""

import json
import os
import tempfile
from itertools import count
from pathlib import Path

import msgspec
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    initialize,
    invariant,
    multiple,
    rule,
)

from cis490_pipeline.dashboard.state.current import Outcome, State
from cis490_pipeline.dashboard.state.hub import Hub
from cis490_pipeline.dashboard.state.journal import Journal
from cis490_pipeline.dashboard.state.kept import MAX_PUBLISHERS
from cis490_pipeline.dashboard.state.retention import RULES
from cis490_pipeline.events import contract as c
from cis490_pipeline.events.identity import Stamp, identified

# Two states of one key, for each type: A and B.
STATES = {
    "model_metric": [c.ModelMetric(model="m", accuracy=a) for a in (0.1, 0.9)],
    "model_failure": [c.ModelFailure(model="m", why=w) for w in ("damaged", "missing")],
    "model_perf": [c.ModelPerf(model="m", latency_us=t, accuracy=None) for t in (10, 20)],
    "confusion": [c.Confusion(model="m", labels=["x"], counts=[[n]]) for n in (1, 2)],
    "group_metric": [
        c.GroupMetric(model="m", profile="p", host_id="h", macro_f1=v) for v in (0.1, 0.9)
    ],
    "attack_profile": [c.AttackProfile(name="p", shape="s", curve=[v]) for v in (1.0, 2.0)],
    "episode": [c.Episode(episode_id="e", state=s) for s in ("running", "ended")],
    "source_state": [
        c.SourceState(episode_id="e", source="guest", state=s) for s in ("ok", "dead")
    ],
    "phase": [c.PhaseNow(phase=p) for p in ("clean", "infecting")],
    "telemetry": [c.Telemetry(episode_id="e", t_s=[1.0], values={"v": [v]}) for v in (1.0, 2.0)],
    "prediction": [
        c.Prediction(episode_id="e", window_idx=0, predicted=p, actual=None, model="m")
        for p in ("clean", "armed")
    ],
    "embedding": [
        c.Embedding(x=x, y=0, phase="clean", model="m", episode_id="e", window_idx=0)
        for x in (0.1, 0.9)
    ],
}


def named(event, name):
    return msgspec.structs.replace(event, event_id=name)


def ordered(event, revision, publisher="drain"):
    return msgspec.structs.replace(event, publisher=publisher, revision=revision)


def state_of(encoded):
    """An event without its marks."""
    marks = ("event_id", "publisher", "revision")
    return {k: v for k, v in json.loads(encoded).items() if k not in marks}


def shown(state):
    return [state_of(encoded) for encoded in state.snapshot()]


def as_shown(*events):
    return [state_of(msgspec.json.encode(event)) for event in events]


def take(state, *events):
    return [state.apply(event, 0)[0] for event in events]


def opened(path):
    state = State()
    journal = Journal(path, state)
    return Hub(state, journal), journal


def killed(journal):
    os.close(journal._file)
    journal._lock.release()


def restarted(path, journal, end=Journal.close):
    end(journal)
    return opened(path)


def test_every_type_is_here():
    assert STATES.keys() == RULES.keys()


@pytest.mark.parametrize("name", STATES)
def test_a_state_that_is_repeated_is_a_duplicate(name):
    a, _ = (named(event, i) for event, i in zip(STATES[name], "ab", strict=True))

    assert take(State(), a, a, a) == [Outcome.TAKEN, Outcome.DUPLICATE, Outcome.DUPLICATE]


@pytest.mark.parametrize("name", STATES)
def test_a_state_that_returns_is_shown_again(name):
    a, b = (named(event, i) for event, i in zip(STATES[name], "ab", strict=True))
    state = State()

    assert take(state, a, b, a) == [Outcome.TAKEN] * 3
    assert shown(state) == as_shown(a)


@pytest.mark.parametrize("end", [Journal.close, killed], ids=["stopped", "killed"])
@pytest.mark.parametrize("with_ids", [True, False])
@pytest.mark.parametrize("name", STATES)
def test_after_a_restart_a_repetition_of_two_states_ends_at_the_second(
    name, with_ids, end, tmp_path
):
    both = STATES[name]
    if with_ids:
        both = [named(event, i) for event, i in zip(both, "ab", strict=True)]
    hub, journal = opened(tmp_path / "state.jsonl")
    hub.publish(both)
    hub.flush()

    hub, journal = restarted(tmp_path / "state.jsonl", journal, end)
    hub.publish(both)

    assert shown(hub.state) == as_shown(both[1])
    killed(journal)


@pytest.mark.parametrize("restart", [False, True])
@pytest.mark.parametrize("name", STATES)
def test_an_older_revision_that_arrives_late_replaces_nothing(name, restart, tmp_path):
    a, b = (ordered(named(e, i), r) for e, i, r in zip(STATES[name], "ab", (7, 9), strict=True))
    hub, journal = opened(tmp_path / "state.jsonl")
    hub.publish([a, b])
    hub.flush()
    if restart:
        hub, journal = restarted(tmp_path / "state.jsonl", journal)

    delivery = hub.publish([a])

    assert (delivery.delivered, delivery.duplicates, delivery.left_out) == (0, 1, 0)
    assert shown(hub.state) == as_shown(b)
    killed(journal)


def test_a_model_damaged_and_repaired_is_shown_as_repaired():
    score = named(c.ModelMetric(model="m", accuracy=0.5, split="host"), "score")
    failure = named(c.ModelFailure(model="m", why="damaged", split="host"), "failure")
    state = State()

    take(state, score, failure)
    assert shown(state) == as_shown(failure)
    take(state, score)
    assert shown(state) == as_shown(score)
    take(state, failure, failure)
    assert shown(state) == as_shown(failure)


@pytest.mark.parametrize("restart", [False, True])
def test_a_score_redelivered_after_the_failure_that_followed_it_is_not_shown(restart, tmp_path):
    score = ordered(c.ModelMetric(model="m", accuracy=0.5), 1)
    failure = ordered(c.ModelFailure(model="m", why="damaged"), 2)
    hub, journal = opened(tmp_path / "state.jsonl")
    hub.publish([score, failure])
    hub.flush()
    if restart:
        hub, journal = restarted(tmp_path / "state.jsonl", journal, killed)

    hub.publish([score])

    assert shown(hub.state) == as_shown(failure)
    killed(journal)


def test_a_body_whose_states_return_is_the_same_after_a_kill(tmp_path):
    a, b = (named(event, i) for event, i in zip(STATES["model_metric"], "ab", strict=True))
    matrix = named(STATES["confusion"][0], "matrix")
    failure = c.ModelFailure(model="m", why="damaged")
    path = tmp_path / "state.jsonl"
    hub, journal = opened(path)
    hub.publish([a, matrix])

    # Each repeats what is current when the body arrives, and follows what ends that.
    hub.publish([b, a, failure, matrix, a])

    before = shown(hub.state)
    hub, journal = restarted(path, journal, killed)
    assert shown(hub.state) == before == as_shown(a, matrix)
    killed(journal)


def test_what_only_repeats_the_current_states_is_not_written_again(tmp_path):
    events = [named(both[0], name) for name, both in STATES.items() if name != "model_failure"]
    path = tmp_path / "state.jsonl"
    hub, journal = opened(path)
    hub.publish(events)
    written = path.stat().st_size

    assert hub.publish(events).duplicates == len(events)

    assert path.stat().st_size == written
    killed(journal)


def test_the_same_state_by_two_publishers_is_shown_once():
    score = named(c.ModelMetric(model="m", accuracy=0.5), "score")

    outcomes = take(State(), ordered(score, 40, "drain"), ordered(score, 0, "metrics"))

    assert outcomes == [Outcome.TAKEN, Outcome.DUPLICATE]


def test_an_id_belongs_to_its_key_alone():
    events = [named(c.ModelMetric(model=m, accuracy=0.5), "one id") for m in "ab"]

    assert take(State(), *events) == [Outcome.TAKEN] * 2


def test_revisions_of_two_publishers_are_not_compared():
    a, b = STATES["model_metric"]
    state = State()

    take(state, ordered(a, 1000, "drain"), ordered(b, 1, "metrics"))

    assert shown(state) == as_shown(b)


@pytest.mark.parametrize("end", [Journal.close, killed], ids=["stopped", "killed"])
def test_a_restart_remembers_the_order_of_a_publisher_that_another_replaced(end, tmp_path):
    a, b = STATES["model_metric"]
    path = tmp_path / "state.jsonl"
    hub, journal = opened(path)
    for event in (ordered(a, 1000, "drain"), ordered(b, 1, "metrics")):
        hub.publish([event])
        hub.flush()
    # Twice: what was written anew is read and written anew again.
    for _ in range(2):
        hub, journal = restarted(path, journal, end)

    hub.publish([ordered(a, 1000, "drain")])

    assert shown(hub.state) == as_shown(b)
    killed(journal)


def test_a_repetition_raises_the_revision_that_a_restart_remembers(tmp_path):
    a, b = (named(event, i) for event, i in zip(STATES["model_metric"], "ab", strict=True))
    path = tmp_path / "state.jsonl"
    hub, journal = opened(path)
    hub.publish([ordered(a, 1, "metrics"), ordered(a, 5, "metrics"), ordered(b, 1, "drain")])
    hub.flush()
    hub, journal = restarted(path, journal)

    hub.publish([ordered(a, 5, "metrics")])

    assert shown(hub.state) == as_shown(b)
    killed(journal)


def test_publishers_remembered_for_a_key_are_bounded(tmp_path):
    path = tmp_path / "state.jsonl"
    hub, journal = opened(path)
    for i in range(50):
        hub.publish([ordered(c.ModelMetric(model="m", accuracy=i / 50), 1, f"p{i}")])
    journal.close()

    assert len(path.read_bytes().splitlines()) == 1 + MAX_PUBLISHERS


def test_a_failed_model_shows_neither_confusion_nor_cells_and_others_keep_theirs():
    def details(model, split):
        matrix = c.Confusion(model=model, labels=["x"], counts=[[1]], split=split)
        cell = c.GroupMetric(model=model, profile="p", host_id="h", macro_f1=0.5, split=split)
        return [matrix, cell]

    state = State()
    mine, others = details("m", "host"), [*details("n", "host"), *details("m", "time")]
    take(state, *mine, *others)
    failure = c.ModelFailure(model="m", why="damaged", split="host")

    take(state, failure)

    assert shown(state) == as_shown(failure, *others[::2], *others[1::2])
    take(state, c.ModelMetric(model="m", accuracy=0.5, split="host"), *mine)
    assert len(shown(state)) == 1 + 6


def test_a_model_that_a_device_cannot_run_keeps_its_score_and_loses_its_speed():
    score = c.ModelMetric(model="m", accuracy=0.5, split="host")
    speed = c.ModelPerf(model="m", latency_us=5, accuracy=0.5, device="pi")
    failure = c.ModelFailure(model="m", why="no onnx", split="host", device="pi")
    state = State()

    take(state, score, speed, failure)
    assert shown(state) == as_shown(score, failure)
    take(state, speed)
    assert shown(state) == as_shown(score, speed)


def test_a_state_file_without_revisions_is_read(tmp_path):
    path = tmp_path / "state.jsonl"
    path.write_text(
        '{"dashboard_state":1,"n_kept":1,"feeds":{"model_metric":{"received":3,"last_ms":5}}}\n'
        '{"type":"model_metric","event_id":"a","model":"m","accuracy":0.5}\n'
        '{"type":"model_metric","event_id":"b","model":"m","accuracy":0.25}\n'
    )

    hub, journal = opened(path)

    assert [event["accuracy"] for event in shown(hub.state)] == [0.25]
    assert (journal.n_skipped, hub.state.feeds["model_metric"].received) == (0, 4)
    killed(journal)


def test_equal_states_have_equal_identities_and_others_other_ones():
    a, b = STATES["model_metric"]
    of = {"instance": "f" * 64, "recipe": "host", "model": "m"}

    first = identified(a, **of)

    assert first.event_id == identified(ordered(named(a, "x"), 3), **of).event_id
    assert first.event_id.startswith("ffffffffffff/host/m/")
    others = [identified(b, **of), identified(a, **(of | {"instance": "0"}))]
    assert len({first.event_id, *(event.event_id for event in others)}) == 3


def test_a_stamp_counts_each_event_and_keeps_what_is_ordered_already():
    a, b = STATES["model_metric"]

    stamped = Stamp("p").stamped([a, ordered(b, 70), a])

    assert [(e.publisher, e.revision) for e in stamped] == [("p", 0), ("drain", 70), ("p", 1)]
    assert Stamp().stamped([a])[0].publisher != Stamp().stamped([a])[0].publisher


VALUES = (0.0, 0.25, 0.5, 1.0)


class Published(RuleBasedStateMachine):
    """Publishers with keys of their own, a network that repeats and reorders, and restarts."""

    sent = Bundle("sent")

    def __init__(self):
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.path = Path(self.folder.name) / "state.jsonl"
        self.hub, self.journal = opened(self.path)
        self.revisions = count()
        self.newest = {}

    @initialize(target=sent)
    def begin(self):
        return multiple()

    @rule(target=sent, model=st.sampled_from("ab"), value=st.sampled_from(VALUES))
    def make(self, model, value):
        """The source makes a state; it is not delivered yet."""
        if value:
            event = c.ModelMetric(model=model, accuracy=value, split="host")
        else:
            event = c.ModelFailure(model=model, why="damaged", split="host")
        event = identified(event, instance="0", recipe="host", model=model)
        return ordered(event, next(self.revisions), publisher=f"source of {model}")

    def deliver(self, event):
        self.hub.publish([event])
        last = self.newest.get(event.model)
        if last is None or event.revision > last.revision:
            self.newest[event.model] = event

    @rule(event=sent)
    def deliver_or_redeliver(self, event):
        self.deliver(event)

    @rule(event=consumes(sent))
    def deliver_for_the_last_time(self, event):
        self.deliver(event)

    @rule()
    def tick(self):
        self.hub.flush()

    @rule()
    def stop_and_start(self):
        self.hub.flush()
        self.hub, self.journal = restarted(self.path, self.journal)

    @rule()
    def kill_and_start(self):
        self.hub.flush()
        self.hub, self.journal = restarted(self.path, self.journal, killed)

    @invariant()
    def each_key_shows_the_newest_state_that_arrived(self):
        wanted = as_shown(*self.newest.values())
        assert sorted(shown(self.hub.state), key=str) == sorted(wanted, key=str)

    def teardown(self):
        killed(self.journal)
        self.folder.cleanup()


class InOrder(RuleBasedStateMachine):
    """Several publishers of one key without revisions, each repeating what is true now."""

    def __init__(self):
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.path = Path(self.folder.name) / "state.jsonl"
        self.hub, self.journal = opened(self.path)
        self.history = []

    @rule(value=st.sampled_from(VALUES))
    def change(self, value):
        event = c.ModelMetric(model="m", accuracy=value)
        event = identified(event, instance="0", recipe="host", model="m")
        self.history.append(event)
        self.hub.publish([event])

    @rule(n=st.integers(1, 5))
    def repeat_the_last_ones(self, n):
        self.hub.publish(self.history[-n:])

    @rule(end=st.sampled_from([Journal.close, killed]))
    def restart(self, end):
        self.hub.flush()
        self.hub, self.journal = restarted(self.path, self.journal, end)

    @invariant()
    def the_last_state_is_shown(self):
        assert shown(self.hub.state) == as_shown(*self.history[-1:])

    def teardown(self):
        killed(self.journal)
        self.folder.cleanup()


class TwoPublishers(RuleBasedStateMachine):
    """Two publishers of one key: what one made and the other replaced never returns by itself."""

    sent = Bundle("sent")

    def __init__(self):
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.path = Path(self.folder.name) / "state.jsonl"
        self.hub, self.journal = opened(self.path)
        self.made = {"sensor": 0, "metrics": 0}
        self.current = []

    @rule(target=sent, publisher=st.sampled_from(["sensor", "metrics"]), value=st.floats(0, 1))
    def publish(self, publisher, value):
        self.made[publisher] += 1
        event = c.ModelMetric(model="m", accuracy=value)
        event = identified(event, instance="0", recipe="host", model="m")
        event = ordered(event, self.made[publisher], publisher)
        self.hub.publish([event])
        self.current = [event]
        return event

    @rule(event=sent)
    def redeliver(self, event):
        assert self.hub.publish([event]).duplicates == 1

    @rule()
    def restart(self):
        self.hub.flush()
        self.hub, self.journal = restarted(self.path, self.journal)

    @invariant()
    def what_was_published_last_is_shown(self):
        assert shown(self.hub.state) == as_shown(*self.current)

    def teardown(self):
        killed(self.journal)
        self.folder.cleanup()


TestPublished = Published.TestCase
TestInOrder = InOrder.TestCase
TestTwoPublishers = TwoPublishers.TestCase
for machine in (TestPublished, TestInOrder, TestTwoPublishers):
    machine.settings = settings(max_examples=25, stateful_step_count=15, deadline=None)
