"""Chapters as plain notebooks: valid, without MyST, and with the book's findings when run."""

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import nbformat
import papermill
import pytest

from stackbook import StackbookError
from stackbook.findings import RECORD
from stackbook.press import export as press
from stackbook.press.chapters import Book
from stackbook.press.execution import Executed, execute
from stackbook.press.export import export
from stackbook.press.store import Store

CHAPTER = """\
---
kernelspec: {name: python3, display_name: Python 3, language: python}
---

# Plain

```{code-cell} python
:tags: [parameters]
rate: float = 0.25  # [1/yr, 0.0 to 0.5] discount rate
```

```{code-cell} python
from stackbook.findings import finding, phrase
finding("half", rate / 2, "1/yr", low=0.1, high=0.2)
phrase("words", "as *told*")
```

(here)=
::::{admonition} What this answers
:class: tip
- Half is {glue:text}`half:.2f` ({glue:text}`half_low:.1f` to {glue:text}`half_high:.1f`).
  We say {glue:text}`words`.

:::{note}
Of years {glue:text}`two.ipynb::years:.0f`.
:::
::::

% not for readers
See {doc}`two`, {doc}`the page <back/why>` and {eq}`eq-b`, by {cite:t}`devries2005`;
others agree {cite:p}`besiroglu2024,stapper1989`.

$$
a = b
$$ (eq-a)

$$
b = c
$$ (eq-b)

```yaml
:not: {doc}`an option`
```
"""
TOLD = """\
> **What this answers**
>
> - Half is 0.12 (0.1 to 0.2).
>   We say as *told*.
>
> > **Note**
> >
> > Of years 7.

See [Two](two.ipynb), *the page* and (2), by de Vries (2005);
others agree (Besiroglu et al. 2024; Stapper 1989).

$$
a = b
\\tag{1}
$$

$$
b = c
\\tag{2}
$$

```yaml
:not: {doc}`an option`
```"""
STATED = {"half": 0.125, "half_low": 0.1, "half_high": 0.2, "words": "told", "years": 7.0}
GLUED = re.compile(r"\{glue:text\}`(?:[^`:]+::)?(\w+)")
TWO = """\
---
kernelspec: {name: python3, display_name: Python 3, language: python}
---

# Two

```{code-cell} python
from stackbook.findings import finding
finding("years", 7, "yr", why="set here")
```
"""


@pytest.fixture
def plain(book: Book) -> Book:
    """A book of one chapter with all that MyST adds to Markdown, and of one that it cites."""
    (book.folder / "_toc.yml").write_text(
        "format: jb-book\nroot: index\nchapters:\n- file: one\n- file: two\n"
    )
    (book.folder / "one.md").write_text(CHAPTER)
    (book.folder / "two.md").write_text(TWO)
    (book.folder / "back").mkdir()
    (book.folder / "back" / "why.md").write_text("# Why\n")
    return Book(book.folder.parent)


@pytest.fixture
def unexecuted(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What chapters are taken to have stated, for tests of the prose alone."""
    stated: dict[str, Any] = {}
    monkeypatch.setattr(press, "run", lambda store, cases, told: cases)
    monkeypatch.setattr(press, "_texts", lambda result: stated)
    return stated


def test_myst_becomes_markdown_with_the_books_numbers(plain: Book, tmp_path: Path) -> None:
    one, two = export(plain, Store(tmp_path / "_build"), tmp_path / "out")
    assert (one, two) == (tmp_path / "out/one.ipynb", tmp_path / "out/two.ipynb")
    for path in (one, two):
        notebook = nbformat.read(path, as_version=4)
        nbformat.validate(notebook)
        code = [cell for cell in notebook.cells if cell.cell_type == "code"]
        assert not any(cell.outputs or cell.execution_count for cell in code)
    cells = nbformat.read(one, as_version=4).cells
    assert cells[0].source == "# Plain"
    assert "%pip install" in cells[2].source and "find_spec" in cells[2].source
    assert cells[3].metadata.tags == ["parameters"], "the first thing that a reader changes"
    assert cells[5].source == TOLD


def test_one_alone_links_to_no_other(
    plain: Book, tmp_path: Path, unexecuted: dict[str, Any]
) -> None:
    unexecuted |= STATED
    (one,) = export(plain, Store(tmp_path / "_build"), tmp_path, "one")
    assert "See *Two*, *the page*" in one.read_text()


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("`half:.2f`", "`halb:.2f`", "'halb:.2f' is stated nowhere"),
        ("`devries2005`", "`devries`", "devries is not in references.bib"),
        ("`eq-b`", "`eq-c`", r"no equation \(eq-c\)"),
    ],
)
def test_a_name_that_prose_misspells_is_one_line(
    plain: Book, tmp_path: Path, unexecuted: dict[str, Any], old: str, new: str, message: str
) -> None:
    unexecuted |= STATED
    (plain.folder / "one.md").write_text(CHAPTER.replace(old, new))
    with pytest.raises(StackbookError, match=f"^chapter one: {message}$"):
        export(Book(plain.folder.parent), Store(tmp_path / "_build"), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_every_chapter_of_the_book_is_plain(tmp_path: Path, unexecuted: dict[str, Any]) -> None:
    book = Book()
    for chapter in book.chapters.values():
        unexecuted |= dict.fromkeys(GLUED.findall(chapter.source), 1.0)
    for path in export(book, Store(tmp_path / "_build"), tmp_path):
        cells = nbformat.read(path, as_version=4).cells
        prose = "\n".join(cell.source for cell in cells if cell.cell_type == "markdown")
        assert not re.search(r"\{[\w:-]+\}`|`\{|^:{3,}|^\(.*\)=$|\$\$ \(", prose, re.MULTILINE)


def test_an_exported_chapter_finds_what_the_book_does(tmp_path: Path) -> None:
    """Under plain papermill in another folder, with the table of findings last."""
    chapter = Book().chapter("layers/chips")
    values = chapter.values({})
    done = execute(chapter, values, {}, {})
    assert isinstance(done, Executed)
    store = Store(tmp_path / "_build")
    store.save(chapter, values, done)
    (path,) = export(Book(), store, tmp_path / "out", "layers/chips")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    papermill.execute_notebook(
        path, elsewhere / "run.ipynb", cwd=elsewhere, kernel_name="python3", progress_bar=False
    )
    cells = nbformat.read(elsewhere / "run.ipynb", as_version=4).cells
    outputs = [out for cell in cells for out in cell.get("outputs", [])]
    found = [out.data[RECORD] for out in outputs if RECORD in out.get("data", {})]
    assert found == done.findings
    (table,) = cells[-1].outputs
    assert all(each["name"] in table.data["text/html"] for each in found)
    charts = [
        out.data for out in outputs if "application/vnd.vegalite.v6+json" in out.get("data", {})
    ]
    assert charts and all("image/svg+xml" in data for data in charts), "for who draws no Vega-Lite"


def test_the_command_names_what_it_wrote(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "stackbook.cli", "export"]
    done = subprocess.run([*command, "nowhere"], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 1 and done.stderr.startswith("error: no chapter 'nowhere'")
    assert list(tmp_path.iterdir()) == []
