import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cis490_pipeline.domain import CHANNELS, Source
from cis490_pipeline.store.archive.unpack import read_members
from cis490_pipeline.store.rows import read as rows_module
from cis490_pipeline.store.rows.read import read_rows
from cis490_pipeline_tests.store.episodes import jsonl, make_rows

SAMPLE = Path(__file__).parents[3] / "data" / "sample"

good = b'{"t_wall_ns": 1, "pkts_out": 2}\n'


def read_with_care(source: Source, content: bytes) -> rows_module.SourceRows:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rows_module, "_read_at_once", lambda *_: None)
        return read_rows(source, content)


@pytest.mark.parametrize(
    ("line", "field", "problem"),
    [
        (b"garbage", None, "not a JSON object"),
        (b"", None, "not a JSON object"),
        (b"[1]", None, "is a JSON list, not an object"),
        (b"3", None, "is a JSON int"),
        (b'{"t_wall_ns": 1} {"t_wall_ns": 2}', None, "not a JSON object"),
        (b'{"t_wall_ns": 1', None, "not a JSON object"),
        (b'{"t_wall_ns": 01}', None, "not a JSON object"),
        (b'{"t_wall_ns": 1, "pkts_out": NaN}', None, "NaN is not a JSON number"),
        (b'{"t_wall_ns": 1, "note": "\xff"}', None, "not a JSON object"),
        (b'{"t_wall_ns": 1, "x": ' + b"[" * 5000 + b"}", None, "not a JSON object"),
        (b'{"pkts_out": 2}', "t_wall_ns", "is missing"),
        (b'{"t_wall_ns": null}', "t_wall_ns", "is null"),
        (b'{"t_wall_ns": 1.0}', "t_wall_ns", "must be an integer, got 1.0"),
        (b'{"t_wall_ns": true}', "t_wall_ns", "must be an integer, got True"),
        (b'{"t_wall_ns": 9223372036854775808}', "t_wall_ns", "must fit 64 bits"),
        (b'{"t_wall_ns": 1, "pkts_out": 5.0}', "pkts_out", "must be an integer, got 5.0"),
        (b'{"t_wall_ns": 1, "pkts_out": 1e3}', "pkts_out", "must be an integer"),
        (b'{"t_wall_ns": 1, "pkts_out": "5"}', "pkts_out", "must be an integer, got '5'"),
        (b'{"t_wall_ns": 1, "pkts_out": -9223372036854775809}', "pkts_out", "must fit 64 bits"),
        (b'{"t_wall_ns": 1, "pkts_out": 1, "pkts_out": 1}', "pkts_out", "is given twice"),
        (b'{"t_wall_ns": 1, "x": {"a": 1, "a": 2}}', "a", "is given twice"),
        (b'{"t_wall_ns": 1, "t_mono_ns": 0.5}', "t_mono_ns", "must be an integer"),
        (b'{"t_wall_ns": 1, "source": "host_qmp"}', "source", "must be 'bridge_pcap'"),
        (b'{"t_wall_ns": 1, "source": ["x"]}', "source", "must be 'bridge_pcap'"),
        (b'{"t_wall_ns": 1, "available_in_deployment": 1}', "available_in_deployment", "true or"),
    ],
)
def test_a_faulty_line_is_named_and_left_out(line: bytes, field: str, problem: str) -> None:
    read = read_rows(Source.NETFLOW, good + line + b"\n" + good)

    assert [(fault.line, fault.field) for fault in read.faults] == [(2, field)]
    assert problem in read.faults[0].problem
    assert read.frame["pkts_out"].to_list() == [2, 2]
    assert read.n_lines == 3


@pytest.mark.parametrize("value", [b"1e999", b"-1e999", b"true", b'"1"', b"1" + b"0" * 400])
def test_a_decimal_channel_takes_finite_numbers_only(value: bytes) -> None:
    read = read_rows(Source.GUEST, b'{"t_wall_ns": 1, "load_1m": ' + value + b"}\n")

    assert [fault.field for fault in read.faults] == ["load_1m"]


def test_a_decimal_channel_takes_whole_numbers_too() -> None:
    lines = b'{"t_wall_ns": 1, "load_1m": 2}\n{"t_wall_ns": 2, "load_1m": 0.5}\n'

    read = read_rows(Source.GUEST, lines)

    assert read.frame["load_1m"].to_list() == [2.0, 0.5]
    assert read.frame["load_1m"].dtype == pl.Float64


def test_a_key_twice_is_found_when_another_row_lacks_it() -> None:
    lines = b'{"t_wall_ns": 1, "pkts_in": 1, "pkts_in": 1}\n{"t_wall_ns": 2}\n'

    assert [fault.line for fault in read_rows(Source.NETFLOW, lines).faults] == [1]


def test_a_row_over_two_lines_is_found_when_two_share_another() -> None:
    lines = b'{"t_wall_ns":\n1}\n{"t_wall_ns": 2}{"t_wall_ns": 3}\n'

    assert [fault.line for fault in read_rows(Source.NETFLOW, lines).faults] == [1, 2, 3]


def test_whole_numbers_above_2_to_the_53_are_exact() -> None:
    value = 2**63 - 1

    read = read_rows(Source.QMP, jsonl([{"t_wall_ns": value, "blk_rd_bytes": value}]))

    assert read.frame.rows() == [(value, value)]


def test_an_absent_field_is_null_and_a_field_never_seen_no_column() -> None:
    read = read_rows(Source.QMP, jsonl([{"t_wall_ns": 1}, {"t_wall_ns": 2, "blk_rd_ops": 7}]))

    assert read.frame.columns == ["t_wall_ns", "blk_rd_ops"]
    assert read.frame["blk_rd_ops"].to_list() == [None, 7]


@pytest.mark.parametrize("channel", [c for c in CHANNELS if c.aliases], ids=lambda c: c.name)
def test_every_alias_becomes_its_channel(channel: Any) -> None:
    for alias in channel.aliases:
        read = read_rows(channel.source, jsonl([{"t_wall_ns": 1, alias: 3}]))

        assert read.frame.columns == ["t_wall_ns", channel.field]
        assert not read.unknown


def test_unknown_fields_are_counted_and_envelope_fields_are_not() -> None:
    row = {"t_wall_ns": 1, "t_mono_ns": 1, "source": "bridge_pcap", "mood": {"now": "good"}}

    assert read_rows(Source.NETFLOW, jsonl([row, row])).unknown == {"mood": 2}


def test_no_lines_make_no_rows() -> None:
    read = read_rows(Source.PROC, b"")

    assert (read.n_lines, read.frame.height, read.faults) == (0, 0, [])


@pytest.mark.parametrize("source", list(Source))
def test_reading_at_once_equals_reading_with_care_on_recorded_rows(
    source: Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive = min(SAMPLE.glob("episodes/k-gamingcom/*.tar.zst"))
    content = read_members(archive)[source.member]
    careful = read_with_care(source, content)
    monkeypatch.setattr(rows_module, "_read_line_by_line", None)

    read = read_rows(source, content)

    assert read.frame.equals(careful.frame)
    assert read.unknown == careful.unknown


values = st.one_of(
    st.none(),
    st.integers(-(2**70), 2**70),
    st.integers(0, 5),
    st.floats(),
    st.booleans(),
    st.sampled_from(["bridge_pcap", "\\", '"', "}\n{", "1"]),
    st.lists(st.integers(), max_size=2),
    st.dictionaries(st.sampled_from(["a", "t_wall_ns"]), st.integers(), max_size=2),
)
keys = st.sampled_from(["t_wall_ns", "pkts_out", "source", "t_mono_ns", "mood", "dst_ips"])


@given(
    rows=st.lists(st.lists(st.tuples(keys, values), max_size=4), max_size=4),
    joint=st.sampled_from(["\n", "\r\n", "", "\n\n"]),
)
def test_reading_at_once_never_differs_from_reading_with_care(
    rows: list[list[tuple[str, object]]], joint: str
) -> None:
    lines = [
        "{"
        + ",".join(f"{json.dumps(k)}: {json.dumps(v)}" for k, v in [("t_wall_ns", 1), *row])
        + "}"
        for row in rows
    ]
    content = joint.join(lines).encode()

    read, careful = read_rows(Source.NETFLOW, content), read_with_care(Source.NETFLOW, content)

    assert read.frame.sort("t_wall_ns").equals(careful.frame.sort("t_wall_ns"))
    assert [str(fault) for fault in read.faults] == [str(fault) for fault in careful.faults]
    assert read.unknown == careful.unknown


def test_faults_told_are_bounded() -> None:
    read = read_rows(Source.NETFLOW, b"x\n" * 1000)

    assert (len(read.faults), read.n_lines) == (20, 1000)


@pytest.mark.parametrize(
    "line", [b'{"\x95": 1}\n', b'{"t_wall_ns": 1, "a\xff": 2}\n', b'{"a": "\xc3("}\n']
)
def test_bytes_that_are_no_text_are_a_fault_of_their_line(line):
    rows = read_rows(Source.NETFLOW, line)

    assert [(fault.line, fault.field) for fault in rows.faults] == [(1, None)]
    assert "not a JSON object" in rows.faults[0].problem
    assert rows.frame.height == 0


@pytest.mark.parametrize("slower", ["_read_line_by_line", "_read_shapes"])
def test_made_up_rows_are_read_the_fastest_way(
    slower: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rows_module, slower, None)

    assert read_rows(Source.PROC, jsonl(make_rows(Source.PROC))).frame.shape == (200, 13)


one_shape = st.fixed_dictionaries(
    {
        "t_wall_ns": st.integers(0, 9),
        "cpu_user": st.one_of(st.none(), st.sampled_from([1, 2**63 - 1, 2**63, -(2**63) - 1, 1.0])),
        "t_mono_ns": st.sampled_from([1, 1, 2**63]),
        "source": st.sampled_from(["guest_agent", "guest_agent", "host_qmp", None]),
        "loadavg_1m": st.sampled_from([1, 0.5, 12.25, None, 2**63, 2**63 - 1, 1e300, -3]),
    }
)
spoilt = st.sampled_from(["", "", "", ', "cpu_user": 1', ', "mood": 1', "}\n{", " ", "\n"])


@given(rows=st.lists(st.tuples(one_shape, spoilt), min_size=1, max_size=4), ends=st.booleans())
def test_reading_even_rows_never_differs_from_reading_with_care(
    rows: list[tuple[dict[str, object], str]], ends: bool
) -> None:
    lines = [json.dumps(row)[:-1] + spoiling + "}" for row, spoiling in rows]
    content = ("\n".join(lines) + "\n" * ends).encode()

    read, careful = read_rows(Source.GUEST, content), read_with_care(Source.GUEST, content)

    assert read.frame.equals(careful.frame)
    assert [str(fault) for fault in read.faults] == [str(fault) for fault in careful.faults]
    assert (read.unknown, read.n_lines) == (careful.unknown, careful.n_lines)


digits = st.sampled_from(["0", "5", "00", "05", "10", "123456789", str(2**63 - 1), str(2**63), ""])


@given(
    rows=st.lists(
        st.tuples(digits, digits, digits, digits, st.sampled_from(["1", "1", "1", "", "2"])),
        min_size=1,
        max_size=5,
    ),
    spoilt=st.sampled_from([("", ""), ("", ""), ('"cpu_user":', '"cpu_us5er":'), (":", ": ")]),
)
def test_no_digits_are_too_odd_for_reading_even_rows(
    rows: list[tuple[str, ...]], spoilt: tuple[str, str]
) -> None:
    line = '{{"t_wall_ns":{0},"source":"guest_agent","cpu_user":{1},"loadavg_{4}m":{2}.{3}}}'
    lines = [line.format(*row) for row in rows]
    content = "\n".join([*lines[:-1], lines[-1].replace(*spoilt), ""]).encode()

    read, careful = read_rows(Source.GUEST, content), read_with_care(Source.GUEST, content)

    assert read.frame.equals(careful.frame)
    assert [str(fault) for fault in read.faults] == [str(fault) for fault in careful.faults]
    assert (read.unknown, read.n_lines) == (careful.unknown, careful.n_lines)


@given(st.lists(st.floats(0, 2**52), min_size=1, max_size=50))
def test_decimals_of_even_rows_are_rounded_as_json_is(values: list[float]) -> None:
    texts = [f"{value:.{2 + i % 4}f}" for i, value in enumerate(values)]
    content = "".join(f'{{"t_wall_ns":1,"load_1m":{text}}}\n' for text in texts).encode()

    read = read_rows(Source.GUEST, content)

    assert read.frame["load_1m"].to_list() == [float(text) for text in texts]


def test_a_channel_under_two_names_is_read_the_canonical_one_first() -> None:
    rows = [
        {"t_wall_ns": 1, "syscr": 5, "io_read_calls": 7},
        {"t_wall_ns": 2, "syscr": 6, "io_read_calls": None},
    ]

    assert read_rows(Source.PROC, jsonl(rows)).frame["io_read_calls"].to_list() == [7, 6]


spaces = st.sampled_from(["", " ", "\t", "\r", "  "])


@given(
    rows=st.lists(
        st.lists(st.tuples(keys, spaces, spaces, st.integers(0, 3)), max_size=4), max_size=4
    )
)
def test_space_before_a_colon_hides_no_key_given_twice(
    rows: list[list[tuple[str, str, str, int]]],
) -> None:
    lines = [
        "{" + ",".join(f'"{key}"{a}:{b}{value}' for key, a, b, value in row) + "}" for row in rows
    ]
    content = "\n".join(lines).encode()

    read, careful = read_rows(Source.NETFLOW, content), read_with_care(Source.NETFLOW, content)

    assert [str(fault) for fault in read.faults] == [str(fault) for fault in careful.faults]


def test_key_twice_with_space_before_one_colon_is_found() -> None:
    line = b'{"t_wall_ns":1,"pkts_out":1,"pkts_out" :2}\n'

    assert [fault.field for fault in read_rows(Source.NETFLOW, line).faults] == ["pkts_out"]


@given(size=st.integers(20, 200))
def test_reading_in_pieces_equals_reading_whole(size: int) -> None:
    rows = make_rows(Source.QMP)
    rows[3]["t_mono_ns"] = "x"
    rows[7] |= {"mood": 1, "rd_bytes": 7}
    content = jsonl(rows)
    whole = read_rows(Source.QMP, content)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rows_module, "_PIECE_BYTES", size)
        pieces = read_rows(Source.QMP, content)

    assert pieces.frame.equals(whole.frame)
    assert (pieces.faults, pieces.unknown, pieces.n_lines) == (
        whole.faults,
        whole.unknown,
        whole.n_lines,
    )
    assert [fault.line for fault in pieces.faults] == [4]


@pytest.mark.parametrize(
    ("before", "after"),
    [
        # The same text without digits, and other names.
        (b'{"t_wall_ns":1,"load_1m":2}\n', b'{"t_wall_ns":1,"load_5m":2}\n'),
        (b'{"t_wall_ns":1,"load_1m":23}\n', b'{"t_wall_ns":1,"load_12m":3}\n'),
        # A string that looks like the end of a key.
        (b'{"t_wall_ns":1,":1":2}\n', b'{"t_wall_ns":1,":3":2}\n'),
        (b'{"t_wall_ns":1,"x":":1"}\n', b'{"t_wall_ns":1,"x":":3"}\n'),
        (b'{"t_wall_ns":1,"load_1m":0.5}\n', b'{"t_wall_ns":1,"load_1m":5}\n'),
        (b'{"t_wall_ns":1,"load_1m":1.5}\n', b'{"t_wall_ns":1,"load_1m":01.5}\n'),
        (b'{"t_wall_ns":1,"ctxt":7}\n', b'{"t_wall_ns":1,"ctxt":7.5}\n'),
        (b'{"t_wall_ns":1,"ctxt":7}\n', b'{"t_wall_ns":1,"ctxt":07}\n'),
        (b'{"t_wall_ns":1,"ctxt":7}\n', b'{"t_wall_ns":1,"ctxt":9223372036854775808}\n'),
        (b'{"t_wall_ns":1,"ctxt":7}\n', b'{"t_wall_ns":1,"ctxt":7,"ctxt":8}\n'),
    ],
)
def test_what_was_read_before_tells_nothing_of_other_rows(before: bytes, after: bytes) -> None:
    read_rows(Source.GUEST, before * 9)

    read, careful = read_rows(Source.GUEST, after * 9), read_with_care(Source.GUEST, after * 9)

    assert read.frame.equals(careful.frame)
    assert (read.faults, read.unknown) == (careful.faults, careful.unknown)


def test_even_rows_too_long_to_remember_are_read_too() -> None:
    line = b'{"t_wall_ns": 1, "note": "' + b"x" * 20_000 + b'", "pkts_out": 2}\n'

    assert read_rows(Source.NETFLOW, line * 3).frame.rows() == [(1, 2)] * 3


@pytest.mark.parametrize("value", [2**53 + 1, 2**62, 2**63 - 1])
def test_amount_that_no_network_carries_is_a_fault_of_its_line(value: int) -> None:
    lines = [b'{"t_wall_ns":%d,"bytes_out":%d}\n' % (t, 7) for t in range(1, 9)]
    lines[3] = b'{"t_wall_ns":4,"bytes_out":%d}\n' % value

    faults = read_rows(Source.NETFLOW, b"".join(lines)).faults

    told = f"bytes_out: must be at most 2^53 in one interval, got {value}"
    assert [str(fault) for fault in faults] == [f"netflow.jsonl line 4: {told}"]


def test_counters_may_be_as_large_as_64_bits_allow() -> None:
    line = b'{"t_wall_ns":1,"ctxt":9223372036854775807}\n'

    assert read_rows(Source.GUEST, line).faults == []
