"""The page in a real browser: it sorts, filters, opens, zooms, is accessible, asks nothing of any network."""

from __future__ import annotations

import json
import re

import pytest

from benchmarks import browser
from metabench.records import store
from metabench.report import write_report
from tests.builders import failure
from tests.report.test_report import HOSTILE, everything, outcome, trial

pytestmark = [
    pytest.mark.skipif(bool(browser.missing()), reason=browser.missing()),
    pytest.mark.slow,
    pytest.mark.xdist_group("one browser"),
]

SCRIPT = "</script><script>window.hacked = 1</script><img src=x onerror='window.hacked = 1'>"
LONG = "x" * 200
RIGHT_TO_LEFT = "\u202eשלום עולם\u202c مرحبا"
SCORES = "table.scores >> nth=0"


@pytest.fixture(scope="module")
def index(tmp_path_factory):
    """A report with hostile names wherever a plugin or a user can put one."""
    root = tmp_path_factory.mktemp("results") / "trial <run>"
    root.mkdir()
    for each in everything():
        store.write(root, each)
    for seed, name in enumerate((SCRIPT, LONG, RIGHT_TO_LEFT)):
        for rate in (name, 0.1):
            store.write(root, outcome(trial("hostile", "glyphs", seed, algorithm_parameters={"name": rate}), 0.5))
        store.write(root, failure(trial(f"bad{seed}", "glyphs", 0, suite_parameters={"ways": 5}), "error", name))
    return write_report(root, tmp_path_factory.mktemp("report") / "out", formats=["svg"])


@pytest.fixture(scope="module")
def chromium():
    with browser.chromium() as found:
        yield found


@pytest.fixture
def tab(chromium, index):
    """The open page; at its end nothing was asked of a network, nothing was wrong, nothing hostile ran."""
    page = chromium.new_page(viewport={"width": 1280, "height": 900})
    errors: list[str] = []
    requests: list[str] = []
    page.on("console", lambda message: errors.append(message.text) if message.type in ("error", "warning") else None)
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("request", lambda request: requests.append(request.url))
    page.goto(index.as_uri())
    yield page
    assert errors == []
    assert [url for url in requests if not url.startswith("data:")] == [index.as_uri()]
    assert page.evaluate("window.hacked") is None
    page.close()


def column(tab, table: str, number: int) -> list[str]:
    return tab.locator(f"{table} >> tbody tr:visible >> *:nth-child({number})").evaluate_all(
        "cells => cells.filter(c => c.matches('td, th')).map(c => c.dataset.value ?? c.textContent.trim())"
    )


def test_a_click_on_a_header_sorts_and_another_turns_it_round(tab):
    head = tab.locator(f"{SCORES} >> thead th").nth(1)
    for wanted in ("ascending", "descending"):
        head.get_by_role("button").click()
        assert head.get_attribute("aria-sort") == wanted
        values = [float(value) for value in column(tab, SCORES, 2) if value]
        assert len(values) > 5
        assert values == sorted(values, reverse=wanted == "descending")
    assert column(tab, SCORES, 2)[-1] == "", "what is not known is last in both directions"
    other = tab.locator(f"{SCORES} >> thead th").first
    other.get_by_role("button").click()
    assert head.get_attribute("aria-sort") is None
    names = column(tab, SCORES, 1)
    assert names.index("fomaml") < names.index("maml") < names.index("scratch")


def test_filters_hold_while_the_table_is_sorted(tab):
    rows = tab.locator("table.trials tbody tr:visible")
    every = rows.count()
    tab.get_by_role("searchbox", name="Filter trials").fill("waves maml")
    shown = rows.count()
    assert 0 < shown < every
    assert {text.split("-")[0] for text in column(tab, "table.trials", 1)} == {"waves"}
    assert tab.locator("#all-trials output").text_content() == f"{shown} of {every} rows"
    tab.locator("table.trials thead button").nth(6).click()
    assert rows.count() == shown
    tab.get_by_role("searchbox", name="Filter trials").fill("")
    tab.get_by_role("combobox", name="status").select_option("diverged")
    assert column(tab, "table.trials", 5) == ["diverged"]


def test_a_trial_opens_with_its_parameters_environment_curve_and_log(tab, index):
    maml = tab.get_by_role("button", name=re.compile("^glyphs-maml-s0"))
    maml.click()
    dialog = tab.get_by_role("dialog")
    text = dialog.inner_text()
    assert re.search(r"inner_lr\s+0\.4", text)
    assert re.search(r"\bcpu\s+<b>fast</b>", text)
    assert "End of the curve" in text
    tab.keyboard.press("Escape")
    assert not dialog.is_visible()
    tab.get_by_role("button", name=re.compile("^glyphs-broken-s0")).click()
    assert HOSTILE in dialog.inner_text()
    dialog.get_by_role("button", name="Close").click()
    assert not dialog.is_visible()


def test_every_trial_is_in_the_page_once(tab, index):
    data = json.loads(tab.locator("#trials-data").text_content())
    lines = (index.parent / "tables/trials.csv").read_text(encoding="utf-8").splitlines()[1:]
    assert tab.locator("table.trials tbody tr").count() == len(data["trials"]) <= len(lines)


def test_it_can_be_used_by_the_keyboard_alone(tab):
    tab.keyboard.press("Tab")
    assert tab.evaluate("document.activeElement.textContent") == "To the results"
    tab.keyboard.press("Tab")
    assert tab.evaluate("document.activeElement.id") == "theme"
    header = tab.locator("table.trials thead button").nth(3)
    header.focus()
    tab.keyboard.press("Enter")
    assert tab.locator("table.trials thead th").nth(3).get_attribute("aria-sort") == "ascending"
    first = tab.locator("table.trials tbody button").first
    first.focus()
    tab.keyboard.press("Enter")
    assert tab.get_by_role("dialog").is_visible()
    tab.keyboard.press("Escape")
    assert first.evaluate("button => button === document.activeElement"), "the focus is where it was"
    reachable = tab.locator("button:visible, a:visible, input:visible, select:visible, [tabindex='0']:visible")
    assert reachable.evaluate_all("all => all.every(each => each.tabIndex >= 0)")


def test_the_legend_pales_and_shows_an_algorithm(tab):
    section = tab.locator("section.suite").first
    chip = section.locator(".chip", has=tab.locator("bdi", has_text=re.compile("^maml$")))
    number = chip.get_attribute("data-toggle")
    mark = section.locator("figure").first.locator(f"svg [data-mark='{number}']").first
    opacity = "mark => Number(getComputedStyle(mark).opacity)"
    assert mark.evaluate(opacity) == 1
    chip.click()
    assert chip.get_attribute("aria-pressed") == "false"
    assert mark.evaluate(opacity) < 0.5
    section.locator("details.more summary").click()
    unfolded = section.locator(f"details.more figure:has([data-mark='{number}']) [data-mark='{number}']")
    unfolded.first.wait_for(state="attached")
    assert unfolded.first.evaluate(opacity) < 0.5, "a figure that is unfolded knows it too"
    section.get_by_role("button", name="all", exact=True).click()
    assert mark.evaluate(opacity) == unfolded.first.evaluate(opacity) == 1


def test_a_point_says_its_value(tab):
    point = tab.locator("figure svg use:has(title)").first
    point.hover(force=True)
    assert re.search(r": .*\d", tab.locator("#tip").text_content())


def test_a_figure_zooms_by_buttons_and_keys(tab):
    figure = tab.locator("figure").first
    view = lambda: [float(each) for each in figure.locator("svg").get_attribute("viewBox").split()]  # noqa: E731
    whole = view()
    figure.get_by_role("button", name="Zoom in").press("Enter")
    closer = view()
    assert closer[2] < whole[2]
    tab.keyboard.press("ArrowRight")
    assert view()[0] > closer[0]
    figure.get_by_role("button", name="Whole figure").click()
    assert view() == whole


def test_dark_and_light(chromium, index, tab):
    paper = "getComputedStyle(document.body).backgroundColor"
    light = tab.evaluate(paper)
    tab.emulate_media(color_scheme="dark")
    dark = tab.evaluate(paper)
    assert light == "rgb(255, 255, 255)" != dark
    tab.locator("#theme").click()
    assert tab.evaluate(paper) == light
    tab.locator("#theme").click()
    tab.emulate_media(color_scheme="light")
    assert tab.evaluate(paper) == dark


def test_a_phone_scrolls_in_one_direction_only(tab):
    tab.set_viewport_size({"width": 360, "height": 740})
    assert tab.evaluate("document.documentElement.scrollWidth") <= 360
    tab.locator("table.trials tbody button").first.click()
    assert tab.get_by_role("dialog").bounding_box()["width"] <= 360
    assert tab.evaluate("document.documentElement.scrollWidth") <= 360


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nothing_is_in_the_way_of_assistive_technology(tab, scheme):
    axe = pytest.importorskip("axe_playwright_python.sync_playwright")
    tab.emulate_media(color_scheme=scheme)
    for opened in (False, True):
        if opened:
            tab.locator("table.trials tbody button").first.click()
        found = axe.Axe().run(tab).response["violations"]
        assert [(each["id"], each["nodes"][0]["html"][:200]) for each in found] == []


def test_the_figures_have_alternative_text(tab):
    for fold in tab.locator("details.more summary").all():
        fold.click()
    tab.wait_for_function("!document.querySelector('figure[data-deflated]')")
    names = tab.locator("figure svg").evaluate_all("all => all.map(e => [e.role, e.ariaLabel])")
    assert len(names) > 16
    assert max(len(label) for _, label in names) <= 300 + 200  # a hostile name is longer than any text
    assert all(role == "img" and len(label) > 20 for role, label in names)
