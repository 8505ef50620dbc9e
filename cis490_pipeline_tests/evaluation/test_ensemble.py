import numpy as np
import pytest

from cis490_pipeline.errors import EvaluationError
from cis490_pipeline.evaluation.ensemble import mean_predictions
from cis490_pipeline.evaluation.predictions import probabilities
from cis490_pipeline_tests.evaluation.made_up import predictions, windows


def test_probabilities_are_averaged_window_by_window_in_any_order():
    first, second = (predictions(windows(), skill=1, seed=seed) for seed in (0, 1))

    mean = mean_predictions(first, second.sample(fraction=1, shuffle=True, seed=0))

    keys = ["episode_id", "window_idx"]
    parts = [probabilities(frame.sort(keys)) for frame in (first, second)]
    np.testing.assert_array_equal(probabilities(mean), (parts[0] + parts[1]) / 2)
    assert mean.select(keys).equals(first.select(keys).sort(keys))


def test_models_of_other_windows_have_no_mean():
    first, second = predictions(windows(), skill=1), predictions(windows(n_test=6), skill=1)

    with pytest.raises(EvaluationError, match="not scored on identical windows"):
        mean_predictions(first, second)
