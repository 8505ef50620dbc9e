from cis490_pipeline.domain import Architecture
from cis490_pipeline.domain.catalogue import ARCHITECTURE_VERSIONS, INPUT_KINDS
from cis490_pipeline.models.registry import architecture_version, model_class


def test_the_catalogue_says_what_the_classes_say():
    assert {a: architecture_version(a) for a in Architecture} == ARCHITECTURE_VERSIONS
    assert {a: model_class(a).input_kind for a in Architecture} == INPUT_KINDS
