"""Releases keep what the book found; what moved between two is told in full, with its causes."""

import itertools
import json
import re
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from stackbook import StackbookError, cli
from stackbook.press import build as press
from stackbook.press import changes, releases
from stackbook.press.chapters import Book
from stackbook.press.made import Built
from stackbook.press.releases import Contents, Move, Release, Stated
from stackbook.press.scenarios import BASE
from stackbook.press.store import Store

ATOM = "{http://www.w3.org/2005/Atom}"
CAPITAL = "module:stackbook.kernels.capital"


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def executed(book: Book, store: Store) -> Book:
    """`book` read anew, with its chapters brought up to date but no site."""
    book = Book(book.config.parent)
    cases = {name: press.Case(each, each.values({})) for name, each in book.chapters.items()}
    for name, result in press.run(store, cases).items():
        store.show(book.chapters[name], result)
    return book


def one(
    findings: dict[str, Stated],
    version: str = "",
    digests: dict[str, str] | None = None,
    chapter: str = "chips",
) -> Release:
    digests = digests or {}
    return Release(
        version,
        "2026-01-01",
        "0.1.0",
        digests,
        {chapter: Contents("code", {}, [*digests], findings)},
    )


def test_a_release_keeps_what_was_built(book: Book, store: Store) -> None:
    path = releases.release(book, store, "0.1.0", "2026-01-31")
    kept = releases.stored(book)["0.1.0"]
    assert (kept.date, kept.chapters.keys()) == ("2026-01-31", {"one", "deep/two"})
    assert kept.chapters["one"].findings == {"half": Stated(0.125, "1/yr")}
    assert kept.chapters["deep/two"].parameters == {"rate": 0.25, "life_yr": 5}
    assert CAPITAL in kept.chapters["deep/two"].used
    assert CAPITAL not in kept.chapters["one"].used
    assert '\n    "half": {"value": 0.125, "unit": "1/yr"}\n' in path.read_text()
    now, missing = releases.since(kept, book, store)
    assert (now.moves, now.common, missing) == ([], 2, {})


def test_the_same_book_gives_the_same_bytes(book: Book, store: Store, tmp_path: Path) -> None:
    other = Book(shutil.copytree(book.config.parent, tmp_path / "other"))
    elsewhere = Store(tmp_path / "elsewhere")
    executed(other, elsewhere)
    first = releases.release(book, store, "0.1.0", "2026-01-31")
    second = releases.release(other, elsewhere, "0.1.0", "2026-01-31")
    assert first.read_bytes() == second.read_bytes()


def test_a_change_of_the_book_is_found_as_the_cause(book: Book, store: Store) -> None:
    """Of a parameter in one chapter, of code in the other; prose moves nothing."""
    releases.release(book, store, "0.1.0", "2026-01-31")
    edit(book.folder / "one.md", "rate: float = 0.25", "rate: float = 0.3")
    edit(book.folder / "one.md", "Prose.", "Better prose.")
    edit(book.folder / "deep" / "two.md", '"years", life_yr', '"years", life_yr + 1')
    book = executed(book, store)
    before = releases.stored(book)["0.1.0"]
    now, _ = releases.since(before, book, store)
    assert {each.name: each.after and each.after.value for each in now.moves} == {
        "half": 0.15,
        "years": 6.0,
    }
    assert now.causes == {
        "one": {"parameter": ["rate: 0.25 → 0.3"]},
        "deep/two": {"chapter": ["its code"]},
    }


@pytest.mark.parametrize(
    ("differ", "found"),
    [
        (["table:chips"], {"data": ["chips"]}),
        ([CAPITAL], {"kernel": ["kernels.capital"]}),
        (
            ["table:chips", CAPITAL, "library:numpy", "table:sources"],
            {"data": ["chips"], "kernel": ["kernels.capital"]},
        ),
        (["library:numpy"], {"library": ["numpy: 1 → 2"]}),
        (["module:stackbook.charts.forms"], {"kernel": ["stackbook.charts.forms"]}),
        ([], {}),
    ],
)
def test_causes_are_what_differs(differ: list[str], found: dict[str, list[str]]) -> None:
    """Libraries, charts and the list of sources count where nothing else differs."""
    names = [
        "library:numpy",
        CAPITAL,
        "module:stackbook.charts.forms",
        "table:chips",
        "table:sources",
    ]
    before = one({"price": Stated(1.0, "USD")}, digests=dict.fromkeys(names, "1"))
    after = one(
        {"price": Stated(2.0, "USD")}, digests={n: "2" if n in differ else "1" for n in names}
    )
    assert releases.compared(before, after).causes == {"chips": found}


def test_what_did_not_move_needs_no_cause() -> None:
    before, after = (one({"price": Stated(1.0, "USD")}, digests={CAPITAL: d}) for d in "12")
    assert releases.compared(before, after).causes == {}


@pytest.mark.parametrize(
    ("before", "after", "state", "relative", "inside"),
    [
        (Stated(2.0, "USD"), Stated(3.0, "USD"), "moved", 0.5, None),
        (Stated(-2.0, "USD"), Stated(1.0, "USD"), "moved", 1.5, None),
        (Stated(0.0, "USD"), Stated(1.0, "USD"), "moved", None, None),
        (Stated(2.0, "USD", 1.0, 3.0), Stated(3.0, "USD", 2.0, 4.0), "moved", 0.5, True),
        (Stated(2.0, "USD", 1.0, 3.0), Stated(3.1, "USD"), "moved", 0.55, False),
        (Stated(2.0, "USD", 1.0, 3.0), Stated(2.0, "USD", 1.0, 2.5), "range", 0.0, True),
        (Stated(2.0, "USD"), Stated(2.0, "EUR"), "unit", None, None),
        (None, Stated(2.0, "USD"), "new", None, None),
        (Stated(2.0, "USD"), None, "gone", None, None),
    ],
)
def test_a_move_says_how_far(
    before: Stated | None, after: Stated | None, state: str, relative: float | None, inside: object
) -> None:
    move = Move("chips", "price", before, after)
    assert (move.state, move.inside) == (state, inside)
    assert move.relative == (None if relative is None else pytest.approx(relative))


@pytest.mark.parametrize(
    ("before", "after", "moves"),
    [
        (Stated(1.0, "1"), Stated(1.0 + 5e-10, "1"), 0),
        (Stated(1.0, "1"), Stated(1.0 + 5e-9, "1"), 1),
        # A difference that cancels, beside ends that do not.
        (Stated(1e-17, "1", -1.0, 1.0), Stated(-3e-17, "1", -1.0, 1.0), 0),
        (Stated(0.0, "1"), Stated(0.0, "1"), 0),
    ],
)
def test_the_last_bits_of_a_number_are_no_move(before: Stated, after: Stated, moves: int) -> None:
    found = releases.compared(one({"x": before}), one({"x": after}))
    assert len(found.moves) == moves


def test_the_most_telling_move_comes_first() -> None:
    before = {
        "counted": Stated(10.0, "1"),
        "kept": Stated(10.0, "1", 0.0, 99.0),
        "left": Stated(10.0, "1", 9.0, 11.0),
        "turned": Stated(10.0, "1"),
        "gone": Stated(10.0, "1"),
    }
    after = {
        "counted": Stated(30.0, "1"),
        "kept": Stated(20.0, "1"),
        "left": Stated(11.5, "1"),
        "turned": Stated(-10.0, "1"),
        "new": Stated(1.0, "1"),
    }
    found = releases.compared(one(before), one(after))
    assert [each.name for each in found.moves] == [
        "left",
        "turned",
        "counted",
        "kept",
        "gone",
        "new",
    ]
    assert (found.common, [each.name for each in found.moves[4:]]) == (4, ["gone", "new"])
    back = releases.compared(one(before, chapter="back/x"), one(after, chapter="back/x"))
    assert {each.order[0] for each in back.of("moved")} == {2}


numbers = st.floats(-1e9, 1e9).map(lambda x: float(f"{x:.12g}"))
stated = st.tuples(numbers, st.sampled_from(["USD", "1"])).map(lambda each: Stated(*each))
found = st.dictionaries(st.sampled_from("abcde"), stated)


@given(found, found)
def test_there_and_back_again_moves_the_same(
    first: dict[str, Stated], second: dict[str, Stated]
) -> None:
    """Against the plain answer; what is new on the way there is gone on the way back."""
    there = releases.compared(one(first), one(second))
    back = releases.compared(one(second), one(first))
    both = first.keys() & second.keys()
    moved = {
        name
        for name in both
        if first[name].unit == second[name].unit
        and abs(first[name].value - second[name].value)
        > 1e-9 * max(abs(first[name].value), abs(second[name].value))
    }
    assert {each.name for each in there.of("moved")} == moved
    assert {each.name for each in back.of("moved")} == moved
    assert {each.name for each in there.of("new")} == second.keys() - first.keys()
    assert {each.name for each in back.of("gone")} == second.keys() - first.keys()
    assert there.common == sum(first[name].unit == second[name].unit for name in both)
    shares = [each.order for each in there.of("moved")]
    assert shares == sorted(shares)


@pytest.mark.parametrize(
    ("version", "date", "said"),
    [
        ("0.2", "2026-01-31", "release '0.2': a version has three numbers, as in 0.4.0"),
        ("0.2.0/../x", "2026-01-31", "release '0.2.0/../x': a version has three numbers"),
        ("0.2.0", "31 January", "date '31 January': write YYYY-MM-DD"),
        ("0.2.0", "2026-02-30", "date '2026-02-30': write YYYY-MM-DD"),
        ("0.1.0", "2026-01-31", "release 0.1.0 is there already, of 2026-01-31"),
        ("0.0.9", "2026-01-31", "release 0.0.9 is not newer than 0.1.0"),
    ],
)
def test_a_release_that_cannot_be_is_an_error(
    book: Book, store: Store, version: str, date: str, said: str
) -> None:
    releases.release(book, store, "0.1.0", "2026-01-31")
    before = sorted(book.folder.rglob("*"))
    with pytest.raises(StackbookError) as error:
        releases.release(book, store, version, date)
    assert str(error.value).startswith(said)
    assert sorted(book.folder.rglob("*")) == before


def test_versions_are_numbers_and_not_text(book: Book, store: Store) -> None:
    for version in ("0.9.0", "0.10.0"):
        releases.release(book, store, version, "2026-01-31")
    assert list(releases.stored(book)) == ["0.9.0", "0.10.0"]


def test_only_the_book_as_it_is_can_be_released(book: Book, store: Store, tmp_path: Path) -> None:
    def said(book: Book, store: Store) -> str:
        with pytest.raises(StackbookError) as error:
            releases.release(book, store, "0.1.0", "2026-01-31")
        return str(error.value)

    assert said(book, Store(tmp_path / "none")).startswith("chapter one is not built in ")
    assert said(book, Store(tmp_path / "none")).endswith("run `stackbook build` first (1 more)")
    notebook = store.notebooks / "one.ipynb"
    edit(notebook, '"rate": 0.25', '"rate": 0.5')
    assert said(book, store).startswith("chapter one is built with rate=0.5 in ")
    edit(notebook, '"rate": 0.5', '"rate": 0.25')
    edit(book.folder / "deep" / "two.md", "Prose.", "Better prose.")
    moved = Book(book.config.parent)
    assert said(moved, store).startswith("chapter deep/two is built from other sources than ")
    assert not releases.stored(moved)


@pytest.mark.parametrize("content", ["", "[]", '{"version": "0.1.0"}', '{"chapters": 3}'])
def test_a_damaged_release_is_named(book: Book, content: str) -> None:
    path = book.folder / "releases" / "0.1.0.json"
    path.parent.mkdir()
    path.write_text(content)
    with pytest.raises(StackbookError, match=r"releases/0\.1\.0\.json is no release: .*restore it"):
        releases.stored(book)


def test_an_unknown_release_is_answered_with_those_there(book: Book, store: Store) -> None:
    releases.release(book, store, "0.1.0", "2026-01-31")
    with pytest.raises(StackbookError, match=r"no release '0\.2\.0'.* the releases are 0\.1\.0"):
        releases.chosen(book, "0.2.0")


@dataclass
class Site:
    book: Book
    store: Store


@pytest.fixture
def moved(book: Book, store: Store) -> Site:
    """Two releases of a book with a page of changes: a number moved between them, one since."""
    edit(book.folder / "_toc.yml", "- file: one\n", "- file: one\n- file: back/changes\n")
    (book.folder / "back").mkdir()
    (book.folder / "back" / "changes.md").write_text("# Changes\n\n```{made} changes\n```\n")
    second = releases.release(book, store, "0.2.0", "2026-02-28")
    edit(second, '"life_yr": 5', '"life_yr": 4')
    edit(second, '"years": {"value": 5.0', '"years": {"value": 4.0')
    first = shutil.copy(second, second.with_name("0.1.0.json"))
    edit(
        first,
        '"version": "0.2.0",\n "date": "2026-02-28"',
        '"version": "0.1.0",\n "date": "2026-01-31"',
    )
    edit(first, '"rate": 0.25', '"rate": 0.2')
    edit(first, '"half": {"value": 0.125', '"half": {"value": 0.1')
    return Site(Book(book.config.parent), store)


def test_the_page_tells_what_moved_and_the_site_has_the_feed(moved: Site) -> None:
    press.build(moved.book, moved.store, {})
    html = moved.store.html
    page = " ".join(re.sub("<[^>]+>", "", (html / "back" / "changes.html").read_text()).split())
    assert "1 of 2 numbers moved from release 0.2.0 to the book as built" in page
    assert "years 4 → 5 yr (+25%) in deep/two" in page
    assert (
        "Why: parameter (life_yr: 4 → 5)." in page and "Why: parameter (rate: 0.2 → 0.25)." in page
    )
    assert "2026-02-28. 1 of 2 numbers moved from release 0.1.0 to 0.2.0" in page
    assert "2026-01-31. The first release: 2 numbers in 2 chapters." in page
    assert (html / "changes.atom").read_bytes() == (moved.store.pages / "changes.atom").read_bytes()
    for name, up in {"index": "", "one": "", "deep/two": "../", "back/changes": "../"}.items():
        head = (html / f"{name}.html").read_text().partition("</head>")[0]
        (link,) = re.findall(r'<link rel="alternate" type="application/atom\+xml"[^>]*>', head)
        assert f'href="{up}changes.atom"' in link
    body = (html / "back" / "changes.html").read_text()
    assert '<a href="../changes.atom">' in body and 'id="release-0-2-0"' in body
    assert not (moved.store.pages / "releases").exists()


def test_what_was_built_with_other_numbers_is_not_compared(moved: Site) -> None:
    edit(moved.store.notebooks / "deep" / "two.ipynb", '"life_yr": 5', '"life_yr": 9')
    text = changes.section(Built(moved.book, {BASE: moved.store}))
    assert (
        "Not compared with the last release: {doc}`Two </deep/two>` is built with life_yr=9."
        in text
    )
    assert "the book as built" not in text and "from release 0.1.0 to 0.2.0" in text


def test_a_book_without_releases_says_so(book: Book, store: Store) -> None:
    text = changes.section(Built(book, {BASE: store}))
    assert text == "There is no release yet. `stackbook release` stores the first."


def test_the_feed_is_atom(moved: Site) -> None:
    """What RFC 4287 requires in section 4.1."""
    settings = {"title": "A Book, 2nd", "author": "Some authors"}
    data = changes.feed(moved.book, settings)
    assert data == changes.feed(moved.book, settings)
    feed = ElementTree.fromstring(data)
    assert feed.tag == f"{ATOM}feed"
    entries = feed.findall(f"{ATOM}entry")
    ids = []
    for element in [feed, *entries]:
        for name in ("id", "title", "updated"):
            assert len(element.findall(f"{ATOM}{name}")) == 1
        ids.append(element.findtext(f"{ATOM}id"))
        assert re.fullmatch(
            r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", element.findtext(f"{ATOM}updated") or ""
        )
        rels = [link.get("rel") for link in element.findall(f"{ATOM}link")]
        assert rels.count("alternate") == 1
        assert all(link.get("href") for link in element.findall(f"{ATOM}link"))
    assert feed.findtext(f"{ATOM}author/{ATOM}name") == "Some authors"
    assert ids == [
        "tag:a-book-2nd,2026:changes",
        "tag:a-book-2nd,2026:release-0.2.0",
        "tag:a-book-2nd,2026:release-0.1.0",
    ]
    assert feed.findtext(f"{ATOM}updated") == "2026-02-28T00:00:00Z"
    assert "half 0.1 → 0.125 1/yr (+25%) in one" in (entries[0].findtext(f"{ATOM}summary") or "")
    link = entries[0].find(f"{ATOM}link")
    assert link is not None and link.get("href") == "back/changes.html#release-0-2-0"
    other = changes.feed(moved.book, {**settings, "title": "\N{CJK UNIFIED IDEOGRAPH-66F8}"})
    assert "<id>tag:\N{CJK UNIFIED IDEOGRAPH-66F8},2026:changes" in other.decode()


def test_the_command_lists_and_counts(moved: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(moved.store.folder.parent)
    monkeypatch.setattr("stackbook.press.chapters.Book", lambda: moved.book)
    run = CliRunner().invoke
    text = run(cli.app, ["changes"]).output
    row = r"years +yr +4 +5 +\+1 +\+25% +no range\nwhy: parameter \(life_yr: 4 → 5\)"
    assert re.search(row, text)
    assert "\n1 of 2 numbers moved from release 0.2.0 to the book as built.\n" in text
    between = json.loads(run(cli.app, ["changes", "0.1.0", "0.2.0", "--json"]).output)
    assert (between["from"], between["to"], between["common"]) == ("0.1.0", "0.2.0", 2)
    assert between["causes"] == {"one": {"parameter": ["rate: 0.2 → 0.25"]}}
    assert [(each["name"], each["change"]) for each in between["moves"]] == [
        ("half", pytest.approx(0.025))
    ]
    assert "release 0.3.0: " in run(cli.app, ["release", "0.3.0", "--date", "2026-03-31"]).output
    assert "0.3.0" in releases.stored(moved.book)
    assert run(cli.app, ["changes"]).output.startswith("0 of 2 numbers moved from release 0.3.0")


def moved_and_common(before: dict[str, Any], after: dict[str, Any]) -> tuple[int, int]:
    """How many findings of two releases moved, of how many that both have, from plain JSON."""
    common = moved = 0
    for chapter, contents in after["chapters"].items():
        for name, new in contents["findings"].items():
            old = before["chapters"].get(chapter, {"findings": {}})["findings"].get(name)
            if old is None or old["unit"] != new["unit"]:
                continue
            common += 1
            size = max(abs(x) for x in (*old.values(), *new.values()) if not isinstance(x, str))
            moved += abs(old["value"] - new["value"]) > 1e-9 * size
    return moved, common


def test_the_page_of_the_book_agrees_with_its_stored_releases(tmp_path: Path) -> None:
    """Read as plain JSON; nothing is built here. Tables are of the last that moved a number."""
    book = Book()
    paths = sorted(
        (book.folder / "releases").glob("*.json"), key=lambda p: [int(n) for n in p.stem.split(".")]
    )
    text = changes.section(Built(book, {BASE: Store(tmp_path)}))
    stored = [json.loads(path.read_text()) for path in paths]
    opened = False
    for before, after in reversed(list(itertools.pairwise(stored))):
        moved, common = moved_and_common(before, after)
        versions = before["version"], after["version"]
        said = "{} of {} numbers moved from release {} to {}".format(moved, common, *versions)
        first = bool(moved) and not opened
        assert text.count(said) == 1 + first, "in the list of releases, and first"
        if first:
            both = (releases.stored(book)[version] for version in versions)
            units = len(releases.compared(*both).of("unit"))
            assert text.count("<tr><td>") == moved + units
            opened = True
    assert opened
    for path in paths:
        kept = releases.stored(book)[path.stem]
        assert kept.version == path.stem and kept.findings > 500
        assert path.stat().st_size < 300_000
        for each in kept.chapters.values():
            assert set(each.used) <= kept.digests.keys()
            for finding in each.findings.values():
                assert finding.low is None or finding.low <= finding.value <= finding.high
