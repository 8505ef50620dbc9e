"""Load runner of the guest: starts and stops activities, and reports when each really began.

Reads one JSON object per line from the control channel and answers each by one. An activity runs
in a process of its own and reports its first action through a pipe, with the guest's clock: labels
come from these times, never from the time of a command.
"""

import json
import os
import random
import select
import shutil
import signal
import sys
import time
from collections.abc import Callable
from contextlib import suppress

from .benign import BENIGN
from .mimics import MIMICS, SCRATCH
from .protocol import Message, Parameters, Request

ACTIVITIES: dict[str, Callable[..., None]] = {**MIMICS, **BENIGN}
WORKLOAD_SLOT = "workload"
"""Slot of the mimic; the files it dropped go with it."""
BEGIN_LIMIT_S = 20.0
MAX_LINE_BYTES = 1 << 14


def clock() -> Message:
    """Return the guest's two clocks."""
    return {"t_guest_wall_ns": time.time_ns(), "t_guest_mono_ns": time.monotonic_ns()}


class Runner:
    """The activities by slot: a name such as ``workload``, at most one process in each."""

    def __init__(self, channel: int) -> None:
        self._channel = channel
        self._running: dict[str, tuple[int, str]] = {}

    def answer(self, request: Request) -> None:
        """Do what one request asks and answer it."""
        reply: Message = {"id": request.get("id")}
        try:
            reply.update(self._do(request))
        except Exception as fault:
            # Whatever went wrong, the recorder must learn it: it then marks the run as failed.
            reply["error"] = f"{type(fault).__name__}: {fault}"[:500]
        self.send(reply)

    def send(self, message: Message) -> None:
        """Write one line to the channel."""
        left = (json.dumps(message, separators=(",", ":")) + "\n").encode()
        while left:
            left = left[os.write(self._channel, left) :]

    def _do(self, request: Request) -> Message:
        what = request["do"]
        if what == "clock":
            return clock()
        if what == "start":
            return self._start(request["slot"], request["activity"], request["parameters"])
        if what == "stop":
            # Without a process there is nothing to end: the phase begins with the removal.
            stopped = self._stop(request["slot"])
            if request["slot"] == WORKLOAD_SLOT:
                _remove_installed()
            return stopped or clock()
        if what == "reset":
            for slot in [*self._running]:
                self._stop(slot)
            _remove_installed()
            shutil.rmtree(SCRATCH / "documents", ignore_errors=True)
            return clock()
        raise ValueError(f"unknown request {what!r}")

    def _start(self, slot: str, name: str, parameters: Parameters) -> Message:
        """Replace a slot's activity: the new process is made first, and waits for the old to end.

        A fork takes long in an emulated machine, and one label says both when the old load ended
        and when the new began: between the two nothing would run.
        """
        activity = ACTIVITIES[name]
        reading, writing = os.pipe()
        waiting, letting = os.pipe()
        pid = os.fork()
        if pid == 0:
            os.close(reading)
            os.close(letting)
            _become(activity, parameters, writing, waiting)
        os.close(writing)
        os.close(waiting)
        replaced = None
        try:
            line = _line(reading)
            if line:
                replaced = self._stop(slot)
                os.write(letting, b"\n")
                line = _line(reading)
        finally:
            os.close(reading)
            os.close(letting)
        if not line:
            _kill(pid)
            raise RuntimeError(f"{name} did not begin within {BEGIN_LIMIT_S:.0f} s, or died")
        self._running[slot] = (pid, name)
        began: Message = json.loads(line)
        return {"pid": pid, **began, "stopped": replaced is not None}

    def _stop(self, slot: str) -> Message | None:
        running = self._running.pop(slot, None)
        if running is None:
            return None
        pid, _ = running
        _kill(pid)
        return {"pid": pid, **clock()}

    def report_deaths(self) -> None:
        """Report activities that ended by themselves; none should."""
        for slot, (pid, name) in list(self._running.items()):
            done, status = os.waitpid(pid, os.WNOHANG)
            if done:
                del self._running[slot]
                self.send({"event": "ended", "slot": slot, "activity": name, "status": status})


def _remove_installed() -> None:
    for path in [*SCRATCH.glob("install-*"), *SCRATCH.glob("payload")]:
        path.unlink()


def _line(reading: int) -> bytes:
    """Return what a new process writes next; nothing if it died or takes too long."""
    ready, _, _ = select.select([reading], [], [], BEGIN_LIMIT_S)
    return os.read(reading, 256) if ready else b""


def _kill(pid: int) -> None:
    """Kill an activity with all its processes."""
    with suppress(ProcessLookupError):
        os.killpg(pid, signal.SIGKILL)
    with suppress(ProcessLookupError):
        # It may not have made its own process group yet.
        os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)


def _become(
    activity: Callable[..., None], parameters: Parameters, writing: int, waiting: int
) -> None:
    """Run an activity in this process, which never returns, once it is let."""
    os.setsid()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_DFL)

    def begun() -> None:
        os.write(writing, (json.dumps(clock()) + "\n").encode())
        os.close(writing)

    status = 1
    try:
        rng = random.Random(parameters.get("seed", 0))  # noqa: S311
        os.write(writing, b"ready\n")
        if not os.read(waiting, 1):
            os._exit(status)
        os.close(waiting)
        activity(parameters, begun, rng)
        status = 0
    except BaseException as fault:
        sys.stderr.write(f"{activity.__name__}: {type(fault).__name__}: {fault}\n")
        sys.stderr.flush()
    finally:
        os._exit(status)


def serve(channel: int) -> None:
    """Answer requests until the channel closes."""
    runner = Runner(channel)
    runner.send({"event": "ready", **clock()})
    pending = b""
    while True:
        ready, _, _ = select.select([channel], [], [], 1.0)
        runner.report_deaths()
        if not ready:
            continue
        piece = os.read(channel, 4096)
        if not piece:
            # Nobody has opened the other end yet, or it was closed.
            time.sleep(0.2)
            continue
        pending += piece
        if len(pending) > MAX_LINE_BYTES:
            raise RuntimeError(f"a request has over {MAX_LINE_BYTES} bytes")
        *lines, pending = pending.split(b"\n")
        for line in lines:
            runner.answer(json.loads(line))


if __name__ == "__main__":
    serve(os.open(sys.argv[1], os.O_RDWR | os.O_NOCTTY))
