"""The dashboard in a process of its own, for commands that show what they do on it."""

import contextlib
import os
import socket
import subprocess
import sys
import time
import urllib.request
import webbrowser
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from cis490_pipeline.errors import ConfigError, EventError

_PORT: Final = 8447
_START_S: Final = 30.0
_CODE: Final = """
from cis490_pipeline.compute.process import dies_with
dies_with({parent})()
from cis490_pipeline.cli import main
main()
"""
"""The dashboard, which a command that is killed does not leave behind with its port."""


@contextmanager
def dashboard_process(port: int, data: Path) -> Iterator[str]:
    """Run the dashboard in its own process; yields its address once it answers."""
    url = f"http://127.0.0.1:{port}/"
    arguments = ["dashboard", "--port", str(port), "--data", str(data)]
    # Own process group: Ctrl-C goes to the command, which then ends the dashboard.
    process = subprocess.Popen(  # noqa: S603 - our own interpreter and arguments
        [sys.executable, "-c", _CODE.format(parent=os.getpid()), *arguments], start_new_session=True
    )
    try:
        _wait_until_it_answers(process, url)
        yield url
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait_until_it_answers(process: subprocess.Popen[bytes], url: str) -> None:
    until = time.monotonic() + _START_S
    while time.monotonic() < until and process.poll() is None:
        health = f"{url}healthz"
        with contextlib.suppress(OSError), urllib.request.urlopen(health, timeout=2):  # noqa: S310
            return
        time.sleep(0.1)
    ended = process.poll()
    state = f"ended with code {ended}" if ended is not None else f"did not answer in {_START_S:g} s"
    raise EventError(f"the dashboard at {url} {state}; see above, or choose another --port")


def free_port() -> int:
    """Return the dashboard's default port, or any free one if it is taken."""
    for wanted in (_PORT, 0):
        with contextlib.suppress(OSError), socket.create_server(("127.0.0.1", wanted)) as probe:
            return int(probe.getsockname()[1])
    raise ConfigError("no free port on 127.0.0.1")


def open_browser(url: str) -> None:
    """Open a graphical browser, if there is one; a text browser would take over the terminal."""
    has_windows = sys.platform in ("darwin", "win32") or bool(
        os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")
    )
    if has_windows:
        with contextlib.suppress(webbrowser.Error):
            webbrowser.open(url)
