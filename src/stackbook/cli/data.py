"""Commands on the tables: `data list`, `show`, `refresh`, `check`."""

import sys
from typing import Annotated, Any

import typer

from stackbook import StackbookError
from stackbook.cli.printing import table

SHOWN = 20  # changed rows of a table, the largest first

app = typer.Typer(help="The book's tables.", no_args_is_help=True, rich_markup_mode=None)


@app.command("list")
def data_list() -> None:
    """List the tables."""
    from stackbook import facts

    package = facts.package()
    rows = [
        [name, str(package.table(name).collect().height), resource["title"]]
        for name, resource in package.resources.items()
    ]
    table(["table", "rows", "what"], {"": rows})


@app.command("show")
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
        print(f"# {labelled(field)}: {field.get('description', '')}", file=sys.stderr)
    print(frame.write_csv(), end="")


@app.command("refresh")
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


@app.command("check")
def data_check() -> None:
    """Check every table by its schema; each broken rule is a line."""
    from stackbook import facts

    package = facts.package()
    broken = package.broken()
    for line in broken:
        print(line, file=sys.stderr)
    if broken:
        rules = "rule is broken" if len(broken) == 1 else "rules are broken"
        raise StackbookError(f"{len(broken)} {rules}; correct what is named above")
    print(f"{len(package.resources)} tables keep every rule")


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
        blocks.append([f"{labelled(field)}: {plain(row[field['name']])}" for field in filled])
        cited |= {row[field["name"]] for field in filled if field["name"] in citing}
    urls = dict(facts.table("sources").select("key", "url").collect().iter_rows())
    blocks.append([f"{each}: {facts.cite(each)} {urls[each] or ''}" for each in sorted(cited)])
    print("\n\n".join("\n".join(block) for block in blocks if block))


def _print_some(lines: list[str]) -> None:
    for line in lines[:SHOWN]:
        print(line)
    if len(lines) > SHOWN:
        print(f"{lines[0][0]} {len(lines) - SHOWN} more")


def labelled(field: dict[str, Any]) -> str:
    """The column with its unit; a count or ratio needs none."""
    unit = field.get("unit", "1")
    return field["name"] if unit == "1" else f"{field['name']} [{unit}]"
