"""Slices: of a chapter's code only what a finding follows from, run for many cases in a process.

A slice is cut by statement, conservatively: what may write, or change in place, a name that is
needed is in it. `sweeps` executes the chapter itself at two cases, and the bits have to agree.
"""

import ast
import json
import linecache
import os
import re
import subprocess
import symtable
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import stackbook
from stackbook import StackbookError, facts, findings, inputs, nearest
from stackbook.press import execution
from stackbook.press.chapters import Chapter, Value, Values, plain

_SECONDS = 20  # that a batch may take; the rest of its cases is for another
_STATES, _WORDS = "finding", "phrase"  # what a chapter states its numbers and words with
# Methods that change their object and are called for that, and those called for a value, too.
_CHANGES = {"append", "extend", "insert", "add", "discard", "update", "clear", "appendleft"}
_CHANGES |= {"pop", "popitem", "popleft", "setdefault"}
_TAKES = {"next", "heappop", "heappush", "heapreplace"}  # those that change what they are given
_ONCE_ONLY = {"default_rng", "RandomState", "Random", "iter", "zip", "map", "filter", "enumerate"}
_ONCE_ONLY |= {"reversed", "open", "count", "cycle"}  # each use of what they return leaves its mark
_VIEWS = {"zip", "enumerate", "reversed", "iter", "map", "filter", "asarray", "ravel", "reshape"}
_VIEWS |= {"values", "items", "get", "atleast_1d"}


class Slice(NamedTuple):
    """What findings of a chapter follow from, as source."""

    chapter: str
    names: tuple[str, ...]
    once: str
    """Statements that no swept parameter reaches."""
    each: str
    """Those that one does."""
    fresh: tuple[str, ...]
    """Names that a case must not find as the one before left them."""


class Batch(NamedTuple):
    """Results of cases in order, up to where the time was over, and what they used."""

    cases: list[list[dict[str, Any]] | str]
    """Findings of a case, or its error."""
    used: dict[str, str]


class _Statement(NamedTuple):
    node: ast.stmt
    reads: set[str]
    """Names whose value from before the statement may matter to it."""
    writes: set[str]
    """Names that it may bind, or whose object it may change."""
    binds: set[str]
    """Names that it surely binds."""


def stated(chapter: Chapter) -> list[str]:
    """Names of the findings that the chapter states with the name in plain view."""
    calls = (each for node in _code(chapter) for each in _calls(node, _STATES))
    arguments = (each.args[0] for each in calls if each.args)
    return [
        each.value
        for each in arguments
        if isinstance(each, ast.Constant) and isinstance(each.value, str)
    ]


def sliced(chapter: Chapter, names: Sequence[str], swept: Iterable[str]) -> Slice:
    """The slice of `chapter` for the findings `names`, where the parameters `swept` vary.

    StackbookError for a finding that it does not state.
    """
    code = _code(chapter)
    stating = _stating(code)
    # What refuses a case refuses it here, too.
    wanted = {number for number, node in enumerate(code) if _refuses(node)}
    calls = [
        (number, call)
        for number, node in enumerate(code)
        if not isinstance(node, ast.FunctionDef | ast.ClassDef)
        for call in _calls(node, *stating)
    ]
    for name in names:
        found = _where(name, calls, stating)
        if not found:
            near = nearest(name, stated(chapter))
            raise StackbookError(
                f"no finding {name!r} in {chapter.name}{near}; "
                f"`stackbook findings {chapter.name}` lists them"
            )
        wanted |= found
    kept = [ast.fix_missing_locations(_Quiet(names, stating).visit(node)) for node in code]
    statements = _analysed(kept)
    needed: set[str] = set()
    chosen: list[_Statement] = []
    for number in reversed(range(len(code))):
        each = statements[number]
        if number in wanted or each.writes & needed:
            chosen.insert(0, each)
            needed = (needed - each.binds) | each.reads
    varying = _varying(chosen, set(swept))
    once = [each.node for number, each in enumerate(chosen) if number not in varying]
    again = [each.node for number, each in enumerate(chosen) if number in varying]
    bound = set().union(*(chosen[number].binds for number in varying))
    return Slice(chapter.name, tuple(names), _source(once), _source(again), tuple(sorted(bound)))


def run(
    piece: Slice,
    fixed: Values,
    swept: Mapping[str, Sequence[Value]],
    files: Mapping[str, bytes],
    overlay: Mapping[str, bytes],
    seconds: float = _SECONDS,
) -> Batch:
    """Run `piece` for the cases whose values stand in `swept`, in a process of its own.

    Runs on a Dask worker, with `files` and `overlay` as `execution.execute` has them. It stops
    after `seconds`; whatever cases are left are for another batch.
    """
    with tempfile.TemporaryDirectory(prefix="stackbook-") as name:
        folder = Path(name)
        for path, data in files.items():
            (folder / stackbook.laid_as(path)).write_bytes(data)
        tables = folder / "tables"
        tables.mkdir()
        for path, data in overlay.items():
            (tables / path).parent.mkdir(parents=True, exist_ok=True)
            (tables / path).write_bytes(data)
        asked = [piece, dict(fixed), {name: list(column) for name, column in swept.items()}]
        (folder / "asked.json").write_text(json.dumps([*asked, seconds]))
        done = subprocess.run(
            [sys.executable, "-m", __name__, name],
            env=os.environ | {stackbook.FILES: name, stackbook.OVERLAY: str(tables)},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
        )
        answer = folder / "answer.json"
        if done.returncode or not answer.is_file():
            said = " ".join(done.stderr.splitlines()[-1:])
            raise ChildProcessError(f"a slice of {piece.chapter} stopped: {said}")
        said = json.loads(answer.read_text())
        if isinstance(said, str):
            raise StackbookError(said)
        cases, used = said
        return Batch(cases, used | execution.read(files))


def _answer(folder: Path) -> None:
    """What the process of a batch does."""
    piece, fixed, swept, seconds = json.loads((folder / "asked.json").read_text())
    parent, start = os.getppid(), time.monotonic()

    def enough() -> bool:
        return time.monotonic() - start > seconds or os.getppid() != parent

    _ask_once()
    try:
        answer: Any = [_cases(Slice(*piece), fixed, swept, enough), execution.used()]
    except StackbookError as error:
        answer = str(error)
    temporary = folder / "answer.part"
    temporary.write_text(json.dumps(answer))
    temporary.rename(folder / "answer.json")


def _ask_once() -> None:
    """Keep what every case asks of the tables again: rows, and draws of ranges."""
    facts.rows = cache(facts.rows)
    spread = cache(inputs.spread)
    inputs.spread = lambda *given, **named: spread(*given, **named).copy()  # a case may change it


def _cases(
    piece: Slice,
    fixed: Values,
    swept: Mapping[str, Sequence[Value]],
    enough: Callable[[], bool] = lambda: False,
) -> list[list[dict[str, Any]] | str]:
    """Findings of `piece`, or its error, for each case until `enough`.

    StackbookError where the first case, run again after the last, finds something else.
    """
    found: list[dict[str, Any]] = []

    def keep(name: str, text: str, record: dict[str, Any] | None = None) -> None:
        if record and name in piece.names:
            found.append(record)

    findings._glue = keep  # finding() checks and ranges as ever, but shows nothing
    scope: dict[str, Any] = {"__name__": "__main__", **fixed}
    broken = _raised(piece, "once", _compiled(piece, "once"), scope, {})
    before, code = list(found), _compiled(piece, "each")

    def outcome(values: tuple[Value, ...]) -> list[dict[str, Any]] | str:
        found[:] = before
        for name in piece.fresh:
            scope.pop(name, None)
        case = dict(zip(swept, values, strict=True))
        scope.update(case)
        return broken or _raised(piece, "each", code, scope, case) or list(found)

    cases: list[list[dict[str, Any]] | str] = []
    points = list(zip(*swept.values(), strict=True))
    for values in points:
        if cases and enough():
            break
        cases.append(outcome(values))
    if len(cases) > 1 and outcome(points[0]) != cases[0]:
        raise StackbookError(
            f"a case of {piece.chapter} depends on the cases before it, as with a random state "
            "that all share; sweep without --finding"
        )
    return cases


def _compiled(piece: Slice, part: str) -> Any:
    name, source = f"<slice {part}>", getattr(piece, part)
    linecache.cache[name] = (len(source), None, source.splitlines(keepends=True), name)
    return compile(source, name, "exec")


def _raised(piece: Slice, part: str, code: Any, scope: dict[str, Any], case: Values) -> str:
    """The error, in a line, of a part of `piece`; empty where it ran."""
    try:
        exec(code, scope)
    except StackbookError as error:
        return f"{error} (chapter {piece.chapter})"
    except Exception as error:
        line, trace = "", error.__traceback__
        while trace:
            if trace.tb_frame.f_code.co_filename == f"<slice {part}>":
                line = linecache.getline(f"<slice {part}>", trace.tb_lineno).strip()
            trace = trace.tb_next
        given = ", ".join(f"{name}={plain(value)}" for name, value in case.items())
        reason = f"{type(error).__name__}: {error}".splitlines()[0]
        return f"chapter {piece.chapter} raised at {line[:100]} with {given or 'any'}: {reason}"
    return ""


def _code(chapter: Chapter) -> list[ast.stmt]:
    """Top-level statements of the chapter's cells but for the parameters'."""
    import jupytext

    found: list[ast.stmt] = []
    for number, cell in enumerate(jupytext.reads(chapter.source, fmt="md:myst").cells):
        if cell.cell_type == "code" and "parameters" not in cell.metadata.get("tags", []):
            try:
                found += ast.parse(cell.source).body
            except SyntaxError as error:
                raise StackbookError(
                    f"chapter {chapter.name}, cell {number}: {error.msg} in {error.text!r}; "
                    "sweep it without --finding"
                ) from None
    return found


def _called(node: ast.AST) -> str:
    """Name of the function or method that a call calls."""
    function = node.func if isinstance(node, ast.Call) else None
    if isinstance(function, ast.Name):
        return function.id
    return function.attr if isinstance(function, ast.Attribute) else ""


def _calls(node: ast.AST, *names: str) -> list[ast.Call]:
    return [n for n in ast.walk(node) if isinstance(n, ast.Call) and _called(n) in names]


def _stating(code: list[ast.stmt]) -> dict[str, bool]:
    """`finding` and the chapter's functions that call it: whether the name is their first argument.

    One that does more than state is not among those that say the name.
    """
    functions = [node for node in code if isinstance(node, ast.FunctionDef)]
    changing = _changing(functions)
    found = {_STATES: True}
    while True:
        more: dict[str, bool] = {}
        for function in functions:
            name = function.name
            if name not in found and (calls := _calls(function, *found)):
                first = function.args.args[:1]
                named = all(
                    found[_called(call)]
                    and bool(call.args and first)
                    and isinstance(call.args[0], ast.Name)
                    and call.args[0].id == first[0].arg
                    for call in calls
                )
                more[name] = more.get(name, True) and named and changing[name] == (False, set())
        if not more:
            return found
        found |= more


def _refuses(node: ast.stmt) -> bool:
    """Whether a statement may raise on purpose."""
    if isinstance(node, ast.FunctionDef | ast.ClassDef):
        return False
    return any(isinstance(each, ast.Raise | ast.Assert) for each in ast.walk(node))


def _where(name: str, calls: list[tuple[int, ast.Call]], stating: Mapping[str, bool]) -> set[int]:
    """Numbers of the statements that may state finding `name`, of those that call to state."""
    plainly: set[int] = set()
    maybe: set[int] = set()
    for number, call in calls:
        first = call.args[0] if call.args and stating[_called(call)] else None
        if isinstance(first, ast.Constant):
            (plainly if first.value == name else set()).add(number)
        elif isinstance(first, ast.JoinedStr):
            parts = (p.value if isinstance(p, ast.Constant) else None for p in first.values)
            pattern = "".join(".*" if p is None else re.escape(str(p)) for p in parts)
            if re.fullmatch(pattern, name):
                maybe.add(number)
        else:
            maybe.add(number)
    return plainly or maybe


class _Quiet(ast.NodeTransformer):
    """Without statements that only state: words, and findings that nobody asked for."""

    def __init__(self, names: Sequence[str], stating: Mapping[str, bool]) -> None:
        self.names, self.stating = names, stating

    def visit_Expr(self, node: ast.Expr) -> ast.stmt:
        called, first = _called(node.value), None
        if isinstance(node.value, ast.Call) and node.value.args:
            first = node.value.args[0]
        other = isinstance(first, ast.Constant) and first.value not in self.names
        silent = called == _WORDS or (self.stating.get(called, False) and other)
        also = any(isinstance(each, ast.NamedExpr) for each in ast.walk(node)) or _changed(node, {})
        return ast.copy_location(ast.Pass(), node) if silent and not also else node


def _names(node: ast.AST) -> set[str]:
    return {each.id for each in ast.walk(node) if isinstance(each, ast.Name)}


def _free(node: ast.AST) -> set[str]:
    """Names that a function, class or comprehension reads from outside itself."""

    def outside(table: symtable.SymbolTable) -> set[str]:
        own = {each.get_name() for each in table.get_symbols() if each.is_global()}
        return own.union(*map(outside, table.get_children()))

    top = symtable.symtable(ast.unparse(node), "slice", "exec")
    here = {each.get_name() for each in top.get_symbols() if each.is_referenced()}
    return here.union(*map(outside, top.get_children()))


class _Reader(ast.NodeVisitor):
    """Names that a statement reads from before itself, and those that it binds."""

    def __init__(self) -> None:
        self.reads: set[str] = set()
        self.binds: set[str] = set()  # surely, up to here
        self.writes: set[str] = set()

    def visit_Name(self, node: ast.Name) -> None:
        if isinstance(node.ctx, ast.Load):
            self.reads |= {node.id} - self.binds
        else:
            self._bind(node.id)

    def _bind(self, name: str) -> None:
        self.binds.add(name)
        self.writes.add(name)

    def _scope(self, node: ast.AST) -> None:
        self.reads |= _free(node) - self.binds
        for each in ast.walk(node):
            if isinstance(each, ast.NamedExpr):
                self.writes |= _names(each.target)

    visit_Lambda = visit_ListComp = visit_SetComp = visit_DictComp = visit_GeneratorExp = _scope  # noqa: N815

    def _definition(self, node: ast.FunctionDef | ast.ClassDef) -> None:
        self._scope(node)
        self._bind(node.name)

    visit_FunctionDef = visit_ClassDef = _definition  # noqa: N815

    def visit_Import(self, node: ast.Import | ast.ImportFrom) -> None:
        for each in node.names:
            self._bind((each.asname or each.name).split(".")[0])

    visit_ImportFrom = visit_Import  # noqa: N815

    def visit_Assign(self, node: ast.Assign) -> None:
        for part in (node.value, *node.targets):
            self.visit(part)

    def visit_AnnAssign(self, node: ast.AnnAssign) -> None:
        for part in filter(None, (node.value, node.target)):
            self.visit(part)

    def visit_AugAssign(self, node: ast.AugAssign) -> None:
        self.reads |= _names(node.target) - self.binds
        self.visit(node.value)
        self.visit(node.target)

    def visit_For(self, node: ast.For) -> None:
        self.visit(node.iter)
        self._perhaps([node.target, *node.body])
        self._perhaps(node.orelse)

    def visit_While(self, node: ast.While) -> None:
        self.visit(node.test)
        self._perhaps(node.body)
        self._perhaps(node.orelse)

    def visit_If(self, node: ast.If) -> None:
        self.visit(node.test)
        both = self._perhaps(node.body) & self._perhaps(node.orelse)
        self.binds |= both

    def visit_Try(self, node: ast.Try) -> None:
        for part in (node.body, node.handlers, node.orelse, node.finalbody):
            self._perhaps(part)

    def visit_ExceptHandler(self, node: ast.ExceptHandler) -> None:
        if node.name:
            self._bind(node.name)
        self.generic_visit(node)

    def visit_Match(self, node: ast.Match) -> None:
        self._perhaps([node.subject, *node.cases])

    def visit_MatchAs(self, node: Any) -> None:
        if node.name:
            self._bind(node.name)
        self.generic_visit(node)

    visit_MatchStar = visit_MatchAs  # noqa: N815

    def _perhaps(self, nodes: Sequence[ast.AST]) -> set[str]:
        """Visit what may not run, or not to its end; the names that it binds if it does."""
        before = set(self.binds)
        for node in nodes:
            self.visit(node)
        bound, self.binds = self.binds, before
        return bound


def _analysed(code: list[ast.stmt]) -> list[_Statement]:
    """Effects of each statement, with those of the chapter's own functions that it may call."""
    functions = [f for f in code if isinstance(f, ast.FunctionDef)]
    late = _late(code)
    changed_by = _changing(functions)
    kin = _kin(code)
    remembering = {  # names of what remembers each use of it
        name
        for node in code
        for each in ast.walk(node)
        if isinstance(each, ast.Assign)
        and (isinstance(each.value, ast.GeneratorExp) or _called(each.value) in _ONCE_ONLY)
        for target in each.targets
        for name in _names(target)
    }
    marked = _closed(remembering, kin)
    found = []
    for node in code:
        reader = _Reader()
        reader.visit(node)
        reads = _closed(reader.reads, late)
        changed = _changed(node, changed_by)
        if not isinstance(node, ast.FunctionDef | ast.ClassDef):
            changed |= reads & marked
        changed = _closed(changed, kin)
        reads |= changed
        found.append(_Statement(node, reads, reader.writes | changed, reader.binds))
    return found


def _late(code: list[ast.stmt]) -> dict[str, set[str]]:
    """What is read when something that a name holds is called, by that name."""
    late: dict[str, set[str]] = {}
    for node in code:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            late.setdefault(node.name, set()).update(_free(node) - {node.name})
            continue
        called = {id(n.func) for n in ast.walk(node) if isinstance(n, ast.Call)}
        held = [n for n in ast.walk(node) if isinstance(n, ast.Name) and id(n) not in called]
        inside = {n.id for n in held if isinstance(n.ctx, ast.Load)} & late.keys()
        inside = inside.union(*(_free(n) for n in ast.walk(node) if isinstance(n, ast.Lambda)))
        for name in inside and {n.id for n in held if isinstance(n.ctx, ast.Store)}:
            late.setdefault(name, set()).update(inside - {name})
    return late


def _changing(functions: Sequence[ast.FunctionDef]) -> dict[str, tuple[bool, set[str]]]:
    """Of each function: whether it may change an argument, and the outer names it may change.

    Of a name that is defined anew, what any of its definitions may do.
    """
    nothing: tuple[bool, set[str]] = False, set()
    found = {function.name: nothing for function in functions}
    while True:
        now = dict.fromkeys(found, nothing)
        for function in functions:
            arguments = {n.arg for n in ast.walk(function.args) if isinstance(n, ast.arg)}
            told = {n for e in ast.walk(function) if isinstance(e, ast.Global) for n in e.names}
            # A local name may hold a part of an argument, or of something outside.
            kin = _kin(function.body)
            changed = _closed(set().union(*(_changed(n, found) for n in function.body)), kin)
            argument, outer = now[function.name]
            outer = outer | (changed & _free(function)) | told
            now[function.name] = argument or bool(changed & arguments), outer
        if now == found:
            return found
        found = now


def _changed(node: ast.AST, by: Mapping[str, tuple[bool, set[str]]]) -> set[str]:
    """Names whose object a statement may change in place."""
    if isinstance(node, ast.FunctionDef | ast.ClassDef | ast.Import | ast.ImportFrom):
        return set()
    changed: set[str] = set()
    for each in ast.walk(node):
        match each:
            case (
                ast.Subscript(ctx=ast.Store() | ast.Del())
                | ast.Attribute(ctx=ast.Store() | ast.Del())
            ):
                changed |= _names(each.value)
            case ast.AugAssign(target=ast.Name()):
                changed |= _names(each.target)
            case ast.Expr(value=ast.Call() as call) if _called(call) not in by:
                root = call.func
                while isinstance(root, ast.Attribute | ast.Call):
                    root = root.value if isinstance(root, ast.Attribute) else root.func
                shown = isinstance(root, ast.Name) and root.id in (_STATES, _WORDS, "charts", "alt")
                changed |= set() if shown else _names(call)
            case ast.Call():
                name = _called(each)
                outs = [k.value for k in each.keywords if k.arg == "out"]
                changed = changed.union(*map(_names, outs))
                if isinstance(each.func, ast.Attribute) and name in _CHANGES:
                    changed |= _names(each.func.value)
                elif name in _TAKES:
                    changed = changed.union(*map(_names, each.args))
                elif name in by and isinstance(each.func, ast.Name):
                    arguments, outer = by[name]
                    changed |= outer | (_names(each) if arguments else set())
    return changed


def _kin(code: Sequence[ast.stmt]) -> dict[str, set[str]]:
    """Names that may hold the same object, or a part of it."""
    kin: dict[str, set[str]] = {}

    def parts(node: ast.AST | None) -> set[str]:
        match node:
            case ast.Name():
                return {node.id}
            case ast.Subscript() | ast.Attribute() | ast.Starred() | ast.NamedExpr():
                return parts(node.value)
            case ast.IfExp():
                return parts(node.body) | parts(node.orelse)
            case ast.BoolOp(values=several) | ast.Tuple(elts=several) | ast.List(elts=several):
                return set().union(*map(parts, several))
            case ast.Dict():
                return set().union(*map(parts, node.values))
            case ast.Call() if _called(node) in _VIEWS:
                return parts(node.func).union(*map(parts, node.args)) - {"np"}
        return set()

    def meet(targets: set[str], held: set[str]) -> None:
        for one in targets:
            for other in held - {one}:
                kin.setdefault(one, set()).add(other)
                kin.setdefault(other, set()).add(one)

    for node in code:
        for each in ast.walk(node):
            match each:
                case ast.Assign():
                    targets = set().union(*map(parts, each.targets))
                    meet(targets, parts(each.value) | (targets if each.targets[1:] else set()))
                case ast.AnnAssign() | ast.NamedExpr():
                    meet(parts(each.target), parts(each.value))
                case ast.For() | ast.comprehension():
                    meet(parts(each.target), parts(each.iter))
    return kin


def _closed(names: set[str], more: Mapping[str, set[str]]) -> set[str]:
    """`names`, and whatever follows from them through `more`."""
    found, todo = set(names), list(names)
    while todo:
        new = more.get(todo.pop(), set()) - found
        found |= new
        todo += new
    return found


def _varying(chosen: list[_Statement], swept: set[str]) -> set[int]:
    """Numbers of the statements that have to run for each case, the others before them all."""
    read = set().union(*(each.reads for each in chosen))
    writes = [each.writes & read for each in chosen]
    varying: set[int] = set()
    names = set(swept)
    while True:
        more = {
            number
            for number, each in enumerate(chosen)
            if number not in varying
            and (
                (each.reads | writes[number]) & names
                # It would come before a statement that has to see what was there before it.
                or any(
                    writes[number] & (chosen[earlier].reads | writes[earlier])
                    for earlier in varying
                    if earlier < number
                )
            )
        }
        if not more:
            return varying
        varying |= more
        names = names.union(*(writes[number] for number in more))


def _source(nodes: list[ast.stmt]) -> str:
    return "".join(f"{ast.unparse(node)}\n" for node in nodes)


if __name__ == "__main__":
    _answer(Path(sys.argv[1]))
