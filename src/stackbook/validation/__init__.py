"""Validation: published results, each beside what the public kernels make of its inputs.

Table `published_cases` says what was published and how far off we may be; a module a layer says
how to compute it. A figure that we cannot meet stays, with its reason in column `miss`.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

from stackbook import StackbookError, facts

from . import chips, datacenter, fabric

Key = tuple[str, str]
CASES: dict[Key, Callable[[], float]] = {**chips.CASES, **fabric.CASES, **datacenter.CASES}


class Result(NamedTuple):
    """A published figure, ours, and whether the two agree within the tolerance."""

    case: str
    quantity: str
    claim: str
    kind: str
    """What meeting it proves: repeat, fitted or test, as the table explains."""
    unit: str
    published: float
    computed: float
    error: float
    """Computed over published, less 1."""
    tolerance: float
    tolerance_kind: str
    met: bool
    miss: str
    """Why the figure cannot be met, where that is known."""
    source: str

    @property
    def failed(self) -> bool:
        """Not met without a reason, or met in spite of one: the table is wrong then."""
        return self.met == bool(self.miss)


def results(section: str = "") -> list[Result]:
    """Every case whose name begins with `section` (A, B, C, …, or A05), computed now.

    Raises StackbookError where there is none.
    """
    rows = facts.table("published_cases").collect().to_dicts()
    found = [_result(row) for row in rows if row["case"].startswith(section)]
    if not found:
        sections = ", ".join(sorted({row["case"][0] for row in rows}))
        raise StackbookError(f"no case {section!r}; the sections are {sections}")
    return found


def _result(row: dict[str, Any]) -> Result:
    published, tolerance = row["value"], row["tolerance"]
    computed = float(CASES[row["case"], row["quantity"]]())
    met = {
        "relative": abs(computed - published) <= tolerance * abs(published),
        "absolute": abs(computed - published) <= tolerance,
        "at most": computed <= published * (1 + tolerance),
        "at least": computed >= published * (1 - tolerance),
    }[row["tolerance_kind"]]
    copied = ("case", "quantity", "claim", "kind", "unit", "tolerance", "tolerance_kind", "source")
    return Result(
        **{name: row[name] for name in copied},
        published=published,
        computed=computed,
        error=computed / published - 1,
        met=met,
        miss=row["miss"] or "",
    )
