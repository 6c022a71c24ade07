"""Export: chapters as plain notebooks, which need no press: for Colab, VS Code, JupyterLab."""

import ast
import json
import posixpath
import re
from collections.abc import Mapping
from functools import cached_property
from itertools import chain
from pathlib import Path
from typing import Any

import stackbook
from stackbook import StackbookError, study
from stackbook.findings import GLUED
from stackbook.press.build import Case, Told, run
from stackbook.press.chapters import Book, Chapter
from stackbook.press.execution import Executed
from stackbook.press.pages import called, glued
from stackbook.press.store import Store, write

_ROLE = re.compile(r"\{(?P<role>[\w:-]+)\}`(?P<text>[^`]+)`")
_GLUE = re.compile(r"(?:(?P<page>[^:]+)::)?(?P<name>\w+)(?::(?P<format>.+))?")
_LINK = re.compile(r"(?P<words>.*\S)\s*<(?P<target>[^>]+)>")
_EQUATION = re.compile(r"^\$\$ \((?P<name>[\w-]+)\)$", re.MULTILINE)
_UNSEEN = re.compile(r"^(?:\([\w-]+\)=|%.*)\n", re.MULTILINE)  # targets of links, and comments
_FENCE = re.compile(
    r"^(?P<fence>:{3,}|`{3,})(?:\{(?P<name>[\w-]+)\} *(?P<title>.*)|.*)\n"
    r"(?P<body>(?:.*\n)*?)(?P=fence)$",
    re.MULTILINE,
)
_OPTIONS = re.compile(r"(?:^:[\w-]+:.*\n)*", re.MULTILINE)
_INSTALL = """\
# Installs stackbook where it is missing, as on Colab.
from importlib.util import find_spec

if not find_spec("stackbook"):
    %pip install --quiet "stackbook=={version}\""""
_STATED = """\
# What this notebook has found.
import polars as pl

from stackbook import findings

pl.Config.set_tbl_rows(-1)
pl.DataFrame(findings.stated(), infer_schema_length=None)"""


def export(
    book: Book,
    store: Store,
    out: Path,
    only: str | None = None,
    told: Told = lambda chapter, state: None,
) -> list[Path]:
    """Write the chapters, or `only` that one, as notebooks under `out`; gives their paths.

    Numbers in prose are those at the book's own parameters: what is not known is executed.
    """
    chosen = list(book.chapters.values()) if only is None else [book.chapter(only)]
    names = chain.from_iterable((each.name, *glued(each.name, each.source)) for each in chosen)
    wanted = {name: book.chapter(name) for name in names}
    cases = {name: Case(chapter, chapter.values({})) for name, chapter in wanted.items()}
    with store.locked():
        texts = {name: _texts(one) for name, one in run(store, cases, told=told).items()}
    notebooks = {
        out / f"{each.name}.ipynb": _Plain(book, chosen, each, texts).notebook() for each in chosen
    }
    for path, notebook in notebooks.items():
        write(path, notebook)
    return list(notebooks)


class _Plain:
    """A chapter in Markdown that every notebook shows."""

    def __init__(
        self,
        book: Book,
        chosen: list[Chapter],
        chapter: Chapter,
        texts: Mapping[str, Mapping[str, Any]],
    ) -> None:
        self.book = book
        self.beside = {each.name for each in chosen}
        self.chapter = chapter
        self.texts = texts
        self.equations = _EQUATION.findall(chapter.source)

    def notebook(self) -> str:
        import jupytext
        import nbformat
        from nbformat.v4 import new_code_cell, new_markdown_cell

        notebook = jupytext.reads(self.chapter.source, fmt="md:myst")
        for cell in notebook.cells:
            if cell.cell_type == "markdown":
                cell.source = self.blocks(cell.source)
        install = _INSTALL.format(version=stackbook.__version__)
        # After the title, with which a chapter opens.
        notebook.cells[1:1] = [new_markdown_cell(self.note()), new_code_cell(install)]
        notebook.cells.append(new_code_cell(_STATED))
        for number, cell in enumerate(notebook.cells):
            cell.id = f"cell-{number}"
            cell.metadata = {"tags": cell.metadata["tags"]} if cell.metadata.get("tags") else {}
        notebook.metadata = {
            "kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"},
            "language_info": {"name": "python"},
        }
        return str(nbformat.writes(notebook)) + "\n"

    def note(self) -> str:
        """Whose numbers are where."""
        said = ["> **The text has the book's numbers; yours are in the output of the cells.**"]
        if self.chapter.parameters:
            said.append("Change the parameters in the next cell but one, then run all.")
        said.append("The last cell lists what was found.")
        if study():
            said.append("Keep this notebook in the folder of its study, whose tables it reads.")
        return " ".join(said)

    def blocks(self, source: str) -> str:
        """`source` with its directives as quotes; code stays as it is."""
        parts, end = [], 0
        for fence in _FENCE.finditer(source):
            parts += [self.inline(source[end : fence.start()]), self.block(fence)]
            end = fence.end()
        return "".join([*parts, self.inline(source[end:])])

    def block(self, fence: re.Match[str]) -> str:
        name, title = fence["name"], fence["title"]
        body = _OPTIONS.sub("", fence["body"], count=1)
        if name is None:
            return fence[0]
        if name == "math":
            return f"$$\n{body}$$"
        if name != "admonition":
            body, title = f"{title}\n{body}", name.capitalize()
        lines = f"**{self.inline(title)}**\n\n{self.blocks(body).strip()}".splitlines()
        return "\n".join(f"> {line}".rstrip() for line in lines)

    def inline(self, text: str) -> str:
        text = _UNSEEN.sub("", text)
        text = _EQUATION.sub(lambda one: rf"\tag{{{self.number(one['name'])}}}" + "\n$$", text)
        return _ROLE.sub(lambda one: self.role(one["role"], one["text"]), text)

    def role(self, role: str, text: str) -> str:
        match role:
            case "glue:text":
                return self.printed(text)
            case "cite:p" | "cite:t":
                return self.citation(text.split(","), role == "cite:t")
            case "eq":
                return f"({self.number(text)})"
            case "math":
                return f"${text}$"
        link = _LINK.fullmatch(text)
        if role != "doc":
            return link["words"] if link else text
        page = called(self.chapter.name, link["target"] if link else text)
        words = link["words"] if link else self.title(page)
        if page not in self.beside:
            return f"*{words}*"
        here = posixpath.dirname(self.chapter.name)
        return f"[{words}]({posixpath.relpath(page, here or '.')}.ipynb)"

    def number(self, equation: str) -> int:
        if equation not in self.equations:
            raise StackbookError(f"chapter {self.chapter.name}: no equation ({equation})")
        return self.equations.index(equation) + 1

    def printed(self, text: str) -> str:
        """A finding or phrase, in the format that the prose asks for."""
        glue = _GLUE.fullmatch(text)
        here = self.chapter.name
        where = called(here, glue["page"]) if glue and glue["page"] else here
        if not glue or glue["name"] not in self.texts[where]:
            raise StackbookError(f"chapter {self.chapter.name}: {text!r} is stated nowhere")
        value = self.texts[where][glue["name"]]
        return format(value, glue["format"]) if glue["format"] else str(value)

    def title(self, page: str) -> str:
        if page in self.book.chapters:
            return self.book.chapters[page].title
        found = re.search(
            r"^# (.+)$", (self.book.folder / f"{page}.md").read_text("utf-8"), re.MULTILINE
        )
        return found[1] if found else page

    @cached_property
    def references(self) -> Mapping[str, Any]:
        from pybtex.database import parse_file
        from pybtex.exceptions import PybtexError

        try:
            entries: Mapping[str, Any] = parse_file(self.book.folder / "references.bib").entries
        except PybtexError as error:
            reason = " ".join(str(error).split())
            raise StackbookError(f"{self.book.folder}/references.bib: {reason}") from None
        return entries

    def citation(self, keys: list[str], textual: bool) -> str:
        """Authors and years: (Stapper 1989; Seeds 1967), or in a sentence Stapper (1989)."""
        from pybtex.richtext import Text

        found = []
        for key in map(str.strip, keys):
            entry = self.references.get(key)
            if entry is None:
                raise StackbookError(f"chapter {self.chapter.name}: {key} is not in references.bib")
            people = entry.persons.get("author") or entry.persons.get("editor") or []
            names = [
                str(Text.from_latex(" ".join([*one.prelast_names, *one.last_names])))
                for one in people
            ] or [key]
            many = f"{names[0]} et al." if names[2:] else " and ".join(names)
            found.append((many, entry.fields.get("year", "")))
        if textual:
            return ", ".join(f"{names} ({year})" for names, year in found)
        return f"({'; '.join(f'{names} {year}' for names, year in found)})"


def _texts(result: Executed) -> dict[str, Any]:
    """Findings and phrases of an executed chapter by name, with the ends of ranges."""
    outputs = (
        output
        for cell in json.loads(result.notebook)["cells"]
        for output in cell.get("outputs", [])
        if GLUED in output.get("data", {})
    )
    return {
        each["metadata"]["scrapbook"]["name"]: ast.literal_eval("".join(each["data"][GLUED]))
        for each in outputs
    }
