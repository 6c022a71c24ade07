"""Chapters: the book's sources, and the parameters that each chapter declares."""

import ast
import math
import posixpath
import re
from collections.abc import Iterable, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from stackbook import StackbookError, home, located, nearest, study

Value = float | int | bool | str
Values = Mapping[str, Value]
PATH = "path"  # the unit of a parameter whose value names a reader's file
_KINDS = {"float": "a number", "int": "a whole number", "bool": "true or false", "str": "text"}

# wacc: float = 0.09  # [1/yr, 0.0 to 0.4] cost of capital {r_HS}
_LINE = re.compile(
    r"(?P<name>[a-z]\w*): (?P<kind>float|int|bool|str) = (?P<default>.+?)\s+"
    r"# \[(?P<unit>[^],]+)"
    r"(?:, (?P<low>\S+) to (?P<high>[^\s\]]+)|, one of (?P<choices>[^]]+))?\] "
    r"(?P<meaning>[^{]+?)(?: \{(?P<symbol>\w+)\})?"
)


def plain(value: Value) -> str:
    """`value` as a reader types it: 0.05, 12000, 1.2e9."""
    if not isinstance(value, float):
        return str(value)
    if abs(value) < 1e7:
        return f"{value:.12g}"
    mantissa, exponent = f"{value:.11e}".split("e")
    return f"{float(mantissa):.12g}e{int(exponent)}"


class Parameter(NamedTuple):
    """What a chapter can be re-executed with, as its `parameters` cell declares it."""

    name: str
    kind: str
    default: Value
    unit: str
    low: float | None
    high: float | None
    choices: tuple[str, ...]
    meaning: str
    symbol: str | None
    """Row of table `parameters` that the default was taken from."""

    @property
    def shown_unit(self) -> str:
        """The unit as tables show it; a count, a ratio and a text need none."""
        return "" if self.unit in ("-", "1") else self.unit

    @property
    def bounds(self) -> str:
        """The admitted values in words."""
        if self.choices:
            return " · ".join(self.choices)
        return " to ".join(plain(end) for end in (self.low, self.high) if end is not None)

    def check(self, given: Any) -> Value:
        """`given` (text, too) in this parameter's type; StackbookError where that cannot be."""
        wanted = f"give {_KINDS[self.kind]}" + (f", {self.bounds}" if self.bounds else "")
        wanted += f" [{self.unit}]"
        try:
            value = _read(self.kind, given)
        except (TypeError, ValueError, KeyError):
            raise StackbookError(f"parameter {self.name} = {given!r}: {wanted}") from None
        said = f"parameter {self.name} = {value!r}"
        if isinstance(value, float) and not math.isfinite(value):
            raise StackbookError(f"{said} is not finite: {wanted}")
        if self.choices and value not in self.choices:
            near = nearest(str(value), self.choices)
            raise StackbookError(f"{said}{near} is not admitted: {wanted}")
        if self.unit == PATH:
            try:
                located(str(value))
            except StackbookError as error:
                raise StackbookError(
                    f"parameter {self.name}: {error}; give the path of one"
                ) from None
        if isinstance(value, float | int) and self.low is not None and self.high is not None:
            within = self.low <= value <= self.high
            if not within:
                raise StackbookError(f"{said} is out of bounds: {wanted}")
        return value


class Chapter(NamedTuple):
    """An executable chapter: its name in the table of contents, source and parameters."""

    name: str
    source: str
    parameters: dict[str, Parameter]

    @property
    def title(self) -> str:
        """Its first heading."""
        found = re.search(r"^# (.+)$", self.source, re.MULTILINE)
        return found[1] if found else self.name

    def values(self, given: Values) -> dict[str, Value]:
        """Every parameter's value: the default, or the one `given`, which must be admissible."""
        return {
            name: parameter.check(given[name]) if name in given else parameter.default
            for name, parameter in self.parameters.items()
        }

    def files(self, values: Values) -> dict[str, bytes]:
        """Content of the reader's files that `values` name, by the path as given."""
        paths = [str(values[name]) for name, one in self.parameters.items() if one.unit == PATH]
        return {path: located(path).read_bytes() for path in paths}

    def changed(self, values: Values) -> dict[str, Value]:
        """Those of `values` that differ from the default."""
        return {n: v for n, v in values.items() if v != self.parameters[n].default}


class Book:
    """The folder with `_config.yml` and `book/`: of the study that we are in, else our own."""

    def __init__(self, folder: Path | None = None) -> None:
        root = folder or study() or home()
        self.config = root / "_config.yml"
        self.folder = root / "book"

    @cached_property
    def files(self) -> list[str]:
        """Names of all pages in reading order, as in `_toc.yml`."""
        path = self.folder / "_toc.yml"
        toc = said_in(path)
        try:
            parts = toc.get("parts", [toc])
            entries = [entry for part in parts for entry in part.get("chapters", [])]
            names = [toc["root"], *(entry["file"] for entry in entries)]
        except (KeyError, TypeError, AttributeError):
            raise StackbookError(
                f"{path}: write `root`, and `chapters` or `parts` of chapters, each with its `file`"
            ) from None
        for entry in entries:
            if entry.keys() - {"file", "title"}:
                raise StackbookError(f"_toc.yml: {entry} is more than a file and its title")
        for name in map(str, names):
            if name != posixpath.normpath(name) or name.startswith(("/", "..")) or "\0" in name:
                raise StackbookError(f"_toc.yml names {name!r}; give the path of a page in book/")
        return names

    @cached_property
    def chapters(self) -> dict[str, Chapter]:
        """The pages that are executed, by name."""
        found = {}
        for name in self.files:
            path = self.folder / f"{name}.md"
            if not path.is_file():
                raise StackbookError(f"_toc.yml names {name}, but there is no {path}")
            source = text_of(path)
            if source.startswith("---\n") and "\nkernelspec:" in source.split("\n---\n")[0]:
                found[name] = Chapter(name, source, declared(name, source))
        return found

    def chapter(self, name: str) -> Chapter:
        """The chapter `name`; StackbookError offers the nearest."""
        try:
            return self.chapters[name]
        except KeyError:
            if name not in self.files and (self.folder / f"{name}.md").is_file():
                raise StackbookError(
                    f"book/{name}.md is there, but book/_toc.yml does not list it; add it"
                ) from None
            near = nearest(name, self.chapters)
            raise StackbookError(
                f"no chapter {name!r}{near}; the chapters are {', '.join(self.chapters)}"
            ) from None

    def check(self, given: Values, chapters: Iterable[Chapter]) -> None:
        """StackbookError for a name that none of `chapters` knows, or a value one refuses."""
        chapters = list(chapters)
        known = {name for chapter in chapters for name in chapter.parameters}
        for name in given:
            if name not in known:
                owners = [each.name for each in self.chapters.values() if name in each.parameters]
                near = f", but in {', '.join(owners)}" if owners else nearest(str(name), known)
                names = [chapter.name for chapter in chapters]
                where = "the book" if names[3:] else ", ".join(names)
                raise StackbookError(
                    f"no parameter {name!r} in {where}{near}; `stackbook params` lists them"
                )
        for chapter in chapters:
            chapter.values(given)


def text_of(path: Path) -> str:
    """What stands in a file of the book."""
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise StackbookError(f"{path}: {error}; save it as UTF-8") from None


def said_in(path: Path) -> dict[str, Any]:
    """What a YAML file of the book says, by name."""
    try:
        content = yaml.safe_load(text_of(path)) or {}
    except yaml.YAMLError as error:
        reason = " ".join(str(error).split())
        raise StackbookError(f"{path} is not readable YAML: {reason}") from None
    if not isinstance(content, dict):
        raise StackbookError(f"{path}: write `name: value` lines, not {content!r}")
    return content


def declared(name: str, source: str) -> dict[str, Parameter]:
    """Parameters that the cell tagged `parameters` of chapter `name` declares, a line each."""
    import jupytext
    from nbformat import ValidationError

    try:
        notebook = jupytext.reads(source, fmt="md:myst")
    except (ValidationError, yaml.YAMLError) as error:
        reason = " ".join(str(error).split())[:200]
        raise StackbookError(f"chapter {name} is no notebook: {reason}") from None
    cells = [
        cell.source for cell in notebook.cells if "parameters" in cell.metadata.get("tags", [])
    ]
    lines = [line for cell in cells for line in cell.splitlines() if line.strip()]
    parameters: dict[str, Parameter] = {}
    for parameter in (_declared(name, line) for line in lines):
        if parameter.name in parameters:
            raise StackbookError(f"chapter {name}: {parameter.name} is declared twice")
        parameters[parameter.name] = parameter
    return parameters


def assigned(text: str) -> tuple[str, str]:
    """Name and value of `name=value` as given on the command line."""
    name, equals, value = (part.strip() for part in text.partition("="))
    if not (equals and name):
        raise StackbookError(f"-p {text!r}: write name=value, e.g. -p usd_per_kwh=0.05")
    return name, value


def _read(kind: str, value: Any) -> Value:
    """`value` as a `kind`, where it is one or is the text of one."""
    match kind, value:
        case "bool", bool():
            return value
        case "bool", str():
            return {"true": True, "false": False}[value.lower()]
        case _, bool():
            raise TypeError
        case "int", int():
            return value
        case "int", str():
            return int(value)
        case "float", float() | int() | str():
            return float(value)
        case "str", str():
            if "\0" in value:
                raise ValueError
            value.encode()  # bytes of a terminal that are not UTF-8 fail
            return value
    raise TypeError


def _declared(chapter: str, line: str) -> Parameter:
    found = _LINE.fullmatch(line.strip())
    if not found:
        raise StackbookError(
            f"chapter {chapter}: parameter line {line.strip()!r} does not read "
            "`name: type = default  # [unit, low to high] meaning`"
        )
    part = found.groupdict()
    low, high, choices = part["low"], part["high"], part["choices"]
    try:
        parameter = Parameter(
            name=part["name"],
            kind=part["kind"],
            default=ast.literal_eval(part["default"]),
            unit=part["unit"],
            low=None if low is None else float(low),
            high=None if high is None else float(high),
            choices=tuple(choices.split(" | ")) if choices else (),
            meaning=part["meaning"],
            symbol=part["symbol"],
        )
        if parameter.kind in ("float", "int") and parameter.low is None:
            raise ValueError("give bounds, as in [unit, low to high]")
        return parameter._replace(default=parameter.check(parameter.default))
    except (StackbookError, ValueError, SyntaxError) as error:
        raise StackbookError(f"chapter {chapter}: {line.strip()!r}: {error}") from None
