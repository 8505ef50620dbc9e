import numpy as np
import pytest

from cis490_pipeline.domain import Variant
from cis490_pipeline.errors import CalibrationError
from cis490_pipeline.features.baseline import baseline_statistics
from cis490_pipeline.features.calibration.calibrator import CalibrationMode, Calibrator, Scaling
from cis490_pipeline.features.calibration.drifting_gauges import GaugeTreatment, drifting_channels
from cis490_pipeline.features.summary import STATISTICS, summarize

EPISODE = CalibrationMode.EPISODE_BASELINE
C = 29


def corpus(seed=0, n_episodes=6, n_windows=8):
    """Grids of several devices: windows (n, 100, C), and each one's baseline median and IQR."""
    rng = np.random.default_rng(seed)
    windows, medians, iqrs = [], [], []
    for _ in range(n_episodes):
        level = rng.uniform(0, 20, C)
        spread = rng.uniform(0, 1, C)
        grid = (level + spread * rng.standard_normal((150 + n_windows * 100, C))).astype(np.float32)
        grid[:, 5] = 0
        median, iqr = baseline_statistics(grid)
        windows.append(grid[150:].reshape(n_windows, 100, C))
        medians.append(median)
        iqrs.append(iqr)
    return np.concatenate(windows), np.array(medians), np.array(iqrs), n_windows


def fitted(kind, mode=EPISODE, unknown=0.0, scaling=Scaling.TRAIN):
    windows, medians, iqrs, n = corpus()
    if unknown:
        windows[np.random.default_rng(9).random(windows.shape) < unknown] = np.nan
    X = summarize(windows) if kind == "summary" else windows.transpose(0, 2, 1).copy()
    median, iqr = np.repeat(medians, n, axis=0), np.repeat(iqrs, n, axis=0)

    def batches():
        for start in range(0, len(X), 7):
            part = slice(start, start + 7)
            yield X[part], median[part], iqr[part]

    calibrator = Calibrator.fit(mode, Variant.REALISTIC, kind, iqrs, batches, scaling=scaling)
    return calibrator, X, median, iqr, iqrs, windows


def test_a_baseline_is_numpys_median_and_interquartile_range_of_the_first_fifteen_seconds():
    grid = np.random.default_rng(0).standard_normal((400, C)).astype(np.float32)
    grid[::3, 4] = np.nan
    grid[:150, 7] = np.nan

    median, iqr = baseline_statistics(grid)

    for c in set(range(C)) - {7}:
        known = grid[:150, c][~np.isnan(grid[:150, c])].astype(np.float64)
        q1, q2, q3 = np.percentile(known, [25, 50, 75])
        assert median[c] == pytest.approx(q2, abs=1e-6)
        assert iqr[c] == pytest.approx(q3 - q1, abs=1e-6)
    assert np.isnan(median[7])
    assert np.isnan(iqr[7])


def test_a_grid_shorter_than_the_baseline_is_refused():
    with pytest.raises(CalibrationError, match="takes 150 steps"):
        baseline_statistics(np.zeros((149, C), np.float32))


def test_tensors_are_calibrated_as_a_loop_over_episodes_and_channels_would():
    calibrator, X, median, iqr, iqrs, windows = fitted("tensor", scaling=Scaling.DEVICE)

    wanted = np.empty_like(X, dtype=np.float64)
    for c in range(C):
        floor = max(0.5 * np.median(iqrs[:, c]), 0.1 * windows[:, :, c].astype(float).std(), 1e-3)
        for i in range(len(X)):
            wanted[i, c] = (X[i, c].astype(float) - median[i, c]) / max(iqr[i, c], floor)
        sd = wanted[:, c].std()
        wanted[:, c] = (wanted[:, c] - wanted[:, c].mean()) / (sd if sd > 1e-3 else 1)
    wanted = np.clip(wanted, -8, 8)

    np.testing.assert_allclose(calibrator.apply(X, median, iqr), wanted, atol=2e-4)


def test_statistics_of_calibrated_values_are_the_calibrated_statistics():
    by_tensor, X, median, iqr, *_, windows = fitted("tensor")
    by_summary = fitted("summary")[0]
    relative = by_tensor._relative(X, median, iqr).transpose(0, 2, 1)

    from_values = summarize(relative).reshape(len(X), C, 5)
    from_statistics = by_summary._relative(summarize(windows), median, iqr).reshape(len(X), C, 5)

    np.testing.assert_allclose(by_summary.floor, by_tensor.floor, rtol=1e-4)
    shares = STATISTICS.index("zero_fraction")
    np.testing.assert_allclose(from_statistics[..., :shares], from_values[..., :shares], atol=2e-3)


def test_the_share_of_zeros_is_not_scaled_by_the_baseline():
    calibrator, X, median, iqr, *_ = fitted("summary")
    shares = slice(STATISTICS.index("zero_fraction"), None, len(STATISTICS))

    np.testing.assert_array_equal(calibrator._relative(X, median, iqr)[:, shares], X[:, shares])


@pytest.mark.parametrize("kind", ["tensor", "summary"])
def test_train_has_mean_zero_and_unit_spread_where_it_varies(kind):
    calibrator, X, median, iqr, *_ = fitted(kind)

    calibrated = calibrator.apply(X, median, iqr).astype(np.float64)

    axis = (0, 2) if kind == "tensor" else 0
    varies = calibrated.std(axis=axis) > 0
    inside = (np.abs(calibrated) < 8).all(axis=axis)
    np.testing.assert_allclose(calibrated.mean(axis=axis)[inside], 0, atol=1e-3)
    np.testing.assert_allclose(calibrated.std(axis=axis)[varies & inside], 1, atol=1e-3)


@pytest.mark.parametrize("kind", ["tensor", "summary"])
@pytest.mark.parametrize("mode", CalibrationMode)
def test_unknown_stays_unknown_and_known_stays_known(kind, mode):
    calibrator, X, median, iqr, *_ = fitted(kind, mode, unknown=0.2)

    calibrated = calibrator.apply(X, median, iqr)

    np.testing.assert_array_equal(np.isnan(calibrated), np.isnan(X))


def test_a_channel_unknown_in_the_baseline_is_unknown_in_the_window():
    calibrator, X, median, iqr, *_ = fitted("tensor")
    median, iqr = median.copy(), iqr.copy()
    median[:, 3] = iqr[:, 3] = np.nan

    unknown = np.isnan(calibrator.apply(X, median, iqr)).all(axis=(0, 2))

    np.testing.assert_array_equal(np.flatnonzero(unknown), [3])


def test_nothing_is_further_than_eight_from_zero():
    calibrator, X, median, iqr, *_ = fitted("tensor")

    calibrated = calibrator.apply(X * np.float32(1e4), median, iqr)

    assert calibrated.max() == 8
    assert np.abs(calibrated).max() == 8


def test_a_devices_own_level_does_not_matter_after_calibration():
    calibrator, X, median, iqr, *_ = fitted("tensor")
    shift = np.float32(2.0)

    np.testing.assert_allclose(
        calibrator.apply(X + shift, median + shift, iqr),
        calibrator.apply(X, median, iqr),
        atol=5e-3,
    )


def test_train_z_reads_no_baseline():
    calibrator, X, median, iqr, *_ = fitted("summary", CalibrationMode.TRAIN_Z)

    np.testing.assert_array_equal(
        calibrator.apply(X, np.full_like(median, np.nan), iqr), calibrator.apply(X, median, iqr)
    )


@pytest.mark.parametrize("kind", ["tensor", "summary"])
def test_one_device_is_calibrated_like_many(kind):
    calibrator, X, median, iqr, *_ = fitted(kind)

    np.testing.assert_array_equal(
        calibrator.apply(X[:8], median[0], iqr[0]), calibrator.apply(X[:8], median[:8], iqr[:8])
    )


def test_a_channel_never_known_in_train_leaves_the_calibrator_finite():
    windows, medians, iqrs, n = corpus()
    windows[..., 11] = medians[:, 11] = iqrs[:, 11] = np.nan
    batch = (
        windows.transpose(0, 2, 1).copy(),
        np.repeat(medians, n, axis=0),
        np.repeat(iqrs, n, axis=0),
    )

    calibrator = Calibrator.fit(EPISODE, Variant.REALISTIC, "tensor", iqrs, lambda: [batch])

    assert all(np.isfinite(array).all() for array in calibrator.arrays().values())


def test_a_calibrator_is_restored_from_its_arrays():
    calibrator, X, median, iqr, *_ = fitted("summary")

    restored = Calibrator.from_arrays(EPISODE, Variant.REALISTIC, "summary", calibrator.arrays())

    assert restored.digest == calibrator.digest
    np.testing.assert_array_equal(restored.apply(X, median, iqr), calibrator.apply(X, median, iqr))


def test_another_mode_or_another_number_is_another_digest():
    calibrator = fitted("summary")[0]
    arrays = calibrator.arrays()
    moved = {**arrays, "z_mean": np.nextafter(arrays["z_mean"], np.float32(9))}

    digests = {
        calibrator.digest,
        Calibrator.from_arrays(EPISODE, Variant.REALISTIC, "summary", moved).digest,
        Calibrator.from_arrays(
            CalibrationMode.TRAIN_Z, Variant.REALISTIC, "summary", arrays
        ).digest,
    }

    assert len(digests) == 3


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"floor": np.ones(28, np.float32)}, r"floor has shape \(28,\), wanted \(29,\)"),
        ({"z_sd": np.zeros(145, np.float32)}, "z_sd must be finite and positive"),
        ({"z_mean": np.full(145, np.nan, np.float32)}, "z_mean must be finite"),
    ],
)
def test_damaged_arrays_are_refused_by_name(change, message):
    arrays = {**fitted("summary")[0].arrays(), **change}

    with pytest.raises(CalibrationError, match=message):
        Calibrator.from_arrays(EPISODE, Variant.REALISTIC, "summary", arrays)


def test_a_missing_array_is_refused_by_name():
    with pytest.raises(CalibrationError, match=r"no array \['z_sd'\]"):
        Calibrator.from_arrays(
            EPISODE,
            Variant.REALISTIC,
            "tensor",
            {"floor": np.ones(29, np.float32), "z_mean": np.ones(29, np.float32)},
        )


@pytest.mark.parametrize("treatment", GaugeTreatment)
def test_the_treatment_of_gauges_is_part_of_the_digest_and_comes_back(treatment):
    plain, X, median, iqr, *_ = fitted("summary")
    treated = Calibrator.from_arrays(
        EPISODE, Variant.REALISTIC, "summary", plain.arrays(), treatment
    )

    assert (treated.digest == plain.digest) == (treatment is GaugeTreatment.RECORDED)
    differs = (treated.apply(X, median, iqr) != plain.apply(X, median, iqr)).any(axis=0)
    gauges = set(drifting_channels(Variant.REALISTIC))
    assert {int(column) // 5 for column in np.flatnonzero(differs)} <= gauges
    assert differs.any() == (treatment is not GaugeTreatment.RECORDED)


@pytest.mark.parametrize("kind", ["tensor", "summary"])
def test_scaled_by_train_a_devices_own_spread_does_not_matter(kind):
    plain, X, median, iqr, iqrs, _ = fitted(kind, scaling=Scaling.DEVICE)
    by_train = Calibrator.fit(
        EPISODE,
        Variant.REALISTIC,
        kind,
        iqrs,
        lambda: [(X, median, iqr)],
        scaling=Scaling.TRAIN,
    )

    calibrated = by_train.apply(X, median, iqr)

    np.testing.assert_array_equal(by_train.apply(X, median, iqr * 7), calibrated)
    levels = X if kind == "tensor" else X.reshape(len(X), C, 5)[..., :1]
    wanted = (levels - median[..., None]).astype(np.float64)
    varies = np.flatnonzero(wanted.std(axis=(0, 2)) > 1e-3)
    wanted = wanted[:, varies]
    wanted = (wanted - wanted.mean(axis=(0, 2))[:, None]) / wanted.std(axis=(0, 2))[:, None]
    found = calibrated if kind == "tensor" else calibrated.reshape(len(X), C, 5)[..., :1]
    assert varies.size == C - 1
    np.testing.assert_allclose(found[:, varies], wanted.clip(-8, 8), atol=5e-3)
    again = Calibrator.from_arrays(
        EPISODE, Variant.REALISTIC, kind, by_train.arrays(), scaling=Scaling.TRAIN
    )
    assert again.digest == by_train.digest != plain.digest


def test_treated_gauges_are_fitted_as_they_are_applied():
    windows, medians, iqrs, n = corpus()
    batch = (
        windows.transpose(0, 2, 1).copy(),
        np.repeat(medians, n, axis=0),
        np.repeat(iqrs, n, axis=0),
    )

    centred = Calibrator.fit(
        EPISODE, Variant.REALISTIC, "tensor", iqrs, lambda: [batch], GaugeTreatment.CENTRED
    )

    calibrated = centred.apply(*batch)[:, list(drifting_channels(Variant.REALISTIC))]
    np.testing.assert_allclose(calibrated.mean(axis=2), 0, atol=1e-4)
    np.testing.assert_allclose(calibrated.astype(float).std(axis=(0, 2)), 1, atol=1e-3)


def test_there_is_no_calibrator_without_train_windows():
    with pytest.raises(CalibrationError, match="no train window"):
        Calibrator.fit(EPISODE, Variant.ORACLE, "tensor", np.ones((1, 46), np.float32), list)
