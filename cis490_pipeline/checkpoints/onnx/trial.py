"""Trial runs of ONNX models in a child process with limits, before this process runs them.

Even a file with only allowed operators can take hours or all memory while its session is created,
because constants are folded then, and it is parsed by C++. A model that has run once in the child
with the same windows is safe here: no operator's cost depends on input values.
"""

import hashlib
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np

from cis490_pipeline.checkpoints.onnx.trial_run import HEAD
from cis490_pipeline.domain.arrays import Float32s
from cis490_pipeline.errors import CheckpointError

SCRIPT: Final = Path(__file__).with_name("trial_run.py")
LIMIT_S: Final = 60
"""Limit per model, s. The largest takes half a second on one server core."""
MEMORY: Final = 1 << 30
"""Memory limit of a model, in addition to eight times its file's size, bytes."""
START_S: Final = 60
"""Time for the child to import numpy and ONNX Runtime, s."""


_ran: set[str] = set()
"""Digests of models with windows that have run in a child or were exported here."""


def require_runs(
    models: Sequence[tuple[str, bytes, Float32s]], *, limit_s: int | None = None
) -> None:
    """Raise for a model that does not terminate, needs too much memory, or crashes its process.

    Each is given by name, ONNX file and windows, and has ``limit_s``; those that have run are
    skipped. The `CheckpointError` names the first that failed, and the reason.
    """
    new = [model for model in models if _digest(model[1], model[2]) not in _ran]
    if not new:
        return
    n_ran, problem = _try(new, LIMIT_S if limit_s is None else limit_s)
    _ran.update(_digest(onnx, windows) for _, onnx, windows in new[:n_ran])
    if n_ran < len(new):
        raise CheckpointError(
            f"{new[n_ran][0]}: model.onnx cannot be run: tried in a process of its own, it "
            f"{problem}; copy or train it again"
        )


def note_run(onnx: bytes, windows: Float32s) -> None:
    """Register a model that this process exported and ran itself."""
    _ran.add(_digest(onnx, windows))


def _digest(onnx: bytes, windows: Float32s) -> str:
    total = hashlib.sha256(onnx)
    total.update(repr(windows.shape).encode() + windows.tobytes())
    return total.hexdigest()


def _try(models: Sequence[tuple[str, bytes, Float32s]], limit_s: int) -> tuple[int, str]:
    """Run models in order; return how many succeeded, and how the next one failed."""
    one_thread = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    # -P: modules in the script's folder have names of libraries.
    command = [sys.executable, "-P", str(SCRIPT)]
    child = subprocess.Popen(  # noqa: S603 - our own interpreter and script, no shell
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env={**os.environ, **one_thread},
    )
    given = b"".join(_message(onnx, windows, limit_s) for _, onnx, windows in models)
    try:
        output, _ = child.communicate(given, timeout=START_S + limit_s * len(models))
    except subprocess.TimeoutExpired:
        child.kill()
        output, _ = child.communicate()
        return output.count(b"ran\n"), f"had not answered after {limit_s} s"
    last = output.decode("utf-8", "replace").splitlines()[-1:]
    failed = [line.removeprefix("failed ") for line in last if line.startswith("failed ")]
    if failed:
        return output.count(b"ran\n"), f"failed ({failed[0]})"
    return output.count(b"ran\n"), _end_of(child.returncode, limit_s)


def _end_of(code: int, limit_s: int) -> str:
    if code == -signal.SIGXCPU or code == -signal.SIGKILL:
        return f"had not answered after {limit_s} s, or took too much memory"
    if code < 0:
        return f"was ended by signal {-code}"
    return f"ended with code {code} and no answer"


def _message(onnx: bytes, windows: Float32s, limit_s: int) -> bytes:
    raw = np.ascontiguousarray(windows, dtype="<f4").tobytes()
    head = HEAD.pack(limit_s, MEMORY + 8 * len(onnx), len(onnx), len(raw), windows.ndim)
    shape = b"".join(size.to_bytes(8, "little") for size in windows.shape)
    return head + shape + onnx + raw
