import json

import pytest

from cis490_pipeline_tests.orchestration.dev_server import dev_server
from cis490_pipeline_tests.orchestration.making import ONE_MODEL, REPORT

pytestmark = [pytest.mark.browser, pytest.mark.long]


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """A running ``dagster dev`` that has made one model of the host split."""
    folder = tmp_path_factory.mktemp("dagster_page")
    with dev_server(folder) as server:
        server.wait_until_loaded()
        assert server.wait_for(server.launch("corpus"), 180) == "SUCCESS"
        assert server.wait_for(server.launch("recipe", "host", ONE_MODEL), 300) == "SUCCESS"
        yield server


def test_the_page_of_a_report_shows_its_score_and_its_confusion(page, server, tmp_path):
    folder = server.log.parent
    report = json.loads((folder / "data/reports/host/gbt_realistic.json").read_text())

    page.set_viewport_size({"width": 1440, "height": 1600})
    page.goto(f"{server.url}/assets/{REPORT}?partition=host")

    page.get_by_text("macro_f1", exact=True).first.wait_for(timeout=60_000)
    # The page cuts digits off and does not round.
    assert str(report["macro_f1"])[:6] in page.inner_text("body")
    page.screenshot(path=tmp_path / "asset.png")
    # Dagster shows Markdown in a dialog, on demand.
    page.get_by_role("row").filter(has_text="confusion").get_by_text("[Show Markdown]").click()
    picture = page.locator('img[src^="data:image/png;base64,"]')
    picture.wait_for()
    assert picture.evaluate("image => image.decode().then(() => image.naturalWidth)") > 100
    page.screenshot(path=tmp_path / "picture.png")
