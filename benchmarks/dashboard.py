"""What the live dashboard costs: ``make bench-dashboard`` prints this table and writes its page."""

import argparse
import json
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from playwright.sync_api import sync_playwright
from rich.console import Console
from rich.table import Table

from benchmarks import dashboard_page
from benchmarks.measuring import Line, at_least, at_most, machine
from cis490_pipeline.events.contract import Event, encode
from cis490_pipeline_tests.dashboard import scene

RESULT = Path(__file__).parent / "results" / "dashboard.json"
N_BROWSERS = 50
EVENTS_PER_S = 200
LIST_OF = 10
UPDATES = 20


@dataclass(frozen=True)
class Server:
    """A dashboard in a process of its own."""

    pid: int
    port: int

    def cpu_s(self) -> float:
        """CPU seconds that its threads have used, by the scheduler's own clock."""
        tasks = Path(f"/proc/{self.pid}/task").glob("*/schedstat")
        return sum(int(task.read_text().split()[0]) for task in tasks) / 1e9

    def peak_mb(self) -> float:
        """Most resident memory it ever had."""
        status = Path(f"/proc/{self.pid}/status").read_text()
        return int(re.search(r"VmHWM:\s+(\d+)", status)[1]) / 1024

    def publish(self, events: list[Event]) -> None:
        """Publish events in one list."""
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.port}/publish",
            data=encode(events),
            headers={"Content-Type": "application/json"},
        )
        urllib.request.urlopen(request, timeout=30).close()


@contextmanager
def server(folder: Path) -> Iterator[Server]:
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "cis490_pipeline", "dashboard", "--port", "0", "--fresh"),
            *("--state", str(folder / "state.jsonl")),
        ],
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        line = process.stderr.readline()
        yield Server(process.pid, int(re.search(r":(\d+)/", line)[1]))
    finally:
        process.terminate()
        process.wait()
        process.stderr.close()


def load(*arguments: Any) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "benchmarks.dashboard_load", *map(str, arguments)],
        stdout=subprocess.PIPE,
        text=True,
    )


def fan_out(folder: Path, *, for_s: float, at_once: int) -> list[Line]:
    """Many browsers that all get every event."""
    batching = "one by one" if at_once == 1 else f"in lists of {at_once}"
    with server(folder) as served:
        browsers = load("browse", served.port, N_BROWSERS, for_s + 3.0)
        assert browsers.stdout.readline() == "ready\n"
        before = served.cpu_s()
        producer = load("pace", served.port, EVENTS_PER_S, for_s, at_once)
        assert producer.wait() == 0
        got = json.loads(browsers.communicate()[0].splitlines()[-1])
        used, memory = served.cpu_s() - before, served.peak_mb()
        producer.stdout.close()
    sent = round(EVENTS_PER_S * for_s)
    delivered = sum(got["received"])
    share = 100 * delivered / (sent * N_BROWSERS)
    p50, p99, worst = got["latency_s"]
    name = f"{N_BROWSERS} browsers × {EVENTS_PER_S} events/s, {batching}"
    return [
        at_least(
            f"{name}: delivered", share, 100, unit="%", detail=f"{delivered:,} in {for_s:g} s"
        ),
        at_most(
            f"{name}: p99 from publishing to receiving",
            p99 * 1e3,
            250,
            unit="ms",
            detail=f"p50 {p50 * 1e3:.0f}, worst {worst * 1e3:.0f} ms",
        ),
        at_most(
            f"{name}: CPU of the server per delivery",
            used / delivered * 1e6,
            12,
            unit="µs",
            detail=f"ingest included; {used / for_s:.0%} of a core",
        ),
        at_most(f"{name}: peak memory", memory, 100, unit="MB"),
    ]


def ingest(folder: Path, *, n: int, at_once: int, connections: int, wanted: float) -> Line:
    """Events as fast as they are taken."""
    with server(folder) as served:
        before = served.cpu_s()
        seconds = float(load("flood", served.port, n, at_once, connections).communicate()[0])
        used = served.cpu_s() - before
    batching = "one by one" if at_once == 1 else f"in lists of {at_once:,}"
    each = f"{used / n * 1e6:.1f} µs of the server's CPU per event, {connections} connections"
    return at_least(f"ingest {batching}", n / seconds, wanted, unit="events/s", detail=each)


def full_memory(folder: Path) -> Line:
    """Fill the state as far as it goes, and have many browsers read it."""
    with server(folder) as served:
        served.publish(scene.whole())
        served.publish(list(scene.points(6_000)))
        for k in range(40):
            served.publish(list(scene.telemetry(100, rate_hz=10, episode_id=f"e{k}")))
        browsers = load("browse", served.port, N_BROWSERS, 5.0)
        browsers.communicate()
        memory = served.peak_mb()
    detail = f"4,000 points, 4 MB of telemetry, {N_BROWSERS} browsers that come at once"
    return at_most("peak memory with a full state", memory, 100, unit="MB", detail=detail)


def page_update(folder: Path) -> Line:
    """CPU of the page's main thread when 46 plots of 600 points get one more second."""
    chromium = shutil.which("chromium")
    with server(folder) as served, sync_playwright() as playwright:
        served.publish([*scene.scores(), scene.episode(), *scene.predictions()])
        served.publish(list(scene.telemetry(60, rate_hz=10)))
        browser = playwright.chromium.launch(
            executable_path=chromium, args=["--no-sandbox", "--disable-gpu"]
        )
        page = browser.new_page(viewport={"width": 1440, "height": 1800})
        page.goto(f"http://127.0.0.1:{served.port}/")
        page.get_by_role("button", name="all 46 channels").click()
        page.locator(".plots figure").nth(45).wait_for()
        page.wait_for_timeout(2_000)
        session = page.context.new_cdp_session(page)
        session.send("Performance.enable", {"timeDomain": "threadTicks"})

        def cpu_s() -> float:
            metrics = session.send("Performance.getMetrics")["metrics"]
            return next(m["value"] for m in metrics if m["name"] == "TaskDuration")

        costs, tail = [], list(scene.telemetry(60, rate_hz=10))
        for k in range(UPDATES):
            before = cpu_s()
            # Times that are there already: 600 points before and after.
            served.publish([tail[k]])
            page.wait_for_timeout(600)
            costs.append((cpu_s() - before) * 1e3)
        browser.close()
    detail = f"median of {UPDATES}; worst {max(costs):.0f} ms; all work of the main thread in 0.6 s"
    return at_most(
        "page: one update of 46 channels × 600 points",
        statistics.median(costs),
        50,
        unit="ms",
        detail=detail,
    )


def measure(folder: Path, for_s: float) -> list[Line]:
    return [
        *fan_out(folder, for_s=for_s, at_once=LIST_OF),
        *fan_out(folder, for_s=for_s, at_once=1),
        ingest(folder, n=10_000, at_once=1, connections=4, wanted=2_000),
        ingest(folder, n=300_000, at_once=1_000, connections=2, wanted=50_000),
        full_memory(folder),
        page_update(folder),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=20.0, help="of steady load")
    parser.add_argument("--print-only", action="store_true", help="write nothing")
    options = parser.parse_args()
    described = machine()
    with tempfile.TemporaryDirectory(prefix="cis490-bench-") as folder:
        lines = measure(Path(folder), options.seconds)
    result = {"machine": described, "lines": [line.to_dict() for line in lines]}
    if not options.print_only:
        RESULT.write_text(json.dumps(result, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        dashboard_page.write(result)
    table = Table("what", "measured", "wanted", "", "detail")
    for line in lines:
        table.add_row(
            line.name,
            f"{line.measured:,.4g} {line.unit}",
            line.wanted,
            "met" if line.met else "missed",
            line.detail,
        )
    Console(width=170).print(table, f"load average at the start: {described['load_average']}")


if __name__ == "__main__":
    main()
