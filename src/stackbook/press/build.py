"""Build: execute what changed on Dask, keep every result, render the site with Jupyter Book."""

import hashlib
import logging
import os
import re
import shutil
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from importlib.metadata import distributions
from pathlib import Path
from typing import Any, NamedTuple

import stackbook
from stackbook import StackbookError, facts
from stackbook.press import pages
from stackbook.press.chapters import Book, Chapter, Value, Values
from stackbook.press.execution import Executed, Failed, execute, foreign
from stackbook.press.made import Built
from stackbook.press.scenarios import BASE, shipped
from stackbook.press.store import KEPT, SCENARIOS, STAGING, Store, write

Told = Callable[[str, str], None]
"""Receives a chapter's name and what became of it: cached, executing, executed, failed, and
that it is back at the book's parameters."""

_SCHEDULER_TIMEOUT = 30  # s
_STAMP = ".made-from"  # in the site: what it was made from, and its shape


class Case(NamedTuple):
    """A chapter at some values."""

    chapter: Chapter
    values: dict[str, Value]


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
        work = {chapter.name: Case(chapter, chapter.values(given)) for chapter in chosen}
        for chapter in book.chapters.values():
            if chapter.name not in work and store.shown(chapter) is None:
                work[chapter.name] = Case(chapter, chapter.values({}))
        results = run(store, work, scheduler=scheduler, force=force, told=told)
        for name, result in results.items():
            chapter, values = work[name]
            was = store.shown(chapter)
            store.show(chapter, result)
            if was and chapter.changed(was.values) and not chapter.changed(values):
                told(name, "back at the book's parameters")
        pages.prepare(Built(book, {BASE: store}), store)
        _publish(store, {"": store}, told, force=force)


def build_all(
    book: Book,
    store: Store,
    *,
    scheduler: str | None = None,
    force: bool = False,
    told: Told = lambda chapter, state: None,
) -> None:
    """Bring the site up to date under every scenario of the book, with a switcher on each page.

    The book's own values are at the root, the others under `scenarios/`. Raises as `build` does.
    """
    stories = shipped(book)
    if BASE not in stories:
        raise StackbookError(
            f"there is no {book.folder}/scenarios/{BASE}.yml, the book at its own values; "
            "write it with a title and `parameters: {}`"
        )
    stores = {name: store if name == BASE else store.under(name) for name in stories}
    cases = {
        _label(story, chapter.name): Case(chapter, chapter.values(parameters))
        for story, parameters in ((name, each.parameters) for name, each in stories.items())
        for chapter in book.chapters.values()
    }
    with store.locked():
        results = run(store, cases, scheduler=scheduler, force=force, told=told)
        for story, there in stores.items():
            for name, chapter in book.chapters.items():
                there.show(chapter, results[_label(story, name)])
        for old in (store.folder / SCENARIOS).glob("*"):
            if old.name not in stories:
                shutil.rmtree(old)
        built = Built(book, stores)
        for story, there in stores.items():
            pages.prepare(built, there, stories, story)
        _publish(store, {_label(name): each for name, each in stores.items()}, told, force=force)


def _label(story: str, page: str = "") -> str:
    """Where a page under a scenario is, in messages and in the site."""
    return page if story == BASE else f"{SCENARIOS}/{story}/{page}".rstrip("/")


def run(
    store: Store,
    cases: Mapping[str, Case],
    *,
    scheduler: str | None = None,
    force: bool = False,
    told: Told = lambda chapter, state: None,
) -> dict[str, Executed]:
    """Results of `cases` by their names; equal ones are executed once.

    A notebook that failed stays in `store.failed` until the next run. Raises StackbookError if any
    failed, or a table that they may read breaks a rule.
    """
    shutil.rmtree(store.failed, ignore_errors=True)
    results: dict[str, Executed] = {}
    twins: dict[str, list[str]] = {}
    for name, case in cases.items():
        twins.setdefault(repr(case), []).append(name)
    missing: dict[str, Case] = {}
    for names in twins.values():
        case = cases[names[0]]
        known = None if force else store.load(*case)
        if known:
            results |= dict.fromkeys(names, known)
            for name in names:
                told(name, "cached")
        else:
            missing[names[0]] = case
    failures: list[str] = []
    if missing:
        facts.package().check()
        for name, outcome in _executed(missing, scheduler, told):
            if isinstance(outcome, Failed):
                told(name, "failed")
                failures.append(outcome.message)
                if outcome.notebook:
                    failed = store.failed / f"{name}.ipynb"
                    write(failed, outcome.notebook)
                    failures[-1] += f" (up to there: {failed})"
                continue
            if other := _moved(outcome):
                told(name, "failed")
                failures.append(other)
                continue
            store.save(*missing[name], outcome)
            for twin in twins[repr(missing[name])]:
                results[twin] = outcome
                told(twin, "executed" if twin == name else "the same")
    # What the first chapters used may have been edited while the last ones ran.
    failures += filter(None, (_moved(*results.values()),))
    if failures:
        raise StackbookError("; ".join(dict.fromkeys(failures)))
    return results


def _executed(
    cases: Mapping[str, Case], scheduler: str | None, told: Told
) -> Iterator[tuple[str, Executed | Failed]]:
    from distributed import as_completed

    overlay = facts.package().overlaid()
    with connected(scheduler, len(cases)) as client:
        futures = {}
        for name, (chapter, values) in cases.items():
            files = chapter.files(values)
            future = client.submit(execute, chapter, values, files, overlay, pure=False)
            futures[future] = name
            told(name, "executing")
        for future in as_completed(futures):
            name = futures[future]
            try:
                yield name, future.result()
            except Exception as error:  # the worker or the scheduler, not the chapter
                reason = " ".join(f"{type(error).__name__}: {error}".split())
                yield name, Failed(f"chapter {name} was lost by Dask: {reason}", "")


@contextmanager
def connected(scheduler: str | None, tasks: int) -> Iterator[Any]:
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
    # Without a network Dask wonders aloud which address this machine has; none is needed.
    with warnings.catch_warnings(action="ignore"):
        cluster = LocalCluster(
            n_workers=1,
            threads_per_worker=threads,
            processes=False,
            # Dask opens web servers in any case, but need not on every network.
            dashboard_address="127.0.0.1:0",
            worker_dashboard_address="127.0.0.1:0",
            memory_limit=0,
            silence_logs=logging.CRITICAL,
        )
    with cluster, Client(cluster) as client:
        yield client


def _moved(*results: Executed) -> str:
    """What of other sources than ours is behind `results`, and what to do; empty if nothing is."""
    told = foreign("a chapter", *(result.used for result in results))
    return told and f"{told}; build again, or install the same stackbook on the workers"


def _publish(store: Store, parts: Mapping[str, Store], told: Told, *, force: bool) -> None:
    """Render each of `parts`, by its folder in the site, and publish, unless the site is that."""
    made_from = {folder: _inputs(each) for folder, each in parts.items()}
    whole = hashlib.sha256(repr(sorted(made_from.items())).encode()).hexdigest()
    if not force and _stamp(store.html) == f"{whole} {_shape(store.html)}":
        told("site", "cached")
        return
    told("site", "executing")
    with tempfile.TemporaryDirectory(dir=store.folder, prefix=STAGING) as staging:
        site = Path(staging, "site")
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            made = pool.map(lambda folder: _rendered(parts[folder], Path(staging), folder), parts)
            try:
                folders = dict(zip(parts, made, strict=True))
            except StackbookError:
                told("site", "failed")
                raise
        folders.pop("").rename(site)
        for folder, part in folders.items():
            _share_static(part, "../" * (folder.count("/") + 1))
            (site / folder).parent.mkdir(parents=True, exist_ok=True)
            part.rename(site / folder)
        write(site / _STAMP, f"{whole} {_shape(site)}")
        store.publish(site)
    store.forget()
    told("site", "executed")


def _rendered(store: Store, staging: Path, folder: str) -> Path:
    """Run Jupyter Book over the pages of `store`; the site's folder, or StackbookError."""
    log = store.folder / "jupyter-book.log"
    # An empty folder each time: what Sphinx keeps between runs shows in the bytes of its pages.
    out = staging / "book" / folder.replace("/", "-")
    command = [
        *(sys.executable, "-c", "from jupyter_book.cli.main import main; main()", "build"),
        *(str(store.pages), "--path-output", str(out)),
        *("--warningiserror", "--keep-going", "--quiet"),
    ]
    with log.open("w") as output:
        done = subprocess.run(
            command,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=os.environ | {KEPT: str(store.kept.absolute())},
        )
    if done.returncode:
        from sphinx.util.console import strip_colors

        lines = strip_colors(log.read_text(encoding="utf-8", errors="replace")).splitlines()
        said = [line for line in lines if re.search("WARNING|ERROR|Error:", line)]
        why = " | ".join(said[:3] or lines[-1:]) or f"exit code {done.returncode}"
        raise StackbookError(f"Jupyter Book stopped: {why} (all of it: {log})")
    return out / "_build" / "html"


def _share_static(site: Path, up: str) -> None:
    """Have the pages of `site` use the scripts and fonts of the site that it is a part of."""
    for page in site.rglob("*.html"):
        text = page.read_text("utf-8")
        page.write_text(
            re.sub(r'((?:href|src)="(?:\.\./)*)_static/', rf"\1{up}_static/", text), "utf-8"
        )
    shutil.rmtree(site / "_static")


def _inputs(store: Store) -> str:
    """Digest of everything that the site is made from."""
    total = hashlib.sha256()
    package = Path(stackbook.__file__).parent
    drawn = [*(package / "charts").glob("*.py"), *(package / "press" / "templates").glob("*")]
    for path in (package / "press" / "site.py", *sorted(drawn)):
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
    """`_build/` in the folder of the study that we are in, else in the current one."""
    own = stackbook.study()
    return Store(Path() / "_build" if own in (None, Path.cwd()) else own / "_build")
