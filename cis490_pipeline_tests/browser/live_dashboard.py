"""A dashboard in a process of its own, as a person starts it."""

import json
import os
import re
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import cis490_pipeline
from cis490_pipeline.events.contract import Event, encode


class LiveDashboard:
    """A running ``cis490 dashboard``."""

    def __init__(self, folder: Path, port: int = 0, token: str | None = None) -> None:
        self.token = token
        environment = {k: v for k, v in os.environ.items() if not k.startswith("CIS490_")}
        if token:
            environment["CIS490_DASHBOARD_TOKEN"] = token
        self._process = subprocess.Popen(
            [
                *(sys.executable, "-m", "cis490_pipeline", "dashboard", "--port", str(port)),
                *("--state", str(folder / "state.jsonl")),
            ],
            stderr=subprocess.PIPE,
            text=True,
            env=environment,
            cwd=Path(cis490_pipeline.__file__).parents[1],
        )
        assert self._process.stderr is not None
        said = self._process.stderr.readline()
        found = re.search(r"http://127\.0\.0\.1:(\d+)/", said)
        assert found, said + self._process.stderr.read()
        self.port = int(found[1])
        self.url = found[0]
        self.pid = self._process.pid

    def publish(self, *events: Event) -> None:
        request = urllib.request.Request(
            self.url + "publish",
            data=encode(list(events)),
            headers={"Content-Type": "application/json", "Authorization": f"Bearer {self.token}"},
        )
        with urllib.request.urlopen(request, timeout=20) as answer:
            assert answer.status == 200

    def health(self) -> dict[str, Any]:
        with urllib.request.urlopen(self.url + "healthz", timeout=20) as answer:
            return json.load(answer)

    def stop(self, how: int = signal.SIGTERM) -> None:
        """End the process; may be called twice."""
        if self._process.poll() is None:
            self._process.send_signal(how)
            self._process.wait(timeout=20)
        assert self._process.stderr is not None
        self._process.stderr.close()


@contextmanager
def live_dashboard(
    folder: Path, port: int = 0, token: str | None = None
) -> Iterator[LiveDashboard]:
    """Start one and stop it in the end."""
    served = LiveDashboard(folder, port, token)
    try:
        yield served
    finally:
        served.stop()
