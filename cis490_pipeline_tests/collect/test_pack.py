"""The packed agent runs on a bare Python, without this package."""

import ast
import json
import os
import shutil
import signal
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from cis490_pipeline import __version__
from cis490_pipeline.collect import pack
from cis490_pipeline.live.feeds.agent_status import AgentStatus
from cis490_pipeline.live.feeds.rows import LiveRow, read_line


@pytest.fixture(scope="module")
def packed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("packed") / "agent.pyz"
    pack.write_pack(path)
    return path


def agent(packed: Path, *arguments: str) -> list[str]:
    # Neither this package nor any other is to be found.
    return [sys.executable, "-I", "-S", str(packed), "--no-netflow", *arguments]


def run(packed: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        agent(packed, *arguments), capture_output=True, text=True, timeout=60, check=False
    )


def test_two_packs_of_the_same_source_are_the_same_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = Path(pack.__file__).parent
    copy = shutil.copytree(folder, tmp_path / "copy", ignore=shutil.ignore_patterns("__pycache__"))
    for path in copy.rglob("*.py"):
        os.utime(path, (0, 0))
        path.chmod(0o600)
    first = pack.packed()
    monkeypatch.setattr(pack, "__file__", str(copy / "pack.py"))

    assert pack.packed() == first


def test_a_pack_is_one_executable_file_of_sources_alone(packed: Path) -> None:
    assert packed.read_bytes().startswith(b"#!/usr/bin/env python3\n")
    assert packed.stat().st_mode & 0o111 == 0o111
    assert [path.name for path in packed.parent.iterdir()] == ["agent.pyz"]
    with zipfile.ZipFile(packed) as archive:
        names = archive.namelist()
        # A bare Python may lack zlib.
        assert {info.compress_type for info in archive.infolist()} == {zipfile.ZIP_STORED}
        for name in names:
            ast.parse(archive.read(name), name, feature_version=(3, 9))
    assert {"__main__.py", "cis490_pipeline/collect/agent.py"} <= set(names)
    assert "cis490_pipeline/collect/pack.py" not in names


def test_it_sends_rows_that_a_live_reader_takes(packed: Path) -> None:
    done = run(packed, "--seconds", "2.5", "--device", "garage-pi", "--iface", "lo")

    assert (done.returncode, done.stderr) == (0, "")
    read = [read_line(x.encode(), place="agent", number=1) for x in done.stdout.splitlines()]
    first, *rest = read
    assert isinstance(first, AgentStatus)
    assert (first.device, first.version, first.netflow) == ("garage-pi", __version__, "off")
    assert len(rest) == 3
    assert all(isinstance(row, LiveRow) for row in rest)


def test_it_loads_no_library_that_it_can_do_without(packed: Path) -> None:
    command = agent(packed, "--seconds", "0.1")
    command[1:1] = ["-X", "importtime"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    loaded = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}

    # Each takes up to a megabyte for as long as the agent runs.
    assert not loaded & {"pathlib", "shutil", "lzma", "bz2", "zipfile", "ctypes", "subprocess"}
    assert "cis490_pipeline.collect.guest" in loaded


def test_a_signal_ends_it_cleanly_with_all_rows_sent(packed: Path) -> None:
    for number in (signal.SIGTERM, signal.SIGINT):
        process = subprocess.Popen(
            agent(packed), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        assert process.stdout is not None
        lines = [process.stdout.readline(), process.stdout.readline()]
        process.send_signal(number)
        rest, errors = process.communicate(timeout=20)

        assert (process.returncode, errors) == (0, "")
        assert [json.loads(x)["source"] for x in lines] == ["agent_status", "guest_agent"]
        assert rest == "" or rest.endswith("\n")


def test_a_reader_that_goes_ends_it_quietly(packed: Path) -> None:
    process = subprocess.Popen(agent(packed), stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.readline()
    process.stdout.close()

    assert process.wait(timeout=20) == 0
    assert process.stderr.read() == b""
    process.stderr.close()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--to", "udp:1"], "--to udp:1: wanted -, unix:PATH, serial:DEVICE or tcp:HOST:PORT"),
        (["--to", "tcp:192.0.2.1:7490"], "rows leave this machine only to a receiver that holds"),
        (["--to", "tcp:nohost"], "--to tcp:nohost: wanted tcp:HOST:PORT"),
        (["--to", "tcp:127.0.0.1:70000"], "wanted tcp:HOST:PORT"),
        (["--to", "-", "--token-file", "x"], "--token-file is for tcp:HOST:PORT"),
        (["--to", "tcp:127.0.0.1:1", "--token-file", "x"], "x: No such file or directory"),
        (["--seconds", "-1"], "--seconds must be positive, got -1.0"),
        (["--seconds", "nan"], "--seconds must be positive, got nan"),
        (["--device", "a/b"], "--device must be 1 to 63 of A-Z a-z 0-9 . _ -, got 'a/b'"),
    ],
)
def test_what_it_cannot_do_is_named(packed: Path, arguments: list[str], message: str) -> None:
    done = run(packed, *arguments)

    assert done.returncode == 2
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def test_rows_that_nobody_took_end_it_with_one(packed: Path, tmp_path: Path) -> None:
    done = run(packed, "--seconds", "1", "--to", f"unix:{tmp_path / 'none'}")

    assert done.returncode == 1
    assert "No such file or directory; rows wait for 10 s, attempts go on" in done.stderr
    assert "1 rows were not sent" in done.stderr


def test_it_stays_within_eighteen_megabytes(packed: Path) -> None:
    process = subprocess.Popen(agent(packed), stdout=subprocess.PIPE)
    assert process.stdout is not None
    for _ in range(4):
        process.stdout.readline()
    status = Path(f"/proc/{process.pid}/status").read_text()
    process.terminate()
    process.communicate(timeout=20)

    (rss_kib,) = [int(x.split()[1]) for x in status.splitlines() if x.startswith("VmRSS")]
    assert rss_kib * 1024 <= 18e6


# Drops the capability for good before the agent starts; without the right to, it has none anyway.
WITHOUT_CAP_NET_RAW = """
import ctypes, os, sys
ctypes.CDLL(None).prctl(24, 13, 0, 0, 0)
os.execv(sys.executable, [sys.executable, "-I", "-S", *sys.argv[1:]])
"""


def test_without_the_right_to_capture_guest_rows_go_on_and_the_remedy_is_named_once(
    packed: Path,
) -> None:
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            WITHOUT_CAP_NET_RAW,
            str(packed),
            "--seconds",
            "2.5",
            "--iface",
            "lo",
        ],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert done.returncode == 0
    assert done.stderr.count("\n") == 1
    assert "no netflow: no CAP_NET_RAW" in done.stderr
    assert "setcap cap_net_raw+ep" in done.stderr
    first, *rows = map(json.loads, done.stdout.splitlines())
    assert first["netflow"].startswith("no CAP_NET_RAW")
    assert [row["source"] for row in rows] == ["guest_agent"] * 3


def test_it_loads_nothing_but_the_standard_library(packed: Path) -> None:
    code = (
        "import runpy, sys\nsys.argv = ['agent', '--version']\n"
        "try:\n    runpy.run_path(PATH, run_name='__main__')\n"
        "except SystemExit:\n    pass\n"
        "names = {n.partition('.')[0] for n in sys.modules} - set(sys.stdlib_module_names)\n"
        "print(sorted(names - {'__main__', 'cis490_pipeline'}))"
    ).replace("PATH", repr(str(packed)))
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", code],
        capture_output=True,
        text=True,
        check=True,
        cwd="/",
    )

    assert done.stdout.splitlines()[0] == __version__
    assert done.stdout.splitlines()[-1] == "[]"
