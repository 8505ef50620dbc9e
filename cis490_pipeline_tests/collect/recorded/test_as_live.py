"""The rows of a capture file are those of live capture."""

import pytest

from cis490_pipeline_tests.collect.namespaces import in_namespace
from cis490_pipeline_tests.collect.recorded import as_live


@pytest.mark.parametrize("reader", ["sockets", "ring"])
def test_a_capture_file_gives_the_rows_of_live_capture(reader):
    rows = in_namespace(as_live.both, reader)

    assert rows["packets"] == as_live.N_PACKETS
    assert rows["missing"] == []
    assert len(rows["live"]) >= 15
    assert rows["recorded"] == rows["live"]
