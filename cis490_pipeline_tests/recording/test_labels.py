import re

import pytest

from cis490_pipeline.domain import NS_PER_S, Phase
from cis490_pipeline.errors import RecordingError
from cis490_pipeline.recording.channel.clocks import ClockMap, HostClock
from cis490_pipeline.recording.channel.guest_channel import Exchange, Reply
from cis490_pipeline.recording.labels import Confirmed, labels_and_events
from cis490_pipeline.recording.schedule import Step
from cis490_pipeline.store.metadata import parse_events, parse_labels
from cis490_pipeline.store.verdicts.telemetry_checks import label_findings

BEGIN_NS = 1_800_000_000 * NS_PER_S
GUEST = ClockMap(offset_ns=BEGIN_NS, reference_ns=0, drift_ppm=0.0, uncertainty_ns=200_000)
HOST = HostClock(anchor_ns=BEGIN_NS - NS_PER_S, start_mono_ns=0)


def confirmed(phase, event, guest_s, *, sent_s=None, took_s=0.4, pid=7):
    step = Step(at_s=0.0, phase=phase, event=event, activity="armed", parameters={})
    sent_ns = BEGIN_NS + round((guest_s - 0.2 if sent_s is None else sent_s) * NS_PER_S)
    reply = Reply(id=1, pid=pid, t_guest_mono_ns=round(guest_s * NS_PER_S), t_guest_wall_ns=1)
    return Confirmed(step, Exchange(sent_ns, sent_ns + round(took_s * NS_PER_S), reply))


def encoded(rows):
    import msgspec

    return msgspec.json.encode(rows)[1:-1].replace(b"},{", b"}\n{") + b"\n"


def test_labels_lie_where_the_guest_confirmed_them_not_where_they_were_sent():
    steps = [
        confirmed(Phase.ARMED, "workload_armed", 31.5),
        confirmed(Phase.INFECTED_RUNNING, "workload_started", 44.25),
    ]
    labels, events = labels_and_events(BEGIN_NS, steps, GUEST, HOST)

    assert [(row["phase"], row["prev"]) for row in labels] == [
        ("clean", None),
        ("armed", "clean"),
        ("infected_running", "armed"),
    ]
    assert [row["t_wall_ns"] - BEGIN_NS for row in labels] == [
        0,
        round(31.5 * NS_PER_S),
        round(44.25 * NS_PER_S),
    ]
    assert events[0]["sent_wall_ns"] < events[0]["t_wall_ns"]
    assert labels[0]["t_mono_ns"] == NS_PER_S


def test_the_validator_finds_them_sound_and_justified():
    steps = [
        confirmed(Phase.INFECTING, "workload_infecting", 31.5),
        confirmed(Phase.DORMANT, "session_idle", 44.25),
        confirmed(Phase.CLEAN, "workload_removed", 60.0),
    ]
    label_rows, event_rows = labels_and_events(BEGIN_NS, steps, GUEST, HOST)
    labels, label_faults = parse_labels(encoded(label_rows))
    events, event_faults = parse_events(encoded(event_rows))

    assert label_faults == event_faults == []
    assert [*label_findings(labels, events)] == []


@pytest.mark.parametrize(
    ("sent_s", "took_s"), [(20.0, 0.5), (31.6, 0.5)], ids=["after its answer", "before its request"]
)
def test_a_guest_whose_time_lies_outside_the_exchange_is_not_believed(sent_s, took_s):
    step = confirmed(Phase.ARMED, "workload_armed", 31.5, sent_s=sent_s, took_s=took_s)

    with pytest.raises(RecordingError, match="its clock jumped, or it lies"):
        labels_and_events(BEGIN_NS, [step], GUEST, HOST)


def test_a_confirmation_without_a_time_is_none():
    step = confirmed(Phase.ARMED, "workload_armed", 31.5)
    silent = Confirmed(step.step, Exchange(0, 1, Reply(id=1)))

    with pytest.raises(RecordingError, match="confirmed workload_armed without a time"):
        labels_and_events(BEGIN_NS, [silent], GUEST, HOST)


def test_a_failed_run_ends_with_the_label_failed():
    step = confirmed(Phase.ARMED, "workload_armed", 31.5)
    failure = (BEGIN_NS + 40 * NS_PER_S, "the guest seems hung")
    rows, _ = labels_and_events(BEGIN_NS, [step], GUEST, HOST, failure)
    _, findings = parse_labels(encoded(rows))

    assert rows[-1]["phase"] == "failed"
    assert rows[-1]["reason"] == "the guest seems hung"
    assert [re.sub(":.*", "", str(f.reason)) for f in findings] == ["label_failed"]
