"""Every chapter holds at its defaults and at each bound, and states what a reader relies on."""

import ast
import functools
import re
from pathlib import Path
from types import CodeType
from typing import Any

import jupytext
import numpy as np
import polars as pl
import pytest

from stackbook import findings
from stackbook.kernels import scaling
from stackbook.press import execution
from stackbook.press.chapters import Book, Chapter, Value
from stackbook.press.store import Store

BOOK = Book()
STORE = Store(Path(__file__).parents[1] / "_build")
GLUED = re.compile(r"\{glue:text\}`(?:(?P<page>[^`:]+)::)?(?P<name>\w+)(?P<format>:[^`]+)?`")


def run(
    chapter: Chapter, values: dict[str, Value], monkeypatch: pytest.MonkeyPatch
) -> dict[str, Any]:
    """Run the chapter's cells in this process (a kernel each would take minutes)."""
    stated: dict[str, Any] = {}
    monkeypatch.setattr(
        findings, "_glue", lambda name, text, record=None: stated.update({name: record or text})
    )
    scope: dict[str, Any] = {"__name__": "__main__"}
    for code, is_parameters in compiled(chapter.name):
        exec(code, scope)
        if is_parameters:
            scope.update(values)
    return stated


@functools.cache
def compiled(name: str) -> list[tuple[CodeType, bool]]:
    """The chapter's cells of code, and whether each declares the parameters."""
    return [
        (compile(cell.source, name, "exec"), "parameters" in cell.metadata.get("tags", []))
        for cell in jupytext.reads(BOOK.chapters[name].source, fmt="md:myst").cells
        if cell.cell_type == "code"
    ]


def corners(chapter: Chapter) -> list[tuple[str, dict[str, Value]]]:
    """The defaults with one parameter at a bound, then all at their lower and upper bounds."""
    found = []
    ends: dict[str, dict[str, Value]] = {"low": {}, "high": {}}
    for name, one in chapter.parameters.items():
        kind = {"float": float, "int": int, "str": str, "bool": bool}[one.kind]
        bounds = one.choices or ((False, True) if kind is bool else (one.low, one.high))
        if bounds[0] is None:
            continue  # free text has none
        ends["low"][name], ends["high"][name] = kind(bounds[0]), kind(bounds[-1])
        found += [(f"{name}={bound}", {name: kind(bound)}) for bound in bounds]
    return found + [(f"all {end}", values) for end, values in ends.items()]


CASES = [
    pytest.param(
        chapter, values, id=f"{chapter.name} {words}", marks=pytest.mark.xdist_group(chapter.name)
    )
    for chapter in BOOK.chapters.values()
    for words, values in corners(chapter)
]


@pytest.mark.parametrize(("chapter", "values"), CASES)
def test_a_chapter_holds_at_its_bounds(
    chapter: Chapter, values: dict[str, Value], monkeypatch: pytest.MonkeyPatch
) -> None:
    stated = run(chapter, chapter.values(values), monkeypatch)
    glued = {match["name"] for match in GLUED.finditer(chapter.source) if not match["page"]}
    assert glued <= stated.keys(), "prose prints what this run did not state"


@pytest.mark.parametrize("chapter", BOOK.chapters.values(), ids=lambda chapter: chapter.name)
def test_a_chapter_runs_quietly_under_papermill(chapter: Chapter) -> None:
    """What `make book` made of the same sources is as good."""
    values = chapter.values({})
    done = STORE.load(chapter, values)
    done = done or execution.execute(chapter, values, chapter.files(values), {})
    assert isinstance(done, execution.Executed), done
    assert '"stderr"' not in done.notebook
    names = [record["name"] for record in done.findings]
    assert len(names) == len(set(names)), "a finding is stated once"
    assert any(name.startswith("module:stackbook") for name in done.used)


@pytest.mark.parametrize("chapter", BOOK.chapters.values(), ids=lambda chapter: chapter.name)
def test_a_chart_is_what_its_cell_ends_with(chapter: Chapter) -> None:
    """A notebook shows the last expression of a cell, and nothing of what stands before it."""
    for cell in jupytext.reads(chapter.source, fmt="md:myst").cells:
        if cell.cell_type == "code" and "charts.figure(" in cell.source:
            statements = [ast.unparse(each) for each in ast.parse(cell.source).body]
            drawing = [each for each in statements if "charts.figure(" in each]
            assert drawing == statements[-1:], drawing
            assert drawing[0].startswith("charts.figure("), drawing


@pytest.mark.parametrize("name", BOOK.files)
def test_numbers_glued_across_pages_exist_and_carry_a_format(name: str) -> None:
    source = (BOOK.folder / f"{name}.md").read_text()
    for match in GLUED.finditer(source):
        if not match["page"]:
            continue
        other = BOOK.folder / name
        target = (other.parent / match["page"]).resolve().relative_to(BOOK.folder.resolve())
        chapter = BOOK.chapter(target.with_suffix("").as_posix())
        assert re.search(
            rf'(finding|phrase)\(\s*"{re.sub("_(low|high)$", "", match["name"])}', chapter.source
        ), match[0]


FITTED = BOOK.chapter("layers/fit-your-own")


@pytest.mark.parametrize(("unit", "doubted"), [(1.0, False), (1e6, True)])
def test_a_readers_runs_are_told_from_the_books(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, unit: float, doubted: bool
) -> None:
    """What is said of the book's runs is not said of others; parameters in millions are noticed."""
    sizes, tokens = np.repeat([1e8, 4e8, 1e9, 3e9], 5), np.tile([2e9, 5e9, 1e10, 4e10, 9e10], 4)
    loss = scaling.hoffmann_loss(sizes, tokens, 480.0, 2100.0, 1.8, 0.35, 0.37)
    loss *= 1 + 0.003 * np.sin(np.arange(20))
    file = tmp_path / "mine.csv"
    pl.DataFrame({"params": sizes / unit, "tokens": tokens, "loss": loss}).write_csv(file)
    values = FITTED.values({"runs": str(file), "refits": 200})
    own, books = run(FITTED, values, monkeypatch), run(FITTED, FITTED.values({}), monkeypatch)
    assert own["data_words"] == "'20 runs of mine.csv'"
    assert ("millions" in own["median_words"]) is doubted
    assert "millions" not in books["median_words"]
    assert "Besiroglu" in books["data_caveat"] and "Besiroglu" not in own["data_caveat"]
    assert own["beyond_compute"]["value"] == pytest.approx(5.76e23 * unit / (6 * 3e9 * 9e10))


def test_every_parameter_is_used() -> None:
    for chapter in BOOK.chapters.values():
        read: set[str] = set()
        for cell in jupytext.reads(chapter.source, fmt="md:myst").cells:
            if cell.cell_type == "code":
                nodes = ast.walk(ast.parse(cell.source))
                names = [node for node in nodes if isinstance(node, ast.Name)]
                read |= {node.id for node in names if isinstance(node.ctx, ast.Load)}
        assert chapter.parameters.keys() <= read, chapter.name


def test_every_chapter_is_in_the_table_of_contents() -> None:
    pages = {
        path.relative_to(BOOK.folder).with_suffix("").as_posix()
        for path in BOOK.folder.rglob("*.md")
    }
    assert pages == set(BOOK.files)
    assert len(BOOK.files) == len(set(BOOK.files))
