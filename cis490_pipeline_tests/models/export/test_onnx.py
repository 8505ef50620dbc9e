import numpy as np
import pytest

from cis490_pipeline.checkpoints.onnx.session import OnnxClassifier
from cis490_pipeline.domain import Variant
from cis490_pipeline.errors import CheckpointError, NotFittedError
from cis490_pipeline.models import registry
from cis490_pipeline.models.export.onnx import export_onnx, require_parity
from cis490_pipeline_tests.models.conftest import fitted_model
from cis490_pipeline_tests.models.made_up import make_windows


def test_an_export_says_what_its_model_says(fitted):
    X = make_windows(fitted.spec.shape, 40, seed=11).X

    exported = OnnxClassifier(export_onnx(fitted))

    np.testing.assert_allclose(
        exported.predict_proba(X), fitted.predict_proba(X), rtol=0, atol=1e-5
    )
    np.testing.assert_allclose(
        exported.predict_proba(X[:1]), fitted.predict_proba(X[:1]), rtol=0, atol=1e-5
    )


@pytest.mark.parametrize("architecture", ["gbt", "mlp"])
@pytest.mark.parametrize("variant", list(Variant))
def test_an_export_of_a_model_of_history_says_what_its_model_says(architecture, variant):
    model = fitted_model(architecture, variant, kind="history")
    X = make_windows(model.spec.shape, 40, seed=11).X

    exported = OnnxClassifier(export_onnx(model))

    assert exported.shape == model.spec.shape
    np.testing.assert_allclose(exported.predict_proba(X), model.predict_proba(X), rtol=0, atol=1e-5)


def test_an_export_prints_nothing(architecture, capfd):
    export_onnx(fitted_model(architecture, Variant.ORACLE))

    assert capfd.readouterr() == ("", "")


def test_the_same_model_exports_the_same_bytes(architecture):
    model = fitted_model(architecture, Variant.REALISTIC)

    assert export_onnx(model) == export_onnx(model)


def test_an_export_of_another_model_is_refused(architecture):
    model = fitted_model(architecture, Variant.REALISTIC)
    other = fitted_model(architecture, Variant.REALISTIC, seed=1)

    with pytest.raises(
        CheckpointError, match=f"export of {architecture} .* differs from the model"
    ):
        require_parity(model, export_onnx(other))


def test_an_unfitted_model_is_not_exported(architecture):
    with pytest.raises(NotFittedError, match="has learnt nothing yet"):
        export_onnx(registry.create(architecture, "realistic", seed=0))
