"""Commands on a reader's own book: `new`, `update`, and `export` of chapters as notebooks."""

from pathlib import Path
from typing import Annotated

import typer

from stackbook.cli.options import NameOrAll
from stackbook.cli.printing import Progress

app = typer.Typer()


@app.command()
def new(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Its folder, e.g. my-study.")],
    title: Annotated[str, typer.Option(help="Title of the book; as its folder if left out.")] = "",
    template: Annotated[
        str,
        typer.Option(metavar="PATH_OR_GIT_URL", help="A copier template other than stackbook's."),
    ] = "",
) -> None:
    """Make a study: an own book on top of this one.

    It has a chapter, rows laid over our tables, a scenario, tests and a workflow, and is built with
    `make book` and tested with `make test`. The page back/forking tells all of it.
    """
    from stackbook.press import studies

    folder = studies.new(name, title, template)
    print(f"{folder}: `cd {folder}`, then `make book` and `make test`")


@app.command()
def update() -> None:
    """Bring what is new in the template to a study.

    Needs git and nothing uncommitted. Your edits stay; where both changed a line, both are shown.
    """
    from stackbook.press import studies

    done = studies.update()
    if done.before == done.after:
        print(f"nothing newer than {done.before}")
    else:
        print(f"template {done.before} → {done.after}: `git diff` shows what it changed")
    for name in done.conflicts:
        print(f"conflict in {name}: keep one side of <<<<<<< and >>>>>>>")


@app.command()
def export(
    chapter: NameOrAll = None,
    out: Annotated[Path, typer.Option(metavar="DIR", help="Folder to write to.")] = Path(
        "_build/export"
    ),
) -> None:
    """Write chapters as plain notebooks.

    For Colab, VS Code or JupyterLab. Prose has the numbers at the book's own parameters: chapters
    whose results are not known are executed for them.
    """
    from stackbook.press import export as press
    from stackbook.press.build import default_store
    from stackbook.press.chapters import Book

    with Progress() as told:
        written = press.export(Book(), default_store(), out, chapter, told=told)
    for path in written:
        print(path)
