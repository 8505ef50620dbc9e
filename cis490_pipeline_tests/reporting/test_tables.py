import csv
import io

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cis490_pipeline.evaluation.schema.alarm import AtRate
from cis490_pipeline.evaluation.schema.board import RobustnessRow
from cis490_pipeline.evaluation.schema.parts import Pair
from cis490_pipeline.evaluation.schema.report import (
    CellScore,
    HostScore,
    PhaseScores,
    ProfileScore,
    Subset,
)
from cis490_pipeline.reporting.escaping import spreadsheet_escape
from cis490_pipeline.reporting.page.numbers import Numbers
from cis490_pipeline.reporting.tables import csv_text, tables
from cis490_pipeline_tests.evaluation.boards import board_of
from cis490_pipeline_tests.evaluation.made_up import SPLIT, windows
from cis490_pipeline_tests.evaluation.measured import measured, older

FORMULAS = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")
ALWAYS = {
    "leaderboard",
    "pairs",
    "per_class",
    "per_host",
    "per_profile",
    "profile_host",
    "probes",
}
MEASURED = {"subsets", "reliability", "detection", "detection_at_rates", "robustness"}


def numbers_of(board, reports, probes):
    return Numbers.of(board, [*reports, *probes], split=SPLIT, provenance={})


@pytest.fixture(scope="module")
def made():
    return older(*board_of(n_resamples=20))


@pytest.fixture(scope="module")
def full(made):
    board, reports, probes = made
    return numbers_of(*measured(board, reports), probes)


def read(text):
    return list(csv.DictReader(io.StringIO(text)))


@given(st.text())
def test_no_text_can_be_taken_for_a_formula(text):
    escaped = spreadsheet_escape(text)

    assert not escaped.lstrip(" ").startswith(FORMULAS)
    assert escaped in (text, f"'{text}")


@given(st.text(alphabet=st.characters(codec="utf-8", exclude_characters="\r\0")))
def test_any_text_comes_back_from_its_cell(text):
    (row,) = read(csv_text([{"a": 1, "name": text}]))

    assert row["name"] == spreadsheet_escape(text)


def test_a_negative_number_stays_a_number_and_null_is_empty():
    text = csv_text([{"name": "-1", "difference": -0.25, "p": None, "shown": False}])

    assert text == "name,difference,p,shown\n'-1,-0.25,,false\n"


def test_no_row_is_no_text():
    assert csv_text([]) == ""


def test_older_reports_fill_only_the_tables_they_can(made, full):
    assert tables(numbers_of(*made)).keys() == ALWAYS
    assert tables(full).keys() == ALWAYS | MEASURED


def test_differences_are_read_as_numbers_with_their_sign(full):
    rows = tables(full)["pairs"]
    frame = pl.read_csv(io.StringIO(csv_text(rows)))

    assert frame["difference"].dtype == pl.Float64
    assert frame["difference"].to_list() == [row["difference"] for row in rows]
    assert min(frame["difference"]) < 0


def test_every_row_of_every_table_has_the_columns_of_the_first(full):
    for name, rows in tables(full).items():
        assert {tuple(row) for row in rows} == {tuple(rows[0])}, name
        assert rows[0]["split"] == "host", name


@pytest.mark.parametrize(
    ("table", "form"),
    [
        ("pairs", Pair),
        ("per_class", PhaseScores),
        ("per_host", HostScore),
        ("per_profile", ProfileScore),
        ("profile_host", CellScore),
        ("subsets", Subset),
        ("detection_at_rates", AtRate),
        ("robustness", RobustnessRow),
    ],
)
def test_columns_are_keys_of_the_entries_form(full, table, form):
    assert set(tables(full)[table][0]) <= {"split", "model", "variant", *form.__annotations__}


def test_the_leaderboards_numbers_come_back_exactly(full):
    rows = read(csv_text(tables(full)["leaderboard"]))

    assert [row["model"] for row in rows] == [row["model"] for row in full.board["rows"]]
    for row, given_row in zip(rows, full.board["rows"], strict=True):
        assert float(row["macro_f1"]) == given_row["macro_f1"]
        assert float(row["ci_low"]) == given_row["ci_low"]


def test_hostile_hosts_stay_text():
    keys = windows().with_columns(host_id=pl.lit("=cmd|' /C calc'!") + pl.col("host_id"))
    made = board_of(keys, models={("gbt", "realistic"): 2.0}, n_resamples=20)

    for name, rows in tables(numbers_of(*made)).items():
        for row in read(csv_text(rows)):
            for column, cell in row.items():
                if cell.startswith(FORMULAS):
                    float(cell)
                assert not cell.startswith("=cmd"), (name, column)
