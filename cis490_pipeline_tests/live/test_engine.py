import json
import tracemalloc
from dataclasses import replace

import numpy as np
import pytest

from cis490_pipeline.domain import NS_PER_S, PHASES, Phase, Source, Variant
from cis490_pipeline.features.baseline import span_statistics
from cis490_pipeline.features.calibration.record import (
    CalibrationRecord,
    ChannelBaseline,
    Telemetry,
)
from cis490_pipeline.features.channels import channel_names
from cis490_pipeline.features.resample import episode_grid
from cis490_pipeline.features.schema import grid_schema
from cis490_pipeline.live.buffer import SourceBuffer
from cis490_pipeline.live.calibration import Baseline
from cis490_pipeline.live.clocks.source_clock import Health
from cis490_pipeline.live.engine import LiveEngine
from cis490_pipeline.live.outputs.reports import Stage
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
    assert any("too little was known of guest" in note for note in engine.notes)


def test_a_calibration_that_saw_nothing_begins_again():
    engine = make_engine()
    row = next(device_rows(1, sources=(Source.GUEST,)))
    engine.feed(replace(row, values=(None,) * 19), 0)

    engine.advance(18 * S)
    fed(engine, (r for r in device_rows(40) if r.t_wall_ns > T0_NS + 18 * S))

    assert engine.state(40 * S).baseline is not None
    assert engine.notes[1] == "nothing was known in 15 s: the calibration takes 15 s again"


def test_a_source_that_sent_once_in_the_calibration_is_not_calibrated_by_that():
    engine = make_engine()
    rows = list(device_rows(60, sources=DEPLOYED))
    # Guest's clock cannot be told from two rows; its source is gone when the 15 s are over.
    sparse = [r for r in rows if r.source is Source.NETFLOW or r.t_wall_ns <= T0_NS + 2 * S]

    fed(engine, sparse)

    assert Source.GUEST in engine.state(60 * S).baseline.unknown_sources


def test_a_calibration_begins_again_for_a_source_that_began_in_it():
    engine = make_engine()
    rows = [
        row
        for row in device_rows(60, sources=DEPLOYED)
        if row.source is Source.NETFLOW or row.t_wall_ns > T0_NS + 9 * S
    ]

    reports = fed(engine, rows)

    baseline = engine.state(60 * S).baseline
    assert Source.GUEST not in baseline.unknown_sources
    assert any("guest" in n and "the calibration takes 15 s again" in n for n in engine.notes)
    assert reports[0].t_start_ns == T0_NS + 30 * S


def test_a_source_that_comes_after_the_calibration_is_calibrated_by_its_own_15_s():
    engine = make_engine([make_model(alarm=make_alarm())])
    rows = [
        row
        for row in device_rows(90, sources=DEPLOYED)
        if row.source is Source.NETFLOW or row.t_wall_ns > T0_NS + 25 * S
    ]

    shares = [report.outputs[0].known_share for report in fed(engine, rows)]

    assert shares[0] == pytest.approx(10 / 29)
    assert shares[-1] == 1
    assert "guest started late: it is calibrated by its own first 15 s" in engine.notes


def test_a_source_that_comes_long_after_the_calibration_stays_unknown():
    engine = make_engine()
    rows = [
        row
        for row in device_rows(400, sources=DEPLOYED)
        if row.source is Source.NETFLOW or row.t_wall_ns > T0_NS + 340 * S
    ]

    fed(engine, rows)

    assert Source.GUEST in engine.state(400 * S).baseline.unknown_sources


@pytest.mark.parametrize("kind", ["summary", "tensor"])
def test_a_model_that_is_given_nothing_says_nothing_and_its_alarm_waits(kind):
    model = make_model(kind, classifier=Certain(3), alarm=make_alarm())
    engine = make_engine([model])
    record = make_record()
    known = Baseline.of_record(record)
    guest_unknown = replace(known, median=known.median.copy(), iqr=known.iqr.copy())
    guest_unknown.median[17:36] = guest_unknown.iqr[17:36] = np.nan
    engine = make_engine([model], baseline=guest_unknown)

    reports = fed(engine, device_rows(60, sources=(Source.GUEST,)))

    # The buffer knows all of guest; relative to the baseline nothing is known.
    assert reports[-1].known_share > 0.3
    for report in reports:
        (out,) = report.outputs
        assert (out.probabilities, out.phase, out.known_share) == (None, None, 0)
        assert not out.alarm.alarming
        assert "relative to the baseline" in out.to_dict()["why"]


def test_an_alarm_does_not_rise_on_less_than_half_of_the_channels():
    model = make_model(classifier=Certain(3), alarm=make_alarm())
    engine = make_engine([model])

    reports = fed(engine, device_rows(90, sources=(Source.NETFLOW,)))

    for report in reports:
        (out,) = report.outputs
        assert out.phase is PHASES[3]
        assert (out.alarm.alarming, out.alarm.rising) == (False, False)
        assert "34% of the channels are known" in out.to_dict()["why"]


def test_too_little_telemetry_is_not_judged_by_the_cleanliness_check():
    flagging = replace(make_cleanliness(), bias=np.full(1, 1e6))
    engine = make_engine(check=flagging)

    fed(engine, device_rows(40, sources=(Source.NETFLOW,)))

    baseline = engine.state(40 * S).baseline
    assert (baseline.cleanliness, baseline.suspect) == (None, False)
    assert "too little is known" in baseline.to_dict()["why"]


@pytest.mark.parametrize("offset_s", [20, 3, -20])
def test_windows_of_a_device_with_one_wrong_clock_are_those_of_one_with_right_clocks(offset_s):
    right, wrong = LiveEngine([make_model()]), LiveEngine([make_model()])
    # Both sources begin together, so that either one's first row begins the time.
    rows = [r for r in device_rows(60, sources=DEPLOYED) if r.t_wall_ns >= T0_NS + S]
    moved = [
        replace(r, t_wall_ns=r.t_wall_ns + offset_s * S) if r.source is Source.NETFLOW else r
        for r in rows
    ]

    wanted = fed(right, rows, lambda row: 0)
    got = [report for row in moved for report in wrong.feed(row, 0)]

    assert len(got) == len(wanted)
    for one, other in zip(got, wanted, strict=True):
        np.testing.assert_allclose(one.grid, other.grid, rtol=0, atol=1e-6)
    offsets = {s: r.offset_s for s, r in wrong.state(0).sources.items()}
    assert offsets[Source.NETFLOW] - offsets[Source.GUEST] == offset_s
    assert sum(r.n_late for r in wrong.state(0).sources.values()) == 0


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
        "summary_network": False,
        "tensor_network": False,
        "history_realistic": False,
        "history_oracle": True,
        "history_network": False,
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
    # Guest's own rows up to 28 s came before: these are older, and fit no time.
    report = engine.state(28 * S).sources[Source.GUEST]
    assert report.n_out_of_order + report.n_held == len(late)


def test_rows_of_a_late_source_are_counted_late_and_used_by_windows_still_open():
    engine = make_engine()
    rows = list(device_rows(60))
    guest = [row for row in rows if row.source is Source.GUEST]
    delayed = [row for row in rows if row.source is not Source.GUEST]
    # From 10 s on; a source that is late from its first row on has a clock that is behind.
    late = [(r.t_wall_ns + (6 * S if r.t_wall_ns > T0_NS + 10 * S else 0), r) for r in guest]
    timed = [(row.t_wall_ns, row) for row in delayed] + late

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
    # All sources agree on it by the slowest one's first row; none before it is lost.
    first_there = next(report for report in after if report.t_start_ns < T0_NS)
    assert first_there.t_start_ns - there == S // 10
    assert before[-1].outputs[0].alarm.alarming
    assert not any(report.outputs[0].alarm.rising for report in after)


def test_a_jump_in_the_calibration_begins_it_again():
    engine = make_engine()
    fed(engine, device_rows(10))

    for row in device_rows(12, start_ns=5 * S):
        engine.feed(row, 10 * S + row.t_wall_ns - 5 * S)

    state = engine.state(22 * S)
    assert state.stage is Stage.CALIBRATING
    assert state.calibration_s == pytest.approx(11.9, abs=0.01)


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


@pytest.mark.long
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


def test_a_longer_learning_time_gives_the_statistics_of_all_of_it():
    engine = make_engine(learn_s=60, name="e")

    fed(engine, device_rows(61.9))
    state = engine.state(61_900_000_000)
    assert (state.stage, state.learn_s) == (Stage.CALIBRATING, 60.0)
    assert state.calibration_s == pytest.approx(60.0, abs=0.1)

    reports = fed(engine, (row for row in device_rows(73) if row.t_wall_ns > T0_NS + 61.9 * S))

    assert [report.t_end_ns for report in reports] == [T0_NS + 70 * S]
    rows = {source: SourceBuffer(source) for source in Source}
    for row in device_rows(60):
        rows[row.source].add(row)
    grid = episode_grid({s: buffer.columns() for s, buffer in rows.items()}, T0_NS, 600)
    learnt = span_statistics(grid)
    baseline = engine.state(73 * S).baseline
    np.testing.assert_allclose(baseline.median, learnt.median, rtol=1e-5)
    np.testing.assert_allclose(baseline.iqr, learnt.iqr, atol=1e-5)


def test_a_gap_while_learning_is_not_learnt_from():
    engine = make_engine(learn_s=45)
    rows = [row for row in device_rows(80) if not 16 * S < row.t_wall_ns - T0_NS < 29 * S]

    fed(engine, rows)

    state = engine.state(80 * S)
    assert state.stage is Stage.RUNNING
    assert any("the calibration takes 15 s again" in note for note in engine.notes)
    # 15 s, a gap of 15 s, then 30 s: windows begin after a minute.
    assert any(note.startswith("calibrated by the first 45 s") for note in engine.notes)


def test_a_clock_jump_while_learning_costs_the_running_piece_only():
    engine = make_engine(learn_s=30)
    fed(engine, device_rows(20))

    later = device_rows(60, start_ns=T0_NS + 3600 * S)
    fed(engine, later, mono_of=lambda row: row.t_wall_ns - T0_NS - 3580 * S)

    assert any("takes its running 15 s again" in note for note in engine.notes)
    assert engine.state(80 * S).stage is Stage.RUNNING
    assert any(note.startswith("calibrated by the first 30 s") for note in engine.notes)
