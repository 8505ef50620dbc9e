import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cis490_pipeline.domain import NS_PER_S, PHASES
from cis490_pipeline.errors import DatasetError
from cis490_pipeline.features.windows import (
    baseline_is_clean,
    cut_windows,
    touches_baseline,
    window_labels,
    window_starts,
    window_t_ns,
)

S = NS_PER_S


@given(st.integers(0, 2000))
def test_windows_are_whole_and_one_every_five_seconds(n_steps):
    starts = window_starts(n_steps)

    assert (np.diff(starts) == 50).all()
    assert len(starts) == (0 if n_steps < 100 else (n_steps - 100) // 50 + 1)
    assert (starts + 100 <= n_steps).all()


def test_windows_that_begin_before_fifteen_seconds_touch_the_baseline():
    np.testing.assert_array_equal(
        touches_baseline(np.array([0, 50, 100, 150, 200])), [True, True, True, False, False]
    )


def test_a_window_is_ten_seconds_from_its_first_step():
    start, end = window_t_ns(7 * S, np.array([0, 50]))

    np.testing.assert_array_equal(start, [7 * S, 12 * S])
    np.testing.assert_array_equal(end, [17 * S, 22 * S])


def test_windows_are_cut_at_their_starts():
    grid = np.arange(400, dtype=np.float32)[:, None]

    windows = cut_windows(grid, np.array([0, 150]))

    np.testing.assert_array_equal(windows[1, :, 0], np.arange(150, 250))


def test_a_window_has_the_phase_at_its_centre_and_that_phases_share():
    y, purity = window_labels(
        [0, 12 * S, 18 * S], ["clean", "armed", "clean"], 0, 25 * S, window_starts(250)
    )

    np.testing.assert_array_equal(y, [0, 0, 1, 0])
    np.testing.assert_allclose(purity, [1.0, 0.7, 0.6, 0.7])


def test_a_phase_that_returns_counts_with_all_its_parts():
    y, purity = window_labels(
        [0, 2 * S, 4 * S], ["dormant", "infected_running", "dormant"], 0, 10 * S, np.array([0])
    )

    np.testing.assert_array_equal(y, [PHASES.index("dormant")])
    np.testing.assert_allclose(purity, [0.8])


@given(st.lists(st.integers(1, 30_000), min_size=1, max_size=8), st.data())
def test_purity_equals_counting_milliseconds(lengths_ms, data):
    phases = data.draw(
        st.lists(
            st.sampled_from([str(p) for p in PHASES]),
            min_size=len(lengths_ms),
            max_size=len(lengths_ms),
        )
    )
    edges_ms = np.concatenate([[0], np.cumsum(lengths_ms)])
    starts = window_starts(int(edges_ms[-1]) // 100)

    y, purity = window_labels(
        [int(t) * 1_000_000 for t in edges_ms[:-1]],
        phases,
        0,
        int(edges_ms[-1]) * 1_000_000,
        starts,
    )

    at = np.repeat([PHASES.index(p) for p in phases], lengths_ms)
    for i, start in enumerate(starts):
        window = at[start * 100 : start * 100 + 10_000]
        assert y[i] == window[5_000]
        assert purity[i] == pytest.approx(np.mean(window == y[i]))


def test_a_label_that_is_no_class_is_refused_by_name():
    with pytest.raises(DatasetError, match=r"labels name \['failed'\]"):
        window_labels([0, S], ["clean", "failed"], 0, 20 * S, window_starts(200))


def test_a_grid_that_starts_before_its_first_label_is_refused():
    with pytest.raises(DatasetError, match="before its first label"):
        window_labels([5], ["clean"], 0, 20 * S, window_starts(200))


def test_a_baseline_is_clean_only_if_nothing_else_begins_within_fifteen_seconds():
    assert baseline_is_clean([0, 15 * S], ["clean", "armed"], 0)
    assert not baseline_is_clean([0, 15 * S - 1], ["clean", "armed"], 0)
    assert not baseline_is_clean([0], ["dormant"], 0)
