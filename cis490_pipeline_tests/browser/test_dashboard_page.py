import itertools
import re
import signal
from pathlib import Path

import pytest
from playwright.sync_api import Error

from cis490_pipeline.events import contract as c
from cis490_pipeline_tests.browser.live_dashboard import live_dashboard
from cis490_pipeline_tests.dashboard import scene

pytestmark = pytest.mark.browser

AXE = (Path(__file__).parent / "vendor" / "axe.min.js").read_text(encoding="utf-8")
SIZES = {"desk": (1440, 1100), "phone": (390, 844)}
HOSTILE = [
    "<img src=x onerror=\"document.title='owned'\">",
    "</script><script>document.title='owned'</script>",
    "${alert(1)}`{{constructor.constructor('alert(1)')()}}",
    "__proto__",
    "constructor",
    "\u202eevil\u202c\u0000\ufeff",
    "a\n\r\t\u2028b",
    "'\"><svg onload=alert(1)>",
    "W" * 128,
    "🦠" * 60,
]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A dashboard that was shown everything, before anybody looked."""
    with live_dashboard(tmp_path_factory.mktemp("whole")) as served:
        served.publish(*scene.whole())
        yield served


@pytest.fixture
def empty(tmp_path):
    with live_dashboard(tmp_path) as served:
        yield served


@pytest.fixture
def complaints(page):
    found = []
    page.on("console", lambda message: found.append(message.text))
    page.on("pageerror", lambda error: found.append(str(error)))
    return found


def opened(page, served, scheme="light", size="desk"):
    width, height = SIZES[size]
    page.set_viewport_size({"width": width, "height": height})
    page.emulate_media(color_scheme=scheme)
    page.goto(served.url)
    page.get_by_role("status").get_by_text("live", exact=True).wait_for()
    return page


def violations(page):
    page.evaluate(AXE)
    found = page.evaluate("axe.run(document, {resultTypes: ['violations']})")["violations"]
    return [(v["id"], [node["html"][:120] for node in v["nodes"][:3]]) for v in found]


def delays_of(page):
    """Detection delay of each model, as the page words it."""
    page.locator(".strips .delay").first.wait_for()
    rows = page.locator(".strips tbody tr:has(.delay)").all()
    return {row.locator("th").inner_text(): row.locator(".delay").inner_text() for row in rows}


def test_a_late_browser_sees_everything(page, whole, complaints):
    opened(page, whole)
    body = page.locator("body")

    page.get_by_text("0.840").wait_for()
    text = body.inner_text()
    for model in scene.SCORED:
        assert model in text
    assert "[0.810, 0.865]" in text
    assert "awaiting oracle" in text
    assert "split digest 1f2e is not the checkpoint's" in text
    assert "scan-and-dial on elliott-thinkpad" in text
    assert page.locator("td.untested").inner_text() == "untested"
    assert "netflow: late" in text
    assert "a power cut may lose the last second" in text
    assert "500 windows by true phase" in text
    assert complaints == []


def test_a_cell_that_was_run_but_has_no_macro_f1_is_not_called_untested(page, empty):
    named = {"model": "gbt_realistic", "split": "host", "macro_f1": None}
    empty.publish(
        c.ModelMetric(model="gbt_realistic", accuracy=0.5, split="host"),
        c.GroupMetric(**named, profile="clean-only", host_id="a", n_windows=11, why="one phase"),
        c.GroupMetric(**named, profile="flood", host_id="a", n_windows=0, why="not run"),
    )
    opened(page, empty)

    cells = page.locator("td.untested")
    cells.first.wait_for()
    assert cells.all_inner_texts() == ["n/a", "untested"]
    assert cells.first.get_attribute("title") == "one phase"


def test_the_page_asks_only_its_own_server(page, whole):
    asked = []
    page.on("request", lambda request: asked.append(request.url))
    opened(page, whole)
    page.get_by_text("0.840").wait_for()

    assert [url for url in asked if not url.startswith(whole.url)] == []
    # The stream is asked for by the worker that tabs share, which is none of the page's requests.
    paths = {url.removeprefix(whole.url) for url in asked}
    assert {"", "static/tabs.js", "static/vendor/uplot/uPlot.iife.min.js"} <= paths
    assert "events" not in paths


def test_events_show_as_they_arrive(page, empty, complaints):
    opened(page, empty)
    assert page.get_by_text("Awaiting model scores").is_visible()

    empty.publish(c.ModelMetric(model="gbt_realistic", accuracy=0.0123, split="host"))
    page.get_by_text("0.012").wait_for()
    empty.publish(c.ModelMetric(model="gbt_realistic", accuracy=0.777, split="host"))
    page.get_by_text("0.777").wait_for()

    assert page.get_by_text("0.012").count() == 0
    assert complaints == []


def test_a_network_model_is_shown_once_there_is_one_and_is_not_the_one_chosen(
    page, empty, complaints
):
    opened(page, empty)
    empty.publish(c.ModelMetric(model="gbt_realistic", accuracy=0.5, split="host"))
    page.get_by_text("0.500").wait_for()
    assert page.get_by_text("network (10)").count() == 0

    empty.publish(
        c.ModelMetric(model="gbt_network", accuracy=0.625, split="host", variant="network")
    )
    page.get_by_text("network (10)").wait_for()

    rows = page.locator("table.scores tbody").first.locator("tr td:first-child").all_inner_texts()
    assert rows == ["realistic", "oracle", "network"]
    assert page.locator("table.scores tr.chosen").inner_text().startswith("realistic")
    assert complaints == []


def test_a_failed_model_shows_why_and_none_of_its_details_until_it_is_repaired(
    page, empty, complaints
):
    score = c.ModelMetric(model="gbt_oracle", accuracy=0.5, split="host", variant="oracle")
    matrix = c.Confusion(model="gbt_oracle", labels=["clean"], counts=[[7]], split="host")
    opened(page, empty)
    empty.publish(score, matrix)
    page.get_by_role("table", name="Windows of gbt_oracle").wait_for()

    empty.publish(c.ModelFailure(model="gbt_oracle", why="damaged", split="host"))
    page.get_by_text("failed: damaged").wait_for()
    page.get_by_text("Awaiting a confusion matrix").wait_for()
    empty.publish(score, matrix)

    page.get_by_role("table", name="Windows of gbt_oracle").wait_for()
    assert complaints == []


def test_a_model_that_a_device_cannot_run_says_so_beside_the_timings(page, empty, complaints):
    opened(page, empty)
    empty.publish(
        c.ModelMetric(model="gbt_oracle", accuracy=0.5, split="host", variant="oracle"),
        c.ModelPerf(model="gru_oracle", latency_us=300, accuracy=0.5, device="pi"),
        c.ModelFailure(model="gbt_oracle", why="no model.onnx", split="host", device="pi"),
    )

    page.get_by_role("row", name="gbt_oracle").get_by_text("no model.onnx").wait_for()

    assert page.get_by_text("failed:").count() == 0
    assert complaints == []


def test_detection_delays_count_from_infection_to_the_alarm(page, whole):
    opened(page, whole)
    delays = delays_of(page)

    # The alarms of the scene stand from 46, 51 and 56 s on; windows end every 5 s, and the
    # infection begins at 41 s.
    assert delays["gbt_realistic"] == "+9.0 s"
    assert delays["gbt_oracle"] == "+14.0 s"
    assert delays["mlp_oracle"] == "+9.0 s 1 false"
    assert delays["lstm_oracle"] == "awaiting"


def test_an_alarm_that_stood_before_is_no_detection_and_a_missed_one_is_said(page, empty):
    def windows(model, alarms):
        return [
            c.Prediction(episode_id="e", window_idx=i, predicted="clean", actual="clean",
                         model=model, t_end_s=5.0 * i, alarm=alarm)
            for i, alarm in enumerate(alarms)
        ]  # fmt: skip

    empty.publish(
        c.Episode(episode_id="e", duration_s=30, infection_s=12, state="ended"),
        *windows("standing", [False, True, True, True, True]),
        *windows("missing", [False] * 5),
        *windows("quick", [False, False, False, True, True]),
    )
    opened(page, empty)
    told = delays_of(page)

    assert told["standing"] == "on before 1 false"
    assert told["missing"] == "missed"
    assert told["quick"] == "+3.0 s"


def test_what_models_say_of_a_device_is_not_shown_as_the_truth(page, empty):
    empty.publish(
        c.Episode(episode_id="pi", host_id="garage-pi", origin="live", state="running"),
        c.PhaseNow(phase="infecting", episode_id="pi", t_s=10),
        c.Prediction(episode_id="pi", window_idx=0, predicted="infecting", actual=None, t_end_s=10,
                     model="gbt_realistic", alarm=True),
    )  # fmt: skip
    opened(page, empty)

    page.get_by_text("predicted phase infecting").wait_for()
    row = page.locator(".strips tbody tr").first
    assert row.locator("rect").count() == 0
    assert "truth unknown" in row.inner_text()
    # Where the truth is unknown no alarm can be called false.
    assert delays_of(page)["gbt_realistic"] == "– 1 raised"


def test_an_agent_shows_in_a_calm_line_and_its_trouble_stands_out(page, empty, complaints):
    agent = {"episode_id": "pi", "source": "agent"}
    calm = "11.0 rows/s, late p99 4 ms, 0 of 12,345 packets dropped, 0.3 % of a core, 34 MB"
    empty.publish(
        c.Episode(episode_id="pi", host_id="garage-pi", origin="live", state="running"),
        c.SourceState(episode_id="pi", source="guest", state="ok", why="1 rows set aside"),
        c.SourceState(**agent, state="ok", detail=calm),
    )
    opened(page, empty)

    line = page.locator("#replay .note")
    line.wait_for()
    chips = page.locator("#replay .chip")
    assert line.inner_text().strip() == f"agent: {calm}"
    assert chips.all_inner_texts() == ["guest: ok"]
    assert page.locator("#replay .warn").count() == 0

    empty.publish(c.SourceState(**agent, state="ok", detail=calm, why="8 packets dropped <b>"))
    page.get_by_text("8 packets dropped <b>", exact=True).wait_for()
    assert line.locator(".warn").inner_text() == "8 packets dropped <b>"

    empty.publish(c.SourceState(**agent, state="dead", detail=calm, why="silent since 12:00:00"))
    page.get_by_text("silent since 12:00:00", exact=True).wait_for()
    assert page.locator("#replay .warn").all_inner_texts() == ["silent since 12:00:00"]
    assert complaints == []


def test_choosing_a_model_shows_it_in_every_panel(page, whole):
    opened(page, whole)
    page.get_by_role("row", name="oracle 0.920").get_by_role("button").click()

    page.locator("#confusion .sub").get_by_text("gbt_oracle").wait_for()
    assert "gbt_oracle" in page.locator("#groups .sub").inner_text()
    assert page.locator(".strips tr.chosen th").inner_text() == "gbt_oracle"


def test_all_channels_can_be_opened_by_keyboard_alone(page, whole):
    opened(page, whole)
    page.locator(".plots figure").nth(11).wait_for()
    assert page.locator(".plots figure").count() == 12

    button = page.get_by_role("button", name="all 46 channels")
    for _ in range(60):
        page.keyboard.press("Tab")
        if button.evaluate("b => b === document.activeElement"):
            break
    page.keyboard.press("Enter")

    page.locator(".plots figure").nth(45).wait_for()
    assert page.locator(".plots figure").count() == 46


def test_a_channel_is_drawn_and_not_blank(page, whole):
    opened(page, whole)
    page.locator(".plots canvas").first.wait_for()
    page.wait_for_timeout(500)

    colours = page.locator(".plots canvas").first.evaluate(
        "k => new Set(new Uint32Array(k.getContext('2d')"
        ".getImageData(0, 0, k.width, k.height).data.buffer)).size"
    )

    assert colours > 10


def test_the_page_follows_a_dashboard_that_was_killed_and_started_again(page, tmp_path, complaints):
    with live_dashboard(tmp_path) as served:
        served.publish(*scene.scores())
        opened(page, served)
        page.get_by_text("0.840").wait_for()
        port = served.port
        served.stop(signal.SIGKILL)
        page.get_by_text("not connected").wait_for()
        assert page.get_by_text("0.840").is_visible()

    with live_dashboard(tmp_path, port) as served:
        page.get_by_role("status").get_by_text("live", exact=True).wait_for(timeout=20_000)
        assert page.get_by_text("0.840").is_visible()
        served.publish(c.ModelMetric(model="gbt_realistic", accuracy=0.111, split="host"))
        page.get_by_text("0.111").wait_for()
    # The browser itself says that it could not connect; the page says nothing.
    ours = [t for t in complaints if not re.search("ERR_(CONNECTION|INCOMPLETE)", t)]
    assert ours == []


def test_eight_tabs_of_one_browser_all_follow(context, empty):
    complaints, tabs = [], []
    for k in range(8):
        empty.publish(c.ModelMetric(model="gbt_realistic", accuracy=k / 1000, split="host"))
        tab = context.new_page()
        tab.on("console", lambda message: complaints.append(message.text))
        tab.on("pageerror", lambda error: complaints.append(str(error)))
        opened(tab, empty)
        tab.get_by_text(f"0.00{k}").wait_for()
        tabs.append(tab)
    empty.publish(c.ModelMetric(model="gbt_realistic", accuracy=0.777, split="host"))
    for tab in tabs:
        tab.get_by_text("0.777").wait_for()
    assert empty.health()["browsers"] == 1

    for tab in tabs[:5]:
        tab.close()
    empty.publish(c.ModelMetric(model="gbt_realistic", accuracy=0.888, split="host"))
    for tab in tabs[5:]:
        tab.get_by_text("0.888").wait_for()
    assert complaints == []


def test_a_browser_without_shared_workers_has_a_stream_of_its_own(page, empty, complaints):
    page.add_init_script("delete globalThis.SharedWorker")
    opened(page, empty)

    empty.publish(c.ModelMetric(model="gbt_realistic", accuracy=0.777, split="host"))
    page.get_by_text("0.777").wait_for()
    assert complaints == []


def test_a_tab_whose_worker_cannot_start_has_a_stream_of_its_own(page, empty):
    page.add_init_script(
        "globalThis.SharedWorker = class extends EventTarget {"
        "  constructor() { super(); this.port = {postMessage() {}};"
        "    setTimeout(() => this.onerror(new Event('error'))); } }"
    )
    opened(page, empty)

    empty.publish(c.ModelMetric(model="gbt_realistic", accuracy=0.777, split="host"))
    page.get_by_text("0.777").wait_for()


def test_another_tab_does_not_blank_the_first(context, whole):
    first = opened(context.new_page(), whole)
    first.get_by_text("0.840").wait_for()
    first.evaluate(
        "globalThis.blanks = 0; new MutationObserver(() => {"
        " if (!document.body.innerText.includes('0.840')) globalThis.blanks += 1;"
        "}).observe(document.body, {subtree: true, childList: true, characterData: true})"
    )
    second = opened(context.new_page(), whole)
    second.get_by_text("0.840").wait_for()
    first.wait_for_timeout(500)

    assert first.evaluate("globalThis.blanks") == 0


TURNS_NOTHING = {
    "an override": ("\u202egnp.exe", "\\u202egnp.exe"),
    "an isolate that is left": ("\u2069\u202ea", "\\u2069\\u202ea"),
    "invisible": ("a\u200bb\ufeff\u00ad", "a\\u200bb\\ufeff\\u00ad"),
    "a bell": ("a\x07", "a\\u0007"),
    "right to left": ("\u05d0\u05d1", "\u2068\u05d0\u05d1\u2069"),
}


@pytest.mark.parametrize("name", TURNS_NOTHING)
def test_a_name_turns_no_neighbour_round_and_hides_nothing(page, empty, name):
    given, wanted = TURNS_NOTHING[name]
    opened(page, empty)
    empty.publish(
        c.ModelMetric(
            model=given, accuracy=0.777, split=given, untested_profiles={given: [given, "b"]}
        ),
        c.Confusion(model=given, labels=[given, "b"], counts=[[1, 2], [3, 4]], split=given),
        c.Episode(episode_id=given, host_id=given, profile=given, models=[given]),
        c.Telemetry(episode_id=given, t_s=[0, 1], values={given: [1, 2]}),
        c.AttackProfile(name=given, shape=given, curve=[1, 2], channel=given, unit=given),
    )
    page.locator(".plots figure").wait_for()

    markup = page.evaluate("document.documentElement.outerHTML")
    if given != wanted.strip("\u2068\u2069"):
        assert given not in markup
    assert f"Not tested: {wanted}, b on {wanted}." in page.locator("#models").inner_text()
    assert page.locator("#replay .sub").inner_text().startswith(f"{wanted} · {wanted} · ")
    assert page.locator(".plots figcaption span").get_attribute("title") == wanted
    isolated = page.locator("#replay th").last.evaluate("e => getComputedStyle(e).unicodeBidi")
    assert isolated == "isolate"


def hostile_events():
    names = itertools.cycle(HOSTILE)
    for name in HOSTILE:
        more = [next(names) for _ in range(3)]
        yield c.ModelMetric(
            model=name, accuracy=0.5, split=name, untested_profiles={name: [more[0]]}
        )
        yield c.ModelMetric(
            model=name, accuracy=0.5, split="host", untested_profiles={name: [name]}
        )
        yield c.ModelFailure(model=name + "x"[: 128 - len(name)], why=name, split="host")
        yield c.Confusion(model=name, labels=[name, more[1]], counts=[[1, 2], [3, 4]], split="host")
        yield c.GroupMetric(model=name, profile=name, host_id=more[2], macro_f1=0.5, split="host")
        yield c.ModelPerf(model=name, latency_us=5, accuracy=None, device=name)
        yield c.AttackProfile(name=name, shape=name, curve=[1, None, 2], channel=name, unit=name)
        yield c.Embedding(x=0, y=1e18, phase=name, model=name)
        yield c.Episode(episode_id=name, host_id=name, profile=name, models=[name])
        yield c.PhaseNow(phase=name, episode_id=name, t_s=1)
        yield c.SourceState(episode_id=name, source=name, state="dead", why=name)
        yield c.Prediction(
            episode_id=name, window_idx=0, predicted=name, actual=name, model=name, confidence=1
        )
        yield c.Telemetry(episode_id=name, t_s=[0, 1, 2], values={name: [1, None, -1e18]})


@pytest.mark.parametrize("size", SIZES)
def test_names_are_never_markup_and_never_break_the_page(page, empty, complaints, size):
    opened(page, empty, size=size)
    empty.publish(*hostile_events(), c.ModelMetric(model="last", accuracy=0.123, split="host"))

    score = page.get_by_text("0.123")
    score.wait_for()
    # A long name must not push the others' numbers out of sight.
    card, cell = page.locator("#models").bounding_box(), score.bounding_box()
    assert cell["x"] + cell["width"] <= card["x"] + card["width"]
    models = page.locator("#top select").last
    for k in range(models.locator("option").count()):
        models.select_option(index=k)
        page.wait_for_timeout(250)
    page.wait_for_timeout(300)

    assert page.title() == "Live model dashboard"
    assert page.locator("main img, main script, svg [onload]").count() == 0
    assert page.evaluate(
        "({}).polluted === undefined && Object.keys(Object.prototype).length === 0"
    )
    assert page.evaluate("document.documentElement.scrollWidth") <= SIZES[size][0]
    assert complaints == []


@pytest.mark.parametrize("scheme", ["light", pytest.param("dark", marks=pytest.mark.long)])
@pytest.mark.parametrize("size", SIZES)
def test_the_page_fits_its_window_and_axe_finds_nothing_to_mend(
    page, whole, tmp_path, scheme, size
):
    opened(page, whole, scheme, size)
    page.locator(".plots canvas").first.wait_for()

    page.screenshot(path=tmp_path / f"{scheme}-{size}.png", full_page=True)
    assert page.evaluate("document.documentElement.scrollWidth") <= SIZES[size][0]
    ground = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (sum(int(v) for v in ground[4:-1].split(",")) > 380) is (scheme == "light")
    assert violations(page) == []


def test_axe_finds_nothing_to_mend_where_nothing_arrived(page, empty):
    opened(page, empty)

    assert violations(page) == []


def test_colours_can_be_chosen_and_stay(page, whole):
    opened(page, whole, "light")
    button = page.get_by_role("button", name="colours")
    button.click()
    button.click()
    page.get_by_role("button", name="colours: dark").wait_for()
    page.reload()

    page.get_by_role("button", name="colours: dark").wait_for()
    scheme = page.evaluate("getComputedStyle(document.documentElement).colorScheme")
    assert scheme == "dark"


def test_a_browser_logs_in_with_the_token_and_out_of_the_address_it_stays(page, tmp_path):
    token = "correct-horse-battery-staple"
    with live_dashboard(tmp_path, token=token) as served:
        served.publish(c.ModelMetric(model="gbt_realistic", accuracy=0.777))
        page.goto(served.url)
        assert violations(page) == []
        page.get_by_label("Token").fill("wrong")
        page.get_by_role("button", name="Log in").click()
        page.get_by_role("alert").wait_for()
        page.get_by_label("Token").fill(token)
        page.get_by_role("button", name="Log in").click()

        page.get_by_text("0.777").wait_for()
        assert token not in page.url
        assert token not in page.content()
        assert page.evaluate("document.cookie") == ""


@pytest.mark.long
def test_a_session_that_ended_leads_back_to_the_form(page, tmp_path):
    with live_dashboard(tmp_path, token="the-first-of-two-tokens") as served:
        page.goto(served.url)
        page.get_by_label("Token").fill("the-first-of-two-tokens")
        page.get_by_role("button", name="Log in").click()
        page.get_by_role("status").get_by_text("live", exact=True).wait_for()
        port = served.port
    with live_dashboard(tmp_path, port, token="the-second-of-two-tokens"):
        page.get_by_label("Token").wait_for(timeout=25_000)


@pytest.mark.parametrize(
    "attempt",
    [
        "e.setAttribute('onclick', 'document.title = 1')",
        "e.innerHTML = '<img src=x onerror=alert(1)>'",
        "e.src = 'data:text/javascript,document.title=1'",
        "e.textContent = 'document.title = 1'",
    ],
)
def test_the_browser_itself_refuses_code_that_is_not_the_pages(page, whole, attempt):
    opened(page, whole)

    with pytest.raises(Error, match="Trusted"):
        page.evaluate(f"() => {{ const e = document.createElement('script'); {attempt}; }}")
    assert page.title() == "Live model dashboard"
