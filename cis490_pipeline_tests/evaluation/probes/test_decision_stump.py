from itertools import product

import numpy as np
import pytest
from sklearn.metrics import f1_score

from cis490_pipeline.errors import EvaluationError
from cis490_pipeline.evaluation.confusion import macro_f1
from cis490_pipeline.evaluation.predictions import matrices_of
from cis490_pipeline.evaluation.probes.decision_stump import (
    fit_threshold,
    threshold_probe,
)
from cis490_pipeline.evaluation.probes.learn import training_classes
from cis490_pipeline_tests.evaluation.made_up import windows


def best_by_trying_all(x, y):
    """Macro F1 of every cut between values, and of every way to name stretches."""
    unknown = np.isnan(x)
    values = np.unique(x[~unknown])[:-1]
    fallback = np.bincount(y[unknown] if unknown.any() else y, minlength=5).argmax()
    scores = []
    for low, high in product(values, values):
        if low > high:
            continue
        stretch = (x > low).astype(int) + (x > high)
        # A name that no window has can only lower the mean.
        for named in product(np.unique(y), repeat=3):
            said = np.where(unknown, fallback, np.array(named)[stretch])
            scores.append(plain_macro_f1(y, said))
    return max(scores)


def plain_macro_f1(y, said):
    """As scikit-learn's, which takes a millisecond a call; the best is compared with it below."""
    classes = np.union1d(y, said)[:, None]
    hits = ((y == classes) & (said == classes)).sum(axis=1)
    return np.mean(2 * hits / ((y == classes).sum(axis=1) + (said == classes).sum(axis=1)))


@pytest.mark.parametrize("seed", range(2))
def test_it_finds_the_best_of_all_cuts_and_names(seed):
    rng = np.random.default_rng(seed)
    y = rng.choice([0, 1, 4], size=25)
    # Four values: fewer than the cuts tried, so every cut is among them.
    x = np.clip(y + rng.integers(-1, 2, size=25), 0, 3).astype(np.float32)
    x[rng.random(25) < 0.2] = np.nan

    found = fit_threshold(x[:, None], y, ["channel:mean"])

    assert found.train_macro_f1 == pytest.approx(best_by_trying_all(x, y), abs=1e-12)
    said = found.predict(x).argmax(axis=1)
    assert f1_score(y, said, average="macro", zero_division=0) == pytest.approx(
        found.train_macro_f1, abs=1e-12
    )


def test_it_takes_the_statistic_that_tells_most():
    rng = np.random.default_rng(0)
    y = np.repeat([0, 3, 4], 40)
    X = rng.normal(size=(120, 3)).astype(np.float32)
    X[:, 1] += 20 * np.repeat([0, 1, 2], 40)

    found = fit_threshold(X, y, ["a:mean", "b:mean", "c:std"])

    assert (found.name, found.column) == ("b:mean", 1)
    assert found.classes[:3].tolist() == [0, 3, 4]
    assert found.train_macro_f1 == 1.0
    assert str(found).startswith("b:mean: clean up to")
    assert ", infected_running up to " in str(found)
    assert ", dormant beyond" in str(found)


def test_probabilities_point_at_the_phase_of_the_stretch_and_unknown_has_its_own():
    x = np.array([0, 0, 0, 1, 1, 1, np.nan, np.nan], dtype=np.float32)
    y = np.array([0, 0, 1, 2, 2, 2, 4, 4])

    found = fit_threshold(x[:, None], y, ["a"])

    proba = found.predict(np.array([-5, 9, np.nan], dtype=np.float32))
    assert proba.argmax(axis=1).tolist() == [0, 2, 4]
    np.testing.assert_allclose(proba.sum(axis=1), 1)
    # Half for the phase, half by the shares of 2 clean and 1 armed, one added to each of five.
    np.testing.assert_allclose(proba[0], [0.5 + 3 / 16, 2 / 16, 1 / 16, 1 / 16, 1 / 16])


def test_what_never_varies_is_refused_and_so_is_nothing():
    with pytest.raises(EvaluationError, match="none of 2 statistics varies"):
        fit_threshold(np.ones((4, 2), dtype=np.float32), np.array([0, 1, 2, 3]), ["a", "b"])
    with pytest.raises(EvaluationError, match="learns from training windows"):
        fit_threshold(np.ones((0, 2), dtype=np.float32), np.zeros(0, dtype=np.int64), ["a", "b"])


def test_probe_predicts_exactly_the_scored_windows():
    keys = windows()
    phases = {"clean": 0, "armed": 1, "infecting": 2, "infected_running": 3, "dormant": 4}
    X = np.array([[7, phases[phase]] for phase in keys["y_true"]], dtype=np.float32)

    fitted = fit_threshold(X, training_classes(keys), ["same", "tells"])
    frame = threshold_probe(fitted, np.array_split(X, 4), keys)

    assert fitted.name == "tells"
    assert frame.select(keys.columns).equals(keys)
    assert macro_f1(matrices_of(frame).pooled) == pytest.approx(fitted.train_macro_f1)
    assert threshold_probe(fitted, [], keys.clear()).height == 0
