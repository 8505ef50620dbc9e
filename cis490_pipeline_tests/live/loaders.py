"""Loads folders one after the other in a process of its own, and says how each ended.

``python -m cis490_pipeline_tests.live.loaders whole|live|bundle FOLDER…`` prints a line of JSON for
each folder: what refused it, or that it loaded. Any other end is this process's own.
"""

import json
import subprocess
import sys
from pathlib import Path

from cis490_pipeline.checkpoints.loading import load_checkpoint
from cis490_pipeline.checkpoints.onnx import trial
from cis490_pipeline.errors import PipelineError
from cis490_pipeline.live.bundle import load_bundle
from cis490_pipeline.live.loading import load_models
from cis490_pipeline.models.registry import restore


def whole(folder):
    restore(load_checkpoint(folder, None))


def live(folder):
    load_models([folder])


LOADERS = {"whole": whole, "live": live, "bundle": load_bundle}


def ended(loader, folders):
    """How loading each folder ended: the exit code it would be, and the message."""
    left, ends = list(folders), {}
    while left:
        command = [sys.executable, "-m", __name__, loader, *map(str, left)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        lines = [json.loads(line) for line in done.stdout.splitlines()]
        ends |= {folder: tuple(line) for folder, line in zip(left, lines, strict=False)}
        left = left[len(lines) :]
        if left:
            # It died in the next one; what follows has a process of its own again.
            ends[left.pop(0)] = (done.returncode, done.stderr[-2000:])
    return ends


def main(loader, folders):
    trial.LIMIT_S = 2
    for folder in folders:
        try:
            LOADERS[loader](Path(folder))
            end = (0, "loaded")
        except PipelineError as refused:
            end = (2, f"{type(refused).__name__}: {refused}")
        print(json.dumps(end), flush=True)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
