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
from math import inf, isfinite
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
    read: Callable[[str, str | None], Read]
    """The file's text, and the date that it is of, for a form that does not say so."""


class Change(NamedTuple):
    """A row that a refresh adds or changes."""

    row: str
    """Its key."""
    cells: dict[str, tuple[Any, Any]]
    """What was in a column, and what is now, where that differs; of a new row, the measures."""

    @property
    def size(self) -> float:
        """The largest relative change of a measure; counts and text are none."""
        pairs = [pair for pair in self.cells.values() if all(isinstance(x, float) for x in pair)]
        return max((abs(new / old - 1) if old else inf for old, new in pairs), default=0.0)

    @property
    def moved(self) -> bool:
        """Whether the row says something else, not only the same of a later file."""
        return not self.cells.keys() <= {"as_of", "source", "quotes", "note"}

    def __str__(self) -> str:
        fresh = all(old is None for old, _ in self.cells.values())
        told = []
        for column, pair in self.cells.items():
            old, new = (_text(value) or "blank" for value in pair)
            told.append(f"{column} {new}" if fresh else f"{column} {old} → {new}")
        return f"{self.row}: {', '.join(told)}"


class Changes(NamedTuple):
    """What a refresh does to a table."""

    name: str
    added: list[Change]
    """New rows, in the file's order."""
    changed: list[Change]
    """Rows that were there, the largest change first."""
    unchanged: int
    left_out: dict[str, int]
    table: list[list[str]]
    """Every row's cells, sorted by key."""
    before: bytes
    """The table's file as it was."""

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
            if path.read_bytes() != self.before:
                raise StackbookError(f"somebody else changed {path} meanwhile; refresh again")
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
            as_of = date.fromisoformat(as_of).isoformat()
        except ValueError:
            raise StackbookError(f"--as-of {as_of}: give a date as 2026-08-22") from None
    file = located(path)
    try:
        text = file.read_bytes().decode("utf-8-sig").lstrip()
    except UnicodeDecodeError:
        text = ""
    try:
        form = next(each for each in known[name] if each.recognizes(text))
    except StopIteration:
        told = ", ".join(each.name for each in known[name])
        raise StackbookError(
            f"{path} is in no form that table {name} is read from; these are {told}"
        ) from None
    try:
        read = form.read(text, as_of)
    except StackbookError as error:
        raise StackbookError(f"{path}: {error}") from None
    return _merged(package, resource, read)


def records(text: str) -> tuple[list[dict[str, str]], int]:
    """A CSV file's rows by column, cells stripped; and how many have not its number of cells."""
    try:
        heads, *rows = csv.reader(io.StringIO(text, newline=""))
    except csv.Error as error:
        raise StackbookError(f"this is no CSV: {error}; download it again") from None
    heads = [head.strip() for head in heads]
    whole = [row for row in rows if len(row) == len(heads)]
    ragged = sum(1 for row in rows if row) - len(whole)
    return [dict(zip(heads, map(str.strip, row), strict=True)) for row in whole], ragged


def has_columns(*columns: str) -> Callable[[str], bool]:
    """Recognizes a CSV file that has these columns, and maybe others."""

    return lambda text: set(columns) <= set(heads_of(text))


def heads_of(text: str) -> list[str]:
    """The columns of a CSV file."""
    try:
        return [head.strip() for head in next(csv.reader([text.partition("\n")[0]]), [])]
    except csv.Error:
        return []


def number(value: Any, most: float = inf) -> float | None:
    """A finite number from 0 to `most`, from a cell, as "$1,204.50", or JSON; None if none."""
    try:
        found = float(value.lstrip("$").replace(",", "") if isinstance(value, str) else value)
    except (OverflowError, TypeError, ValueError):
        return None
    return found if isfinite(found) and 0 <= found <= most else None


def day_in(value: Any) -> str | None:
    """The day of a date or time, None if it is none."""
    try:
        return date.fromisoformat(str(value)[:10]).isoformat()
    except ValueError:
        return None


def json_of(text: str) -> Any:
    """What the text says if it is JSON, else None."""
    try:
        return json.loads(text)
    except ValueError:
        return None


def _merged(package: facts.Package, resource: dict[str, Any], read: Read) -> Changes:
    fields = [field["name"] for field in resource["schema"]["fields"]]
    key = resource["schema"]["primaryKey"]
    file = (package.folder / resource["path"]).read_bytes()
    old = package.table(resource["name"]).collect()
    cells = [row for row in csv.reader(io.StringIO(file.decode(), newline="")) if row][1:]
    table = dict(zip(old.select(key).rows(), cells, strict=True))
    there = dict(zip(old.select(key).rows(), old.rows(named=True), strict=True))
    left_out = dict(read.left_out)
    added, changed, unchanged = list[Change](), list[Change](), 0
    for row in read.rows.select(pl.col(name).cast(old.schema[name]) for name in fields).to_dicts():
        # Lists carry products of floats; what they mean has the few digits that tables have.
        for name, value in row.items():
            if isinstance(value, float):
                row[name] = float(_text(value))
        known = tuple(row[name] for name in key)
        before = there.get(known)
        written = [_text(value) for value in row.values()]
        named = _key(resource, written)
        if before is None:
            floats = {each: (None, usd) for each, usd in row.items() if isinstance(usd, float)}
            added.append(Change(named, floats))
        elif before == row:
            unchanged += 1
            continue
        elif stale := _stale(before, row):
            left_out[stale] = left_out.get(stale, 0) + 1
            continue
        else:
            both = {name: (before[name], row[name]) for name in fields}
            differs = {name: pair for name, pair in both.items() if pair[0] != pair[1]}
            changed.append(Change(named, differs))
        table[known] = written
    changed.sort(key=lambda change: -change.size)
    places = [fields.index(name) for name in key]
    rows = sorted(table.values(), key=lambda row: "\0".join(row[place] for place in places))
    return Changes(resource["name"], added, changed, unchanged, left_out, rows, file)


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
