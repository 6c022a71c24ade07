"""Commands on releases: `release`, `changes`."""

import json
import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from stackbook import StackbookError
from stackbook.cli.options import Json
from stackbook.cli.printing import table

if TYPE_CHECKING:
    from stackbook.press.releases import Comparison

app = typer.Typer()

_VERSION = "A release, e.g. 0.4.0"


@app.command()
def release(
    version: Annotated[str, typer.Argument(metavar="VERSION", help="Three numbers, e.g. 0.4.0.")],
    date: Annotated[
        str | None, typer.Option(metavar="YYYY-MM-DD", help="Its day (default: today).")
    ] = None,
) -> None:
    """Store the findings of the book as built at its own values as a release.

    They go into book/releases/, from which the page of changes and its feed are made.
    """
    import datetime

    from stackbook.press import releases
    from stackbook.press.build import default_store
    from stackbook.press.chapters import Book

    day = date or datetime.datetime.now(datetime.UTC).date().isoformat()
    path = releases.release(Book(), default_store(), version, day)
    print(f"release {version}: {path}")


@app.command()
def changes(
    start: Annotated[
        str | None, typer.Argument(metavar="[FROM]", help=f"{_VERSION} (default: the last).")
    ] = None,
    end: Annotated[
        str | None, typer.Argument(metavar="[TO]", help=f"{_VERSION} (default: as built).")
    ] = None,
    json_: Json = False,
) -> None:
    """List the numbers that moved between two releases, by how much, and why.

    Numbers that left the range stated before come first, then those without a range, then those
    inside it. Under each chapter stands what differs of all that it used.
    """
    from stackbook.press import changes as words
    from stackbook.press import releases
    from stackbook.press.build import default_store
    from stackbook.press.chapters import Book

    book, store = Book(), default_store()
    stored = releases.stored(book)
    if not stored:
        raise StackbookError("there is no release yet; `stackbook release` stores the first")
    before = releases.chosen(book, start or list(stored)[-1])
    if end is None:
        found, missing = releases.since(before, book, store)
        if missing.keys() >= book.chapters.keys():
            raise StackbookError(
                "nothing is built at the book's own values from the sources that are there now; "
                "run `stackbook build` first, or give two releases"
            )
        for name, why in missing.items():
            print(f"left out: {name} {why}", file=sys.stderr)
    else:
        found = releases.compared(before, releases.chosen(book, end))
    if json_:
        print(json.dumps(_as_json(found), indent=1))
        return
    groups: dict[str, list[list[str] | str]] = {}
    for name, moves in found.listed.items():
        rows = [words.row(each) for each in moves]
        groups[name] = [[*one[:-2], f"{one.spread} {one.fate}".strip()] for one in rows]
        if name in found.causes:
            groups[name] += [f"why: {words.causes(found.causes[name])}"]
    if groups:
        table(["finding", "unit", "before", "after", "change", "in %", "range before"], groups)
        print()
    print(words.counts(found))


def _as_json(found: "Comparison") -> dict[str, Any]:
    moves = [
        {
            "chapter": each.chapter,
            "name": each.name,
            "state": each.state,
            "before": each.before and each.before._asdict(),
            "after": each.after and each.after._asdict(),
            "change": each.change,
            "relative": each.relative,
            "inside": each.inside,
        }
        for each in found.moves
    ]
    return {
        "from": found.before.version,
        "to": found.after.version or None,
        "common": found.common,
        "moves": moves,
        "causes": found.causes,
    }
