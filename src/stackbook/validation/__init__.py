"""Validation: published results, each beside what the public kernels make of its inputs.

Table `published_cases` says what was published and how far off we may be; a module a layer says
how to compute it. A figure that we cannot meet stays, with its reason in column `miss` and our
value, which has to stay as well, in column `ours`.
"""

from collections.abc import Callable
from math import isclose, isfinite, nan
from typing import Any, NamedTuple

from stackbook import StackbookError, facts

from . import (
    chips,
    cloud,
    datacenter,
    fabric,
    failures,
    hindcast,
    limits,
    mlperf,
    outlook,
    plans,
    scaling,
    serving_cases,
    serving_prices,
    stack,
    structure,
    training,
    training_cost,
)

Key = tuple[str, str]
CASES: dict[Key, Callable[[], float]] = {
    **chips.CASES,
    **fabric.CASES,
    **datacenter.CASES,
    **scaling.CASES,
    **training.CASES,
    **plans.CASES,
    **limits.CASES,
    **failures.CASES,
    **training_cost.CASES,
    **mlperf.CASES,
    **serving_prices.CASES,
    **serving_cases.CASES,
    **cloud.CASES,
    **structure.CASES,
    **outlook.CASES,
    **hindcast.CASES,
    **stack.CASES,
}


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
    """Computed less published, over the size of the published; NaN where that is 0."""
    tolerance: float
    tolerance_kind: str
    met: bool
    miss: str
    """Why the figure cannot be met, where that is known."""
    ours: float | None
    """What we get instead, to four digits, where there is a miss."""
    source: str

    @property
    def allowed(self) -> str:
        """The tolerance as readers see it: ±5%, ±0.005, ≤ +10%, exact."""
        percent = f"{100 * self.tolerance:g}%"
        match self.tolerance_kind:
            case "absolute":
                return f"±{self.tolerance:g}"
            case "relative":
                return f"±{percent}" if self.tolerance > 1e-6 else "exact"
        return f"≤ +{percent}" if self.tolerance_kind == "at most" else f"≥ -{percent}"

    @property
    def difference(self) -> str:
        """Error as readers see it, in the tolerance's kind: -0.0046 beside ±0.005, or +2.10%."""
        if self.tolerance_kind == "absolute":
            same = isclose(self.computed, self.published, rel_tol=1e-12)
            off = 0.0 if same else self.computed - self.published
            return f"{float(f'{off:.2g}'):+zg}"
        return f"{self.error:+z.2%}" if self.published else ""

    @property
    def failed(self) -> bool:
        """Not met, or a stated miss that is none any more or has become another one."""
        if self.ours is None:
            return not self.met
        return self.met or not isclose(self.computed, self.ours, rel_tol=1e-3)


def results(section: str = "") -> list[Result]:
    """Every case whose name begins with `section` (A, B, C, …, or A05), computed now.

    Raises StackbookError where there is none, or no computation for one.
    """
    rows = facts.table("published_cases").collect().to_dicts()
    found = [_result(row) for row in rows if row["case"].startswith(section.upper())]
    if not found:
        sections = ", ".join(sorted({row["case"][0] for row in rows}))
        raise StackbookError(f"no case {section!r}; the sections are {sections}, and training")
    return found


def _result(row: dict[str, Any]) -> Result:
    key = row["case"], row["quantity"]
    if key not in CASES:
        raise StackbookError(
            f"{' '.join(key)} of table published_cases has no computation; "
            "add it to CASES in src/stackbook/validation/"
        )
    published, computed = row["value"], float(CASES[key]())
    off, allowed = computed - published, row["tolerance"]
    if row["tolerance_kind"] != "absolute":
        allowed *= abs(published)
    near = abs(off) <= allowed
    within = {
        "relative": near,
        "absolute": near,
        "at most": off <= allowed,
        "at least": off >= -allowed,
    }
    copied = ("case", "quantity", "claim", "kind", "unit", "tolerance", "tolerance_kind", "source")
    return Result(
        **{name: row[name] for name in copied},
        published=published,
        computed=computed,
        error=off / abs(published) if published else nan,
        met=isfinite(computed) and within[row["tolerance_kind"]],
        miss=row["miss"] or "",
        ours=row["ours"],
    )
