"""The command packs the agent, or becomes it."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from cis490_pipeline.collect.pack import packed
from cis490_pipeline.live.feeds.agent_status import AgentStatus
from cis490_pipeline.live.feeds.rows import LiveRow, read_line
from cis490_pipeline_tests.cli.runs import Cli


def test_agent_packs_itself_in_one_file(plain: Cli, tmp_path: Path) -> None:
    path = tmp_path / "agent.pyz"

    done = plain("agent", "--pack", str(path))

    assert done.code == 0
    assert f"{path}: " in done.out
    assert path.read_bytes() == packed()


def test_every_option_reaches_the_agent(
    plain: Cli, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    became: list[list[str]] = []

    def execv(program: str, arguments: list[str]) -> None:
        became.append(arguments)
        raise SystemExit(0)

    monkeypatch.setattr(os, "execv", execv)
    given = ["--to", "tcp:h:1", "--iface", "eth0", "--token-file", str(tmp_path / "t")]
    given += ["--seconds", "2.5", "--device", "pi", "--no-netflow"]
    plain("agent", *given)

    assert became == [[sys.executable, "-P", "-m", "cis490_pipeline.collect", *given]]


def test_the_agent_runs_in_a_process_that_loaded_nothing_else() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "cis490_pipeline", "agent", "--no-netflow", "--seconds", "1.5"],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )

    first, *rest = [read_line(x.encode(), place="", number=1) for x in done.stdout.splitlines()]
    assert isinstance(first, AgentStatus)
    assert [type(row) for row in rest] == [LiveRow, LiveRow]
    assert json.loads(done.stdout.splitlines()[0])["rss_bytes"] < 25e6
