from cis490_pipeline.domain import Architecture, Source, Variant
from cis490_pipeline.domain.catalogue import (
    ARCHITECTURE_VERSIONS,
    INPUT_KINDS,
    MODELS,
    ON_REQUEST,
    VARIANT_SOURCES,
    input_kind,
)
from cis490_pipeline.models.registry import model_class


def test_the_catalogue_and_the_registry_know_every_architecture():
    assert {a: model_class(a).architecture for a in Architecture} == {a: a for a in Architecture}
    assert {*ARCHITECTURE_VERSIONS} == {*INPUT_KINDS} == {*Architecture}


def test_the_setting_chooses_what_trees_and_the_perceptron_take():
    assert {a for a in Architecture if input_kind(a, "history") == "history"} == {
        Architecture.GBT,
        Architecture.MLP,
    }
    assert all(input_kind(a) == INPUT_KINDS[a][0] for a in Architecture)


def test_a_run_makes_twelve_models_and_the_network_ones_are_made_on_request():
    assert len(MODELS) == 12
    assert {variant for _, variant in MODELS} == {Variant.REALISTIC, Variant.ORACLE}
    assert tuple((architecture, Variant.NETWORK) for architecture in Architecture) == ON_REQUEST


def test_a_realistic_model_sees_exactly_what_a_device_has():
    assert set(VARIANT_SOURCES[Variant.REALISTIC]) == {s for s in Source if s.deployable}
    assert set(VARIANT_SOURCES) == set(Variant)
