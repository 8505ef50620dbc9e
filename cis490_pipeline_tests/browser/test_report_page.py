import pytest

from cis490_pipeline.reporting.html import SECTIONS, render_report
from cis490_pipeline_tests.evaluation.boards import board_of
from cis490_pipeline_tests.evaluation.made_up import SPLIT
from cis490_pipeline_tests.evaluation.measured import measured

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def board():
    board, reports, probes = board_of()
    return *measured(board, reports), probes


@pytest.fixture(scope="module")
def address(board, tmp_path_factory):
    """Where the page of a small leaderboard lies."""
    leaderboard, reports, probes = board
    page = tmp_path_factory.mktemp("report") / "report.html"
    page.write_text(
        render_report(
            leaderboard,
            [*reports, *probes],
            split=SPLIT,
            provenance={"commit": "0123456789abcdef" * 2, "versions": {"numpy": "2.3.5"}},
        ),
        encoding="utf-8",
    )
    return page.as_uri()


@pytest.fixture
def opened(page, address):
    """The page in a browser, and everything it asked for or complained about."""
    requests, complaints = [], []
    page.on("request", lambda request: requests.append(request.url))
    page.on("console", lambda message: complaints.append(message.text))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.goto(address)
    return page, requests, complaints


def test_the_page_opens_from_a_file_fetching_and_complaining_of_nothing(opened, address):
    page, requests, complaints = opened

    assert page.title()
    assert requests == [address]
    assert complaints == []


def test_every_model_is_shown_with_its_score_and_interval(opened, board):
    text = opened[0].inner_text("body")

    for row in board[0]["rows"]:
        assert row["model"] in text
        assert f"{row['macro_f1']:.3f}" in text
        if row["kind"] == "model":
            assert f"{row['ci_low']:.3f}" in text
            assert f"{row['ci_high']:.3f}" in text


def test_an_untested_cell_is_hatched_and_says_so(opened):
    cell = opened[0].locator("#breakdowns .matrix td.untested")

    assert cell.count() == 1
    assert cell.inner_text() == "untested"
    background = cell.evaluate("cell => getComputedStyle(cell).backgroundImage")
    assert "repeating-linear-gradient" in background


def luminance(page, selector, which):
    """How bright a colour is, 0 to 1; of a transparent background, the one that shows through."""
    return page.evaluate(
        """([selector, which]) => {
            let element = document.querySelector(selector), colour;
            do {
                colour = getComputedStyle(element)[which];
                element = element.parentElement;
            } while (element && colour === 'rgba(0, 0, 0, 0)');
            const [r, g, b] = colour.match(/[\\d.]+/g).map(Number).map(
                v => (v /= 255) <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
            return 0.2126 * r + 0.7152 * g + 0.0722 * b;
        }""",
        [selector, which],
    )


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_can_be_read_in_light_and_in_dark(page, address, scheme):
    page.emulate_media(color_scheme=scheme)
    page.goto(address)

    ground = luminance(page, "body", "backgroundColor")
    assert (ground > 0.5) is (scheme == "light")
    for selector in (
        *("body", "h1", "h2", "h3", "th", "td", "td.untested", "nav a", ".sub", ".absent, .why"),
        *(".answer p", ".tag", ".chip", "figcaption", "dt", "dd", "summary", ".soft", "code"),
    ):
        text, behind = (luminance(page, selector, which) for which in ("color", "backgroundColor"))
        contrast = (max(text, behind) + 0.05) / (min(text, behind) + 0.05)
        assert contrast >= 4.5, selector


@pytest.mark.parametrize("width", [320, 390, 768, 1440])
def test_the_body_never_scrolls_sideways(page, address, width):
    page.set_viewport_size({"width": width, "height": 800})
    page.goto(address)
    page.locator("details").evaluate_all("all => all.forEach(one => one.open = true)")

    assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_every_section_has_its_heading_and_its_link(opened):
    page = opened[0]

    for number, (name, title, _) in enumerate(SECTIONS, start=1):
        assert page.locator(f"#{name} > h2").inner_text() == f"{number} {title}"
        page.get_by_role("navigation").get_by_role("link", name=title, exact=True).click()
        assert page.url.endswith(f"#{name}")


def test_what_is_drawn_has_a_name_for_those_who_do_not_see_it(opened):
    page = opened[0]

    names = [
        page.get_by_role("img", name=name).count()
        for name in ("Share of infections found", "Reliability", "Risk and coverage", "F1 of clean")
    ]

    assert names == [1, 1, 1, 1]


def test_scrolling_tables_can_be_reached_by_the_keyboard(opened):
    tables = opened[0].locator(".scroll")

    assert tables.count() > 10
    assert set(tables.evaluate_all("all => all.map(one => one.tabIndex)")) == {0}


def test_curves_are_told_apart_without_colour(opened):
    dashes = (
        opened[0]
        .locator("#detection .chart path.curve")
        .evaluate_all("all => all.map(one => getComputedStyle(one).strokeDasharray)")
    )

    assert len(set(dashes)) == 2


def test_a_card_opens_on_a_click_and_is_open_on_paper(opened):
    page = opened[0]
    card = page.locator("details").first
    inside = card.get_by_text("not intended")

    assert not inside.is_visible()
    card.locator("summary").click()
    assert inside.is_visible()
    second = page.locator("details").nth(1)
    assert second.evaluate("one => one.getBoundingClientRect().height") < 100
    page.emulate_media(media="print")
    assert second.evaluate("one => one.getBoundingClientRect().height") > 100


def test_the_page_prints_dark_on_white_with_every_model(opened, board):
    page = opened[0]
    page.emulate_media(media="print", color_scheme="dark")

    assert luminance(page, "body", "backgroundColor") > 0.9
    assert luminance(page, "body", "color") < 0.2
    assert page.pdf(format="A4")[:5] == b"%PDF-"
    for row in board[0]["rows"]:
        assert page.locator("#scores").get_by_text(row["model"], exact=False).first.is_visible()


def test_nothing_is_cut_off_on_paper(page, address):
    page.emulate_media(media="print")
    page.set_viewport_size({"width": 718, "height": 1000})  # A4 with margins of 10 mm
    page.goto(address)

    cut = "all => all.filter(one => one.scrollWidth > one.clientWidth + 1).length"
    assert page.locator(".scroll").evaluate_all(cut) == 0
    assert page.evaluate("document.documentElement.scrollWidth") <= 718
