"""Made sections: what the press itself writes into a page, from the whole book as built.

A page asks for one with a fence whose language is `{made}` and whose text is the section's name.
"""

import json
import re
from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any

from stackbook import StackbookError, nearest
from stackbook.press.chapters import Book
from stackbook.press.scenarios import BASE
from stackbook.press.store import Store

_FENCE = re.compile(r"^```\{made\} (\w+)\n```$", re.MULTILINE)


class Built:
    """A book and what was built of it: its stores by scenario, the book's own values first.

    That one stands alone unless all were built.
    """

    def __init__(self, book: Book, stores: Mapping[str, Store]) -> None:
        self.book = book
        self.stores = stores
        self._sections: dict[str, str] = {}

    def section(self, name: str) -> str:
        """A made section, made once for the pages under all scenarios."""
        if name not in SECTIONS:
            near = nearest(name, SECTIONS)
            raise StackbookError(f"no section {name!r}{near}; there are {', '.join(SECTIONS)}")
        if name not in self._sections:
            self._sections[name] = SECTIONS[name](self)
        return self._sections[name]

    @property
    def base(self) -> Store:
        """The store of the book's own values."""
        return self.stores[BASE]


def filled(text: str, built: Built) -> str:
    """The Markdown `text` of a page with its made sections, which are Markdown, too."""
    return _FENCE.sub(lambda fence: built.section(fence[1]), text)


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
