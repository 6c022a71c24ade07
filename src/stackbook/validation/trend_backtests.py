"""Trends of the watch items, fitted until a date and compared with what came after it.

Every date with enough before it is a cut in turn; nothing after a cut enters its fit, and nothing
is re-tuned. Observations after several cuts are counted with each, so that counts are no odds.
"""

from math import inf
from typing import NamedTuple

import numpy as np

from stackbook import series
from stackbook.kernels import trends

LEVELS = 0.5, 0.9
HORIZONS = {"up to 1 year": 1.0, "1 to 2 years": 2.0, "beyond 2 years": inf}
SEED, DRAWS = 10, 1000
NOTE = (
    "Each trend is fitted until a cut and compared with all that came after it. One observation "
    "counts once for each cut before it, so that shares of few cuts say little. An error of 100% "
    "is a factor of two, either way; a bias above 0 says that more came than the trend foresaw."
)


class Foreseen(NamedTuple):
    """An observation after a cut, beside what the trend until the cut says of it."""

    item: str
    cut: float
    year: float
    observed: float
    central: float
    low_50: float
    high_50: float
    low_90: float
    high_90: float
    wanders: bool

    @property
    def horizon(self) -> str:
        """How far ahead of the last observation that the fit saw."""
        ahead = self.year - self.cut
        return next(name for name, end in HORIZONS.items() if ahead <= end)


class Coverage(NamedTuple):
    """How often intervals of a trend hold what is observed later."""

    item: str
    horizon: str
    cuts: int
    """Dates until which a trend was fitted."""
    observations: int
    """Pairs of a cut and a later observation."""
    inside_50: float
    """Share inside the 50% interval."""
    inside_90: float
    median_error: float
    """Median of the factor between observed and central, either way, less 1."""
    bias: float
    """Median of observed over central, less 1: above 0 where more came than the trend said."""


def predictions(name: str) -> list[Foreseen]:
    """Every later observation of an item after every cut."""
    frame = series.item(name).frame
    years, values = frame["year"].to_numpy(), frame["value"].to_numpy()
    as_fitted, found = series.odds(name, values), []
    for cut in np.unique(years)[:-1]:
        before = years <= cut
        if before.sum() < trends.POINTS or np.unique(years[before]).size < trends.DATES:
            continue
        fitted = trends.fit(years[before], as_fitted[before], SEED, DRAWS)
        told = series.predict(name, fitted, years[~before])
        low_50, high_50, low_90, high_90 = (
            end for level in LEVELS for end in trends.interval(told.draws, level)
        )
        found += [
            Foreseen(
                item=name,
                cut=float(cut),
                year=float(years[i]),
                observed=float(values[i]),
                central=float(told.central[k]),
                low_50=float(low_50[k]),
                high_50=float(high_50[k]),
                low_90=float(low_90[k]),
                high_90=float(high_90[k]),
                wanders=fitted.wanders,
            )
            for k, i in enumerate(np.flatnonzero(~before))
        ]
    return found


def coverage(item: str, horizon: str, rows: list[Foreseen]) -> Coverage:
    """Of a group of predictions."""
    ratio = np.array([row.observed / row.central for row in rows])
    return Coverage(
        item=item,
        horizon=horizon,
        cuts=len({(row.item, row.cut) for row in rows}),
        observations=len(rows),
        inside_50=float(np.mean([row.low_50 <= row.observed <= row.high_50 for row in rows])),
        inside_90=float(np.mean([row.low_90 <= row.observed <= row.high_90 for row in rows])),
        median_error=float(np.exp(np.median(np.abs(np.log(ratio)))) - 1),
        bias=float(np.median(ratio) - 1),
    )


def results() -> list[Coverage]:
    """By item, where there is enough history, and horizon; last all items together by horizon."""
    by_item = {name: predictions(name) for name in series.ITEMS}
    by_item["all"] = [row for rows in by_item.values() for row in rows]
    return [
        coverage(name, horizon, chosen)
        for name, rows in by_item.items()
        for horizon in HORIZONS
        if (chosen := [row for row in rows if row.horizon == horizon])
    ]
