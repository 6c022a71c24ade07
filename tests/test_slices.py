"""A slice gives a finding to the last bit as the whole chapter does, whatever ran before it."""

import copy
import pickle
import sys
from collections.abc import Callable
from typing import Any

import pytest
from conftest import CHAPTER
from hypothesis import given, settings
from hypothesis import strategies as st
from test_chapters import BOOK, run

from stackbook import StackbookError, findings
from stackbook.kernels import batching, fitting
from stackbook.press import slices
from stackbook.press.chapters import Chapter, Value, declared


def chapter(code: str) -> Chapter:
    source = CHAPTER.format(
        title="T", extra="other: int = 2  # [1, 0 to 9] it", code=code, finding="s"
    )
    return Chapter("t", source, declared("t", source))


@pytest.fixture(autouse=True)
def _quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(findings, "_glue", findings._glue)  # put back after each test


def others(one: Chapter) -> dict[str, Value]:
    """Not the defaults: numbers 3% away, inwards where the bound is near, and few refits."""
    found: dict[str, Value] = {"refits": 200} if "refits" in one.parameters else {}
    for name, each in one.parameters.items():
        if each.kind == "float" and each.low is not None and each.high is not None:
            ways = (float(each.default) * factor for factor in (1.03, 0.97, 1.0))
            found[name] = next(way for way in ways if each.low <= way <= each.high)
    return one.values(found)


def remembered(function: Callable[..., Any]) -> Callable[..., Any]:
    known: dict[bytes, Any] = {}

    def once(*given: Any, **named: Any) -> Any:
        key = pickle.dumps((given, named))
        if key not in known:
            known[key] = function(*given, **named)
        return copy.deepcopy(known[key])

    return once


PARAMETERIZED = [one for one in BOOK.chapters.values() if one.parameters]


@pytest.mark.parametrize("one", PARAMETERIZED, ids=lambda one: one.name)
def test_a_slice_finds_what_the_chapter_finds(
    one: Chapter, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every finding of the book: all at once after another case, and one alone.

    Fits and served traces, which take the most time, are made once for the same data.
    """
    for function in (fitting.fit, fitting.fit_repetition, fitting.bootstrap, batching.serve):
        module = sys.modules[function.__module__]
        monkeypatch.setattr(module, function.__name__, remembered(function))
    values = others(one)
    stated = run(one, values, monkeypatch)
    whole = {name: record for name, record in stated.items() if isinstance(record, dict)}
    found = list(whole)
    for names in (found, found[len(found) // 2 :][:1]):
        swept = {name: [value] for name, value in values.items()}
        if names is found:
            swept = {name: [one.parameters[name].default, value] for name, value in values.items()}
        piece = slices.sliced(one, names, swept)
        *_, last = slices._cases(piece, {}, swept)
        assert not isinstance(last, str), last
        assert {each["name"]: each for each in last} == {name: whole[name] for name in names}


NAMES = st.sampled_from("abc")
STATEMENTS = (
    "{x} = {y} + [rate]",
    "{x} = {y} + [other]",
    "{x} = {y}",
    "{x} = u['k']",
    "u['k'] = {x}",
    "u['k'].append(rate)",
    "u = {{'k': {x}, 'l': {y}}}",
    "{x}.append(len({y}))",
    "{x} += {y}[:2]",
    "{x}[0] = sum({y})",
    "{x} = [i for i in {y} if i > other]  or {z}",
    "{x} = sorted({y})",
    "for i in {y}[:2]:\n    {x} = {x} + [i]",
    "for v in (a, {y}):\n    v.append(1)",
    "if rate > 0.3:\n    {x} = {y}[:]",
    "if rate > 0.3:\n    {x} = {y}\nelse:\n    {x} = [4]",
    "def f():\n    return {x} + {y}[:1]",
    "{x} = f()",
    "w = f",
    "{x} = w()",
    "def g(v):\n    v.append(other)\n    return 1",
    "{x} = [g({y})]",
    "g({x})",
    "def f():\n    {x}.append(2)\n    return {y}[:2]",
    "f()",
    "it = iter({x})",
    "{y} = [next(it, 0)]",
    "def f():\n    return [next(it, 0)]",
    "{x} = {x}[:3]; {y} = [sum({x})]",
    "try:\n    {x} = [{y}[5]]\nexcept IndexError:\n    {z} = [7]",
    "while len({x}) < 3:\n    {x} = {x} + {y}[:1] + [0]",
    "finding('t', {x}[0], '1', why='w')",
)
PROGRAM = st.lists(st.tuples(st.sampled_from(STATEMENTS), NAMES, NAMES, NAMES), max_size=12)
START = "a, b, c = [1], [2], [3]\nu = {'k': a}\nit = iter(b)\ndef f():\n    return [0]\nw = f\n"
START += "def g(v):\n    return 0\n"


@settings(max_examples=300, deadline=None)
@given(PROGRAM, NAMES)
def test_a_case_knows_nothing_of_the_case_before(
    program: list[tuple[str, str, str, str]], last: str
) -> None:
    """Of any program: aliases, changes in place, functions, loops, branches and iterators."""
    lines = [text.format(x=x, y=y, z=z) for text, x, y, z in program]
    code = START + "\n".join([*lines, f"finding('s', float(sum({last})), '1', why='w')"])
    one = chapter(code)
    swept: dict[str, list[Value]] = {"rate": [0.25, 0.5, 0.25, 0.0]}
    whole: list[Any] = []
    for rate in swept["rate"]:
        told: dict[str, Any] = {}
        findings._glue = lambda name, text, record=None, told=told: told.update({name: record})
        try:
            exec(code, {"finding": findings.finding, "rate": rate, "other": 2})
        except (IndexError, TypeError, ValueError):
            return  # no program
        whole.append([told["s"]])
    piece = slices.sliced(one, ["s"], swept)
    assert slices._cases(piece, {"other": 2}, swept) == whole, f"{code}\n--\n{piece}"


ALIASES = (
    "a = [1.0]\ndef f():\n    a.append(rate)\nx = [f()]\ndef f():\n    return 0\n"
    "finding('s', sum(a), '1', why='w')",
    "a = b = [0.0]\nb.append(rate)\nfinding('s', sum(a), '1', why='w')",
    "import heapq\na = [3.0]\nx = [heapq.heappush(a, rate)]\nfinding('s', a[0], '1', why='w')",
    "a = iter([1.0, 2.0, 3.0])\nb = a\nx = next(b)\nfinding('s', rate * next(a), '1', why='w')",
)


@pytest.mark.parametrize("code", ALIASES)
def test_what_another_name_changes_is_in_the_slice(code: str) -> None:
    swept: dict[str, list[Value]] = {"rate": [0.25, 0.5]}
    told: dict[str, Any] = {}
    findings._glue = lambda name, text, record=None: told.update({name: record})
    exec(code, {"finding": findings.finding, "rate": 0.5})
    assert slices._cases(slices.sliced(chapter(code), ["s"], swept), {}, swept)[1] == [told["s"]]


def test_a_case_that_depends_on_the_one_before_is_refused() -> None:
    """What no reading of the code finds, the first case run again does."""
    code = "import random\nrandom.seed(1)\nx = random.random() * rate\n"
    one = chapter(code + "finding('s', x, '1', why='w')")
    swept: dict[str, list[Value]] = {"rate": [0.25, 0.5]}
    with pytest.raises(StackbookError, match="a case of t depends on the cases before it") as error:
        slices.run(slices.sliced(one, ["s"], swept), {}, swept, {}, {})
    assert "\n" not in str(error.value)


def test_what_no_swept_parameter_reaches_runs_once() -> None:
    code = "base = sum(range(other))\nname = base * rate\nfinding('s', name, '1', why='w')"
    one = chapter(f"unused = 1\n{code}\nfinding('t', unused, '1', why='w')")
    piece = slices.sliced(one, ["s"], ["rate"])
    assert "base = sum(range(other))" in piece.once and "name = base * rate" in piece.each
    assert "unused" not in piece.once + piece.each


def test_findings_of_a_loop_and_of_a_function_are_found_by_what_they_may_be_called() -> None:
    one = chapter(
        "def state(name, value):\n    finding(name, value, '1', why='w')\n"
        "def both(kind):\n    finding(f'{kind}_half', rate / 2, '1', why='w')\n"
        "for k in ('x', 'y'):\n    finding(f'all_{k}', rate, '1', why='w')\n"
        "state('s', rate)\nboth('z')"
    )
    swept: dict[str, list[Value]] = {"rate": [0.25]}
    for name, value in {"all_y": 0.25, "s": 0.25, "z_half": 0.125}.items():
        (case,) = slices._cases(slices.sliced(one, [name], swept), {}, swept)
        assert [(each["name"], each["value"]) for each in case] == [(name, value)]  # type: ignore[index]


def test_a_finding_that_is_not_there_is_an_error_with_the_nearest() -> None:
    one = chapter("finding('half', 1.0, '1', why='w')")
    with pytest.raises(StackbookError, match=r"no finding 'hal' in t \(did you mean half\?\)"):
        slices.sliced(one, ["hal"], [])


def test_code_that_python_does_not_read_is_an_error() -> None:
    with pytest.raises(StackbookError, match=r"chapter t, cell \d: .*; sweep it without --finding"):
        slices.sliced(chapter("%time 1"), ["s"], [])


def test_a_batch_stops_when_its_time_is_over_and_tells_where_it_raised() -> None:
    """In a process of its own, which knows no parent after a kill."""
    one = chapter("if rate == 0:\n    raise RuntimeError('none')\nfinding('s', rate, '1', why='w')")
    swept: dict[str, list[Value]] = {"rate": [0.0, 0.1, 0.2]}
    piece = slices.sliced(one, ["s"], swept)
    batch = slices.run(piece, {"other": 2}, swept, {}, {})
    assert batch.cases[0] == (
        "chapter t raised at raise RuntimeError('none') with rate=0: RuntimeError: none"
    )
    assert [case[0]["value"] for case in batch.cases[1:]] == [0.1, 0.2]  # type: ignore[index]
    assert "module:stackbook.findings" in batch.used
    assert len(slices.run(piece, {"other": 2}, swept, {}, {}, seconds=0).cases) == 1
