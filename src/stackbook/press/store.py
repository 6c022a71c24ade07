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
from typing import Any

from stackbook import StackbookError
from stackbook.press.chapters import Chapter, Values
from stackbook.press.execution import Executed, digest

_FORMAT = 1  # of a stored result; raise it when the shape or cleaning of one changes


class Store:
    """`_build/`: results by content, executed notebooks, pages for Jupyter Book, the site."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.results = folder / "results"
        self.notebooks = folder / "notebooks"
        self.failed = folder / "failed"
        self.pages = folder / "pages"
        self.staging = folder / "staging"
        self.html = folder / "html"
        self._old = folder / "html.old"

    def load(self, chapter: Chapter, values: Values) -> Executed | None:
        """The result of `chapter`, unless it or anything that it used has changed since."""
        try:
            text = self._path(chapter, values).read_text(encoding="utf-8")
        except FileNotFoundError:
            return None
        result = Executed(**json.loads(text))
        fresh = all(digest(name) == seen for name, seen in result.used.items())
        return result if fresh else None

    def save(self, chapter: Chapter, values: Values, result: Executed) -> None:
        """Keep the result of `chapter` for the next build."""
        write(self._path(chapter, values), json.dumps(result._asdict()))

    def _path(self, chapter: Chapter, values: Values) -> Path:
        text = json.dumps([_FORMAT, chapter.source, dict(values)], sort_keys=True)
        key = hashlib.sha256(text.encode()).hexdigest()[:20]
        return self.results / chapter.name / f"{key}.json"

    def show(self, chapter: Chapter, result: Executed) -> None:
        """Make `result` the chapter's current one: notebook and findings under `notebooks/`."""
        write(self.notebooks / f"{chapter.name}.ipynb", result.notebook)
        findings = json.dumps(result.findings, indent=1) + "\n"
        write(self.notebooks / f"{chapter.name}.findings.json", findings)

    def shown(self, chapter: Chapter) -> tuple[str, list[dict[str, Any]]] | None:
        """Notebook and findings of the chapter as last built, if it was."""
        notebook = self.notebooks / f"{chapter.name}.ipynb"
        findings = self.notebooks / f"{chapter.name}.findings.json"
        if not (notebook.is_file() and findings.is_file()):
            return None
        return notebook.read_text(encoding="utf-8"), json.loads(findings.read_text("utf-8"))

    def publish(self, site: Path) -> None:
        """Move `site` to the place of `html`; `locked` mends an interruption in between."""
        if self.html.exists():
            shutil.rmtree(self._old, ignore_errors=True)
            self.html.rename(self._old)
        site.rename(self.html)
        shutil.rmtree(self._old, ignore_errors=True)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold `_build/` against a second build, and mend what an interrupted one left."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / "lock").open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise StackbookError(
                    f"another build is at work in {self.folder}; wait for it or use another folder"
                ) from None
            if self._old.exists() and not self.html.exists():
                self._old.rename(self.html)
            yield


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
        Path(temporary).chmod(0o644)
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
