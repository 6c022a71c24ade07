"""Facts: the tables in `data/`, read with the types, and checked by the rules, of their schema."""

import csv
import hashlib
import io
import json
import re
from collections.abc import Callable, Iterator
from functools import cache, cached_property
from pathlib import Path
from typing import Any, NamedTuple

import polars as pl

from stackbook import StackbookError, home, nearest

_TYPES = {
    "string": pl.String,
    "number": pl.Float64,
    "integer": pl.Int64,
    "boolean": pl.Boolean,
    "date": pl.Date,
}
_TEST: dict[str, Callable[[pl.Expr, Any], pl.Expr]] = {
    "minimum": lambda column, bound: column >= bound,
    "maximum": lambda column, bound: column <= bound,
    "enum": lambda column, allowed: column.is_in(allowed),
    "pattern": lambda column, pattern: column.cast(pl.String).str.contains(f"^(?:{pattern})$"),
}


class FactsError(StackbookError):
    """A table that is not there, or a row that breaks a rule of its schema."""


class Uncertain(NamedTuple):
    """A model input of table `parameters`: value and range in `unit`, and where they come from."""

    symbol: str
    name: str
    unit: str
    share: bool
    low: float | None
    central: float
    high: float | None
    as_of: str
    source: str
    confidence: str


class Package:
    """A Frictionless Data Package: `datapackage.json` and its CSV tables in one folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.used: set[str] = set()
        self._frames: dict[str, pl.DataFrame] = {}

    @cached_property
    def resources(self) -> dict[str, dict[str, Any]]:
        """The tables' descriptions by name."""
        package = json.loads((self.folder / "datapackage.json").read_text(encoding="utf-8"))
        return {resource["name"]: resource for resource in package["resources"]}

    def resource(self, name: str) -> dict[str, Any]:
        """Description of table `name`; raises FactsError where there is none."""
        try:
            return self.resources[name]
        except KeyError:
            known = ", ".join(self.resources)
            near = nearest(name, self.resources)
            raise FactsError(f"no table {name!r}{near}; the tables are {known}") from None

    def table(self, name: str) -> pl.LazyFrame:
        """Table `name` in the types of its schema; FactsError names the first bad row."""
        if name not in self._frames:
            frame, violations = self._read(name)
            for violation in violations:
                raise FactsError(violation)
            self._frames[name] = frame
        self.used.add(name)
        return self._frames[name].lazy()

    def violations(self, name: str) -> list[str]:
        """Every broken rule of table `name`, a line each."""
        return list(self._read(name)[1])

    def broken(self) -> list[str]:
        """Every broken rule of all tables, a line each."""
        return [line for name in self.resources for line in self.violations(name)]

    def check(self) -> None:
        """FactsError with the first broken rule of all tables, and how many more there are."""
        broken = self.broken()
        if broken:
            more = f" ({len(broken) - 1} more: `stackbook data check`)" if broken[1:] else ""
            raise FactsError(broken[0] + more)

    def digest(self, name: str) -> str:
        """SHA-256 of the table and its schema: what a result that used the table depends on."""
        resource = self.resource(name)
        text = json.dumps(resource, sort_keys=True).encode()
        return hashlib.sha256(text + (self.folder / resource["path"]).read_bytes()).hexdigest()

    def _read(self, name: str) -> tuple[pl.DataFrame, Iterator[str]]:
        resource = self.resource(name)
        fields = resource["schema"]["fields"]
        malformed = self._malformed(resource, [field["name"] for field in fields])
        if malformed:
            return pl.DataFrame(), iter([malformed])
        raw = pl.read_csv(self.folder / resource["path"], infer_schema=False, null_values=[""])
        frame = raw.with_columns(_typed(field) for field in fields)
        return frame, self._broken(resource, raw, frame)

    def _malformed(self, resource: dict[str, Any], wanted: list[str]) -> str:
        """What keeps the file from being a table of the columns `wanted`; empty if nothing."""
        path = self.folder / resource["path"]
        try:
            data = path.read_bytes()
            rows = csv.reader(io.StringIO(data.decode(), newline=""), strict=True)
            for row in rows:
                if rows.line_num == 1 and row != wanted:
                    return f"{resource['path']}: columns are {row}, not {wanted}"
                if len(row) != len(wanted):
                    return (
                        f"{resource['path']}, row {rows.line_num}: {len(row)} cells under "
                        f"{len(wanted)} columns; put text with a comma between quotes"
                    )
        except FileNotFoundError:
            return (
                f"table {resource['name']}: there is no {path}; restore the file, "
                "or take the table out of datapackage.json"
            )
        except UnicodeDecodeError as error:
            row_number = data.count(b"\n", 0, error.start) + 1
            return f"{resource['path']}, row {row_number}: not UTF-8 CSV, {error}"
        except csv.Error as error:
            return f"{resource['path']}, after row {rows.line_num}: not UTF-8 CSV, {error}"
        return ""

    def _broken(
        self, resource: dict[str, Any], raw: pl.DataFrame, frame: pl.DataFrame
    ) -> Iterator[str]:
        schema = resource["schema"]
        key = schema.get("primaryKey", [])

        def bad(column: str, passes: pl.Expr, rule: str, data: pl.DataFrame = frame) -> list[str]:
            rows = data.select(rows=(~passes).fill_null(False).arg_true()).to_series()
            return [
                f"{resource['path']}, row {row + 2}, column {column}: "
                f"{_value(raw, row, column)} breaks the rule {rule}"
                for row in rows
            ]

        for field in schema["fields"]:
            name, rules = field["name"], field.get("constraints", {})
            column = pl.col(name)
            both = frame.with_columns(raw[name].alias("__raw__"))
            unread = column.is_not_null() | pl.col("__raw__").is_null()
            yield from bad(name, unread, f"type {field['type']}", both)
            if field["type"] == "number":
                yield from bad(name, column.is_finite(), "finite")
            if rules.get("required"):
                yield from bad(name, pl.col("__raw__").is_not_null(), "required", both)
            if rules.get("unique") and key != [name]:
                yield from bad(name, column.is_first_distinct() | column.is_null(), "unique")
            for rule, test in _TEST.items():
                if rule in rules:
                    bound = rules[rule]
                    if field["type"] == "date" and rule in ("minimum", "maximum"):
                        bound = pl.lit(bound).str.to_date()
                    yield from bad(name, test(column, bound), f"{rule} {rules[rule]}")
        if key:
            named = f"primary key ({', '.join(key)})"
            first, text = pl.struct(key).is_first_distinct(), pl.concat_str(key, separator="\0")
            yield from bad(key[0], first, f"{named} is unique")
            yield from bad(key[0], (text >= text.shift()) | ~first, f"sorted by {named}", raw)
        for foreign in schema.get("foreignKeys", []):
            (name,), other = foreign["fields"], foreign["reference"]
            (target,) = other["fields"]
            there = self.resource(other["resource"])
            if self._malformed(there, [field["name"] for field in there["schema"]["fields"]]):
                continue  # said of that table
            path = self.folder / there["path"]
            known = pl.read_csv(path, columns=[target], infer_schema=False)[target]
            passes = pl.col(name).is_in(known.implode()) | pl.col(name).is_null()
            yield from bad(name, passes, f"one of {other['resource']}.{target}")
        for each in schema.get("rules", []):
            worded = {"rule": each, "message": each} if isinstance(each, str) else each
            rule, message = worded["rule"], worded["message"]
            about = [f["name"] for f in schema["fields"] if re.search(rf"\b{f['name']}\b", rule)]
            if not about:
                raise FactsError(f"table {resource['name']}: rule {rule!r} names no column")
            yield from bad(about[0], pl.sql_expr(rule), message)


def _typed(field: dict[str, Any]) -> pl.Expr:
    column = pl.col(field["name"])
    match field["type"]:
        case "date":
            return column.str.to_date("%Y-%m-%d", strict=False)
        case "boolean":
            return column.replace_strict({"true": True, "false": False}, default=None)
        case kind:
            return column.cast(_TYPES[kind], strict=False)


def _value(raw: pl.DataFrame, row: int, column: str) -> str:
    value = raw[row, column]
    return "an empty cell" if value is None else repr(value)


@cache
def package() -> Package:
    """The book's own tables."""
    return Package(home() / "data")


def table(name: str) -> pl.LazyFrame:
    """Table `name` of `data/`, typed and checked by its schema; FactsError names a bad row."""
    return package().table(name)


def rows(name: str, column: str, value: str, what: str = "") -> pl.DataFrame:
    """Rows of table `name` where `column` says `value`; FactsError offers the nearest.

    The error calls one of them `what`, a row of the table unless told.
    """
    frame = table(name).collect()
    known = frame[column].cast(pl.String)
    found = frame.filter(known == value)
    if found.is_empty():
        there = f"{what} {value!r}" if what else f"row {value!r} in table {name}"
        raise FactsError(
            f"no {there}{nearest(value, known)}; `stackbook data show {name}` lists them"
        )
    return found


def parameter(symbol: str) -> Uncertain:
    """The uncertain model input `symbol` of table `parameters`, with its range and source."""
    row = rows("parameters", "symbol", symbol, "parameter").row(0, named=True)
    return Uncertain(**{field: row[field] for field in Uncertain._fields})


def central(symbol: str) -> float:
    """Central value of the model input `symbol`, where its range does not matter."""
    return parameter(symbol).central


def cite(*keys: str) -> str:
    """Publisher, title and year of the sources `keys`, for the line under a chart.

    A key may also be a symbol of table `parameters`, whose source is meant. Of more than three
    sources a line has no room for titles.
    """
    sources = {row["key"]: row for row in table("sources").collect().iter_rows(named=True)}
    symbols = dict(table("parameters").select("symbol", "source").collect().iter_rows())
    named = [symbols.get(key, key) for key in keys]
    for key in named:
        if key not in sources:
            raise FactsError(
                f"no source or parameter {key!r}; `stackbook data show sources` lists them"
            )
    rows = [sources[key] for key in dict.fromkeys(named)]
    parts = ("publisher", "title") if len(rows) <= 3 else ("publisher",)
    lines = (
        ", ".join(row[part] for part in parts)
        + (f" ({row['published'][:4]})" if row["published"] else "")
        for row in rows
    )
    return "; ".join(dict.fromkeys(lines))
