"""What Dagster costs: time beside `cis490 run`, steps, events, and whether SQLite bears it.

Run as ``python -m benchmarks.dagster_overhead [FOLDER]``. Models are trained for one epoch or ten
rounds: what Dagster adds does not depend on how long a step works. A busy machine adds to both
sides; the load is printed.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from unittest.mock import patch

import dagster as dg

from benchmarks.measuring import Line, at_most
from cis490_pipeline.compute import SerialCompute
from cis490_pipeline.config import Settings
from cis490_pipeline.experiment.stages.workspace import Workspace
from cis490_pipeline.orchestration.definitions import corpus_assets
from cis490_pipeline.simulation.store import SimulationConfig, simulate_store
from cis490_pipeline.store.verdicts import sweep
from cis490_pipeline_tests.orchestration.dev_server import DevServer
from cis490_pipeline_tests.orchestration.making import SAMPLE

QUICK = """[models]
gbt = { max_rounds = 10 }
mlp = { max_epochs = 1 }
cnn = { max_epochs = 1 }
gru = { max_epochs = 1 }
lstm = { max_epochs = 1 }
transformer = { max_epochs = 1 }
"""
RECIPES = ("host", "sample", "time")


def command_line_seconds(folder: Path) -> float:
    """Seconds of `cis490 run` of the host split from nothing."""
    folder.mkdir()
    (folder / "cis490.toml").write_text(QUICK)
    words = ("run", "--split", "host", "--store", str(SAMPLE), "--data", "data", "--json")
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("CIS490_", "DAGSTER_"))}
    started = time.perf_counter()
    subprocess.run(
        [sys.executable, "-m", "cis490_pipeline", *words],
        cwd=folder,
        env=kept,
        check=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    return time.perf_counter() - started


def steps_and_events(server: DevServer, run: str) -> tuple[int, int, int]:
    """Count a run's steps, the most events of one step, and events in all."""
    events = [event for event in server.events(run) if event.get("eventType")]
    by_step = Counter(event["stepKey"] for event in events if event["stepKey"])
    return len(by_step), max(by_step.values()), len(events)


def in_the_ui(folder: Path, alone_s: float) -> list[Line]:
    """Launch the same over GraphQL, then all three splits at once."""
    folder.mkdir()
    (folder / "cis490.toml").write_text(QUICK)
    server = DevServer(folder)
    try:
        server.wait_until_loaded()
        started = time.perf_counter()
        ended = [server.wait_for(server.launch("corpus"), 600)]
        run = server.launch("recipe", "host")
        ended.append(server.wait_for(run, 1800))
        ui_s = time.perf_counter() - started
        steps, most, n_events = steps_and_events(server, run)
        started = time.perf_counter()
        runs = [server.launch("recipe", recipe) for recipe in RECIPES]
        ended += [server.wait_for(run, 3600) for run in runs]
        three_s = time.perf_counter() - started
        logs = server.log.read_text(errors="replace")
        for run in runs:
            logs += "\n".join(event["message"] or "" for event in server.events(run))
        locked = logs.count("database is locked")
    finally:
        server.destroy()
    detail = f"UI {ui_s:.0f} s, `cis490 run` {alone_s:.0f} s"
    return [
        at_most("overhead of a recipe from the UI", ui_s - alone_s, 60, unit="s", detail=detail),
        at_most("steps of a recipe run", steps, 60, unit="", detail=f"{n_events} events in all"),
        at_most("events of a step, at most", most, 40, unit=""),
        at_most("runs that failed", sum(end != "SUCCESS" for end in ended), 0, unit=""),
        at_most(
            "lock errors of three recipes at once on SQLite",
            locked,
            0,
            unit="",
            detail=f"{three_s:.0f} s for the three",
        ),
    ]


def cpu_seconds(code: str) -> float:
    """CPU seconds of a process of its own that does no more; of five, the least."""
    words = [sys.executable, "-c", f"import time\n{code}\nprint(time.process_time())"]
    done = [subprocess.run(words, check=True, capture_output=True, text=True) for _ in range(5)]
    return min(float(process.stdout) for process in done)


def load_of_the_definitions() -> list[Line]:
    """Measure what a code server does before it can answer, beside what of it are libraries."""
    libraries_s = cpu_seconds("import dagster, polars")
    load_s = cpu_seconds("import cis490_pipeline.orchestration.definitions")
    detail = f"dagster and polars alone {libraries_s:.2f} s"
    return [
        at_most("load of the definitions, CPU", load_s, 3, unit="s", detail=detail),
        at_most("the same by dagster and polars alone", load_s / libraries_s, 2.5),
    ]


def sweep_of_300(folder: Path) -> list[Line]:
    """Events of a sweep that is 300 tasks, one episode each; and of one that finds nothing new."""
    simulate_store(folder / "store", SimulationConfig(episodes=300, seed=0), SerialCompute())
    workspace = Workspace(Settings(store=folder / "store", data=folder / "data"))
    # One episode a task, so that there are 300 pieces of work.
    one = patch.object(sweep, "_EPISODES_PER_TASK", 1)
    with one, dg.DagsterInstance.ephemeral() as instance:
        runs = []
        seconds = []
        for _ in range(2):
            started = time.perf_counter()
            result = dg.materialize(
                corpus_assets,
                instance=instance,
                resources={"workspace": dg.ResourceDefinition.hardcoded_resource(workspace)},
                run_config={"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}},
            )
            seconds.append(time.perf_counter() - started)
            runs.append(result.run_id)
        n_events = len(instance.all_logs(runs[0]))
    detail = f"with all of them new {seconds[0]:.1f} s"
    return [
        at_most("events of a sweep of 300 pieces of work", n_events, 200, unit=""),
        at_most("a sweep that finds nothing new", seconds[1], 5, unit="s", detail=detail),
    ]


def main() -> int:
    """Measure, print, and write benchmarks/results/dagster.json."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(temporary)
        before = os.getloadavg()
        lines = load_of_the_definitions() + sweep_of_300(folder / "sweep")
        alone_s = command_line_seconds(folder / "alone")
        lines += in_the_ui(folder / "ui", alone_s)
    load = {"before": before, "after": os.getloadavg(), "processors": os.cpu_count()}
    for line in lines:
        met = "met" if line.met else "MISSED"
        print(
            f"{met:<7} {line.name:<50} {line.measured:8.2f} {line.unit:<2} "
            f"wanted {line.wanted}  {line.detail}"
        )
    print(f"load {load}")
    result = {"load": load, "lines": [line.to_dict() for line in lines]}
    path = Path(__file__).parent / "results" / "dagster.json"
    path.write_text(json.dumps(result, indent=1) + "\n")
    return 0 if all(line.met for line in lines) else 1


if __name__ == "__main__":
    sys.exit(main())
