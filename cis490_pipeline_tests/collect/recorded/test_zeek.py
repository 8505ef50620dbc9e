import io

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cis490_pipeline.collect.contract import NETFLOW_FIELDS
from cis490_pipeline.collect.recorded.connection_rows import ConnectionRows
from cis490_pipeline.collect.recorded.device import Device
from cis490_pipeline.collect.recorded.timeline import UnreadableError
from cis490_pipeline.collect.recorded.zeek import ConnLog
from cis490_pipeline_tests.collect.recorded.files import (
    FIELDS,
    MS,
    T0_NS,
    zeek_header,
    zeek_json,
    zeek_tsv,
)

ZERO = dict.fromkeys(NETFLOW_FIELDS, 0)


def connection(**changes):
    """A browser's connection of the device 192.0.2.10."""
    fields = {
        "ts": "1700000000.000000", "uid": "CqlVyW1YwZ15RhTBc4",
        "id.orig_h": "192.0.2.10", "id.orig_p": "40000",
        "id.resp_h": "198.51.100.7", "id.resp_p": "443", "proto": "tcp", "duration": "0.150000",
        "conn_state": "SF", "history": "ShADadFf",
        "orig_pkts": "7", "orig_ip_bytes": "800", "resp_pkts": "5", "resp_ip_bytes": "4200",
    }  # fmt: skip
    changed = {name.replace("_DOT_", "."): value for name, value in changes.items()}
    return {k: v for k, v in (fields | changed).items() if v is not None}


EXAMPLE = [
    # Ends at 150 ms.
    connection(),
    # A lookup without an answer, in the bucket that ends at 200 ms too.
    connection(
        ts="1700000000.195000", duration=None, proto="udp", id_DOT_orig_p="5353",
        id_DOT_resp_h="192.0.2.1", id_DOT_resp_p="53", conn_state="S0", history="D",
        orig_pkts="1", orig_ip_bytes="70", resp_pkts="0", resp_ip_bytes="0",
    ),
    # Somebody scans the device, which resets: its packet is out, to the scanner's port.
    connection(
        ts="1700000000.390000", duration="0.010001", id_DOT_orig_h="203.0.113.9",
        id_DOT_orig_p="60000", id_DOT_resp_h="192.0.2.10", id_DOT_resp_p="23", conn_state="REJ",
        history="Sr", orig_pkts="1", orig_ip_bytes="44", resp_pkts="1", resp_ip_bytes="40",
    ),
    # A ping to the device, whose ports are types of ICMP.
    connection(
        ts="1700000000.410000", duration="0.000010", id_DOT_orig_h="203.0.113.9",
        id_DOT_orig_p="8", id_DOT_resp_h="192.0.2.10", id_DOT_resp_p="0", proto="icmp",
        conn_state="OTH", history=None,
        orig_pkts="2", orig_ip_bytes="168", resp_pkts="2", resp_ip_bytes="168",
    ),
    # Others among themselves.
    connection(ts="1700000000.600000", id_DOT_orig_h="192.0.2.77", duration="0.050000"),
]  # fmt: skip

BY_HAND = [
    ZERO | {
        "pkts_out": 7 + 1, "pkts_in": 5, "bytes_out": 800 + 70, "bytes_in": 4200,
        "tcp_syn_out": 1, "udp_pkts": 1, "new_flows": 2, "dst_ips": 2, "dst_ports": 2,
    },
    ZERO,
    ZERO,
    ZERO | {
        "pkts_out": 1 + 2, "pkts_in": 1 + 2, "bytes_out": 40 + 168, "bytes_in": 44 + 168,
        "tcp_rst": 1, "new_flows": 2, "dst_ips": 1, "dst_ports": 1,
    },
    ZERO,
    ZERO,
]  # fmt: skip


def rows_of(content, *device, **options):
    log = ConnLog(io.BytesIO(content), "conn.log")
    found = ConnectionRows(log, Device(device or ("192.0.2.10",)), **options)
    return list(found), found


def amounts(row):
    return {field: row[field] for field in NETFLOW_FIELDS}


@pytest.mark.parametrize("write", [zeek_tsv, zeek_json])
def test_a_log_becomes_the_rows_computed_by_hand(write):
    rows, found = rows_of(write(EXAMPLE))

    assert [row["t_wall_ns"] - T0_NS for row in rows] == [k * 100 * MS for k in range(2, 8)]
    assert [amounts(row) for row in rows] == BY_HAND
    assert (found.n_connections, found.n_foreign) == (4, 1)


def test_what_a_log_cannot_tell_is_said_once_with_what_was_left_out():
    _, found = rows_of(zeek_tsv(EXAMPLE))

    assert found.left_out() == [
        (
            "each connection counts whole at its end: its packets, SYN and flow are one spike "
            "there, repeated SYN and RST count once"
        ),
        "left out: 1 connections of others than the device",
    ]


@pytest.mark.parametrize(
    "ts",
    [
        "1700000000.123456",
        '"2023-11-14T22:13:20.123456Z"',
        '"2023-11-15T00:13:20.123456+02:00"',
        "1700000000123.456",
    ],
)
def test_every_form_of_a_json_time_is_read_to_the_microsecond(ts):
    line = zeek_json([connection(ts=ts, duration="0")])

    (found,) = ConnLog(io.BytesIO(line), "conn.log")

    assert found.end_ns == T0_NS + 123_456_000


def test_a_duration_is_added_to_the_microsecond():
    (found,) = ConnLog(io.BytesIO(zeek_tsv([connection(ts="1699999999.999999")])), "conn.log")

    assert found.end_ns == T0_NS + 149_999_000
    (found,) = ConnLog(io.BytesIO(zeek_tsv([connection(duration="1e-1195000")])), "conn.log")
    assert found.end_ns == T0_NS


def test_lines_may_be_out_of_order_by_the_tolerance():
    first, *rest = EXAMPLE

    assert rows_of(zeek_tsv([*rest, first]))[0] == rows_of(zeek_tsv(EXAMPLE))[0]
    rows, found = rows_of(zeek_tsv([*rest, first]), tolerance_s=0.1)
    assert sum(row["pkts_out"] for row in rows) == 4
    assert "left out: 1 connections that end before the tolerance" in found.left_out()[2]


@pytest.mark.parametrize(
    ("state", "by_device", "against_it"),
    [
        ("S0", (1, 0), (0, 0)),
        ("REJ", (1, 1), (0, 1)),
        ("RSTO", (1, 1), (0, 1)),
        ("OTH", (0, 0), (0, 0)),
    ],
)
def test_without_a_history_the_state_tells_syn_and_rst(state, by_device, against_it):
    there = connection(history=None, conn_state=state)
    back = connection(
        history=None, conn_state=state, id_DOT_orig_h="198.51.100.7", id_DOT_resp_h="192.0.2.10"
    )

    for of, wanted in ((there, by_device), (back, against_it)):
        (row,) = rows_of(zeek_tsv([of]))[0]
        assert (row["tcp_syn_out"], row["tcp_rst"]) == wanted


def test_a_connection_between_two_addresses_of_the_device_is_sent_by_both():
    (row,) = rows_of(zeek_tsv([connection()]), "192.0.2.10", "198.51.100.0/24")[0]

    assert (row["pkts_out"], row["pkts_in"], row["dst_ips"], row["dst_ports"]) == (12, 0, 2, 2)


def test_a_device_is_found_by_its_mac_where_zeek_logs_it():
    fields = (*FIELDS, "orig_l2_addr", "resp_l2_addr")
    macs = {"orig_l2_addr": "02:00:00:00:00:10", "resp_l2_addr": "02:00:00:00:00:07"}

    (row,) = rows_of(zeek_tsv([connection() | macs], fields), "02:00:00:00:00:10")[0]

    assert (row["pkts_out"], row["pkts_in"]) == (7, 5)
    with pytest.raises(UnreadableError, match=r"no orig_l2_addr .*conn/mac-logging in Zeek"):
        rows_of(zeek_tsv([connection()]), "02:00:00:00:00:10")


def test_logs_that_were_joined_are_read_by_the_header_of_each():
    order = tuple(reversed(FIELDS))

    rows, _ = rows_of(
        zeek_tsv(EXAMPLE[:2]) + b"#close\t2023-11-14\n" + zeek_tsv(EXAMPLE[2:], order)
    )

    assert [amounts(row) for row in rows] == BY_HAND


def test_another_separator_is_read_from_the_header():
    content = zeek_tsv(EXAMPLE).replace(b"\t", b"|").replace(b"\\x09", b"\\x7c")

    assert [amounts(row) for row in rows_of(content)[0]] == BY_HAND


@pytest.mark.parametrize("write", [zeek_tsv, zeek_json])
def test_a_last_line_that_is_being_written_is_left_out_and_named(write):
    content = write(EXAMPLE)

    rows, found = rows_of(content[:-20])

    assert [amounts(row) for row in rows] == BY_HAND[: len(rows)]
    assert found.left_out()[-1] == "left out: a last line that is not whole"


def test_an_empty_log_has_no_rows():
    assert rows_of(b"")[0] == rows_of(zeek_header().encode())[0] == []


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"\x1f\x8b\x08", "line 1: compressed by gzip, .*gunzip -c FILE"),
        (b"\xd4\xc3\xb2\xa1\n", "line 1: byte 0 is no UTF-8, wanted a Zeek conn.log"),
        (b"hello\n", "line 1: begins with 'hello' before any #fields line"),
        (zeek_header(path="dns").encode(), r"line 5: a log of \['dns'\], wanted conn; give"),
        (
            zeek_header(fields=("ts", "proto")).encode(),
            "line 7: no field id.orig_h, id.orig_p, .*wanted a conn.log with what Zeek logs",
        ),
        (zeek_header().encode() + b"1\t2\n", "line 9: 2 values for 19 fields; wanted one for each"),
        (zeek_tsv([connection(ts="now")]), "line 9: ts 'now', wanted seconds"),
        (zeek_tsv([connection(ts="-5")]), "line 9: ts -5 and duration 0.150000, wanted a time"),
        (zeek_tsv([connection(duration="1e300")]), "line 9: duration '1e300', wanted seconds"),
        (zeek_tsv([connection(ts="17e1195000")]), "line 9: ts '17e1195000', wanted seconds"),
        (b'{"ts": 17e1195000}\n', "line 1: ts Decimal"),
        (zeek_tsv([connection(orig_pkts="-1")]), "line 9: orig_pkts '-1', wanted a whole number"),
        (zeek_tsv([connection(id_DOT_orig_h="x")]), "line 9: id.orig_h 'x', wanted an IP address"),
        (b'{"ts": NaN}\n', r"line 1: no JSON \(NaN is no number\)"),
        (b'{"ts": 1}\n', "line 1: id.orig_h None, wanted an IP address"),
        (b'{"ts": true}\n', "line 1: ts True, wanted seconds"),
        (b'{"ts": "2023-99-14T22:13:20Z"}\n', "line 1: ts '2023-99-14T22:13:20Z' is no time"),
        (b"#" + b"x" * 2_000_000, "line 1: over 1048576 bytes long"),
    ],
)
def test_what_is_no_conn_log_is_refused_with_line_and_remedy(content, message):
    with pytest.raises(UnreadableError, match=f"^conn.log, {message}"):
        rows_of(content)


@settings(max_examples=150, deadline=None)
@given(
    content=st.one_of(
        st.binary(max_size=300),
        st.tuples(
            st.sampled_from([zeek_tsv(EXAMPLE), zeek_json(EXAMPLE)]),
            st.integers(0, 2000),
            st.one_of(st.binary(min_size=1, max_size=6), st.sampled_from([b"-", b"9e99", b"\t"])),
        ).map(lambda spoilt: spoilt[0][: spoilt[1]] + spoilt[2] + spoilt[0][spoilt[1] + 1 :]),
    )
)
def test_any_bytes_give_rows_or_one_clear_error(content):
    found = ConnectionRows(ConnLog(io.BytesIO(content), "conn.log"), Device(["192.0.2.10"]))
    rows, refused = [], ""
    try:
        # A time far ahead ends the rows of before, it does not fill the years between.
        rows.extend(found)
    except UnreadableError as fault:
        refused = str(fault)

    assert not refused or refused.startswith("conn.log, line ")
    assert len(rows) <= 10 * 3700 * len(EXAMPLE)
    assert all(row[f] is not None and 0 <= row[f] < 2**63 for row in rows for f in NETFLOW_FIELDS)


def test_a_busy_log_holds_no_more_than_the_buckets_of_its_tolerance():
    lines = [
        connection(ts=f"{1_700_000_000 + k}.000000", id_DOT_resp_h=f"198.51.100.{k % 250}")
        for k in range(3000)
    ]
    found = ConnectionRows(ConnLog(io.BytesIO(zeek_tsv(lines)), "conn.log"), Device(["192.0.2.10"]))

    most = max(len(found._open) for _ in found)

    assert most <= 602
    assert found.timeline.n_rows == 29_991
    assert found.n_connections == 3000
