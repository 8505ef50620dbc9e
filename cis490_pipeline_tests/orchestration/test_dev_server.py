import json

import pytest

from cis490_pipeline_tests.orchestration.dev_server import dev_server
from cis490_pipeline_tests.orchestration.making import REPORT

pytestmark = pytest.mark.long


def test_dagster_dev_makes_a_recipe_shows_its_score_and_leaves_no_process(tmp_path):
    with dev_server(tmp_path) as server:
        assert server.wait_until_loaded() == ["cis490_pipeline"]
        assert server.wait_for(server.launch("corpus"), 180) == "SUCCESS"
        assert server.wait_for(server.launch("recipe", "host"), 900) == "SUCCESS", server.tail()

        shown = server.metadata(REPORT, "host")
        report = json.loads((tmp_path / "data/reports/host/gbt_realistic.json").read_text())
        for name in ("macro_f1", "ci_low", "ci_high", "n_episodes", "n_windows"):
            assert shown[name] == pytest.approx(report[name])
        assert shown["confusion"].startswith("![confusion](data:image/png;base64,")
        assert server.metadata("model/leaderboard", "host")["models"] == 12

        assert len(server.survivors()) > 1
        assert server.interrupt() == {}
