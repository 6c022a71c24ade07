"""Scenarios move what they tell of; comparisons and the switcher show it."""

import json
import re
import shutil
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from conftest import book_of_two
from playwright.sync_api import Browser, sync_playwright
from typer.testing import CliRunner

from stackbook import StackbookError, facts
from stackbook.cli import app
from stackbook.press import build as press
from stackbook.press import compare
from stackbook.press.chapters import Book
from stackbook.press.compare import Move, Outcome, Stated, moves
from stackbook.press.made import Built
from stackbook.press.scenarios import BASE, Scenario, shipped
from stackbook.press.store import Store

BOOK = Book()
STORIES = shipped(BOOK)
SOURCES = set(facts.table("sources").collect()["key"])


@pytest.mark.parametrize("story", STORIES.values(), ids=STORIES)
def test_a_scenario_tells_what_happens_and_where_each_value_is_from(story: Scenario) -> None:
    assert story.title and 1 <= len(re.findall(r"[.!?](?= |$)", story.story)) <= 4
    assert story.sources.keys() == story.parameters.keys()
    assert {each.source for each in story.sources.values()} <= SOURCES
    assert all(each.why for each in story.sources.values())
    assert bool(story.parameters) == (story.name != BASE)


@pytest.mark.parametrize("story", STORIES.values(), ids=STORIES)
def test_a_scenario_differs_from_the_book_in_every_parameter_that_it_sets(story: Scenario) -> None:
    for name, value in story.parameters.items():
        owners = [each for each in BOOK.chapters.values() if name in each.parameters]
        assert owners
        assert [each.name for each in owners if not each.changed({name: value})] == []


def test_the_stories_that_the_book_promises_are_there() -> None:
    assert {
        *(BASE, "cheap-power", "memory-squeeze", "glut"),
        *("open-silicon", "power-bound", "taiwan-shock", "trend", "ai-2027"),
    } <= STORIES.keys()


def test_every_scenario_moves_what_a_chapter_finds() -> None:
    """Of the chapter that all of them touch; what `make book` made of it is as good."""
    chapter = BOOK.chapter("layers/datacenter-power")
    cases = {
        name: press.Case(chapter, chapter.values(each.parameters)) for name, each in STORIES.items()
    }
    made = Path(__file__).parents[1] / "_build"
    done = press.run(Store(made / "test", made), cases)
    found = {
        name: {chapter.name: Outcome(cases[name].values, one.findings)}
        for name, one in done.items()
    }
    few = []
    for name in STORIES.keys() - {BASE}:
        of = [each for each in moves(found[BASE], found[name]) if each.moved and not each.repeats]
        if len(of) < 5:  # the shock to chips has little to do with this chapter
            few.append(name)
    assert few == []


# Moves


def move(was: Stated, now: Stated) -> Move:
    return Move("one", "half", "1", was, now, "")


@pytest.mark.parametrize(
    ("was", "now", "moved", "overlap"),
    [
        (Stated(2, 1, 3), Stated(3, 2.5, 4), 0.5, True),
        (Stated(2, 1, 3), Stated(8, 7, 9), 3, False),
        (Stated(2, 1, 3), Stated(3), 0.5, None),
        (Stated(2), Stated(1), 0.5, None),
        (Stated(-1), Stated(1), 2, None),
        (Stated(0), Stated(5), 1, None),
        (Stated(2, 2, 2), Stated(1, 1, 1), 0.5, False),
        (Stated(0.3), Stated(0.1 + 0.2), 0, None),
        (Stated(4e-13), Stated(2e-13), 0.5, None),
    ],
)
def test_a_move_is_measured_by_the_range_or_else_by_the_size(
    was: Stated, now: Stated, moved: float, overlap: bool | None
) -> None:
    assert move(was, now).moved == pytest.approx(moved)
    assert move(was, now).overlap == overlap


@pytest.mark.parametrize(
    ("was", "now", "said"),
    [(2, 3, "+50%"), (2, 1, "-50%"), (-2, 1, "+3"), (-2, -1, "+1"), (1, 20, "×20"), (1, 0, "-1")],  # noqa: RUF001
)
def test_a_change_reads_as_it_is_in_percent_or_whole(was: float, now: float, said: str) -> None:
    assert compare.changed(move(Stated(was), Stated(now))) == said


def outcome(values: dict[str, float], **found: float) -> Outcome:
    findings = [{"name": name, "value": each, "unit": "1"} for name, each in found.items()]
    return Outcome(values, findings)


def test_what_repeats_a_parameter_comes_after_what_follows_from_it() -> None:
    was = {"one": outcome({"rate": 0.2}, percent=20, twice=0.4, still=7, gone=1)}
    now = {"one": outcome({"rate": 0.1}, percent=10, twice=0.2, still=7)}
    found = moves(was, now)
    assert [(each.finding, each.repeats) for each in found] == [
        *(("twice", ""), ("still", "")),
        ("percent", "rate"),
    ]
    assert compare.unpaired(was, now) == [("one", "gone")]
    assert compare.counted(found).startswith("1 of 2 findings move, none of them out of")


def test_a_comparison_with_itself_moves_nothing() -> None:
    same = {"one": outcome({"rate": 0.2}, percent=20, twice=0.4)}
    assert [each.moved for each in moves(same, same)] == [0, 0]


# The small book under two more scenarios


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """The book of two at its own values, at a low rate, and at a long life."""
    root = tmp_path_factory.mktemp("many")
    book = book_of_two(root)
    with (book.folder / "_toc.yml").open("a") as toc:
        toc.write("- file: deep/scenarios\n")
    (book.folder / "deep" / "scenarios.md").write_text("# Stories\n\n```{made} scenarios\n```\n")
    (book.folder / "scenarios").mkdir()
    told = {
        "base": "title: As it is\nparameters: {}\n",
        "low": "title: Low rate\nstory: Money is *cheap* `now`.\nparameters: {rate: 0.1}\n"
        "sources: {rate: {source: stackbook-judgement, why: 'half [of] it'}}\n",
        "long": "title: Long <life>\nstory: Machines last.\nparameters: {life_yr: 10}\n",
    }
    for name, text in told.items():
        (book.folder / "scenarios" / f"{name}.yml").write_text(text)
    store = Store(root / "_build")
    press.build_all(Book(root), store)
    return store


def test_the_page_of_scenarios_says_what_moves_and_where_it_is_from(many: Store) -> None:
    for there in (many, many.under("low")):  # the same page in both
        page = plain(there.pages / "deep" / "scenarios.md")
        assert r"**Low rate**: {scenario}`half <low/one>` from 0.125 to 0.05 1/yr; 1 of 2" in page
        assert r"**Long \<life\>**: nothing; no finding moves" in page
        assert r"half \[of\] it (our judgement)" in page and "-60%" in page
    assert "stackbook compare base " in page


def plain(path: Path) -> str:
    return " ".join(path.read_text().split())


def test_what_was_built_of_a_scenario_goes_with_it(many: Store) -> None:
    old = many.under("old").notebooks / "one.ipynb"
    old.parent.mkdir(parents=True)
    old.write_text("{}")
    press.build_all(Book(many.folder.parent), many)
    assert {path.name for path in (many.folder / "scenarios").iterdir()} == {"low", "long"}


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a b", "parameters: {}", "scenarios/a b.yml: a scenario of the book is called by letters"),
        ("odd", "parameters: {1: 2}", "no parameter 1 in one, deep/two; `stackbook params` lists"),
        ("odd", "parameters: {on: 2}", "no parameter True in one, deep/two (did you mean rate?); "),
    ],
)
def test_a_scenario_that_cannot_be_is_refused_in_a_line(
    book: Book, name: str, text: str, message: str
) -> None:
    (book.folder / "scenarios").mkdir()
    (book.folder / "scenarios" / f"{name}.yml").write_text(text)
    with pytest.raises(StackbookError, match=re.escape(message)):
        shipped(book)


def test_a_book_that_was_built_alone_tells_how_to_get_the_others(many: Store) -> None:
    book = Book(many.folder.parent)
    told = compare.section(Built(book, {BASE: many}))
    assert "`stackbook build --all`" in told and "## Low rate" in told
    assert "{scenario}`" not in told, "it leads to no page that is not there"


def test_compare_prints_json_and_writes_a_page_that_asks_for_nothing(
    many: Store, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(many.folder.parent)
    run = CliRunner().invoke
    told = json.loads(run(app, ["compare", "base", "low", "long", "--json"]).stdout)
    (half, *_) = told["scenarios"]["low"]["findings"]
    assert (half["finding"], half["change"], half["relative"]) == ("half", -0.075, -0.6)
    (_, years) = told["scenarios"]["long"]["findings"]
    assert (years["finding"], years["moved"], years["repeats"]) == ("years", 0.5, "life_yr")
    assert "Low rate: 1 of 2 findings move" in run(app, ["compare", "base", "low"]).stdout
    page = tmp_path / "compared.html"
    assert run(app, ["compare", "base", "low", "--html", str(page)]).exit_code == 0
    assert "<td>half</td>" in page.read_text()
    assert not re.search(r"""(src|href)=|url\(|@import|<script""", page.read_text())


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["base"], "there is nothing to compare 'base' with"),
        (["base", "low", "low"], "scenario 'low' is given twice"),
        (["base", "lo"], r"scenario 'lo': No such file or directory \(did you mean low\?"),
        (["base", "low", "--chapter", "on"], r"no chapter 'on' \(did you mean one\?"),
    ],
)
def test_compare_refuses_in_a_line(
    many: Store, monkeypatch: pytest.MonkeyPatch, given: list[str], message: str
) -> None:
    monkeypatch.chdir(many.folder.parent)
    with pytest.raises(StackbookError, match=f"^{message}"):
        CliRunner().invoke(app, ["compare", *given], catch_exceptions=False)


# The switcher


@pytest.fixture
def tab(many: Store) -> Iterator[tuple[Browser, str]]:
    """A browser, and the address of the site."""
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if not chromium:
        pytest.skip("no Chromium here; on Debian: apt-get install chromium")

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(many.html)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    with server, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        yield browser, f"http://127.0.0.1:{server.server_port}"
        browser.close()
        server.shutdown()


def test_a_reader_switches_to_a_scenario_and_back_on_the_same_page(
    tab: tuple[Browser, str],
) -> None:
    """By keyboard, without JavaScript, on a phone."""
    browser, site = tab
    phone = {"viewport": {"width": 390, "height": 844}, "java_script_enabled": False}
    page = browser.new_context(**phone).new_page()
    page.goto(f"{site}/deep/two.html")
    for title, folder, years in [("Long <life>", "scenarios/long/", "10"), ("As it is", "", "5")]:
        switch = page.locator("details.scenarios")
        switch.locator("summary").focus()
        page.keyboard.press("Enter")
        link = switch.get_by_role("link", name=title)
        link.focus()
        page.keyboard.press("Enter")
        page.wait_for_url(f"{site}/{folder}deep/two.html")
        said = page.locator("article").inner_text()
        assert f"The value is {years}.000." in said
        assert ("Executed with other parameters" in said) == bool(folder)
        assert page.locator("details.scenarios summary").inner_text() == f"Scenario: {title}"
        current = page.locator("details.scenarios a[aria-current]")
        assert current.text_content() == title
    page.goto(f"{site}/scenarios/long/one.html")
    assert "Executed with other" not in page.locator("article").inner_text(), "it does not touch it"
    page.emulate_media(media="print")
    assert not page.locator("details.scenarios").is_visible()


def test_search_within_a_scenario_finds_its_pages(tab: tuple[Browser, str]) -> None:
    browser, site = tab
    page = browser.new_page()
    complaints: list[str] = []
    page.on("requestfailed", lambda request: complaints.append(request.url))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("response", lambda got: complaints.append(got.url) if got.status >= 400 else None)
    page.goto(f"{site}/scenarios/low/search.html?q=prose")
    page.wait_for_selector("#search-results li a")
    found = [a.evaluate("a => a.href") for a in page.locator("#search-results li a").all()]
    assert f"{site}/scenarios/low/one.html" in {each.split("?")[0].split("#")[0] for each in found}
    assert all(each.startswith(f"{site}/scenarios/low/") for each in found)
    assert complaints == []


def test_links_of_every_scenario_lead_somewhere(many: Store) -> None:
    dead = []
    for page in set(many.html.rglob("*.html")) - set(many.html.glob("_static/**/*")):
        for link in re.findall(r'(?:href|src|srcset)="([^"]+)"', page.read_text()):
            path = link.split("#")[0].split("?")[0]
            if path and not re.match(r"[a-z]+:", link) and not (page.parent / path).exists():
                dead.append(f"{page.relative_to(many.html)}: {link}")
    assert dead == []
    assert not (many.html / "scenarios" / "low" / "_static").exists(), "shared at the root"
