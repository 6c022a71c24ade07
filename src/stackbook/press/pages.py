"""Pages: what Jupyter Book renders, from executed notebooks and the book's other files."""

import html
import json
import posixpath
import re
import shlex
from collections.abc import Iterator, Mapping
from itertools import chain
from pathlib import Path
from typing import Any

import yaml

from stackbook import facts, home
from stackbook.findings import GLUED
from stackbook.press import changes, made, releases
from stackbook.press.chapters import (
    PATH,
    Book,
    Chapter,
    Parameter,
    Value,
    plain,
    said_in,
    text_of,
)
from stackbook.press.made import Built
from stackbook.press.markdown import code, escaped, longer_than_in, table, visible
from stackbook.press.scenarios import BASE, Scenario
from stackbook.press.store import SCENARIOS, Shown, Store, write

STORIES = "scenarios.json"  # among the pages: what the switcher in the header offers
_NOT_PAGES = ("scenarios", "releases")  # folders of the book
_GLUE = re.compile(r"\{glue:\w*\}`([^`:]+)::")
_HEADING = re.compile(r"^# .+\n?", re.MULTILINE)

Changed = Mapping[str, dict[str, Value]]
"""By chapter, the parameters that differ from the book's."""


def prepare(
    built: Built,
    store: Store,
    stories: Mapping[str, Scenario] | None = None,
    story: str = BASE,
) -> None:
    """Write the sources of the site into `pages/`, touching only files that differ.

    With `stories`, the scenarios that the book is built under, each page leads to itself under
    the others; `store` is that of `story`.
    """
    book = built.book
    wanted = {store.pages / "_config.yml": _config(book)}
    for path in (home() / "book" / "_static").iterdir():
        wanted[store.pages / "_static" / path.name] = path.read_bytes()
    if stories:
        wanted[store.pages / STORIES] = _switcher(stories, story)
    if releases.stored(book):
        settings = yaml.safe_load(wanted[store.pages / "_config.yml"])
        wanted[store.pages / changes.FEED] = changes.feed(book, settings)
    shown = [
        (chapter, one._replace(values=_public(chapter, one.values)))
        for chapter in book.chapters.values()
        if (one := store.shown(chapter))
    ]
    changed = {chapter.name: chapter.changed(one.values) for chapter, one in shown}
    for path in sorted(book.folder.rglob("*")):
        name = path.relative_to(book.folder)
        if path.is_dir() or name.parts[0] in _NOT_PAGES or any(p[0] == "." for p in name.parts):
            continue
        if name.with_suffix("").as_posix() not in book.chapters:
            content = path.read_bytes()
            if path.suffix == ".md":
                text = made.filled(text_of(path), built)
                content = _boxed(text, _behind(name.as_posix(), text, changed)).encode()
            wanted[store.pages / name] = content
    for chapter, one in shown:
        text = page(chapter, one, changed)
        wanted[store.pages / f"{chapter.name}.ipynb"] = text.encode()
        for file in (f"{chapter.name}.ipynb", f"{chapter.name}.findings.json"):
            wanted[store.pages / "_notebooks" / file] = (store.notebooks / file).read_bytes()
    for path, content in wanted.items():
        write(path, content)
    for path in list(store.pages.rglob("*")):
        if path.is_file() and path not in wanted:
            path.unlink()


def _config(book: Book) -> bytes:
    """Our settings for Jupyter Book, with the book's own laid over them."""
    own = book.config.read_bytes()
    ours = (home() / "_config.yml").read_bytes()
    if own == ours:
        return ours
    both = _laid_over(yaml.safe_load(ours), said_in(book.config))
    return yaml.safe_dump(both, allow_unicode=True, sort_keys=False).encode()


def _laid_over(ours: dict[str, Any], own: dict[str, Any]) -> dict[str, Any]:
    deeper = {
        name: _laid_over(ours[name], each)
        for name, each in own.items()
        if isinstance(each, dict) and isinstance(ours.get(name), dict)
    }
    return ours | own | deeper


def _switcher(stories: Mapping[str, Scenario], here: str) -> bytes:
    """What `site` draws the switcher of scenarios from."""
    told = {
        name: {
            "title": each.title,
            "story": each.story,
            "folder": "" if name == BASE else f"{SCENARIOS}/{name}",
        }
        for name, each in stories.items()
    }
    return json.dumps({"here": told[here], "all": list(told.values())}, indent=1).encode()


def page(chapter: Chapter, shown: Shown, changed: Changed) -> str:
    """A chapter as readers see it: prose and charts, code folded, parameters last."""
    cells = [cell for cell in shown.notebook["cells"] if not _is_parameters(cell)]
    for cell in cells:
        if cell["cell_type"] == "code" and "tags" not in cell["metadata"]:
            visible = [out for out in cell["outputs"] if GLUED not in out.get("data", {})]
            cell["metadata"]["tags"] = ["hide-input" if visible else "remove-cell"]
    told = [_assigned(changed[chapter.name])]
    if not shown.values:
        prose = [cell for cell in cells if cell["cell_type"] == "markdown"]
        told = _behind(chapter.name, "".join(chain(*(cell["source"] for cell in prose))), changed)
    cells[0]["source"] = _boxed("".join(cells[0]["source"]), told)
    last = "\n".join(_last_section(chapter, shown.values, changed[chapter.name]))
    cells.append({"cell_type": "markdown", "id": "last-section", "metadata": {}, "source": last})
    return json.dumps({**shown.notebook, "cells": cells}, indent=1, ensure_ascii=False) + "\n"


def _public(chapter: Chapter, values: Mapping[str, Value]) -> dict[str, Value]:
    """`values` without the folders of the reader's machine."""
    paths = {n: Path(str(v)) for n, v in values.items() if chapter.parameters[n].unit == PATH}
    return {**values} | {n: path.name for n, path in paths.items() if path.is_absolute()}


def _behind(page: str, text: str, changed: Changed) -> list[str]:
    """A line for each chapter with changed parameters whose findings `text` of `page` glues."""
    known = glued(page, text)
    return [
        f"- {{doc}}`{name} </{name}>`: {_assigned(values)}"
        for name, values in changed.items()
        if values and name in known
    ]


def glued(page: str, text: str) -> set[str]:
    """Other pages whose findings the prose `text` of `page` prints."""
    return {called(page, path) for path in _GLUE.findall(text)}


def called(page: str, path: str) -> str:
    """Name of the page that `page` calls `path`."""
    path = posixpath.join("/", posixpath.dirname(page), path)
    return posixpath.normpath(path).removeprefix("/").removesuffix(".ipynb").removesuffix(".md")


def _boxed(text: str, told: list[str]) -> str:
    """`text` with what is `told` in a box under its heading, if anything is."""
    lines = [line for line in told if line]
    if not lines:
        return text
    box = [":::{admonition} Executed with other parameters than the book's", *lines, ":::", ""]
    return _HEADING.sub(lambda heading: "\n".join([heading[0], *box]), text, count=1)


def _assigned(values: dict[str, Value]) -> str:
    return ", ".join(code(f"{name} = {plain(value)}") for name, value in values.items())


def shown_as(parameter: Parameter, value: Value) -> str:
    """As readers type it; free text as code, for it may look like Markdown."""
    free = parameter.kind == "str" and not parameter.choices and value
    return code(str(value)) if free else plain(value)


def _quoted(value: Value) -> str:
    """As a shell takes it."""
    text = plain(value)
    if text.isprintable():
        return shlex.quote(text)
    escaped = text.replace("\\", r"\\").replace("'", r"\'")
    return f"$'{visible(escaped)}'"


def _is_parameters(cell: dict[str, Any]) -> bool:
    return not {"parameters", "injected-parameters"}.isdisjoint(cell["metadata"].get("tags", []))


def _last_section(
    chapter: Chapter, values: dict[str, Value], changed: dict[str, Value]
) -> Iterator[str]:
    """The parameters' table, the command that re-executes the page, the notebook to take away."""
    up = "../" * chapter.name.count("/")
    yield "## Run this page with your own numbers" if values else "## Take this page away"
    yield ""
    if values:
        default = ["Default"] if changed else []
        yield from table(
            ["Parameter", "Value", *default, "Unit", "Bounds", "Meaning"],
            (_cells(chapter.parameters[name], value, changed) for name, value in values.items()),
        )
        yield ""
        yield _for_panel(chapter, values)
        yield ""
        example = changed or {name: values[name] for name in list(values)[:1]}
        given = [f"-p {name}={_quoted(each)}" for name, each in example.items()]
        command = f"stackbook build --only {chapter.name} {' '.join(given)}"
        fence = longer_than_in(command, 3)
        yield f"{fence}bash\n{command}\n{fence}"
        yield ""
    base = f"{up}_notebooks/{chapter.name}"
    yield (
        '<p class="stackbook-take">'
        f'<a href="{html.escape(base)}.ipynb" download>Executed notebook</a> · '
        f'<a href="{html.escape(base)}.findings.json" download>Findings (JSON)</a></p>'
    )


def _cells(parameter: Parameter, value: Value, changed: dict[str, Value]) -> list[str]:
    moved = parameter.name in changed
    was = [shown_as(parameter, parameter.default) if moved else ""] if changed else []
    shown = shown_as(parameter, value)
    shown = f"**{shown}**" if shown and moved else shown
    about = parameter.meaning + evidence(parameter)
    return [f"`{parameter.name}`", shown, *was, parameter.shown_unit, parameter.bounds, about]


def _for_panel(chapter: Chapter, values: dict[str, Value]) -> str:
    """What `panel.js` makes the table into fields with."""
    about = ("name", "kind", "default", "unit", "low", "high", "choices")
    declared = [
        {field: getattr(chapter.parameters[name], field) for field in about} | {"value": value}
        for name, value in values.items()
    ]
    text = json.dumps({"chapter": chapter.name, "parameters": declared}).replace("<", "\\u003c")
    return f'<script type="application/json" class="stackbook-parameters">{text}</script>'


def evidence(parameter: Parameter) -> str:
    """Range and source of the row of table `parameters` behind a default."""
    if parameter.symbol is None:
        return ""
    fact = facts.parameter(parameter.symbol)
    ends = [plain(end) for end in (fact.low, fact.high) if end is not None]
    spread = f" {' to '.join(ends)}," if ends else ""
    cited = escaped(facts.cite(fact.source))
    return f" (evidence:{spread} {cited}; confidence {fact.confidence})"
