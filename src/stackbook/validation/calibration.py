"""What fits of efficiencies to measurements share: loss, fits that leave out, and their tables."""

import csv
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import least_squares

from stackbook import facts
from stackbook.kernels.jit import on_threads, threads
from stackbook.validation.reading import sizes

Array = NDArray[np.float64]
Whole = NDArray[np.int64]
Fit = Callable[[Whole], Array]
TAIL = 0.05  # outside an interval, on either side
OURS = "stackbook-derived"


def share(odds: Array) -> Array:
    """The share whose odds have this logarithm."""
    return np.asarray(1 / (1 + np.exp(-odds)))


def log_odds(value: Array) -> Array:
    return np.asarray(np.log(value / (1 - value)))


def settle(errors: Callable[[Array], Array], start: Array, spread: Array) -> Array:
    """Numbers near `start` that make errors small, which count as in Huber's loss.

    Errors are in units of their noise, and a departure in units of its spread.
    """

    def residuals(x: Array) -> Array:
        off = np.nan_to_num(errors(x)).ravel()
        robust = np.sign(off) * np.sqrt(2 * (np.sqrt(1 + off**2) - 1))
        return np.concatenate([robust, (x - start) / spread])

    return np.asarray(least_squares(residuals, start, x_scale=spread).x)


def left_out(
    fit: Fit, errors: Callable[[Array, Whole], Array], owners: Sequence[object] | NDArray[Any]
) -> tuple[Array, Array]:
    """Errors of each row under a fit without its owner's rows, and what those fits found."""
    who = np.array(owners)
    names = np.unique(who)
    with threads(2):
        found = on_threads(lambda name: fit(np.flatnonzero(who != name)), names)
    parts = [(np.flatnonzero(who == name), x) for name, x in zip(names, found, strict=True)]
    rows = np.concatenate([index for index, _ in parts])
    off = np.concatenate([errors(x, index) for index, x in parts])
    return off[np.argsort(rows)], np.array(found)


def covered(
    errors: Array,
    kinds: Sequence[object] | NDArray[Any],
    models: Sequence[object] | NDArray[Any],
    tail: float = TAIL,
) -> NDArray[np.bool_]:
    """Whether each error lies between the ends of those of its kind and other models."""
    kind, model = np.array(kinds), np.array(models)
    inside = np.empty(len(errors), bool)
    for each in sorted(set(zip(kind, model, strict=True))):
        own = (kind == each[0]) & (model == each[1])
        others = errors[(kind == each[0]) & (model != each[1])]
        low, high = np.quantile(others, (tail, 1 - tail)) if len(others) else (-np.inf, np.inf)
        inside[own] = (low <= errors[own]) & (errors[own] <= high)
    return inside


def summary(errors: Array, inside: NDArray[np.bool_], tail: float = TAIL) -> dict[str, str]:
    """Sizes of log errors, ends of measured over expected, share inside; as a table's cells."""
    low, high = np.exp(-np.quantile(errors, (1 - tail, tail)))
    numbers = sizes(np.expm1(errors)) | {"low": low, "high": high, "covered": inside.mean()}
    return {column: f"{value:.4g}" for column, value in numbers.items()}


def write(table: str, rows: list[dict[str, Any]]) -> None:
    """Write a table of the package, sorted."""
    path = facts.package().folder / f"{table}.csv"
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        as_text = [[str(cell or None) for cell in row.values()] for row in rows]
        writer.writerows(row for _, row in sorted(zip(as_text, rows, strict=True)))
    print(f"{path.name}: {len(rows)} rows")
