"""JSON of strangers: what is wrong is named, at no more cost than what is right."""

import pytest

from cis490_pipeline.store.rows.strict_json import DuplicateKeyError, _unique, parse_object


class CountedKey(str):
    """A key that counts how often it is compared with another."""

    __slots__ = ()
    compared = 0

    def __eq__(self, other: object) -> bool:
        CountedKey.compared += 1
        return str.__eq__(self, other)

    __hash__ = str.__hash__


def test_a_key_given_twice_is_found_in_one_pass() -> None:
    n_keys = 2000
    pairs = [(CountedKey(f"k{i}"), i) for i in range(n_keys)]
    pairs.append((CountedKey(f"k{n_keys - 1}"), 0))
    CountedKey.compared = 0

    with pytest.raises(DuplicateKeyError, match="'k1999' is given twice"):
        _unique(pairs)

    assert CountedKey.compared < 10 * n_keys


def test_the_first_key_that_repeats_is_named_at_any_depth() -> None:
    with pytest.raises(DuplicateKeyError, match="'b' is given twice") as raised:
        parse_object(b'{"x": [{"a": 1, "b": 2, "c": 3, "b": 4, "a": 5}]}')

    assert raised.value.key == "b"


@pytest.mark.parametrize("depth", [500, 900])
def test_moderate_nesting_is_read(depth: int) -> None:
    text = b'{"b": "\\u0041", "a": ' + b"[" * depth + b"]" * depth + b"}"

    assert parse_object(text)["b"] == "A"


@pytest.mark.parametrize("depth", [2_000, 100_000])
def test_nesting_without_end_is_refused(depth: int) -> None:
    text = b'{"b": "\\u0041", "a": ' + b"[" * depth + b"]" * depth + b"}"

    with pytest.raises(ValueError, match="nested too deep"):
        parse_object(text)


def test_a_number_of_more_digits_than_python_converts_is_refused() -> None:
    with pytest.raises(ValueError, match="4300 digits"):
        parse_object(b'{"a": ' + b"9" * 5000 + b"}")
