"""Reference pages, made of what stands in the sources: parameters and public Python functions."""

import ast
import re
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import NamedTuple

import stackbook
from stackbook.press import pages
from stackbook.press.chapters import Chapter, Parameter
from stackbook.press.made import Built
from stackbook.press.markdown import escaped, table
from stackbook.press.scenarios import shipped

_ROOMS = ("facts", "inputs", "profiles", "findings", "charts", "kernels")
_ABOUT = re.compile(r"(\w+(?:, \w+)*): (.+)")  # in a kernel's docstring: names, and what they are
_CODE = re.compile(r"(``.+?``|`[^`]+`)")

Used = Mapping[Parameter, list[Chapter]]


def parameters(built: Built) -> str:
    """Every parameter once: first those of several chapters, then those of each alone."""
    chapters = [chapter for chapter in built.book.chapters.values() if chapter.parameters]
    used: dict[Parameter, list[Chapter]] = {}
    for chapter in chapters:
        for parameter in chapter.parameters.values():
            used.setdefault(parameter, []).append(chapter)
    setters: dict[str, list[str]] = {}
    for scenario in shipped(built.book).values():
        for name in scenario.parameters:
            setters.setdefault(name, []).append(escaped(scenario.title))
    shared = {parameter: where for parameter, where in used.items() if where[1:]}
    lines = [f"There are {len(used)} parameters in {len(chapters)} chapters."]
    if shared:
        lines += [
            f"{len(shared)} of them stand in several chapters and mean the same in each.",
            "",
            "## In several chapters",
            "",
            *_table(shared, setters),
        ]
    for chapter in chapters:
        own = {parameter: where for parameter, where in used.items() if where == [chapter]}
        others = [
            f"[`{each.name}`](#{_anchor(each)})" for each in shared if chapter in shared[each]
        ]
        also = f" It also has {', '.join(others)}, above." if others else ""
        lines += ["", f"## {chapter.title}", "", f"Chapter {_doc(chapter)}.{also}"]
        lines += ["", *_table(own, setters)] if own else []
    return "\n".join(lines)


def _table(used: Used, setters: Mapping[str, list[str]]) -> Iterator[str]:
    heads = ["Parameter", "Default", "Unit", "Bounds", "Meaning"]
    rows = (_cells(parameter, where, setters) for parameter, where in used.items())
    return table(heads, rows, "stackbook-all")


def _cells(
    parameter: Parameter, where: list[Chapter], setters: Mapping[str, list[str]]
) -> list[str]:
    meaning = parameter.meaning + pages.evidence(parameter)
    if where[1:]:
        meaning += f". In {', '.join(map(_doc, where))}"
    if parameter.name in setters:
        meaning += f". Set by scenario {', '.join(setters[parameter.name])}"
    name = f"`{parameter.name}`{{#{_anchor(parameter)}}}"
    default = pages.shown_as(parameter, parameter.default)
    return [name, default, parameter.shown_unit, parameter.bounds, meaning]


def _doc(chapter: Chapter) -> str:
    return f"{{doc}}`{chapter.name} </{chapter.name}>`"


def _anchor(parameter: Parameter) -> str:
    return f"parameter-{parameter.name}"


def api(_: Built) -> str:
    """The public functions and records of each room, by module, from their docstrings."""
    return _api()


@cache
def _api() -> str:
    modules = [module for room in _ROOMS for module in _modules(room)]
    lines = [
        f"- {{py:mod}}`{each.name} <stackbook.{each.name}>`: {_text(each.title)}"
        for each in modules
    ]
    for module in modules:
        lines += ["", f"```{{py:module}} stackbook.{module.name}", "```", ""]
        lines += [f"## {module.name}", ""]
        lines += [_text(module.about)]
        for node in module.public:
            lines += ["", *module.told(node)]
    return "\n".join(lines)


class _Module(NamedTuple):
    """What a module has for its readers, read without importing it."""

    name: str
    tree: ast.Module
    lines: list[str]
    public: list[ast.FunctionDef | ast.ClassDef]

    @property
    def about(self) -> str:
        return ast.get_docstring(self.tree) or ""

    @property
    def title(self) -> str:
        """First line of its docstring, which may begin with the module's name."""
        first = self.about.split("\n")[0].removeprefix(f"{self.name.capitalize()}: ")
        return first[:1].upper() + first[1:]

    def told(self, node: ast.FunctionDef | ast.ClassDef) -> Iterator[str]:
        """A function or record as Sphinx's Python domain takes it, for an anchor and the search."""
        if isinstance(node, ast.FunctionDef):
            yield from _function(node, "function")
            return
        yield from _head("::::", "class", node.name)
        yield _text(ast.get_docstring(node) or "")
        yield ""
        for field, after in zip(node.body, [*node.body[1:], None], strict=True):
            if isinstance(field, ast.AnnAssign):
                comment = self._comment(field, after)
                yield f"- `{ast.unparse(field)}`" + (f": {_text(comment)}" if comment else "")
        for method in node.body:
            if isinstance(method, ast.FunctionDef) and method.name[0] != "_":
                yield ""
                yield from _function(method, "property" if method.decorator_list else "method")
        yield "::::"

    def _comment(self, field: ast.AnnAssign, after: ast.stmt | None) -> str:
        """What is said of a field: behind it, or in a string below it."""
        match after:
            case ast.Expr(value=ast.Constant(value=str(text))):
                return text
        line = self.lines[(field.end_lineno or 0) - 1].encode()
        return line[field.end_col_offset :].decode().strip().removeprefix("# ")


def _modules(room: str) -> Iterator[_Module]:
    """The modules of a room. What a package exports is its own, whatever module that is in."""
    at = Path(stackbook.__file__).parent / room
    if not at.is_dir():
        yield _parsed(room, at.with_suffix(".py"))
        return
    package = _parsed(room, at / "__init__.py")
    inner = [_parsed(f"{room}.{file.stem}", file) for file in sorted(at.glob("[!_]*.py"))]
    imports = (node for node in package.tree.body if isinstance(node, ast.ImportFrom))
    exported = {alias.name for node in imports for alias in node.names}
    own = [node for module in inner for node in module.public if node.name in exported]
    yield package._replace(public=own)
    yield from (module for module in inner if not {*module.public} & {*own})


def _parsed(name: str, file: Path) -> _Module:
    text = file.read_text("utf-8")
    tree = ast.parse(text)
    public = [
        node
        for node in tree.body
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and node.name[0] != "_"
    ]
    return _Module(name, tree, text.splitlines(), public)


def _function(node: ast.FunctionDef, kind: str) -> Iterator[str]:
    """Of a formula the types, which are all the same, are left out."""
    signature = f"({ast.unparse(node.args)})"
    if any(ast.unparse(each) == "formula" for each in node.decorator_list):
        signature = f"({', '.join(each.arg for each in node.args.args)})"
    yield from _head(":::", kind, node.name + ("" if kind == "property" else signature))
    first, _, others = (ast.get_docstring(node) or "").partition("\n\n")
    yield _text(first)
    yield ""
    yield from _arguments(others)
    yield ":::"


def _head(fence: str, kind: str, signature: str) -> Iterator[str]:
    # Sphinx would copy each entry of the contents into every page of the site.
    yield from (f"{fence}{{py:{kind}}} {signature}", ":no-contents-entry:", "")


def _arguments(text: str) -> Iterator[str]:
    """A list where each line tells of some arguments, as in kernels; else prose."""
    lines = text.splitlines()
    told = [(found[1], found[2]) for line in lines if (found := _ABOUT.fullmatch(line))]
    if len(told) < len(lines):
        yield _text(text)
        return
    for names, what in told:
        code = names not in ("returns", "source")
        shown = ", ".join(f"`{name}`" for name in names.split(", ")) if code else names
        yield f"- {shown}: {_text(what)}"


def _text(text: str) -> str:
    """Words of a docstring as Markdown: code stays code, nothing else is markup."""
    parts = _CODE.split(text)
    parts[::2] = map(escaped, parts[::2])
    return "".join(parts)
