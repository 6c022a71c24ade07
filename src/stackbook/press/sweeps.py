"""Sweeps: a chapter executed over a design of its parameters, its findings as one tidy Parquet.

Cases of notebooks are kept in a journal beside the file as they come, so that a sweep that was
killed goes on; cases of a slice are too quick to be worth it.
"""

import csv
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
from functools import cached_property
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, NamedTuple

import stackbook
from stackbook import StackbookError, facts, nearest
from stackbook.press import slices
from stackbook.press.build import connected
from stackbook.press.chapters import Chapter, Parameter, Value, Values, assigned, plain
from stackbook.press.execution import Executed, Failed, digest, execute
from stackbook.press.store import write

if TYPE_CHECKING:
    import polars as pl

METHODS = ("sobol", "halton", "lhs", "random")
MOST = 1_000_000  # cases
_BATCH = 10_000  # cases of a slice that a worker has at a time
_AHEAD = 2  # tasks for each thread of the cluster, so that none waits
_META = "stackbook"  # key of the Parquet file's metadata
_DRAWS = 2**16  # that stand for the distribution of a parameter's evidence
_FORMAT = 1  # of the file and its journal

Told = Callable[[int, int], None]
"""Receives how many cases are done, and how many of them failed."""


class Design:
    """The cases of a sweep: every parameter of a chapter, fixed or with a value for each case."""

    def __init__(
        self, chapter: Chapter, fixed: Values, swept: dict[str, list[Value]], seed: int
    ) -> None:
        self.chapter = chapter
        self.fixed = {name: value for name, value in fixed.items() if name not in swept}
        self.swept = swept
        self.seed = seed
        self.size = len(next(iter(swept.values())))

    def values(self, case: int) -> dict[str, Value]:
        """Every parameter's value in a case, in the chapter's order."""
        own = {name: column[case] for name, column in self.swept.items()}
        return {name: own[name] if name in own else self.fixed[name] for name in self.names}

    @property
    def names(self) -> list[str]:
        return list(self.chapter.parameters)

    @cached_property
    def digest(self) -> str:
        """What tells one design from another, the chapter's source included."""
        chapter = self.chapter.name, self.chapter.source
        text = json.dumps([_FORMAT, *chapter, self.fixed, self.swept, self.seed])
        return hashlib.sha256(text.encode()).hexdigest()


class Swept(NamedTuple):
    """What a sweep came to."""

    path: Path
    cases: int
    failed: int
    cached: bool
    """Whether the file was there already."""


def designed(
    chapter: Chapter,
    given: Values,
    *,
    grid: Sequence[str] = (),
    values: Sequence[str] = (),
    sample: str | None = None,
    draw: Sequence[str] = (),
    seed: int = 0,
) -> Design:
    """The design that a reader asks for as on the command line, every value of it checked.

    `grid` (name=low:high:n) and `values` (name=a,b) span a product; each of its points is crossed
    with the points of `sample` (method:n) over the parameters of `draw`: name=low:high evenly, or
    name from the range of its evidence, around the value that it otherwise has.
    """
    fixed = chapter.values(given)
    axes = dict(_once([*(_grid(chapter, t) for t in grid), *(_listed(chapter, t) for t in values)]))
    if bool(draw) != (sample is not None):
        raise StackbookError(
            "--sample METHOD:N says how many points, --draw NAME which parameters: give both"
        )
    drawn = _drawn(chapter, fixed, sample, draw, seed) if sample is not None else {}
    _once([*axes.items(), *drawn.items()])
    points = max(map(len, drawn.values()), default=1)
    size = math.prod(map(len, axes.values())) * points
    if not axes and not drawn:
        raise StackbookError(
            "nothing to sweep: give --grid name=low:high:n, --values name=a,b, "
            "or --sample sobol:64 with --draw name"
        )
    if size > MOST:
        raise StackbookError(f"{size:,} cases: give fewer points, at most {MOST:,} cases in all")
    grid_points = list(itertools.product(*axes.values()))
    swept: dict[str, list[Value]] = {
        name: [point[number] for point in grid_points for _ in range(points)]
        for number, name in enumerate(axes)
    }
    swept |= {name: column * len(grid_points) for name, column in drawn.items()}
    return Design(chapter, fixed, swept, seed)


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
        "digest": hashlib.sha256(f"{design.digest} {names}".encode()).hexdigest(),
    }
    with _Journal(path, head["digest"], force) as journal:
        there = None if force else _finished(path, head["digest"])
        if there is not None and _fresh(there["used"]):
            journal.done()
            return Swept(path, design.size, there["failed"], True)
        facts.package().check()
        if piece is None:
            used = _notebooks(design, journal, scheduler, told)
            parts = (_rows(case, journal.cases[case]) for case in range(design.size))
        else:
            answers, used = _sliced(design, piece, scheduler, told)
            parts = (_rows(case, answers[case]) for case in range(design.size))
        table = _table(design, parts)
        failed = table["error"].count()
        content = io.BytesIO()
        meta = json.dumps(head | {"failed": failed, "used": used})
        table.write_parquet(content, metadata={_META: meta})
        write(path, content.getvalue())
        journal.done()
    return Swept(path, design.size, failed, False)


# The design ----------------------------------------------------------------------------------


def _parameter(chapter: Chapter, name: str) -> Parameter:
    try:
        return chapter.parameters[name]
    except KeyError:
        raise StackbookError(
            f"no parameter {name!r} in {chapter.name}{nearest(name, chapter.parameters)}; "
            f"`stackbook params {chapter.name}` lists them"
        ) from None


def _once(axes: list[tuple[str, list[Value]]]) -> list[tuple[str, list[Value]]]:
    names = [name for name, _ in axes]
    for name in names:
        if names.count(name) > 1:
            raise StackbookError(f"parameter {name} is swept twice; name it once")
    return axes


def _grid(chapter: Chapter, text: str) -> tuple[str, list[Value]]:
    import numpy as np

    name, span = assigned(text)
    one = _parameter(chapter, name)
    parts = span.split(":")
    if len(parts) != 3 or not parts[2].strip().isdecimal():
        raise StackbookError(f"--grid {text!r}: write name=low:high:n, e.g. rate=0.05:0.15:11")
    low, high = _ends(one, text, parts[:2])
    count = int(parts[2])
    if not 2 <= count <= MOST:
        raise StackbookError(f"--grid {text!r}: {count} points; give 2 to {MOST:,}")
    return name, _distinct(text, [_typed(one, x) for x in np.linspace(low, high, count).tolist()])


def _listed(chapter: Chapter, text: str) -> tuple[str, list[Value]]:
    name, given = assigned(text)
    one = _parameter(chapter, name)
    try:
        (cells,) = csv.reader([given], skipinitialspace=True, strict=True)
    except (csv.Error, ValueError):
        raise StackbookError(
            f"--values {text!r}: write name=a,b,c in one line; a value with a comma between quotes"
        ) from None
    return name, _distinct(text, [one.check(cell) for cell in cells])


def _drawn(
    chapter: Chapter, fixed: Values, sample: str, draw: Sequence[str], seed: int
) -> dict[str, list[Value]]:
    import numpy as np
    from scipy.stats import qmc

    method, _, count = sample.partition(":")
    if method not in METHODS or not count.isdecimal():
        raise StackbookError(
            f"--sample {sample!r}: write method:n, e.g. sobol:64; methods are {', '.join(METHODS)}"
        )
    size = int(count)
    if not 2 <= size <= MOST:
        raise StackbookError(f"--sample {sample!r}: {count} points; give 2 to {MOST:,}")
    if method == "sobol" and size & (size - 1):
        below = 1 << (size.bit_length() - 1)
        raise StackbookError(
            f"--sample {sample!r}: Sobol points are balanced for powers of two alone; "
            f"give {below} or {2 * below}, or take halton or lhs"
        )
    if seed < 0:
        raise StackbookError(f"--seed {seed}: give 0 or more")
    names = [text.partition("=")[0].strip() for text in draw]
    for name in names:
        _parameter(chapter, name)
        if names.count(name) > 1:
            raise StackbookError(f"parameter {name} is drawn twice; name it once")
    if method == "random":
        points = np.random.default_rng(seed).random((size, len(names)))
    else:
        engine = {"sobol": qmc.Sobol, "halton": qmc.Halton, "lhs": qmc.LatinHypercube}[method]
        points = engine(len(names), seed=seed).random(size)
    columns = {}
    for name, text, shares in zip(names, draw, points.T, strict=True):
        one = chapter.parameters[name]
        if "=" in text:
            parts = assigned(text)[1].split(":")
            if len(parts) != 2:
                raise StackbookError(f"--draw {text!r}: write name=low:high, or name alone")
            low, high = _ends(one, text, parts)
            if one.kind == "int":  # the ends as often as what lies between
                low, high = low - 0.5, high + 0.5
            found = low + (high - low) * shares
        else:
            found = np.quantile(_evidence(one, fixed[name]), shares, method="hazen")
        columns[name] = [_typed(one, value) for value in found.tolist()]
    return columns


def _evidence(one: Parameter, value: Value) -> Any:
    """Draws of a parameter from the range of its evidence, as far as the chapter admits them."""
    from stackbook import inputs

    if one.symbol is None or one.kind not in ("float", "int"):
        raise StackbookError(
            f"--draw {one.name}: no row of table parameters is its evidence; "
            f"write {one.name}=low:high"
        )
    row = facts.parameter(one.symbol)
    try:
        draws = inputs.drawn(row, one.symbol, float(value), _DRAWS)[1:]
    except ValueError as error:
        raise StackbookError(f"--draw {one.name}: {error}") from None
    if one.low is not None and one.high is not None:
        draws = draws[(one.low <= draws) & (draws <= one.high)]
    if not draws.size or draws.min() == draws.max():
        raise StackbookError(
            f"--draw {one.name}: its evidence has no range around {plain(value)}; "
            f"write {one.name}=low:high"
        )
    return draws


def _ends(one: Parameter, text: str, parts: Sequence[str]) -> tuple[float, float]:
    """Both ends of a range, each admissible."""
    if one.kind not in ("float", "int"):
        raise StackbookError(f"{text!r}: {one.name} is no number; use --values {one.name}=a,b")
    low, high = (one.check(part.strip()) for part in parts)
    if not low < high:  # type: ignore[operator]
        raise StackbookError(f"{text!r}: {low} is not below {high}; give the lower one first")
    return float(low), float(high)


def _typed(one: Parameter, value: float) -> Value:
    return one.check(round(value) if one.kind == "int" else value)


def _distinct(text: str, values: list[Value]) -> list[Value]:
    if len(values) < 2:
        raise StackbookError(f"{text!r} is one value: set it with -p, or give two")
    if len({*values}) < len(values):
        raise StackbookError(f"{text!r} gives a value twice; give each once")
    return values


# The journal ---------------------------------------------------------------------------------


class _Journal:
    """Cases that are done, a line each, until the Parquet is whole; held by one sweep at a time."""

    def __init__(self, output: Path, head: str, force: bool) -> None:
        self.path = output.with_name(output.name + ".journal")
        self.output, self.head, self.force = output, head, force
        self.cases: dict[int, list[dict[str, Any]] | str] = {}
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
        gone = {key for key, used in self._sources.items() if not _fresh(used)}
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


def _fresh(used: Mapping[str, str]) -> bool:
    """Whether everything is here as it was used."""
    return all(digest(name) == seen for name, seen in used.items())


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


# Execution -----------------------------------------------------------------------------------


class _Task(NamedTuple):
    """Cases `start` to `end` of a slice, or one of a notebook."""

    start: int
    end: int
    notebook: bool


def _notebooks(
    design: Design, journal: _Journal, scheduler: str | None, told: Told
) -> dict[str, str]:
    """Fill the journal with every case; what they used."""
    journal.stale()
    while todo := [case for case in range(design.size) if case not in journal.cases]:
        failed = sum(isinstance(outcome, str) for outcome in journal.cases.values())
        everything = _everything()
        tasks = deque(_Task(case, case + 1, True) for case in todo)
        with _outcomes(design, None, tasks, scheduler) as outcomes:
            for task, outcome in outcomes:
                if isinstance(outcome, Executed):
                    _check(outcome.used)
                    journal.add(task.start, list(map(_plain, outcome.findings)), outcome.used)
                else:
                    failed += 1
                    journal.add(task.start, outcome, everything)
                told(len(journal.cases), failed)
        journal.stale()  # of sources that were edited meanwhile
    return journal.used()


def _sliced(
    design: Design, piece: slices.Slice, scheduler: str | None, told: Told
) -> tuple[list[list[dict[str, Any]] | str], dict[str, str]]:
    """Results of every case of a slice, and what they used.

    The first and the last case are executed as notebooks, too, and must give the same bits.
    """
    found: list[list[dict[str, Any]] | str] = [""] * design.size
    size = max(1, min(_BATCH, math.ceil(design.size / _AHEAD / (os.cpu_count() or 1))))
    ends = dict.fromkeys((0, design.size - 1))
    tasks = deque(_Task(case, case + 1, True) for case in ends)
    for start in range(0, design.size, size):
        tasks.append(_Task(start, min(start + size, design.size), False))
    executed: dict[int, Executed | str] = {}
    used: dict[str, str] = {}
    done = failed = 0
    with _outcomes(design, piece, tasks, scheduler) as outcomes:
        for task, outcome in outcomes:
            if task.notebook:
                executed[task.start] = outcome
                continue
            if isinstance(outcome, str):
                cases: list[list[dict[str, Any]] | str] = [outcome] * (task.end - task.start)
            else:
                _check(outcome.used)
                used |= outcome.used
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
    return found, used


def _agree(
    design: Design,
    piece: slices.Slice,
    case: int,
    ours: list[dict[str, Any]] | str,
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
    """StackbookError where a worker has other sources than ours. A reader's file travelled."""
    moved = [name for name, seen in used.items() if digest(name) != seen and "file:" not in name]
    if moved:
        raise StackbookError(
            f"the {moved[0].replace(':', ' ')} that a case ran with is not the one here: it was "
            "edited meanwhile, or the Dask workers have another; install the same stackbook there, "
            "and give the same command, which repeats the cases that it has to"
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


# The table -----------------------------------------------------------------------------------


def _plain(record: dict[str, Any]) -> dict[str, Any]:
    """What the table keeps of a finding."""
    return {key: record.get(key) for key in ("name", "value", "unit", "low", "high")}


def _rows(case: int, outcome: list[dict[str, Any]] | str) -> list[tuple[Any, ...]]:
    if isinstance(outcome, str):
        return [(case, None, None, None, None, None, outcome)]
    return [(case, *record.values(), None) for record in outcome]


def _table(design: Design, parts: Iterator[list[tuple[Any, ...]]]) -> "pl.DataFrame":
    """A row for each case and finding, with every parameter."""
    import polars as pl

    number, text = pl.Float64, pl.String
    schema = {"case": pl.Int64, "finding": text, "value": number, "unit": text}
    schema |= {"low": number, "high": number, "error": text}
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
