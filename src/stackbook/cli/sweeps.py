"""Command on designs: `sweep`."""

import time
from pathlib import Path
from typing import Annotated

import typer

from stackbook import StackbookError
from stackbook.cli.options import Given, Name, Scenario, Scheduler, given_values

app = typer.Typer()


@app.command()
def sweep(
    chapter: Name,
    grid: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=LOW:HIGH:N", help="N even steps; may be repeated."),
    ] = None,
    values: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=A,B,C", help="These values; may be repeated."),
    ] = None,
    sample: Annotated[
        str | None,
        typer.Option(metavar="METHOD:N", help="N points by sobol, halton, lhs or random."),
    ] = None,
    draw: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME[=LOW:HIGH]",
            help="Sample it, evenly or from the range of its evidence; may be repeated.",
        ),
    ] = None,
    seed: Annotated[int, typer.Option(help="Of the sample.", min=0)] = 0,
    finding: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help="This finding alone, without notebooks and far quicker; may be repeated.",
        ),
    ] = None,
    p: Given = None,
    scenario: Scenario = None,
    scheduler: Scheduler = None,
    out: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Default: _build/sweeps/CHAPTER.parquet."),
    ] = None,
    force: Annotated[bool, typer.Option(help="Replace the file and any cases kept.")] = False,
) -> None:
    """Execute a chapter over a design and write its findings as one Parquet file.

    --grid and --values span a full product, each point of it crossed with those of --sample. The
    file has a row for each case and finding, with every parameter. A sweep that was stopped goes
    on with the same command.
    """
    from stackbook.press import designs, sweeps
    from stackbook.press.build import default_store
    from stackbook.press.chapters import Book

    book = Book()
    given = given_values(book, chapter, p, scenario)
    book.check(given, [book.chapter(chapter)])
    set_here = {text.partition("=")[0].strip() for text in p or []}
    named = {text.partition("=")[0].strip() for text in (grid or []) + (values or [])}
    if twice := sorted(set_here & named):
        raise StackbookError(f"parameter {twice[0]} is set with -p and swept; do one of them")
    design = designs.designed(
        book.chapter(chapter),
        given,
        grid=grid or [],
        values=values or [],
        sample=sample,
        draw=draw or [],
        seed=seed,
    )
    path = out or default_store().folder / "sweeps" / f"{chapter.replace('/', '-')}.parquet"
    start = time.monotonic()
    with _Bar(design.size) as told:
        done = sweeps.sweep(
            design,
            path,
            findings=finding or [],
            scheduler=scheduler,
            force=force,
            told=told,
        )
    took = "cached" if done.cached else f"{time.monotonic() - start:.1f} s"
    print(f"{done.cases} cases, {done.failed} failed, {took}: {done.path}")
    if done.failed:
        raise StackbookError(
            f"{done.failed} of {done.cases} cases failed; column error of {done.path} says why"
        )


class _Bar:
    """How far a sweep is, on a terminal."""

    def __init__(self, cases: int) -> None:
        from rich.console import Console
        from rich.progress import (
            BarColumn,
            MofNCompleteColumn,
            Progress,
            TextColumn,
            TimeRemainingColumn,
        )

        console = Console(stderr=True)
        self._bar = Progress(
            BarColumn(bar_width=20),
            MofNCompleteColumn(),
            TextColumn("{task.fields[failed]} failed"),
            TimeRemainingColumn(),
            console=console,
            disable=not console.is_terminal,
        )
        self._task = self._bar.add_task("", total=cases, failed=0)

    def __enter__(self) -> "_Bar":
        self._bar.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._bar.stop()
        if kind is KeyboardInterrupt:
            raise StackbookError("stopped; the same command goes on with the cases that are left")

    def __call__(self, done: int, failed: int) -> None:
        self._bar.update(self._task, completed=done, failed=failed)
