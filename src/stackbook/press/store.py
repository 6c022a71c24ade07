"""The store: what was built, kept in `_build/` so that nothing is executed or lost twice."""

import fcntl
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from stackbook import StackbookError
from stackbook.press.chapters import Chapter, Value, Values
from stackbook.press.execution import Executed, moved

STAGING = "staging-"  # where Jupyter Book writes, a folder for each build
KEPT = "STACKBOOK_KEPT"  # environment variable: folder of the charts' pictures, for Jupyter Book
USED = "pictures"  # file: the pictures that the pages beside it show
SCENARIOS = "scenarios"  # in the store and in the site: a folder for each
_FORMAT = 2  # of a stored result; raise it when the shape or cleaning of one changes


class Shown(NamedTuple):
    """A chapter as the site has it."""

    notebook: dict[str, Any]
    findings: list[dict[str, Any]]
    values: dict[str, Value]
    """Parameters that it was executed with."""


class Store:
    """`_build/`: results by content, executed notebooks, pages for Jupyter Book, the site."""

    def __init__(self, folder: Path, shared: Path | None = None) -> None:
        """In `folder`; results and pictures are kept there too, or in `shared`."""
        self.folder = folder
        self.results = (shared or folder) / "results"
        self.kept = (shared or folder) / "kept"
        self.notebooks = folder / "notebooks"
        self.failed = folder / "failed"
        self.pages = folder / "pages"
        self.html = folder / "html"
        self._old = folder / "html.old"

    def under(self, scenario: str) -> "Store":
        """The store of the same book under a scenario: it shares results and pictures."""
        return Store(self.folder / SCENARIOS / scenario, self.folder)

    def load(self, chapter: Chapter, values: Values) -> Executed | None:
        """The result of `chapter`, unless it or anything that it used has changed since."""
        try:
            seal, _, text = self._path(chapter, values).read_text("utf-8").partition("\n")
            if seal != _sealed(text):
                return None
            result = Executed(**json.loads(text))
        except (FileNotFoundError, ValueError, TypeError):  # not there, or of another shape
            return None
        return None if moved(result.used) else result

    def save(self, chapter: Chapter, values: Values, result: Executed) -> None:
        """Keep the result of `chapter` for the next build."""
        text = json.dumps(result._asdict())
        write(self._path(chapter, values), f"{_sealed(text)}\n{text}")

    def _path(self, chapter: Chapter, values: Values) -> Path:
        text = json.dumps([_FORMAT, chapter.source, dict(values)], sort_keys=True)
        key = hashlib.sha256(text.encode()).hexdigest()[:20]
        return self.results / chapter.name / f"{key}.json"

    def show(self, chapter: Chapter, result: Executed) -> None:
        """Make `result` the chapter's current one: notebook and findings under `notebooks/`."""
        write(self.notebooks / f"{chapter.name}.ipynb", result.notebook)
        findings = json.dumps(result.findings, indent=1) + "\n"
        write(self.notebooks / f"{chapter.name}.findings.json", findings)

    def shown(self, chapter: Chapter) -> Shown | None:
        """The chapter as last built, if it was, and with the parameters that it has now."""
        try:
            notebook = json.loads((self.notebooks / f"{chapter.name}.ipynb").read_bytes())
            findings = json.loads((self.notebooks / f"{chapter.name}.findings.json").read_bytes())
            given = notebook["metadata"]["stackbook"]["parameters"]
            if given.keys() != chapter.parameters.keys():
                return None
        except (FileNotFoundError, ValueError, TypeError, KeyError):  # not there, or half there
            return None
        return Shown(notebook, findings, {name: given[name] for name in chapter.parameters})

    def publish(self, site: Path) -> None:
        """Move `site` to the place of `html`; `locked` mends an interruption in between."""
        if self.html.exists():
            shutil.rmtree(self._old, ignore_errors=True)
            self.html.rename(self._old)
        site.rename(self.html)
        shutil.rmtree(self._old, ignore_errors=True)

    def forget(self) -> None:
        """Drop kept pictures that no page shows, under whatever scenario."""
        lists = [self.folder / USED, *self.folder.glob(f"{SCENARIOS}/*/{USED}")]
        used = {name for path in lists if path.is_file() for name in path.read_text().split()}
        for path in self.kept.glob("*"):
            if path.name not in used:
                path.unlink()

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold `_build/` against a second build, and mend what an interrupted one left."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / "lock").open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise StackbookError(
                    f"another build is at work in {self.folder}; wait, or work in another folder"
                ) from None
            if self._old.exists() and not self.html.exists():
                self._old.rename(self.html)
            for abandoned in self.folder.glob(f"{STAGING}*"):
                shutil.rmtree(abandoned, ignore_errors=True)
            yield


def _sealed(text: str) -> str:
    """First line of a stored result: tells one that was damaged from a whole one."""
    return hashlib.sha256(text.encode()).hexdigest()


def write(path: Path, content: str | bytes) -> None:
    """Write a file whole or not at all, and not when it already says so."""
    data = content.encode() if isinstance(content, str) else content
    if path.is_file() and path.read_bytes() == data:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            os.fsync(file.fileno())
        Path(temporary).chmod(0o644)
        Path(temporary).replace(path)
    except BaseException as error:
        Path(temporary).unlink(missing_ok=True)
        if isinstance(error, OSError):
            error.filename = str(path)
        raise
