"""A real ``dagster dev`` on a copy of the project's files, asked over GraphQL as its pages do."""

import contextlib
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
import uuid
from pathlib import Path

from cis490_pipeline_tests.orchestration.making import PROJECT, SAMPLE

MARK = "CIS490_TEST_DEV_SERVER"

LAUNCH = """mutation($execution: ExecutionParams!) {
  launchPipelineExecution(executionParams: $execution) {
    __typename
    ... on LaunchRunSuccess { run { runId } }
    ... on PythonError { message }
    ... on RunConfigValidationInvalid { errors { message } }
    ... on InvalidSubsetError { message }
  }
}"""
RUN = """query($run: ID!) { runOrError(runId: $run) { ... on Run { status } } }"""
LOCATIONS = """{ repositoriesOrError { ... on RepositoryConnection {
  nodes { location { name } } } } }"""
METADATA = """query($key: AssetKeyInput!, $partition: String!) {
  assetOrError(assetKey: $key) { ... on Asset {
    assetMaterializations(partitions: [$partition], limit: 1) { metadataEntries {
      label
      ... on FloatMetadataEntry { floatValue }
      ... on IntMetadataEntry { intValue }
      ... on TextMetadataEntry { text }
      ... on MarkdownMetadataEntry { mdStr }
    } } } } }"""


STALE = """query($keys: [AssetKeyInput!]!, $partition: String!) {
  assetNodes(assetKeys: $keys) {
    staleStatus(partition: $partition) staleCauses(partition: $partition) { reason }
  } }"""


EVENTS = """query($run: ID!, $cursor: String) {
  logsForRun(runId: $run, afterCursor: $cursor, limit: 1000) { ... on EventConnection {
    hasMore cursor events { __typename ... on MessageEvent { message stepKey eventType } } } } }"""


class DevServer:
    """``dagster dev`` in a folder, in a session of its own, with nothing but its files set."""

    def __init__(self, folder: Path, environment=None):
        self.folder, self.log = folder, folder / "dagster_dev.log"
        for name in ("dagster.yaml", "workspace.yaml"):
            shutil.copy(PROJECT / name, folder)
        shutil.copytree(SAMPLE, folder / "data" / "sample", dirs_exist_ok=True)
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        self.url = f"http://127.0.0.1:{port}"
        self.mark = f"{MARK}={uuid.uuid4()}"
        unset = ("DAGSTER_", "CIS490_")
        inherited = {k: v for k, v in os.environ.items() if not k.startswith(unset)}
        environment = {**inherited, **(environment or {})}
        with self.log.open("ab") as log:
            # In its own session: started in the background of a shell it would ignore SIGINT.
            self.process = subprocess.Popen(
                [
                    Path(sys.executable).with_name("dagster"),
                    "dev",
                    "-h",
                    "127.0.0.1",
                    "-p",
                    str(port),
                ],
                cwd=folder,
                env={**environment, MARK: self.mark.partition("=")[2]},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def ask(self, query, **variables):
        request = urllib.request.Request(
            f"{self.url}/graphql",
            data=json.dumps({"query": query, "variables": variables}).encode(),
            headers={"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=60) as response:
            answer = json.load(response)
        assert "errors" not in answer, answer
        return answer["data"]

    def wait_until_loaded(self, limit_s=120):
        until = time.monotonic() + limit_s
        while time.monotonic() < until:
            assert self.process.poll() is None, self.tail()
            with contextlib.suppress(urllib.error.URLError, ConnectionError):
                nodes = self.ask(LOCATIONS)["repositoriesOrError"].get("nodes")
                if nodes:
                    return [node["location"]["name"] for node in nodes]
            time.sleep(0.5)
        raise AssertionError(f"not loaded after {limit_s} s: {self.tail()}")

    def launch(self, job, partition=None, assets=None):
        """Start a job, or some of its assets; return the run's id."""
        tags = [{"key": "dagster/partition", "value": partition}] if partition else []
        selector = {
            "repositoryLocationName": "cis490_pipeline",
            "repositoryName": "__repository__",
            "pipelineName": job,
        }
        if assets:
            selector["assetSelection"] = [{"path": name.split("/")} for name in assets]
        answer = self.ask(
            LAUNCH,
            execution={
                "selector": selector,
                "runConfigData": {},
                "mode": "default",
                "executionMetadata": {"tags": tags},
            },
        )["launchPipelineExecution"]
        assert answer["__typename"] == "LaunchRunSuccess", answer
        return answer["run"]["runId"]

    def wait_for(self, run, limit_s):
        """Return how a run ended."""
        until = time.monotonic() + limit_s
        while time.monotonic() < until:
            status = self.ask(RUN, run=run)["runOrError"]["status"]
            if status in {"SUCCESS", "FAILURE", "CANCELED"}:
                return status
            time.sleep(1)
        raise AssertionError(f"run {run} still {status} after {limit_s} s: {self.tail()}")

    def stale_status(self, asset, partition):
        """Return what Dagster's own pages say of one partition of an asset."""
        (node,) = self.ask(STALE, keys=[{"path": asset.split("/")}], partition=partition)[
            "assetNodes"
        ]
        return node["staleStatus"], [cause["reason"] for cause in node["staleCauses"]]

    def kill_worker(self, run, limit_s=120):
        """Kill, unasked, the process that works on a run, once it has begun with a step."""
        until = time.monotonic() + limit_s
        while time.monotonic() < until:
            said = [event["message"] for event in self.events(run)]
            begun = any(event["stepKey"] for event in self.events(run))
            found = re.search(r"parent process \(pid: (\d+)\)", "\n".join(said))
            if begun and found:
                assert int(found[1]) in self.survivors()
                os.kill(int(found[1]), signal.SIGKILL)
                return
            time.sleep(0.2)
        raise AssertionError(f"run {run} has not begun after {limit_s} s: {self.tail()}")

    def events(self, run):
        """Return the events of a run so far: type, message, step."""
        found, cursor, more = [], None, True
        while more:
            page = self.ask(EVENTS, run=run, cursor=cursor)["logsForRun"]
            found += page["events"]
            cursor, more = page["cursor"], page["hasMore"]
        return found

    def kill(self, *words):
        """Kill, unasked, the one process of this server whose command line has these words."""
        until = time.monotonic() + 60
        while time.monotonic() < until:
            found = [
                pid
                for pid, command in self.survivors().items()
                if all(word in command for word in words)
            ]
            if found:
                os.kill(found[0], signal.SIGKILL)
                return found[0]
            time.sleep(0.1)
        raise AssertionError(f"no process with {words}: {self.survivors()}")

    def wait_until_ended(self, limit_s=60):
        """Wait for ``dagster dev`` itself to end, and return what of it is still alive."""
        self.process.wait(timeout=limit_s)
        until = time.monotonic() + limit_s
        while (alive := self.survivors()) and time.monotonic() < until:
            time.sleep(0.5)
        return alive

    def metadata(self, asset, partition):
        """Return label and value of what an asset's newest materialization shows."""
        key = {"path": asset.split("/")}
        found = self.ask(METADATA, key=key, partition=partition)["assetOrError"]
        (newest,) = found["assetMaterializations"]
        return {
            entry.pop("label"): next(iter(entry.values()), None)
            for entry in newest["metadataEntries"]
        }

    def tail(self):
        return self.log.read_text(errors="replace")[-3000:]

    def survivors(self):
        """Return processes that carry this server's mark, whatever session they are in."""
        found = {}
        for folder in Path("/proc").iterdir():
            if folder.name.isdecimal():
                with contextlib.suppress(OSError):
                    if self.mark.encode() in (folder / "environ").read_bytes().split(b"\0"):
                        command = (folder / "cmdline").read_bytes().replace(b"\0", b" ")
                        found[int(folder.name)] = command.decode(errors="replace").strip()
        return found

    def interrupt(self, limit_s=60):
        """Press Ctrl-C in its terminal, and return what is alive after it ended."""
        os.killpg(self.process.pid, signal.SIGINT)
        until = time.monotonic() + limit_s
        while (alive := self.survivors()) and time.monotonic() < until:
            self.process.poll()
            time.sleep(0.5)
        return alive

    def destroy(self):
        """End what is left, by id."""
        for pid in self.survivors():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.process.wait(timeout=30)


@contextlib.contextmanager
def dev_server(folder, environment=None):
    server = DevServer(folder, environment)
    try:
        yield server
    finally:
        server.destroy()
