import numpy as np
import pytest

from cis490_pipeline.domain import CHANNELS, NS_PER_S, Kind, Phase, Source
from cis490_pipeline.simulation.characters import host_character, samples_of
from cis490_pipeline.simulation.draft import Draft
from cis490_pipeline.simulation.episode import EpisodeSpec, simulate_episode
from cis490_pipeline.simulation.faults import DRAFT_FAULTS, assign_faults, original_of
from cis490_pipeline.simulation.parameters import (
    LEVELS,
    PROFILES,
    SIMULATOR_DIGEST,
    TIMING,
    parameters_digest,
)
from cis490_pipeline.simulation.plan import draw_plan
from cis490_pipeline.store.reasons import Reason


@pytest.fixture(scope="module")
def drafts() -> list[Draft]:
    hosts = ("sim-one", "sim-two", "sim-three")
    return [
        simulate_episode(EpisodeSpec(seed=11, number=k, host_id=hosts[k % 3])) for k in range(60)
    ]


def test_parameters_are_those_that_scores_were_reported_with() -> None:
    assert parameters_digest() == SIMULATOR_DIGEST, (
        "a parameter of the simulator changed: scores on simulated hosts mean something else now"
    )


def test_every_source_has_a_clock_of_its_own(drafts: list[Draft]) -> None:
    for draft in drafts:
        bases = {
            source: int(columns["t_wall_ns"][0] - columns["t_mono_ns"][0])
            for source, columns in draft.rows.items()
        }
        assert bases[Source.PROC] == bases[Source.QMP]
        assert len(set(bases.values())) == 3
        assert draft.labels[0]["t_wall_ns"] - draft.labels[0]["t_mono_ns"] == bases[Source.PROC]


def test_time_never_goes_back_and_counters_never_fall(drafts: list[Draft]) -> None:
    for draft in drafts:
        for source, columns in draft.rows.items():
            assert (np.diff(columns["t_wall_ns"]) >= 0).all()
            for channel in (c for c in CHANNELS if c.source is source):
                readings = columns[channel.field]
                assert (readings >= 0).all(), channel.name
                if channel.kind is Kind.COUNTER and not channel.may_fall:
                    assert (np.diff(readings) >= 0).all(), channel.name


def test_buckets_have_no_more_flows_or_peers_than_packets(drafts: list[Draft]) -> None:
    for draft in drafts:
        flow = draft.rows[Source.NETFLOW]
        both = flow["pkts_out"] + flow["pkts_in"]
        for field in ("tcp_syn_out", "dst_ips", "dst_ports"):
            assert (flow[field] <= flow["pkts_out"]).all()
        for field in ("tcp_rst", "udp_pkts", "new_flows"):
            assert (flow[field] <= both).all()
        assert ((flow["dst_ips"] > 0) == (flow["pkts_out"] > 0)).all()


def test_guest_readings_come_late_and_in_lumps(drafts: list[Draft]) -> None:
    gaps = np.concatenate(
        [np.diff(draft.rows[Source.GUEST]["t_wall_ns"]) / NS_PER_S for draft in drafts]
    )

    assert (gaps < 0.01).any()
    assert 1.2 < gaps.max() < 3.0


def test_labels_and_behaviour_are_apart_by_what_was_measured() -> None:
    rng = np.random.default_rng(0)
    plans = [draw_plan(rng, infected=True) for _ in range(300)]
    apart = np.concatenate([plan.behaviour_s[1:-1] - plan.label_s[1:] for plan in plans])

    low, high = TIMING.offset_s
    free = apart[np.abs(apart) >= low]
    assert free.size > 0.9 * apart.size
    assert np.abs(free).max() < high + 4.0
    assert (free > 0).mean() > 0.7
    assert (free < 0).any()


def test_runs_differ_in_plot_and_phases_return() -> None:
    rng = np.random.default_rng(0)
    plots = [draw_plan(rng).phases for _ in range(400)]

    assert len(set(plots)) == len(TIMING.plans)
    assert any(plot.count(Phase.INFECTED_RUNNING) == 2 for plot in plots)
    assert (Phase.CLEAN,) in plots


def test_first_fifteen_seconds_are_clean_in_label_and_behaviour() -> None:
    rng = np.random.default_rng(0)
    for _ in range(300):
        plan = draw_plan(rng, infected=True)
        assert plan.label_s[1] >= 15.0
        assert plan.behaviour_s[1] >= 15.0


def test_a_host_is_the_same_in_every_store_and_no_two_are_alike() -> None:
    host_character.cache_clear()
    first = host_character("sim-one")
    host_character.cache_clear()

    np.testing.assert_array_equal(first.gain, host_character("sim-one").gain)
    assert not np.array_equal(first.gain, host_character("sim-two").gain)


def test_each_seed_has_samples_of_its_own_in_every_profile() -> None:
    first, second = samples_of(1), samples_of(2)

    assert {sample.profile for sample in first} == set(PROFILES)
    assert {sample.name for sample in first}.isdisjoint(sample.name for sample in second)
    assert "memory" in LEVELS


def test_every_reason_has_a_fault() -> None:
    of_archive = {"sha256_mismatch", "archive_corrupt", "archive_unsupported"}
    of_store = {"not_indexed", "unsealed", "duplicate_content"}

    assert {*DRAFT_FAULTS, *of_archive, *of_store} == set(Reason)


@pytest.mark.parametrize("seed", range(20))
def test_faults_are_dealt_at_the_rate_asked_for(seed: int) -> None:
    dealt = assign_faults(400, 0.2, seed)

    assert len(dealt) == 80
    assert {str(reason) for reason in dealt.values()} == {str(reason) for reason in Reason}
    for number, reason in dealt.items():
        if reason is Reason.DUPLICATE_CONTENT:
            original = original_of(number, dealt)
            assert original is not None
            assert original not in dealt


def test_every_episode_can_be_faulty() -> None:
    dealt = assign_faults(60, 1.0, 0)

    assert len(dealt) == 60
    assert Reason.DUPLICATE_CONTENT not in dealt.values()
