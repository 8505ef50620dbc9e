import shutil

import pytest


@pytest.fixture(scope="session")
def browser_type_launch_args(browser_type_launch_args):
    """The distribution's chromium: nothing is downloaded, and nothing is asked of the network."""
    chromium = shutil.which("chromium")
    assert chromium, "these tests need chromium (Debian: apt-get install chromium)"
    return {
        **browser_type_launch_args,
        "executable_path": chromium,
        "args": [
            "--no-sandbox",
            "--disable-gpu",
            "--disable-quic",
            "--disable-background-networking",
        ],
    }


@pytest.fixture(scope="session")
def base_url():
    """Pages are opened by their whole address; pytest-base-url's own fixture warns on pytest 9."""
    return
