"""The command `compare`: what scenarios move."""

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from stackbook import StackbookError
from stackbook.cli.options import Json, Scheduler
from stackbook.cli.printing import Progress, table

SHOWN = 20  # most moved findings of a scenario

app = typer.Typer()


@app.command()
def compare(
    scenarios: Annotated[
        list[str],
        typer.Argument(
            metavar="REFERENCE SCENARIO...",
            help="Scenarios of the book by name, or YAML files of parameters.",
        ),
    ],
    chapter: Annotated[
        str | None, typer.Option(metavar="CHAPTER", help="This chapter alone.")
    ] = None,
    html: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write a web page in one file.")
    ] = None,
    scheduler: Scheduler = None,
    json_: Json = False,
) -> None:
    """Every finding under scenarios beside the reference, the most moved first.

    Executes what is not known yet, e.g. `stackbook compare base glut cheap-power`.
    """
    from stackbook.press import build as press
    from stackbook.press import compare as comparison
    from stackbook.press import scenarios as press_scenarios
    from stackbook.press.chapters import Book
    from stackbook.press.store import write

    book, store = Book(), press.default_store()
    stories = {}
    for given in scenarios:
        one = press_scenarios.scenario(book, given)
        if one.name in stories:
            raise StackbookError(f"scenario {one.name!r} is given twice; name each once")
        stories[one.name] = one
    first, *others = stories
    if not others:
        raise StackbookError(f"there is nothing to compare {first!r} with; give a second scenario")
    chapters = [book.chapter(chapter)] if chapter else list(book.chapters.values())
    cases = {
        f"{name}/{each.name}": press.Case(each, each.values(one.parameters))
        for name, one in stories.items()
        for each in chapters
    }
    with store.locked(), Progress() as told:

        def news(name: str, state: str) -> None:
            if state not in ("cached", "the same"):
                told(name, state)

        done = press.run(store, cases, scheduler=scheduler, told=news)
    results = {
        name: {
            each.name: comparison.Outcome(
                cases[f"{name}/{each.name}"].values, done[f"{name}/{each.name}"].findings
            )
            for each in chapters
        }
        for name in stories
    }
    moves = {name: comparison.moves(results[first], results[name]) for name in others}
    if html:
        write(html, comparison.page(stories, results))
        print(f"page: {html}", file=sys.stderr)
    if json_:
        told_of: dict[str, Any] = {
            name: {
                "title": stories[name].title,
                "parameters": stories[name].parameters,
                "findings": [move.told() for move in moves[name]],
                "only_in_one": comparison.unpaired(results[first], results[name]),
            }
            for name in others
        }
        print(json.dumps({"reference": first, "scenarios": told_of}, indent=1))
    elif not html:
        _print(comparison, stories, moves)


def _print(comparison: Any, stories: Any, moves: Any) -> None:
    rows: dict[str, list[list[str] | str]] = {}
    for name, of in moves.items():
        free = [move for move in of if move.moved and not move.repeats]
        rows[f"{stories[name].title}: {comparison.counted(of)}"] = [
            [
                *(move.chapter, move.finding, comparison.changed(move)),
                *(comparison.ranged(move.was), comparison.ranged(move.now), move.unit),
                {True: "ranges overlap", False: "ranges apart", None: ""}[move.overlap],
            ]
            for move in free[:SHOWN]
        ] + ([f"and {len(free) - SHOWN:,} more: --json"] if len(free) > SHOWN else [])
    reference = next(iter(stories.values())).title
    table(["chapter", "finding", "change", reference, "here", "unit", ""], rows)
    print(
        "\nThe most moved first: by the change over the width of the reference's range, or over "
        "the larger value where there is none. Findings that repeat a parameter are left out."
    )
