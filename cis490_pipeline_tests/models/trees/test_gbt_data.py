import numpy as np
import pytest

from cis490_pipeline.models.trees.gbt_data import WindowBatches
from cis490_pipeline_tests.models.made_up import make_windows

N, N_CHANNELS, PER = 600, 6, 2
SOURCES = (slice(0, 4 * PER), slice(4 * PER, N_CHANNELS * PER))


def copies(**options):
    """Windows that XGBoost gets beyond the set's own, and their labels."""
    windows = make_windows((N_CHANNELS * PER,), N)
    windows.X[:] = np.nan_to_num(windows.X)
    seen = {}
    batches = WindowBatches(
        windows, np.ones(5), columns_per_channel=PER, source_dropout=0.4, seed=3, **options
    )

    assert batches.next(lambda **given: seen.update(given))
    np.testing.assert_array_equal(seen["data"][:N], windows.X)
    np.testing.assert_array_equal(seen["label"][:N], windows.y)
    return seen["data"][N:], seen["label"][N:]


def test_a_repeated_window_lacks_one_source_and_a_share_of_the_channels_of_the_other():
    whole, labels = copies(sources=SOURCES)
    X, same_labels = copies(sources=SOURCES, channel_dropout=0.25)

    unknown = np.isnan(X).reshape(len(X), N_CHANNELS, PER)
    assert (unknown.all(axis=2) == unknown.any(axis=2)).all()
    assert not unknown.all(axis=(1, 2)).any()
    # The same windows are repeated, and no less of them is masked.
    np.testing.assert_array_equal(labels, same_labels)
    np.testing.assert_array_equal(X[~np.isnan(X)], whole[~np.isnan(X)])
    kept = ~np.isnan(whole)
    assert np.isnan(X[kept]).mean() == pytest.approx(0.25, abs=0.05)
    assert np.isnan(X[~kept]).all()


def test_windows_of_an_only_source_are_repeated_for_their_channels_alone():
    none, _ = copies(sources=SOURCES[:1])
    X, _ = copies(sources=SOURCES[:1], channel_dropout=0.25)

    assert len(none) == 0
    assert len(X) / N == pytest.approx(0.4, abs=0.07)
    assert np.isnan(X).mean() == pytest.approx(0.25, abs=0.05)
