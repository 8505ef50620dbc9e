"""The run that the documentation quotes: the host split as JSON, with its origin.

``python -m benchmarks.documented_run`` runs ``cis490 run`` and ``cis490 study`` on the recorded
sample with default settings, in a fresh folder or the one of ``--data``, and writes
``benchmarks/results/run.json``. ``python -m docs.make_reference`` then makes every number that
README and docs quote of a run from that file.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from benchmarks.measuring import machine
from cis490_pipeline.checkpoints.describe import describe
from cis490_pipeline.checkpoints.versions import library_versions
from cis490_pipeline.config import Settings
from cis490_pipeline.experiment.stages.provenance import commit
from cis490_pipeline.storage.data_paths import DataPaths
from cis490_pipeline.storage.files import read_json

ROOT: Final = Path(__file__).parents[1]
RESULTS: Final = ROOT / "benchmarks" / "results" / "run.json"
SPLIT: Final = "host"
NETWORK: Final = "gru_realistic"
"""Any network: its checkpoint names the kernels that torch chose."""
REPORT_PARTS: Final = ("macro_f1", "ci_low", "ci_high", "per_class", "confusion", "host_minimum")
DETECTION_PARTS: Final = ("time_to_detection", "false_alarms", "episodes", "filtered", "ppv")
STUDY_PARTS: Final = ("profiles", "hosts", "time")


def main(arguments: list[str] | None = None) -> int:
    """Run, and write what came of it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--data", type=Path, help="data folder to make or to take up; else a new one"
    )
    parser.add_argument("--out", type=Path, default=RESULTS, help="file to write")
    given = parser.parse_args(arguments)
    if commit().endswith("+dirty"):
        print("files differ from the commit: commit them first, numbers are quoted of a commit")
        return 2
    with _folder(given.data) as folder:
        result = documented_run(folder)
    text = json.dumps(result, indent=1, sort_keys=True, ensure_ascii=False)
    given.out.write_text(text + "\n", encoding="utf-8")
    print(f"{given.out}: {len(text) / 1e3:.0f} kB, of {result['commit']}")
    return 0


@contextmanager
def _folder(given: Path | None) -> Iterator[Path]:
    if given is not None:
        yield given.resolve()
        return
    with tempfile.TemporaryDirectory(prefix="documented-run-") as made:
        yield Path(made)


def documented_run(folder: Path) -> dict[str, Any]:
    """Run everything of the split in a data folder; return what the documentation quotes of it."""
    described, paths = machine(), DataPaths(folder)
    run = _run(folder)
    board = read_json(paths.leaderboard(SPLIT))
    _command("study", folder)
    return {
        "format": "documented_run",
        "date": datetime.now(UTC).date().isoformat(),
        "commit": commit(),
        "command": f"cis490 run --split {SPLIT}",
        "machine": described,
        "computed_on": describe(folder / "artifacts" / SPLIT / NETWORK)["computed_on"],
        "versions": library_versions(),
        "settings": _settings(),
        "run": run,
        "board": {**board, "study": None},
        "reports": dict(_reports(paths, board)),
        "study": _study(read_json(paths.study(SPLIT))),
    }


def _run(folder: Path) -> dict[str, Any]:
    """Run the split; return wall time and the memory of the largest process.

    Both are null where reports were there before: they would be of a part only.
    """
    fresh = not (folder / "reports").exists()
    started = time.perf_counter()
    _command("run", folder)
    seconds = time.perf_counter() - started
    peak_kb = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    return {
        "seconds": seconds if fresh else None,
        "peak_memory_mb": peak_kb * 1024 / 1e6 if fresh else None,
    }


def _command(name: str, folder: Path) -> None:
    """Run one of the project's commands with default settings, whatever the environment sets."""
    subprocess.run(
        [sys.executable, "-m", "cis490_pipeline", name, "--split", SPLIT, "--data", folder],
        check=True,
        cwd=ROOT,
        env={key: value for key, value in os.environ.items() if not key.startswith("CIS490_")},
        stdout=subprocess.DEVNULL,
    )


def _settings() -> dict[str, Any]:
    settings = Settings()
    names = ("seed", "split_seed", "threads", "train_hosts", "workers")
    return {"store": str(settings.store), **{name: getattr(settings, name) for name in names}}


def _reports(paths: DataPaths, board: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for row in board["rows"]:
        report = read_json(paths.report_json(SPLIT, row["model"]))
        found = report["detection"]
        detection = {name: found[name] for name in DETECTION_PARTS}
        detection["time_to_detection"] = {
            name: value for name, value in found["time_to_detection"].items() if name != "curve"
        }
        # Constant emissions: what the transitions of the filter find alone.
        detection["constant_emissions"] = next(
            row for row in found["ablations"] if row["name"] == "constant_emissions"
        )
        parts = {name: report[name] for name in REPORT_PARTS}
        yield row["model"], {**parts, "val": report["val"], "detection": detection}


def _study(study: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "models": {
            name: {part: found[part] for part in STUDY_PARTS}
            for name, found in study["models"].items()
        },
        "drift": {name: study["drift"][name] for name in ("threshold", "summary")},
    }


if __name__ == "__main__":
    sys.exit(main())
