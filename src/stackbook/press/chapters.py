"""Chapters: the book's sources, and the parameters that each chapter declares."""

import difflib
import math
import re
from collections.abc import Iterable, Mapping
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from stackbook import StackbookError, home

Value = float | int | bool | str
Values = Mapping[str, Value]
_KINDS: dict[str, type] = {"float": float, "int": int, "bool": bool, "str": str}

# wacc: float = 0.09  # [1/yr, 0.0 to 0.4] cost of capital {r_HS}
_LINE = re.compile(
    r"(?P<name>[a-z]\w*): (?P<kind>float|int|bool|str) = (?P<default>.+?)\s+"
    r"# \[(?P<unit>[^],]+)"
    r"(?:, (?P<low>\S+) to (?P<high>[^\s\]]+)|, one of (?P<choices>[^]]+))?\] "
    r"(?P<meaning>[^{]+?)(?: \{(?P<symbol>\w+)\})?"
)


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
    def bounds(self) -> str:
        """The admitted values in words."""
        if self.choices:
            return " · ".join(self.choices)
        return "" if self.low is None else f"{self.low:g} to {self.high:g}"

    def check(self, value: Any) -> Value:
        """`value` in this parameter's type; StackbookError where type or bounds forbid it."""
        kind = _KINDS[self.kind]
        if kind is float and type(value) in (int, str):  # YAML reads 1e9 as text
            with suppress(ValueError):
                value = float(str(value))
        given = f"parameter {self.name} = {value!r}"
        if type(value) is not kind:
            raise StackbookError(f"{given}: give a {self.kind} [{self.unit}]")
        if isinstance(value, float) and not math.isfinite(value):
            raise StackbookError(f"{given} is not finite: give a number in {self.bounds}")
        if self.choices and value not in self.choices:
            raise StackbookError(
                f"{given}{_nearest(str(value), self.choices)}: one of {self.bounds}"
            )
        if isinstance(value, float | int) and self.low is not None and self.high is not None:
            within = self.low <= value <= self.high
            if not within:
                raise StackbookError(f"{given} is out of bounds: give {self.bounds} [{self.unit}]")
        return value  # type: ignore[no-any-return]  # of the type just checked


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


class Book:
    """The folder with `_config.yml` and `book/`; by default the book that stackbook ships."""

    def __init__(self, folder: Path | None = None) -> None:
        self.config = (folder or home()) / "_config.yml"
        self.folder = (folder or home()) / "book"

    @cached_property
    def files(self) -> list[str]:
        """Names of all pages in reading order, as in `_toc.yml`."""
        toc = yaml.safe_load((self.folder / "_toc.yml").read_text(encoding="utf-8"))
        parts = toc.get("parts", [toc])
        return [toc["root"], *(entry["file"] for part in parts for entry in part["chapters"])]

    @cached_property
    def chapters(self) -> dict[str, Chapter]:
        """The pages that are executed, by name."""
        found = {}
        for name in self.files:
            path = self.folder / f"{name}.md"
            if not path.is_file():
                raise StackbookError(f"_toc.yml names {name}, but there is no {path}")
            source = path.read_text(encoding="utf-8")
            if source.startswith("---\n") and "\nkernelspec:" in source.split("\n---\n")[0]:
                found[name] = Chapter(name, source, declared(name, source))
        return found

    def chapter(self, name: str) -> Chapter:
        """The chapter `name`; StackbookError offers the nearest."""
        try:
            return self.chapters[name]
        except KeyError:
            near = _nearest(name, self.chapters)
            raise StackbookError(
                f"no chapter {name!r}{near}; the chapters are {', '.join(self.chapters)}"
            ) from None

    def check(self, given: Values, chapters: Iterable[Chapter]) -> None:
        """StackbookError for a name that none of `chapters` knows, or a value one refuses."""
        chapters = list(chapters)
        known = {name for chapter in chapters for name in chapter.parameters}
        for name in given:
            if name not in known:
                names = ", ".join(chapter.name for chapter in chapters)
                near = _nearest(name, known)
                raise StackbookError(
                    f"no parameter {name!r}{near} in {names}; `stackbook params` lists them"
                )
        for chapter in chapters:
            chapter.values(given)

    def scenario(self, name: str) -> dict[str, Value]:
        """Parameters of a scenario: a YAML file, or the name of one in `book/scenarios/`."""
        shipped = self.folder / "scenarios" / f"{name}.yml"
        path = shipped if shipped.is_file() and not Path(name).is_file() else Path(name)
        try:
            content = yaml.safe_load(path.read_text(encoding="utf-8"))
            parameters = content["parameters"]
        except OSError as error:
            names = ", ".join(sorted(file.stem for file in shipped.parent.glob("*.yml")))
            raise StackbookError(
                f"scenario {name}: {error.strerror}; give a YAML file or one of {names}"
            ) from error
        except (yaml.YAMLError, UnicodeDecodeError) as error:
            reason = " ".join(str(error).split())
            raise StackbookError(f"scenario {name} is not readable YAML: {reason}") from error
        except (TypeError, KeyError):
            parameters = None
        if not isinstance(parameters, dict):
            raise StackbookError(f"scenario {name}: no `parameters:` with name: value lines")
        return {str(key): value for key, value in parameters.items()}


def declared(name: str, source: str) -> dict[str, Parameter]:
    """Parameters that the cell tagged `parameters` of chapter `name` declares, a line each."""
    import jupytext
    from nbformat import ValidationError

    try:
        notebook = jupytext.reads(source, fmt="md:myst")
    except ValidationError as error:
        raise StackbookError(f"chapter {name} is no notebook: {error.message}") from None
    cells = [
        cell.source for cell in notebook.cells if "parameters" in cell.metadata.get("tags", [])
    ]
    lines = [line for cell in cells for line in cell.splitlines() if line.strip()]
    return {parameter.name: parameter for parameter in (_declared(name, line) for line in lines)}


def assigned(text: str) -> tuple[str, Value]:
    """Name and value of `name=value` as given on the command line."""
    name, equals, value = text.partition("=")
    if not (equals and name.strip() and value.strip()):
        raise StackbookError(f"-p {text!r}: write name=value, e.g. -p wacc=0.09")
    try:
        return name.strip(), yaml.safe_load(value)
    except yaml.YAMLError:
        return name.strip(), value


def _declared(chapter: str, line: str) -> Parameter:
    found = _LINE.fullmatch(line.strip())
    if not found:
        raise StackbookError(
            f"chapter {chapter}: parameter line {line.strip()!r} does not read "
            "`name: type = default  # [unit, low to high] meaning`"
        )
    low, high, choices = found["low"], found["high"], found["choices"]
    try:
        parameter = Parameter(
            name=found["name"],
            kind=found["kind"],
            default=_KINDS["str"]() if found["kind"] == "str" else 0,
            unit=found["unit"],
            low=None if low is None else float(low),
            high=None if high is None else float(high),
            choices=tuple(choices.split(" | ")) if choices else (),
            meaning=found["meaning"],
            symbol=found["symbol"],
        )
        default: Any = yaml.safe_load(found["default"].replace("_", ""))
        if found["kind"] == "bool":
            default = {"True": True, "False": False}[found["default"]]
        if found["kind"] == "str":
            default = found["default"].strip("\"'")
        return parameter._replace(default=parameter.check(default))
    except (StackbookError, ValueError, KeyError) as error:
        raise StackbookError(f"chapter {chapter}: {line.strip()!r}: {error}") from error


def _nearest(name: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(name, list(known), n=1, cutoff=0.5)
    return f" (did you mean {near[0]}?)" if near else ""
