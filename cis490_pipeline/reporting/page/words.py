"""Formatting of numbers and names on the page."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, Final, TypedDict

from cis490_pipeline.evaluation.schema.parts import Ends

SIGNIFICANT: Final = 0.05
NA: Final = "n/a"

_PHASE_NAMES: Final = {"infected_running": "running"}


def score(value: float | None, digits: int = 2) -> str:
    """Write a score, or n/a."""
    return NA if value is None else f"{value:.{digits}f}"


def signed(value: float | None, digits: int = 2) -> str:
    """Write a difference with its sign, or n/a."""
    if value is None:
        return NA
    text = f"{abs(value):.{digits}f}"
    return text if float(text) == 0 else ("+" if value > 0 else "−") + text


def p_value(value: float | None) -> str:
    """Write a p-value with the digits that matter."""
    if value is None:
        return "not tested"
    digits = 3 if value < 0.1 else 2
    return "p\u00a0<\u00a00.001" if value < 0.001 else f"p\u00a0=\u00a0{value:.{digits}f}"


def percent(value: float | None) -> str:
    """Write a share of 1 as whole per cent, one digit more where whole ones would hide it."""
    if value is None:
        return NA
    if 0 < value < 0.0005:
        return "<\u00a00.1\u00a0%"
    digits = 1 if 0 < value < 0.0095 or 0.9905 < value < 1 else 0
    return f"{100 * value:.{digits}f}\u00a0%"


def seconds(value: float | None) -> str:
    """Write a duration in seconds, minutes or hours."""
    if value is None:
        return NA
    if value < 120:
        return f"{value:.0f}\u00a0s" if value == int(value) else f"{value:.1f}\u00a0s"
    return f"{value / 60:.0f}\u00a0min" if value < 7200 else f"{value / 3600:.1f}\u00a0h"


def rate(value: float | None) -> str:
    """Write a rate or a count of days to three significant digits."""
    if value is None:
        return NA
    if value == 0 or value >= 100:
        return f"{value:.0f}"
    return f"{value:.{max(0, 2 - math.floor(math.log10(value)))}f}".rstrip("0").rstrip(".")


def device_time(days: float | None) -> str:
    """Write device-days; less than two of them in hours, less than two hours in minutes."""
    if days is None:
        return NA
    if days >= 2:
        return f"{rate(days)} device-days"
    hours = 24 * days
    return f"{rate(hours)} device-hours" if hours >= 2 else f"{rate(60 * hours)} device-minutes"


def between(entry: Ends) -> str:
    """Write the two ends of an interval of scores, or that there is none."""
    if entry["ci_low"] is None or entry["ci_high"] is None:
        return "no interval"
    return f"{score(entry['ci_low'])} to {score(entry['ci_high'])}"


def signed_between(entry: Ends) -> str:
    """Write the two ends of an interval of differences, or that there is none."""
    if entry["ci_low"] is None:
        return "no interval"
    return f"{signed(entry['ci_low'])} to {signed(entry['ci_high'])}"


class Compared(TypedDict):
    """What of a comparison decides whether it shows a difference."""

    p_holm: float | None


class Reasoned(TypedDict):
    """An entry that gives a reason where a number of it is undefined."""

    why: str | None


def shown(pair: Compared) -> bool:
    """Return whether a comparison shows a difference at 5 % after its correction."""
    return pair["p_holm"] is not None and pair["p_holm"] < SIGNIFICANT


def verdict(pair: Compared) -> str:
    """Write whether a comparison shows a difference, with its p-value."""
    if pair["p_holm"] is None:
        return "not tested"
    return f"{'a' if shown(pair) else 'no'} difference is shown ({p_value(pair['p_holm'])})"


def phase_name(phase: str) -> str:
    """Shorten a phase's name to fit a column."""
    return _PHASE_NAMES.get(phase, phase.replace("_", " "))


def provenance_text(value: str | int | Mapping[str, str]) -> str:
    """Write a value of the provenance, a mapping as its entries."""
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {entry}" for name, entry in value.items())
    return str(value)


def plain_text(value: Any) -> str:
    """Write any JSON value in a few words: null as n/a, an object as its entries.

    Examples
    --------
    >>> plain_text({"rate": 0.25, "widths": [256, 128], "cut": None})
    'rate 0.25, widths 256, 128, cut n/a'
    """
    if value is None:
        return "n/a"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.4g}" if abs(value) < 1000 else f"{value:,.0f}"
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {plain_text(entry)}" for name, entry in value.items())
    if isinstance(value, list):
        return ", ".join(map(plain_text, value)) or "none"
    return str(value)


def level(value: float | None) -> str:
    """Step 0 to 10 of a colour scale, for a share between 0 and 1; ``none`` where undefined."""
    return "none" if value is None else str(min(10, max(0, math.floor(value * 10 + 0.5))))


def thousands(value: int) -> str:
    """Write a count with thin spaces."""
    return f"{value:,}".replace(",", "\u202f")


def counted(n: int, one: str, more: str | None = None) -> str:
    """Write a count with its noun."""
    return f"{thousands(n)} {one if n == 1 else more or one + 's'}"


def listed(names: Sequence[str]) -> str:
    """Join names with commas and a final ``and``."""
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else list(names))


def reasons(entries: Sequence[Reasoned]) -> list[str]:
    """Each reason for an undefined number once, in the order first met."""
    texts = (why.removeprefix("n/a: ") for entry in entries if (why := entry.get("why")))
    return list(dict.fromkeys(texts))
