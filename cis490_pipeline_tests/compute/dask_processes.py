"""A Dask cluster as an operator starts it: a scheduler and workers, each a process of its own."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from distributed import Client

from cis490_pipeline.compute import DaskCluster

PROJECT = Path(__file__).parents[2]


class DaskProcesses:
    """A scheduler; workers are added by `start_worker`. Logs lie in the folder."""

    def __init__(
        self, folder: Path, *, arguments: tuple[str, ...] = (), allowed_failures: int = 3
    ) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self.arguments = arguments
        self.allowed_failures = allowed_failures
        self._contact = folder / "scheduler.json"
        self._processes: list[subprocess.Popen[bytes]] = []
        self.scheduler = self._start(
            "scheduler",
            *("--host", "127.0.0.1", "--port", "0", "--no-dashboard"),
            *("--dashboard-address", "127.0.0.1:0"),
            *("--scheduler-file", str(self._contact)),
        )
        self.address = str(self._wait_for_contact()["address"])

    def cluster(self, **settings: Any) -> DaskCluster:
        return DaskCluster(address=self.address, **{"patience_s": 30.0, **settings})

    def start_worker(self, *, path: Path = PROJECT) -> subprocess.Popen[bytes]:
        """Start a worker with its nanny, on the code of a folder."""
        return self._start(
            "worker",
            self.address,
            *("--host", "127.0.0.1", "--nthreads", "1", "--no-dashboard"),
            *("--dashboard-address", "127.0.0.1:0"),
            *("--local-directory", str(self.folder / "scratch")),
            path=path,
        )

    def pids(self, n: int) -> dict[str, int]:
        """Return the processes that do the work, by address, once there are so many."""
        with Client(self.address, set_as_default=False) as client:
            client.wait_for_workers(n, timeout=60)
            return dict(client.run(os.getpid))

    def close(self) -> None:
        for process in reversed(self._processes):
            if process.poll() is None:
                # Its whole session: a nanny that is killed leaves its worker.
                os.killpg(process.pid, signal.SIGKILL)
            process.wait(timeout=30)

    def _start(self, *words: str, path: Path = PROJECT) -> subprocess.Popen[bytes]:
        environment = {k: v for k, v in os.environ.items() if not k.startswith("CIS490_")} | {
            "PYTHONPATH": str(path),
            "DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES": str(self.allowed_failures),
        }
        with (self.folder / f"{len(self._processes)}-{words[0]}.log").open("wb") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "dask", *words, *self.arguments],
                cwd=self.folder,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self._processes.append(process)
        return process

    def _wait_for_contact(self, limit_s: float = 60) -> dict[str, Any]:
        until = time.monotonic() + limit_s
        while time.monotonic() < until:
            assert self.scheduler.poll() is None, self.log("0-scheduler")
            try:
                found: dict[str, Any] = json.loads(self._contact.read_text())
                return found
            except (FileNotFoundError, json.JSONDecodeError):
                time.sleep(0.1)
        raise AssertionError(f"no scheduler after {limit_s} s: {self.log('0-scheduler')}")

    def log(self, name: str) -> str:
        return (self.folder / f"{name}.log").read_text(errors="replace")[-2000:]
