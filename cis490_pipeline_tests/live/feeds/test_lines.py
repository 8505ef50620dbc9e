import json
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cis490_pipeline.domain import Source
from cis490_pipeline.live.feeds.lines import LineAssembler
from cis490_pipeline.live.feeds.rows import LiveRow, read_line
from cis490_pipeline.store.rows.read import read_rows
from cis490_pipeline.store.rows.row import RowFault
from cis490_pipeline_tests.live.made_up import as_line, device_rows


def assembled(pieces):
    lines = LineAssembler()
    got = [line for piece in pieces for line in lines.feed(piece)]
    return [*got, *lines.finish()]


@given(text=st.binary(max_size=200), cuts=st.lists(st.integers(0, 200), max_size=8))
def test_lines_do_not_depend_on_where_the_pieces_are_cut(text, cuts):
    edges = sorted({0, len(text), *(cut for cut in cuts if cut < len(text))})
    pieces = [text[a:b] for a, b in pairwise(edges)]

    assert assembled(pieces) == assembled([text])


@given(lines=st.lists(st.binary(max_size=20).filter(lambda line: b"\n" not in line)))
def test_lines_come_whole_and_numbered(lines):
    text = b"".join(line + b"\n" for line in lines)

    assert assembled([text]) == list(enumerate(lines, 1))


def test_an_endless_line_holds_no_more_than_its_limit_and_is_told_of_once():
    lines = LineAssembler()

    for _ in range(64):
        assert list(lines.feed(b"x" * (1 << 16))) == []
        assert lines.pending <= 1 << 20
    assert list(lines.feed(b"y\n{}\n")) == [(1, None), (2, b"{}")]


@pytest.mark.parametrize("source", list(Source))
def test_a_live_row_is_the_row_that_a_file_gives(source):
    row = next(row for row in device_rows(2) if row.source is source)
    columns = read_rows(source, as_line(row)).columns

    read = read_line(as_line(row).rstrip(), place="stdin", number=1)

    assert isinstance(read, LiveRow)
    assert (read.source, read.t_wall_ns) == (source, row.t_wall_ns)
    values = [float(columns.values[name][0]) for name in list(columns.values)[1:]]
    assert [float(value) for value in read.values] == values


def test_an_alias_is_read_as_its_channel_and_the_channels_own_name_comes_first():
    head = {"t_wall_ns": 1, "source": "host_proc"}

    alias = read_line(json.dumps(head | {"utime_ticks": 7}).encode(), place="x", number=1)
    both = read_line(
        json.dumps(head | {"utime_ticks": 7, "cpu_user_jiffies": 5}).encode(), place="x", number=1
    )

    assert (alias.values[0], both.values[0]) == (7, 5)


@pytest.mark.parametrize(
    ("line", "told"),
    [
        (b"{", "stdin line 3: not a JSON object"),
        (b"[]", "is a JSON list, not an object"),
        (b'{"t_wall_ns": 1}', "source: must be one of host_proc, .* got None"),
        (b'{"t_wall_ns": 1, "source": ["guest_agent"]}', "source: must be one of"),
        (b'{"source": "guest_agent"}', "stdin line 3: t_wall_ns: is missing"),
        (b'{"t_wall_ns": 1.5, "source": "guest_agent"}', "t_wall_ns: must be an integer"),
        (b'{"t_wall_ns": 1, "source": "guest_agent", "ctxt": "5"}', "ctxt: must be an integer"),
        (b'{"t_wall_ns": 1, "t_wall_ns": 2, "source": "guest_agent"}', "t_wall_ns: is given twice"),
        (b'{"t_wall_ns": 1, "source": "guest_agent", "load_1m": NaN}', "NaN is not a JSON number"),
        (b"\xff", "not a JSON object"),
    ],
)
def test_a_line_that_is_no_row_is_named_with_place_line_and_field(line, told):
    read = read_line(line, place="stdin", number=3)

    assert isinstance(read, RowFault)
    with pytest.raises(ValueError, match=told):
        raise ValueError(str(read))
