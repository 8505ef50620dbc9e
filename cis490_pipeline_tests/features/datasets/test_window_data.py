import numpy as np
import pytest

from cis490_pipeline.errors import DatasetError
from cis490_pipeline.features.datasets.window_data import ArrayWindows


def test_windows_in_memory_are_taken_in_the_order_asked_for():
    X = np.arange(12, dtype=np.float32).reshape(3, 2, 2)
    windows = ArrayWindows(X, np.array([0, 1, 2]), np.array(["a", "a", "b"]))

    assert len(windows) == 3
    assert windows.shape == (2, 2)
    np.testing.assert_array_equal(windows.take(np.array([2, 0])), X[[2, 0]])


def test_windows_with_too_few_labels_are_refused():
    with pytest.raises(DatasetError, match="got 2, 1 and 2"):
        ArrayWindows(np.zeros((2, 3), np.float32), np.zeros(1, np.int64), np.array(["a", "b"]))
