"""The variant that no recipe run trains, from its training to its verdict on a device's traffic."""

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from cis490_pipeline.domain import Architecture, Recipe, Source, Variant
from cis490_pipeline.experiment.leaderboard import Leaderboard
from cis490_pipeline.experiment.order import further_stages
from cis490_pipeline.experiment.pipeline.evaluation import EvaluationReport
from cis490_pipeline.experiment.pipeline.training import TrainedCheckpoint
from cis490_pipeline.experiment.stages.workspace import Workspace
from cis490_pipeline.experiment.upkeep.stale import survey
from cis490_pipeline.storage.files import read_json
from cis490_pipeline_tests.cli.runs import Cli
from cis490_pipeline_tests.collect.frames import ACK, SYN, tcp
from cis490_pipeline_tests.collect.recorded.files import MS, T0_NS, pcap, zeek_tsv
from cis490_pipeline_tests.collect.recorded.test_packet_rows import received, sent
from cis490_pipeline_tests.collect.recorded.test_zeek import connection
from cis490_pipeline_tests.experiment.runs import SAMPLE, copy_of
from cis490_pipeline_tests.live.made_up import as_line, device_rows

MODEL = (Recipe.HOST, Architecture.GBT, Variant.NETWORK)
NETWORK = ("--model", "gbt", "--variant", "network")


@pytest.fixture(scope="module")
def trained(finished: Workspace, tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """The finished run with one network model, scored and on the board; only to be read."""
    workspace = copy_of(finished, tmp_path_factory.mktemp("network"))
    for stage in (
        TrainedCheckpoint(workspace, *MODEL),
        EvaluationReport(workspace, *MODEL),
        Leaderboard(workspace, Recipe.HOST),
    ):
        stage.ensure()
    return workspace


@pytest.fixture
def board(trained: Workspace) -> dict:
    return read_json(trained.paths.leaderboard(Recipe.HOST))


def test_its_input_is_a_part_of_the_data_that_is_there_already(trained: Workspace) -> None:
    checkpoint = TrainedCheckpoint(trained, *MODEL).load()

    assert checkpoint.golden.inputs.shape[1:] == (50,)
    others = TrainedCheckpoint(trained, *MODEL).dataset.open().manifest.variants
    assert set(others) == {"realistic", "oracle"}
    assert checkpoint.data_digest not in others.values()


def test_the_board_of_a_run_names_no_network_model(finished: Workspace) -> None:
    without = read_json(finished.paths.leaderboard(Recipe.HOST))

    assert set(without["selected"]) == {"realistic", "oracle"}
    page = finished.paths.report_html(Recipe.HOST).read_text()
    assert "traffic alone" not in page
    assert "_network" not in page


def test_the_board_shows_it_once_it_was_made(
    trained: Workspace, finished: Workspace, board
) -> None:
    row = next(row for row in board["rows"] if row["variant"] == "network")
    before = read_json(finished.paths.leaderboard(Recipe.HOST))

    assert row["model"] == "gbt_network"
    assert board["selected"]["network"] == "gbt_network"
    # Whatever is shown beside it stays as it was: prices of deployment, choice, probes.
    assert board["pairs"] == before["pairs"]
    assert board["best_vs_probe"] == before["best_vs_probe"]
    assert [r for r in board["rows"] if r["variant"] != "network"] == before["rows"]
    assert "network (10, traffic alone)" in trained.paths.report_html(Recipe.HOST).read_text()


def test_what_was_made_on_request_is_watched_over(trained: Workspace) -> None:
    known = {artefact.key: artefact for artefact in survey(trained, (Recipe.HOST,))}

    assert known["model/gbt/network/checkpoint"].state == "up to date"
    assert known["model/gbt/network/eval_report"].further
    assert not known["model/gbt/oracle/checkpoint"].further
    assert "model/gru/network/checkpoint" not in known
    assert TrainedCheckpoint(trained, *MODEL).key in {
        stage.key for stage in further_stages(trained, Recipe.HOST)
    }


def test_it_is_trained_and_scored_by_name(
    trained: Workspace, capsys: pytest.CaptureFixture[str]
) -> None:
    cli = Cli(capsys, "--store", str(SAMPLE), "--data", str(trained.paths.root), "--workers", "1")

    assert cli("train", *NETWORK, "--json").json["gbt_network"]["why"] == "up to date"
    assert set(cli("evaluate", *NETWORK, "--json").json) == {"gbt_network"}


def test_a_bundle_of_it_closes_windows_from_traffic_alone_and_says_what_it_sees(
    plain: Cli, trained: Workspace, tmp_path: Path
) -> None:
    folder, rows = tmp_path / "gateway", tmp_path / "episode"
    rows.mkdir()
    content = b"".join(map(as_line, device_rows(60, sources=(Source.NETFLOW,))))
    (rows / "netflow.jsonl").write_bytes(content)
    (rows / "done.marker").touch()

    made = plain("bundle", str(folder), "--data", str(trained.paths.root), *NETWORK, "--json").json
    done = plain("live", str(rows), "--bundle", str(folder), "--json")
    lines = plain("live", str(rows), "--bundle", str(folder), "--plain")

    assert set(made["models"]) == {"gbt_network"}
    windows = [w for w in map(json.loads, done.out.splitlines()) if w["type"] == "window"]
    assert [w["window_idx"] for w in windows] == list(range(3, 11))
    verdicts = [w["models"]["gbt_network"] for w in windows]
    assert all(v["sees"] == ["netflow"] and v["known_share"] == 1 for v in verdicts)
    assert all(v["phase"] is not None and v["alarm"] is not None for v in verdicts)
    assert "gbt_network see netflow alone: what else the device does is unknown" in done.err
    assert "(gbt_network, netflow alone)" in lines.out


def shell_blocks() -> list[str]:
    """The commands on the page about captures that need a shell, each with its output."""
    text = (SAMPLE.parents[1] / "docs" / "how-to" / "captures.md").read_text(encoding="utf-8")
    return re.findall(r"^```text\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def traffic() -> Iterator[tuple[int, bytes]]:
    """A minute of a device that asks for something twice a second."""
    for k in range(120):
        t_ns = T0_NS + k * 500 * MS
        yield t_ns, sent(tcp(1024 + k, 443, SYN))
        yield t_ns + MS, received(tcp(443, 1024 + k, SYN | ACK))
        yield t_ns + 2 * MS, sent(tcp(1024 + k, 443, ACK, bytes(300)))


@pytest.mark.long
def test_the_page_on_captures_leads_from_a_file_to_verdicts(
    trained: Workspace, plain: Cli, tmp_path: Path
) -> None:
    flags = ("--data", str(trained.paths.root), *NETWORK)
    plain("bundle", str(tmp_path / "scratch" / "gateway"), *flags)
    (tmp_path / "traffic.pcap").write_bytes(pcap(list(traffic())))
    times = (f"{1_700_000_000 + k}.000000" for k in range(60))
    (tmp_path / "conn.log").write_bytes(zeek_tsv([connection(ts=ts) for ts in times]))
    blocks = shell_blocks()
    command = f"{sys.executable} -m cis490_pipeline"

    done = [
        subprocess.run(
            ["bash", "-ec", re.sub(r"\bcis490 (?=rows|live)", f"{command} ", block)],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=True,
        )
        for block in blocks
    ]

    by_capture, kept, by_zeek = done
    verdicts = (tmp_path / "scratch" / "verdicts.jsonl").read_text().splitlines()
    windows = [w for w in map(json.loads, verdicts) if w["type"] == "window"]
    assert [w["window_idx"] for w in windows] == list(range(3, 10))
    assert by_capture.stdout.count(" (gbt_network, netflow alone)") == len(windows)
    assert "360 packets of 192.0.2.10 in 597 rows" in kept.stderr
    assert by_zeek.stdout.count(" (gbt_network, netflow alone)") > 0
    assert "each connection counts whole at its end" in by_zeek.stderr


def test_without_one_live_says_how_to_train_it(plain: Cli, finished: Workspace) -> None:
    done = plain("live", "-", "--data", str(finished.paths.root), *NETWORK)

    assert done.code == 2
    assert "run: cis490 train --recipe host --variant network, or give --bundle" in done.err
