"""Sweeps: a chapter executed over a design of its parameters, its findings as one tidy Parquet.

Cases of notebooks are kept in a journal beside the file as they come, so that a sweep that was
killed goes on; cases of a slice are too quick to be worth it.
"""

import fcntl
import hashlib
import io
import itertools
import json
import logging
import math
import os
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, NamedTuple

import stackbook
from stackbook import StackbookError, facts
from stackbook.press import slices
from stackbook.press.build import connected
from stackbook.press.chapters import PATH, Chapter, Values, plain
from stackbook.press.designs import Design
from stackbook.press.execution import Executed, Failed, digest, execute, foreign, moved
from stackbook.press.store import write

if TYPE_CHECKING:
    import polars as pl

_BATCH = 10_000  # cases of a slice that a worker has at a time
_AHEAD = 2  # tasks for each thread of the cluster, so that none waits
_META = "stackbook"  # key of the Parquet file's metadata
_FORMAT = 1  # of the file and its journal

Told = Callable[[int, int], None]
"""Receives how many cases are done, and how many of them failed."""
Outcome = list[dict[str, Any]] | str
"""Findings of a case, or its error."""


class Swept(NamedTuple):
    """What a sweep came to."""

    path: Path
    cases: int
    failed: int
    cached: bool
    """Whether the file was there already."""


def sweep(
    design: Design,
    path: Path,
    *,
    findings: Sequence[str] = (),
    scheduler: str | None = None,
    force: bool = False,
    told: Told = lambda done, failed: None,
) -> Swept:
    """Execute the chapter at each case of `design`, and write what it finds to `path`.

    With `findings`, these alone, from the slice of the chapter that they follow from. Raises
    StackbookError; then the cases of notebooks that are done are kept for the next attempt.
    """
    names = tuple(dict.fromkeys(findings))
    piece = slices.sliced(design.chapter, names, design.swept) if names else None
    head: dict[str, Any] = {
        "chapter": design.chapter.name,
        "swept": list(design.swept),
        "fixed": design.fixed,
        "cases": design.size,
        "seed": design.seed,
        "findings": names,
        "stackbook": stackbook.__version__,
        "digest": hashlib.sha256(f"{_FORMAT} {design.digest} {names}".encode()).hexdigest(),
    }
    with _Journal(path, head["digest"], force) as journal:
        there = None if force else _finished(path, head["digest"])
        if there is not None and not moved(there["used"]):
            journal.done()
            return Swept(path, design.size, there["failed"], True)
        facts.package().check()
        if piece is None:
            found, used = _notebooks(design, journal, scheduler, told)
        else:
            found, used = _sliced(design, piece, scheduler, told)
        table = _table(design, found)
        failed = table["error"].count()
        content = io.BytesIO()
        meta = json.dumps(head | {"failed": failed, "used": used})
        table.write_parquet(content, metadata={_META: meta})
        write(path, content.getvalue())
        journal.done()
    return Swept(path, design.size, failed, False)


class _Journal:
    """Cases that are done, a line each, until the Parquet is whole; held by one sweep at a time."""

    def __init__(self, output: Path, head: str, force: bool) -> None:
        self.path = output.with_name(output.name + ".journal")
        self.output, self.head, self.force = output, head, force
        self.cases: dict[int, Outcome] = {}
        self._sources: dict[str, dict[str, str]] = {}
        self._of: dict[int, str] = {}  # sources by case

    def __enter__(self) -> "_Journal":
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._file = self._locked()
        try:
            self._read()
        except BaseException:
            self._file.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        if not self.cases:
            self.path.unlink(missing_ok=True)
        self._file.close()

    def add(
        self, case: int, outcome: Sequence[dict[str, Any]] | str, used: Mapping[str, str]
    ) -> None:
        """Keep a case's findings, or its error, and what they came from."""
        key = hashlib.sha256(json.dumps(used, sort_keys=True).encode()).hexdigest()[:16]
        records: list[dict[str, Any]] = [{"case": case, "sources": key, "outcome": outcome}]
        if key not in self._sources:
            records.insert(0, {"sources": key, "used": dict(used)})
        for record in records:
            self._keep(record)
            self._write(record)

    def stale(self) -> list[int]:
        """Drop the cases whose sources moved since; which."""
        gone = {key for key, used in self._sources.items() if moved(used)}
        cases = [case for case, key in self._of.items() if key in gone]
        for case in cases:
            del self.cases[case], self._of[case]
        return cases

    def used(self) -> dict[str, str]:
        """What all cases together used."""
        return {n: d for key in {*self._of.values()} for n, d in self._sources[key].items()}

    def done(self) -> None:
        """The file is whole: nothing of the journal is needed."""
        self.cases.clear()

    def _locked(self) -> IO[bytes]:
        while True:
            file = self.path.open("ab+")
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if os.fstat(file.fileno()).st_ino == self.path.stat().st_ino:
                    return file
            except BlockingIOError:
                file.close()
                raise StackbookError(
                    f"another sweep is at work on {self.output}; wait for it, or use --out"
                ) from None
            except FileNotFoundError:  # it was just finished by another
                pass
            file.close()

    def _read(self) -> None:
        self._file.seek(0)
        whole = 0
        for number, line in enumerate(self._file):
            try:
                record = json.loads(line)
                if not line.endswith(b"\n"):
                    raise ValueError("torn")
                if number == 0:
                    if record["head"] != self.head:
                        if not self.force:
                            raise StackbookError(
                                f"another sweep, not finished, has its cases in {self.path}; "
                                "choose another file with --out, or drop them with --force"
                            )
                        break
                elif not self.force:
                    self._keep(record)
            except (ValueError, KeyError, TypeError):  # torn as the sweep was killed
                break
            whole += len(line)
            if number == 0 and self.force:
                break
        self._file.truncate(whole)
        if not whole:
            self._write({"head": self.head})

    def _keep(self, record: dict[str, Any]) -> None:
        if "used" in record:
            self._sources[record["sources"]] = record["used"]
        else:
            self.cases[record["case"]] = record["outcome"]
            self._of[record["case"]] = record["sources"]

    def _write(self, record: dict[str, Any]) -> None:
        self._file.write(json.dumps(record).encode() + b"\n")
        self._file.flush()


def _finished(path: Path, head: str) -> dict[str, Any] | None:
    """What an earlier sweep of this design wrote about its file; None where there is none."""
    import polars as pl

    if not path.exists():
        return None
    try:
        found: dict[str, Any] = json.loads(pl.read_parquet_metadata(path)[_META])
    except (pl.exceptions.PolarsError, OSError, KeyError, ValueError):
        raise StackbookError(
            f"{path} is there and no sweep of stackbook; choose another file with --out"
        ) from None
    if found["digest"] != head:
        raise StackbookError(
            f"{path} holds another sweep, {found['cases']} cases of {found['chapter']} as it was; "
            "choose another file with --out, or replace it with --force"
        )
    return found


class _Task(NamedTuple):
    """Cases `start` to `end` of a slice, or one of a notebook."""

    start: int
    end: int
    notebook: bool


def _notebooks(
    design: Design, journal: _Journal, scheduler: str | None, told: Told
) -> tuple[list[Outcome], dict[str, str]]:
    """Results of every case, which the journal then has, and what they used."""
    journal.stale()
    while todo := [case for case in range(design.size) if case not in journal.cases]:
        failed = sum(isinstance(outcome, str) for outcome in journal.cases.values())
        everything = _everything()
        known: list[dict[str, str]] = []  # what cases used, checked once: hashing takes a while
        tasks = deque(_Task(case, case + 1, True) for case in todo)
        with _outcomes(design, None, tasks, scheduler) as outcomes:
            for task, outcome in outcomes:
                if isinstance(outcome, Executed):
                    if outcome.used not in known:
                        _check(outcome.used)
                        known.append(outcome.used)
                    journal.add(task.start, list(map(_plain, outcome.findings)), outcome.used)
                else:
                    failed += 1
                    journal.add(task.start, outcome, everything)
                told(len(journal.cases), failed)
        journal.stale()  # of sources that were edited meanwhile
    return [journal.cases[case] for case in range(design.size)], journal.used()


def _sliced(
    design: Design, piece: slices.Slice, scheduler: str | None, told: Told
) -> tuple[list[Outcome], dict[str, str]]:
    """Results of every case of a slice, and what they used.

    The first and the last case are executed as notebooks, too, and must give the same bits.
    """
    found: list[Outcome] = [""] * design.size
    size = max(1, min(_BATCH, math.ceil(design.size / _AHEAD / (os.cpu_count() or 1))))
    ends = dict.fromkeys((0, design.size - 1))
    tasks = deque(_Task(case, case + 1, True) for case in ends)
    for start in range(0, design.size, size):
        tasks.append(_Task(start, min(start + size, design.size), False))
    executed: dict[int, Executed | str] = {}
    used: list[dict[str, str]] = []  # a dictionary for each that differs
    done = failed = 0
    with _outcomes(design, piece, tasks, scheduler) as outcomes:
        for task, outcome in outcomes:
            if task.notebook:
                executed[task.start] = outcome
                continue
            if isinstance(outcome, str):
                cases: list[Outcome] = [outcome] * (task.end - task.start)
            else:
                if outcome.used not in used:
                    _check(outcome.used)
                    used.append(outcome.used)
                cases = [
                    each if isinstance(each, str) else [*map(_plain, each)]
                    for each in outcome.cases
                ]
                if task.start + len(cases) < task.end:
                    tasks.append(_Task(task.start + len(cases), task.end, False))
            found[task.start : task.start + len(cases)] = cases
            done += len(cases)
            failed += sum(isinstance(each, str) for each in cases)
            told(done, failed)
    for case, notebook in executed.items():
        _agree(design, piece, case, found[case], notebook)
    for each in used:  # sources that were edited meanwhile
        _check(each)
    return found, {name: seen for each in used for name, seen in each.items()}


def _agree(
    design: Design,
    piece: slices.Slice,
    case: int,
    ours: Outcome,
    notebook: Executed | str,
) -> None:
    """StackbookError unless the slice's findings of a case are those of the whole chapter."""
    if isinstance(ours, str):
        return
    where = f"case {case} of {piece.chapter}"
    if not isinstance(notebook, Executed):
        raise StackbookError(
            f"{where} fails as a notebook: {notebook}; sweep what it can do, or without --finding"
        )
    whole = [_plain(each) for each in notebook.findings if each["name"] in piece.names]
    theirs, own = ({each["name"]: each for each in records} for records in (whole, ours))
    for name in piece.names:
        if theirs.get(name) != own.get(name):
            raise StackbookError(
                f"{where}: the slice gives {name} = {_value(own, name)}, the notebook "
                f"{_value(theirs, name)}; sweep without --finding"
            )


def _value(records: Mapping[str, dict[str, Any]], name: str) -> str:
    return repr(records[name]["value"]) if name in records else "nothing"


@contextmanager
def _outcomes(
    design: Design, piece: slices.Slice | None, tasks: deque[_Task], scheduler: str | None
) -> Iterator[Iterator[tuple[_Task, Any]]]:
    """Outcomes of `tasks` in the order in which they come; whoever reads them may append more."""
    from distributed import as_completed
    from distributed.scheduler import KilledWorker
    from distributed.utils import silence_logging_cmgr

    chapter, overlay = design.chapter, facts.package().overlaid()

    def start(client: Any, task: _Task) -> Any:
        values = design.values(task.start)
        files = chapter.files(values)
        if task.notebook:
            return client.submit(_case, chapter, values, files, overlay, pure=False)
        assert piece is not None
        part = {name: column[task.start : task.end] for name, column in design.swept.items()}
        for name, column in part.items():
            if chapter.parameters[name].unit == PATH:
                for path in dict.fromkeys(column):
                    files |= chapter.files(values | {name: path})
        return client.submit(slices.run, piece, design.fixed, part, files, overlay, pure=False)

    def come(client: Any) -> Iterator[tuple[_Task, Any]]:
        running: dict[Any, _Task] = {}
        queue = as_completed()
        while True:
            while tasks and len(running) < _AHEAD * max(1, sum(client.nthreads().values())):
                task = tasks.popleft()
                future = start(client, task)
                running[future] = task
                queue.add(future)
            if not running:
                return
            future = next(queue)
            task = running.pop(future)
            try:
                outcome = future.result()
            except KilledWorker:
                outcome = f"{_told(design, task)} was lost: the workers that ran it died"
            yield task, outcome.message if isinstance(outcome, Failed) else outcome

    # What Dask logs of a worker or scheduler that died is said below, in a line.
    with silence_logging_cmgr(logging.CRITICAL), connected(scheduler, len(tasks)) as client:
        try:
            yield come(client)
        except (StackbookError, KeyboardInterrupt):
            raise
        except Exception as error:  # of Dask: chapters that raise come back as Failed
            reason = " ".join(f"{type(error).__name__}: {error}".split())
            raise StackbookError(
                f"the sweep lost {scheduler or 'its Dask cluster'}: {reason}; "
                "the same command goes on from here"
            ) from None


def _case(
    chapter: Chapter, values: Values, files: Mapping[str, bytes], overlay: Mapping[str, bytes]
) -> Executed | Failed:
    """A case on a Dask worker. The notebook, a megabyte, stays there."""
    return execute(chapter, values, files, overlay)._replace(notebook="")


def _check(used: Mapping[str, str]) -> None:
    """StackbookError where a worker has other sources than ours."""
    if told := foreign("a case", used):
        raise StackbookError(
            f"{told}; install the same stackbook there, and give the same command, which repeats "
            "the cases that it has to"
        )


def _told(design: Design, task: _Task) -> str:
    values = design.values(task.start)
    given = ", ".join(f"{name}={plain(values[name])}" for name in design.swept)
    return f"chapter {design.chapter.name} with {given}"


def _everything() -> dict[str, str]:
    """All that a chapter could use: a failed one does not say what it did."""
    root = Path(stackbook.__file__).parents[1]
    paths = (path.relative_to(root) for path in Path(stackbook.__file__).parent.rglob("*.py"))
    modules = [".".join(path.with_suffix("").parts).removesuffix(".__init__") for path in paths]
    names = [f"module:{name}" for name in sorted(modules)]
    names = [name for name in names if ".press" not in name and ".cli" not in name]
    names += [f"table:{name}" for name in sorted(facts.package().resources)]
    return {name: digest(name) for name in names}


def _plain(record: dict[str, Any]) -> dict[str, Any]:
    """What the table keeps of a finding."""
    return {key: record.get(key) for key in ("name", "value", "unit", "low", "high")}


def _rows(case: int, outcome: Outcome) -> list[tuple[Any, ...]]:
    if isinstance(outcome, str):
        return [(case, None, None, None, None, None, outcome)]
    return [(case, *record.values(), None) for record in outcome]


def _table(design: Design, found: Sequence[Outcome]) -> "pl.DataFrame":
    """A row for each case and finding, with every parameter."""
    import polars as pl

    number, text = pl.Float64, pl.String
    schema = {"case": pl.Int64, "finding": text, "value": number, "unit": text}
    schema |= {"low": number, "high": number, "error": text}
    parts = itertools.starmap(_rows, enumerate(found))
    frames = [
        pl.DataFrame([row for part in some for row in part], schema, orient="row")
        for some in iter(lambda: list(itertools.islice(parts, _BATCH)), [])
    ]
    kinds = {"float": pl.Float64, "int": pl.Int64, "bool": pl.Boolean, "str": pl.String}
    columns = {
        name: pl.Series(name, design.swept[name], kinds[one.kind])
        if name in design.swept
        else pl.repeat(design.fixed[name], design.size, dtype=kinds[one.kind], eager=True)
        for name, one in design.chapter.parameters.items()
    }
    cases = pl.DataFrame({"case": pl.int_range(design.size, dtype=pl.Int64, eager=True)} | columns)
    table = pl.concat(frames).join(cases, on="case", maintain_order="left")
    table = table.with_columns(seed=pl.lit(design.seed, pl.Int64))
    outcome = ["finding", "value", "unit", "low", "high", "error", "seed"]
    return table.select("case", *columns, *outcome)
