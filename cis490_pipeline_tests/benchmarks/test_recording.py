"""The analysis of a recorded store, on stores whose answers are known."""

import numpy as np
import pytest

from benchmarks.recording.__main__ import PLAN, lines_of, measured
from benchmarks.recording.episodes import read_store
from benchmarks.recording.in_guest import compare
from benchmarks.recording.labels import SEEN, quantiles
from benchmarks.recording.rates import lateness_ms
from cis490_pipeline.domain import NS_PER_S
from cis490_pipeline.recording.channel.clocks import ClockMap
from cis490_pipeline.recording.plan import read_plan
from cis490_pipeline.recording.schedule import schedule
from cis490_pipeline_tests.benchmarks.recorded import made_store
from docs.make_reference import from_recording

CALLS = [
    {"lanes": 4, "recorded": 5, "failures": [], "wall_s": 180.0, "load": [0.1, 0.1, 0.1]},
    {"lanes": 4, "recorded": 0, "failures": [], "wall_s": 0.1, "load": [0.1, 0.1, 0.1]},
]
PROFILES = [*SEEN, "low-and-slow"]


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    store = made_store(tmp_path_factory.mktemp("punctual"), PROFILES)
    return measured(read_store(store), CALLS)


def test_labels_that_lie_where_the_behaviour_changes_meet_every_target(found):
    assert {(row["profile"], row["edge"]) for row in found["labels"]} == {
        (profile, edge) for profile in SEEN for edge in ("begin", "end")
    }
    missed = [line for line in lines_of(found) if "label" in line.name and not line.met]
    assert missed == []


def test_labels_that_come_too_late_by_half_a_second_are_found_out(tmp_path):
    store = made_store(tmp_path, list(SEEN), label_late_s=0.55)

    rows = measured(read_store(store), CALLS)["labels"]

    assert all(row["signed_median_s"] == pytest.approx(-0.55, abs=0.1) for row in rows)
    # Nor does it help to look elsewhere: the change is found, not the centre of the window.
    assert all(row["shifted_median_s"] == pytest.approx(0.55, abs=0.1) for row in rows)


def test_beside_the_labels_a_thousand_times_away_are_looked_at(found):
    for profile in SEEN:
        control = found["control"][profile]
        assert control["n"] == 1000
        assert control["share_within_1_s"] < 0.4


def test_rates_and_lateness_are_those_of_the_rows(found):
    row = found["episodes"][0]

    assert (row["proc_hz"], row["netflow_hz"], row["guest_hz"], row["qmp_hz"]) == pytest.approx(
        (10, 10, 1, 1), abs=0.02
    )
    assert row["proc_late_p50_ms"] == 2.0
    assert row["qmp_late_p99_ms"] == 5.0
    assert row["wait_share"] == 0.4
    assert [host["episodes"] for host in found["hosts"]] == [2, 2, 1]


def test_the_numbers_are_written_as_tables_with_the_load_beside_them(found, monkeypatch):
    monkeypatch.setattr(from_recording, "result", lambda name: {**found, "machine": {"cores": 2}})

    rates, labels = from_recording.recorded_rates(), from_recording.recorded_labels()

    assert "| `lab-0` | 2 of 2 | 1.00 | 10.00 | 10.00 |" in rates
    assert "100 episodes of 60 s" in " ".join(rates.split())
    assert "load of 0.1" in " ".join(rates.split())
    assert labels.count("| begin |") == labels.count("| end |") == len(SEEN)


def test_episodes_an_hour_count_only_calls_that_recorded(found):
    assert found["throughput"]["episodes_per_hour"] == 100.0
    assert found["throughput"]["mean_length_s"] == 60.0


def test_labels_are_held_against_the_guests_log(found):
    by_profile = {row["profile"]: row for row in found["guests_log"]}

    assert set(by_profile) == set(PROFILES)
    slow = by_profile["low-and-slow"]
    assert slow["label_minus_event_max_s"] == 0.0
    assert slow["command_to_label_s"]["median_s"] == 0.01
    assert slow["first_syn_after_begin_s"]["median_s"] <= 0.2


def test_a_silence_of_the_recorder_makes_each_tick_in_it_late():
    times = np.array([0, 100, 200, 700, 800]) * 1_000_000

    late = lateness_ms(times, 0, 900_000_000, 100_000_000)

    assert late.tolist() == [0, 0, 0, 400, 300, 200, 100, 0, 0]


def test_intervals_resample_episodes_not_edges():
    of_one = [0.1] * 20 + [0.9] * 20
    rows = quantiles(of_one, ["a"] * 20 + ["b"] * 20)

    assert (rows["n"], rows["episodes"]) == (40, 2)
    assert rows["median_ci_s"][1] > 1.0


def test_what_was_not_found_is_counted_and_in_no_quantile():
    rows = quantiles([0.1, float("nan"), 0.2], ["a", "a", "b"])

    assert (rows["n"], rows["not_found"], rows["p95_s"]) == (3, 1, 0.2)


def test_the_plan_has_four_shapes_six_mimics_and_no_label_near_another():
    runs = schedule(read_plan(PLAN))

    assert len({run.host.name for run in runs}) == 4
    assert len({run.treatment.activity for run in runs}) == 6
    assert (
        min(np.diff([s.at_s for s in run.steps], append=run.duration_s).min() for run in runs) > 6
    )
    assert 75 < np.mean([run.duration_s for run in runs]) < 90


GUEST_CLOCK = ClockMap(offset_ns=5 * NS_PER_S, reference_ns=0, drift_ppm=0.0, uncertainty_ns=0)
FIELDS = ("pkts_out", "pkts_in", "bytes_out", "bytes_in", "tcp_syn_out", "tcp_rst", "udp_pkts")


def netflow(times_s, key, offset_s):
    """Rows of a talk from 10 to 20 s, 3 packets per bucket, by the clock of who counts."""
    rows = []
    for t_s in times_s:
        n = 3 if 10 < t_s - 0.05 <= 20 else 0
        row = dict.fromkeys((*FIELDS, "new_flows"), n) | {"dst_ips": n // 3, "dst_ports": n}
        rows.append(row | {key: round((t_s - offset_s) * NS_PER_S)})
    return rows


def both():
    times = np.arange(0, 300) / 10
    return netflow(times, "t_wall_ns", 0), netflow(times + 0.0, "t_mono_ns", 5)


def test_equal_counts_of_guest_and_tap_are_the_same_whatever_is_distinct_in_a_bucket():
    tap, guest = both()
    guest[150]["dst_ips"] += 1

    result = compare(tap, guest, GUEST_CLOCK)

    assert result["same"]
    assert result["sums"]["pkts_out"] == {"tap": 300, "guest": 300}
    assert result["distinct_per_bucket"]["dst_ips"] == {"tap": 100, "guest": 101}


@pytest.mark.parametrize("wrong", [2, None])
def test_one_packet_more_or_an_unknown_bucket_is_not_the_same(wrong):
    tap, guest = both()
    guest[150]["pkts_out"] = wrong

    assert not compare(tap, guest, GUEST_CLOCK)["same"]


def test_a_guest_that_captures_nothing_is_named():
    with pytest.raises(SystemExit, match="make its image again"):
        compare(both()[0], [], GUEST_CLOCK)
