"""What each section shows, of reports that hold everything and of older ones that do not."""

import re
from itertools import pairwise, product

import pytest

from cis490_pipeline.domain import Architecture
from cis490_pipeline.domain.catalogue import RUN_VARIANTS
from cis490_pipeline.reporting.html import SECTIONS, render_report
from cis490_pipeline.reporting.page.cards import card_markdown, model_card
from cis490_pipeline.reporting.page.drawing import HEIGHT, WIDTH, Frame, dot_of, reach_of
from cis490_pipeline.reporting.page.numbers import NOT_MEASURED, Numbers
from cis490_pipeline.reporting.page.sections import answer, detection, differences, robustness
from cis490_pipeline.reporting.page.sections.recorder import recorder_view
from cis490_pipeline_tests.evaluation.boards import board_of
from cis490_pipeline_tests.evaluation.made_up import SPLIT
from cis490_pipeline_tests.evaluation.measured import HOST_OUT, measured, older
from cis490_pipeline_tests.evaluation.measured_controls import STEPPING, STEPS, no_controls
from cis490_pipeline_tests.evaluation.parsed import Page

TWELVE = {model: 1.0 + 0.1 * k for k, model in enumerate(product(Architecture, RUN_VARIANTS))}
CHECKPOINT = {
    "input": "summary, (145,)",
    "booster_bytes": 0,
    "parameters": 106_501,
    "config": {"widths": [256, 256]},
    "digest": "d" * 64,
    "data_digest": "e" * 64,
    "feature_schema": "f" * 64,
    "commit": "abc",
    "seconds": 61.0,
}
HOSTILE = "<img src=x onerror=alert(1)>\"'{{ 7*7 }}"


@pytest.fixture(scope="module")
def old():
    return older(*board_of(models=TWELVE, n_resamples=20))


@pytest.fixture(scope="module")
def full(old):
    board, reports, probes = old
    board, reports = measured(board, reports)
    return board, reports, probes


def numbers_of(made, **others):
    board, reports, probes = made
    fields = {"split": SPLIT, "provenance": {"commit": "abc"}, **others}
    return Numbers.of(board, [*reports, *probes], **fields)


def page_of(made, **others):
    board, reports, probes = made
    fields = {"split": SPLIT, "provenance": {"commit": "abc"}, **others}
    return render_report(board, [*reports, *probes], **fields)


@pytest.fixture(scope="module")
def full_page(full):
    return page_of(full, checkpoints={"gbt_realistic": CHECKPOINT})


@pytest.fixture(scope="module")
def old_page(old):
    return page_of(old)


def test_the_page_says_on_which_processors_models_were_trained(full):
    on = {"computed_on": {"name": "AMD <EPYC>", "torch": "AVX2"}}
    two = {"gbt_realistic": {**CHECKPOINT, **on}}
    every = {report["model"]: {**CHECKPOINT, **on} for report in full[1]}

    mixed = text_of(page_of(full, checkpoints=two), "origin")
    alike = text_of(page_of(full, checkpoints=every), "origin")

    assert "name AMD <EPYC>, torch AVX2 (gbt_realistic)" in mixed
    others = re.search(r"not recorded \(([^)]*)\)", mixed)[1].split(", ")
    assert sorted(others) == sorted(every.keys() - two.keys())
    assert "name AMD <EPYC>, torch AVX2 (all)" in alike


def text_of(page, section):
    """Words of one section."""
    found = re.search(rf'<section class="part" id="{section}".*?</section>', page, re.DOTALL)
    return Page(found[0]).text


def test_the_sections_come_in_a_sceptics_order(full_page, old_page):
    for page in (full_page, old_page):
        headings = re.findall(r'<span class="number">(\d+)</span> ([^<]+)</h2>', page)
        assert headings == [(str(k + 1), title) for k, (_, title, _) in enumerate(SECTIONS)]


@pytest.mark.parametrize("section", ["breakdowns", "detection", "certainty", "shortcuts"])
def test_older_reports_say_what_was_not_measured(old_page, full_page, section):
    assert NOT_MEASURED in text_of(old_page, section)
    assert NOT_MEASURED not in text_of(full_page, section)


@pytest.mark.parametrize("section", ["robustness", "studies"])
def test_what_was_not_run_is_said_so(old_page, full_page, section):
    assert "not run" in text_of(old_page, section)
    assert "not run" not in text_of(full_page, section).replace("was not run there", "")


def test_the_page_of_twelve_models_is_small(full_page):
    assert len(full_page.encode()) < 500_000


@pytest.mark.parametrize("name", ["old_page", "full_page"])
def test_tables_have_captions_headers_a_scope_and_pictures_words(name, request):
    page = request.getfixturevalue(name)

    assert page.count("<table") == page.count("<caption>")
    assert not re.findall(r"<th(?![^>]*\bscope=)[ >]", page)
    drawings = re.findall(r"<svg[^>]*>", page)
    assert drawings
    for drawing in drawings:
        assert re.search(r"aria-label=|aria-labelledby=|aria-hidden=", drawing), drawing
    ids = re.findall(r'\bid="([^"]+)"', page)
    assert len(ids) == len(set(ids))
    assert set(re.findall(r'href="#([^"]+)"', page)) <= set(ids)


def test_headings_go_down_one_step_at_a_time(full_page):
    levels = [int(level) for level in re.findall(r"<h([1-6])", full_page)]

    assert levels.count(1) == 1
    assert all(after <= before + 1 for before, after in pairwise(levels))


def test_hostile_names_in_every_part_are_shown_and_never_run(full):
    board, reports, probes = full
    text = str(board["study"]).replace("garage-pi", "HOST").replace("io-walk", "PROFILE")
    assert "HOST" in text

    def spoilt(value):
        if isinstance(value, dict):
            return {k: spoilt(v) for k, v in value.items()}
        if isinstance(value, list):
            return [spoilt(v) for v in value]
        hostile = {"io-walk", "garage-pi", "agent_dead", "guest.load1", "raw", "test side"}
        return HOSTILE + value if value in hostile else value

    parts = ("study", "robustness", "host_identity", "controls")
    board = {**board, **{k: spoilt(board[k]) for k in parts}}
    reports = [{**r, "detection": spoilt(r["detection"])} for r in reports]

    page = page_of((board, reports, probes), checkpoints={"gbt_realistic": spoilt(CHECKPOINT)})

    parsed = Page(page)
    assert "img" not in parsed.tags
    assert not [name for name, _ in parsed.attributes if name.startswith("on")]
    for section in ("detection", "robustness", "studies", "shortcuts"):
        assert "onerror=alert(1)" in text_of(page, section)
    assert "{{ 7*7 }}" in parsed.text


def test_the_answer_names_score_probe_worst_host_alarm_and_what_is_untested(full):
    numbers = numbers_of(full)
    chosen = numbers.chosen

    (text,) = [" ".join(answer.view(numbers)["sentences"])]

    assert f"{chosen['model']} reaches a macro F1 of {chosen['macro_f1']:.2f}" in text
    assert "among 12 models" in text
    assert f"hardest device is {chosen['host_minimum']['host_id']}" in text
    assert "90.9 device-minutes of clean time" in text
    assert "Not tested at all: io-walk on lab-nuc." in text


def test_a_rate_that_cannot_be_had_is_no_number_in_the_answer(full):
    board, reports, probes = full
    short = {"n": 0, "device_days": 0.01, "per_day": None, "low": None, "high": None}
    reports = [
        {**r, "detection": {**r["detection"], "false_alarms": {**short, "why": "too short"}}}
        for r in reports
    ]

    text = " ".join(answer.view(numbers_of((board, reports, probes)))["sentences"])

    assert (
        "its rate of false alarms is n/a over 14.4 device-minutes of clean time (too short)" in text
    )


def test_the_strongest_shortcut_is_the_one_chosen_on_validation_and_never_a_control():
    rows = [
        {"model": name, "kind": "probe", "macro_f1": score}
        for name, score in (("probe_a", 0.4), ("probe_b", 0.5), ("probe_c", 0.9))
    ]
    pairs = [{"b": row["model"]} for row in rows]
    versus = {"comparisons": pairs, "controls": ["probe_c"]}

    def strongest(**more):
        return answer.strongest_probe({"rows": rows, "best_vs_probe": {**versus, **more}})["b"]

    assert strongest() == "probe_b"
    assert strongest(best_probe="probe_a") == "probe_a"
    assert answer.strongest_probe({"rows": [], "best_vs_probe": {"comparisons": []}}) is None


def test_a_pairs_interval_turns_round_with_it(full):
    for table in differences.pair_tables(full[0]):
        for row in table["rows"]:
            for cell in row["cells"]:
                if cell is not None:
                    assert cell["low"] <= cell["difference"] <= cell["high"]


def test_points_lie_where_their_values_say():
    frame = Frame(x=(0, 10))
    left, bottom = frame.place((0, 0))
    right, top = frame.place((10, 1))

    middle = frame.place((5, 0.5))

    assert middle == pytest.approx(((left + right) / 2, (bottom + top) / 2), abs=0.1)
    assert 0 < left < right < WIDTH
    assert 0 < top < bottom < HEIGHT
    assert frame.place((99, -1)) == (right, bottom)
    assert frame.path([(0, 0), (10, 1)]) == f"M{left:g} {bottom:g}L{right:g} {top:g}"
    assert frame.path([(0, 0), (10, 1)], steps=True) == f"M{left:g} {bottom:g}H{right:g}V{top:g}"
    assert frame.path([]) == ""


def test_differences_are_placed_about_a_zero_in_the_middle():
    pair = {"difference": -0.2, "ci_low": -0.4, "ci_high": None}

    assert reach_of([pair]) == 0.4
    assert dot_of(pair, 0.4) == {"at": "26.00", "low": "2.00", "high": None}


def test_the_detection_curve_ends_at_the_share_found(full):
    numbers = numbers_of(full)
    (curve,) = [c for c in detection.view(numbers)["curve"]["curves"] if c["style"] == "a"]
    share = numbers.chosen["detection"]["time_to_detection"]["curve"][-1]["share"]

    last = float(curve["path"].rsplit("V", 1)[1])

    assert last == pytest.approx(Frame(x=(0, 120)).place((120, share))[1], abs=0.05)


def test_every_scenario_of_every_model_has_its_cell(full):
    view = robustness.view(numbers_of(full))

    assert len(view["rows"]) == 12
    assert all(len(row["cells"]) == 6 for row in view["rows"])
    assert view["whys"] == ["no infected stretch is long enough for a baseline"]


def test_the_answer_states_the_score_on_devices_left_out_beside_the_own_test(full):
    text = text_of(page_of(full), "answer")

    assert "Macro F1 on devices left out in turn" in text
    for part in ("0.66 to 0.76, 95 % by episode", "0.55 to 0.87 over other devices", "36 episodes"):
        assert part in text.replace("\u00a0", " ")
    assert "mean of 3 seeds 0.70" in text
    assert "so nothing was chosen by it" not in text


def test_the_studies_show_every_model_on_devices_left_out_by_phase_and_device(full):
    text = text_of(page_of(full), "studies")

    assert "mean of gbt_realistic and mlp_realistic" in text
    assert "without lab-nuc: train lacks armed" in text
    assert "host-out, ensemble against its parts" in text


def test_a_test_side_opened_by_leaving_devices_out_is_named(full):
    board, reports, probes = full
    study = {**board["study"], "host_out": {**HOST_OUT, "opened_test": {"lab-nuc": 12}}}

    page = page_of(({**board, "study": study}, reports, probes))

    for section in ("answer", "studies"):
        assert "That scored the test side too (lab-nuc)" in text_of(page, section)


def test_the_page_says_what_chose_the_model(full):
    board, reports, probes = full
    by_hosts = {**board, "selected_by": {"realistic": "host_out"}}

    page = page_of((by_hosts, reports, probes))

    assert "It was chosen on devices left out in turn among" in text_of(page, "answer")
    assert "best on devices left out" in text_of(page, "scores")
    assert "best on val" in text_of(page, "scores")
    assert "of a model was made on devices left out in turn" in text_of(page, "methods")


def test_the_recorder_is_shown_by_channel_block_and_model(full, full_page):
    text = text_of(full_page, "shortcuts")
    view = recorder_view(full[0]["controls"])

    assert view["summary"] == (
        f"18 shams in 6 clean controls of 2 hosts: {STEPPING} steps there without malware."
    )
    assert [line["row"]["channel"] for line in view["steps"] if line["quarantined"]] == [STEPPING]
    assert text.count("quarantine") == 1
    assert text.count("no step shown") == 9
    assert f"{STEPPING} steps by +1.03e+04 bytes at would-be" in text
    assert "by +120 where look-alikes begin (9 times)" in text
    assert "block of the recording" in text
    assert "10 %, 73 %" in text


def test_what_lacks_controls_says_so_in_one_line_and_quarantines_nothing(full):
    board, reports, probes = full
    few = {**board["controls"], "steps": {**STEPS, "quarantined": [], "why": "2 of 1 host"}}
    none = no_controls("none of 66 episodes has a recorder's notes")

    text = text_of(page_of(({**board, "controls": none}, reports, probes)), "shortcuts")

    assert "no controls: none of 66 episodes has a recorder's notes" in text
    assert "would-be" not in text
    assert "nothing is quarantined (2 of 1 host)" in recorder_view(few)["summary"]
    assert {line["verdict"] for line in recorder_view(few)["steps"]} == {"too few controls"}


def test_a_stale_study_says_why_and_shows_no_number(old):
    board, reports, probes = old
    stale = {"status": "stale", "why": "made of another split"}

    text = text_of(page_of(({**board, "study": stale}, reports, probes)), "studies")

    assert "made of another split" in text
    assert not re.search(r"0\.\d", text)


def test_a_card_says_use_data_training_metrics_and_limits(full):
    numbers = numbers_of(full, checkpoints={"mlp_oracle": CHECKPOINT})

    card = model_card(numbers.named["mlp_oracle"], numbers)

    text = card_markdown(card)
    titles = re.findall(r"^## (.+)$", text, re.MULTILINE)
    assert titles == ["Use", "Data", "Model and training", "Metrics", "Limits"]
    assert "106 501" in text
    assert "an upper bound, not for deployment" in text
    assert r"io\-walk on lab\-nuc" in text


def test_a_card_without_its_checkpoint_still_names_its_digest(old):
    numbers = numbers_of(old)
    report = numbers.named["gbt_oracle"]

    items = dict(model_card(report, numbers)["parts"][2]["items"])

    assert items["checkpoint"] == report["checkpoint_digest"]
    assert "parameters" not in items


def test_cards_escape_markdown_from_outside(full):
    board, reports, probes = full
    split = {**SPLIT, "untested_profiles": {"# host": ["[x](http://evil)"]}}
    numbers = numbers_of((board, reports, probes), split=split)

    text = card_markdown(model_card(reports[0], numbers))

    assert "[x](" not in text
    assert r"\[x\]\(http\:" in text
