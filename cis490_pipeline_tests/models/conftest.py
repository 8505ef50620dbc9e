from functools import cache

import pytest

from cis490_pipeline.domain import Architecture
from cis490_pipeline.domain.catalogue import RUN_VARIANTS
from cis490_pipeline.models import registry
from cis490_pipeline_tests.models.made_up import make_windows, quick_config

ALL_TWELVE = [(a, v) for a in Architecture for v in RUN_VARIANTS]


@cache
def fitted_model(architecture, variant, seed=0, kind=None):
    config = quick_config(architecture)
    model = registry.create(architecture, variant, kind=kind, seed=seed, config=config)
    return model.fit(
        make_windows(model.spec.shape, seed=1), make_windows(model.spec.shape, 30, seed=2)
    )


@pytest.fixture(params=ALL_TWELVE, ids=lambda pair: f"{pair[0]}-{pair[1]}")
def fitted(request):
    """Each of the twelve models, fitted once per run of the tests."""
    return fitted_model(*request.param)


@pytest.fixture(params=list(Architecture), ids=str)
def architecture(request):
    return request.param
