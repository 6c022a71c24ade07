"""Execution: one chapter, its source and parameters in, an executed notebook and findings out."""

import hashlib
import json
import os
import re
import sys
import tempfile
from collections.abc import Callable, Mapping
from contextlib import closing
from contextvars import Context
from functools import cache
from importlib.metadata import version
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

import stackbook
from stackbook import facts
from stackbook.findings import RECORD
from stackbook.press.chapters import Chapter, Values, plain

_LIBRARIES = ("altair", "numba", "numpy", "papermill", "polars", "scipy", "vl-convert-python")
_USED = "application/vnd.stackbook.used+json"
_LAST_CELL = "from stackbook.press import execution\n\nexecution.show_used()"
_CELL_TIMEOUT = 600  # s
_TABLES = "tables"  # the folder with a study's
_SAID = "kernel.log"  # what a kernel itself says on standard error, apart from its cells
_OURS = {each.__name__ for each in (stackbook.StackbookError, facts.FactsError)}
_PAPERMILLS = {"injected-parameters", "papermill-error-cell-tag"}


class Executed(NamedTuple):
    """What a chapter came to: notebook (JSON text), findings, and what it really used."""

    notebook: str
    findings: list[dict[str, Any]]
    used: dict[str, str]
    """Digest by `module:…`, `table:…`, `file:…` and version by `library:…`."""


class Failed(NamedTuple):
    """A chapter that raised: which cell, with what, and the notebook up to there (JSON text)."""

    message: str
    notebook: str


def execute(
    chapter: Chapter, values: Values, files: Mapping[str, bytes], overlay: Mapping[str, bytes]
) -> Executed | Failed:
    """Execute `chapter` with papermill, where `stackbook.located` finds the reader's `files`.

    Runs on a Dask worker, which needs nothing but the installed package: the content of each file,
    and of the tables that a study lays over ours, is given by its path, which the worker may not
    know.
    """
    import jupytext
    import nbformat
    import papermill
    from papermill.exceptions import PapermillExecutionError

    source = jupytext.reads(chapter.source, fmt="md:myst")
    source.cells.append(nbformat.v4.new_code_cell(_LAST_CELL))
    # The paths of the kernel's sockets must stay under 100 characters.
    short = None if len(tempfile.gettempdir()) < 50 else "/tmp"
    with tempfile.TemporaryDirectory(prefix="stackbook-", dir=short) as folder:
        path = Path(folder, "chapter.ipynb")
        for name, data in files.items():
            Path(folder, stackbook.laid_as(name)).write_bytes(data)
        Path(folder, _TABLES).mkdir()
        for name, data in overlay.items():
            laid = Path(folder, _TABLES, name)
            laid.parent.mkdir(parents=True, exist_ok=True)
            laid.write_bytes(data)
        try:
            # In an empty context: Jupyter keeps its event loop in one, which threads inherit.
            Context().run(
                _in_closed_loop,
                papermill.execute_notebook,
                source,
                str(path),
                parameters=dict(values),
                kernel_name="python3",
                language="python",
                progress_bar=False,
                execution_timeout=_CELL_TIMEOUT,
                request_save_on_cell_execute=False,
                kernel_manager_class=_kernel_manager(Path(folder)),
            )
        except PapermillExecutionError as error:
            reason = f"{error.ename}: {error.evalue}".splitlines()[0]
            failed = _failed(chapter, values, reason, path)
            if error.ename in _OURS:  # for the reader, not the author
                return failed._replace(message=f"{error.evalue} (chapter {chapter.name})")
            return failed
        except Exception as error:  # a kernel that was killed, a cell that ran out of time
            log = Path(folder, _SAID)
            said = log.read_text(errors="replace")[:200] if log.is_file() else ""
            reason = " ".join(f"{type(error).__name__}: {error} {said}".split())
            return _failed(chapter, values, reason, path)
        notebook = nbformat.read(path, as_version=4)
    last = notebook.cells.pop()
    (used,) = (output.data[_USED] for output in last.outputs if _USED in output.get("data", {}))
    findings = [
        output.data[RECORD]
        for cell in notebook.cells
        for output in cell.get("outputs", [])
        if RECORD in output.get("data", {})
    ]
    return Executed(_clean(notebook, chapter, values), findings, dict(used) | read(files))


def _in_closed_loop(function: Callable[..., Any], *arguments: Any, **options: Any) -> None:
    """Call `function`, and close Jupyter's event loop after it: one left open complains at exit."""
    from jupyter_core.utils import ensure_event_loop

    with closing(ensure_event_loop()):
        function(*arguments, **options)


def _kernel_manager(folder: Path) -> type:
    """Kernels of this very Python, with nothing of the user's, that meet us in `folder`."""
    from jupyter_client.kernelspec import KernelSpecManager
    from jupyter_client.manager import AsyncKernelManager

    class Manager(AsyncKernelManager):
        def __init__(self, **options: Any) -> None:
            super().__init__(**options)
            self.kernel_spec_manager = KernelSpecManager(kernel_dirs=[])
            # Two kernels that start at once may pick one TCP port; sockets in a folder cannot.
            self.transport, self.ip = "ipc", str(folder / "kernel")
            self.connection_file = str(folder / "kernel.json")

        async def _async_pre_start_kernel(self, **options: Any) -> Any:
            own = {
                "IPYTHONDIR": str(folder / "ipython"),
                stackbook.FILES: str(folder),
                stackbook.OVERLAY: str(folder / _TABLES),
            }
            options["env"] = os.environ | own
            # Not for the terminal: a kernel that is stopped in the wrong moment tells of it.
            options["stderr"] = (folder / _SAID).open("wb")
            return await super()._async_pre_start_kernel(**options)

        async def _async_interrupt_kernel(self) -> None:
            # Not before the request to shut down, as Jupyter does: a kernel that has just become
            # idle tells of it on standard error.
            if not self.shutting_down:
                await super()._async_interrupt_kernel()

    return Manager


def show_used() -> None:
    """Display, at the end of a chapter, what is behind its results."""
    from IPython.display import display

    display({_USED: used()}, raw=True)


def used() -> dict[str, str]:
    """Modules, tables and libraries that this process has used, by name, and their digests."""
    modules = [name for name in sys.modules if name.split(".")[0] == "stackbook"]
    names = [f"module:{name}" for name in sorted(modules) if ".press" not in name]
    names += [f"table:{name}" for name in sorted(facts.package().used)]
    names += [f"library:{name}" for name in _LIBRARIES]
    return {name: digest(name) for name in names}


def read(files: Mapping[str, bytes]) -> dict[str, str]:
    """What the reader's `files` add to what was used."""
    return {f"file:{name}": hashlib.sha256(data).hexdigest() for name, data in files.items()}


def moved(*used: Mapping[str, str]) -> list[str]:
    """Names of what is not here as it was `used`, each looked at once."""
    now = cache(digest)
    pairs = chain(*(each.items() for each in used))
    return [*dict.fromkeys(name for name, seen in pairs if now(name) != seen)]


def foreign(ran: str, *used: Mapping[str, str]) -> str:
    """What `ran` has `used` that differs here, in words; empty if nothing does."""
    # A reader's file travelled; it may have changed here since.
    names = sorted(name for name in moved(*used) if not name.startswith("file:"))
    if not names:
        return ""
    words = ", ".join(name.replace(":", " ") for name in names[:3])
    return (
        f"the {words} that {ran} ran with is not the one here: it was edited meanwhile, or the "
        "Dask workers have another"
    )


def digest(name: str) -> str:
    """Digest or version of something used, as this process has it; empty where it is gone."""
    kind, _, what = name.partition(":")
    match kind:
        case "library":
            return version(what)
        case "table":
            return facts.package().digest(what) if what in facts.package().resources else ""
        case "file":
            try:
                return hashlib.sha256(stackbook.located(what).read_bytes()).hexdigest()
            except stackbook.StackbookError:
                return ""
    relative = Path(*what.split("."))
    root = Path(stackbook.__file__).parents[1]
    for path in (root / relative.with_suffix(".py"), root / relative / "__init__.py"):
        if path.is_file():
            return hashlib.sha256(path.read_bytes()).hexdigest()
    return ""


def _failed(chapter: Chapter, values: Values, reason: str, path: Path) -> Failed:
    """Name the cell that raised by its number in the chapter, and the parameters that differ."""
    notebook = path.read_text(encoding="utf-8") if path.is_file() else ""
    cells = json.loads(notebook)["cells"] if notebook else []
    own = [cell for cell in cells if _PAPERMILLS.isdisjoint(cell["metadata"].get("tags", []))]
    where = "at its start"
    for number, cell in enumerate(own, 1):
        if cell["metadata"].get("papermill", {}).get("exception"):
            code = "".join(cell["source"]).splitlines()
            told = "".join(chain(*(output.get("traceback", []) for output in cell["outputs"])))
            found = re.search(r"Cell In\[\d+\], line (\d+)", re.sub(r"\x1b\[[\d;]*m", "", told))
            line = int(found[1]) if found else 1
            where = f"in cell {number}, line {line} ({code[line - 1].strip()})"
    changed = chapter.changed(values)
    given = [f"{name}={plain(value)}" for name, value in changed.items()] or ["its defaults"]
    message = f"chapter {chapter.name} raised {where} with {', '.join(given)}: {reason}"
    return Failed(message, notebook)


def _clean(notebook: Any, chapter: Chapter, values: Values) -> str:
    """Keep only what follows from source and parameters, so that two runs are byte-identical."""
    import nbformat

    for number, cell in enumerate(notebook.cells):
        cell.id = f"cell-{number}"
        cell.metadata = {"tags": cell.metadata["tags"]} if cell.metadata.get("tags") else {}
        if cell.cell_type == "code":
            for output in cell.outputs:
                if "execution_count" in output:
                    output.execution_count = cell.execution_count
    notebook.metadata = {
        "kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"},
        "language_info": {"name": "python"},
        "stackbook": {"chapter": chapter.name, "parameters": dict(values)},
    }
    return str(nbformat.writes(notebook)) + "\n"
