"""Findings: the results that a chapter states, for its prose (glue) and for other programs."""

import math
import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

RECORD = "application/vnd.stackbook.finding+json"
_GLUE = "application/papermill.record/"
GLUED = f"{_GLUE}text/plain"
_NAME = re.compile(r"[a-z][a-z0-9_]*")
_stated: dict[str, dict[str, Any]] = {}


def finding(
    name: str,
    value: "float | NDArray[np.float64]",
    unit: str,
    *,
    low: float | None = None,
    high: float | None = None,
    why: str = "",
) -> None:
    """State a number: prose prints it with ``{glue:text}`name:.2f` ``, the build lists it.

    Parameters: `value` in `unit` with its range, of which prose may print `name_low` and
    `name_high`: an array of the central value and draws (see `inputs`) has the 5th to 95th
    percentile of the draws; a float has `low` and `high`, or says in `why` that it has none
    ("set on this page", "counted"). Raises ValueError for a name that is not snake_case, a number
    that is not finite, a range that leaves the value out, or none and no reason.
    """
    number, low, high = _range(_checked(name), value, low, high)
    record: dict[str, Any] = {"name": name, "value": number, "unit": unit}
    if (low is None) != (high is None):
        raise ValueError(f"finding {name}: give low and high, or neither")
    if low is not None and high is not None:
        record |= {"low": float(low), "high": float(high)}
        if not low <= number <= high:
            raise ValueError(
                f"finding {name}: {number:g} lies outside its range {low:g} to {high:g}"
            )
    if ("low" in record) == bool(why.strip()):
        raise ValueError(f"finding {name}: give a range, or say in `why` that it has none")
    if why:
        record["why"] = why
    for key in ("value", "low", "high"):
        if not math.isfinite(record.get(key, 0.0)):
            raise ValueError(f"finding {name}: {key} is {record[key]}; state it in words instead")
    _stated[name] = record
    _glue(name, repr(number), record)
    for key in ("low", "high"):
        if key in record:
            _glue(f"{name}_{key}", repr(record[key]))


def stated() -> list[dict[str, Any]]:
    """What `finding` has stated in this process, each name as last."""
    return list(_stated.values())


def phrase(name: str, text: str) -> None:
    """Words that depend on a result: prose prints them with ``{glue:text}`name` ``."""
    _glue(_checked(name), repr(text))


def interval(values: "NDArray[np.float64]") -> tuple[float, float]:
    """Low and high of a central value and its draws (see `inputs`): what `finding` states.

    The 5th to 95th percentile of the draws `values[1:]`, widened to hold `values[0]`. Raises
    ValueError for anything but one dimension with a draw in it.
    """
    import numpy as np

    if np.ndim(values) != 1 or len(values) < 2:
        raise ValueError(f"give a central value and draws, not shape {np.shape(values)}")
    # Hazen's positions are those of the even steps that `inputs` draws at.
    ends = np.quantile(values[1:], [0.05, 0.95], method="hazen")
    return float(min(ends[0], values[0])), float(max(ends[1], values[0]))


def _range(
    name: str, value: "float | NDArray[np.float64]", low: float | None, high: float | None
) -> tuple[float, float | None, float | None]:
    """Central value and range; a float's range is the one given."""
    if getattr(value, "ndim", 0) == 0:
        return float(value), low, high
    if low is not None or high is not None:
        raise ValueError(f"finding {name}: draws have their own range; leave out low and high")
    try:
        low, high = interval(value)  # type: ignore[arg-type]
    except ValueError as error:
        raise ValueError(f"finding {name}: {error}") from None
    return float(value[0]), low, high  # type: ignore[index]


def _checked(name: str) -> str:
    if not _NAME.fullmatch(name):
        raise ValueError(f"finding {name!r}: a name is lower-case snake_case")
    return name


def _glue(name: str, text: str, record: dict[str, Any] | None = None) -> None:
    """Display what MyST-NB's glue reads, without importing Sphinx into every kernel."""
    from IPython.display import display

    bundle: dict[str, Any] = {GLUED: text}
    if record:
        bundle[RECORD] = record
    display(bundle, raw=True, metadata={"scrapbook": {"name": name, "mime_prefix": _GLUE}})
