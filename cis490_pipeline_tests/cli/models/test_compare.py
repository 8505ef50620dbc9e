import shutil
from pathlib import Path

import click
import pytest

from cis490_pipeline.experiment.stages.workspace import Workspace
from cis490_pipeline.storage.files import read_json
from cis490_pipeline_tests.cli.runs import Cli


def test_compare_prints_difference_interval_and_p(plain: Cli, finished: Workspace) -> None:
    root = str(finished.paths.root)

    out = plain("compare", root, root).out

    assert "gbt_realistic" in out
    assert "+0.000 [+0.000, +0.000]" in out
    assert "1.0000" in out
    assert "made alike" in out


def test_compare_of_two_models_says_what_differs(plain: Cli, finished: Workspace) -> None:
    folders = [
        str(finished.paths.checkpoint("host", name)) for name in ("gbt_oracle", "mlp_oracle")
    ]

    done = plain("compare", *folders)

    assert done.code == 0
    assert "differ in model, settings" in done.out


def test_compare_gives_json_to_machines(plain: Cli, finished: Workspace) -> None:
    reports = str(finished.paths.leaderboard("host").parent)

    found = plain("compare", reports, reports, "--json").json

    assert {row["p_holm"] for row in found["rows"]} == {1.0}
    assert {row["n_windows"] for row in found["rows"]} == {350}


def test_compare_of_nothing_is_one_clear_line(plain: Cli, tmp_path: Path) -> None:
    done = plain("compare", str(tmp_path / "a"), str(tmp_path / "b"))

    assert (done.code, done.err.count("\n")) == (2, 1)
    assert "a: no such folder; name a data folder or a checkpoint's" in done.err


def test_report_is_drawn_where_only_its_json_lies(
    plain: Cli, finished: Workspace, tmp_path: Path
) -> None:
    folder = tmp_path / "data/reports/host"
    folder.mkdir(parents=True)
    for path in finished.paths.leaderboard("host").parent.glob("*.json"):
        shutil.copy2(path, folder)

    done = plain("report", "--data", str(tmp_path / "data"), "--json")

    assert done.code == 0
    assert (folder / "report.html").read_bytes() == finished.paths.report_html("host").read_bytes()
    assert (folder / "tables" / "leaderboard.csv").is_file()


def test_report_opens_no_test_side(cli_on_copy: Cli, copied: Workspace) -> None:
    manifests = sorted(copied.paths.root.glob("artifacts/host/*/predictions.json"))
    before = [read_json(path)["n_test_openings"] for path in manifests]
    copied.paths.report_html("host").unlink()

    assert cli_on_copy("report").code == 0

    assert [read_json(path)["n_test_openings"] for path in manifests] == before
    assert copied.paths.report_html("host").is_file()


def test_report_opens_the_page_if_asked(
    cli: Cli, finished: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[str] = []
    monkeypatch.setattr(click, "launch", opened.append)

    cli("report", "--open")

    assert opened == [str(finished.paths.report_html("host"))]
