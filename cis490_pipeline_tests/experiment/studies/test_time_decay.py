from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest

from cis490_pipeline.experiment.studies.time_decay import slot_edges

START = datetime(2026, 1, 1, tzinfo=UTC)


def at(*minutes):
    return [START + timedelta(minutes=m) for m in minutes]


def test_slots_are_equal_and_hold_every_episode_once():
    times = at(*range(24))

    edges = slot_edges(times)

    widths = [(b - a).total_seconds() for a, b in pairwise(edges)]
    assert len(widths) == 6
    assert widths == pytest.approx([23 * 10] * 6, abs=1e-3)
    assert [sum(a <= t < b for t in times) for a, b in pairwise(edges)] == [4] * 6


def test_there_are_fewer_slots_rather_than_one_with_a_single_episode():
    edges = slot_edges(at(0, 1, 2, 3, 20, 21, 22, 23))

    assert len(edges) - 1 == 2


@pytest.mark.parametrize("times", [(), (5,), (5, 5, 5, 5), (0, 1, 2, 60)])
def test_where_two_slots_cannot_be_filled_there_are_none(times):
    assert slot_edges(at(*times)) is None
