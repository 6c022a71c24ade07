"""The site as readers meet it: in a browser, on a phone, in the dark, on paper, offline."""

import fcntl
import os
import re
import shutil
import threading
from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

from stackbook import StackbookError, charts
from stackbook.press.build import build_all
from stackbook.press.chapters import Book
from stackbook.press.scenarios import BASE, shipped
from stackbook.press.store import Store

BOOK = Book()
OWN = Store(Path(__file__).parents[1] / "_build")  # as `make book` left it, if it did
STORE = Store(OWN.folder / "test")
CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--no-first-run"]
LOCAL = ("file:", "data:", "blob:", "http://127.0.0.1:")

pytestmark = pytest.mark.xdist_group("site")  # one process serves it, and one browser visits

if not CHROMIUM and not os.environ.get("CI"):
    pytest.skip("no Chromium here; on Debian: apt-get install chromium", allow_module_level=True)


class Visit(NamedTuple):
    """A page in a browser without a network, and what went wrong in it."""

    page: Page
    complaints: list[str]


@pytest.fixture(scope="module")
def site() -> Path:
    """The book under all its scenarios, executed and drawn only where `make book` has not.

    The press looks at the content of all that is copied, and makes what is not of these sources.
    """
    STORE.folder.mkdir(parents=True, exist_ok=True)
    with (STORE.folder / "tests").open("w") as alone:
        fcntl.flock(alone, fcntl.LOCK_EX)  # until a second process with these tests is done
        with suppress(StackbookError), OWN.locked():  # without it, if a build is at work
            for there, here in ((OWN.results, STORE.results), (OWN.kept, STORE.kept)):
                if there.is_dir():
                    shutil.copytree(there, here, dirs_exist_ok=True)
            if (OWN.html / "index.html").is_file() and not STORE.html.exists():
                shutil.copytree(OWN.html, STORE.html)
        build_all(BOOK, STORE)
    return STORE.html


@pytest.fixture(scope="module")
def http(site: Path) -> Iterator[str]:
    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(site))) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    assert CHROMIUM, "no Chromium; on Debian: apt-get install chromium"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture
def visit(chromium: Browser) -> Iterator[Any]:
    """Opens addresses in one browser context; anything but local requests is blocked and noted."""
    contexts = []

    def opened(address: str, **options: Any) -> Visit:
        context = chromium.new_context(**options)
        contexts.append(context)
        complaints: list[str] = []

        def route(request: Any) -> None:
            if request.request.url.startswith(LOCAL):
                request.continue_()
            else:
                complaints.append(f"asked for {request.request.url}")
                request.abort()

        context.route("**/*", route)
        page = context.new_page()
        page.on("requestfailed", lambda request: complaints.append(f"failed {request.url}"))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on(
            "console",
            lambda said: (
                complaints.append(said.text) if said.type in ("error", "warning") else None
            ),
        )
        page.goto(address)
        return Visit(page, complaints)

    yield opened
    for context in contexts:
        context.close()


FIGURES = "[...document.querySelectorAll('figure.chart')]"
DRAWN = f"{FIGURES}.every(f => f.querySelector('.chart-live svg'))"


def draw(page: Page) -> None:
    """The whole page comes near at once, as charts are drawn when they do."""
    if not page.locator("figure.chart").count():
        return
    size = page.viewport_size
    height = page.evaluate("document.documentElement.scrollHeight")
    page.set_viewport_size({"width": size["width"], "height": height})
    page.wait_for_function(DRAWN)
    page.set_viewport_size(size)


def address(base: str, name: str) -> str:
    return f"{base}/{name}.html"


@pytest.mark.parametrize("name", BOOK.files)
def test_a_page_draws_its_charts_and_asks_nobody(
    visit: Any, site: Path, http: str, name: str
) -> None:
    """Over a server and from the folder by turns."""
    base = http if BOOK.files.index(name) % 2 else site.as_uri()
    page, complaints = visit(address(base, name))
    draw(page)
    assert complaints == []
    charts = page.locator("figure.chart").count()
    assert charts >= (1 if name in BOOK.chapters else 0)
    assert page.locator(".chart-live svg").count() == charts


@pytest.mark.parametrize("story", [name for name in shipped(BOOK) if name != BASE])
@pytest.mark.parametrize("over", ["http", "file"])
def test_a_page_under_a_scenario_is_a_whole_page(
    visit: Any, site: Path, http: str, story: str, over: str
) -> None:
    """It draws its charts and fits its window."""
    base = http if over == "http" else site.as_uri()
    page, complaints = visit(address(base, f"scenarios/{story}/stack/token-dollar"))
    draw(page)
    assert complaints == []
    charts = page.locator("figure.chart").count()
    assert page.locator(".chart-live svg").count() == charts > 0
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_no_chart_writes_a_small_number_with_an_exponent(site: Path) -> None:
    """As 1e+2 for a hundred, which Vega's format g makes of the tick of an axis."""
    pictures = list(site.rglob("_charts/**/*.svg"))
    assert len(pictures) > len(BOOK.chapters)
    found = {
        f"{path.relative_to(site)}: {label}"
        for path in pictures
        for label in re.findall(r">([^<>]*\de\+?\d(?!\d)[^<>]*)</text>", path.read_text())
    }
    assert found == set()


def test_a_chart_is_drawn_when_a_reader_comes_near(visit: Any, http: str) -> None:
    page, complaints = visit(address(http, "layers/chips"))
    assert not page.evaluate(DRAWN)
    for y in range(0, page.evaluate("document.documentElement.scrollHeight"), 600):
        page.evaluate(f"scrollTo(0, {y})")
        page.wait_for_timeout(40)
    page.wait_for_function(DRAWN)
    assert complaints == []


@pytest.mark.parametrize("name", BOOK.files)
def test_nothing_is_wider_than_a_phone(visit: Any, http: str, name: str) -> None:
    theme = ("light", "dark")[BOOK.files.index(name) % 2]  # widths do not depend on it
    phone = {"viewport": {"width": 390, "height": 844}, "color_scheme": theme}
    page, complaints = visit(address(http, name), **phone)
    draw(page)
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    wide = (
        "[...document.querySelectorAll('figure.chart svg')]"
        ".filter(s => s.getBoundingClientRect().right > 390).length"
    )
    assert page.evaluate(wide) == 0
    assert page.evaluate("document.documentElement.dataset.theme") == theme
    assert complaints == []


def test_charts_follow_the_theme(visit: Any, http: str) -> None:
    page, _ = visit(address(http, "layers/chips"), color_scheme="light")
    draw(page)
    colour = (
        "getComputedStyle(document.querySelector("
        "'.chart-live .role-axis-label text, .chart-live text')).fill"
    )
    light = page.evaluate(colour)
    page.evaluate("document.documentElement.dataset.theme = 'dark'")
    page.wait_for_function(f"{colour} !== '{light}'")
    background = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert contrast(page.evaluate(colour), background) > 4.5


@pytest.mark.parametrize("name", ["layers/chips", "layers/memory-packaging"])
def test_in_the_dark_a_label_has_the_colour_of_its_line(visit: Any, http: str, name: str) -> None:
    page, _ = visit(address(http, name), color_scheme="dark")
    draw(page)
    drawn = page.evaluate(
        "[...document.querySelectorAll('.chart-live svg')].map(svg => ["
        "[...svg.querySelectorAll('.mark-line path')].map(e => getComputedStyle(e).stroke),"
        "[...svg.querySelectorAll('.mark-text.role-mark text')].map(e => getComputedStyle(e).fill)"
        "])"
    )
    lighter = charts.on_dark()
    hues = {rgb(colour) for colour in lighter.values()}
    pairs = [(hues & {*lines}, hues & {*labels}) for lines, labels in drawn]
    assert any(len(lines) > 2 and lines == labels for lines, labels in pairs)
    assert not {rgb(colour) for colour in lighter} & {c for pair in drawn for c in chain(*pair)}


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_a_table_lies_on_the_page_and_fits_it(visit: Any, http: str, theme: str) -> None:
    wide = {"viewport": {"width": 1280, "height": 900}, "color_scheme": theme}
    for name in ("back/validation", "layers/chips"):
        page, _ = visit(address(http, name), **wide)
        behind = (
            "t => { const own = []; for (let e = t; e !== document.body; e = e.parentElement)"
            " own.push(getComputedStyle(e).backgroundColor); return own; }"
        )
        page_itself = page.evaluate("getComputedStyle(document.body).backgroundColor")
        tables = page.locator("table.stackbook-params, .stackbook-params table").all()
        assert tables
        for table in tables:
            assert table.evaluate("t => t.parentElement.scrollWidth <= t.parentElement.clientWidth")
            assert {*table.evaluate(behind)} <= {"rgba(0, 0, 0, 0)", page_itself}
            cell = table.locator("td").first.evaluate("e => getComputedStyle(e).color")
            assert contrast(cell, page_itself) > 4.5


def rgb(colour: str) -> str:
    """#rrggbb as browsers report it."""
    return "rgb({}, {}, {})".format(*(int(colour[i : i + 2], 16) for i in (1, 3, 5)))


def contrast(one: str, other: str) -> float:
    """WCAG contrast of two CSS colours."""

    def luminance(colour: str) -> float:
        red, green, blue = (int(part) / 255 for part in re.findall(r"\d+", colour)[:3])
        linear = [
            part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4
            for part in (red, green, blue)
        ]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("name", BOOK.chapters)
def test_without_javascript_there_is_a_picture_its_words_and_its_data(
    visit: Any, http: str, site: Path, name: str
) -> None:
    page, _ = visit(address(http, name), java_script_enabled=False)
    for figure in page.locator("figure.chart").all():
        picture = figure.locator("picture img")
        assert picture.is_visible()
        assert len(picture.get_attribute("alt") or "") > 40, "say what the eye sees"
        for link in figure.locator("a").all():
            target = (site / name).parent / (link.get_attribute("href") or "")
            assert target.resolve().is_file()
        assert figure.locator("a[href$='.csv']").count() >= 1
        assert "Source" in figure.inner_text()


def test_on_paper_charts_are_still_and_light(visit: Any, http: str) -> None:
    page, _ = visit(address(http, "layers/chips"), color_scheme="dark")
    draw(page)
    page.emulate_media(media="print")
    assert page.locator("figure.chart picture img").first.is_visible()
    assert not page.locator("figure.chart .chart-live").first.is_visible()
    assert page.pdf()[:5] == b"%PDF-"


def test_search_finds_a_chapter(visit: Any, http: str) -> None:
    page, complaints = visit(f"{http}/search.html?q=wafer")
    page.wait_for_selector("#search-results li a")
    hrefs = [a.get_attribute("href") for a in page.locator("#search-results li a").all()]
    assert any("layers/chips.html" in (href or "") for href in hrefs)
    assert complaints == []


@pytest.mark.parametrize("name", BOOK.chapters)
def test_a_page_shows_its_parameters_and_how_to_run_it(visit: Any, http: str, name: str) -> None:
    page, _ = visit(address(http, name))
    table = page.locator("table.stackbook-params")
    for parameter in BOOK.chapters[name].parameters.values():
        named = page.locator("td:first-child").get_by_text(parameter.name, exact=True)
        row = table.locator("tr", has=named)
        words = row.inner_text().replace("’", "'")  # noqa: RUF001
        assert parameter.meaning in words and parameter.bounds in words
        assert parameter.unit in words or parameter.unit in ("-", "1")
    command = f"stackbook build --only {name}" in page.locator("article").inner_text()
    assert command == bool(BOOK.chapters[name].parameters)
    with page.expect_download() as download:
        page.get_by_role("link", name="Executed notebook").click()
    shown = (STORE.notebooks / f"{name}.ipynb").read_bytes()
    assert Path(download.value.path()).read_bytes() == shown


def test_links_inside_the_site_lead_somewhere(site: Path) -> None:
    dead = []
    for page in [site / f"{name}.html" for name in (*BOOK.files, "search", "genindex")]:
        ids = set(re.findall(r'\bid="([^"]+)"', page.read_text()))
        for href in re.findall(r'href="([^"]+)"', page.read_text()):
            if re.match(r"[a-z]+:", href):
                continue
            path, _, anchor = href.partition("#")
            target = (page.parent / path.split("?")[0]) if path else page
            if not target.exists() or (not path and anchor and anchor not in ids):
                dead.append(f"{page.relative_to(site)}: {href}")
    assert dead == []


def test_prose_has_no_unformatted_or_missing_number(site: Path) -> None:
    for name in ("index", *BOOK.chapters):
        article = re.search(
            r"<article.*?</article>", (site / f"{name}.html").read_text(), re.DOTALL
        )
        assert article
        words = re.sub(r"<(script|pre|table)\b.*?</\1>", "", article[0], flags=re.DOTALL)
        assert not re.search(r"\d\.\d{5,}|\bnan\b|\{glue|\binf\b", re.sub("<[^>]+>", "", words)), (
            name
        )
