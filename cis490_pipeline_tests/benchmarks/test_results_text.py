"""Numbers of results as text, and blocks of documents that are made."""

import pytest

from docs.make_reference.files import with_blocks
from docs.make_reference.from_run_limits import _per_day
from docs.make_reference.markdown import WIDTH, bullet, prose
from docs.make_reference.results import change, count, listed, p_value, percent, processor, signed


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.1154, "+0.115"), (-0.0004, "0.000"), (0.0, "0"), (-0.25, "−0.250"), (None, "n/a")],
)
def test_a_difference_has_its_sign_unless_it_rounds_to_none(value, text):
    assert signed(value) == text


def test_exactly_no_change_is_told_from_one_that_rounds_to_none():
    none = {"difference": 0.0, "ci_low": 0.0, "ci_high": 0.0}

    assert change(none) == "0"
    assert change({**none, "ci_low": -0.0001}) == "0 [0.000, 0]"


@pytest.mark.parametrize(
    ("value", "text"), [(0.0007, "p < 0.001"), (0.0465, "p = 0.046"), (None, "p n/a")]
)
def test_a_p_value_is_never_zero(value, text):
    assert p_value(value) == text


def test_small_numbers_are_words_and_lists_end_with_and():
    assert (count(3), count(1234)) == ("three", "1,234")
    assert (listed(["a"]), listed(["a", "b", "c"])) == ("a", "a, b and c")
    assert percent(18 / 54) == "33 %"


@pytest.mark.parametrize(
    ("rate", "text"), [(8.41, "8.4"), (205.6, "210"), (1851.5, "1,900"), (0.0, "0")]
)
def test_a_rate_of_false_alarms_claims_two_digits(rate, text):
    assert _per_day(rate) == text


def test_a_processor_is_named_by_its_model_and_its_best_instructions():
    epyc = {"name": "AMD EPYC", "model": "vendor_id AuthenticAMD, cpu family 25, model 1"}

    assert processor({**epyc, "instructions": "sse4_2 avx fma avx2"}) == (
        "AMD EPYC, AuthenticAMD, cpu family 25, model 1, avx2"
    )
    assert processor({}) == "an unnamed processor"


def test_lines_are_short_and_code_and_links_whole():
    text = "word " * 18 + "`cis490 run --split host --seed 1` [a long title](docs/a.md) end"

    lines = prose(text).splitlines()

    assert max(map(len, lines)) <= WIDTH
    assert " ".join(lines) == text
    assert any("`cis490 run --split host --seed 1`" in line for line in lines)
    assert all(line.startswith("  ") for line in bullet(text).splitlines()[1:])


def test_a_document_without_its_block_is_refused():
    with pytest.raises(SystemExit, match="no lines between <!-- made: board -->"):
        with_blocks("<!-- made: board -->\n", {"board": str})
