"""How often a shift is found where there is none, and where there is one."""

import numpy as np
import pytest

from cis490_pipeline.features.stress.shift_test import shift_test

CHANNELS = ("guest.a", "guest.b", "netflow.c")


def episodes(rng, n, shift=(0.0, 0.0, 0.0)):
    """Windows of an episode are alike: they share an offset, and so do channels."""
    return [
        rng.normal(0, 1, (1, 1)) + rng.normal(0, 0.5, (12, 3)) + np.asarray(shift) for _ in range(n)
    ]


def compared(earlier, new, strata=None, seed=0, n=199):
    strata = strata or ["a"] * (len(earlier) + len(new))
    return shift_test(CHANNELS, earlier, new, strata, seed=seed, n_permutations=n)


def test_any_channel_is_significant_as_rarely_as_the_level_says():
    rng = np.random.default_rng(0)

    smallest = [
        compared(episodes(rng, 12), episodes(rng, 4), seed=n, n=59).p.min() for n in range(200)
    ]

    # 5 % of 200, within four standard errors; by channel without control it is 2 to 3 times that.
    assert abs(np.mean(np.array(smallest) <= 0.05) - 0.05) < 4 * np.sqrt(0.05 * 0.95 / 200)


def test_a_shift_is_found_in_its_channel_alone():
    rng = np.random.default_rng(1)

    found = compared(episodes(rng, 30), episodes(rng, 8, (0, 3, 0)))

    assert [name for name, _ in found.shifted(0.01)] == ["guest.b"]
    assert found.p[1] == 1 / 200
    assert found.largest == found.psi[1] > 0.25


def test_a_channel_that_ceases_is_found():
    rng = np.random.default_rng(2)
    earlier, new = episodes(rng, 30), episodes(rng, 8)
    for part in new:
        part[:, 2] = np.nan

    assert [name for name, _ in compared(earlier, new).shifted(0.01)] == ["netflow.c"]


def test_other_profiles_than_before_are_no_shift():
    rng = np.random.default_rng(3)
    calm, loud = episodes(rng, 20), episodes(rng, 12, (4, 4, 4))
    earlier, new = [*calm, *loud[:4]], loud[4:]
    profiles = [*["calm"] * 20, *["loud"] * 12]

    assert compared(earlier, new).shifted(0.01)
    assert not compared(earlier, new, profiles).shifted(0.01)


def test_a_channel_that_never_varies_is_not_significant():
    rng = np.random.default_rng(4)
    earlier, new = episodes(rng, 10), episodes(rng, 4)
    for part in (*earlier, *new):
        part[:, 0] = 2.0

    assert compared(earlier, new).p[0] == 1.0


def test_without_a_new_window_there_is_no_index():
    found = compared(episodes(np.random.default_rng(5), 5), [np.zeros((0, 3))])

    assert np.isnan(found.psi).all()
    assert found.largest is None
    assert found.shifted(0.5) == []


@pytest.mark.parametrize("n", [250, 251, 600])
def test_every_permutation_counts_once(n):
    rng = np.random.default_rng(6)

    found = compared(episodes(rng, 6), episodes(rng, 3), n=n)

    assert np.allclose(found.p * (n + 1), np.round(found.p * (n + 1)))
