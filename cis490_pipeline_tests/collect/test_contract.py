"""The names that a device uses are those of the registry."""

import json

from cis490_pipeline.collect import contract
from cis490_pipeline.domain import CHANNELS, NS_PER_S, Kind, Source


def fields_of(source: Source, kind: Kind) -> tuple[str, ...]:
    return tuple(c.field for c in CHANNELS if c.source is source and c.kind is kind)


def test_fields_are_the_registrys_in_its_order() -> None:
    assert fields_of(Source.GUEST, Kind.COUNTER) == contract.GUEST_COUNTERS
    assert fields_of(Source.GUEST, Kind.GAUGE) == contract.GUEST_GAUGES
    assert fields_of(Source.NETFLOW, Kind.AMOUNT) == contract.NETFLOW_FIELDS
    assert tuple(c.field for c in CHANNELS if c.is_float) == contract.FRACTIONAL_FIELDS


def test_both_deployable_sources_are_wholly_named() -> None:
    deployable = [channel.field for channel in CHANNELS if channel.deployable]

    assert [*contract.GUEST_FIELDS, *contract.NETFLOW_FIELDS] == deployable


def test_source_tags_and_rates_are_the_registrys() -> None:
    assert Source.GUEST.row_tag == contract.GUEST_SOURCE
    assert Source.NETFLOW.row_tag == contract.NETFLOW_SOURCE
    assert Source.GUEST.rate_hz == contract.GUEST_RATE_HZ
    assert Source.NETFLOW.rate_hz == contract.NETFLOW_RATE_HZ
    assert contract.BUCKET_NS * Source.NETFLOW.rate_hz == contract.NS_PER_S == NS_PER_S


def test_a_row_without_amounts_is_strict_json_with_nulls() -> None:
    row = json.loads(json.dumps(contract.netflow_row(contract.NO_AMOUNTS, 7, 3)))

    assert row == {
        "source": "bridge_pcap",
        "t_wall_ns": 7,
        "t_mono_ns": 3,
        "available_in_deployment": True,
        **dict.fromkeys(contract.NETFLOW_FIELDS),
    }
