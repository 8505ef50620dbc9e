"""Columns and frames are two forms of the same rows."""

import numpy as np
import polars as pl
from hypothesis import given
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from cis490_pipeline.store.rows.columns import Columns

WHOLE = st.none() | st.integers(-(2**63), 2**63 - 1)
DECIMAL = st.none() | st.floats(allow_nan=False)


@given(st.lists(st.tuples(st.integers(0, 2**63 - 1), WHOLE, DECIMAL), max_size=9))
def test_frame_made_into_columns_and_back_is_the_same_to_the_bit(rows):
    schema = {"t_wall_ns": pl.Int64, "forks": pl.Int64, "load_1m": pl.Float64}
    frame = pl.DataFrame(rows, schema=schema, orient="row")

    columns = Columns.of(frame)

    assert columns.n_rows == frame.height
    assert_frame_equal(columns.frame, frame, check_exact=True)
    for name in frame.columns:
        assert columns.readings(name).tolist() == frame[name].drop_nulls().to_list()


def test_unknown_whole_number_is_nan_among_floats_and_no_reading():
    frame = pl.DataFrame({"t_wall_ns": [1, 2, 3], "forks": [2**63 - 1, None, 7]})

    columns = Columns.of(frame)

    np.testing.assert_array_equal(columns.floats("forks"), [2.0**63, np.nan, 7])
    assert columns.readings("forks").tolist() == [2**63 - 1, 7]
    assert columns.times.tolist() == [1, 2, 3]


def test_column_without_any_reading_has_none():
    columns = Columns.of(pl.DataFrame({"t_wall_ns": [1, 2], "forks": [None, None]}))

    assert columns.readings("forks").size == 0
    assert np.isnan(columns.floats("forks")).all()
