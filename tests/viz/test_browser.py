"""The page in a real browser: what is clicked, typed, searched, and what must not run.

Needs a Chromium: of $SOPHIA_CHROMIUM, or on the PATH.
"""

import io
import os
import shutil
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from PIL import Image

from sophia_jax.evaluation.predictions import write_predictions
from sophia_jax.viz.pages import write_page

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
PHONE = {"width": 390, "height": 844}
PAGES = Path(__file__).parent


@pytest.fixture(scope="module")
def chromium():
    path = os.environ.get("SOPHIA_CHROMIUM") or next(
        filter(None, map(shutil.which, NAMES)), None
    )
    if path is None:
        pytest.skip(f"no browser: none of {', '.join(NAMES)} is on the PATH")
    sync_api = pytest.importorskip("playwright.sync_api", reason="no playwright")
    with sync_api.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def visit(chromium, whole_run):
    """Opens the page of a whole run; no page may complain, ask, or load anything."""
    opened, complaints = [], []

    def open_page(address="", page=whole_run / "report.html", **options):
        tab = chromium.new_page(**options)
        tab.on("console", lambda message: complaints.append(message.text))
        tab.on("pageerror", lambda error: complaints.append(str(error)))
        tab.on(
            "dialog", lambda dialog: (complaints.append("a dialog"), dialog.accept())
        )
        tab.on(
            "request",
            lambda request: (
                request.url.startswith(("file:", "data:"))
                or complaints.append(request.url)
            ),
        )
        tab.goto(f"{page.as_uri()}{address}")
        opened.append(tab)
        return tab

    yield open_page
    for tab in opened:
        tab.close()
    assert complaints == []


def names(tab):
    return tab.locator("#list .row .name").all_text_contents()


def shown(tab):
    return tab.locator("#card a.name").text_content()


def expect(tab, words):
    """Wait until the list says so."""
    tab.locator(f"#found:text-is('{words}')").wait_for()


def colors(content):
    return len(Image.open(io.BytesIO(content)).convert("RGB").getcolors(1 << 24))


def test_the_page_is_not_blank(visit):
    tab = visit()
    light = tab.screenshot()
    tab.emulate_media(color_scheme="dark")
    assert colors(light) > 50
    assert colors(tab.screenshot()) > 50
    tab.locator("#questions").screenshot()
    assert names(tab) == ["q1", "q2", "h1"]
    assert shown(tab) == "q1"


def test_a_click_opens_a_question_and_its_address_leads_there(visit):
    tab = visit()
    tab.click("#list .row >> nth=1")
    assert shown(tab) == "q2"
    assert tab.evaluate("location.hash") == "#q/q2"
    assert tab.locator("#list [aria-current] .name").text_content() == "q2"
    assert shown(visit("#q/h1")) == "h1"
    assert shown(visit("#q/nobody")) == "q1"


def test_what_a_caption_holds_is_text_and_does_not_run(visit):
    tab = visit()
    caption = tab.locator("#card .caption").first
    assert "<script>alert(1)</script>" in caption.text_content()
    assert tab.locator("#card script, #list script").count() == 0


def test_what_gets_into_the_page_all_the_same_does_not_run(chromium, whole_run):
    tab = chromium.new_page()
    tab.goto((whole_run / "report.html").as_uri())
    tab.evaluate(
        """() => {
          const script = document.createElement("script");
          script.textContent = "window.ran = true";
          document.body.append(script);
          document.body.insertAdjacentHTML("beforeend", "<p onclick='ran = true'>x");
          document.body.lastChild.click();
        }"""
    )
    assert tab.evaluate("window.ran") is None
    tab.close()


def test_the_tree_says_what_became_of_each_reasoning(visit):
    tab = visit()
    leaves = tab.locator("#card .leaves summary")
    assert "kept" in leaves.nth(1).text_content()
    assert "longer than the kept one" in leaves.nth(2).text_content()
    assert "3 tokens" in leaves.nth(2).text_content()
    assert tab.locator("#card pre:visible").text_content() == "3+4=7 so \\boxed{7}"
    hidden = tab.locator("#card details.branch").nth(1)
    assert hidden.get_attribute("open") is None
    hidden.locator("summary").first.click()
    assert "reward is not above 0.75" in hidden.locator(".leaves").text_content()
    assert tab.locator("#card ins:visible").count() > 0
    assert tab.locator("#card del:visible").first.text_content() == "5"


def test_filters_narrow_the_list_and_count_what_is_left(visit):
    tab = visit()
    outcome = tab.get_by_label("outcome")
    assert outcome.locator("option").all_text_contents() == [
        *("any", "kept (1)", "no right answer (1)"),
        "now right (1)",
    ]
    outcome.select_option("no right answer (1)")
    assert names(tab) == ["q2"] and shown(tab) == "q2"
    assert tab.locator("#found").text_content() == "1 of 3 questions"
    tab.click("#clear")
    assert names(tab) == ["q1", "q2", "h1"]


def test_the_search_looks_into_every_text(visit):
    tab = visit()
    tab.keyboard.press("/")
    tab.keyboard.type("sophia SAYS")
    expect(tab, "1 of 3 questions")
    assert names(tab) == ["h1"] and shown(tab) == "h1"
    tab.keyboard.type(" nowhere")
    expect(tab, "0 of 3 questions")
    assert names(tab) == []


def test_the_search_looks_into_what_became_of_each_reasoning(visit):
    tab = visit()
    tab.fill("#search", "longer than the kept one")
    expect(tab, "1 of 3 questions")
    assert names(tab) == ["q1"]


def test_a_search_while_the_page_loads_finds_what_comes_later(visit, evaluation):
    path = evaluation / "predictions.parquet"
    first = pq.read_table(path).slice(0, 1).to_pylist()[0]
    some = [first | {"question_id": f"q{n}", "response": f"a{n}z"} for n in range(60)]
    write_predictions(path, [some])
    page = write_page(evaluation)
    start = '<script type="application/json" id="questions-1">'
    loaded, later = page.read_text().split(start)
    tab = visit("#q/q59", page)
    tab.evaluate("text => { document.open(); document.write(text); }", loaded)
    assert tab.locator("#card").text_content() == "Loading …"
    tab.fill("#search", "a59z")
    expect(tab, "0 of 60 questions")
    finish = "text => { document.write(text); document.close(); }"
    tab.evaluate(finish, start + later)
    expect(tab, "1 of 60 questions")
    assert names(tab) == ["q59"] and shown(tab) == "q59"


def test_keys_lead_from_question_to_question(visit):
    tab = visit()
    for key, name in [
        *(("j", "q2"), ("ArrowRight", "h1"), ("j", "h1")),
        *(("k", "q2"), ("ArrowLeft", "q1"), ("k", "q1")),
    ]:
        tab.keyboard.press(key)
        assert shown(tab) == name
    tab.keyboard.press("?")
    assert tab.locator("#help").is_visible()
    tab.keyboard.press("Escape")
    assert not tab.locator("#help").is_visible()
    tab.keyboard.press("/")
    tab.keyboard.type("jk")
    assert tab.locator("#search").input_value() == "jk"
    tab.keyboard.press("Escape")
    assert tab.evaluate("document.activeElement == document.body")


def test_colours_are_the_system_s_or_the_reader_s(visit):
    tab = visit(color_scheme="dark")

    def paper():
        return tab.evaluate("getComputedStyle(document.body).backgroundColor")

    dark = paper()
    tab.click("label[for=theme-light]")
    assert paper() != dark
    tab.keyboard.press("j")  # though the focus is in the choice of colours
    assert shown(tab) == "q2"
    tab.emulate_media(color_scheme="light")
    light = paper()
    tab.click("label[for=theme-dark]")
    assert paper() == dark != light


def test_on_a_phone_nothing_overflows_and_a_question_takes_the_list_s_place(visit):
    tab = visit(viewport=PHONE, has_touch=True)
    wide = "document.documentElement.scrollWidth - innerWidth"
    assert tab.evaluate(wide) <= 0
    assert not tab.locator("#card").is_visible()
    tab.tap("#list .row >> nth=2")
    assert tab.locator("#card").is_visible()
    assert not tab.locator("#list").is_visible()
    assert tab.evaluate(wide) <= 0
    tab.tap("#back")
    assert tab.locator("#list").is_visible()


def test_on_paper_stands_the_open_question_with_all_its_texts(visit):
    tab = visit()
    tab.evaluate("dispatchEvent(new Event('beforeprint'))")
    tab.emulate_media(media="print")
    assert not tab.locator("#controls").is_visible()
    assert not tab.locator("#list").is_visible()
    assert tab.locator("#card pre").count() == 6
    assert all(text.is_visible() for text in tab.locator("#card pre").all())
