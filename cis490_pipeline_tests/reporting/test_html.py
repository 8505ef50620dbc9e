import re

import polars as pl
import pytest

from cis490_pipeline.errors import EvaluationError
from cis490_pipeline.evaluation.detection.fit import label_sequences
from cis490_pipeline.evaluation.detection.report import AlarmInputs, detection_report
from cis490_pipeline.reporting.html import render_report
from cis490_pipeline.reporting.page.sections import differences, scores
from cis490_pipeline_tests.evaluation.alarms import labels_of
from cis490_pipeline_tests.evaluation.boards import board_of
from cis490_pipeline_tests.evaluation.made_up import SPLIT, predictions, windows
from cis490_pipeline_tests.evaluation.parsed import Page

HOSTILE = "<script>alert(1)</script>\"'><img src=x onerror=alert(1)>{{ 7*7 }}\u202e"


def page_of(made, split=SPLIT, provenance=None):
    board, reports, probes = made
    return render_report(
        board, [*reports, *probes], split=split, provenance=provenance or {"commit": "abc"}
    )


@pytest.fixture(scope="module")
def made():
    return board_of()


@pytest.fixture(scope="module")
def html(made):
    return page_of(made)


def test_every_tag_is_closed(html):
    assert Page(html).open == []


def test_nothing_is_fetched_and_nothing_is_run(html):
    parsed = Page(html)

    assert not {"script", "link", "img", "iframe", "object", "base", "form"} & set(parsed.tags)
    fetching = {"src", "href", "srcset", "action", "data", "xlink:href", "style"}
    outward = [a for a in parsed.attributes if a[0] in fetching and not a[1].startswith("#")]
    assert not outward
    assert not [name for name, _ in parsed.attributes if name.startswith("on")]
    assert not re.search(r"https?://|url\(|@import", html)
    assert "default-src 'none'" in html


def account_by_host():
    """A report's account of both calibrations, with numbers that stand nowhere else."""
    rate = {"n": 5, "device_hours": 6.5, "per_hour": 0.769, "low": 0.25, "high": 1.8, "upper": 1.62}
    score = {"macro_f1": 0.8123, "ci_low": 0.7, "ci_high": 0.9, "n_episodes": 8, "n_windows": 80}
    length = {"seconds": None, "shortest_s": 299.0, "val": score, "n_infected": 9, "n_detected": 7}
    shares = {"share_detected": 7 / 9, "share_low": 0.45, "share_high": 0.94, "why": None}
    times = {"median_s": 12.0, "n_infected": 9, "n_detected": 7, **shares}
    row = {"mode": "host_baseline", "val": score, "test": score, "time_to_detection": times}
    missing = {**length, "seconds": 300.0, "val": None, "why": "n/a: camera/1: 300 s asked for"}
    per_hour = {
        "all": {**rate, "why": None},
        "by_host": [{"name": "lab-nuc", **rate, "why": None}],
        "by_look_alike": [{"name": "video-call", **rate, "why": None}],
        "why": None,
    }
    return {
        "why": None,
        "hosts_without": {"garage-pi": "no sound clean-only episode"},
        "records": [],
        "excluded": [],
        "n_test_openings": 1,
        "rows": [{**row, "per_hour": {**rate, "why": None}}],
        "lengths": [{**length, **shares, "per_hour": {**rate, "why": None}}, missing],
        "flagged_clean": [
            {
                "side": "test",
                "host_id": None,
                "n": 733,
                "n_flagged": 41,
                "share": 41 / 733,
                "low": 0.04,
                "high": 0.08,
            }
        ],
        "detection": {"per_hour": per_hour},
    }


def test_both_calibrations_are_on_the_page_where_a_report_has_them(made):
    board, reports, probes = made
    frame = predictions(windows(), skill=2)
    truth = labels_of(
        {name: [(0, "clean"), (41, "infecting")] for name in frame["episode_id"].unique()}
    )
    inputs = AlarmInputs(label_sequences(windows(n_test=0)), truth)
    detection = detection_report(frame, inputs, seed=0, n_resamples=20)
    plain = [{**r, "detection": detection} for r in reports]
    of = [{**r, "host_baseline": account_by_host()} for r in plain]
    html, shown = (page_of((board, models, probes)) for models in (plain, of))

    assert Page(shown).open == []
    for text in (
        "host baseline",
        "1.62",
        "video-call",
        "whole run",
        "41 of 733",
        "camera/1: 300 s asked for",
    ):
        assert text in Page(shown).text
        assert text not in Page(html).text
    assert "garage-pi: no sound clean-only episode" in Page(shown).text


def test_every_row_of_the_leaderboard_is_on_the_page(made, html):
    text = Page(html).text

    for row in made[0]["rows"]:
        assert row["model"] in text
        assert f"{row['macro_f1']:.3f}" in text


def test_the_page_names_what_is_untested_shared_and_excluded(html):
    text = Page(html).text

    assert "untested on lab-nuc io-walk" in text
    assert "samples in both flood-1" in text
    assert "1: no_clean_baseline" in text
    assert html.count('class="untested">untested</td>') == 1


def test_hostile_names_are_shown_and_never_run():
    keys = windows().with_columns(
        host_id=pl.lit(HOSTILE) + pl.col("host_id"),
        profile=pl.lit(HOSTILE) + pl.col("profile"),
    )
    split = {
        **SPLIT,
        "untested_profiles": {HOSTILE: [HOSTILE]},
        "excluded": {f"too few samples: {HOSTILE}": 2},
        "shared": {"hosts": [HOSTILE], "samples": [HOSTILE], "profiles": []},
        "selected_on": HOSTILE,
    }
    made = board_of(keys, split=split, name=HOSTILE + "{}_{}")

    hostile = page_of(made, split, provenance={HOSTILE: HOSTILE})

    parsed = Page(hostile)
    assert parsed.open == []
    assert not {"script", "img"} & set(parsed.tags)
    assert not [name for name, _ in parsed.attributes if name.startswith("on")]
    assert "alert(1)" in parsed.text
    assert r"{{ 7*7 }}\u202e" in parsed.text
    assert "\u202e" not in hostile


@pytest.mark.parametrize(
    "models",
    [{("gbt", "realistic"): 2.0}, {("cnn", "oracle"): 2.0}, {("gru", "realistic"): 0.0}],
)
def test_a_page_of_a_single_model_still_stands(models):
    assert Page(page_of(board_of(models=models))).open == []


def test_a_missing_view_is_said_and_not_drawn(html):
    assert "no oracle yet" in Page(html).text


def test_calibrations_are_shown_escaped_and_what_is_missing_is_said(made):
    board, reports, probes = made
    score = {"macro_f1": 0.5, "ci_low": 0.4, "ci_high": 0.6, "n_episodes": 7, "n_windows": 70}
    row = {"model": "gbt_realistic", "gauges": "recorded", "why_missing": None, "val": score}
    row |= {"scaling": "device"}
    used = {**row, "mode": "episode_baseline", "in_use": True, "test": score, "against_used": None}
    gone = {**used, "mode": "host_baseline", "in_use": False, "why_missing": "no window on <val>"}
    gone |= {"val": None, "test": None}
    of = {
        "architecture": "gbt",
        "variant": "realistic",
        "calibration_episodes": ["01A", "01B"],
        "hosts_refused": {"<script>": "has no sound clean-only episode"},
        "hosts_suspect": ["lab-nuc"],
    }
    shown = {**board, "ablation": [used, gone], "ablation_of": of}

    page = render_report(shown, [*reports, *probes], split=SPLIT, provenance={})

    assert "Ways of calibration" in page
    assert "0.500 <small>[0.400, 0.600]</small>" in page
    assert "no window on &lt;val&gt;" in page
    assert "no record of &lt;script&gt;" in page
    assert "<script>" not in page


def test_a_row_without_a_report_is_refused(made):
    board, reports, probes = made

    with pytest.raises(EvaluationError, match=r"needs the reports of \['probe_position'\]"):
        render_report(board, [*reports, probes[0]], split=SPLIT, provenance={})


def test_equal_input_gives_equal_pages(made, html):
    assert page_of(made) == html


def test_bars_end_where_the_scores_say(made):
    for group in scores.bars(made[0]):
        for bar in group["bars"]:
            if bar["row"]:
                assert float(bar["end"]) == pytest.approx(100 * bar["row"]["macro_f1"], abs=0.01)


def test_a_pair_turned_round_turns_its_sign(made):
    board, _, _ = made
    found = {row["model"]: row["macro_f1"] for row in board["rows"]}

    (table,) = [t for t in differences.pair_tables(board) if t["variant"] == "realistic"]

    for row in table["rows"]:
        for column, cell in zip(table["columns"], row["cells"], strict=True):
            if cell is not None:
                expected = found[f"{row['name']}_realistic"] - found[f"{column}_realistic"]
                assert cell["difference"] == pytest.approx(expected)
