from cis490_pipeline.domain import CHANNELS, Source, Variant
from cis490_pipeline.features.channels import (
    channel_indices,
    channel_names,
    source_channels,
    source_slices,
)


def test_realistic_sees_only_what_a_deployed_device_has():
    assert {CHANNELS[i].source for i in channel_indices(Variant.REALISTIC)} == {
        Source.GUEST,
        Source.NETFLOW,
    }
    assert len(channel_names(Variant.REALISTIC)) == 29


def test_a_network_model_sees_traffic_alone():
    assert {CHANNELS[i].source for i in channel_indices(Variant.NETWORK)} == {Source.NETFLOW}
    assert len(channel_names(Variant.NETWORK)) == 10


def test_oracle_sees_every_channel_in_the_order_of_the_registry():
    assert channel_names(Variant.ORACLE) == tuple(channel.name for channel in CHANNELS)


def test_source_slices_cover_each_variants_axis_once():
    for variant in Variant:
        names = channel_names(variant)
        covered = []
        for source, where in source_slices(variant).items():
            assert all(name.startswith(f"{source}.") for name in names[where])
            covered += names[where]
        assert tuple(covered) == names


def test_every_channel_belongs_to_its_source_at_its_position():
    places = [place for source in Source for place, _ in source_channels(source)]

    assert places == list(range(len(CHANNELS)))
