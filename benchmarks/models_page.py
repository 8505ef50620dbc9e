"""Writes docs/concepts/models-measured.md from the results of the models' benchmark."""

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from benchmarks.models_tables import TextTable, tables, title_of, wanted
from benchmarks.public_sets import MOST_MOVED, RESAMPLED_STEPS, SHORT
from benchmarks.unseen_hosts import MIN_LOSS

SHORT_SET: Final = "PickupGestureWiimoteZ"
SETS: Final = "BasicMotions and JapaneseVowels (equal length)"

PAGE = Path(__file__).parents[1] / "docs" / "concepts" / "models-measured.md"


def write(result: Mapping[str, Any]) -> None:
    PAGE.parent.mkdir(parents=True, exist_ok=True)
    PAGE.write_text(page(result), encoding="utf-8")


def page(result: Mapping[str, Any]) -> str:
    """Return the page's text; what was not measured in this run is named, not shown."""
    machine = result["machine"]
    by_title = {table.title: _markdown(table) for table in tables(result)}
    asked = wanted(result["lines"])
    missed = tuple(row for row in asked.rows if row[-1] != "met")
    met = tuple(row for row in asked.rows if row[-1] == "met")
    versions = ", ".join(f"{name} {v}" for name, v in sorted(result["versions"].items()))
    sections = "\n".join(
        write_section(result, by_title)
        for name, write_section in SECTIONS.items()
        if name in result
    )
    absent = [name for name in SECTIONS if name not in result]
    not_measured = f"\nNot measured in this run: {', '.join(absent)}.\n" if absent else ""
    return f"""# Models, measured

<!-- Written by `make bench-models` from benchmarks/results/models.json; do not edit. -->

The six architectures beside well-kept peers. Measured on {result["date"]} on
{machine["processor"]}, {machine["cores"]} cores, one thread, with a load average of
{machine["load_average"][0]} at the start; `make bench-models` measures it again. With
{versions}.

Of {len(asked.rows)} wanted numbers {len(met)} were met. All of them stand at the [end](#wanted),
the missed ones first; a missed one stays missed until a change chosen on validation or on simulated
hosts mends it.
{not_measured}
The models are the defaults. The peers are aeon's MiniRocket with a ridge classifier,
MultiRocketHydra and QUANT on the windows, and ExtraTrees and XGBoost on the five statistics of each
channel; all of them weigh classes by inverse frequency.

{sections}
## Wanted

{_markdown(replace(asked, rows=missed + met))}
"""


def _public(result: Mapping[str, Any], by_title: Mapping[str, str]) -> str:
    scale = result["scale"]
    short = any(row["set"].startswith(SHORT_SET) for row in result["public"])
    sets = f"BasicMotions, JapaneseVowels (equal length) and {SHORT_SET}" if short else SETS
    moved = f"""
{SHORT_SET} has series of {RESAMPLED_STEPS} steps. "Moved" is the setting for few short series:
everyone trains on copies moved by up to {MOST_MOVED} steps either way too, networks for
{SHORT["max_epochs"]} epochs, which are about as many optimizer steps.
"""
    return f"""## Public sets

{sets} from aeon's wheel, default split; channels are
standardized by train. The same network classes go through the same loop with one setting for all
sets: the defaults, but batches of {scale["public_settings"]["batch_size"]}, all
{scale["public_settings"]["max_epochs"]} epochs on all training series, the last averaged weights
kept, and neither source dropout nor jitter, as there is one source and one device. Mean of
{scale["public_seeds"]} seeds with its 95 % interval.
{moved if short else ""}
{by_title["Public sets, accuracy"]}
"""


def _simulated(result: Mapping[str, Any], by_title: Mapping[str, str]) -> str:
    scale = result["scale"]
    return f"""## Unseen simulated hosts

{scale["episodes"]} simulated episodes of {len(scale["hosts"])} hosts, seed
{scale["simulation_seed"]}. One host tests ({", ".join(scale["held_out"])} in turn), one validates,
the others train, as in the [host split](splits.md); realistic variant, calibrated by episode. Mean
of {len(scale["held_out"])} hosts × {_seeds(scale)}. Everyone sees the same windows.

{by_title["Simulated unseen hosts"]}

Paired by episode over all hosts, the seeds' counts added; Holm over all pairs.

{by_title["Simulated unseen hosts, paired"]}
"""


def _seen(result: Mapping[str, Any], by_title: Mapping[str, str]) -> str:
    return f"""## Unseen and seen hosts

The same windows of the hosts above, judged by models that trained on other episodes of their host:
five folds by episode over all hosts, one testing, one validating, three training. With five hosts
that is as many episodes on each side as before, so that only having seen the host differs. One
seed.

{by_title["Unseen and seen hosts, macro F1"]}
"""


def _dropout(result: Mapping[str, Any], by_title: Mapping[str, str]) -> str:
    return f"""## Source dropout

A source is dead when all of its readings are unknown. Each model is trained with its default source
dropout and without; recovered is the share of the loss that dropout gives back, and no share is
given where a dead source costs less than {MIN_LOSS:g}. Realistic: the hosts and seeds above;
oracle: the first {result["scale"]["oracle_hosts"]} of the hosts, one seed.

{by_title["Source dropout in training, macro F1"]}
"""


def _recorded(result: Mapping[str, Any], by_title: Mapping[str, str]) -> str:
    recorded = result["recorded"]
    return f"""## Recorded corpus

The project's own host split: {recorded["n_test_episodes"]} episodes and
{recorded["n_test_windows"]} windows of hosts nobody trained on, {_seeds(result["scale"])}. Chosen
by its score on validation: `{recorded["chosen"]}`. Nothing is chosen by what follows; the look at
the test side is logged in the [decisions](../decisions.md).

{by_title["Recorded corpus"]}

The chosen model against each peer, paired by episode:

{by_title["Recorded corpus, paired"]}

{_verdict(recorded)}
"""


def _cost(result: Mapping[str, Any], by_title: Mapping[str, str]) -> str:
    return f"""## Cost

Windows per second of CPU time in training, beside a bare loop of the same network: the same
batches, loss and AdamW, and nothing else (no source dropout, clipping, schedule, guards, averaged
weights or history). Validation belongs to neither. Median of interleaved repetitions.

{by_title["Training on one thread"]}

Wall time of a single window through the exported model, trained on the recorded corpus.

{by_title["One window, ONNX Runtime, one thread, ms"]}
"""


SECTIONS: Final = {
    "public": _public,
    "simulated": _simulated,
    "seen": _seen,
    "dropout": _dropout,
    "recorded": _recorded,
    "training_speed": _cost,
}


def _seeds(scale: Mapping[str, Any]) -> str:
    return "a single seed" if scale["seeds"] == 1 else f"{scale['seeds']} seeds"


def _verdict(recorded: Mapping[str, Any]) -> str:
    better = [title_of(row["peer"]) for row in recorded["pairs"] if row["ci_low"] > 0]
    worse = [title_of(row["peer"]) for row in recorded["pairs"] if row["ci_high"] < 0]
    parts = [
        f"The interval lies above zero against {', '.join(better) or 'no peer'}",
        f"below zero against {', '.join(worse) or 'none'}",
        "and elsewhere the corpus is too small to tell them apart.",
    ]
    return ", ".join(parts)


def _markdown(table: TextTable) -> str:
    lines = [table.headings, ("---",) * len(table.headings), *table.rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


if __name__ == "__main__":
    path = Path(__file__).parent / "results" / "models.json"
    write(json.loads(path.read_text(encoding="utf-8")))
