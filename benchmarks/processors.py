"""Which weights and scores change on another processor, emulated by switches of the libraries.

``python -m benchmarks.processors`` runs the host split once as this processor does, and once for
each emulation, and writes ``benchmarks/results/processors.json``: minutes for each on an idle
machine. What it cannot emulate are instructions that this processor lacks, and other caches.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from benchmarks.measuring import machine
from cis490_pipeline.checkpoints.describe import describe
from cis490_pipeline.checkpoints.processor import SWITCHES
from cis490_pipeline.checkpoints.versions import library_versions
from cis490_pipeline.experiment.stages.provenance import commit
from cis490_pipeline.storage.files import read_json

ROOT: Final = Path(__file__).parents[1]
RESULTS: Final = ROOT / "benchmarks" / "results" / "processors.json"
AS_IT_IS: Final = "as it is"
EMULATIONS: Final[Mapping[str, Mapping[str, str]]] = {
    AS_IT_IS: {},
    "capped at AVX2": {
        "ATEN_CPU_CAPABILITY": "avx2",
        "ONEDNN_MAX_CPU_ISA": "AVX2",
        "MKL_ENABLE_INSTRUCTIONS": "AVX2",
    },
    "torch without AVX2": {"ATEN_CPU_CAPABILITY": "default"},
    "oneDNN without AVX2": {"ONEDNN_MAX_CPU_ISA": "AVX"},
    "MKL alike on all AVX2": {"MKL_CBWR": "AVX2"},
    "oneDNN without AVX": {"ONEDNN_MAX_CPU_ISA": "SSE41"},
    "MKL alike on all": {"MKL_CBWR": "COMPATIBLE"},
    "OpenBLAS of Sandy Bridge": {"OPENBLAS_CORETYPE": "Sandybridge"},
    "NumPy without AVX2 and FMA": {"NPY_DISABLE_CPU_FEATURES": "AVX2 FMA3"},
}


def main(arguments: list[str] | None = None) -> int:
    """Run every emulation that the file has not, and write it after each."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=RESULTS, help="file to write")
    parser.add_argument("--fresh", action="store_true", help="forget what the file has")
    given = parser.parse_args(arguments)
    made = None if given.fresh or not given.out.is_file() else read_json(given.out)
    if made is not None and made["commit"] != commit():
        print(f"{given.out} is of commit {made['commit']}, this is {commit()}: all is run again")
        made = None
    runs = made["runs"] if made is not None else {}
    for name, switches in EMULATIONS.items():
        if name not in runs:
            runs[name] = {"switches": dict(switches), **_run(switches)}
            given.out.write_text(_text(runs), encoding="utf-8")
            print(f"{name}: {_changed(runs, name)} models have other weights", flush=True)
    return 0


def _run(switches: Mapping[str, str]) -> dict[str, Any]:
    """Run the split under switches; return digest and score of each model."""
    with tempfile.TemporaryDirectory(prefix="processors-") as folder:
        kept = {k: v for k, v in os.environ.items() if k not in SWITCHES and k[:7] != "CIS490_"}
        command = (sys.executable, "-m", "cis490_pipeline", "run", "--no-dagster")
        subprocess.run(
            [*command, "--split", "host", "--data", folder],
            check=True,
            cwd=ROOT,
            env={**kept, **switches},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        data = Path(folder)
        rows = read_json(data / "reports" / "host" / "leaderboard.json")["rows"]
        checkpoints = data / "artifacts" / "host"
        return {
            "computed_on": describe(checkpoints / "gru_realistic")["computed_on"],
            # Of tensors and of summaries: other libraries make them.
            "dataset": _trained_on(checkpoints / "gru_realistic"),
            "summaries": _trained_on(checkpoints / "gbt_realistic"),
            "models": {
                row["model"]: {
                    "checkpoint": row["checkpoint_digest"],
                    "macro_f1": row["macro_f1"],
                    "val_macro_f1": row["val_macro_f1"],
                }
                for row in rows
            },
        }


def _trained_on(folder: Path) -> str:
    """Digest of the dataset that a checkpoint was trained on."""
    return str(describe(folder)["data_digest"])


def _changed(runs: Mapping[str, Any], name: str) -> int:
    before, after = (runs[which]["models"] for which in (AS_IT_IS, name))
    return sum(before[model]["checkpoint"] != after[model]["checkpoint"] for model in before)


def _text(runs: Mapping[str, Any]) -> str:
    result = {
        "format": "processors",
        "date": datetime.now(UTC).date().isoformat(),
        "commit": commit(),
        "machine": machine(),
        "versions": library_versions(),
        "runs": dict(runs),
    }
    return json.dumps(result, indent=1, sort_keys=True, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    sys.exit(main())
