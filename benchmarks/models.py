"""The six architectures beside well-kept peers: ``make bench-models`` prints these tables.

Each finished training is kept in the work folder; a stopped run goes on where it was.
"""

import argparse
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from statistics import fmean
from typing import Any

from benchmarks import model_speed, models_page, models_show, public_sets, recorded_corpus
from benchmarks.contest import MODELS
from benchmarks.host_sides import simulated
from benchmarks.kept import Kept
from benchmarks.measuring import Line, at_least, at_most, machine
from benchmarks.model_peers import PEERS
from benchmarks.unseen_hosts import (
    Bench,
    Runs,
    contest,
    pairs,
    seen_and_unseen,
    source_dropout,
    standings,
)
from cis490_pipeline.checkpoints.versions import library_versions
from cis490_pipeline.domain import Architecture, Variant
from cis490_pipeline.domain.catalogue import input_kind
from cis490_pipeline.simulation.store import SimulationConfig

RESULTS = Path(__file__).parent / "results" / "models.json"
SAMPLE = Path("data/sample")
HOSTS = ("sim-alder", "sim-birch", "sim-cedar", "sim-dogwood", "sim-elm")
SIMULATION_SEED = 700_000
"""Of a store that nothing was chosen on."""
MARGINS = {"minirocket": 0.0, "extra_trees": -0.01}
"""By how much at least a model's macro F1 must be above a peer's."""
SECTIONS = ("public", "simulated", "seen", "dropout", "recorded", "speed")


@dataclass(frozen=True, kw_only=True)
class Scale:
    """How much is measured."""

    episodes: int = 320
    hosts: tuple[str, ...] = HOSTS
    n_held_out: int = 3
    seeds: int = 3
    public_seeds: int = 5
    settings: Mapping[str, Mapping[str, Any]]
    public_settings: Mapping[str, Any]
    oracle_hosts: int = 3
    peers: tuple[str, ...] = tuple(PEERS)
    """On the simulated store; QUANT trains for minutes there."""
    repetitions: int = 7
    calls: int = 2000


FULL = Scale(settings={}, public_settings=public_sets.SETTINGS)
QUICK = Scale(
    episodes=60,
    n_held_out=1,
    seeds=1,
    public_seeds=1,
    settings={"gbt": {"max_rounds": 20}}
    | {name: {"max_epochs": 3} for name in MODELS if name != "gbt"},
    public_settings=dict(public_sets.SETTINGS) | {"max_epochs": 10},
    repetitions=1,
    calls=300,
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a small part; writes no result")
    parser.add_argument("--work", type=Path, default=Path("data/bench-models"))
    parser.add_argument("--seeds", type=int, default=FULL.seeds, help="of each training")
    parser.add_argument("--peers", choices=PEERS, nargs="+", default=FULL.peers)
    parser.add_argument("--only", choices=SECTIONS, nargs="+", default=SECTIONS)
    options = parser.parse_args()
    scale = (
        QUICK if options.quick else replace(FULL, seeds=options.seeds, peers=tuple(options.peers))
    )
    result = measure(scale, options.work / ("quick" if options.quick else "full"), options.only)
    models_show.show(result)
    if options.quick:
        return
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(result, indent=1, ensure_ascii=False) + "\n", "utf-8")
    models_page.write(result)


def measure(scale: Scale, work: Path, only: Sequence[str] = SECTIONS) -> dict[str, Any]:
    """Measure the sections asked for, and train what they need if nobody has yet."""
    versions = library_versions() | {name: version(name) for name in ("aeon", "numba")}
    described = machine()
    kept = Kept(work / "kept", versions)
    result: dict[str, Any] = {
        "date": datetime.now(UTC).date().isoformat(),
        "machine": described,
        "versions": versions,
        "scale": {
            "episodes": scale.episodes,
            "hosts": list(scale.hosts),
            "simulation_seed": SIMULATION_SEED,
            "held_out": list(sorted(scale.hosts)[: scale.n_held_out]),
            "seeds": scale.seeds,
            "public_seeds": scale.public_seeds,
            "public_settings": dict(scale.public_settings),
            "oracle_hosts": scale.oracle_hosts,
        },
    }
    if "public" in only:
        result["public"] = public_sets.measure(kept, scale.public_seeds, scale.public_settings)
    if set(only) & {"simulated", "seen", "dropout"}:
        result |= _simulated(scale, work, kept, only)
    if set(only) & {"recorded", "speed"}:
        result |= _recorded(scale, work, kept, only)
    result["lines"] = [line.to_dict() for line in lines(result)]
    return result


def _simulated(scale: Scale, work: Path, kept: Kept, only: Sequence[str]) -> dict[str, Any]:
    config = SimulationConfig(episodes=scale.episodes, seed=SIMULATION_SEED, hosts=scale.hosts)
    folder = work / "simulated"
    bench = Bench(
        workspace=simulated(folder, config),
        kept=kept,
        folder=folder,
        hosts=scale.hosts,
        n_held_out=scale.n_held_out,
        seeds=scale.seeds,
        settings=scale.settings,
        peers=scale.peers,
    )
    runs = contest(bench)
    result: dict[str, Any] = {"simulated": {"standings": standings(runs), "pairs": pairs(runs)}}
    if "seen" in only:
        result["seen"] = seen_and_unseen(bench, runs)
    if "dropout" in only:
        result["dropout"] = source_dropout(
            bench, Variant.REALISTIC, bench.held_out, MODELS, seeds=scale.seeds
        ) + source_dropout(
            bench, Variant.ORACLE, bench.held_out[: scale.oracle_hosts], MODELS, seeds=1
        )
    return result


def _recorded(scale: Scale, work: Path, kept: Kept, only: Sequence[str]) -> dict[str, Any]:
    place = recorded_corpus.arrangement(SAMPLE, work / "recorded")
    found, runs = recorded_corpus.measure(place, kept, scale.seeds, scale.settings)
    result: dict[str, Any] = {"recorded": found} if "recorded" in only else {}
    if "speed" in only:
        result["training_speed"] = [
            model_speed.training_speed(
                name,
                place.sides(input_kind(Architecture(name))).train,
                epochs=10,
                repetitions=scale.repetitions,
            )
            for name in model_speed.NETWORKS
        ]
        result["latency"] = _latencies(place, runs, scale.calls)
        result["parameters"] = {name: model_speed.parameters(name) for name in MODELS}
    return result


def _latencies(place: Any, runs: Runs, calls: int) -> list[dict[str, Any]]:
    return [
        model_speed.latency(
            name,
            str(place.variant),
            runs[name, recorded_corpus.NAME, 0]["onnx"].tobytes(),
            place.sides(input_kind(Architecture(name))).test,
            calls=calls,
        )
        for name in MODELS
    ]


def lines(result: Mapping[str, Any]) -> list[Line]:
    """Set what was measured beside what was wanted, for the sections that were run."""
    found = []
    for row in result.get("public", ()):
        if row["wanted"]:
            name = f"{row['set']}, {row['model']}: accuracy"
            found.append(at_least(name, fmean(row["accuracies"]), row["wanted"], unit=""))
    if "simulated" in result:
        scores = {row["name"]: row["macro_f1"] for row in result["simulated"]["standings"]}
        for model in MODELS:
            for peer, margin in MARGINS.items():
                if peer not in scores:
                    continue
                name = f"simulated unseen hosts, {model} − {peer}: macro F1"
                ahead = round(scores[model] - scores[peer], 4)
                found.append(at_least(name, ahead, margin, unit=""))
    found += [
        at_least(f"{row['model']}: unseen / seen hosts", row["ratio"], 0.9)
        for row in result.get("seen", ())
    ]
    found += _dropout_lines(result.get("dropout", ()))
    for row in result.get("training_speed", ()):
        found.append(at_least(f"{row['model']}: training / bare loop", row["share"], 0.8))
    for row in result.get("latency", ()):
        name = f"{row['model']}: one window, ONNX Runtime, p50"
        found.append(at_most(name, row["p50_ms"], 1.0, unit="ms"))
    return found


def _dropout_lines(rows: Sequence[Mapping[str, Any]]) -> list[Line]:
    found = []
    for row in rows:
        name = f"{row['model']} {row['variant']}, dead {row['source']}"
        if row["recovered"] is not None:
            found.append(at_least(f"{name}: loss recovered", row["recovered"], 0.5, unit=""))
    costs = {(r["model"], r["variant"]): r["alive_without"] - r["alive_with"] for r in rows}
    for (model, variant), cost in costs.items():
        found.append(
            at_most(f"{model} {variant}: cost of source dropout", round(cost, 4), 0.01, unit="")
        )
    return found


if __name__ == "__main__":
    main()
