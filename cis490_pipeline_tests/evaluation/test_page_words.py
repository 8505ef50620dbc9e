import pytest

from cis490_pipeline.reporting.page import words
from cis490_pipeline.reporting.page.words import plain_text


@pytest.mark.parametrize(
    ("write", "value", "text"),
    [
        (words.score, None, "n/a"),
        (words.score, 0.456, "0.46"),
        (words.signed, -0.123, "−0.12"),
        (words.signed, 0.001, "0.00"),
        (words.signed, 0.5, "+0.50"),
        (words.signed, None, "n/a"),
        (words.p_value, None, "not tested"),
        (words.p_value, 0.0001, "p\u00a0<\u00a00.001"),
        (words.p_value, 0.034, "p\u00a0=\u00a00.034"),
        (words.p_value, 1.0, "p\u00a0=\u00a01.00"),
        (words.level, None, "none"),
        (words.level, 0.0, "0"),
        (words.level, 1.0, "10"),
        (words.phase_name, "infected_running", "running"),
        (words.provenance_text, {"torch": "2.13", "n": 3}, "torch 2.13, n 3"),
        (words.percent, 0.876, "88\u00a0%"),
        (words.percent, 0.004, "0.4\u00a0%"),
        (words.percent, 0.998, "99.8\u00a0%"),
        (words.percent, 0.0, "0\u00a0%"),
        (words.percent, 1.0, "100\u00a0%"),
        (words.percent, None, "n/a"),
        (words.seconds, 12.5, "12.5\u00a0s"),
        (words.seconds, 90.0, "90\u00a0s"),
        (words.seconds, 300, "5\u00a0min"),
        (words.seconds, 9000, "2.5\u00a0h"),
        (words.seconds, None, "n/a"),
        (words.rate, 0, "0"),
        (words.rate, 0.0631, "0.0631"),
        (words.rate, 31.66, "31.7"),
        (words.rate, 1234.4, "1234"),
        (words.rate, None, "n/a"),
        (words.device_time, 0.125, "3 device-hours"),
        (words.device_time, 0.0625, "90 device-minutes"),
        (words.percent, 0.0001, "<\u00a00.1\u00a0%"),
        (words.device_time, 12.5, "12.5 device-days"),
        (words.thousands, 76660, "76\u202f660"),
        (words.listed, ["a"], "a"),
        (words.listed, ["a", "b", "c"], "a, b and c"),
        (
            plain_text,
            {"rate": 0.25, "widths": [256], "cut": None},
            "rate 0.25, widths 256, cut n/a",
        ),
    ],
)
def test_numbers_are_written_as_a_reader_compares_them(write, value, text):
    assert write(value) == text


def test_a_reason_is_given_once_and_without_its_n_a():
    entries = [{"why": "n/a: short"}, {"why": None}, {}, {"why": "short"}, {"why": "none"}]

    assert words.reasons(entries) == ["short", "none"]


def test_an_interval_without_ends_is_said_to_be_none():
    assert words.between({"ci_low": None, "ci_high": None}) == "no interval"
    assert words.between({"ci_low": 0.251, "ci_high": 0.5}) == "0.25 to 0.50"
