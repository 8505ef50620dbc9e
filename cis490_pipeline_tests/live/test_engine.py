import json
import tracemalloc
from dataclasses import replace

import numpy as np
import pytest

from cis490_pipeline.domain import NS_PER_S, PHASES, Phase, Source, Variant
from cis490_pipeline.features.calibration_record import (
    CalibrationRecord,
    ChannelBaseline,
    Telemetry,
)
from cis490_pipeline.features.channels import channel_names
from cis490_pipeline.features.schema import grid_schema
from cis490_pipeline.live.calibration import Baseline
from cis490_pipeline.live.clock import Health
from cis490_pipeline.live.engine import LiveEngine
from cis490_pipeline.live.reports import Stage
from cis490_pipeline_tests.checkpoints.made_up import make_cleanliness
from cis490_pipeline_tests.live.made_up import (
    Certain,
    all_models,
    device_rows,
    make_alarm,
    make_model,
)
from cis490_pipeline_tests.store.episodes import T0_NS

S = NS_PER_S
DEPLOYED = (Source.GUEST, Source.NETFLOW)


def make_record(**changes):
    parts = {
        "host_id": "lab-nuc",
        "telemetry": (Telemetry(episode_id="e", content="c", start_ns=0, end_ns=20 * S),),
        "duration_s": 20.0,
        "channels": tuple(
            ChannelBaseline(name=name, median=1.0, iqr=0.5, n_known=200)
            for name in channel_names(Variant.ORACLE)
        ),
        "cleanliness": None,
        "unchecked": "made up",
        "labelled_clean": True,
        "accepted_unclean": False,
        "schema": grid_schema().to_dict(),
    }
    return CalibrationRecord(**(parts | changes))


def fed(engine, rows, mono_of=lambda row: row.t_wall_ns - T0_NS):
    return [report for row in rows for report in engine.feed(row, mono_of(row))]


def make_engine(models=None, **kwargs):
    return LiveEngine(models or [make_model()], start_ns=lambda: T0_NS, **kwargs)


def test_before_the_first_row_it_waits():
    state = make_engine().state(5 * S)

    assert (state.stage, state.now_ns, state.n_windows) == (Stage.WAITING, None, 0)
    assert {said.health for said in state.sources.values()} == {Health.AWAITED}


def test_the_first_15_seconds_and_2_more_are_a_calibration_in_progress():
    engine = make_engine()

    reports = fed(engine, device_rows(16.9))

    state = engine.state(16_900_000_000)
    assert reports == []
    assert (state.stage, state.calibration_s, state.baseline) == (Stage.CALIBRATING, 15.0, None)


def test_after_17_seconds_it_is_calibrated_and_after_27_the_first_window_closes():
    engine = make_engine(name="e")

    assert fed(engine, device_rows(26.9)) == []
    (first,) = fed(engine, [r for r in device_rows(27.1) if r.t_wall_ns > T0_NS + 26.9 * S])

    assert engine.state(27 * S).baseline.id == "episode:e"
    assert (first.window_idx, first.t_start_ns, first.t_s) == (3, T0_NS + 15 * S, 15.0)


def test_with_a_record_windows_begin_at_once():
    engine = make_engine(baseline=Baseline.of_record(make_record()))

    reports = fed(engine, device_rows(12.1))

    assert [report.window_idx for report in reports] == [0]
    assert engine.state(13 * S).baseline.id == make_record().id


def test_a_record_that_is_not_found_clean_is_told_with_every_window():
    record = make_record(labelled_clean=False)
    engine = make_engine(baseline=Baseline.of_record(record))

    reports = fed(engine, device_rows(20))

    assert reports
    assert all(report.suspect_baseline for report in reports)


def test_a_baseline_taken_here_is_checked_and_a_flagged_one_is_told():
    check = make_cleanliness()
    # Whatever is seen looks more infected than any reference.
    flagging = replace(check, bias=np.full(1, 1e6))
    engine = make_engine(check=flagging)

    (report,) = fed(engine, device_rows(27.1))

    assert report.suspect_baseline
    assert engine.state(27 * S).to_dict()["baseline"]["suspect"] is True
    assert any("look INFECTED" in note for note in engine.notes)


def test_a_source_missing_from_the_calibration_is_named():
    engine = make_engine()

    fed(engine, device_rows(20, sources=(Source.NETFLOW,)))

    assert set(engine.state(20 * S).baseline.unknown_sources) == set(Source) - {Source.NETFLOW}
    assert any("nothing was known of" in note for note in engine.notes)


def test_a_calibration_that_saw_nothing_begins_again():
    engine = make_engine()
    row = next(device_rows(1, sources=(Source.GUEST,)))
    engine.feed(replace(row, values=(None,) * 19), 0)

    engine.advance(18 * S)
    fed(engine, (r for r in device_rows(40) if r.t_wall_ns > T0_NS + 18 * S))

    assert engine.state(40 * S).baseline is not None
    assert engine.notes[1] == "nothing was known in 15 s: the calibration begins again"


def test_windows_close_though_a_source_died_and_say_so():
    engine = make_engine(all_models())
    rows = [
        row
        for row in device_rows(60)
        if row.source is not Source.GUEST or row.t_wall_ns < T0_NS + 30 * S
    ]

    reports = fed(engine, rows)

    assert len(reports) == 7
    assert reports[-1].known_share < 0.7 < reports[0].known_share
    assert engine.state(60 * S).sources[Source.GUEST].health is Health.DEAD
    assert engine.state(60 * S).sources[Source.NETFLOW].health is Health.ALIVE


def test_when_all_die_time_goes_on_windows_say_nothing_and_no_alarm_moves():
    engine = make_engine([make_model(classifier=Certain(3), alarm=make_alarm())])
    fed(engine, device_rows(40))

    reports = engine.advance(70 * S)

    last = reports[-1].outputs[0]
    assert (last.probabilities, last.phase, last.alarm.rising) == (None, None, False)
    assert reports[-1].known_share == 0
    assert {said.health for said in engine.state(70 * S).sources.values()} == {Health.DEAD}


def test_a_model_without_its_sources_says_nothing_while_others_go_on():
    lab_only = (Source.PROC, Source.QMP)
    engine = make_engine(all_models())

    (report,) = fed(engine, device_rows(27.1, sources=lab_only))

    said = {out.model: out.phase is not None for out in report.outputs}
    assert said == {
        "summary_realistic": False,
        "tensor_realistic": False,
        "summary_oracle": True,
        "tensor_oracle": True,
    }


def test_rows_that_come_after_their_window_closed_are_counted_and_unknown_to_it():
    rows = list(device_rows(40))
    late = [r for r in rows if r.source is Source.GUEST and 20 < (r.t_wall_ns - T0_NS) / S < 25]
    on_time = [row for row in rows if row not in late]
    engine, without = make_engine(), make_engine()

    first = fed(engine, [r for r in on_time if r.t_wall_ns <= T0_NS + 28 * S])
    for row in late:
        engine.feed(row, 28 * S)
    unknown = fed(without, [r for r in on_time if r.t_wall_ns <= T0_NS + 28 * S])

    np.testing.assert_array_equal(first[0].grid, unknown[0].grid)
    # Guest's own rows up to 28 s came before: these are older, and out of order for it.
    heard = engine.state(28 * S).sources[Source.GUEST]
    assert heard.n_late + heard.n_out_of_order + heard.n_astray == len(late)


def test_rows_of_a_late_source_are_counted_late_and_used_by_windows_still_open():
    engine = make_engine()
    rows = list(device_rows(60))
    guest = [row for row in rows if row.source is Source.GUEST]
    delayed = [row for row in rows if row.source is not Source.GUEST]
    timed = [(row.t_wall_ns, row) for row in delayed] + [(r.t_wall_ns + 6 * S, r) for r in guest]

    for arrival, row in sorted(timed, key=lambda pair: pair[0]):
        if arrival <= T0_NS + 60 * S:
            engine.feed(row, arrival - T0_NS)

    said = engine.state(60 * S).sources[Source.GUEST]
    assert said.health is Health.LATE
    assert said.n_late > 20
    assert said.n_used == 54


def test_after_a_jump_of_the_clock_windows_go_on_with_baseline_and_alarm():
    engine = make_engine([make_model(classifier=Certain(3), alarm=make_alarm())])
    before = fed(engine, device_rows(60))
    there = 5 * S

    after = [
        report
        for row in device_rows(40, start_ns=there)
        for report in engine.feed(row, 60 * S + row.t_wall_ns - there)
    ]

    state = engine.state(100 * S)
    assert (state.n_jumps, state.stage) == (1, Stage.RUNNING)
    assert state.baseline.id == "episode:live"
    assert [r.window_idx for r in after] == list(
        range(before[-1].window_idx + 1, before[-1].window_idx + 1 + len(after))
    )
    # The slowest source's second row shows it.
    first_there = next(report for report in after if report.t_start_ns < T0_NS)
    assert first_there.t_start_ns - there == 2 * S
    assert before[-1].outputs[0].alarm.alarming
    assert not any(report.outputs[0].alarm.rising for report in after)


def test_a_jump_in_the_calibration_begins_it_again():
    engine = make_engine()
    fed(engine, device_rows(10))

    for row in device_rows(12, start_ns=5 * S):
        engine.feed(row, 10 * S + row.t_wall_ns - 5 * S)

    state = engine.state(22 * S)
    assert state.stage is Stage.CALIBRATING
    assert state.calibration_s == pytest.approx(10, abs=0.2)


def test_a_gap_below_a_minute_is_silence_and_windows_fill_it():
    engine = make_engine()
    rows = [row for row in device_rows(90) if not 30 < (row.t_wall_ns - T0_NS) / S < 75]

    reports = fed(engine, rows)

    assert [report.window_idx for report in reports] == list(range(3, 3 + len(reports)))
    assert min(report.known_share for report in reports) == 0
    assert engine.state(90 * S).n_jumps == 0


def test_the_end_of_the_rows_closes_what_is_complete():
    engine = make_engine()

    reports = [*fed(engine, device_rows(30)), *engine.finish()]

    assert [report.t_end_ns - T0_NS for report in reports] == [25 * S, 30 * S]


def test_rows_of_a_label_far_away_start_the_time_themselves():
    engine = LiveEngine([make_model()], start_ns=lambda: T0_NS - 3600 * S)

    fed(engine, device_rows(3))

    assert engine.anchor_ns == T0_NS + S // 10


def test_an_alarm_rises_once_while_the_phase_is_infected():
    engine = make_engine([make_model(classifier=Certain(2), alarm=make_alarm())])

    reports = fed(engine, device_rows(90))

    assert sum(report.outputs[0].alarm.rising for report in reports) == 1
    assert reports[-1].outputs[0].phase is Phase.INFECTING is PHASES[2]


def test_a_report_is_json_without_nan():
    engine = make_engine(all_models())

    reports = fed(engine, device_rows(40, sources=DEPLOYED))
    lines = [report.to_dict() for report in reports] + [engine.state(40 * S).to_dict()]

    assert json.loads(json.dumps(lines, allow_nan=False)) == lines


def test_what_is_held_does_not_grow_with_time():
    engine = make_engine([make_model(variant=Variant.ORACLE)])

    def held(start_s, end_s):
        for row in device_rows(end_s - start_s, start_ns=T0_NS + start_s * S):
            engine.feed(row, row.t_wall_ns - T0_NS)
            engine.notes.clear()
        return tracemalloc.get_traced_memory()[0]

    tracemalloc.start()
    try:
        early = held(0, 60)
        late = held(60, 360)
    finally:
        tracemalloc.stop()
    # 6,600 rows later; they would be 4 MB. Python itself keeps a few hundred kB of freed tuples.
    assert late - early < 600_000
    assert all(len(buffer) < 300 for buffer in engine._buffers.values())
