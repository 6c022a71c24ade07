"""The pages of all parameters and of all functions say what the sources declare."""

import html
import inspect
import json
import pkgutil
import re
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from conftest import book_of_two

from stackbook import home, kernels
from stackbook.kernels.jit import Formula
from stackbook.press import reference
from stackbook.press.build import build
from stackbook.press.chapters import Book, plain
from stackbook.press.made import SECTIONS, Built
from stackbook.press.store import Store

BUILT = Built(Book(), {})
MODULES = [
    *("charts", "facts", "findings", "inputs", "profiles"),
    *(f"kernels.{each.name}" for each in pkgutil.iter_modules(kernels.__path__)),
]


@pytest.mark.parametrize("name", ["api", "parameters"])
def test_a_page_is_the_same_each_time(name: str) -> None:
    first = SECTIONS[name](BUILT)
    reference._api.cache_clear()
    assert SECTIONS[name](Built(Book(), {})) == first


def test_every_parameter_stands_once_with_its_unit_bounds_and_chapters() -> None:
    text = reference.parameters(BUILT)
    rows = {}
    for row in re.split(r"^\* - ", text, flags=re.MULTILINE):
        if named := re.match(r"`(\w+)`\{#parameter-(\w+)\}\n", row):
            assert named[1] == named[2] not in rows
            rows[named[1]] = row.split("\n  - ")
    chapters = BUILT.book.chapters.values()
    assert rows.keys() == {name for each in chapters for name in each.parameters}
    sections = {
        re.search(r"^Chapter \{doc\}`(\S+) ", section, re.MULTILINE)[1]: section  # type: ignore[index]
        for section in re.split(r"^## ", text, flags=re.MULTILINE)[2:]
    }
    for chapter in chapters:
        for name, one in chapter.parameters.items():
            _, default, unit, bounds, meaning = rows[name]
            assert plain(one.default) in default
            assert unit == ("" if one.unit in ("-", "1") else one.unit)
            assert bounds == one.bounds
            assert meaning.startswith(one.meaning)
            assert f"#parameter-{name}" in sections[chapter.name]


def test_a_parameter_names_the_scenarios_that_set_it() -> None:
    row = reference.parameters(BUILT).split("{#parameter-usd_per_kwh}")[1].split("\n* - ")[0]
    assert re.search("Set by scenario .*Cheap power", row)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small book with both pages: a warning of Sphinx would have been an error."""
    root = tmp_path_factory.mktemp("reference")
    folder = book_of_two(root).folder
    (folder / "back").mkdir()
    for name in ("api", "parameters"):
        text = (home() / "book" / "back" / f"{name}.md").read_text()
        (folder / "back" / f"{name}.md").write_text(re.sub(r"\{doc\}`\w+`", "A page", text))
    with (folder / "_toc.yml").open("a") as toc:
        toc.write("- file: back/api\n- file: back/parameters\n")
    store = Store(root / "_build")
    build(Book(root), store, {})
    return store.html


def public() -> dict[str, Any]:
    """What a reader can call, as Python has it, by its full name."""
    found = {"stackbook.kernels.threads": kernels.threads}
    for name in MODULES:
        module = import_module(f"stackbook.{name}")
        for key, value in vars(module).items():
            made_in = getattr(value, "__module__", None) or ""
            here = made_in.startswith(module.__name__) and name != "kernels.jit"
            if here and callable(value) and key[0] != "_":
                found[f"{module.__name__}.{key}"] = value
    return found


def test_every_function_and_record_stands_there_with_arguments_and_units(site: Path) -> None:
    page = (site / "back" / "api.html").read_text()
    parts = re.split(r'<dt class="sig sig-object py" id="([\w.]+)">', page)
    told = {
        name: " ".join(html.unescape(re.sub("<[^>]+>", "", part)).split())
        for name, part in zip(parts[1::2], parts[2::2], strict=True)
    }
    objects = public()
    assert objects.keys() <= told.keys()
    assert not told.keys() - {name for each in objects for name in told if name.startswith(each)}
    for name, value in objects.items():
        words = told[name]
        if inspect.isclass(value):
            assert all(field in words for field in getattr(value, "_fields", ())), name
            continue
        assert all(argument in words for argument in inspect.signature(value).parameters), name
        assert (": float" in words.split(")")[0]) <= (not isinstance(value, Formula)), name
        units = re.findall(r"\[[^]]+\]", inspect.getdoc(value) or "")
        assert all(words.count(unit) >= units.count(unit) for unit in units), name


def test_the_search_finds_a_function(site: Path) -> None:
    index = (site / "searchindex.js").read_text()
    objects = json.loads(index.removeprefix("Search.setIndex(").removesuffix(")"))["objects"]
    assert "annuity" in [name for *_, name in objects["stackbook.kernels.capital"]]


def test_words_of_a_docstring_are_no_markup() -> None:
    assert reference._text("a*b_c [1/yr] `x_y*` {z} <b> $p$ x^2") == (
        r"a\*b\_c \[1/yr\] `x_y*` \{z\} \<b\> \$p\$ x\^2"
    )
