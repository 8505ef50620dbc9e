import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request

import pytest

COMMAND = """
import sys, time
from pathlib import Path
from cis490_pipeline.cli.dashboard_process import dashboard_process
with dashboard_process(int(sys.argv[1]), Path(sys.argv[2])) as url:
    print(url, flush=True)
    time.sleep(600)
"""


def answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(f"{url}healthz", timeout=5):
            return True
    except OSError:
        return False


@pytest.mark.long
def test_a_command_that_is_killed_leaves_no_dashboard_behind(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    words = [sys.executable, "-c", COMMAND, str(port), str(tmp_path)]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as command:
        url = command.stdout.readline().strip()
        assert answers(url)
        os.kill(command.pid, signal.SIGKILL)
    until = time.monotonic() + 10
    while answers(url):
        assert time.monotonic() < until
        time.sleep(0.1)
