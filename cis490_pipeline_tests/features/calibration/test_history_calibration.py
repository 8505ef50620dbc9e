"""Calibration of history features, against a second implementation by loops."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cis490_pipeline.domain import Variant
from cis490_pipeline.errors import CalibrationError
from cis490_pipeline.features.baseline import baseline_statistics
from cis490_pipeline.features.calibration.calibrator import CalibrationMode, Calibrator, Scaling
from cis490_pipeline.features.calibration.drifting_gauges import GaugeTreatment, drifting_channels
from cis490_pipeline.features.columns import CALIBRATED, STORED
from cis490_pipeline.features.history import history, quanta
from cis490_pipeline.features.windows import window_starts

EPISODE = CalibrationMode.EPISODE_BASELINE
REALISTIC = Variant.REALISTIC
C = 29
N = len(CALIBRATED["history"])
QUANTA = quanta(REALISTIC)


def corpus(seed=0, n_episodes=4, n_steps=700, unknown=0.0):
    """(n, 29 × 12) features of several devices, with each one's baseline median and IQR."""
    rng = np.random.default_rng(seed)
    features, medians, iqrs = [], [], []
    for _ in range(n_episodes):
        value = QUANTA * rng.uniform(0, 500, C)
        steps = QUANTA * rng.normal(0, 2, (n_steps, C)).cumsum(axis=0)
        grid = np.log1p(np.abs(value + steps)).astype(np.float32)
        grid[:, 5] = 0
        grid[rng.random(grid.shape) < unknown] = np.nan
        starts = window_starts(n_steps)[3:]
        features.append(history(grid, starts))
        for of, baseline in zip((medians, iqrs), baseline_statistics(grid), strict=True):
            of.append(np.repeat(baseline[None], len(starts), axis=0))
    return np.concatenate(features), np.concatenate(medians), np.concatenate(iqrs)


def fitted(mode=EPISODE, kind="history", scaling=Scaling.TRAIN, treatment="recorded", **options):
    X, median, iqr = corpus(**options)
    if kind == "summary":
        X = statistics_of(X, len(STORED["history"])).reshape(len(X), -1)
    calibrator = Calibrator.fit(
        mode,
        REALISTIC,
        kind,
        iqr,
        lambda: [(X[:25], median[:25], iqr[:25]), (X[25:], median[25:], iqr[25:])],
        GaugeTreatment(treatment),
        scaling,
    )
    return calibrator, X, median, iqr


def statistics_of(X, n_columns):
    return X.reshape(len(X), C, n_columns)[..., :5]


def by_hand(x, median, quantum):
    """Bins, lags and changes of one channel of one window, without a library's arrays."""
    baseline = math.expm1(median)
    bins, lags = [float(v) for v in x[5:10]], [float(v) for v in x[10:]]
    known = [b for b in bins if not math.isnan(b)]
    mean = math.fsum(known) / len(known) if known else math.nan
    levels = [math.asinh((v - baseline) / quantum) for v in (*bins, *lags)]
    return [*levels, *(math.asinh((mean - lag) / quantum) for lag in lags)]


@pytest.mark.parametrize("unknown", [0.0, 0.2, 0.8])
def test_means_are_calibrated_as_a_loop_over_windows_and_channels_would(unknown):
    calibrator, X, median, iqr = fitted(unknown=unknown)
    stored = X.reshape(len(X), C, -1)
    wanted = np.array(
        [
            [by_hand(stored[i, c], float(median[i, c]), QUANTA[c]) for c in range(C)]
            for i in range(len(X))
        ]
    )
    for c in range(C):
        for k in range(9):
            known = wanted[:, c, k][~np.isnan(wanted[:, c, k])]
            if not known.size:
                continue
            sd = known.std()
            wanted[:, c, k] = (wanted[:, c, k] - known.mean()) / (sd if sd > 1e-3 else 1)

    found = calibrator.apply(X, median, iqr)

    assert found.shape == (len(X), C * 14) == (len(X), *calibrator.shape)
    np.testing.assert_allclose(found.reshape(len(X), C, N)[..., 5:], wanted.clip(-8, 8), atol=2e-3)


@pytest.mark.parametrize("mode", [EPISODE, CalibrationMode.TRAIN_Z])
@pytest.mark.parametrize("scaling", Scaling)
@pytest.mark.parametrize("treatment", GaugeTreatment)
def test_the_statistics_are_calibrated_as_those_of_summaries_to_the_bit(mode, scaling, treatment):
    of_history, X, median, iqr = fitted(mode, "history", scaling, treatment, unknown=0.1)
    of_summary, S, *_ = fitted(mode, "summary", scaling, treatment, unknown=0.1)

    found = statistics_of(of_history.apply(X, median, iqr), N)

    assert found.tobytes() == of_summary.apply(S, median, iqr).tobytes()
    assert of_history.floor.tobytes() == of_summary.floor.tobytes()


def test_train_has_mean_zero_and_unit_spread_where_it_varies():
    calibrator, X, median, iqr = fitted()

    found = calibrator.apply(X, median, iqr).astype(np.float64)

    inside = (np.abs(np.nan_to_num(found)) < 8).all(axis=0)
    varies = np.nanstd(found, axis=0) > 0
    assert (inside & varies).sum() > C * 10
    np.testing.assert_allclose(np.nanmean(found, axis=0)[inside], 0, atol=1e-3)
    np.testing.assert_allclose(np.nanstd(found, axis=0)[inside & varies], 1, atol=1e-3)


def test_z_scores_alone_measure_from_zero_and_read_no_baseline():
    calibrator, X, median, iqr = fitted(CalibrationMode.TRAIN_Z)
    relative = calibrator._relative(X, median, iqr).reshape(len(X), C, N)

    wanted = np.arcsinh(X.reshape(len(X), C, -1)[..., 5:] / QUANTA[:, None])
    np.testing.assert_allclose(relative[..., 5:12], wanted, rtol=1e-5)
    unknown = np.full_like(median, np.nan)
    assert calibrator.apply(X, unknown, unknown).tobytes() == (
        calibrator.apply(X, median, iqr).tobytes()
    )


@pytest.mark.parametrize("lost", ["median", "iqr"])
def test_without_a_baseline_a_channel_has_its_zeros_and_changes_alone(lost):
    calibrator, X, median, iqr = fitted()
    for baseline in (median, iqr) if lost == "median" else (iqr,):
        baseline[:, 3] = np.nan

    known = np.isfinite(calibrator.apply(X, median, iqr).reshape(len(X), C, N)[:, 3]).any(axis=0)

    names = [name for name, is_known in zip(CALIBRATED["history"], known, strict=True) if is_known]
    expected = ["zero_fraction", "since_10s", "since_20s"]
    # Of summaries too: a spread or slope needs the baseline's spread alone.
    assert names == expected


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**16), unknown=st.sampled_from([0.0, 0.3, 0.9]))
def test_unknown_stays_unknown_and_one_window_is_calibrated_like_many(seed, unknown):
    calibrator, *_ = fitted()
    X, median, iqr = corpus(seed, n_episodes=1, n_steps=450, unknown=unknown)

    found = calibrator.apply(X, median, iqr)

    stored = np.isnan(X.reshape(len(X), C, -1)) | np.isnan(median)[..., None]
    columns = np.isnan(found.reshape(len(X), C, N))
    np.testing.assert_array_equal(columns[..., 5:12], stored[..., 5:])
    since = np.isnan(X.reshape(len(X), C, -1)[..., 10:])
    no_bin = np.isnan(X.reshape(len(X), C, -1)[..., 5:10]).all(axis=-1)
    np.testing.assert_array_equal(columns[..., 12:], since | no_bin[..., None])
    one = [calibrator.apply(X[[i]], median[i], iqr[i])[0] for i in range(len(X))]
    assert np.array(one).tobytes() == found.tobytes()


def test_a_calibrator_is_restored_from_its_arrays_with_the_same_digest():
    calibrator, X, median, iqr = fitted()

    again = Calibrator.from_arrays(EPISODE, REALISTIC, "history", calibrator.arrays())

    assert again.digest == calibrator.digest
    assert again.apply(X, median, iqr).tobytes() == calibrator.apply(X, median, iqr).tobytes()
    assert {name: array.shape for name, array in again.arrays().items()} == {
        "floor": (29,),
        "z_mean": (406,),
        "z_sd": (406,),
    }


def test_arrays_of_summaries_are_no_calibrator_of_history():
    arrays = fitted(kind="summary")[0].arrays()

    with pytest.raises(CalibrationError, match=r"z_mean has shape \(145,\), wanted \(406,\)"):
        Calibrator.from_arrays(EPISODE, REALISTIC, "history", arrays)


def test_of_dropped_gauges_nothing_is_left_and_of_centred_ones_only_the_window():
    plain, X, median, iqr = fitted()
    gauges = list(drifting_channels(REALISTIC))

    def relative(treatment):
        treated = Calibrator.from_arrays(EPISODE, REALISTIC, "history", plain.arrays(), treatment)
        return treated._relative(X, median, iqr).reshape(len(X), C, N)

    dropped, centred = relative(GaugeTreatment.DROPPED), relative(GaugeTreatment.CENTRED)
    recorded = relative(GaugeTreatment.RECORDED)

    assert (np.nan_to_num(dropped[:, gauges]) == 0).all()
    assert (np.nan_to_num(centred[:, gauges, 10:]) == 0).all()
    np.testing.assert_allclose(centred[:, gauges, 5:10].mean(axis=-1), 0, atol=1e-5)
    np.testing.assert_allclose(
        np.diff(centred[:, gauges, 5:10]), np.diff(recorded[:, gauges, 5:10]), atol=1e-5
    )
    others = np.setdiff1d(np.arange(C), gauges)
    for treated in (dropped, centred):
        np.testing.assert_array_equal(treated[:, others], recorded[:, others])
        np.testing.assert_array_equal(np.isnan(treated), np.isnan(recorded))
