import numpy as np
import pytest

from cis490_pipeline.dashboard.producers.profiles import (
    AFTER_S,
    BEFORE_S,
    aligned,
    course_of,
    profile_events,
)
from cis490_pipeline.domain import NS_PER_S, Phase

S = NS_PER_S


def made_grid(n_s):
    """log1p of the second each step lies in, in every channel."""
    seconds = np.repeat(np.arange(n_s), 10)
    return np.log1p(np.tile(seconds[:, None], (1, 46)).astype(np.float32))


def test_an_episode_is_cut_where_the_phase_first_begins():
    phases = ["clean", "infecting", "dormant", "infecting"]

    cut = aligned(made_grid(80), 0, [0, 30 * S, 40 * S, 60 * S], phases, Phase.INFECTING)

    np.testing.assert_allclose(cut[:, 0], np.arange(30 - BEFORE_S, 30 + AFTER_S), rtol=1e-5)


def test_what_lies_beyond_the_episode_is_unknown():
    cut = aligned(made_grid(30), 0, [0, 10 * S], ["clean", "infecting"], Phase.INFECTING)

    known = np.isfinite(cut[:, 0])
    assert known.sum() == 30
    assert not known[:10].any()
    assert not known[40:].any()


def test_an_episode_without_the_phase_has_no_course():
    assert aligned(made_grid(30), 0, [0], ["clean"], Phase.INFECTING) is None


def test_a_course_is_the_median_and_the_quartiles_of_those_that_know_the_second():
    episodes = [
        np.array([1.0, 1.0, np.nan]),
        np.array([3.0, np.nan, np.nan]),
        np.array([8.0, 5, 1]),
    ]

    course = course_of(episodes)

    np.testing.assert_allclose(course.median, [3, 3, np.nan])
    np.testing.assert_allclose(course.low, [2, 2, np.nan])
    np.testing.assert_allclose(course.high, [5.5, 4, np.nan])
    assert course.n_episodes == 3


def test_every_profile_of_the_sample_is_drawn_in_its_channels_unit(places):
    events = list(profile_events(places, ["netflow.pkts_out", "guest.mem_dirty_bytes"]))

    assert {event.name for event in events} >= {"flood", "scan-and-dial", "exfil-burst"}
    assert {(event.channel, event.unit) for event in events} == {
        ("netflow.pkts_out", "packets/s"),
        ("guest.mem_dirty_bytes", "bytes"),
    }
    for event in events:
        assert len(event.curve) == len(event.low) == len(event.high) == BEFORE_S + AFTER_S
        known = [t for t in zip(event.low, event.curve, event.high, strict=True) if None not in t]
        assert all(low <= middle <= high for low, middle, high in known)


def test_a_flood_is_seen_after_its_start_and_not_before(places):
    (event,) = [e for e in profile_events(places, ["netflow.pkts_out"]) if e.name == "flood"]
    curve = np.array(event.curve, dtype=float)

    assert np.nanmax(curve[BEFORE_S:]) > 3 * np.nanmax(curve[:BEFORE_S])


@pytest.mark.parametrize("missing", ["validation", "tensors"])
def test_missing_files_are_named(copied, missing):
    import shutil
    from pathlib import Path

    from cis490_pipeline.errors import DatasetError

    path: Path = getattr(copied, missing)
    path.unlink() if path.is_file() else shutil.rmtree(path)

    with pytest.raises(DatasetError, match=path.name):
        list(profile_events(copied, ["netflow.pkts_out"]))
