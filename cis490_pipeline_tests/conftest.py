import signal
import uuid
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest

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
def finished(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """The host split of the recorded sample, done with gbt and mlp; only to be read.

    Without the ablation and robustness, which take as long as all else: the board lacks them.
    """
    data = tmp_path_factory.mktemp("finished") / "data"
    workspace = Workspace(Settings(store=SAMPLE, data=data, workers=1))
    for stage in fast_stages(workspace):
        stage.ensure()
    return workspace


@pytest.fixture(scope="session")
def with_tables(finished: Workspace, tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """The same with ablation and robustness, and a board that shows them; only to be read."""
    workspace = copy_of(finished, tmp_path_factory.mktemp("with_tables"))
    for stage in table_stages(workspace):
        stage.ensure()
    return workspace


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
