import pytest

from cis490_pipeline.domain import Variant
from cis490_pipeline.features.channels import channel_names
from cis490_pipeline.models.spec import input_spec


@pytest.mark.parametrize(
    ("kind", "variant", "shape"),
    [
        ("summary", Variant.REALISTIC, (145,)),
        ("summary", Variant.ORACLE, (230,)),
        ("tensor", Variant.REALISTIC, (29, 100)),
        ("tensor", Variant.ORACLE, (46, 100)),
        ("summary", Variant.NETWORK, (50,)),
        ("history", Variant.REALISTIC, (406,)),
        ("history", Variant.ORACLE, (644,)),
        ("history", Variant.NETWORK, (140,)),
        ("tensor", Variant.NETWORK, (10, 100)),
    ],
)
def test_inputs_have_the_shapes_of_the_format(kind, variant, shape):
    assert input_spec(kind, variant).shape == shape


@pytest.mark.parametrize("kind", ["summary", "history", "tensor"])
@pytest.mark.parametrize("variant", list(Variant))
def test_each_source_has_the_columns_of_its_channels(kind, variant):
    spec = input_spec(kind, variant)
    names = [name for name in channel_names(variant) for _ in range(spec.columns_per_channel)]

    for (source, _, _), columns in zip(spec.sources, spec.source_columns, strict=True):
        assert {name.split(".")[0] for name in names[columns]} == {source}
    assert sum(c.stop - c.start for c in spec.source_columns) == spec.n_columns
