"""What commands print: tables as wide as the terminal, and progress on standard error."""

import sys
from collections.abc import Mapping, Sequence
from math import isfinite
from typing import TYPE_CHECKING, Any

from stackbook import StackbookError

if TYPE_CHECKING:
    from stackbook.press.build import Told


class Progress:
    """A bar for the chapters on a terminal, a line for each elsewhere; both on standard error."""

    def __enter__(self) -> "Told":
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

        self._console = Console(stderr=True)
        self._bars = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=20),
            TextColumn("{task.fields[state]}"),
            TimeElapsedColumn(),
            console=self._console,
            disable=not self._console.is_terminal,
        )
        self._tasks: dict[str, Any] = {}
        self._bars.start()
        return self._told

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._bars.stop()
        if kind is KeyboardInterrupt:
            raise StackbookError("stopped; results made so far are kept for the next build")

    def _told(self, chapter: str, state: str) -> None:
        if self._bars.disable:
            if state != "executing" or chapter == "site":
                print(f"{chapter}: {state}", file=sys.stderr, flush=True)
            return
        if chapter not in self._tasks:
            self._tasks[chapter] = self._bars.add_task(chapter, total=None, state=state)
        done = None if state == "executing" else 1
        self._bars.update(self._tasks[chapter], state=state, total=done, completed=done)


def jsonable(record: dict[str, Any]) -> dict[str, Any]:
    """With null for numbers that JSON does not know."""
    return {
        name: None if isinstance(value, float) and not isfinite(value) else value
        for name, value in record.items()
    }


def print_findings(findings: dict[str, list[dict[str, Any]]]) -> None:
    rows: dict[str, list[list[str] | str]] = {}
    for chapter, records in findings.items():
        rows[chapter] = []
        for record in records:
            spread = f"{record['low']:.6g} to {record['high']:.6g}" if "low" in record else ""
            spread = spread or f"none: {record['why']}"
            rows[chapter].append([record["name"], f"{record['value']:.6g}", record["unit"], spread])
    table(["finding", "value", "unit", "range"], rows)


def table(heads: list[str], groups: Mapping[str, Sequence[list[str] | str]]) -> None:
    """Print rows under the headline of their group, text as wide as the terminal.

    Only the last column wraps, since the others hold names and numbers. A row that is a string
    runs across all columns.
    """
    from shutil import get_terminal_size
    from textwrap import TextWrapper

    rows = [row for group in groups.values() for row in group if not isinstance(row, str)]
    widths = [max(map(len, column)) for column in zip(heads, *rows, strict=True)]
    wrapper = TextWrapper(
        get_terminal_size((200, 24)).columns, break_long_words=False, break_on_hyphens=False
    )

    def show(row: list[str] | str) -> None:
        if isinstance(row, str):
            start, text, wrapper.subsequent_indent = "", row, "     "
        else:
            *cells, text = row
            start = "".join(f"{cell:{width}}  " for cell, width in zip(cells, widths, strict=False))
            wrapper.subsequent_indent = " " * len(start)
        wrapper.initial_indent = start
        print("\n".join(wrapper.wrap(text)) or start.rstrip())

    show(heads)
    show(["-" * len(head) for head in heads])
    for headline, group in groups.items():
        if headline and group:
            print()
            show(headline)
        for row in group:
            show(row)
