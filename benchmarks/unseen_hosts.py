"""The six models beside their peers on hosts nobody trained on, and what source dropout gains."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np

from benchmarks.contest import MODELS, Arrangement, counts, run, score
from benchmarks.host_sides import N_FOLDS, held_out, seen_hosts, unseen_host
from benchmarks.kept import Arrays, Kept
from benchmarks.model_peers import PEERS
from cis490_pipeline.domain import Variant
from cis490_pipeline.evaluation.confusion import confusion, macro_f1
from cis490_pipeline.evaluation.uncertainty.paired import compare, holm
from cis490_pipeline.experiment.stages.workspace import Workspace

CONTESTANTS = (*MODELS, *PEERS)
NO_DROPOUT = {"source_dropout": 0.0}

Runs = Mapping[tuple[str, str, int], Arrays]
"""By contestant, held-out host and seed."""


@dataclass(frozen=True, eq=False)
class Bench:
    """One store and what is measured on it."""

    workspace: Workspace
    kept: Kept
    folder: Path
    hosts: tuple[str, ...]
    n_held_out: int
    seeds: int
    settings: Mapping[str, Mapping[str, Any]]
    """Settings of models other than their defaults, by name; for a quick look only."""
    peers: tuple[str, ...] = tuple(PEERS)

    def unseen(self, host: str, variant: Variant = Variant.REALISTIC) -> Arrangement:
        """One host tests, one validates, the others train."""
        index = unseen_host(self.workspace, host, self.hosts)
        name = f"unseen {host}"
        return Arrangement(name, self.workspace, index, self.folder / name, variant)

    def fold(self, number: int) -> Arrangement:
        """Every host on every side."""
        name = f"seen {number}"
        index = seen_hosts(self.workspace, number)
        return Arrangement(name, self.workspace, index, self.folder / name)

    @property
    def held_out(self) -> tuple[str, ...]:
        """Hosts that test in turn."""
        return held_out(self.hosts, self.n_held_out)

    def run(
        self, arrangement: Arrangement, name: str, seed: int, extra: Mapping[str, Any] | None = None
    ) -> Arrays:
        """One contestant on one arrangement."""
        config = {**self.settings.get(name, {}), **(extra or {})}
        return run(self.kept, arrangement, name, seed, config)


def contest(bench: Bench) -> Runs:
    """Every contestant on every held-out host with every seed."""
    arrangements = {host: bench.unseen(host) for host in bench.held_out}
    return {
        (name, host, seed): bench.run(arrangement, name, seed)
        for seed in range(bench.seeds)
        for host, arrangement in arrangements.items()
        for name in (*MODELS, *bench.peers)
    }


def standings(runs: Runs) -> list[dict[str, Any]]:
    """Mean macro F1 over hosts and seeds of every contestant, its spread, and each host's own."""
    rows = []
    for name in _names(runs):
        of = {key[1:]: score(found) for key, found in runs.items() if key[0] == name}
        hosts = sorted({host for host, _ in of})
        rows.append(
            {
                "name": name,
                "macro_f1": round(fmean(of.values()), 4),
                "sd_over_seeds": _seed_sd(of),
                "val_macro_f1": round(
                    fmean(float(r["val_macro_f1"]) for key, r in runs.items() if key[0] == name), 4
                ),
                "by_host": {
                    host: round(fmean(s for (h, _), s in of.items() if h == host), 4)
                    for host in hosts
                },
                "cpu_seconds": round(
                    fmean(float(r["seconds"]) for key, r in runs.items() if key[0] == name), 1
                ),
            }
        )
    return rows


def pairs(runs: Runs, models: Iterable[str] = MODELS) -> list[dict[str, Any]]:
    """Each model against each peer: paired by episode, Holm over all of these pairs."""
    matrices = {
        name: counts([found for key, found in sorted(runs.items()) if key[0] == name])
        for name in _names(runs)
    }
    rows = [
        {"model": model, "peer": peer} | compare(matrices[model], matrices[peer], seed=0).to_dict()
        for model in models
        for peer in PEERS
        if peer in matrices
    ]
    adjusted = holm([row["p_value"] for row in rows])
    return [row | {"p_holm": p} for row, p in zip(rows, adjusted, strict=True)]


def seen_and_unseen(bench: Bench, runs: Runs) -> list[dict[str, Any]]:
    """Macro F1 on the same hosts' windows, trained with and without the host's other episodes."""
    folds = [bench.fold(number) for number in range(N_FOLDS)]
    rows = []
    for name in MODELS:
        found = [bench.run(fold, name, 0) for fold in folds]
        y_true, y_pred, host = (
            np.concatenate([part[key] for part in found]) for key in ("y_true", "alive", "host")
        )
        seen = fmean(
            macro_f1(confusion(y_true[host == h], y_pred[host == h])) for h in bench.held_out
        )
        unseen = fmean(score(r) for key, r in runs.items() if key[0] == name)
        rows.append(
            {
                "model": name,
                "unseen": round(unseen, 4),
                "seen": round(seen, 4),
                "seen_all_hosts": round(macro_f1(confusion(y_true, y_pred)), 4),
                "ratio": round(unseen / seen, 4),
            }
        )
    return rows


def source_dropout(
    bench: Bench, variant: Variant, hosts: Sequence[str], models: Sequence[str], seeds: int
) -> list[dict[str, Any]]:
    """Train with and without source dropout, and let each source die in turn."""
    rows = []
    arrangements = [bench.unseen(host, variant) for host in hosts]
    for name in models:
        pairs_of_runs = [
            (bench.run(place, name, seed), bench.run(place, name, seed, NO_DROPOUT))
            for place in arrangements
            for seed in range(seeds)
        ]
        alive_with, alive_without = (
            fmean(score(pair[i]) for pair in pairs_of_runs) for i in (0, 1)
        )
        for key in sorted(key for key in pairs_of_runs[0][0] if key.startswith("dead_")):
            dead_with, dead_without = (
                fmean(score(pair[i], key) for pair in pairs_of_runs) for i in (0, 1)
            )
            lost = alive_without - dead_without
            rows.append(
                {
                    "model": name,
                    "variant": str(variant),
                    "source": key.removeprefix("dead_"),
                    "alive_with": round(alive_with, 4),
                    "alive_without": round(alive_without, 4),
                    "dead_with": round(dead_with, 4),
                    "dead_without": round(dead_without, 4),
                    # A share of next to nothing is noise.
                    "recovered": round((dead_with - dead_without) / lost, 3)
                    if lost >= MIN_LOSS
                    else None,
                    "n_trainings": len(pairs_of_runs),
                }
            )
    return rows


MIN_LOSS = 0.02
"""Loss of macro F1 by a dead source below which no share of it is given."""


def _names(runs: Runs) -> list[str]:
    return list(dict.fromkeys(name for name, _, _ in runs))


def _seed_sd(of: Mapping[tuple[str, int], float]) -> float | None:
    """Spread of the mean over hosts from seed to seed; None of a single seed."""
    seeds = sorted({seed for _, seed in of})
    means = [fmean(s for (_, seed), s in of.items() if seed == k) for k in seeds]
    return round(float(np.std(means, ddof=1)), 4) if len(means) > 1 else None
