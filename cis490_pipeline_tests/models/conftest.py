from functools import cache

import pytest

from cis490_pipeline.domain import Architecture, Variant
from cis490_pipeline.domain.catalogue import RUN_VARIANTS
from cis490_pipeline.models import registry
from cis490_pipeline_tests.models.made_up import make_windows, quick_config

ALL_TWELVE = [(a, v) for a in Architecture for v in RUN_VARIANTS]


STRIDED = {Architecture.CNN: {"stem_stride": 4}, Architecture.GRU: {"stem_stride": 5}}
"""Settings that shorten a window before the costly layers."""


@cache
def fitted_model(architecture, variant, seed=0, kind=None, strided=False):
    config = quick_config(architecture) | (STRIDED[architecture] if strided else {})
    model = registry.create(architecture, variant, kind=kind, seed=seed, config=config)
    return model.fit(
        make_windows(model.spec.shape, seed=1), make_windows(model.spec.shape, 30, seed=2)
    )


@pytest.fixture(
    params=[
        *(pytest.param((a, v, False), id=f"{a}-{v}") for a, v in ALL_TWELVE),
        *(
            pytest.param((a, Variant.REALISTIC, True), id=f"{a}-strided", marks=pytest.mark.long)
            for a in STRIDED
        ),
    ]
)
def fitted(request):
    """Each of the twelve models and two with other stems, fitted once per run of the tests."""
    architecture, variant, strided = request.param
    return fitted_model(architecture, variant, strided=strided)


@pytest.fixture(params=list(Architecture), ids=str)
def architecture(request):
    return request.param
