"""Measure how credible the simulator is, and how fast.

Simulates a store, takes it through the pipeline's own stages, and prints what guesses and a GBT
reach on hosts that were never trained on. Credible: position alone below .35, the best single
threshold below .55, the GBT between .6 and .9.

Development used hosts dev-a to dev-x and seeds 1 to 4; scores to report come from others.

    python benchmarks/simulator.py --seed 7001 --hosts sim-alder,sim-birch,…  --unseen 2
"""

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl

from cis490_pipeline.compute import ProcessCompute, SerialCompute
from cis490_pipeline.compute.process import pin_library_threads
from cis490_pipeline.config import Settings
from cis490_pipeline.domain import PHASES, Architecture, Phase, Recipe, Side, Variant
from cis490_pipeline.evaluation.confusion import class_f1, confusion, macro_f1
from cis490_pipeline.evaluation.probes.learn import position_probe
from cis490_pipeline.experiment.pipeline.corpus import corpus_stages
from cis490_pipeline.experiment.pipeline.dataset import FeatureShards, ValidationIndex
from cis490_pipeline.experiment.stages.workspace import Workspace
from cis490_pipeline.features.calibration.calibrator import CalibrationMode
from cis490_pipeline.features.datasets.load import fit_calibrator, load_windows, window_keys
from cis490_pipeline.features.summary import summary_names
from cis490_pipeline.simulation.parameters import SIMULATOR_DIGEST
from cis490_pipeline.simulation.store import SimulationConfig, simulate_store

HOSTS = "sim-alder,sim-birch,sim-cedar,sim-dogwood,sim-elder,sim-fir"
INFECTED = [k for k, phase in enumerate(PHASES) if phase not in (Phase.CLEAN, Phase.ARMED)]

Floats = npt.NDArray[np.float32]
Classes = npt.NDArray[np.int64]
Tree = Callable[[Floats], Classes]


def best_threshold(X: Floats, y: Classes, n_classes: int) -> tuple[int, float, int, int]:
    """Return the feature, threshold and two classes with the highest macro F1 on these windows."""
    total = np.bincount(y, minlength=n_classes)
    one_hot = np.eye(n_classes)[y]
    present = int((total > 0).sum())
    best = (-1.0, (0, 0.0, 0, 0))
    for j in range(X.shape[1]):
        x = np.nan_to_num(X[:, j], nan=-np.inf)
        order = np.argsort(x, kind="stable")
        below = np.cumsum(one_hot[order], axis=0)
        cut = np.flatnonzero(np.diff(x[order]) > 0)
        if not cut.size:
            continue
        low = below[cut]
        high = total - low
        f1_low = 2 * low / (low.sum(axis=1, keepdims=True) + total)
        f1_high = 2 * high / (high.sum(axis=1, keepdims=True) + total)
        pair = (f1_low[:, :, None] + f1_high[:, None, :]) / present
        pair[:, range(n_classes), range(n_classes)] = 0.0
        flat = int(pair.argmax())
        if pair.flat[flat] > best[0]:
            i, a, b = np.unravel_index(flat, pair.shape)
            best = (float(pair.flat[flat]), (j, float(x[order][cut[i]]), int(a), int(b)))
    return best[1]


def apply_threshold(X: Floats, rule: tuple[int, float, int, int]) -> Classes:
    column, threshold, low, high = rule
    x = np.nan_to_num(X[:, column], nan=-np.inf)
    return np.where(x > threshold, high, low).astype(np.int64)


def one_channel_tree(X: Floats, y: Classes, names: tuple[str, ...]) -> tuple[str, Tree]:
    """Return the statistic of which a tree with five leaves makes the most on these windows."""
    from sklearn.tree import DecisionTreeClassifier

    best: tuple[float, int, Tree | None] = (-1.0, 0, None)
    for j in range(X.shape[1]):
        column = np.nan_to_num(X[:, [j]], nan=-99.0)
        tree = DecisionTreeClassifier(
            max_leaf_nodes=5, min_samples_leaf=20, class_weight="balanced", random_state=0
        ).fit(column, y)
        reached = score(y, tree.predict(column))
        if reached > best[0]:
            best = (
                reached,
                j,
                lambda x, j=j, tree=tree: tree.predict(np.nan_to_num(x[:, [j]], nan=-99.0)),
            )
    assert best[2] is not None
    return names[best[1]], best[2]


def score(y: Classes, predicted: Classes) -> float:
    return float(macro_f1(confusion(y, predicted)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=7001)
    parser.add_argument("--hosts", default=HOSTS)
    parser.add_argument("--unseen", type=int, default=2, help="How many of the hosts, the last")
    parser.add_argument("--episodes", type=int, default=300)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--variant", choices=[*map(str, Variant)], default="realistic")
    arguments = parser.parse_args()
    pin_library_threads()
    hosts = tuple(arguments.hosts.split(","))
    with tempfile.TemporaryDirectory() as folder:
        report(Path(folder), hosts, hosts[: -arguments.unseen], arguments)


def report(
    folder: Path,
    hosts: tuple[str, ...],
    train_hosts: tuple[str, ...],
    arguments: argparse.Namespace,
) -> None:
    from cis490_pipeline.models.registry import create

    variant = Variant(arguments.variant)
    config = SimulationConfig(episodes=arguments.episodes, seed=arguments.seed, hosts=hosts)
    compute = SerialCompute() if arguments.workers == 1 else ProcessCompute(arguments.workers)
    wall, cpu = time.perf_counter(), time.process_time()
    simulate_store(folder / "store", config, compute)
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    rate = config.episodes / (cpu if arguments.workers == 1 else wall)
    print(f"simulator {SIMULATOR_DIGEST[:16]}, seed {config.seed}: {config.episodes} episodes")
    print(f"  {rate:.0f} episodes/s of CPU, {config.episodes / wall:.0f}/s by the clock")
    settings = Settings(
        store=folder / "store", data=folder / "data", train_hosts=train_hosts,
        workers=arguments.workers,
    )  # fmt: skip
    workspace = Workspace(settings)
    recipe = Recipe.HOST
    shards = FeatureShards(workspace, recipe)
    for stage in (*corpus_stages(workspace), ValidationIndex(workspace, recipe), shards):
        stage.ensure()
    dataset = shards.open()
    calibrator = fit_calibrator(dataset, variant, CalibrationMode.EPISODE_BASELINE)
    sides = {
        side: load_windows(dataset, side, calibrator) for side in (Side.TRAIN, Side.VAL, Side.TEST)
    }
    X = {side: windows.take(np.arange(len(windows))) for side, windows in sides.items()}
    train, test = sides[Side.TRAIN], sides[Side.TEST]
    shares = np.bincount(test.y, minlength=len(PHASES)) / len(test)
    print(f"  train on {', '.join(train_hosts)}: {len(train)} windows; test {len(test)}")
    print("  " + ", ".join(f"{p} {s:.2f}" for p, s in zip(PHASES, shares, strict=True)))

    keys = {side: window_keys(dataset, side) for side in sides}
    position = position_probe(keys[Side.TRAIN], keys[Side.TEST], seed=0)
    proba = position.select(pl.selectors.starts_with("p_")).to_numpy()
    print(f"position alone                     {score(test.y, proba.argmax(axis=1)):.3f}  (< .35)")

    report_thresholds(X, {side: windows.y for side, windows in sides.items()}, variant)
    model = create(Architecture.GBT, variant, seed=0, config={"threads": 1})
    model.fit(train, sides[Side.VAL])
    predicted = model.predict(X[Side.TEST])
    print(f"GBT {variant}, unseen hosts      {score(test.y, predicted):.3f}  (.6 to .9)")
    matrix = confusion(test.y, predicted)
    print("  " + ", ".join(f"{p} {f:.2f}" for p, f in zip(PHASES, class_f1(matrix), strict=True)))
    host_of = keys[Side.TEST]["host_id"].to_numpy()
    for host in sorted(set(host_of)):
        rows = host_of == host
        print(f"  {host:<32} {score(test.y[rows], predicted[rows]):.3f}")


def report_thresholds(X: dict[Side, Floats], y: dict[Side, Classes], variant: Variant) -> None:
    names = summary_names(variant)
    rule = best_threshold(X[Side.TRAIN], y[Side.TRAIN], len(PHASES))
    single = score(y[Side.TEST], apply_threshold(X[Side.TEST], rule))
    print(f"best single threshold, five phases {single:.3f}  (< .55) {names[rule[0]]}")
    hindsight = best_threshold(X[Side.TEST], y[Side.TEST], len(PHASES))
    best = score(y[Side.TEST], apply_threshold(X[Side.TEST], hindsight))
    print(f"  the same, chosen on the test     {best:.3f}  (< .55) {names[hindsight[0]]}")
    name, tree = one_channel_tree(X[Side.TRAIN], y[Side.TRAIN], names)
    several = score(y[Side.TEST], tree(X[Side.TEST]))
    print(f"one channel, four thresholds       {several:.3f}  (< .55) {name}")
    alarm = {side: np.isin(y[side], INFECTED).astype(np.int64) for side in y}
    rule = best_threshold(X[Side.TRAIN], alarm[Side.TRAIN], 2)
    single = score(alarm[Side.TEST], apply_threshold(X[Side.TEST], rule))
    print(f"  infected or not, two classes     {single:.3f}          {names[rule[0]]}")


if __name__ == "__main__":
    main()
