"""Build: execute what changed on Dask, keep every result, render the site with Jupyter Book."""

import hashlib
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from stackbook import StackbookError
from stackbook.press import pages
from stackbook.press.chapters import Book, Chapter, Value, Values
from stackbook.press.execution import Executed, Failed, digest, execute
from stackbook.press.store import Store, write

Told = Callable[[str, str], None]
"""Receives a chapter's name and what became of it: cached, executing, executed, failed."""

_SCHEDULER_TIMEOUT = 10  # s


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
    chosen = [book.chapter(only)] if only else list(book.chapters.values())
    book.check(given, chosen)
    with store.locked():
        work = {chapter.name: chapter.values(given) for chapter in chosen}
        for chapter in book.chapters.values():
            if chapter.name not in work and store.shown(chapter) is None:
                work[chapter.name] = chapter.values({})
        results = run(book, store, work, scheduler=scheduler, force=force, told=told)
        for name, result in results.items():
            store.show(book.chapters[name], result)
        pages.prepare(book, store)
        render(book, store, told)


def run(
    book: Book,
    store: Store,
    work: dict[str, dict[str, Value]],
    *,
    scheduler: str | None = None,
    force: bool = False,
    told: Told = lambda chapter, state: None,
) -> dict[str, Executed]:
    """Results of the chapters named in `work`, at its values; StackbookError if any failed."""
    results: dict[str, Executed] = {}
    for name, values in work.items():
        known = None if force else store.load(book.chapters[name], values)
        if known:
            results[name] = known
            told(name, "cached")
    missing = {name: values for name, values in work.items() if name not in results}
    failures: list[str] = []
    if missing:
        todo = [(book.chapters[name], values) for name, values in missing.items()]
        for chapter, outcome in _executed(todo, scheduler, told):
            failed = store.failed / f"{chapter.name}.ipynb"
            if isinstance(outcome, Failed):
                told(chapter.name, "failed")
                failures.append(outcome.message)
                if outcome.notebook:
                    write(failed, outcome.notebook)
                continue
            _check_worker(outcome)
            store.save(chapter, missing[chapter.name], outcome)
            failed.unlink(missing_ok=True)
            results[chapter.name] = outcome
            told(chapter.name, "executed")
    if failures:
        where = f" (notebooks up to the error are in {store.failed})"
        raise StackbookError("; ".join(failures) + where)
    return results


def _executed(
    todo: list[tuple[Chapter, dict[str, Value]]], scheduler: str | None, told: Told
) -> Iterator[tuple[Chapter, Executed | Failed]]:
    from distributed import as_completed

    with _client(scheduler, len(todo)) as client:
        futures = {}
        for chapter, values in todo:
            future = client.submit(execute, chapter, values, pure=False)
            futures[future] = chapter
            told(chapter.name, "executing")
        for future in as_completed(futures):
            chapter = futures[future]
            error = future.exception()
            if error is None:
                yield chapter, future.result()
            else:  # the worker itself, or its stackbook
                reason = " ".join(f"{type(error).__name__}: {error}".split())
                yield chapter, Failed(f"chapter {chapter.name} was lost: {reason}", "")


@contextmanager
def _client(scheduler: str | None, tasks: int) -> Iterator[Any]:
    """A Dask client: of the cluster at `scheduler`, or of a local one made for these tasks."""
    from distributed import Client, LocalCluster

    if scheduler:
        try:
            client = Client(scheduler, timeout=_SCHEDULER_TIMEOUT)
        except (OSError, ValueError) as error:
            raise StackbookError(
                f"no Dask scheduler answers at {scheduler}: {' '.join(str(error).split())}; "
                "start one with `dask scheduler`, or leave out --scheduler"
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
            dashboard_address="127.0.0.1:0",  # Dask opens one regardless; not to the network
            memory_limit=0,
        ) as cluster,
        Client(cluster) as client,
    ):
        yield client


def _check_worker(result: Executed) -> None:
    """A worker with another stackbook would give results that belong to other sources."""
    for name, seen in result.used.items():
        if digest(name) != seen:
            raise StackbookError(
                f"the Dask worker has another {name.replace(':', ' ')} than this machine; "
                "install the same stackbook and libraries there"
            )


def render(book: Book, store: Store, told: Told) -> None:
    """Run Jupyter Book over `pages/` and publish, unless the site says so already."""
    inputs = _inputs(store)
    stamp = store.folder / "site.sha256"
    names = [store.html / f"{name}.html" for name in book.files]
    known = stamp.is_file() and stamp.read_text(encoding="utf-8") == inputs
    if known and all(path.is_file() for path in names):
        told("site", "cached")
        return
    told("site", "executing")
    # From nothing each time: what Sphinx keeps between runs shows in the bytes of its pages.
    shutil.rmtree(store.staging, ignore_errors=True)
    log = store.folder / "jupyter-book.log"
    command = [
        *(sys.executable, "-c", "from jupyter_book.cli.main import main; main()", "build"),
        *(str(store.pages), "--path-output", str(store.staging)),
        *("--warningiserror", "--keep-going", "--quiet"),
    ]
    with log.open("w") as output:
        plain = os.environ | {"NO_COLOR": "1"}
        done = subprocess.run(command, stdout=output, stderr=subprocess.STDOUT, env=plain)
    if done.returncode:
        told("site", "failed")
        lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
        told_by = [line for line in lines if re.search("WARNING|ERROR|Error:", line)]
        raise StackbookError(f"Jupyter Book stopped: {' | '.join(told_by[:3])} (all of it: {log})")
    store.publish(store.staging / "_build" / "html")
    write(stamp, inputs)
    told("site", "executed")


def _inputs(store: Store) -> str:
    """Digest of everything that the site is made from."""
    total = hashlib.sha256()
    for path in sorted(store.pages.rglob("*")):
        if path.is_file():
            total.update(f"{path.relative_to(store.pages)}\0".encode() + path.read_bytes())
    for name in ("module:stackbook.press.site", "library:jupyter-book", "library:sphinx"):
        total.update(digest(name).encode())
    return total.hexdigest()


def default_store() -> Store:
    """`_build/` in the current folder."""
    return Store(Path("_build"))
