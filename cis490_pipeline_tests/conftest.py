import os
import signal
import uuid
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import hypothesis
import pytest
from filelock import FileLock

from cis490_pipeline.config import Settings
from cis490_pipeline.domain import Address
from cis490_pipeline.experiment.stages.workspace import Workspace
from cis490_pipeline_tests.experiment.runs import SAMPLE, copy_of, fast_stages, table_stages

# A shell that starts tests in the background has them ignore SIGINT, and so would every process
# they start: tests of interruption need the handler a terminal gives.
signal.signal(signal.SIGINT, signal.default_int_handler)

# How long an example takes says how busy the machine is; tests of hangs set a deadline themselves.
hypothesis.settings.register_profile("busy machine", deadline=None)
hypothesis.settings.load_profile("busy machine")


@pytest.fixture(scope="session")
def run_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that all workers of this run of pytest share."""
    of_worker = tmp_path_factory.getbasetemp()
    return of_worker.parent if "PYTEST_XDIST_WORKER" in os.environ else of_worker


@pytest.fixture(scope="session")
def finished(run_folder: Path) -> Workspace:
    """The host split of the recorded sample, done with gbt and mlp; only to be read.

    Without the ablation and robustness, which take as long as all else: the board lacks them.
    """
    data = run_folder / "finished" / "data"
    workspace = Workspace(Settings(store=SAMPLE, data=data, workers=1))
    # Made by the worker that is first; the others find it up to date.
    with FileLock(run_folder / "finished.lock"):
        for stage in fast_stages(workspace):
            stage.ensure()
    return workspace


@pytest.fixture(scope="session")
def with_tables(finished: Workspace, run_folder: Path) -> Workspace:
    """The same with ablation and robustness, and a board that shows them; only to be read."""
    folder = run_folder / "with_tables"
    with FileLock(run_folder / "with_tables.lock"):
        if (folder / "data").exists():
            return Workspace(replace(finished.settings, data=folder / "data"))
        workspace = copy_of(finished, run_folder / "with_tables.half")
        for stage in table_stages(workspace):
            stage.ensure()
        (run_folder / "with_tables.half").rename(folder)
    return Workspace(replace(finished.settings, data=folder / "data"))


@pytest.fixture(scope="session")
def s3_endpoint() -> Iterator[str]:
    """An S3 server in this process, on a port of its own; it holds nothing on disk."""
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def bucket(s3_endpoint: str, monkeypatch: pytest.MonkeyPatch) -> Address:
    """An empty bucket that this process and its children reach by the environment alone."""
    import s3fs

    for name, value in {
        "AWS_ENDPOINT_URL": s3_endpoint,
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "hunter2",
        "AWS_DEFAULT_REGION": "us-east-1",
    }.items():
        monkeypatch.setenv(name, value)
    name = f"lab-{uuid.uuid4().hex[:12]}"
    s3fs.S3FileSystem().mkdir(name)
    return Address("s3", name)


@pytest.fixture
def memory_place() -> Iterator[Address]:
    """A place in fsspec's memory; only this process sees it."""
    import fsspec

    place = Address("memory", f"place-{uuid.uuid4().hex[:12]}")
    yield place
    fs = fsspec.filesystem("memory")
    if fs.exists(str(place)):
        fs.rm(str(place), recursive=True)


@pytest.fixture(params=["memory", "file", "s3"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Address:
    """An empty place of each kind that fsspec is tried with."""
    if request.param == "file":
        return Address("file", str(tmp_path / "elsewhere"))
    name = "bucket" if request.param == "s3" else "memory_place"
    found: Address = request.getfixturevalue(name)
    return Address(found.protocol, f"{found.path}/here")
