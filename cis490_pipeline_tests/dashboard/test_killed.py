"""A dashboard that is killed under load has lost nothing that it acknowledged."""

import http.client
import itertools
import json
import random
import signal
import threading
import time
from contextlib import closing
from pathlib import Path

import pytest

from cis490_pipeline.dashboard.server.app import open_hub
from cis490_pipeline.events import contract as c
from cis490_pipeline_tests.browser.live_dashboard import LiveDashboard

LISTS = (1, 1, 10, 100)
"""Producers at once, by how many events each of them publishes in one request."""
MOST = 7_500
"""Events of one round; of predictions the dashboard keeps 8,000."""
WITHIN_S = 0.4


def events(numbers: range) -> bytes:
    return c.encode(
        [
            c.Prediction(episode_id="e", window_idx=i, predicted="clean", actual=None, model="gbt")
            for i in numbers
        ]
    )


class Producers:
    """Some that publish numbered events as fast as they are acknowledged."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._numbers = itertools.count()
        self.acknowledged: set[int] = set()
        self.refused: list[int] = []
        self._threads = [threading.Thread(target=self._publish, args=(n,)) for n in LISTS]
        for thread in self._threads:
            thread.start()

    def join(self) -> None:
        for thread in self._threads:
            thread.join(20)

    def _publish(self, n: int) -> None:
        with closing(http.client.HTTPConnection("127.0.0.1", self._port, timeout=20)) as connection:
            self._publish_over(connection, n)

    def _publish_over(self, connection: http.client.HTTPConnection, n: int) -> None:
        while True:
            numbers = range(first := next(self._numbers) * max(LISTS), first + n)
            if len(self.acknowledged) > MOST - sum(LISTS):
                return
            try:
                connection.request(
                    "POST", "/publish", events(numbers), {"Content-Type": "application/json"}
                )
                answer = connection.getresponse()
                answer.read()
            except (OSError, http.client.HTTPException):
                return
            if answer.status == 200:
                self.acknowledged.update(numbers)
            else:
                self.refused.append(answer.status)


def kept(path: Path) -> set[int]:
    """What a restart shows, and what is left of the files."""
    hub, journal = open_hub(path)
    assert journal is not None
    journal.close()
    return {json.loads(event)["window_idx"] for event in hub.state.snapshot()}


def killed_under_load(folder: Path, seed: int) -> tuple[int, int]:
    """Return how many events were acknowledged, and how many of them are gone."""
    served = LiveDashboard(folder)
    producers = Producers(served.port)
    time.sleep(random.Random(seed).uniform(0.05, WITHIN_S))
    served.stop(signal.SIGKILL)
    producers.join()
    assert producers.refused == []
    lost = producers.acknowledged - kept(folder / "state.jsonl")
    return len(producers.acknowledged), len(lost)


@pytest.mark.parametrize("rounds", [2, pytest.param(20, marks=pytest.mark.long)])
def test_kill_9_under_load_loses_nothing_that_was_acknowledged(tmp_path, rounds):
    counts = []
    for k in range(rounds):
        (folder := tmp_path / str(k)).mkdir()
        counts.append(killed_under_load(folder, seed=k))
        print(f"round {k + 1}: {counts[-1][0]:,} acknowledged, {counts[-1][1]} lost")

    assert all(n > 0 for n, _ in counts)
    assert [lost for _, lost in counts] == [0] * rounds
