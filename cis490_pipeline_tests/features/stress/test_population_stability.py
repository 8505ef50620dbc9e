"""Whether new episodes look like train's."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import entropy

from cis490_pipeline.errors import DatasetError
from cis490_pipeline.features.stress.population_stability import DriftReference, psi, window_levels
from cis490_pipeline.features.summary import summarize
from cis490_pipeline.features.windows import cut_windows

CHANNELS = ("guest.a", "guest.b", "netflow.c")
counts = st.lists(st.integers(0, 500), min_size=11, max_size=11)


def episodes(seed, n, shift=0.0):
    rng = np.random.default_rng(seed)
    return [
        rng.normal(shift, 1, 3) * 0.3 + rng.normal(shift, 1, (int(rng.integers(8, 14)), 3))
        for _ in range(n)
    ]


def compared(reference, new, seed=0, n=200):
    return reference.compare(
        [reference.histogram(part) for part in new], seed=seed, n_permutations=n
    )


@given(counts, counts)
def test_index_is_the_sum_of_both_divergences(a, b):
    p, q = ((np.array(c) + 0.5) / (sum(c) + 5.5) for c in (a, b))

    found = psi(a, b)

    if sum(a) and sum(b):
        assert found == pytest.approx(entropy(p, q) + entropy(q, p), abs=1e-12)
        assert found == pytest.approx(psi(b, a))
    else:
        assert np.isnan(found)


def test_index_of_two_bins_by_hand():
    p, q = 1.5 / 4, 3.5 / 6

    assert psi([1, 2], [3, 2]) == pytest.approx((q - p) * np.log(q * (1 - p) / (p * (1 - q))))


def test_bins_hold_a_tenth_of_the_reference_each():
    reference = DriftReference.fit(CHANNELS, [np.random.default_rng(0).normal(size=(1000, 3))])

    assert (abs(reference.counts.sum(axis=0)[:, :10] - 100) <= 1).all()
    assert (reference.counts.sum(axis=(0, 2)) == 1000).all()


def test_the_same_episodes_have_not_drifted():
    reference = DriftReference.fit(CHANNELS, episodes(0, 20))

    assert [row["psi"] for row in compared(reference, episodes(0, 20))] == [0.0] * 3


def test_a_shift_is_flagged_in_its_channel_alone():
    reference, new = DriftReference.fit(CHANNELS, episodes(0, 60)), episodes(1, 60)

    rows = compared(reference, [part + np.array([0, 1.5, 0]) for part in new])

    assert [row["flagged"] for row in rows] == [False, True, False]
    assert rows[1]["beyond_chance"]


def test_a_dead_source_is_drift():
    reference, new = DriftReference.fit(CHANNELS, episodes(0, 20)), episodes(1, 20)
    for part in new:
        part[:, 2] = np.nan

    row = compared(reference, new)[2]

    assert row["flagged"]
    assert row["beyond_chance"]


def test_few_episodes_pass_the_limit_by_chance_and_are_said_to():
    reference = DriftReference.fit(CHANNELS, episodes(0, 8))

    rows = [row for seed in range(1, 31) for row in compared(reference, episodes(seed, 4), n=100)]

    assert np.mean([row["flagged"] for row in rows]) > 0.5
    assert np.mean([row["beyond_chance"] for row in rows]) < 0.25


def test_nothing_new_is_null_with_why():
    rows = compared(DriftReference.fit(CHANNELS, episodes(0, 3)), [])

    assert [(row["psi"], row["flagged"]) for row in rows] == [(None, None)] * 3
    assert rows[0]["why"] == "there is no new episode"


def test_a_channel_nobody_recorded_has_not_drifted_until_somebody_does():
    silent = [part * [1, 1, np.nan] for part in episodes(0, 10)]
    reference = DriftReference.from_dict(DriftReference.fit(CHANNELS, silent).to_dict())

    assert compared(reference, silent)[2]["psi"] == 0.0
    assert compared(reference, episodes(0, 10))[2]["flagged"]


def test_a_stored_reference_is_the_same():
    reference = DriftReference.fit(CHANNELS, episodes(0, 10))

    again = DriftReference.from_dict(reference.to_dict())

    assert compared(again, episodes(1, 5)) == compared(reference, episodes(1, 5))


@pytest.mark.parametrize("part", ["channels", "edges", "counts"])
def test_half_a_reference_is_refused(part):
    saved = DriftReference.fit(CHANNELS, episodes(0, 3)).to_dict()
    del saved[part]

    with pytest.raises(DatasetError, match=f"incomplete: KeyError\\('{part}'\\)"):
        DriftReference.from_dict(saved)


def test_other_channels_are_refused():
    reference = DriftReference.fit(CHANNELS, episodes(0, 3))

    with pytest.raises(DatasetError, match=r"takes \(n_windows, 3\) values, got \(4, 2\)"):
        reference.histogram(np.zeros((4, 2)))


def test_levels_are_the_means_the_features_have_less_the_baseline():
    grid = np.random.default_rng(0).normal(size=(400, 46)).astype(np.float32)
    grid[:, 3] = np.nan
    starts = np.arange(150, 301, 50)
    means = summarize(cut_windows(grid, starts)).reshape(4, 46, 5)[..., 0]

    levels = window_levels(grid, np.ones(46))

    np.testing.assert_allclose(levels, means - 1.0, atol=1e-5)
