"""A schema change seen by real processes: listed, refused, repaired from the root, resumed."""

import json
import os
import subprocess
import sys

import pytest

from cis490_pipeline_tests.changed_schema import DIFFERENCE, SchemaSwitch
from cis490_pipeline_tests.orchestration.making import CORPUS, ONE_MODEL, REPORT, SAMPLE


class Shell:
    """The command line on one data folder, in processes of their own."""

    def __init__(self, data, switch):
        self.data, self.switch = data, switch

    def words(self, *arguments):
        program = (sys.executable, "-m", "cis490_pipeline", *arguments)
        return [*program, "--data", str(self.data), "--store", str(SAMPLE), "--workers", "1"]

    def run(self, *arguments):
        unset = ("DAGSTER_", "CIS490_")
        environment = {k: v for k, v in os.environ.items() if not k.startswith(unset)}
        return subprocess.run(
            self.words(*arguments),
            env={**environment, **self.switch.environment},
            cwd=self.data,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )

    def json(self, *arguments):
        done = self.run(*arguments, "--json")
        assert done.returncode in (0, 1), done.stderr
        return json.loads(done.stdout), done.returncode


@pytest.fixture
def shell(workspace, tmp_path):
    return Shell(workspace.paths.root, SchemaSwitch(tmp_path))


def states(answer):
    """Return what is stale, by scope and key."""
    return {(a["scope"], a["key"]): a for a in answer["artefacts"] if a["state"] == "stale"}


@pytest.mark.long
def test_a_changed_channel_is_listed_refused_repaired_and_nothing_else_is_made(shell):
    assert states(shell.json("stale")[0]) == {}
    shell.switch.turn_on()

    answer, code = shell.json("stale")
    found = states(answer)
    assert code == 1
    assert {key for _, key in found} == {"corpus/grid_shards", *ONE_MODEL}
    assert {scope for scope, _ in found} == {"corpus", "host"}
    direct = {k for (_, k), a in found.items() if str(a["difference"]).endswith(DIFFERENCE)}
    assert direct == {
        "corpus/grid_shards",
        "dataset/feature_shards",
        "dataset/tensor_shards",
        "model/gbt/realistic/checkpoint",
    }
    refused = shell.run("evaluate", "--model", "gbt", "--variant", "realistic")
    assert refused.returncode == 2
    assert DIFFERENCE in refused.stderr

    planned, _ = shell.json("backfill", "--dry-run")
    assert [a["key"] for a in planned["planned"]] == [CORPUS[1], *ONE_MODEL]
    done, code = shell.json("backfill")
    assert code == 0
    assert done["made"] == [f"host: {key}" for key in (CORPUS[1], *ONE_MODEL)]
    assert states(shell.json("stale")[0]) == {}
    assert shell.json("backfill")[0]["made"] == []
    # The grids of the older schema are no one's now.
    gone, _ = shell.json("gc")
    assert {path["why"] for path in gone["files"]} == {"grids that no record or manifest lists"}
    assert states(shell.json("stale")[0]) == {}


@pytest.mark.long
def test_further_seeds_are_listed_and_made_again_before_the_board_that_means_over_them(shell):
    one = ("--model", "gbt", "--variant", "realistic", "--seeds", "2")
    for command in (("train", *one), ("evaluate", *one), ("report",)):
        assert shell.json(*command)[1] == 0
    shell.switch.turn_on()

    found = states(shell.json("stale")[0])
    further = {f"model/gbt/realistic/seed-1/{what}" for what in ("checkpoint", "eval_report")}
    assert further < {key for _, key in found}
    done, code = shell.json("backfill")

    assert code == 0
    made = [line.removeprefix("host: ") for line in done["made"]]
    assert further < set(made)
    assert made.count("model/leaderboard") == 1
    assert made[-1] == "model/leaderboard"
    board = json.loads((shell.data / "reports/host/leaderboard.json").read_text())
    seeds = {row["model"]: row["seeds"] for row in board["rows"] if row["kind"] == "model"}
    assert seeds["gbt_realistic"]["seeds"] == [0, 1]
    assert states(shell.json("stale")[0]) == {}


@pytest.mark.long
def test_a_backfill_that_is_killed_goes_on_where_it_was(shell):
    shell.switch.turn_on()
    process = subprocess.Popen(
        shell.words("backfill", "--no-dagster"),
        env={**os.environ, **shell.switch.environment},
        cwd=shell.data,
        stderr=subprocess.PIPE,
        text=True,
    )
    for line in process.stderr:
        if line.startswith("dataset/feature_shards"):
            break
    process.kill()
    process.communicate()

    planned, _ = shell.json("backfill", "--dry-run", "--no-dagster")
    keys = [a["key"] for a in planned["planned"]]
    assert "corpus/grid_shards" not in keys
    assert "dataset/feature_shards" not in keys
    assert REPORT in keys
    shell.json("backfill", "--no-dagster")
    assert states(shell.json("stale")[0]) == {}


@pytest.mark.long
def test_a_webserver_that_is_not_there_is_named(shell):
    shell.switch.turn_on()

    done = shell.run("backfill", "--url", "http://127.0.0.1:9")

    assert done.returncode == 2
    assert "http://127.0.0.1:9 does not answer as a Dagster webserver" in done.stderr


@pytest.mark.long
def test_a_webserver_is_not_asked_for_further_seeds_alone(shell):
    one = ("--model", "gbt", "--variant", "realistic", "--seeds", "2")
    assert shell.json("train", *one)[1] == 0
    (shell.data / "artifacts/host/gbt_realistic/seed-1/checkpoint.json").unlink()

    done = shell.run("backfill", "--url", "http://127.0.0.1:9")

    assert done.returncode == 2
    refusal = "1 artefacts of further seeds or variants on request are no assets; "
    assert refusal + "remake them without --url" in done.stderr
