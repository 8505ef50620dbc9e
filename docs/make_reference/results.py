"""Committed results of runs and benchmarks, and numbers of them as text."""

import json
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
RESULTS = ROOT / "benchmarks" / "results"
LEVEL = 0.05
"""p-values by Holm up to here show a difference."""


@cache
def result(name: str) -> dict[str, Any]:
    """Return the committed result of one benchmark, such as ``run``."""
    found: dict[str, Any] = json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8"))
    return found


def chosen() -> str:
    """Name of the model of the documented run that was chosen on validation."""
    return str(result("run")["board"]["best_vs_probe"]["model"])


def report(model: str) -> dict[str, Any]:
    """Return what is kept of a model's or probe's report."""
    found: dict[str, Any] = result("run")["reports"][model]
    return found


def row(model: str) -> dict[str, Any]:
    """Return the row of the board of one model or probe."""
    (found,) = [row for row in result("run")["board"]["rows"] if row["model"] == model]
    return dict(found)


def score(value: float | None) -> str:
    """Write a score with three decimals."""
    return "n/a" if value is None else f"{value:.3f}"


def interval(of: Mapping[str, Any], low: str = "ci_low", high: str = "ci_high") -> str:
    """Write both ends of an interval, with three decimals."""
    return f"[{score(of[low])}, {score(of[high])}]"


def scored(of: Mapping[str, Any]) -> str:
    """Write a macro F1 with its interval."""
    return f"{score(of['macro_f1'])} {interval(of)}"


def signed(value: float | None) -> str:
    """Write a difference with its sign; what rounds to zero has none."""
    if value is None:
        return "n/a"
    text = f"{abs(value):.3f}"
    if float(text) == 0:
        return "0" if value == 0 else text
    return f"{'−' if value < 0 else '+'}{text}"


def change(of: Mapping[str, Any]) -> str:
    """Write a difference with its interval; exactly none is 0."""
    if of["difference"] == of["ci_low"] == of["ci_high"] == 0:
        return "0"
    return f"{signed(of['difference'])} [{signed(of['ci_low'])}, {signed(of['ci_high'])}]"


def p_value(value: float | None) -> str:
    """Write a p-value."""
    if value is None:
        return "p n/a"
    return "p < 0.001" if value < 0.001 else f"p = {value:.3f}"


def percent(share: float) -> str:
    """Write a share of 1 as whole per cent."""
    return f"{100 * share:.0f} %"


def listed(words: Iterable[str]) -> str:
    """Join words with commas, the last by ``and``."""
    *first, last = words
    return f"{', '.join(first)} and {last}" if first else last


WORDS = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")


def count(n: int) -> str:
    """Write a small number as a word."""
    return WORDS[n] if n < len(WORDS) else f"{n:,}"


def processor(of: Mapping[str, str]) -> str:
    """Name a processor so that others of its name differ."""
    model = of.get("model", "").replace("vendor_id ", "")
    instructions = of.get("instructions", "").split()
    best = [name for name in ("avx512f", "avx2", "avx", "sve", "asimd") if name in instructions]
    parts = [of.get("name", "an unnamed processor"), model, *best[:1]]
    return ", ".join(part for part in parts if part)
