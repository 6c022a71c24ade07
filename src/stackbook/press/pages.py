"""Pages: what Jupyter Book renders, from executed notebooks and the book's other files."""

import html
import json
import re
import shlex
from collections.abc import Iterator
from typing import Any

from stackbook import facts
from stackbook.press.chapters import Book, Chapter, Parameter, Value
from stackbook.press.store import Store, write

_GLUED = "application/papermill.record/text/plain"


def prepare(book: Book, store: Store) -> None:
    """Write the sources of the site into `pages/`, touching only files that differ."""
    wanted = {store.pages / "_config.yml": book.config.read_bytes()}
    for path in sorted(book.folder.rglob("*")):
        name = path.relative_to(book.folder)
        if path.is_dir() or name.parts[0] == "scenarios" or any(p[0] == "." for p in name.parts):
            continue
        if name.with_suffix("").as_posix() not in book.chapters:
            wanted[store.pages / name] = path.read_bytes()
    for chapter in book.chapters.values():
        shown = store.shown(chapter)
        if shown is None:
            continue
        wanted[store.pages / f"{chapter.name}.ipynb"] = page(chapter, shown.notebook).encode()
        for file in (f"{chapter.name}.ipynb", f"{chapter.name}.findings.json"):
            wanted[store.pages / "_notebooks" / file] = (store.notebooks / file).read_bytes()
    for path, content in wanted.items():
        write(path, content)
    for path in list(store.pages.rglob("*")):
        if path.is_file() and path not in wanted:
            path.unlink()


def page(chapter: Chapter, notebook: dict[str, Any]) -> str:
    """The executed `notebook` as readers see it: prose and charts, code folded, parameters last."""
    given = notebook["metadata"]["stackbook"]["parameters"]
    values = {name: given[name] for name in chapter.parameters}
    cells = [cell for cell in notebook["cells"] if not _is_parameters(cell)]
    for cell in cells:
        if cell["cell_type"] == "code" and "tags" not in cell["metadata"]:
            visible = [out for out in cell["outputs"] if _GLUED not in out.get("data", {})]
            cell["metadata"]["tags"] = ["hide-input" if visible else "remove-cell"]
    changed = chapter.changed(values)
    if changed:
        heading, _, rest = "".join(cells[0]["source"]).partition("\n")
        cells[0]["source"] = heading
        told = ", ".join(f"`{name} = {_plain(value)}`" for name, value in changed.items())
        box = f":::{{admonition}} Executed with other parameters than the book's\n{told}\n:::\n"
        cells.insert(1, _markdown("parameters-changed", box + rest))
    cells.append(_markdown("parameters-table", "\n".join(_parameter_section(chapter, values))))
    return json.dumps({**notebook, "cells": cells}, indent=1, ensure_ascii=False) + "\n"


def _is_parameters(cell: dict[str, Any]) -> bool:
    return not {"parameters", "injected-parameters"}.isdisjoint(cell["metadata"].get("tags", []))


def _parameter_section(chapter: Chapter, values: dict[str, Value]) -> Iterator[str]:
    """The parameters' table, the command that re-executes the page, the notebook to take away."""
    changed = chapter.changed(values)
    up = "../" * chapter.name.count("/")
    yield "## Run this page with your own numbers"
    yield ""
    if values:
        yield "```{list-table}"
        yield ":class: stackbook-params"
        yield ":header-rows: 1"
        yield ""
        default = ["Default"] if changed else []
        yield from _row(["Parameter", "Value", *default, "Unit", "Bounds", "Meaning"])
        for name, value in values.items():
            parameter = chapter.parameters[name]
            was = [_plain(parameter.default) if name in changed else ""] if changed else []
            shown = f"**{_plain(value)}**" if name in changed else _plain(value)
            unit = "" if parameter.unit == "-" else parameter.unit
            about = [unit, parameter.bounds, parameter.meaning + _evidence(parameter)]
            yield from _row([f"`{name}`", shown, *was, *about])
        yield "```"
        yield ""
    example = changed or {name: values[name] for name in list(values)[:1]}
    given = "".join(f" -p {name}={shlex.quote(_plain(value))}" for name, value in example.items())
    yield "```bash"
    yield f"stackbook build --only {chapter.name}{given}"
    yield "```"
    yield ""
    base = f"{up}_notebooks/{chapter.name}"
    yield (
        '<p class="stackbook-take">'
        f'<a href="{html.escape(base)}.ipynb" download>Executed notebook</a> · '
        f'<a href="{html.escape(base)}.findings.json" download>Findings (JSON)</a></p>'
    )


def _plain(value: Value) -> str:
    return f"{value:.12g}" if isinstance(value, float) else str(value)


def _row(cells: list[str]) -> Iterator[str]:
    for number, cell in enumerate(cells):
        yield f"{'* ' if number == 0 else '  '}- {cell}"


def _evidence(parameter: Parameter) -> str:
    """Range and source of the row of table `parameters` behind a default."""
    if parameter.symbol is None:
        return ""
    fact = facts.parameter(parameter.symbol)
    spread = "" if fact.low is None else f" {fact.low:g} to {fact.high:g},"
    cited = re.sub(r"([\[\]*_`$])", r"\\\1", facts.cite(fact.source))
    return f" (evidence:{spread} {cited}; confidence {fact.confidence})"


def _markdown(name: str, text: str) -> dict[str, Any]:
    return {"cell_type": "markdown", "id": name, "metadata": {}, "source": text}
