"""Scenarios: named values of parameters, each with its story and where its numbers come from."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from stackbook import StackbookError, nearest
from stackbook.press.chapters import Book, Value

BASE = "base"  # the scenario of the book's own values
_NAME = re.compile(r"[A-Za-z0-9_-]+")  # it is part of addresses
_KEYS = {"title": str, "story": str, "parameters": dict, "sources": dict}


class Source(NamedTuple):
    """Where a scenario's value comes from: a key of table `sources`, and how it follows."""

    source: str
    why: str


class Scenario(NamedTuple):
    """Values that hold in one story, checked against the book's parameters."""

    name: str
    title: str
    story: str
    parameters: dict[str, Value]
    sources: dict[str, Source]
    """By parameter; a reader's own scenario may leave them out."""


def shipped(book: Book) -> dict[str, Scenario]:
    """The scenarios of `book/scenarios/` by name, the book's own values first."""
    names = sorted(
        (path.stem for path in _folder(book).glob("*.yml")), key=lambda n: (n != BASE, n)
    )
    for name in names:
        if not _NAME.fullmatch(name):
            raise StackbookError(
                f"{_folder(book)}/{name}.yml: a scenario of the book is called by letters, digits, "
                "- and _; rename the file"
            )
    return {name: scenario(book, name) for name in names}


def scenario(book: Book, name: str) -> Scenario:
    """A scenario of the book by its name, or of a reader by the path of a YAML file.

    StackbookError where it cannot be read, or sets what the book does not have or admit.
    """
    paths = {path.stem: path for path in sorted(_folder(book).glob("*.yml"))}
    try:
        content = yaml.load(paths.get(name, Path(name)).read_bytes(), _Loader)
    except OSError as error:
        raise StackbookError(
            f"scenario {name!r}: {error.strerror}{nearest(name, paths)}; "
            f"give a YAML file or one of {', '.join(paths)}"
        ) from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        reason = " ".join(str(error).split())
        raise StackbookError(f"scenario {name!r} is not readable YAML: {reason}") from None
    content = content if isinstance(content, dict) else {}
    unknown = sorted(map(str, content.keys() - _KEYS.keys()))
    wrong = [key for key, kind in _KEYS.items() if not isinstance(content.get(key, kind()), kind)]
    if unknown or wrong or "parameters" not in content:
        raise StackbookError(
            f"scenario {name!r}: write `parameters:` with name: value lines"
            + (f"; {', '.join(unknown)} means nothing here" if unknown else "")
            + (f"; {', '.join(wrong)} is of another kind" if wrong else "")
        )
    parameters = content["parameters"]
    try:
        book.check(parameters, book.chapters.values())
    except StackbookError as error:
        raise StackbookError(f"scenario {name!r}: {error}") from None
    sources = {each: _source(name, each, said) for each, said in content.get("sources", {}).items()}
    if stray := sources.keys() - parameters.keys():
        raise StackbookError(
            f"scenario {name!r}: sources tells of {', '.join(sorted(map(str, stray)))}, "
            "which parameters does not set"
        )
    title = content.get("title", Path(name).stem)
    return Scenario(Path(name).stem, title, content.get("story", ""), parameters, sources)


def _source(scenario: str, parameter: str, said: Any) -> Source:
    if not isinstance(said, Mapping) or said.keys() != set(Source._fields):
        raise StackbookError(
            f"scenario {scenario!r}: source of {parameter} is {said!r}; "
            "write {source: key of table sources, why: words}"
        )
    return Source(str(said["source"]), str(said["why"]))


def _folder(book: Book) -> Path:
    return book.folder / "scenarios"


class _Loader(yaml.SafeLoader):
    """YAML in which a name stands once."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        names = [self.construct_object(key, deep=True) for key, _ in node.value]
        twice = sorted({str(name) for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"{', '.join(twice)} stands twice")
        return super().construct_mapping(node, deep)
