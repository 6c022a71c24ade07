"""Findings: the results that a chapter states, for its prose (glue) and for other programs."""

import math
import re
from typing import Any

RECORD = "application/vnd.stackbook.finding+json"
_GLUE = "application/papermill.record/"
_NAME = re.compile(r"[a-z][a-z0-9_]*")


def finding(
    name: str, value: float, unit: str, *, low: float | None = None, high: float | None = None
) -> None:
    """State a number: prose prints it with ``{glue:text}`name:.2f` ``, the build lists it.

    Parameters: `value` and its range `low` to `high` in `unit`. With a range, prose may also print
    `name_low` and `name_high`. Raises ValueError for a name that is not snake_case, a number that
    is not finite, or a range that leaves the value out.
    """
    record: dict[str, Any] = {"name": _checked(name), "value": float(value), "unit": unit}
    if (low is None) != (high is None):
        raise ValueError(f"finding {name}: give low and high, or neither")
    if low is not None and high is not None:
        record |= {"low": float(low), "high": float(high)}
        if not low <= value <= high:
            raise ValueError(
                f"finding {name}: {value:g} lies outside its range {low:g} to {high:g}"
            )
    for key in ("value", "low", "high"):
        if not math.isfinite(record.get(key, 0.0)):
            raise ValueError(f"finding {name}: {key} is {record[key]}; state it in words instead")
    _glue(name, repr(record["value"]), record)
    for key in ("low", "high"):
        if key in record:
            _glue(f"{name}_{key}", repr(record[key]))


def phrase(name: str, text: str) -> None:
    """Words that depend on a result: prose prints them with ``{glue:text}`name` ``."""
    _glue(_checked(name), repr(text))


def _checked(name: str) -> str:
    if not _NAME.fullmatch(name):
        raise ValueError(f"finding {name!r}: a name is lower-case snake_case")
    return name


def _glue(name: str, text: str, record: dict[str, Any] | None = None) -> None:
    """Display what MyST-NB's glue reads, without importing Sphinx into every kernel."""
    from IPython.display import display

    bundle: dict[str, Any] = {f"{_GLUE}text/plain": text}
    if record:
        bundle[RECORD] = record
    display(bundle, raw=True, metadata={"scrapbook": {"name": name, "mime_prefix": _GLUE}})
