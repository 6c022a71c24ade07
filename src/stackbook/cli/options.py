"""Options and arguments that several commands take, and what they amount to."""

import sys
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from stackbook.press.chapters import Book, Chapter, Value

Given = Annotated[
    list[str] | None,
    typer.Option("-p", metavar="NAME=VALUE", help="Set a parameter; may be repeated."),
]
Scenario = Annotated[
    str | None,
    typer.Option(
        metavar="FILE", help="YAML file of parameters, or a scenario of the book by name."
    ),
]
Scheduler = Annotated[
    str | None,
    typer.Option(metavar="ADDRESS", help="Dask scheduler, e.g. tcp://host:8786 (default: local)."),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Name = Annotated[str, typer.Argument(metavar="CHAPTER", help="As in the book, e.g. layers/chips.")]
NameOrAll = Annotated[
    str | None, typer.Argument(metavar="[CHAPTER]", help="One alone, e.g. layers/chips.")
]


def chosen(chapter: str | None) -> "list[Chapter]":
    from stackbook.press.chapters import Book

    book = Book()
    return list(book.chapters.values()) if chapter is None else [book.chapter(chapter)]


def given_values(
    book: "Book", chapter: str | None, assignments: list[str] | None, scenario: str | None
) -> "dict[str, Value]":
    """Parameters for `chapter`, or for all: a scenario's, as far as they apply, then `-p`."""
    from stackbook.press import scenarios
    from stackbook.press.chapters import assigned

    values = {} if scenario is None else scenarios.scenario(book, scenario).parameters
    if chapter is not None:
        known = book.chapter(chapter).parameters
        others = values.keys() - known.keys()
        if others:
            print(f"left out, not in {chapter}: {', '.join(sorted(others))}", file=sys.stderr)
        values = {name: value for name, value in values.items() if name in known}
    return values | dict(assigned(text) for text in assignments or [])
