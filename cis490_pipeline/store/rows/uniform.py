"""Vectorized reader for uniform rows, whose text differs only in digits, as recorders write them.

One comparison of bytes shows that every line equals the first except for its digits. The first
line's validity as JSON then extends to all lines, except for what depends on digits and is checked:
leading zeros and numbers beyond 64 bits. Twenty times as fast as dictionaries, and as exact.
"""

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

import numpy as np
import numpy.typing as npt

_DIGITS: Final = b"0123456789"
_MAX_DIGITS: Final = 19
"""Digits of an integer that may fit 64 bits."""
_MAX_EXACT_DIGITS: Final = 15
"""Digits of a decimal: number and power of ten are below 2^53, so division rounds once."""
_MAX_FIRST: Final = 16 << 10
"""Limit on the first line, which is cached; other lines cannot then exceed 1 MiB."""

_Words = npt.NDArray[np.uint64]
Columns = dict[str, npt.NDArray[np.int64] | npt.NDArray[np.float64]]

# A key with a number without sign or exponent, a boolean, or a string without escapes.
_FIELD: Final = re.compile(rb' *"([^"\\]*)" *: *(?:([0-9]+)(\.[0-9]+)?|true|false|"[^"\\]*") *[,}]')
# A quote after a word character closes a string, so a number after its colon is a value.
_WHOLE: Final = re.compile(rb'(?<=\w":)[0-9]+')
_DECIMALS: Final = re.compile(rb'(?<=\w":0\.)[0-9]+')

# By number of digits: the bits of a word that hold them, and the bound for leading zeros.
_KEPT: Final = np.array([(0x0F0F0F0F0F0F0F0F << (64 - 8 * n)) % 2**64 for n in range(9)], np.uint64)
_LEAST: Final = np.array([0, 0, *(10**n for n in range(1, _MAX_DIGITS))], dtype=np.uint64)
_POWERS: Final = 10 ** np.arange(_MAX_EXACT_DIGITS + 1, dtype=np.int64)


@dataclass(frozen=True, eq=False)
class _Template:
    """Positions of the digit runs in a line."""

    bare: bytes
    """The line without digits."""
    gaps: npt.NDArray[np.intp]
    """Distance from each run's end to the next run (for the last, the first on the next line)."""
    fields: tuple[tuple[str, int, bool], ...]
    """Key, index of its number's first run, and whether a second run holds decimals."""
    leading: npt.NDArray[np.intp]
    """Indices of the runs that start numbers."""
    fixed: tuple[tuple[int, int, int], ...]
    """Runs in keys and strings: index, value and length."""


@dataclass(frozen=True, kw_only=True, eq=False)
class UniformRows:
    """Rows that differ only in their numbers."""

    shape: bytes
    """The first line with its evident numbers replaced by zeros."""
    columns: Columns
    """One array (n_lines,) per key with a numeric value."""
    n_lines: int


def read_uniform_rows(content: bytes) -> UniformRows | None:
    """Parse the numbers of all rows, if rows differ only in their numbers.

    Returns ``None`` if rows differ otherwise, have a number that needs validation, or exceed 16
    KiB.
    """
    first = content[: content.find(b"\n", 0, _MAX_FIRST) + 1]
    shape = _DECIMALS.sub(b"0", _WHOLE.sub(b"0", first))
    template = _template(shape)
    if template is None or not content.endswith(b"\n"):
        return None
    octets = np.frombuffer(content, dtype=np.uint8)
    is_digit = (octets - np.uint8(ord("0"))) < len(_DIGITS)
    # Alternately the last byte before a run and the last byte of it.
    edges = np.flatnonzero(is_digit[1:] != is_digit[:-1])
    n_runs = template.gaps.size
    n_lines, rest = divmod(edges.size, 2 * n_runs)
    if rest or edges[1] < 3 * 8 or content.translate(None, _DIGITS) != template.bare * n_lines:
        return None
    edges = np.ascontiguousarray(edges.reshape(n_lines, 2 * n_runs).T)
    before, last = edges[0::2], edges[1::2]
    # With equal text besides digits, equal gaps put every run in the same place as in the first.
    within = (before[1:] - last[:-1] == template.gaps[:-1, None]).all()
    if not within or not (before[0, 1:] - last[-1, :-1] == template.gaps[-1]).all():
        return None
    lengths = last - before
    values = _whole_numbers(content, last, lengths)
    if values is None:
        return None
    for run, value, length in template.fixed:
        if (values[run] != value).any() or (lengths[run] != length).any():
            return None
    columns = _columns(template, lengths, values)
    return None if columns is None else UniformRows(shape=shape, columns=columns, n_lines=n_lines)


def _columns(template: _Template, lengths: npt.NDArray[np.intp], values: _Words) -> Columns | None:
    """Numbers by key; ``None`` if one has a leading zero or too many decimals to be exact."""
    if (values < _LEAST[lengths])[template.leading].any():
        return None
    numbers = values.view(np.int64)
    columns: Columns = {}
    for key, run, is_decimal in template.fields:
        if not is_decimal:
            columns[key] = numbers[run]
            continue
        places = lengths[run + 1]
        if (lengths[run] + places > _MAX_EXACT_DIGITS).any():
            return None
        power = _POWERS[places]
        columns[key] = (numbers[run] * power + numbers[run + 1]) / power
    return columns


@lru_cache(maxsize=64)
def _template(first: bytes) -> _Template | None:
    """Analyse a line; ``None`` if it does not consist of plain fields."""
    if not first.startswith(b"{") or not first.endswith(b"}\n"):
        return None
    try:
        first.decode()
    except UnicodeDecodeError:
        # The line-by-line parser reports the position.
        return None
    runs = [match.span() for match in re.finditer(rb"[0-9]+", first)]
    place = {start: i for i, (start, _) in enumerate(runs)}
    fields, position = [], 1
    while position < len(first) - 1:
        field = _FIELD.match(first, position)
        if field is None:
            return None
        if field[2] is not None:
            fields.append((field[1].decode(), place[field.start(2)], field[3] is not None))
        position = field.end()
    if not runs or first[position - 1 :] != b"}\n":
        return None
    numbers = {run for _, first_run, more in fields for run in (first_run, first_run + more)}
    following = [start for start, _ in runs[1:]] + [len(first) + runs[0][0]]
    gaps = np.array([start - end for start, (_, end) in zip(following, runs, strict=True)])
    fixed = tuple(
        (i, int(first[start:end]), end - start)
        for i, (start, end) in enumerate(runs)
        if i not in numbers
    )
    leading = np.array([run for _, run, _ in fields], dtype=np.intp)
    return _Template(first.translate(None, _DIGITS), gaps, tuple(fields), leading, fixed)


def _whole_numbers(
    content: bytes, last: npt.NDArray[np.intp], lengths: npt.NDArray[np.intp]
) -> _Words | None:
    """Values of digit runs, (n_runs, n_lines); ``None`` if one does not fit 64 bits.

    ``last`` is the position of each run's last digit; at least 16 bytes precede each run.
    """
    longest = lengths.max(axis=1)
    if longest.max() > _MAX_DIGITS:
        return None
    # Eight digits at a time, as one machine word.
    words = np.ndarray((len(content) - 7,), dtype="<u8", buffer=content, strides=(1,))
    values = _eight_digits(words[last - 7], np.minimum(lengths, 8))
    for done, power in ((8, 10**8), (16, 10**16)):
        runs = np.flatnonzero(longest > done)
        if runs.size:
            left = np.clip(lengths[runs] - done, 0, 8)
            values[runs] += _eight_digits(words[last[runs] - (done + 7)], left) * np.uint64(power)
    beyond = longest == _MAX_DIGITS
    return None if (values[beyond] > np.uint64(2**63 - 1)).any() else values


def _eight_digits(words: _Words, n_digits: npt.NDArray[np.intp]) -> _Words:
    """Value of the last ``n_digits`` characters of each little-endian word."""
    # Combine digits to pairs, pairs to fours, fours to eights, with one multiplication each.
    value = words & _KEPT[n_digits]
    value *= np.uint64(10 << 8 | 1)
    value >>= np.uint64(8)
    value &= np.uint64(0x00FF00FF00FF00FF)
    value *= np.uint64(100 << 16 | 1)
    value >>= np.uint64(16)
    value &= np.uint64(0x0000FFFF0000FFFF)
    value *= np.uint64(10000 << 32 | 1)
    value >>= np.uint64(32)
    return value
