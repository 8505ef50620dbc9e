import contextlib
import json
import subprocess
import sys

import pytest

from cis490_pipeline.errors import RecordingError
from cis490_pipeline.recording.host.network import (
    build_network,
    enter_namespace,
    link_command,
)
from cis490_pipeline.recording.plan import Link

# A process of its own: entering a namespace cannot be undone.
INSIDE = """
import json, os, socket
from cis490_pipeline.errors import RecordingError
from cis490_pipeline.recording.host.network import build_network, enter_namespace, start_sinks
try:
    enter_namespace()
    build_network(None)
except RecordingError as refused:
    print(json.dumps({"refused": str(refused)}))
    raise SystemExit(0)
sinks = start_sinks()

def asked(address, port, content=b""):
    try:
        with socket.create_connection((address, port), timeout=5) as connection:
            connection.sendall(content)
            received = b""
            while piece := connection.recv(65536):
                received += piece
                if not content:
                    break
            return f"{len(received)} bytes {received[:7].decode()}"
    except OSError as fault:
        return type(fault).__name__ + f" {fault.errno}"

found = {
    "login": asked("198.18.7.9", 23),
    "download": asked("198.18.0.10", 5201, b"300000\\n"),
    "closed": asked("198.18.7.9", 24),
    "outside": asked("192.0.2.1", 80),
    "links": sorted(name for _, name in socket.if_nameindex()),
}
sinks.kill()
sinks.wait()
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def inside():
    done = subprocess.run(
        [sys.executable, "-c", INSIDE], capture_output=True, text=True, check=True, timeout=60
    )
    found = json.loads(done.stdout)
    if "refused" in found:
        pytest.skip(found["refused"])
    return found


def test_the_benchmarking_range_is_answered_by_the_namespace_itself(inside):
    assert inside["login"] == "7 bytes login: "
    assert inside["download"].startswith("300000 bytes")
    assert inside["closed"].startswith("ConnectionRefusedError")


def test_nothing_leaves_the_namespace(inside):
    # 101: the network is unreachable. There is no route and no other link.
    assert inside["outside"] == "OSError 101"
    assert inside["links"] == ["lo", "tap0"]


@pytest.mark.parametrize("fails", [False, True])
def test_a_links_conditions_are_set_on_the_tap_and_a_refusal_is_an_error(monkeypatch, fails):
    commands = []

    def run(command, **settings):
        commands.append(command)
        failed = fails and "netem" in command
        return subprocess.CompletedProcess(command, int(failed), "", "qdisc is unknown.")

    monkeypatch.setattr("cis490_pipeline.recording.host.network.subprocess.run", run)
    monkeypatch.setattr("cis490_pipeline.recording.host.network.Path.exists", lambda path: False)
    monkeypatch.setattr(
        "cis490_pipeline.recording.host.network.shutil.which", lambda name, path: name
    )
    refusal = pytest.raises(RecordingError, match=r"dev tap0 .*` failed: qdisc is unknown")
    with refusal if fails else contextlib.nullcontext():
        build_network(Link(delay_ms=5, loss_percent=1.0, rate_kbit=1000))

    assert commands[-1] == [
        *("tc", "qdisc", "add", "dev", "tap0", "root", "netem"),
        *("delay", "5ms", "loss", "1.0%", "rate", "1000kbit"),
    ]


def test_a_link_without_a_rate_is_not_limited():
    assert "rate" not in link_command(Link(delay_ms=40))


def test_a_system_that_refuses_namespaces_is_an_error_with_its_remedy(monkeypatch):
    class Refusing:
        def unshare(self, flags):
            return -1

    monkeypatch.setattr("cis490_pipeline.recording.host.network._LIBC", Refusing())

    with pytest.raises(RecordingError, match=r"network namespace is refused here.*record as root"):
        enter_namespace()
