"""Functions run in a network namespace of their own, where every user may make interfaces."""

import json
import subprocess
import sys
from collections.abc import Callable
from functools import cache
from typing import Any

import pytest

REMEDY = (
    "capture tests need a network namespace: allow user namespaces (sysctl "
    "kernel.unprivileged_userns_clone=1, kernel.apparmor_restrict_unprivileged_userns=0, "
    "user.max_user_namespaces>0), or run them as root"
)


@cache
def entering() -> tuple[str, ...]:
    """The command that enters a new network namespace on this machine."""
    for command in (("unshare", "-Urn"), ("unshare", "-n")):
        done = subprocess.run([*command, "true"], capture_output=True, check=False)
        if done.returncode == 0:
            return command
    # Some containers forbid it to everyone; a missing program raises instead.
    pytest.skip(REMEDY)


def in_namespace(function: Callable[..., Any], *arguments: object) -> Any:
    """Run a module's function in a fresh namespace; return what it returns, by way of JSON."""
    return run_function([*entering()], function, *arguments)


def run_function(prefix: list[str], function: Callable[..., Any], *arguments: object) -> Any:
    code = (
        f"import json, sys; from {function.__module__} import {function.__name__} as f; "
        "print(json.dumps(f(*json.loads(sys.argv[1]))))"
    )
    done = subprocess.run(
        [*prefix, sys.executable, "-c", code, json.dumps(arguments)],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])
