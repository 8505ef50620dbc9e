import pytest

from cis490_pipeline.dashboard.producers.options import DEFAULT_URL, publisher_of
from cis490_pipeline.errors import ConfigError


def test_a_producer_feeds_the_one_dashboard_it_is_told_of(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("CIS490_DASHBOARD_URL", raising=False)
    assert publisher_of(None).url == DEFAULT_URL

    monkeypatch.setenv("CIS490_DASHBOARD_URL", "http://127.0.0.1:1/publish")
    assert publisher_of(None).url == "http://127.0.0.1:1/publish"
    assert publisher_of("http://127.0.0.1:2/publish").url == "http://127.0.0.1:2/publish"


def test_several_dashboards_are_refused_rather_than_all_but_one_forgotten(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CIS490_DASHBOARD_URL", "http://127.0.0.1:1/a,http://127.0.0.1:2/b")

    with pytest.raises(ConfigError, match=r"one dashboard, but 2 are set: http://127\.0\.0\.1:1/a"):
        publisher_of(None)
