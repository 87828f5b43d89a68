"""The page in a real browser: nothing fails, all pictures are there, it can be read."""

from __future__ import annotations

import pytest
import tifffile
from browsers import MISSING, browser, has_browser
from stacks import STEPS, WHOLE_CHAIN, images, make_project, write_params

from pystack3d_dask.pipeline import Pipeline
from pystack3d_dask.report.content import all_charts, make_report
from pystack3d_dask.report.draw import is_drawn

HOSTILE = "<img src=x onerror=window.hacked=1> & 'a' \"b\" $x^$ {{c}}"
WIDTHS = (1280, 400)
SMALLEST = 8  # CSS pixels: letters of charts on a telephone

pytestmark = pytest.mark.skipif(not has_browser(), reason=MISSING)


@pytest.fixture(scope="module")
def tab():
    with browser() as session:
        yield session


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory):
    stacks = {name: images(seed=seed) for seed, name in enumerate(("ESB", "SE2"))}
    directory = make_project(tmp_path_factory.mktemp("page"), WHOLE_CHAIN, stacks)
    pipeline = Pipeline.from_toml(directory)
    pipeline.run()
    return pipeline


@pytest.fixture(scope="module")
def page(pipeline):
    return pipeline.report()


@pytest.fixture(scope="module")
def hostile_page(tmp_path_factory):
    directory = tmp_path_factory.mktemp("page") / HOSTILE
    stack = images((12, 50, 64))
    stack[6] = 255 - stack[6] // 8  # stands out, so that its name is shown
    for channel in (HOSTILE, "$"):
        (directory / channel).mkdir(parents=True)
        for z, image in enumerate(stack):
            tifffile.imwrite(directory / channel / f"<script>window.hacked=1 {z:02d}.tif", image)
    steps = {"bkg_removal": STEPS["bkg_removal"]}
    write_params(directory, steps, {"channels": [HOSTILE, "$"]})
    pipeline = Pipeline.from_toml(directory)
    pipeline.run()
    return pipeline.report()


@pytest.mark.parametrize("width", WIDTHS)
def test_the_page_opens_without_errors_and_with_all_pictures(tab, pipeline, page, width):
    tab.open(page, width)
    assert tab.messages() == []
    assert tab.evaluate("document.readyState") == "complete"
    pictures = tab.evaluate("[...document.images].map(i => [i.naturalWidth, i.alt])")
    drawn = [chart for _, _, chart in all_charts(make_report(pipeline.project)) if is_drawn(chart)]
    assert [alt for _, alt in pictures] == [chart.title for chart in drawn]
    assert all(natural > 100 for natural, _ in pictures)
    addresses = tab.evaluate("performance.getEntriesByType('resource').map(r => r.name)")
    assert all(address.startswith("data:") for address in addresses)


@pytest.mark.parametrize("width", WIDTHS)
def test_nothing_is_wider_than_the_window(tab, page, width):
    tab.open(page, width)
    assert tab.evaluate("document.documentElement.scrollWidth") <= width
    widths = tab.evaluate("[...document.images].map(i => i.getBoundingClientRect().width)")
    assert all(0.2 * width < shown <= width for shown in widths)


@pytest.mark.parametrize("width", WIDTHS)
def test_letters_are_large_enough_to_be_read(tab, page, width):
    tab.open(page, width)
    sizes = tab.evaluate(
        "[...document.querySelectorAll('p, dt, dd, td, th, a, li, h1, h2, h3, pre, summary')]"
        ".map(e => parseFloat(getComputedStyle(e).fontSize))"
    )
    assert min(sizes) >= 11
    # charts are drawn 480 pixels wide, with letters of 12
    scales = tab.evaluate(
        "[...document.images].filter(i => i.src.includes('svg'))"
        ".map(i => i.getBoundingClientRect().width / 480)"
    )
    assert min(scales) * 12 >= SMALLEST


def test_every_link_leads_to_a_section(tab, page):
    tab.open(page, 1280)
    targets = tab.evaluate(
        "[...document.querySelectorAll('nav a')]"
        ".map(a => document.querySelector(a.getAttribute('href'))?.tagName)"
    )
    assert len(targets) == len(WHOLE_CHAIN) + 4
    assert set(targets) == {"SECTION"}


def test_the_page_follows_the_dark_mode(tab, page):
    tab.open(page, 1280)
    light = tab.evaluate("getComputedStyle(document.body).backgroundColor")
    tab.prefer("dark")
    tab.open(page, 1280)
    assert tab.evaluate("getComputedStyle(document.body).backgroundColor") != light
    tab.prefer("light")


def test_names_from_elsewhere_are_shown_and_do_nothing(tab, hostile_page):
    tab.open(hostile_page, 400)
    assert tab.messages() == []
    assert tab.evaluate("window.hacked === undefined")
    assert tab.evaluate("document.title") == HOSTILE
    shown = tab.evaluate("document.body.textContent")
    assert shown.count(HOSTILE) >= 3  # title, channels, a group
    assert "<script>window.hacked=1 06.tif: its mean stands out" in shown
    assert tab.evaluate("document.scripts.length") == 0
    assert tab.evaluate("[...document.images].every(i => i.naturalWidth > 100)")
    assert tab.evaluate("document.documentElement.scrollWidth") <= 400


def test_a_script_that_got_into_the_page_would_not_run(tab, page, tmp_path):
    spoilt = tmp_path / "spoilt.html"
    text = page.read_text().replace("<main>", "<main><script>window.hacked = 1</script>")
    spoilt.write_text(text)
    tab.open(spoilt, 1280)
    assert tab.evaluate("window.hacked === undefined")
    assert "Content Security Policy" in tab.messages()[0]
