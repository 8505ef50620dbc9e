import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cis490_pipeline.reporting.escaping import latex_escape
from cis490_pipeline.reporting.latex import leaderboard_latex
from cis490_pipeline.reporting.page.numbers import Numbers
from cis490_pipeline_tests.evaluation.boards import board_of
from cis490_pipeline_tests.evaluation.made_up import SPLIT

KNOWN = re.compile(r"\\(?:textbackslash|textasciitilde|textasciicircum|textless|textgreater)\{\}")
HOSTILE = r"\input{/etc/passwd} & 50 % of $x_1$ # ~ ^ {"


@given(st.text())
def test_no_escaped_text_holds_a_bare_command(text):
    rest = re.sub(r"\\[{}$&%#_]", "", KNOWN.sub("", latex_escape(text)))

    assert not set(rest) & set("\\{}$&%#_~^")
    assert "\n" not in rest


def test_each_special_character_is_printed():
    assert latex_escape("a_b & 5 % \\ {x} ~^#$") == (
        r"a\_b \& 5 \% \textbackslash{} \{x\} \textasciitilde{}\textasciicircum{}\#\$"
    )


@pytest.fixture(scope="module")
def table():
    split = {**SPLIT, "untested_profiles": {HOSTILE: ["io-walk"]}}
    board, reports, probes = board_of(
        split=split, name="{}_{}" + HOSTILE.replace("{", "{{").replace("}", "}}"), n_resamples=20
    )
    return leaderboard_latex(
        Numbers.of(board, [*reports, *probes], split=split, provenance={})
    ), board


def test_the_table_has_a_line_of_six_cells_for_every_row(table):
    text, board = table
    body = text.split(r"\midrule", 1)[1].split(r"\bottomrule")[0]
    lines = [line for line in body.splitlines() if line.endswith(r"\\")]

    assert len(lines) == len(board["rows"])
    assert all(len(re.findall(r"(?<!\\)&", line)) == 5 for line in lines)


def test_nothing_from_outside_is_a_command(table):
    text, _ = table

    assert r"\input" not in text
    assert text.count("{") - text.count(r"\{") == text.count("}") - text.count(r"\}")


def test_the_chosen_model_alone_is_bold_and_n_is_named(table):
    text, board = table

    assert text.count(r"\textbf{") == 1
    assert latex_escape(board["selected"]["realistic"]) in text.split(r"\textbf{")[1]
    assert "8 episodes, 80 windows" in text


def test_what_is_undefined_is_n_a_and_a_minus_is_a_minus():
    board, reports, probes = board_of(models={("gbt", "realistic"): 2.0}, n_resamples=20)
    rows = [{**board["rows"][0], "val_macro_f1": None, "matthews": -0.25}, *board["rows"][1:]]

    text = leaderboard_latex(
        Numbers.of({**board, "rows": rows}, [*reports, *probes], split=SPLIT, provenance={})
    )

    assert "& n/a &" in text
    assert r"$-$0.250" in text
