"""The parameter panel in a browser: what readers type, the command and the link that follow."""

import json
import math
import random
import shlex
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from conftest import book_of_two
from playwright.sync_api import Browser, Page, sync_playwright
from test_site import CHROMIUM, FLAGS, contrast

from stackbook import StackbookError
from stackbook.press.build import build
from stackbook.press.chapters import Book, Parameter, assigned, plain
from stackbook.press.store import Store

PARAMETERS = """\
flop: float = 1e21  # [FLOP, 1e-9 to 1e29] compute
draws: int = 1000  # [1, 1 to 1e6] draws
lit: bool = True  # [-] a switch
design: str = "fat tree"  # [-, one of fat tree | it's a <mesh>] a choice
word: str = "params"  # [-] any text
"""
HOSTILE = [
    *("", "'", "''", '"', "it's", "\\", "\\'", "a b", "$(id)", "`id`", "$HOME", "!!", "~", "*"),
    *(
        "; rm -rf x",
        "&& id",
        "| id",
        "> x",
        "# x",
        "a\nb",
        "a\tb",
        "--help",
        "-p x=1",
        "=",
        "a=b=c",
    ),
    *("<script>hit = 1</script>", "<img src=x onerror=hit=1>", "&amp;", "%27", "+", "a&b#c?d"),
    *(
        "é",
        "日本",
        "😀",
        "{}",
        "\u200f",
        "\ufeff",
        "a\x7fb",
        "null",
        " in spaces\u00a0\n",
        "x" * 900,
    ),
]
PANEL = "#run-this-page-with-your-own-numbers"
TYPE = """([name, text]) => {
  const field = [...document.querySelectorAll("[aria-label]")]
    .find((each) => each.closest("td:nth-child(2)") && each.ariaLabel.split(" [")[0] === name);
  field.value = text;
  field.dispatchEvent(new Event("input"));
  return [document.querySelector(".panel-output code").textContent,
          field.closest("tr").querySelector(".panel-wrong").textContent];
}"""  # fmt: skip

Open = Callable[..., Page]


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> tuple[Book, Path]:
    """A book and its site: `one` has each kind of parameter, `deep/two` ran with another value."""
    folder = tmp_path_factory.mktemp("panel")
    source = book_of_two(folder).folder / "one.md"
    text = source.read_text()
    source.write_text(text.replace("rate: float", f"{PARAMETERS}rate: float"))
    book, store = Book(folder), Store(folder / "_build")
    build(book, store, {"rate": 0.5}, only="deep/two")
    return book, store.html


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture
def opened(chromium: Browser, shown: tuple[Book, Path]) -> Iterator[Open]:
    """Opens pages from their files; whatever else they ask for, or complain of, fails the test."""
    contexts, complaints = [], []

    def open_(page: str, **options: Any) -> Page:
        name, _, fragment = page.partition("#")
        context = chromium.new_context(**options)
        contexts.append(context)
        tab = context.new_page()
        tab.on("pageerror", lambda error: complaints.append(str(error)))
        tab.on(
            "request",
            lambda request: (
                None if request.url.startswith("file:") else complaints.append(request.url)
            ),
        )
        tab.goto((shown[1] / f"{name}.html").as_uri() + (f"#{fragment}" if fragment else ""))
        return tab

    yield open_
    for context in contexts:
        context.close()
    assert complaints == []


def command(page: Page) -> str:
    return page.locator(".panel-output code").first.text_content() or ""


def link(page: Page) -> str:
    return (page.locator(".panel-output code").last.text_content() or "").rpartition("/")[2]


def told(page: Page) -> str:
    return page.locator(".panel-told").inner_text()


def fields(page: Page) -> list[str]:
    values = page.locator(f"{PANEL} td > :is(input, select, textarea)").all()
    return [each.input_value() for each in values]


def said(parameter: Parameter, text: str) -> tuple[str, str]:
    """The command and the complaint that Python has for `text`, typed as `parameter`."""
    try:
        value = parameter.check(assigned(f"{parameter.name}={text}")[1])
    except StackbookError as error:
        return "stackbook run one", str(error)
    given = f" -p {parameter.name}={shlex.quote(plain(value))}"
    return "stackbook run one" + ("" if value == parameter.default else given), ""


def numbers() -> list[str]:
    drawn = random.Random(9)
    digits = [f"{drawn.uniform(-1, 10):.{drawn.randrange(17)}e}" for _ in range(150)]
    some = [digit.split("e")[0] + f"e{drawn.randrange(-12, 30)}" for digit in digits]
    wrong = (
        "abc 1e 1,5 1_ _1 1__0 0x10 1e999 -1e999 nan -NaN inf Infinity 1e30 1e-10 -1 .e1 . +-1 ½"
    )
    right = "1 +2.50 1_000 .5 5. 1E5 1e+5 0001 1e7 9999999.9999999 99999999 1e21 1e22"
    return ["", " 3 ", "\u00a07\x1c", *wrong.split(), *right.split(), *some]


@pytest.mark.parametrize("name", ["flop", "draws", "rate"])
def test_numbers_are_read_judged_and_written_as_by_python(
    shown: tuple[Book, Path], opened: Open, name: str
) -> None:
    page, parameter = opened("one"), shown[0].chapters["one"].parameters[name]
    for text in numbers():
        given, wrong = page.evaluate(TYPE, [name, text])
        expected, complaint = said(parameter, text)
        assert given == expected, text
        assert bool(wrong) == bool(complaint), text
        assert complaint.endswith(wrong.removeprefix(text.strip())), (wrong, complaint)


def test_any_text_goes_through_a_shell_and_the_command_line_unchanged(
    shown: tuple[Book, Path], opened: Open, tmp_path: Path
) -> None:
    page, chapter = opened("one"), shown[0].chapters["one"]
    stub = tmp_path / "stackbook"
    stub.write_text('#!/bin/sh\nprintf "%s\\0" "$@" > "$SEEN"\n')
    stub.chmod(0o755)
    seen = tmp_path / "seen"
    for text in HOSTILE:
        given, wrong = page.evaluate(TYPE, ["word", text])
        assert not wrong
        assert given == said(chapter.parameters["word"], text)[0]
        path = {"PATH": f"{tmp_path}:/usr/bin:/bin", "SEEN": str(seen)}
        subprocess.run(["sh", "-c", given], check=True, env=path, cwd=tmp_path)
        *head, last = seen.read_text().split("\0")[:-1]
        assert head == ["run", "one", "-p"]
        assert chapter.values(dict([assigned(last)]))["word"] == text.strip()
    assert {each.name for each in tmp_path.iterdir()} == {"stackbook", "seen"}
    assert page.evaluate("typeof hit") == "undefined"


def test_fields_show_what_is_wrong_what_changed_and_the_way_back(opened: Open) -> None:
    page = opened("one")
    rate = page.get_by_role("textbox", name="rate [1/yr]")
    row = page.locator("tr", has=rate)
    status = page.locator(".panel-state")
    assert status.inner_text() == "All values are the book\u2019s."
    rate.fill("0.75")
    wrong = row.get_by_role("alert")
    assert wrong.inner_text() == "0.75 is out of bounds: give a number, 0 to 0.5 [1/yr]"
    assert rate.get_attribute("aria-invalid") == "true"
    assert "1 is not admitted and left out" in status.inner_text()
    assert command(page) == "stackbook run one"
    rate.fill("0.125")
    assert not wrong.is_visible() and "1 value differs from the book\u2019s." in status.inner_text()
    page.get_by_role("combobox", name="design").select_option("it's a <mesh>")
    page.get_by_role("combobox", name="lit").select_option("False")
    mesh = """'it'"'"'s a <mesh>'"""
    assert command(page) == f"stackbook run one -p lit=False -p design={mesh} -p rate=0.125"
    assert page.locator(".panel-output code").nth(1).text_content() == command(page).replace(
        "run", "build --only"
    )
    row.get_by_role("button", name="Back to 0.25").click()
    assert rate.input_value() == "0.25" and "2 values differ" in status.inner_text()
    assert page.evaluate("document.activeElement.ariaLabel") == "rate [1/yr]"
    page.get_by_role("button", name="Reset all").click()
    assert command(page) == "stackbook run one"
    assert fields(page) == fields(opened("one"))


def test_a_link_carries_every_value_to_another_reader(opened: Open) -> None:
    page = opened("one")
    for text in ("·".join(HOSTILE), "", "params"):
        for typed in (("word", text), ("flop", "2.5e22"), ("design", "it's a <mesh>")):
            page.evaluate(TYPE, [*typed])
        assert "flop=2.5e22" in link(page)
        other = opened(link(page).replace(".html", ""))
        assert command(other) == command(page)
        assert "Left out" not in told(other)


def test_following_a_link_comes_to_the_panel_and_again_on_the_same_page(opened: Open) -> None:
    page = opened("one#run?rate=0.125", viewport={"width": 800, "height": 500})
    assert page.locator(".panel-told").evaluate(
        "e => { const {top} = e.getBoundingClientRect(); return 0 <= top && top < innerHeight; }"
    )
    page.evaluate("location.hash = '#run?flop=2'")
    page.wait_for_function(
        "document.querySelector('.panel-output code').textContent.includes('flop')"
    )
    assert command(page) == "stackbook run one -p flop=2"


def test_under_other_values_the_command_tells_them_from_the_books(opened: Open) -> None:
    page = opened("deep/two")
    assert command(page) == "stackbook run deep/two -p rate=0.5"
    assert link(page) == "two.html#run?rate=0.5"
    page.get_by_role("button", name="Reset all").click()
    assert command(page) == "stackbook run deep/two"
    assert command(opened("deep/two#run?")) == command(page)


REFUSED = [
    ("<script>hit()</script>=1", "<script>hit()</script> = 1: this page has no such parameter"),
    ("rate=<img src=x onerror=hit=1>", "rate = <img src=x onerror=hit=1>: give a number, 0 to"),
    ("rate=1e999", "rate = 1e999 is not finite"),
    ("rate=NaN", "rate = NaN is not finite"),
    ("draws=1e3", "draws = 1e3: give a whole number"),
    ("rate", "rate = : give a number"),
    ("rate=0.1%", "rate = 0.1%: give a number"),
    ("lit=yes", "lit = yes: give true or false [-]"),
    ("design=mesh", "design = mesh is not admitted: give text, fat tree · it's a <mesh> [-]"),
    ("word=a%00b", "does not fit into a command"),
    ("__proto__=1&constructor=1", "constructor = 1: this page has no such parameter"),
    ("&".join(f"n{k}=1" for k in range(300)), "and 295 more"),
    (f"rate={'9' * 300}", f"rate = {'9' * 60}… is out of bounds"),
    (f"word={'x' * 9000}", "all of it, for it is 9005 characters long, more than 8000"),
]


def test_what_a_link_may_not_say_is_told_and_not_done(opened: Open) -> None:
    page = opened("one")
    untouched = fields(page)
    for fragment, complaint in REFUSED:
        page.evaluate(
            """async (hash) => {
              location.hash = hash;
              await new Promise((done) => addEventListener("hashchange", done, {once: true}));
            }""",
            f"#run?{quote(fragment, safe='=&%')}",
        )
        assert complaint in told(page)
        assert fields(page) == untouched
        assert command(page) == "stackbook run one"
        assert page.locator(".panel-told :not(ul, li)").count() == 0
    assert page.evaluate("typeof hit") == "undefined"


@pytest.mark.parametrize("modern", [True, False])
def test_commands_are_copied_with_and_without_the_clipboard_interface(
    opened: Open, modern: bool
) -> None:
    page = opened("one")
    if modern:
        page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    else:
        page.evaluate("Object.defineProperty(navigator, 'clipboard', {value: undefined})")
    page.evaluate(TYPE, ["word", "a\n'b"])
    page.get_by_role("button", name="Copy: Print its findings").click()
    page.get_by_text("Copied", exact=True).wait_for()
    wanted = command(page)
    page.get_by_role("textbox", name="word").fill("")
    page.get_by_role("textbox", name="word").press("Control+v")
    assert page.get_by_role("textbox", name="word").input_value() == wanted


def test_without_javascript_and_on_paper_the_table_is_what_the_page_ran_with(opened: Open) -> None:
    plain_ = opened("deep/two", java_script_enabled=False)
    page = opened("deep/two")
    page.evaluate(TYPE, ["rate", "0.125"])
    page.emulate_media(media="print")
    for each in (plain_, page):
        table = each.locator("table.stackbook-params")
        assert table.locator("tr").nth(1).inner_text().split() == (
            ["rate", "0.5", "0.25", "1/yr", "0", "to", "0.5", "discount", "rate"]
        )
        words = each.locator(PANEL).inner_text()
        assert "stackbook build --only deep/two -p rate=0.5" in words
        assert "stackbook run" not in words
        assert each.locator(f"{PANEL} :is(input, select, textarea, .panel-back)").count() == 0 or (
            not each.locator(
                f"{PANEL} :is(input, select, textarea, .panel-back)"
            ).first.is_visible()
        )


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_on_a_phone_it_fits_and_can_be_read(opened: Open, theme: str) -> None:
    phone = {"viewport": {"width": 390, "height": 844}, "color_scheme": theme}
    page = opened("one#run?rate=0.125&nope=1", **phone)
    page.evaluate(TYPE, ["word", "x" * 300])
    page.evaluate(TYPE, ["draws", "9" * 300])
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    inside = f"[...document.querySelectorAll('{PANEL} *')].filter(e => !e.closest('.panel-unseen'))"
    right = f"Math.max(...{inside}.map(e => e.getBoundingClientRect().right))"
    assert page.evaluate(right) <= 390
    # Behind each word the nearest ground that is not clear.
    colours = page.evaluate(
        """() => [".panel-wrong", ".panel-back", ".panel-limits", ".panel-told li", "td:last-child p",
          ".panel-output code", ".panel-state span", "input", "textarea", ".panel-outputs > p"]
          .map((which) => {
            const each = [...document.querySelectorAll(`article ${which}, .panel-told li`)]
              .find((e) => e.matches(which) && e.textContent + (e.value ?? "") && e.checkVisibility());
            let ground = each;
            while (getComputedStyle(ground).backgroundColor === "rgba(0, 0, 0, 0)") ground = ground.parentElement;
            return [which, getComputedStyle(each).color, getComputedStyle(ground).backgroundColor];
          })"""  # noqa: E501
    )
    for which, colour, ground in colours:
        assert contrast(colour, ground) >= 4.5, (which, colour, ground)


def test_the_keyboard_reaches_each_field_and_sees_where_it_is(opened: Open) -> None:
    page = opened("one")
    page.locator(f"{PANEL} td > input").first.focus()
    names = []
    for _ in range(6):
        ring = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
        names.append(page.evaluate("document.activeElement.ariaLabel.split(' ')[0]"))
        assert ring == "solid"
        page.keyboard.press("Tab")
    assert names == ["flop", "draws", "lit", "design", "word", "rate"]


def test_a_page_without_parameters_has_no_panel(opened: Open) -> None:
    page = opened("index#run?rate=1")
    assert page.locator("[class^=panel-]").count() == 0


def test_the_data_of_the_panel_cannot_end_its_script(shown: tuple[Book, Path]) -> None:
    page = (shown[1] / "one.html").read_text()
    data = page.partition('class="stackbook-parameters">')[2].partition("</script>")[0]
    design = next(p for p in json.loads(data)["parameters"] if p["name"] == "design")
    assert design["choices"] == ["fat tree", "it's a <mesh>"] and "<" not in data
    assert math.isclose(json.loads(data)["parameters"][0]["default"], 1e21)
