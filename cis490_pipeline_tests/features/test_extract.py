from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from cis490_pipeline.domain import EpisodeRef, Variant
from cis490_pipeline.features.extract import extract_episode, extract_last
from cis490_pipeline.features.resample import STEP_NS
from cis490_pipeline.features.summary import STATISTICS, summarize
from cis490_pipeline.features.windows import cut_windows, window_starts
from cis490_pipeline.store.episode import load_episode
from cis490_pipeline.store.rows.columns import Columns


@pytest.fixture(scope="module")
def episode(store, episodes):
    ref = EpisodeRef(*episodes.row(0)[:2])
    return load_episode(store, ref, store.read_index().rows[ref])


@pytest.mark.parametrize("variant", Variant)
def test_the_last_ten_seconds_of_a_running_device_equal_the_batchs_window(episode, variant):
    extracted = extract_episode(episode, variant)

    for i, start in enumerate(extracted.starts):
        t_end = episode.t0_ns + (start + 100) * STEP_NS
        so_far = {s: f.filter(pl.col("t_wall_ns") <= t_end) for s, f in episode.rows.items()}
        window = extract_last(so_far, int(t_end), variant)

        np.testing.assert_array_equal(window.tensor, extracted.tensors[i])
        np.testing.assert_array_equal(window.summary, extracted.summary[i])
        np.testing.assert_array_equal(window.history, extracted.history[i])


def test_rows_from_after_the_window_do_not_change_it(episode):
    t_end = episode.t0_ns + 300 * STEP_NS
    so_far = {s: f.filter(pl.col("t_wall_ns") <= t_end) for s, f in episode.rows.items()}

    np.testing.assert_array_equal(
        extract_last(episode.rows, t_end, Variant.ORACLE).tensor,
        extract_last(so_far, t_end, Variant.ORACLE).tensor,
    )


def test_the_mean_of_a_summary_is_the_mean_of_the_tensor(grids):
    for episode_id in grids.frame["episode_id"]:
        windows = cut_windows(grid := grids.grid(episode_id), window_starts(len(grid)))
        means = summarize(windows).reshape(len(windows), -1, len(STATISTICS))[..., 0]
        known = ~np.isnan(windows)
        total = np.where(known, windows, 0).sum(axis=1, dtype=np.float64)

        with np.errstate(invalid="ignore"):
            np.testing.assert_allclose(means, total / known.sum(axis=1), rtol=1e-6)


@pytest.mark.parametrize("cut", range(100, 700, 37))
def test_cutting_an_episode_changes_no_window_that_ends_by_the_cut(episode, cut):
    until = episode.t0_ns + cut * STEP_NS
    prefix = {
        s: Columns.of(f.filter(pl.col("t_wall_ns") <= until)) for s, f in episode.rows.items()
    }

    early = extract_episode(replace(episode, columns=prefix, end_ns=until), Variant.ORACLE)

    whole = extract_episode(episode, Variant.ORACLE)
    n_windows = len(early.starts)
    assert n_windows == (cut - 100) // 50 + 1
    np.testing.assert_array_equal(early.tensors, whole.tensors[:n_windows])
    np.testing.assert_array_equal(early.summary, whole.summary[:n_windows])
    np.testing.assert_array_equal(early.history, whole.history[:n_windows])


def test_no_recorded_channel_is_lost(episode):
    extracted = extract_episode(episode, Variant.ORACLE)

    assert not np.isnan(extracted.grid).all(axis=0).any()
    assert np.isfinite(extracted.summary).all()
    assert extracted.tensors.shape == (len(extracted.starts), 46, 100)
