from cis490_pipeline.domain import Architecture
from cis490_pipeline.domain.catalogue import ARCHITECTURE_VERSIONS, INPUT_KINDS
from cis490_pipeline.models.registry import model_class


def test_the_catalogue_and_the_registry_know_every_architecture():
    assert {a: model_class(a).architecture for a in Architecture} == {a: a for a in Architecture}
    assert {*ARCHITECTURE_VERSIONS} == {*INPUT_KINDS} == {*Architecture}
