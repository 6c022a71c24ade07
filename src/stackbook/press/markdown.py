"""Markdown that the press writes: text and code which nothing in them ends, and tables."""

import re
from collections.abc import Iterable, Iterator

_MARKUP = re.compile(r"([\\\[\]*_`$<>{}#|~^@%&+=])")


def escaped(text: str) -> str:
    """`text` in which nothing is markup."""
    return _MARKUP.sub(r"\\\1", text)


def code(text: str) -> str:
    """`text` as code within a line, which nothing in it ends."""
    text = visible(text)
    fence = longer_than_in(text)
    room = " " if {text[0], text[-1]} & {"`", " "} else ""
    return f"{fence}{room}{text}{room}{fence}"


def visible(text: str) -> str:
    """`text` in one line: what does not print is written as in Python and in bash's $''."""
    seen = {"\n": r"\n", "\t": r"\t"}
    return "".join(
        each if each.isprintable() else seen.get(each, f"\\U{ord(each):08x}") for each in text
    )


def longer_than_in(text: str, least: int = 1) -> str:
    """More backticks than stand together in `text`."""
    return "`" * max([least, *(len(run) + 1 for run in re.findall("`+", text))])


def table(heads: list[str], rows: Iterable[list[str]], kind: str = "") -> Iterator[str]:
    """The lines of a table that scrolls where it is wider than the page; `kind` is for its CSS."""
    yield from ("```{list-table}", f":class: stackbook-params {kind}".rstrip(), ":header-rows: 1")
    yield ""
    for cells in (heads, *rows):
        for number, cell in enumerate(cells):
            yield f"{'  ' if number else '* '}- {cell}"
    yield "```"
