import os
import signal
import socket
import subprocess
import sys
import urllib.request

import pytest

from cis490_pipeline.cli.dashboard_process import free_port
from cis490_pipeline_tests.cli.runs import Cli
from cis490_pipeline_tests.experiment.runs import SAMPLE


@pytest.mark.long
def test_the_demo_shows_a_recorded_episode_once_and_leaves_no_server(
    cli_on_copy: Cli, only_fast_models
) -> None:
    port = str(free_port())

    done = cli_on_copy("demo", "--once", "--speed", "100", "--no-browser", "--port", port)

    assert done.code == 0
    assert f"dashboard: http://127.0.0.1:{port}/   episode " in done.out
    with pytest.raises(OSError, match="refused"):
        urllib.request.urlopen(f"http://127.0.0.1:{port}/healthz", timeout=2)


@pytest.mark.long
def test_a_port_that_is_taken_is_one_clear_error(cli_on_copy: Cli, only_fast_models) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])

        done = cli_on_copy("demo", "--once", "--no-browser", "--port", port)

    assert done.code == 2
    assert "choose another --port" in done.err


@pytest.mark.long
def test_ctrl_c_ends_the_demo_and_its_dashboard(copied, only_fast_models) -> None:
    port = free_port()
    code = (
        "import cis490_pipeline.experiment.order as p\n"
        "import cis490_pipeline.experiment.leaderboard as b\n"
        "from cis490_pipeline_tests.experiment.runs import FAST\n"
        "p.MODELS = b.MODELS = FAST\np.TABLES = ()\n"
        "from cis490_pipeline.cli import main\nmain()"
    )
    arguments = ["demo", "--no-browser", "--port", str(port), "--data", str(copied.paths.root)]
    process = subprocess.Popen(
        [sys.executable, "-c", code, *arguments, "--store", str(SAMPLE), "--workers", "1"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=SAMPLE.parents[1],
    )
    assert process.stdout is not None
    assert b"dashboard: " in process.stdout.readline()

    os.kill(process.pid, signal.SIGINT)
    _, err = process.communicate(timeout=60)

    assert process.returncode == 130
    assert b"Traceback" not in err, err.decode()
    with pytest.raises(OSError, match="refused"):
        urllib.request.urlopen(f"http://127.0.0.1:{port}/healthz", timeout=2)
