"""Build: execute what changed on Dask, keep every result, render the site with Jupyter Book."""

import hashlib
import logging
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.metadata import distributions
from pathlib import Path
from typing import Any

import stackbook
from stackbook import StackbookError, facts
from stackbook.press import pages
from stackbook.press.chapters import Book, Chapter, Value, Values
from stackbook.press.execution import Executed, Failed, digest, execute
from stackbook.press.store import STAGING, Store, write

Told = Callable[[str, str], None]
"""Receives a chapter's name and what became of it: cached, executing, executed, failed, and
that it is back at the book's parameters."""

_SCHEDULER_TIMEOUT = 10  # s
_STAMP = ".made-from"  # in the site: what it was made from, and its shape


def build(
    book: Book,
    store: Store,
    given: Values,
    *,
    only: str | None = None,
    scheduler: str | None = None,
    force: bool = False,
    told: Told = lambda chapter, state: None,
) -> None:
    """Bring the site up to date, executing only chapters whose result is not known.

    With `only`, that chapter alone takes the parameters `given`; the others stay as last built.
    Raises StackbookError; then every result made is kept and the last good site stays.
    """
    chosen = list(book.chapters.values()) if only is None else [book.chapter(only)]
    book.check(given, chosen)
    with store.locked():
        work = {chapter.name: chapter.values(given) for chapter in chosen}
        for chapter in book.chapters.values():
            if chapter.name not in work and store.shown(chapter) is None:
                work[chapter.name] = chapter.values({})
        results = run(book, store, work, scheduler=scheduler, force=force, told=told)
        for name, result in results.items():
            chapter = book.chapters[name]
            was = store.shown(chapter)
            store.show(chapter, result)
            if was and chapter.changed(was.values) and not chapter.changed(work[name]):
                told(name, "back at the book's parameters")
        pages.prepare(book, store)
        render(store, told, force=force)


def run(
    book: Book,
    store: Store,
    work: dict[str, dict[str, Value]],
    *,
    scheduler: str | None = None,
    force: bool = False,
    told: Told = lambda chapter, state: None,
) -> dict[str, Executed]:
    """Results of the chapters named in `work`, at its values.

    Raises StackbookError if any failed, or a table that they may read breaks a rule.
    """
    results: dict[str, Executed] = {}
    for name, values in work.items():
        known = None if force else store.load(book.chapters[name], values)
        if known:
            results[name] = known
            told(name, "cached")
    missing = {name: values for name, values in work.items() if name not in results}
    failures: list[str] = []
    if missing:
        facts.package().check()
        todo = [(book.chapters[name], values) for name, values in missing.items()]
        for chapter, outcome in _executed(todo, scheduler, told):
            failed = store.failed / f"{chapter.name}.ipynb"
            if isinstance(outcome, Failed):
                told(chapter.name, "failed")
                failures.append(outcome.message)
                if outcome.notebook:
                    write(failed, outcome.notebook)
                    failures[-1] += f" (up to there: {failed})"
                continue
            _check_worker(outcome)
            store.save(chapter, missing[chapter.name], outcome)
            failed.unlink(missing_ok=True)
            results[chapter.name] = outcome
            told(chapter.name, "executed")
    if failures:
        raise StackbookError("; ".join(failures))
    return results


def _executed(
    todo: list[tuple[Chapter, dict[str, Value]]], scheduler: str | None, told: Told
) -> Iterator[tuple[Chapter, Executed | Failed]]:
    from distributed import as_completed

    with _client(scheduler, len(todo)) as client:
        futures = {}
        for chapter, values in todo:
            future = client.submit(execute, chapter, values, chapter.files(values), pure=False)
            futures[future] = chapter
            told(chapter.name, "executing")
        for future in as_completed(futures):
            chapter = futures[future]
            try:
                yield chapter, future.result()
            except Exception as error:  # the worker or the scheduler, not the chapter
                reason = " ".join(f"{type(error).__name__}: {error}".split())
                yield chapter, Failed(f"chapter {chapter.name} was lost by Dask: {reason}", "")


@contextmanager
def _client(scheduler: str | None, tasks: int) -> Iterator[Any]:
    """A Dask client: of the cluster at `scheduler`, or of a local one made for these tasks."""
    from distributed import Client, LocalCluster

    if scheduler is not None:
        try:
            client = Client(scheduler, timeout=_SCHEDULER_TIMEOUT)
            client.wait_for_workers(1, timeout=_SCHEDULER_TIMEOUT)
        except Exception as error:
            raise StackbookError(
                f"no Dask scheduler with a worker at {scheduler!r}: "
                f"{' '.join(str(error).split())}; start both with `dask scheduler` and "
                "`dask worker ADDRESS`, or leave out --scheduler"
            ) from None
        with client:
            yield client
        return
    # Threads suffice: each chapter runs in a Jupyter kernel, a process of its own.
    threads = min(tasks, os.cpu_count() or 1)
    with (
        LocalCluster(
            n_workers=1,
            threads_per_worker=threads,
            processes=False,
            # Dask opens web servers in any case, but need not on every network.
            dashboard_address="127.0.0.1:0",
            worker_dashboard_address="127.0.0.1:0",
            memory_limit=0,
            silence_logs=logging.CRITICAL,
        ) as cluster,
        Client(cluster) as client,
    ):
        yield client


def _check_worker(result: Executed) -> None:
    """A worker with another stackbook gives results that belong to other sources."""
    for name, seen in result.used.items():
        # A reader's file travelled; it may have changed here since.
        if not name.startswith("file:") and digest(name) != seen:
            raise StackbookError(
                f"the {name.replace(':', ' ')} that a chapter ran with is not the one here; "
                "install the same stackbook and libraries on the Dask workers"
            )


def render(store: Store, told: Told, *, force: bool = False) -> None:
    """Run Jupyter Book over `pages/` and publish, unless the site says so already."""
    inputs = _inputs(store)
    if not force and _stamp(store.html) == f"{inputs} {_shape(store.html)}":
        told("site", "cached")
        return
    told("site", "executing")
    log = store.folder / "jupyter-book.log"
    # An empty folder each time: what Sphinx keeps between runs shows in the bytes of its pages.
    with tempfile.TemporaryDirectory(dir=store.folder, prefix=STAGING) as staging:
        command = [
            *(sys.executable, "-c", "from jupyter_book.cli.main import main; main()", "build"),
            *(str(store.pages), "--path-output", staging),
            *("--warningiserror", "--keep-going", "--quiet"),
        ]
        with log.open("w") as output:
            done = subprocess.run(command, stdout=output, stderr=subprocess.STDOUT)
        if done.returncode:
            from sphinx.util.console import strip_colors

            told("site", "failed")
            lines = strip_colors(log.read_text(encoding="utf-8", errors="replace")).splitlines()
            said = [line for line in lines if re.search("WARNING|ERROR|Error:", line)]
            why = " | ".join(said[:3] or lines[-1:]) or f"exit code {done.returncode}"
            raise StackbookError(f"Jupyter Book stopped: {why} (all of it: {log})")
        site = Path(staging, "_build", "html")
        write(site / _STAMP, f"{inputs} {_shape(site)}")
        store.publish(site)
    told("site", "executed")


def _inputs(store: Store) -> str:
    """Digest of everything that the site is made from."""
    total = hashlib.sha256()
    package = Path(stackbook.__file__).parent
    for path in (package / "press" / "site.py", *sorted((package / "charts").glob("*.py"))):
        total.update(path.read_bytes())
    for path in sorted(store.pages.rglob("*")):
        if path.is_file():
            total.update(f"{path.relative_to(store.pages)}\0".encode() + path.read_bytes())
    libraries = sorted(f"{each.name} {each.version}" for each in distributions())
    return hashlib.sha256(f"{total.hexdigest()} {libraries}".encode()).hexdigest()


def _shape(site: Path) -> str:
    """Digest of the site's file names and sizes: tells a whole site from one that lost files."""
    files = [path for path in sorted(site.rglob("*")) if path.is_file() and path.name != _STAMP]
    shape = [(str(path.relative_to(site)), path.stat().st_size) for path in files]
    return hashlib.sha256(repr(shape).encode()).hexdigest()


def _stamp(site: Path) -> str:
    """What `render` wrote beside the pages that it published."""
    path = site / _STAMP
    return path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""


def default_store() -> Store:
    """`_build/` in the current folder."""
    return Store(Path("_build"))
