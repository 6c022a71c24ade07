"""The command line: `stackbook build`, `run`, `params`, `findings`, `validate`, `data`, `serve`."""

import errno
import io
import json
import signal
import sys
from collections.abc import Mapping, Sequence
from math import isfinite
from typing import TYPE_CHECKING, Annotated, Any

import typer

from stackbook import StackbookError, __version__

if TYPE_CHECKING:
    from stackbook.press.build import Told
    from stackbook.press.chapters import Book, Chapter, Value

_WIDE = 60  # letters of bounds beside which a meaning still has room
SHOWN = 20  # changed rows of a table, the largest first
MEASURED = {"training": "throughput", "serving": "serving"}  # modules that read measurements

app = typer.Typer(
    help="The open, executable book on the economics of the AI infrastructure stack.",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
data_app = typer.Typer(help="The book's tables.", no_args_is_help=True, rich_markup_mode=None)
app.add_typer(data_app, name="data")

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


@app.command()
def build(
    p: Given = None,
    scenario: Scenario = None,
    only: Annotated[
        str | None,
        typer.Option(metavar="CHAPTER", help="Execute this chapter alone; the others stay."),
    ] = None,
    scheduler: Scheduler = None,
    force: Annotated[bool, typer.Option(help="Execute even what is known.")] = False,
) -> None:
    """Execute the chapters and write the site to _build/html."""
    from stackbook.press import build as press
    from stackbook.press.chapters import Book

    book, store = Book(), press.default_store()
    given = _given(book, only, p, scenario)
    with _Progress() as told:
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
    given = _given(book, chapter, p, scenario)
    book.check(given, [book.chapter(chapter)])
    work = {chapter: book.chapter(chapter).values(given)}
    with store.locked(), _Progress() as told:
        result = press.run(book, store, work, scheduler=scheduler, told=told)[chapter]
    if json_:
        print(
            json.dumps(
                {"chapter": chapter, "parameters": work[chapter], "findings": result.findings},
                indent=1,
            )
        )
    else:
        _print_findings({chapter: result.findings})


@app.command()
def params(chapter: NameOrAll = None, json_: Json = False) -> None:
    """List what the chapters can be re-executed with."""
    from stackbook.press.chapters import plain

    chosen = _chosen(chapter)
    if json_:
        declared = [(each.name, one) for each in chosen for one in each.parameters.values()]
        print(json.dumps([{"chapter": name, **one._asdict()} for name, one in declared], indent=1))
        return
    rows = {
        each.name: [
            [one.name, plain(one.default), one.unit, *_bounds_and_meaning(one)]
            for one in each.parameters.values()
        ]
        for each in chosen
    }
    _table(["parameter", "default", "unit", "bounds", "meaning"], rows)


@app.command()
def findings(chapter: NameOrAll = None, json_: Json = False) -> None:
    """List the findings of the chapters as last built."""
    from stackbook.press.build import default_store

    chosen, store = _chosen(chapter), default_store()
    shown = {each.name: store.shown(each) for each in chosen}
    built = {name: content.findings for name, content in shown.items() if content}
    if not built:
        what = f"nothing of {chapter}" if chapter else "nothing"
        raise StackbookError(
            f"{what} was built in {store.folder.absolute()}; run `stackbook build` first"
        )
    if json_:
        print(json.dumps(built, indent=1))
    else:
        _print_findings(built)


def _bounds_and_meaning(one: Any) -> tuple[str, str]:
    """Of a parameter: many choices stand where lines wrap."""
    few = len(one.bounds) <= _WIDE
    return (one.bounds, one.meaning) if few else ("a choice", f"{one.meaning}: {one.bounds}")


def _measurements(section: str, path: str, json_: bool) -> None:
    """Measurements beside what the model expects, row by row, with sums."""
    from importlib import import_module

    from stackbook import facts

    kind = import_module(f"stackbook.validation.{MEASURED[section]}")
    measured, unread, hints = kind.read(path) if path else (kind.published(), [], [])
    for hint in hints:
        print(f"{path}: {hint}", file=sys.stderr)
    predictions, unread = kind.predictions(measured, unread)
    sums = kind.summaries(predictions)
    if json_:
        found: dict[str, Any] = {
            "rows": [_jsonable(one.told()) for one in predictions],
            "unread": [one._asdict() for one in unread],
            "summary": [one._asdict() for one in sums],
        }
        if not path:
            found["left_out"] = facts.table(f"{section}_accuracy").collect().to_dicts()
        print(json.dumps(found, indent=1, allow_nan=False, default=str))
        return
    lines: dict[str, list[list[str] | str]] = {}
    for one in predictions:
        lines.setdefault(one.measured.group[0], []).extend(one.lines)
    _table([*kind.HEADS, "predicted", "measured", "error", "90% interval"], lines)
    print(f"\n{kind.NOTE}\n")
    for model, read_as in {one.measured.group[1]: one.read_as for one in predictions}.items():
        if read_as.startswith("dense, "):
            print(f"{model} is not in table transformers, taken as {read_as}")
    sizes = ["median |error|", "mean", "90th percentile", "bias", "in interval"]

    def row(*labels: object, errors: Mapping[str, Any], inside: float) -> list[str]:
        size = [f"{errors[name]:.1%}" for name in ("median_error", "mean_error", "p90_error")]
        return [*map(str, labels), *size, f"{errors['bias']:+.1%}", f"{inside:.0%}"]

    told = [row(*one.labels, errors=one._asdict(), inside=one.coverage) for one in sums]
    _table([*kind.SUMS, *sizes], {"": told})
    if not path:
        print("\nThe same with constants fitted without the rows that are foreseen\n")
        table = facts.table(f"{section}_accuracy").collect()
        labels = table.columns[1 : table.columns.index("median_error")]
        left: dict[str, list[list[str] | str]] = {}
        for off in table.iter_rows(named=True):
            shown = row(*(off[name] for name in labels), errors=off, inside=off["covered"])
            left.setdefault(off["method"], []).append(shown)
        left.pop("in sample")
        _table([*labels, *sizes], left)
        print()
    for bad in unread:
        print(f"row {bad.line}, {bad.model}: {bad.reason}")
    print(f"{len(predictions)} rows computed, {len(unread)} could not be read")
    if not predictions:
        raise StackbookError(f"{path}: no row could be computed; mend those named above")


@app.command()
def validate(
    section: Annotated[
        str,
        typer.Argument(
            metavar="[SECTION]",
            help="A: chips, B: systems and network, C: data centers and power, D: scaling laws and "
            "training, E: serving and prices of tokens, F: cloud platforms, G: structure of the "
            "market, I: the joined stack; or a case such as D20; or training, or serving: what "
            "was measured, row by row.",
        ),
    ] = "",
    rows: Annotated[
        str,
        typer.Option(
            metavar="FILE.csv",
            help="With training or serving: rows of your own, in the columns of data/published/"
            "training_throughput.csv or serving_points.csv.",
        ),
    ] = "",
    json_: Json = False,
) -> None:
    """Compute every published result that the kernels must reproduce; fail if one is missed.

    Meeting it proves more or less: repeat is the publisher's own arithmetic, fitted has an input
    that was chosen to meet it, test has inputs of other origin.
    """
    from stackbook import facts, validation

    if section in MEASURED:
        return _measurements(section, rows, json_)
    if rows:
        several = " or ".join(f"`stackbook validate {each}`" for each in MEASURED)
        raise StackbookError(f"--rows {rows}: give it with {several}")
    results = validation.results(section)
    if json_:
        print(json.dumps([_jsonable(one._asdict()) for one in results], indent=1, allow_nan=False))
    else:
        cases: dict[str, list[list[str] | str]] = {}
        for one in results:
            headline = f"{one.case}  {one.claim} ({one.kind}): {facts.cite(one.source)}"
            outcome = "FAILED" if one.failed else "met" if one.met else "missed"
            numbers = (f"{one.published:.6g}", f"{one.computed:.6g}", one.difference, one.allowed)
            case = cases.setdefault(headline, [])
            case.append([one.quantity, one.unit, *numbers, outcome])
            if one.miss:
                case.append(f"  miss: {one.miss}")
        _table(["quantity", "unit", "published", "computed", "error", "tolerance", ""], cases)
        stated = sum(bool(one.miss) for one in results)
        print(f"\n{sum(one.met for one in results)} of {len(results)} met, {stated} stated misses")
    failed = [f"{one.case} {one.quantity}" for one in results if one.failed]
    if failed:
        raise StackbookError(
            f"{len(failed)} of {len(results)} published results are not as table published_cases "
            f"says: {', '.join(failed)}; correct the kernel, or the table's columns miss and ours"
        )


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


@data_app.command("list")
def data_list() -> None:
    """List the tables."""
    from stackbook import facts

    package = facts.package()
    rows = [
        [name, str(package.table(name).collect().height), resource["title"]]
        for name, resource in package.resources.items()
    ]
    _table(["table", "rows", "what"], {"": rows})


@data_app.command("show")
def data_show(
    name: Annotated[str, typer.Argument(metavar="NAME", help="A table, or a source's key.")],
    key: Annotated[
        str | None, typer.Argument(metavar="[KEY]", help="These rows alone, e.g. 'DeepSeek V3'.")
    ] = None,
) -> None:
    """Print a table as CSV, after its columns with their units on standard error.

    With a key, which is a value of the table's first key column, its rows with their sources.
    """
    from stackbook import facts

    package = facts.package()
    if key is None and name not in package.resources:
        sources = package.table("sources").collect()
        if name in sources["key"]:
            name, key = "sources", name
    if key is not None:
        _print_rows(name, key)
        return
    frame = package.table(name).collect()
    for field in package.resource(name)["schema"]["fields"]:
        print(f"# {_labelled(field)}: {field.get('description', '')}", file=sys.stderr)
    print(frame.write_csv(), end="")


@data_app.command("refresh")
def data_refresh(
    name: Annotated[str, typer.Argument(metavar="NAME", help="A table, e.g. rental_prices.")],
    file: Annotated[
        str, typer.Argument(metavar="FILE", help="A file of its publisher, as downloaded.")
    ],
    as_of: Annotated[
        str | None,
        typer.Option(metavar="DATE", help="Of which date it is, if the file does not say so."),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would change.")] = False,
) -> None:
    """Bring a table up to a newer file of its publisher, and say what changes.

    Rows of the file take the place of those with their key; all others stay. What cannot be read
    is counted by reason. A row that breaks a rule of the table stops it, and nothing is written.
    """
    from stackbook import upstream

    changes = upstream.refresh(name, file, as_of)
    if not dry_run:
        changes.write()
    moved = [change for change in changes.changed if change.moved]
    _print_some([f"+ {change}" for change in changes.added])
    _print_some([f"~ {change}" for change in moved])
    lost = sorted(changes.left_out.items(), key=lambda pair: -pair[1])
    for reason, count in lost[:SHOWN]:
        print(f"left out: {count} {reason}")
    if rest := sum(count for _, count in lost[SHOWN:]):
        print(f"left out: {rest} for other reasons")
    again = len(changes.changed) - len(moved)
    print(
        f"{name}: {len(changes.added)} rows added, {len(moved)} changed, "
        + (f"{again} the same of a later file, " if again else "")
        + f"{changes.unchanged} unchanged"
        + ("; nothing written" if dry_run else "")
    )


@data_app.command("check")
def data_check() -> None:
    """Check every table by its schema; each broken rule is a line."""
    from stackbook import facts

    package = facts.package()
    broken = package.broken()
    for line in broken:
        print(line, file=sys.stderr)
    if broken:
        raise StackbookError(f"{len(broken)} broken rules; correct the rows named above")
    print(f"{len(package.resources)} tables keep every rule")


def main() -> None:
    """Run the command line; an error is one line and a non-zero exit."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # ends as Ctrl-C does
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a terminal that knows ASCII alone
    try:
        app()
    except StackbookError as error:
        sys.exit(f"error: {error}")
    except OSError as error:
        named = f"{error.filename}: " if error.filename else ""
        room = error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM)
        remedy = "; make room, or work in another folder" if room else ""
        sys.exit(f"error: {named}{error.strerror or error}{remedy}")


def _version(wanted: bool) -> None:
    if wanted:
        print(f"stackbook {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print it.")
    ] = False,
) -> None:
    pass


def _chosen(chapter: str | None) -> "list[Chapter]":
    from stackbook.press.chapters import Book

    book = Book()
    return list(book.chapters.values()) if chapter is None else [book.chapter(chapter)]


def _given(
    book: "Book", chapter: str | None, assignments: list[str] | None, scenario: str | None
) -> "dict[str, Value]":
    """Parameters for `chapter`, or for all: a scenario's, as far as they apply, then `-p`."""
    from stackbook.press.chapters import assigned

    values = {} if scenario is None else book.scenario(scenario)
    if chapter is not None:
        known = book.chapter(chapter).parameters
        others = values.keys() - known.keys()
        if others:
            print(f"left out, not in {chapter}: {', '.join(sorted(others))}", file=sys.stderr)
        values = {name: value for name, value in values.items() if name in known}
    return values | dict(assigned(text) for text in assignments or [])


class _Progress:
    """A bar for the chapters on a terminal, a line for each elsewhere; both on standard error."""

    def __enter__(self) -> "Told":
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

        self._console = Console(stderr=True)
        self._bars = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=20),
            TextColumn("{task.fields[state]}"),
            TimeElapsedColumn(),
            console=self._console,
            disable=not self._console.is_terminal,
        )
        self._tasks: dict[str, Any] = {}
        self._bars.start()
        return self._told

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._bars.stop()
        if kind is KeyboardInterrupt:
            raise StackbookError("stopped; results made so far are kept for the next build")

    def _told(self, chapter: str, state: str) -> None:
        if self._bars.disable:
            if state != "executing":
                print(f"{chapter}: {state}", file=sys.stderr, flush=True)
            return
        if chapter not in self._tasks:
            self._tasks[chapter] = self._bars.add_task(chapter, total=None, state=state)
        done = None if state == "executing" else 1
        self._bars.update(self._tasks[chapter], state=state, total=done, completed=done)


def _jsonable(record: dict[str, Any]) -> dict[str, Any]:
    """With null for numbers that JSON does not know."""
    return {
        name: None if isinstance(value, float) and not isfinite(value) else value
        for name, value in record.items()
    }


def _print_findings(findings: dict[str, list[dict[str, Any]]]) -> None:
    rows: dict[str, list[list[str] | str]] = {}
    for chapter, records in findings.items():
        rows[chapter] = []
        for record in records:
            spread = f"{record['low']:.6g} to {record['high']:.6g}" if "low" in record else ""
            spread = spread or f"none: {record['why']}"
            rows[chapter].append([record["name"], f"{record['value']:.6g}", record["unit"], spread])
    _table(["finding", "value", "unit", "range"], rows)


def _print_rows(name: str, key: str) -> None:
    """The rows of table `name` under `key`, a line a filled cell, and the sources they cite."""
    import polars as pl

    from stackbook import facts
    from stackbook.press.chapters import plain

    schema = facts.package().resource(name)["schema"]
    rows = facts.rows(name, schema["primaryKey"][0], key)
    citing = {
        foreign["fields"][0]
        for foreign in schema.get("foreignKeys", [])
        if foreign["reference"]["resource"] == "sources"
    }
    blocks, cited = [], set()
    for row in rows.with_columns(pl.col(pl.Boolean).cast(pl.String)).rows(named=True):
        filled = [field for field in schema["fields"] if row[field["name"]] is not None]
        blocks.append([f"{_labelled(field)}: {plain(row[field['name']])}" for field in filled])
        cited |= {row[field["name"]] for field in filled if field["name"] in citing}
    urls = dict(facts.table("sources").select("key", "url").collect().iter_rows())
    blocks.append([f"{each}: {facts.cite(each)} {urls[each] or ''}" for each in sorted(cited)])
    print("\n\n".join("\n".join(block) for block in blocks if block))


def _print_some(lines: list[str]) -> None:
    for line in lines[:SHOWN]:
        print(line)
    if len(lines) > SHOWN:
        print(f"{lines[0][0]} {len(lines) - SHOWN} more")


def _labelled(field: dict[str, Any]) -> str:
    """The column with its unit; a count or ratio needs none."""
    unit = field.get("unit", "1")
    return field["name"] if unit == "1" else f"{field['name']} [{unit}]"


def _table(heads: list[str], groups: Mapping[str, Sequence[list[str] | str]]) -> None:
    """Print rows under the headline of their group, text as wide as the terminal.

    Only the last column wraps, since the others hold names and numbers. A row that is a string
    runs across all columns.
    """
    from shutil import get_terminal_size
    from textwrap import TextWrapper

    rows = [row for group in groups.values() for row in group if not isinstance(row, str)]
    widths = [max(map(len, column)) for column in zip(heads, *rows, strict=True)]
    wrapper = TextWrapper(
        get_terminal_size((200, 24)).columns, break_long_words=False, break_on_hyphens=False
    )

    def show(row: list[str] | str) -> None:
        if isinstance(row, str):
            start, text, wrapper.subsequent_indent = "", row, "     "
        else:
            *cells, text = row
            start = "".join(f"{cell:{width}}  " for cell, width in zip(cells, widths, strict=False))
            wrapper.subsequent_indent = " " * len(start)
        wrapper.initial_indent = start
        print("\n".join(wrapper.wrap(text)) or start.rstrip())

    show(heads)
    show(["-" * len(head) for head in heads])
    for headline, group in groups.items():
        if headline and group:
            print()
            show(headline)
        for row in group:
            show(row)


if __name__ == "__main__":
    main()
