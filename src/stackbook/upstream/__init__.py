"""Upstreams: files that publishers keep moving, read into the book's tables as their columns.

A module here reads the formats of one subject. It lists them by table in its `FORMATS`; a format
is told by its columns or its JSON, not by its file's name. `refresh` merges what was read.
"""

import csv
import io
import json
import os
import shutil
from collections.abc import Callable
from datetime import date
from importlib import import_module
from math import inf
from pathlib import Path
from typing import Any, NamedTuple

import polars as pl

from stackbook import StackbookError, facts, home, located

MODULES = ("rentals", "token_prices", "offers", "usage")


class Read(NamedTuple):
    """What a file says of a table."""

    rows: pl.DataFrame
    """In the table's columns, `source` and `as_of` filled; no key twice."""
    left_out: dict[str, int]
    """Records of the file that are in no row, by reason."""


class Format(NamedTuple):
    """One publisher's form of a file."""

    name: str
    recognizes: Callable[[str], bool]
    """Whether a file's text is of this form."""
    read: Callable[[Path, str | None], Read]
    """The file, and the date that it is of, for a form that does not say so."""


class Change(NamedTuple):
    """A row that a refresh changes."""

    row: str
    """Its key."""
    cells: dict[str, tuple[Any, Any]]
    """What was in a column, and what is now, where that differs."""

    @property
    def size(self) -> float:
        """The largest relative change of a measure; counts and text are none."""
        pairs = [pair for pair in self.cells.values() if all(isinstance(x, float) for x in pair)]
        return max((abs(new / old - 1) if old else inf for old, new in pairs), default=0.0)


class Changes(NamedTuple):
    """What a refresh does to a table."""

    name: str
    added: list[str]
    """Keys of new rows."""
    changed: list[Change]
    """Rows that were there, the largest change first."""
    unchanged: int
    left_out: dict[str, int]
    table: list[list[str]]
    """Every row's cells, sorted by key."""

    def write(self) -> None:
        """Put the new table in the place of the old one, if it keeps every rule.

        Whoever reads meanwhile sees the one or the other. Errors leave the old one.
        """
        if not (home() / "pyproject.toml").is_file():
            raise StackbookError(
                f"{home()} belongs to an installed package; refresh table {self.name} in a "
                "checkout of the book: its tables are yours there"
            )
        package = facts.Package(home() / "data")
        resource = package.resource(self.name)
        path = package.folder / resource["path"]
        fresh = path.with_name(f".{path.name}.{os.getpid()}")
        try:
            with fresh.open("w", encoding="utf-8", newline="") as file:
                columns = [field["name"] for field in resource["schema"]["fields"]]
                csv.writer(file, lineterminator="\n").writerows([columns, *self.table])
            shutil.copymode(path, fresh)
            place = fresh.relative_to(package.folder).as_posix()
            package.resources[self.name] = {**resource, "path": place}
            for broken in package.violations(self.name):
                where, _, rule = broken.removeprefix(f"{place}, row ").partition(", ")
                named = _key(resource, self.table[int(where) - 2]) if where.isdecimal() else where
                raise StackbookError(
                    f"{resource['path']} stays as it was; row {named}: {rule or 'malformed'}"
                )
            fresh.replace(path)
        finally:
            fresh.unlink(missing_ok=True)


def formats() -> dict[str, tuple[Format, ...]]:
    """The forms that can be read, by the table that they go into."""
    found: dict[str, tuple[Format, ...]] = {}
    for module in MODULES:
        for table, several in import_module(f"{__name__}.{module}").FORMATS.items():
            found[table] = (*found.get(table, ()), *several)
    return found


def refresh(name: str, path: str, as_of: str | None = None) -> Changes:
    """What the publisher's file `path` changes in table `name`; nothing is written yet.

    A row read takes the place of the row with its key; all others stay. One that is of an earlier
    date than the table's, or of fewer quotes, is left out.
    """
    package = facts.Package(home() / "data")
    resource = package.resource(name)
    known = formats()
    if name not in known:
        raise StackbookError(
            f"table {name} has no upstream that can be read; those with one are {', '.join(known)}"
        )
    if as_of is not None:
        try:
            date.fromisoformat(as_of)
        except ValueError:
            raise StackbookError(f"--as-of {as_of}: give a date as 2026-08-22") from None
    file = located(path)
    try:
        text = file.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError:
        text = ""
    try:
        form = next(each for each in known[name] if each.recognizes(text))
    except StopIteration:
        told = ", ".join(each.name for each in known[name])
        raise StackbookError(
            f"{path} is in no form that table {name} is read from; these are {told}"
        ) from None
    return _merged(package, resource, form.read(file, as_of))


def records(path: Path) -> tuple[list[dict[str, str]], int]:
    """A CSV file's rows by column, cells stripped; and how many have not its number of cells."""
    text = path.read_bytes().decode("utf-8-sig")
    try:
        heads, *rows = csv.reader(io.StringIO(text, newline=""))
    except csv.Error as error:
        raise StackbookError(f"{path} is no CSV: {error}; download it again") from None
    heads = [head.strip() for head in heads]
    whole = [row for row in rows if len(row) == len(heads)]
    ragged = sum(1 for row in rows if row) - len(whole)
    return [dict(zip(heads, map(str.strip, row), strict=True)) for row in whole], ragged


def has_columns(*columns: str) -> Callable[[str], bool]:
    """Recognizes a CSV file that has these columns, and maybe others."""

    def recognizes(text: str) -> bool:
        heads = next(csv.reader(text.splitlines()[:1]), [])
        return set(columns) <= {head.strip() for head in heads}

    return recognizes


def json_of(text: str) -> Any:
    """What the text says if it is JSON, else None."""
    try:
        return json.loads(text)
    except ValueError:
        return None


def _merged(package: facts.Package, resource: dict[str, Any], read: Read) -> Changes:
    fields = {field["name"]: field["type"] for field in resource["schema"]["fields"]}
    key = resource["schema"]["primaryKey"]
    old = package.table(resource["name"]).collect()
    with (package.folder / resource["path"]).open(encoding="utf-8", newline="") as file:
        texts = [row for row in csv.reader(file) if row][1:]
    table = dict(zip(old.select(key).rows(), texts, strict=True))
    there = dict(zip(old.select(key).rows(), old.rows(named=True), strict=True))
    left_out, added, changed, unchanged = dict(read.left_out), [], list[Change](), 0
    types = {name: old.schema[name] for name in fields}
    for row in read.rows.select(pl.col(name).cast(types[name]) for name in fields).to_dicts():
        known = tuple(row[name] for name in key)
        before = there.get(known)
        text = [_text(value) for value in row.values()]
        named = _key(resource, text)
        if before is None:
            added.append(named)
        elif before == row:
            unchanged += 1
            continue
        elif stale := _stale(before, row):
            left_out[stale] = left_out.get(stale, 0) + 1
            continue
        else:
            both = {name: (before[name], row[name]) for name in fields}
            cells = {name: pair for name, pair in both.items() if pair[0] != pair[1]}
            changed.append(Change(named, cells))
        table[known] = text
    changed.sort(key=lambda change: -change.size)
    places = [list(fields).index(name) for name in key]
    rows = sorted(table.values(), key=lambda row: "\0".join(row[place] for place in places))
    return Changes(resource["name"], added, changed, unchanged, left_out, rows)


def _stale(before: dict[str, Any], row: dict[str, Any]) -> str:
    """Why `row` is worth less than the row that the table has; empty if it is not."""
    if (row.get("as_of") or "") < (before.get("as_of") or ""):
        return "of an earlier date than the table's row"
    if (row.get("quotes") or inf) < (before.get("quotes") or 0):
        return "of fewer quotes than the table's row"
    return ""


def _key(resource: dict[str, Any], row: list[str]) -> str:
    columns = [field["name"] for field in resource["schema"]["fields"]]
    return ", ".join(row[columns.index(name)] for name in resource["schema"]["primaryKey"])


def _text(value: Any) -> str:
    """A cell as the tables write it."""
    match value:
        case None:
            return ""
        case bool():
            return str(value).lower()
        case float():
            return f"{value:.12g}"
        case _:
            return str(value)
