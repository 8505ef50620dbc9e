"""``cis490 simulate``: a made-up store, for scale and for tests."""

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
@click.option("--episodes", type=int, required=True, help="How many to make.")
@click.option("--seed", type=int, default=0, show_default=True, help="The same seed: same bytes.")
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
    """Write a store of simulated episodes into STORE, a folder that is absent or empty.

    Everything in it says that it is simulated. STORE/truth.jsonl says what `validate` must find. A
    run that is stopped leaves nothing behind; run it again.
    """
    # A path has lost one of the two slashes by now.
    if ":/" in str(store):
        raise click.BadParameter("must be a folder of this machine; copy it to an address later")
    names = tuple(name.strip() for name in hosts.split(",") if name.strip())
    config = SimulationConfig(episodes=episodes, seed=seed, hosts=names, faults=faults)
    processes = workers or available_processors()
    compute: Compute = SerialCompute() if processes == 1 else ProcessCompute(processes)
    with progress_bars() as report:
        origin = simulate_store(
            store, config, compute, lambda done, total: report("simulate episodes", done, total)
        )
    if as_json:
        print_json(origin)
        return 0
    for group in ("counts", "reasons"):
        for name, n in sorted(origin[group].items()):
            click.echo(f"{name}: {n}")
    stderr.print(f"what to expect of each episode is in {store / TRUTH_FILE}", soft_wrap=True)
    return 0
