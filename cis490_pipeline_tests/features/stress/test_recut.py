"""Windows cut again are those the datasets hold."""

import numpy as np
import pytest

from cis490_pipeline.domain import Variant
from cis490_pipeline.errors import DatasetError
from cis490_pipeline.features.calibration.calibrator import CalibrationMode, Calibrator
from cis490_pipeline.features.extract import extract_episode
from cis490_pipeline.features.stress.perturbations import UNPERTURBED
from cis490_pipeline.features.stress.recut import recut
from cis490_pipeline.store.episode import load_episode
from cis490_pipeline.store.receiver import LocalStore
from cis490_pipeline_tests.experiment.runs import SAMPLE, SIX


@pytest.fixture(scope="module")
def two():
    store = LocalStore(SAMPLE)
    rows = store.read_index().rows
    return [load_episode(store, ref, rows[ref]) for ref in SIX[:2]]


def test_windows_are_those_of_one_episode_after_the_other(two):
    whole = [extract_episode(episode, Variant.ORACLE) for episode in two]
    numbers = [np.array([3, 5]), np.array([4])]

    cut = recut(two, numbers, UNPERTURBED, seed=0)

    tensors = np.concatenate([e.tensors[n] for e, n in zip(whole, numbers, strict=True)])
    summaries = np.concatenate([e.summary[n] for e, n in zip(whole, numbers, strict=True)])
    np.testing.assert_array_equal(cut.windows.transpose(0, 2, 1), tensors)
    np.testing.assert_array_equal(cut.rows, summaries)
    np.testing.assert_array_equal(cut.median[0], cut.median[1])


def test_the_history_of_windows_cut_again_is_the_episodes_and_holds_the_summaries(two):
    whole = extract_episode(two[0], Variant.ORACLE)
    numbers = np.array([3, 5, 9])

    cut = recut(two[:1], [numbers], UNPERTURBED, seed=0, kind="history")

    np.testing.assert_array_equal(cut.rows, whole.history[numbers])
    ones = np.ones(145, dtype=np.float32)
    calibrator = Calibrator(
        CalibrationMode.EPISODE_BASELINE, Variant.REALISTIC, "summary", ones[:29], 0 * ones, ones
    )
    of_summaries = recut(two[:1], [numbers], UNPERTURBED, seed=0).calibrated(calibrator)
    np.testing.assert_array_equal(cut.calibrated(calibrator), of_summaries)


def test_a_window_that_is_not_there_is_refused(two):
    with pytest.raises(DatasetError, match="wanted number 999; it changed since"):
        recut(two[:1], [np.array([999])], UNPERTURBED, seed=0)


def test_nothing_wanted_is_refused(two):
    with pytest.raises(DatasetError, match="no window is wanted"):
        recut(two[:1], [np.zeros(0, dtype=np.int64)], UNPERTURBED, seed=0)


def test_only_a_model_calibrated_by_the_episode_takes_them(two):
    cut = recut(two[:1], [np.array([3])], UNPERTURBED, seed=0)
    ones = np.ones(29, dtype=np.float32)
    calibrator = Calibrator(
        CalibrationMode.TRAIN_Z, Variant.REALISTIC, "tensor", ones, ones * 0, ones
    )

    with pytest.raises(DatasetError, match="calibrated by their own baseline"):
        cut.calibrated(calibrator)
