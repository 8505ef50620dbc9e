import dataclasses

import numpy as np
import pytest

from cis490_pipeline.checkpoints.checkpoint import Golden
from cis490_pipeline.checkpoints.loading import load_checkpoint
from cis490_pipeline.checkpoints.onnx.session import OnnxClassifier
from cis490_pipeline.checkpoints.saving import save_checkpoint
from cis490_pipeline.checkpoints.versions import library_versions
from cis490_pipeline.domain import Variant
from cis490_pipeline.errors import CheckpointError, ConfigError
from cis490_pipeline.features.schema import feature_schema
from cis490_pipeline.models import registry
from cis490_pipeline.models.nets.packing import pack
from cis490_pipeline_tests.checkpoints.made_up import make_calibrator
from cis490_pipeline_tests.models.conftest import fitted_model
from cis490_pipeline_tests.models.made_up import make_windows


def packed(model, **changes):
    kind, variant = model.input_kind, model.variant
    parts = {
        "schema": feature_schema(kind, variant),
        "calibrator": make_calibrator(kind, variant),
        "golden_windows": make_windows(model.spec.shape, 4).X,
        "data_digest": "d" * 64,
        "split_digest": "5" * 64,
        "metrics": {"macro_f1": 0.5},
        "commit": None,
        "with_onnx": False,
    }
    return pack(model, **(parts | changes))


def test_a_model_comes_back_from_its_folder_equal_to_the_bit(fitted, tmp_path):
    X = make_windows(fitted.spec.shape, 20, seed=9).X
    checkpoint = packed(fitted, with_onnx=True)

    save_checkpoint(tmp_path / "model", checkpoint)
    loaded = load_checkpoint(tmp_path / "model", feature_schema(fitted.input_kind, fitted.variant))
    model = registry.restore(loaded)

    np.testing.assert_array_equal(model.predict_proba(X), fitted.predict_proba(X))
    assert model.history_ == fitted.history_
    assert model.settings == fitted.settings
    assert loaded.digest == checkpoint.digest
    np.testing.assert_allclose(
        OnnxClassifier(loaded.onnx).predict_proba(X), fitted.predict_proba(X), rtol=0, atol=1e-5
    )


def test_training_again_with_the_same_seed_gives_the_same_digest(architecture):
    first = fitted_model(architecture, Variant.REALISTIC)
    again = fitted_model.__wrapped__(architecture, Variant.REALISTIC)
    other = fitted_model(architecture, Variant.REALISTIC, seed=1)

    assert packed(first).digest == packed(again).digest
    assert packed(first).digest != packed(other).digest


def test_changed_predictions_are_refused_by_the_golden_windows(architecture):
    checkpoint = packed(fitted_model(architecture, Variant.REALISTIC))
    golden = Golden(checkpoint.golden.inputs, checkpoint.golden.probabilities[:, ::-1].copy())

    with pytest.raises(CheckpointError, match="its golden windows differ by"):
        registry.restore(dataclasses.replace(checkpoint, golden=golden))


def test_a_checkpoint_without_golden_windows_is_refused():
    checkpoint = packed(fitted_model("mlp", Variant.REALISTIC))
    golden = Golden(checkpoint.golden.inputs[:0], checkpoint.golden.probabilities[:0])

    with pytest.raises(CheckpointError, match="has no golden windows"):
        registry.restore(dataclasses.replace(checkpoint, golden=golden))


def test_another_version_of_the_architecture_is_refused():
    checkpoint = packed(fitted_model("mlp", Variant.REALISTIC), commit="abcdef0123")

    with pytest.raises(CheckpointError, match=r"by version 99 of mlp.*check out commit abcdef0"):
        registry.restore(dataclasses.replace(checkpoint, architecture_version=99))


def test_a_setting_this_code_does_not_know_is_refused():
    checkpoint = packed(fitted_model("mlp", Variant.REALISTIC))
    config = {**checkpoint.config, "mixup": 0.2}

    with pytest.raises(CheckpointError, match="mlp_realistic: MlpConfig: unknown setting 'mixup'"):
        registry.restore(dataclasses.replace(checkpoint, config=config))


@pytest.mark.parametrize("what", ["schema", "calibrator"])
def test_parts_of_another_input_are_not_packed(what):
    make = {"schema": feature_schema, "calibrator": make_calibrator}[what]

    with pytest.raises(
        CheckpointError, match=r"takes summary realistic windows, the .* tensor oracle"
    ):
        packed(fitted_model("mlp", Variant.REALISTIC), **{what: make("tensor", Variant.ORACLE)})


def test_versions_name_python_and_the_libraries():
    assert {"python", "numpy", "torch", "safetensors"} <= library_versions().keys()


@pytest.mark.parametrize(
    ("architecture", "variant", "problem"),
    [
        ("svm", "oracle", "unknown architecture 'svm'; known are gbt, mlp, cnn"),
        ("cnn", "lab", "unknown variant 'lab'; known are realistic, oracle"),
    ],
)
def test_unknown_names_are_refused_with_the_known_ones(architecture, variant, problem):
    with pytest.raises(ConfigError, match=problem):
        registry.create(architecture, variant, seed=0)
