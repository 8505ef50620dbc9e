import numpy as np
import pytest

from cis490_pipeline.errors import TrainingError
from cis490_pipeline.training.balance import class_weights

Y = np.repeat(np.arange(5), [100, 25, 25, 4, 1])


def test_weights_are_the_inverse_root_of_the_frequency():
    weights = class_weights(Y, 0.5)

    assert weights / weights[0] == pytest.approx([1, 2, 2, 5, 10])


def test_a_window_weighs_one_on_average():
    assert class_weights(Y, 0.5)[Y].mean() == pytest.approx(1.0)


def test_power_zero_turns_weights_off():
    assert class_weights(Y, 0.0) == pytest.approx(np.ones(5))


def test_a_phase_without_windows_is_refused_by_name():
    with pytest.raises(TrainingError, match="no training window of armed, dormant among 3"):
        class_weights(np.array([0, 2, 3]), 0.5)


def test_an_absent_class_that_is_no_phase_is_refused_by_its_number():
    with pytest.raises(TrainingError, match="no training window of class 1, class 3 among 3"):
        class_weights(np.array([0, 2, 0]), 0.5, n_classes=4)
