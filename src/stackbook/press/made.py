"""Made sections: what the press itself writes into a page, from the whole book as built.

A page asks for one with a fence whose language is `{made}` and whose text is the section's name.
"""

import json
import re
from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any, NamedTuple

from stackbook import StackbookError, nearest
from stackbook.press.chapters import Book
from stackbook.press.scenarios import BASE
from stackbook.press.store import Store

_FENCE = re.compile(r"^```\{made\} (\w+)\n```$", re.MULTILINE)


class Built(NamedTuple):
    """A book and what was built of it."""

    book: Book
    stores: Mapping[str, Store]
    """By scenario, the book's own values first; that one alone unless all were built."""

    @property
    def base(self) -> Store:
        """The store of the book's own values."""
        return self.stores[BASE]


def filled(text: str, built: Built) -> str:
    """The Markdown `text` of a page with its made sections, which are Markdown, too."""

    def section(fence: re.Match[str]) -> str:
        if fence[1] not in SECTIONS:
            near = nearest(fence[1], SECTIONS)
            raise StackbookError(f"no section {fence[1]!r}{near}; there are {', '.join(SECTIONS)}")
        return SECTIONS[fence[1]](built)

    return _FENCE.sub(section, text)


def chart(finished: Any) -> str:
    """Markdown that draws a chart which `charts.figure` finished."""
    return f"```{{vega-lite}}\n{json.dumps(finished.to_dict())}\n```"


def _in(module: str, name: str) -> Callable[[Built], str]:
    """A function of a module that is not imported before a page asks for it: it needs this one."""
    return lambda built: str(getattr(import_module(f"stackbook.press.{module}"), name)(built))


SECTIONS: dict[str, Callable[[Built], str]] = {
    "changes": _in("changes", "section"),
    "api": _in("reference", "api"),
    "parameters": _in("reference", "parameters"),
    "scenarios": _in("compare", "section"),
}
