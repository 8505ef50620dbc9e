"""Rows that were delivered twice count once; rows that differ in anything are rows of their own."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cis490_pipeline.domain import Source
from cis490_pipeline.store.rows.read import read_rows_once
from cis490_pipeline.store.rows.repeats import row_identity

ROWS = [
    {"t_wall_ns": 100 * k, "t_mono_ns": 10 + 100 * k, "source": "bridge_pcap", "pkts_out": k}
    for k in range(8)
]


def lines(rows):
    return b"".join(json.dumps(row).encode() + b"\n" for row in rows)


def packets(content):
    return read_rows_once(Source.NETFLOW, content).columns.values["pkts_out"].tolist()


@pytest.mark.parametrize(
    "order",
    [
        [0, 1, 1, 2, 3],
        [0, 1, 2, 1, 2, 3],
        [0, 1, 2, 3, 0, 1, 2, 3],
        [0, 0, 0, 1, 2, 3],
    ],
    ids=["next to each other", "a batch again", "all again", "three times"],
)
def test_a_row_that_comes_again_counts_once(order):
    read = read_rows_once(Source.NETFLOW, lines([ROWS[k] for k in order]))

    assert read.columns.values["pkts_out"].tolist() == [0, 1, 2, 3]
    assert read.n_repeated == len(order) - 4
    assert read.n_lines == len(order)


@pytest.mark.parametrize(
    "change",
    [{"pkts_out": 9}, {"t_mono_ns": 0}, {"t_mono_ns": None}, {"seq": 4}, {"tags": ["a"]}],
    ids=str,
)
def test_a_row_that_differs_in_any_field_is_a_row_of_its_own(change):
    read = read_rows_once(Source.NETFLOW, lines([ROWS[0], ROWS[1], ROWS[1] | change]))

    assert (read.columns.n_rows, read.n_repeated) == (3, 0)


def test_order_and_space_and_null_make_no_other_row():
    again = b'{"pkts_out" : 1,  "source":"bridge_pcap", "t_mono_ns":110, "t_wall_ns":100'
    again += b', "udp_pkts": null}\n'

    assert packets(lines(ROWS[:2]) + again) == [0, 1]


def test_a_decimal_equals_the_whole_number_it_is():
    assert row_identity({"load_1m": 5.0, "t": 1}) == row_identity({"t": 1, "load_1m": 5})
    assert row_identity({"load_1m": 5.5, "t": 1}) != row_identity({"t": 1, "load_1m": 5})


def test_faulty_lines_between_do_not_shift_what_is_compared():
    content = lines(ROWS[:2]) + b'{"t_wall_ns": 1, "t_wall_ns": 2}\n' + lines([ROWS[1], ROWS[2]])

    read = read_rows_once(Source.NETFLOW, content)

    assert read.columns.values["pkts_out"].tolist() == [0, 1, 2]
    assert (len(read.faults), read.n_repeated, read.n_lines) == (1, 1, 5)


@settings(max_examples=50)
@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 1)), max_size=30))
def test_what_stays_is_the_first_of_each_in_the_order_of_the_file(said):
    rows = [{"t_wall_ns": t, "pkts_out": v, "source": "bridge_pcap"} for t, v in said]

    read = read_rows_once(Source.NETFLOW, lines(rows))

    wanted = list(dict.fromkeys(said))
    assert read.n_repeated == len(said) - len(wanted)
    assert read.columns.times.tolist() == [t for t, _ in wanted]
    got = read.columns.values.get("pkts_out", np.zeros(0))
    assert got.tolist() == [v for _, v in wanted]
