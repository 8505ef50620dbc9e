import numpy as np
import pytest

from cis490_pipeline.domain import Variant
from cis490_pipeline.features.channels import channel_indices
from cis490_pipeline.features.summary import (
    STATISTICS,
    summarize,
    summary_columns,
    summary_names,
)


@pytest.fixture(scope="module")
def windows():
    rng = np.random.default_rng(0)
    X = np.log1p(rng.gamma(0.5, 1e6, size=(300, 100, 7))).astype(np.float32)
    X[rng.random(X.shape) < 0.3] = 0
    return X


def statistic(summaries, name):
    return summaries.reshape(len(summaries), -1, len(STATISTICS))[..., STATISTICS.index(name)]


def with_unknown(windows):
    X = windows.copy()
    X[np.random.default_rng(1).random(X.shape) < 0.4] = np.nan
    X[3, :, 2] = np.nan
    X[4, :, 2] = [5.0] + [np.nan] * 99
    return X


@pytest.mark.parametrize(
    ("name", "reference"),
    [
        ("mean", lambda x, t: x.mean()),
        ("std", lambda x, t: x.std()),
        ("p95", lambda x, t: np.percentile(x, 95)),
        ("slope", lambda x, t: np.polyfit(t, x, 1)[0]),
        ("zero_fraction", lambda x, t: (x == 0).mean()),
    ],
)
@pytest.mark.parametrize("unknown", [False, True])
def test_statistics_equal_numpys_over_the_known_steps(windows, name, reference, unknown):
    X = with_unknown(windows)[:40] if unknown else windows[:40]
    t = np.arange(100) / 10

    got = statistic(summarize(X), name)

    for i in range(len(X)):
        for c in range(X.shape[2]):
            x = X[i, :, c].astype(np.float64)
            known = ~np.isnan(x)
            if known.sum() > 1:
                wanted = reference(x[known], t[known])
                assert got[i, c] == pytest.approx(wanted, rel=1e-5, abs=1e-6)


def test_what_was_never_known_has_no_statistic(windows):
    summaries = summarize(with_unknown(windows))

    assert np.isnan(summaries.reshape(300, 7, 5)[3, 2]).all()


def test_a_single_known_step_has_no_slope(windows):
    alone = summarize(with_unknown(windows)).reshape(300, 7, 5)[4, 2]

    np.testing.assert_array_equal(np.isnan(alone), [s == "slope" for s in STATISTICS])


def test_a_slope_far_from_zero_keeps_its_digits():
    t = np.arange(100) / 10
    ramp = (1e4 + 0.5 * t).astype(np.float32)[None, :, None]

    assert statistic(summarize(ramp), "slope").item() == pytest.approx(0.5, abs=1e-4)


def test_summaries_of_many_windows_equal_those_of_each_alone(windows):
    one_by_one = np.concatenate([summarize(window[None]) for window in windows])

    np.testing.assert_array_equal(summarize(windows), one_by_one)


def test_names_are_channel_major_and_as_many_as_columns():
    names = summary_names(Variant.ORACLE)

    assert len(names) == 230
    assert names[:6] == (
        "proc.cpu_user_jiffies:mean",
        "proc.cpu_user_jiffies:std",
        "proc.cpu_user_jiffies:p95",
        "proc.cpu_user_jiffies:slope",
        "proc.cpu_user_jiffies:zero_fraction",
        "proc.cpu_sys_jiffies:mean",
    )


def test_the_realistic_columns_are_found_among_all():
    columns = summary_columns(channel_indices(Variant.REALISTIC))

    all_names = summary_names(Variant.ORACLE)
    assert tuple(all_names[i] for i in columns) == summary_names(Variant.REALISTIC)
