from dataclasses import replace

import numpy as np
import pytest

from cis490_pipeline.alarm.alarm import AlarmState
from cis490_pipeline.domain import NS_PER_S, Phase, Source
from cis490_pipeline.live.clocks.source_clock import Health
from cis490_pipeline.live.engine import LiveEngine
from cis490_pipeline.live.models import Output
from cis490_pipeline.live.outputs.reports import Faults, WindowReport
from cis490_pipeline.live.watch.verdict import Verdict, VerdictSink
from cis490_pipeline_tests.live.made_up import Certain, device_rows, make_alarm, make_model
from cis490_pipeline_tests.store.episodes import T0_NS

S = NS_PER_S
READ = (Source.GUEST, Source.NETFLOW)


def make_sink(**kwargs):
    lines, changes = [], []
    sink = VerdictSink("lead", READ, lines.append, on_change=changes.append, **kwargs)
    return sink, lines, changes


def learnt_state(health=Health.ALIVE, sources=READ):
    engine = LiveEngine([make_model()], start_ns=lambda: T0_NS)
    for row in device_rows(18, sources=sources):
        engine.feed(row, row.t_wall_ns - T0_NS)
    state = engine.state(18 * S)
    reports = {s: replace(report, health=health) for s, report in state.sources.items()}
    return replace(state, sources=reports)


def window(alarming, phase=Phase.INFECTED_RUNNING, t_end_s=30):
    proba = np.full(5, 0.005)
    proba[list(Phase).index(phase)] = 0.98
    alarm = AlarmState(phases=proba, infected=0.9, armed=0.0, alarming=alarming, rising=alarming)
    return WindowReport(
        window_idx=3,
        t_start_ns=T0_NS + (t_end_s - 10) * S,
        t_end_ns=T0_NS + t_end_s * S,
        t_s=t_end_s - 10.0,
        seen=np.zeros((100, 46), dtype=np.float32),
        suspect_baseline=False,
        outputs=(
            Output(model="lead", probabilities=proba, alarm=alarm),
            Output(model="other", probabilities=proba, alarm=replace(alarm, alarming=False)),
        ),
    )


def test_a_calm_device_is_ready_once_and_then_nothing_is_said():
    sink, lines, changes = make_sink()
    state = learnt_state()

    sink.state(state, Faults(), changed=True)
    for k in range(3):
        sink.window(window(False, t_end_s=30 + 5 * k))
        sink.state(state, Faults(), changed=False)

    assert sink.verdict is Verdict.CLEAN
    assert len(lines) == 1
    assert "ready: no sign of an infection; silent until that changes" in lines[0]
    assert [change.verdict for change in changes] == [Verdict.CLEAN]


def test_an_alarm_is_one_sentence_with_the_phase_and_the_votes_and_its_end_another():
    sink, lines, changes = make_sink()
    state = learnt_state()
    sink.state(state, Faults(), changed=True)

    sink.window(window(True, t_end_s=30))
    sink.window(window(True, t_end_s=35))
    sink.window(window(False, t_end_s=95))

    assert [change.verdict for change in changes] == [Verdict.CLEAN, Verdict.ALARM, Verdict.CLEAN]
    assert "malware is running (1 of 2 models)" in lines[1]
    assert "the alarm is over after 65 s" in lines[2]
    assert not any("p =" in line for line in lines)


def test_while_every_source_is_dead_no_alarm_stands():
    sink, lines, changes = make_sink()
    sink.state(learnt_state(), Faults(), changed=True)
    sink.window(window(True))

    sink.state(learnt_state(Health.DEAD), Faults(), changed=True)

    assert sink.verdict is Verdict.NO_TELEMETRY
    assert lines[-1].endswith("no telemetry: nothing is known of this device; an alarm was on")

    sink.state(learnt_state(), Faults(), changed=True)
    assert changes[-1].verdict is Verdict.ALARM


def test_an_alarm_that_was_on_before_a_restart_goes_on_and_is_not_said_again():
    sink, lines, changes = make_sink(alarming=True)

    sink.state(learnt_state(), Faults(), changed=True)
    sink.window(window(True, t_end_s=30))
    assert (lines, changes) == ([], [])

    sink.window(window(False, t_end_s=95))
    assert sink.verdict is Verdict.CLEAN
    assert lines[0].endswith("the alarm is over")
    assert [change.before for change in changes] == [Verdict.ALARM]


def test_a_device_without_netflow_is_judged_without_network_and_says_so():
    sink, lines, changes = make_sink()

    sink.state(learnt_state(sources=(Source.GUEST,)), Faults(), changed=True)

    assert "no sign of an infection, without network" in lines[-1]
    assert changes[-1].without == (Source.NETFLOW,)


@pytest.mark.parametrize(("learn_s", "said"), [(60, "1 min; an hour is better"), (3600, "1 h")])
def test_learning_is_said_at_each_quarter_and_an_hour_is_recommended(learn_s, said):
    sink, lines, _ = make_sink()
    state = replace(learnt_state(), baseline=None, learn_s=float(learn_s))

    for part in (0.0, 0.1, 0.26, 0.3, 0.51, 0.76):
        sink.state(replace(state, calibration_s=part * learn_s), Faults(), changed=False)

    assert len(lines) == 4
    assert lines[0] == f"learning what is usual here: 0 s of {said}"
    assert sink.verdict is Verdict.LEARNING


def test_a_certain_model_on_a_live_device_raises_one_alarm():
    model = replace(make_model(classifier=Certain(3), alarm=make_alarm()), name="lead")
    engine = LiveEngine([model], start_ns=lambda: T0_NS, learn_s=60)
    sink, lines, changes = make_sink()
    for row in device_rows(90, sources=READ):
        for report in engine.feed(row, row.t_wall_ns - T0_NS):
            sink.window(report)
        if row.source is Source.GUEST:
            sink.state(engine.state(row.t_wall_ns - T0_NS), Faults(), changed=False)

    assert [change.verdict for change in changes] == [Verdict.CLEAN, Verdict.ALARM]
    assert lines[0] == "learning what is usual here: 1 s of 1 min; an hour is better"
