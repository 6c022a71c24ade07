"""Commands on the book: `build`, `run`, `params`, `findings`, `serve`."""

import json
from typing import Annotated, Any

import typer

from stackbook import StackbookError
from stackbook.cli.options import (
    Given,
    Json,
    Name,
    NameOrAll,
    Scenario,
    Scheduler,
    chosen,
    given_values,
)
from stackbook.cli.printing import Progress, print_findings, table

_WIDE = 60  # letters of bounds beside which a meaning still has room

app = typer.Typer()


@app.command()
def build(
    p: Given = None,
    scenario: Scenario = None,
    only: Annotated[
        str | None,
        typer.Option(metavar="CHAPTER", help="Execute this chapter alone; the others stay."),
    ] = None,
    all_: Annotated[
        bool,
        typer.Option(
            "--all", help="The book under each of its scenarios, in one site with a switcher."
        ),
    ] = False,
    scheduler: Scheduler = None,
    force: Annotated[bool, typer.Option(help="Execute even what is known.")] = False,
) -> None:
    """Execute the chapters and write the site to _build/html."""
    from stackbook.press import build as press
    from stackbook.press.chapters import Book

    book, store = Book(), press.default_store()
    if all_ and (only or p or scenario):
        raise StackbookError(
            "--all builds every scenario as it is; leave out --only, -p, --scenario"
        )
    given = given_values(book, only, p, scenario)
    with Progress() as told:
        if all_:
            press.build_all(book, store, scheduler=scheduler, force=force, told=told)
        else:
            press.build(book, store, given, only=only, scheduler=scheduler, force=force, told=told)
    print(f"site: {store.html / 'index.html'}")


@app.command()
def run(
    chapter: Name,
    p: Given = None,
    scenario: Scenario = None,
    scheduler: Scheduler = None,
    json_: Json = False,
) -> None:
    """Execute one chapter and print its findings; the site stays as it is.

    layers/fit-your-own takes a CSV of your training runs (columns params, tokens, loss, or name
    yours: `stackbook params layers/fit-your-own`), layers/plan-your-run a model, accelerators, a
    price and a deadline.
    """
    from stackbook.press import build as press
    from stackbook.press.chapters import Book

    book, store = Book(), press.default_store()
    given = given_values(book, chapter, p, scenario)
    book.check(given, [book.chapter(chapter)])
    case = press.Case(book.chapter(chapter), book.chapter(chapter).values(given))
    with store.locked(), Progress() as told:
        result = press.run(store, {chapter: case}, scheduler=scheduler, told=told)[chapter]
    if json_:
        print(
            json.dumps(
                {"chapter": chapter, "parameters": case.values, "findings": result.findings},
                indent=1,
            )
        )
    else:
        print_findings({chapter: result.findings})


@app.command()
def params(chapter: NameOrAll = None, json_: Json = False) -> None:
    """List what the chapters can be re-executed with."""
    from stackbook.press.chapters import plain

    chapters = chosen(chapter)
    if json_:
        declared = [(each.name, one) for each in chapters for one in each.parameters.values()]
        print(json.dumps([{"chapter": name, **one._asdict()} for name, one in declared], indent=1))
        return
    rows = {
        each.name: [
            [one.name, plain(one.default), one.unit, *_bounds_and_meaning(one)]
            for one in each.parameters.values()
        ]
        for each in chapters
    }
    table(["parameter", "default", "unit", "bounds", "meaning"], rows)


@app.command()
def findings(chapter: NameOrAll = None, json_: Json = False) -> None:
    """List the findings of the chapters as last built."""
    from stackbook.press.build import default_store

    store = default_store()
    shown = {each.name: store.shown(each) for each in chosen(chapter)}
    built = {name: content.findings for name, content in shown.items() if content}
    if not built:
        what = f"nothing of {chapter}" if chapter else "nothing"
        raise StackbookError(
            f"{what} was built in {store.folder.absolute()}; run `stackbook build` first"
        )
    if json_:
        print(json.dumps(built, indent=1))
    else:
        print_findings(built)


def _bounds_and_meaning(one: Any) -> tuple[str, str]:
    """Of a parameter: many choices stand where lines wrap."""
    few = len(one.bounds) <= _WIDE
    return (one.bounds, one.meaning) if few else ("a choice", f"{one.meaning}: {one.bounds}")


@app.command()
def serve(port: Annotated[int, typer.Option(help="TCP port.", min=0, max=65535)] = 8000) -> None:
    """Serve the built site on this machine until interrupted."""
    from functools import partial
    from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

    from stackbook.press.build import default_store

    site = default_store().html
    if not (site / "index.html").is_file():
        raise StackbookError(f"no site in {site.absolute()}; run `stackbook build` first")
    handler = partial(SimpleHTTPRequestHandler, directory=str(site))
    try:
        server = ThreadingHTTPServer(("127.0.0.1", port), handler)
    except OSError as error:
        raise StackbookError(f"port {port}: {error.strerror}; choose another with --port") from None
    with server:
        print(f"http://127.0.0.1:{server.server_port}/ (Ctrl-C stops it)", flush=True)
        server.serve_forever()
