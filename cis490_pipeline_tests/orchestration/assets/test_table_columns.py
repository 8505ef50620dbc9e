"""Meanings of columns, as the catalog shows them."""

import pytest

from cis490_pipeline.orchestration.assets.table_columns import described


@pytest.mark.parametrize(
    ("column", "meaning"),
    [
        ("side", "Side of the split: train, val, test or excluded."),
        ("guest.load_1m:mean", "Mean of log1p guest.load_1m (processes)."),
        (
            "netflow.dst_ports:bin_2",
            "Linear mean over fifth 2 of the window: netflow.dst_ports (ports per second).",
        ),
        ("no.such_channel:mean", None),
        ("guest.load_1m:no_such_statistic", None),
        ("no_such_column", None),
    ],
)
def test_a_column_is_described_with_its_unit_or_not_at_all(column, meaning):
    assert described(column) == meaning
