"""Standings and paired differences over pooled windows of hosts left out in turn."""

from collections.abc import Iterable, Mapping, Sequence
from statistics import fmean
from typing import Any

import numpy as np

from benchmarks.kept import Arrays
from cis490_pipeline.domain import PHASES
from cis490_pipeline.domain.arrays import Ints
from cis490_pipeline.evaluation.confusion import (
    class_f1,
    confusion,
    episode_confusions,
    macro_f1,
)
from cis490_pipeline.evaluation.uncertainty.intervals import episode_interval
from cis490_pipeline.evaluation.uncertainty.paired import compare, holm

Runs = Mapping[tuple[str, str, int], Arrays]
"""By contestant, arrangement and seed."""


def standings(runs: Runs) -> list[dict[str, Any]]:
    """Macro F1 over all windows pooled, mean of the seeds; by phase, and by host left out."""
    rows = []
    for name in names(runs):
        by_seed = {seed: pooled(runs, name, seed) for seed in seeds(runs, name)}
        scores = [macro_f1(_matrix(found)) for found in by_seed.values()]
        interval = episode_interval(counts(by_seed.values()), seed=0)
        phases = np.mean([class_f1(_matrix(found)) for found in by_seed.values()], axis=0)
        some = next(iter(by_seed.values()))
        rows.append(
            {
                "name": name,
                "macro_f1": round(fmean(scores), 4),
                "ci_low": round(interval.low, 4),
                "ci_high": round(interval.high, 4),
                "sd_over_seeds": round(float(np.std(scores, ddof=1)), 4) if scores[1:] else None,
                "by_phase": dict(zip(map(str, PHASES), np.round(phases, 4).tolist(), strict=True)),
                "by_host": {
                    host: round(fmean(_of_host(found, host) for found in by_seed.values()), 4)
                    for host in sorted(set(some["host"]))
                },
                "n_episodes": len(set(some["episode"])),
                "n_windows": len(some["episode"]),
                "seeds": len(by_seed),
                "cpu_seconds": round(
                    fmean(float(r["seconds"]) for key, r in runs.items() if key[0] == name), 1
                ),
            }
        )
    return sorted(rows, key=lambda row: -row["macro_f1"])


def pairs(runs: Runs, first: str, others: Iterable[str]) -> list[dict[str, Any]]:
    """One contestant against others: paired by episode, seeds summed, Holm over these pairs."""
    of = {
        name: counts(pooled(runs, name, seed) for seed in seeds(runs, name))
        for name in (first, *others)
    }
    rows = [
        {"first": first, "second": other} | compare(of[first], of[other], seed=0).to_dict()
        for other in of
        if other != first
    ]
    adjusted = holm([row["p_value"] for row in rows])
    return [row | {"p_holm": p} for row, p in zip(rows, adjusted, strict=True)]


def names(runs: Runs) -> list[str]:
    """Contestants in their order."""
    return list(dict.fromkeys(name for name, _, _ in runs))


def seeds(runs: Runs, name: str) -> list[int]:
    """Seeds a contestant was trained with."""
    return sorted({seed for key, _, seed in runs if key == name})


def pooled(runs: Runs, name: str, seed: int) -> Arrays:
    """Windows of all arrangements, one after another."""
    found = [r for (of, _, s), r in sorted(runs.items()) if (of, s) == (name, seed)]
    keys = ("y_true", "alive", "episode", "host", "proba")
    return {key: np.concatenate([r[key] for r in found]) for key in keys if key in found[0]}


def counts(found: Iterable[Arrays]) -> Ints:
    """(E, K, K) confusion matrices by episode, summed over the seeds of each episode."""
    parts = list(found)
    columns = (np.concatenate([r[key] for r in parts]) for key in ("y_true", "alive", "episode"))
    return episode_confusions(*columns).counts


def ensemble(runs: Runs, parts: Sequence[str], name: str) -> dict[tuple[str, str, int], Arrays]:
    """Mean of the probabilities of some models, as runs of another contestant."""
    made = {}
    for of, place, seed in runs:
        if of != parts[0]:
            continue
        together = [runs[part, place, seed] for part in parts]
        first = together[0]
        if any((r["episode"] != first["episode"]).any() for r in together):
            raise ValueError(f"{place}: {' and '.join(parts)} were tested on other windows")
        proba = np.mean([r["proba"] for r in together], axis=0)
        seconds = np.array(sum(float(r["seconds"]) for r in together))
        made[name, place, seed] = {
            **{key: first[key] for key in ("y_true", "episode", "host")},
            "proba": proba,
            "alive": proba.argmax(axis=1),
            "seconds": seconds,
        }
    return made


def _matrix(found: Arrays) -> Ints:
    return confusion(found["y_true"], found["alive"])


def _of_host(found: Arrays, host: str) -> float:
    here = found["host"] == host
    return macro_f1(confusion(found["y_true"][here], found["alive"][here]))
