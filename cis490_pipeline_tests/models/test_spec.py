import pytest

from cis490_pipeline.domain import Variant
from cis490_pipeline.features.channels import channel_names
from cis490_pipeline.features.summary import summary_names
from cis490_pipeline.models.spec import input_spec


@pytest.mark.parametrize(
    ("kind", "variant", "shape"),
    [
        ("summary", Variant.REALISTIC, (145,)),
        ("summary", Variant.ORACLE, (230,)),
        ("tensor", Variant.REALISTIC, (29, 100)),
        ("tensor", Variant.ORACLE, (46, 100)),
    ],
)
def test_inputs_have_the_shapes_of_the_format(kind, variant, shape):
    assert input_spec(kind, variant).shape == shape


@pytest.mark.parametrize("kind", ["summary", "tensor"])
@pytest.mark.parametrize("variant", list(Variant))
def test_each_source_has_the_columns_of_its_channels(kind, variant):
    spec = input_spec(kind, variant)
    names = [name for name in channel_names(variant) for _ in range(spec.columns_per_channel)]

    for (source, _, _), columns in zip(spec.sources, spec.source_columns, strict=True):
        assert {name.split(".")[0] for name in names[columns]} == {source}
    assert sum(c.stop - c.start for c in spec.source_columns) == spec.n_columns


def test_a_channels_mean_and_95th_percentile_move_together_and_nothing_else_does():
    names = summary_names(Variant.REALISTIC)
    offsets = input_spec("summary", Variant.REALISTIC).offset_of_column

    moved = {name: int(offset) for name, offset in zip(names, offsets, strict=True) if offset >= 0}

    assert {name.rsplit(":", 1)[1] for name in moved} == {"mean", "p95"}
    for i, channel in enumerate(channel_names(Variant.REALISTIC)):
        assert moved[f"{channel}:mean"] == moved[f"{channel}:p95"] == i


def test_every_channel_of_a_tensor_moves_by_itself():
    assert input_spec("tensor", Variant.ORACLE).offset_of_column is None
