"""Designs: the cases of a sweep, every value checked before anything is executed."""

import csv
import hashlib
import itertools
import json
import math
from collections.abc import Sequence
from functools import cached_property
from typing import Any

from stackbook import StackbookError, facts, nearest
from stackbook.press.chapters import Chapter, Parameter, Value, Values, assigned, plain

METHODS = ("sobol", "halton", "lhs", "random")
MOST = 1_000_000  # cases
_DRAWS = 2**16  # that stand for the distribution of a parameter's evidence


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
        text = json.dumps([*chapter, self.fixed, self.swept, self.seed])
        return hashlib.sha256(text.encode()).hexdigest()


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
    return one.check(math.floor(value + 0.5) if one.kind == "int" else value)


def _distinct(text: str, values: list[Value]) -> list[Value]:
    if len(values) < 2:
        raise StackbookError(f"{text!r} is one value: set it with -p, or give two")
    if len({*values}) < len(values):
        raise StackbookError(f"{text!r} gives a value twice; give each once")
    return values
