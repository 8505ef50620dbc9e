import json

from benchmarks import dashboard_page
from benchmarks.dashboard import RESULT


def test_the_page_says_what_was_measured():
    result = json.loads(RESULT.read_text(encoding="utf-8"))

    assert dashboard_page.PAGE.read_text(encoding="utf-8") == dashboard_page.page(result)
    assert {line["met"] for line in result["lines"]} <= {True, False}
