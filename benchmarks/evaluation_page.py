"""Writes docs/concepts/evaluation-measured.md from the results of the evaluation's benchmark."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cis490_pipeline.evaluation.uncertainty.intervals import MIN_EPISODES_FOR_PERCENTILES

PAGE = Path(__file__).parents[1] / "docs" / "concepts" / "evaluation-measured.md"
WANTED_COVERAGE = (0.92, 0.97)
WANTED_TYPE_I = 0.06
WANTED_SPEED = 100
WANTED_EPISODES = 20
"""Coverage was asked for from this number of episodes on; below it is shown all the same."""

_AGREEMENT = "Agreement with second implementations"
_COVERAGE = "Coverage of the 95 % interval"
_TYPE_I = "Equal models called different"
_SPEED = "Time of 10,000 resamples"


@dataclass(frozen=True)
class TableText:
    """Headings and rows of a table, as text."""

    headings: tuple[str, ...]
    rows: list[tuple[str, ...]]

    def markdown(self) -> str:
        """Return it as Markdown."""
        lines = [self.headings, ("---",) * len(self.headings), *self.rows]
        return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def tables(result: dict[str, Any]) -> dict[str, TableText]:
    """Return the tables by title."""
    return {
        _AGREEMENT: _agreement(result["agreement"]),
        _COVERAGE: _coverage(result["coverage"]),
        _TYPE_I: _type_i(result["false_differences"]),
        _SPEED: _speed(result["speed"]),
    }


def write(result: dict[str, Any]) -> None:
    """Write the page."""
    PAGE.write_text(page(result), encoding="utf-8")


def _agreement(found: list[dict[str, Any]]) -> TableText:
    rows = [
        (
            one["what"],
            one["peer"],
            f"{one['n']:,}",
            f"{one['farthest']:.2g}",
            f"≤ {one['allowed']:.2g}" if one["allowed"] else "equal",
            _met(one["farthest"] <= one["allowed"]),
        )
        for one in found
    ]
    return TableText(("number", "beside", "random cases", "farthest apart", "wanted", ""), rows)


def _coverage(cells: list[dict[str, Any]]) -> TableText:
    low, high = WANTED_COVERAGE
    rows = [
        (
            str(cell["n_episodes"]),
            f"{cell['icc']:g}",
            _share(cell["used"]),
            _share(cell["percentile"]),
            _share(cell["bca"]),
            _share(cell["by window"]),
            _met(low <= cell["used"]["value"] <= high)
            if cell["n_episodes"] >= WANTED_EPISODES
            else "not asked",
        )
        for cell in cells
    ]
    headings = ("episodes", "ICC", "as reported", "percentile", "BCa", "by window", "92 to 97 %")
    return TableText(headings, rows)


def _type_i(cells: list[dict[str, Any]]) -> TableText:
    rows = [
        (
            str(cell["n_episodes"]),
            " and ".join(f"{icc:g}" for icc in dict.fromkeys(cell["icc"])),
            _share(cell["by episode"]),
            _share(cell["interval"]),
            _share(cell["by window"]),
            _met(cell["by episode"]["value"] <= WANTED_TYPE_I),
        )
        for cell in cells
    ]
    headings = ("episodes", "ICC", "p ≤ .05", "interval leaves out 0", "p ≤ .05 by window", "≤ 6 %")
    return TableText(headings, rows)


def _speed(speed: dict[str, Any]) -> TableText:
    row = (
        f"{speed['n_windows']:,} in {speed['n_episodes']:,} episodes",
        f"{speed['ours_s']:.2f} s",
        f"{speed['loop_s']:.0f} s",
        f"{speed['times_faster']:.0f} ×",
        _met(speed["times_faster"] >= WANTED_SPEED),
    )
    return TableText(("windows", "here", "scikit-learn loop", "faster", "≥ 100 ×"), [row])


def page(result: dict[str, Any]) -> str:
    """Return the page's text."""
    described, speed, text = result["machine"], result["speed"], tables(result)
    verdicts = [row[-1] for table in text.values() for row in table.rows]
    n_met, n_missed = verdicts.count(_met(True)), verdicts.count(_met(False))
    return f"""# How well the evaluation keeps its word

<!-- Written by `make bench-evaluation` from benchmarks/results/evaluation.json; do not edit. -->

Simulated on {described["processor"]}, {described["cores"]} cores, Python {described["python"]}.
Of {n_met + n_missed} wanted numbers {n_met} are met.

## {_AGREEMENT}

Random cases with few windows and absent phases. Intervals are compared on the same drawn episodes.

{text[_AGREEMENT].markdown()}

## How the corpora are made

Each cell below is {result["n_simulations"]:,} made-up corpora, ± 2 standard errors. An episode has
about 12 windows in five phases, one in ten is clean-only. How often a window is recognized varies
by episode: within one, windows of a phase correlate by the **ICC**. The true macro F1 follows from
the recipe, so it is known exactly.

## {_COVERAGE}

The share of corpora whose interval holds the true macro F1, with {result["n_resamples"]:,}
resamples. "As reported" is estimate ± t × standard error below {MIN_EPISODES_FOR_PERCENTILES}
episodes, where percentiles are too narrow, and percentiles from there on. By window is what one
gets by taking windows for independent.

{text[_COVERAGE].markdown()}

## {_TYPE_I}

Two models of the same true macro F1, distinguished by the paired test with
{result["n_permutations"]:,} swaps. Half of the episodes are as hard for one as for the other. Rows
with two ICCs hold models that err as often but not alike: one is steady, the other good in some
episodes and bad in others. The test by window was tried on the first
{result["false_differences"][0]["by window"]["n"]:,} corpora.

{text[_TYPE_I].markdown()}

The decision is the p-value's. An interval of the difference is of one pair, and with few episodes
it leaves out zero more often than it should.

## {_SPEED}

CPU time, median of interleaved repetitions. The loop draws the same number of episodes, gathers
their windows and calls `f1_score`; {speed["n_looped"]} resamples of it were timed and scaled to
{speed["n_resamples"]:,}.

{text[_SPEED].markdown()}
"""


def _share(share: dict[str, float]) -> str:
    return f"{100 * share['value']:.1f} ± {100 * share['two_se']:.1f} %"


def _met(met: bool) -> str:
    return "met" if met else "**missed**"


if __name__ == "__main__":
    path = Path(__file__).parent / "results" / "evaluation.json"
    write(json.loads(path.read_text(encoding="utf-8")))
