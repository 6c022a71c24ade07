"""Facts: the tables in `data/`, read with the types, and checked by the rules, of their schema."""

import csv
import hashlib
import io
import json
import os
import re
from collections.abc import Callable, Iterator
from functools import cache, cached_property
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

import polars as pl

from stackbook import OVERLAY, StackbookError, home, nearest, study

REPLACES = "replaces"  # last column of an overlay: the source that our row cites

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
    """A Frictionless Data Package: `datapackage.json` and its CSV tables in one folder.

    The folder `overlay` of a study lays its own rows over them: a CSV that is called as one of the
    tables adds rows, and replaces those whose `source` its last column `replaces` repeats. Its own
    `datapackage.json` describes further tables.
    """

    def __init__(self, folder: Path, overlay: Path | None = None) -> None:
        self.folder = folder
        self.overlay = overlay
        self.used: set[str] = set()
        self._frames: dict[str, pl.DataFrame] = {}

    @cached_property
    def resources(self) -> dict[str, dict[str, Any]]:
        """The tables' descriptions by name."""
        return _resources(self.folder) | self._further

    @cached_property
    def _further(self) -> dict[str, dict[str, Any]]:
        """Descriptions of the tables that the overlay alone has."""
        if not self.overlay or not (self.overlay / "datapackage.json").is_file():
            return {}
        further = _resources(self.overlay)
        if twice := sorted(further.keys() & _resources(self.folder).keys()):
            raise FactsError(
                f"{self.overlay / 'datapackage.json'}: table {twice[0]!r} is ours; give yours "
                f"another name, or lay rows over ours in {twice[0]}.csv without describing it"
            )
        return further

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

    @property
    def parameters(self) -> dict[str, Uncertain]:
        """Table `parameters` by symbol, read once: chapters ask for hundreds."""
        self.used.add("parameters")
        return self._parameters

    @cached_property
    def _parameters(self) -> dict[str, Uncertain]:
        chosen = self.table("parameters").select(Uncertain._fields).collect()
        return {one.symbol: one for one in (Uncertain(*row) for row in chosen.iter_rows())}

    def violations(self, name: str) -> list[str]:
        """Every broken rule of table `name`, a line each."""
        return list(self._read(name)[1])

    def broken(self) -> list[str]:
        """Every broken rule of all tables, a line each."""
        broken = [line for name in self.resources for line in self.violations(name)]
        paths = [resource["path"] for resource in self.resources.values()]
        for name in sorted(self.overlaid().keys() - {"datapackage.json", *paths}):
            broken.append(
                f"{name} in {self.overlay} is no table{nearest(name, paths)}; call it as one of "
                "ours to add rows, or describe it in a datapackage.json beside it"
            )
        return broken

    def overlaid(self) -> dict[str, bytes]:
        """The files of the overlay by their path in it, without hidden ones, as of editors."""
        if self.overlay is None:
            return {}
        named = {path.relative_to(self.overlay): path for path in sorted(self.overlay.rglob("*"))}
        return {
            name.as_posix(): path.read_bytes()
            for name, path in named.items()
            if path.suffix in (".csv", ".json")
            and path.is_file()
            and not any(part[0] == "." for part in name.parts)
        }

    def check(self) -> None:
        """FactsError with the first broken rule of all tables, and how many more there are."""
        broken = self.broken()
        if broken:
            more = f" ({len(broken) - 1} more: `stackbook data check`)" if broken[1:] else ""
            raise FactsError(broken[0] + more)

    def digest(self, name: str) -> str:
        """SHA-256 of the table and its schema: what a result that used the table depends on."""
        text = json.dumps(self.resource(name), sort_keys=True).encode()
        return hashlib.sha256(
            text + b"".join(p.read_bytes() for p in self._files(name))
        ).hexdigest()

    def _files(self, name: str) -> list[Path]:
        """The table's file, and the one that the overlay lays over it."""
        path = self.resource(name)["path"]
        if name in self._further and self.overlay:
            return [self.overlay / path]
        laid = [self.overlay / path] if self.overlay and (self.overlay / path).is_file() else []
        return [self.folder / path, *laid]

    def _read(self, name: str) -> tuple[pl.DataFrame, Iterator[str]]:
        resource, (path, *laid) = self.resource(name), self._files(name)
        columns = [field["name"] for field in resource["schema"]["fields"]]
        malformed = self._malformed(name, path, columns)
        if malformed:
            return pl.DataFrame(), iter([malformed])
        raw, frame = _parsed(path, resource)
        broken = self._broken(resource, resource["path"], raw, frame)
        for over in laid:
            malformed = self._malformed(name, over, columns, (REPLACES,))
            if malformed:
                return pl.DataFrame(), chain(broken, [malformed])
            own, typed = _parsed(over, resource)
            broken = chain(
                broken,
                self._broken(resource, str(over), own, typed),
                _clashes(resource, str(over), raw, own),
            )
            key = resource["schema"]["primaryKey"]
            rows = own.select(columns)
            kept = raw.join(rows, on=key, how="anti", nulls_equal=True)
            order = pl.concat_str(pl.col(key).fill_null("None"), separator="\0")
            raw = pl.concat([kept, rows]).sort(order, maintain_order=True)
            frame = _typed_by(resource, raw)
        return frame, broken

    def _malformed(
        self, table: str, path: Path, wanted: list[str], last: tuple[str, ...] = ()
    ) -> str:
        """What keeps the file from being a table of the columns `wanted`; empty if nothing.

        Columns `last` may follow.
        """
        name = path.relative_to(self.folder) if path.is_relative_to(self.folder) else path
        try:
            data = path.read_bytes()
            # Rows end with \n, as polars has it.
            rows = csv.reader(io.StringIO(data.decode(), newline="\n"), strict=True)
            header = next(rows, [])
            if header not in (wanted, [*wanted, *last]):
                return f"{name}: columns are {header}, not {wanted}"
            width = len(header)
            for row in rows:
                if len(row) != width:
                    return (
                        f"{name}, row {rows.line_num}: {len(row)} cells under "
                        f"{width} columns; put text with a comma between quotes"
                    )
        except FileNotFoundError:
            return (
                f"table {table}: there is no {path}; restore the file, "
                "or take the table out of datapackage.json"
            )
        except UnicodeDecodeError as error:
            row_number = data.count(b"\n", 0, error.start) + 1
            return f"{name}, row {row_number}: not UTF-8 CSV, {error}"
        except csv.Error as error:
            return f"{name}, after row {rows.line_num}: not UTF-8 CSV, {error}"
        return ""

    def _broken(
        self, resource: dict[str, Any], path: str, raw: pl.DataFrame, frame: pl.DataFrame
    ) -> Iterator[str]:
        schema = resource["schema"]
        key = schema.get("primaryKey", [])

        def bad(column: str, passes: pl.Expr, rule: str, data: pl.DataFrame = frame) -> list[str]:
            rows = data.select(rows=(~passes).fill_null(False).arg_true()).to_series()
            return [
                f"{path}, row {row + 2}, column {column}: "
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
            there = [
                field["name"] for field in self.resource(other["resource"])["schema"]["fields"]
            ]
            files = self._files(other["resource"])
            if any(self._malformed(other["resource"], file, there, (REPLACES,)) for file in files):
                continue  # said of that table
            known = pl.concat(
                pl.read_csv(each, columns=[target], infer_schema=False)[target] for each in files
            )
            passes = pl.col(name).is_in(known.implode()) | pl.col(name).is_null()
            yield from bad(name, passes, f"one of {other['resource']}.{target}")
        for each in schema.get("rules", []):
            worded = {"rule": each, "message": each} if isinstance(each, str) else each
            rule, message = worded["rule"], worded["message"]
            about = [f["name"] for f in schema["fields"] if re.search(rf"\b{f['name']}\b", rule)]
            if not about:
                raise FactsError(f"table {resource['name']}: rule {rule!r} names no column")
            yield from bad(about[0], pl.sql_expr(rule), message)


def _resources(folder: Path) -> dict[str, dict[str, Any]]:
    path = folder / "datapackage.json"
    try:
        described = json.loads(path.read_text(encoding="utf-8"))["resources"]
        resources = {resource["name"]: resource for resource in described}
        for name, resource in resources.items():
            fields = resource["schema"]["fields"]
            if not resource["path"] or {each["type"] for each in fields} - _TYPES.keys():
                raise ValueError(f"table {name} has no path, or a type of field unknown here")
            if not isinstance(resource["schema"].get("primaryKey", []), list):
                raise ValueError(f"the primaryKey of table {name} is not a list")
    except (ValueError, KeyError, TypeError) as error:
        reason = f"{type(error).__name__}: {error}"
        raise FactsError(
            f"{path}, {reason}; a table has name, path and schema, whose fields have a name and "
            f"one of the types {', '.join(_TYPES)}"
        ) from None
    return resources


def _parsed(path: Path, resource: dict[str, Any]) -> tuple[pl.DataFrame, pl.DataFrame]:
    """The file's cells as text, and in the types of their columns."""
    raw = pl.read_csv(path, infer_schema=False, null_values=[""])
    return raw, _typed_by(resource, raw)


def _typed_by(resource: dict[str, Any], raw: pl.DataFrame) -> pl.DataFrame:
    return raw.with_columns(_typed(field) for field in resource["schema"]["fields"])


def _clashes(
    resource: dict[str, Any], path: str, ours: pl.DataFrame, own: pl.DataFrame
) -> Iterator[str]:
    """Rows of an overlay whose key is ours without saying rightly which row they replace."""
    key = resource["schema"]["primaryKey"]
    if REPLACES not in own.columns:
        own = own.with_columns(pl.lit(None, pl.String).alias(REPLACES))
    number = own.with_row_index("row", 2)
    both = number.join(ours, on=key, how="left", suffix=" of ours", nulls_equal=True)
    known = number.join(ours, on=key, how="semi", nulls_equal=True)["row"]
    for row in both.sort("row").iter_rows(named=True):
        at = f"{path}, row {row['row']}: {', '.join(str(row[each]) for each in key)}"
        given = row[REPLACES]
        if row["row"] not in known:
            if given:
                yield f"{at} replaces a row from {given}, but ours has no such row; leave it empty"
        elif "source of ours" not in both.columns:
            yield f"{at} stands in ours, too; give yours another key"
        elif given != row["source of ours"]:
            cited, yours = row["source of ours"], row["source"]
            was = f", not from {given}" if given else ""
            yield (
                f"{at} clashes: ours is from {cited}{was}, yours from {yours}; "
                f"write {cited} into a last column `{REPLACES}` to put yours in its place"
            )
        elif row["source"] == given:
            yield f"{at} replaces a row and cites its source, {given}; cite the one that says so"


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


def package() -> Package:
    """The book's own tables, with those of the study that we are in laid over them."""
    laid = os.environ.get(OVERLAY)
    own = study()
    folder = Path(laid) if laid else own / "data" if own else None
    return _package(home() / "data", folder if folder and folder.is_dir() else None)


@cache
def _package(folder: Path, overlay: Path | None) -> Package:
    return Package(folder, overlay)


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
    known = package().parameters
    if symbol not in known:
        rows("parameters", "symbol", symbol, "parameter")  # says what there is
    return known[symbol]


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
