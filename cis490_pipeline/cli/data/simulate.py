"""``cis490 simulate``: write a simulated store for scaling and tests."""

from pathlib import Path

import click

from cis490_pipeline.cli.options import json_option, print_json, progress_bars, stderr
from cis490_pipeline.compute import Compute, ProcessCompute, SerialCompute
from cis490_pipeline.config import available_processors
from cis490_pipeline.simulation.store import (
    DEFAULT_HOSTS,
    TRUTH_FILE,
    SimulationConfig,
    simulate_store,
)


@click.command()
@click.argument("store", type=click.Path(file_okay=False, path_type=Path))
@click.option("--episodes", type=int, required=True, help="Number of episodes.")
@click.option(
    "--seed", type=int, default=0, show_default=True, help="Equal seeds give equal bytes."
)
@click.option(
    "--hosts", metavar="A,B", default=",".join(DEFAULT_HOSTS), show_default=True, help="Host names."
)
@click.option(
    "--faults", type=float, default=0.0, show_default=True, help="Share of episodes with a fault."
)
@click.option("--workers", type=click.IntRange(1, 1024), help="Processes; all cores by default.")
@json_option
def simulate(
    store: Path,
    episodes: int,
    seed: int,
    hosts: str,
    faults: float,
    workers: int | None,
    as_json: bool,
) -> int:
    """Write a store of simulated episodes to STORE, a folder that is absent or empty.

    Every episode is marked as simulated. STORE/truth.jsonl lists what `validate` must find. A run
    that is stopped leaves nothing behind.
    """
    # ``Path`` has collapsed the two slashes of an address.
    if ":/" in str(store):
        raise click.BadParameter("must be a local folder; copy it to an address later")
    names = tuple(name.strip() for name in hosts.split(",") if name.strip())
    config = SimulationConfig(episodes=episodes, seed=seed, hosts=names, faults=faults)
    processes = workers or available_processors()
    compute: Compute = SerialCompute() if processes == 1 else ProcessCompute(processes)
    with progress_bars() as report:
        origin = simulate_store(store, config, compute, report)
    if as_json:
        print_json(origin)
        return 0
    for group in ("counts", "reasons"):
        for name, n in sorted(origin[group].items()):
            click.echo(f"{name}: {n}")
    stderr.print(f"the expected verdicts are in {store / TRUTH_FILE}", soft_wrap=True)
    return 0
