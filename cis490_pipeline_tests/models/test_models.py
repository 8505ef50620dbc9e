"""What holds for every model, whatever its architecture."""

import json

import numpy as np
import pytest
from scipy.special import softmax

from cis490_pipeline.domain import PHASES, Architecture, Variant
from cis490_pipeline.errors import DatasetError, NotFittedError, TrainingError
from cis490_pipeline.features.datasets.window_data import ArrayWindows
from cis490_pipeline.models import registry
from cis490_pipeline.training.augmentation import drop_channels
from cis490_pipeline_tests.models.made_up import make_windows, quick_config

SLOWEST = frozenset(Architecture) - {Architecture.GBT, Architecture.MLP}
"""Networks of tensors; each is also trained by `make run`."""


def windows_of(model, n=30, seed=7):
    return make_windows(model.spec.shape, n, seed=seed)


def fit(architecture, train, val=None, seed=0, progress=None, **config):
    model = registry.create(
        architecture, Variant.REALISTIC, seed=seed, config=quick_config(architecture) | config
    )
    train = train(model.spec.shape)
    return model.fit(train, train if val is None else val(model.spec.shape), progress=progress)


def test_probabilities_are_probabilities(fitted):
    p = fitted.predict_proba(windows_of(fitted).X)

    assert p.shape == (30, len(PHASES))
    assert p.dtype == np.float64
    assert (p >= 0).all()
    np.testing.assert_allclose(p.sum(axis=1), 1, rtol=0, atol=1e-12)


def test_one_window_equals_the_batch(fitted):
    X = windows_of(fitted).X

    alone = np.concatenate([fitted.predict_proba(x[None]) for x in X])

    np.testing.assert_allclose(alone, fitted.predict_proba(X), rtol=0, atol=1e-5)


def test_predicting_a_whole_set_equals_predicting_its_windows(fitted):
    windows = windows_of(fitted)

    whole = fitted.predict_windows(windows, batch=7)

    np.testing.assert_allclose(whole, fitted.predict_proba(windows.X), rtol=0, atol=1e-5)


def test_the_prediction_is_the_most_probable_phase(fitted):
    X = windows_of(fitted).X

    np.testing.assert_array_equal(fitted.predict(X), fitted.predict_proba(X).argmax(axis=1))


def test_windows_of_which_nothing_is_known_are_predicted(fitted):
    X = np.full((3, *fitted.spec.shape), np.nan, dtype=np.float32)

    p = fitted.predict_proba(X)

    assert np.isfinite(p).all()
    np.testing.assert_allclose(p, p[[0, 0, 0]], rtol=0, atol=1e-6)


def test_predicting_changes_no_input(fitted):
    X = windows_of(fitted).X
    before = X.copy()
    X.flags.writeable = False

    fitted.predict_proba(X)

    np.testing.assert_array_equal(X, before)


def test_predicting_changes_nothing_learnt(fitted):
    X, before = windows_of(fitted).X, fitted.state()

    first = fitted.predict_proba(X)
    fitted.logits(X)
    again = fitted.predict_proba(X)

    after = fitted.state()
    assert after.booster == before.booster
    assert after.arrays.keys() == before.arrays.keys()
    for name, array in after.arrays.items():
        np.testing.assert_array_equal(array, before.arrays[name], err_msg=name)
    np.testing.assert_array_equal(first, again)


def test_windows_that_lack_a_source_are_predicted(fitted):
    for columns in fitted.spec.source_columns:
        X = windows_of(fitted).X
        X[:, columns] = np.nan

        p = fitted.predict_proba(X)

        assert np.isfinite(p).all()
        np.testing.assert_allclose(p.sum(axis=1), 1, rtol=0, atol=1e-12)


def test_two_windows_of_each_phase_are_enough_to_train_on(architecture):
    model = fit(architecture, lambda shape: make_windows(shape, n=10))

    assert np.isfinite(model.predict_proba(windows_of(model, n=1).X)).all()


def test_windows_that_are_all_alike_can_be_trained_on(architecture):
    def alike(shape):
        windows = make_windows(shape, n=20)
        return ArrayWindows(np.zeros_like(windows.X), windows.y, windows.groups)

    model = fit(architecture, alike)

    p = model.predict_proba(np.zeros((4, *model.spec.shape), dtype=np.float32))
    np.testing.assert_allclose(p, p[[0, 0, 0, 0]], rtol=0, atol=1e-6)
    # A random start that saw nothing else may prefer a phase, but has no ground to be sure.
    assert p.max() < 0.6


def test_no_windows_give_no_predictions(fitted):
    X = np.zeros((0, *fitted.spec.shape), dtype=np.float32)

    assert fitted.predict_proba(X).shape == (0, 5)


def test_probabilities_are_the_softmax_of_the_logits(fitted):
    X = windows_of(fitted).X

    np.testing.assert_allclose(
        softmax(fitted.logits(X), axis=1), fitted.predict_proba(X), rtol=0, atol=1e-6
    )


def test_no_windows_give_no_logits(fitted):
    X = np.zeros((0, *fitted.spec.shape), dtype=np.float32)

    assert fitted.logits(X).shape == (0, 5)


def test_windows_of_the_other_variant_are_refused(fitted):
    other = next(v for v in Variant if v is not fitted.variant)
    shape = registry.create(fitted.architecture, other, seed=0).spec.shape

    with pytest.raises(DatasetError, match=r"X must be float32 of \(n_windows, "):
        fitted.predict_proba(np.zeros((2, *shape), dtype=np.float32))


def test_float64_windows_are_refused(fitted):
    with pytest.raises(DatasetError, match="got float64"):
        fitted.predict_proba(np.zeros((2, *fitted.spec.shape)))


def test_infinite_readings_are_refused(fitted):
    X = windows_of(fitted).X
    X[0, 0] = np.inf

    with pytest.raises(DatasetError, match="infinite values"):
        fitted.predict_proba(X)


def test_the_history_is_plain_json(fitted):
    text = json.dumps(fitted.history_, allow_nan=False)

    assert json.loads(text)["n_train_windows"] == 60


def test_a_model_of_the_same_seed_is_the_same_to_the_bit(architecture):
    first, second = (fit(architecture, make_windows, seed=3) for _ in range(2))

    assert first.state().booster == second.state().booster
    for name, array in first.state().arrays.items():
        np.testing.assert_array_equal(array, second.state().arrays[name], err_msg=name)


def test_a_restored_model_predicts_the_same_to_the_bit(fitted):
    X = windows_of(fitted).X

    again = registry.create(
        fitted.architecture, fitted.variant, seed=0, config=fitted.settings
    ).restore(fitted.state(), fitted.history_)

    np.testing.assert_array_equal(again.predict_proba(X), fitted.predict_proba(X))


def test_an_unfitted_model_does_not_predict(architecture):
    model = registry.create(architecture, Variant.ORACLE, seed=0)
    X = np.zeros((1, *model.spec.shape), dtype=np.float32)

    for use in (lambda: model.predict(X), lambda: model.logits(X), model.state):
        with pytest.raises(NotFittedError, match="has learnt nothing yet"):
            use()


def test_a_phase_absent_from_train_is_refused(architecture):
    def without_dormant(shape):
        windows = make_windows(shape)
        keep = windows.y != 4
        return ArrayWindows(windows.X[keep], windows.y[keep], windows.groups[keep])

    with pytest.raises(TrainingError, match="no training window of dormant"):
        fit(architecture, without_dormant, val=make_windows)


def test_a_phase_absent_from_val_is_no_fault(architecture):
    def only_clean(shape):
        windows = make_windows(shape)
        keep = windows.y == 0
        return ArrayWindows(windows.X[keep], windows.y[keep], windows.groups[keep])

    assert fit(architecture, make_windows, val=only_clean).is_fitted


def test_a_side_without_windows_is_refused(architecture):
    with pytest.raises(DatasetError, match="val has no windows"):
        fit(architecture, make_windows, val=lambda shape: make_windows(shape, 0))


def test_windows_of_another_shape_are_refused(architecture):
    with pytest.raises(DatasetError, match=r"train windows have shape \(7,\)"):
        fit(architecture, lambda shape: make_windows((7,)))


def test_labels_that_are_no_phase_are_refused(architecture):
    def mislabelled(shape):
        windows = make_windows(shape)
        windows.y[0] = 5
        return windows

    with pytest.raises(DatasetError, match="train labels must be 0 to 4, found 0 to 5"):
        fit(architecture, mislabelled)


@pytest.mark.parametrize(
    ("architecture", "kind", "columns"),
    [("gbt", "summary", 5), ("gbt", "history", 14), ("mlp", "history", 14), ("cnn", "tensor", 1)],
)
def test_channel_dropout_masks_the_columns_of_a_channel_in_all_kinds_of_windows(
    monkeypatch, architecture, kind, columns
):
    asked = set()

    def watched(X, probability, columns_per_channel, rng):
        asked.add((probability, columns_per_channel))
        return drop_channels(X, probability, columns_per_channel, rng)

    for module in ("models.trees.gbt_data", "training.run"):
        monkeypatch.setattr(f"cis490_pipeline.{module}.drop_channels", watched)
    config = quick_config(architecture) | {"channel_dropout": 0.25}
    model = registry.create(architecture, Variant.REALISTIC, kind=kind, seed=0, config=config)

    model.fit(make_windows(model.spec.shape), make_windows(model.spec.shape))

    assert asked == {(0.25, columns)}


def test_progress_hears_of_every_epoch(architecture):
    heard = []

    model = fit(architecture, make_windows, progress=heard.append)

    assert [record.epoch for record in heard] == list(range(1, len(heard) + 1))
    assert len(model.history_["epochs"]) == len(heard)


@pytest.mark.parametrize(
    "architecture",
    [
        pytest.param(one, id=str(one), marks=pytest.mark.long if one in SLOWEST else ())
        for one in Architecture
    ],
)
def test_separable_phases_are_learnt(architecture):
    longer = {"max_rounds": 60} if architecture == "gbt" else {"max_epochs": 12, "batch_size": 16}

    model = fit(
        architecture,
        lambda shape: make_windows(shape, 300, shift=8.0),
        val=lambda shape: make_windows(shape, 50, seed=5, shift=8.0),
        **longer,
    )

    assert model.history_["best_val_macro_f1"] > 0.9
