import json
import os
import subprocess
import sys

import pytest

from cis490_pipeline.orchestration.runtime.webserver import Webserver
from cis490_pipeline_tests.changed_schema import DIFFERENCE, SchemaSwitch
from cis490_pipeline_tests.orchestration.dev_server import dev_server
from cis490_pipeline_tests.orchestration.making import (
    CHECKPOINT,
    FEATURES,
    ONE_MODEL,
    REPORT,
    TENSORS,
)

pytestmark = pytest.mark.long


def test_dagster_dev_makes_a_recipe_shows_its_score_and_leaves_no_process(tmp_path):
    with dev_server(tmp_path) as server:
        assert server.wait_until_loaded() == ["cis490_pipeline"]
        assert server.wait_for(server.launch("corpus"), 180) == "SUCCESS"
        assert server.wait_for(server.launch("recipe", "host"), 900) == "SUCCESS", server.tail()

        shown = server.metadata(REPORT, "host")
        report = json.loads((tmp_path / "data/reports/host/gbt_realistic.json").read_text())
        for name in ("macro_f1", "ci_low", "ci_high", "n_episodes", "n_windows"):
            assert shown[name] == round(report[name], 3)
        assert shown["confusion"].startswith("![confusion](data:image/png;base64,")
        assert server.metadata("model/leaderboard", "host")["models"] == 12

        assert len(server.survivors()) > 1
        assert server.interrupt() == {}


def command_line(folder, switch, *arguments):
    inherited = {k: v for k, v in os.environ.items() if not k.startswith(("DAGSTER_", "CIS490_"))}
    done = subprocess.run(
        [sys.executable, "-m", "cis490_pipeline", *arguments, "--json"],
        cwd=folder,
        env={**inherited, **switch.environment},
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
    )
    assert done.returncode in (0, 1), done.stderr
    return json.loads(done.stdout)


def stale(folder, switch):
    found = command_line(folder, switch, "stale", "--split", "host")["artefacts"]
    return {a["key"]: a for a in found if a["state"] == "stale"}


def test_a_schema_change_is_repaired_though_worker_and_daemon_are_killed_on_the_way(tmp_path):
    switch = SchemaSwitch(tmp_path)
    with dev_server(tmp_path, switch.environment) as server:
        server.wait_until_loaded()
        assert server.wait_for(server.launch("corpus"), 180) == "SUCCESS"

        # The worker of a run dies in the middle: the run is failed, and the next one goes on.
        run = server.launch("recipe", "host", ONE_MODEL)
        server.kill_worker(run)
        assert server.wait_for(run, 300) == "FAILURE"
        again = server.launch("recipe", "host", ONE_MODEL)
        assert server.wait_for(again, 600) == "SUCCESS", server.tail()
        assert stale(tmp_path, switch) == {}
        assert server.stale_status(CHECKPOINT, "host")[0] == "FRESH"

        switch.turn_on()
        found = stale(tmp_path, switch)
        assert set(found) == {"corpus/grid_shards", *ONE_MODEL}
        assert found[FEATURES]["difference"].endswith(DIFFERENCE)
        launched = command_line(
            tmp_path, switch, "backfill", "--split", "host", "--url", server.url
        )
        # The code there was loaded anew, so Dagster's own pages say the same, one hop down.
        assert {server.stale_status(name, "host")[0] for name in (FEATURES, TENSORS)} == {"STALE"}

        server.kill("dagster._daemon")
        assert server.wait_until_ended() == {}

    with dev_server(tmp_path, switch.environment) as server:
        server.wait_until_loaded()
        webserver = Webserver(server.url)
        assert webserver.wait_for_backfill(launched["backfill"]) == "COMPLETED_SUCCESS"
        assert stale(tmp_path, switch) == {}
        assert {
            server.stale_status(name, "host")[0] for name in (FEATURES, CHECKPOINT, REPORT)
        } == {"FRESH"}
        assert command_line(tmp_path, switch, "backfill", "--split", "host")["made"] == []
        assert server.interrupt() == {}
    # What the killed processes left is at most half-written files beside whole ones.
    left = command_line(tmp_path, switch, "gc")
    assert {item["why"] for item in left["files"]} <= {
        "left by a process that was killed",
        "grids that no record or manifest lists",
    }
    assert stale(tmp_path, switch) == {}
