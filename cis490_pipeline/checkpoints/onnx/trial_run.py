"""Child process that runs ONNX models from standard input; it may hang or crash.

Reads per model: limits on seconds and bytes, sizes of the model and of the windows, the windows'
rank and shape, then both. Writes one line per successful model. Imports nothing from this package,
so it starts in a third of a second.
"""

import resource
import struct
import sys

HEAD = struct.Struct("<5Q")
"""Time limit (s), memory limit, size of the model, size of the windows, rank of the windows."""


def run_one(head: bytes) -> None:
    """Create the session of one model within its limits and run it on its windows."""
    import numpy as np
    import onnxruntime as ort

    limit_s, memory, n_model, n_windows, rank = HEAD.unpack(head)
    shape = struct.unpack(f"<{rank}Q", sys.stdin.buffer.read(8 * rank))
    model, raw = (sys.stdin.buffer.read(n) for n in (n_model, n_windows))
    _limit(resource.RLIMIT_DATA, memory)
    used = resource.getrusage(resource.RUSAGE_SELF)
    spent_s = int(used.ru_utime + used.ru_stime)
    _limit(resource.RLIMIT_CPU, spent_s + limit_s)
    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 4
    session = ort.InferenceSession(model, sess_options=options, providers=["CPUExecutionProvider"])
    windows = np.frombuffer(raw, dtype="<f4").reshape(shape)
    session.run(None, {session.get_inputs()[0].name: windows})


def _limit(what: int, most: int) -> None:
    """Set the soft limit only, because the next model has another."""
    _, above = resource.getrlimit(what)
    in_force = most if above == resource.RLIM_INFINITY else min(most, above)
    resource.setrlimit(what, (in_force, above))


def main() -> None:
    """Run models until the input ends."""
    # No core dump of a process that a model filled with data.
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    while head := sys.stdin.buffer.read(HEAD.size):
        try:
            run_one(head)
        except BaseException as fault:
            text = " ".join(str(fault).split()) or type(fault).__name__
            print(f"failed {text[:400]}", flush=True)
            raise SystemExit(1) from None
        print("ran", flush=True)


if __name__ == "__main__":
    main()
