"""Trends of prices and quantities that grow by a factor a year, with honest intervals.

Two laws compete. A line: the logarithm is level + t log(growth) + error, errors independent. A
walk: it drifts from its last value, and errors add up. The likelier one is taken, by a rule that
sees nothing after the last date. In this module t is years after the last date, y a logarithm.
"""

from math import inf
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from stackbook.kernels.elementary import exp, log
from stackbook.kernels.jit import on_threads, search

Floats = NDArray[np.float64]

POINTS, DATES = 5, 4  # least of a fit
TUNING = 1.345  # of Huber's loss in standard deviations: 95% efficient where errors are normal
PER_MAD = 1.4826  # standard deviation of a normal quantity over its median absolute deviation
EXACT = 1e-12  # of a logarithm: below it errors are rounding
CHUNK = 250  # refits of a thread at once
STEPS = 200  # most steps down a Huber loss


class Trend(NamedTuple):
    """A level and a factor a year, each with draws."""

    reference: float
    """Year of the last observation."""
    level: float
    """Of the line at the reference; of a walk, the last value."""
    growth: float
    """Factor a year."""
    levels: Floats
    growths: Floats
    scale: float
    """Standard deviation of an error of the logarithm; of a walk, of a year's errors."""
    wanders: bool
    """Whether a walk is likelier than a line."""
    errors: Floats
    """Of the logarithm, at each observation; of a walk, of each step over its root."""
    widths: Floats
    """By draw, a factor on all errors: few of them tell their size badly."""
    seed: int


class Prediction(NamedTuple):
    """Values at some years; draws of an observation then, along the last axis."""

    central: Floats
    draws: Floats


class Reached(NamedTuple):
    """The year in which a trend reaches a threshold; infinite where it never does."""

    central: float
    """Of the central line."""
    years: Floats

    def never(self, until: float) -> float:
        """Share of draws that have not reached the threshold by the year `until`."""
        return float(np.mean(self.years > until))


def fit(years: ArrayLike, values: ArrayLike, seed: int, draws: int = 2000) -> Trend:
    """Robust log-linear trend with draws: a line, or a walk with drift where that is likelier.

    years: date of each observation, as 2026.5 [yr]
    values: at each date, above 0 [1], or any unit
    seed, draws: of the draws, the same on any number of threads [1], [1]
    returns: [1]; ValueError for bad or too few observations
    source: Huber 1964; pairs bootstrap, Efron 1979; Farmer and Lafond 2016; Harville 1974
    """
    # No blocks are drawn: where errors about a line hang together, the walk is likelier.
    if draws < 1:
        raise ValueError(f"draws = {draws}: give 1 or more, best 2000")
    when, y = _points(years, values)
    reference = float(when[-1])
    t = when - reference
    random, dof = np.random.default_rng(seed), t.size - 2
    widths = np.sqrt(dof / random.chisquare(dof, draws))
    wanders = _walk_likelier(t, y)
    if wanders:
        start, drift, errors = _walk(t, y)
        scale = float(np.sqrt(_total(errors**2) / dof))
        starts = np.full(draws, start)
        wide = widths * random.standard_normal(draws)
        drifts = drift + scale / np.sqrt(-t[0]) * wide
    else:
        start, drift, delta = _line(t, y)
        errors = y - (start + drift * t)
        scale = float(np.sqrt(_total(errors**2) / dof))
        picks = _picks(random, t, draws)

        def refit(at: int) -> Floats:
            return _refit(picks[at : at + CHUNK], t, y, delta, start, drift)

        laws = np.concatenate(on_threads(refit, range(0, draws, CHUNK)))
        wide = widths * np.sqrt(t.size / dof)  # refits scatter by (n - 2) / n of the variance
        starts = start + wide * (laws[:, 0] - start)
        drifts = drift + wide * (laws[:, 1] - drift)
    return Trend(
        reference=reference,
        level=float(exp(start)),
        growth=float(exp(drift)),
        levels=np.asarray(exp(starts)),
        growths=np.asarray(exp(drifts)),
        scale=scale,
        wanders=wanders,
        errors=errors,
        widths=widths,
        seed=seed,
    )


def predict(trend: Trend, years: ArrayLike) -> Prediction:
    """What may be observed in years to come, uncertain trend and errors in draws.

    trend: of `fit` [1]
    years: not before the trend's last observation, in order [yr]
    returns: a row a year [1]; ValueError for years before it or out of order
    source: Farmer and Lafond 2016, forecast errors of a walk with drift
    """
    ahead = np.atleast_1d(np.asarray(years, np.float64)) - trend.reference
    if not (ahead[:1] >= 0).all() or not (np.diff(ahead) >= 0).all():
        raise ValueError(
            f"years = {np.asarray(years).tolist()}: give years in order, none before the last "
            f"observation, {trend.reference:.2f}"
        )
    random = np.random.default_rng([trend.seed, 1])
    shape = ahead.size, trend.levels.size
    if trend.wanders:  # errors add up: a draw is a path, the interval widens with the root of time
        roots = np.sqrt(np.diff(ahead, prepend=0.0))[:, None]
        noise = trend.scale * np.cumsum(roots * random.standard_normal(shape), axis=0)
    else:  # errors as seen, anew for each year
        count = trend.errors.size
        noise = trend.errors[random.integers(0, count, shape)] * np.sqrt(count / (count - 2))
    drift, drifts = log(trend.growth), log(trend.growths)
    draws = log(trend.levels) + ahead[:, None] * drifts + trend.widths * noise
    central = exp(log(trend.level) + ahead * drift)
    return Prediction(np.asarray(central), np.asarray(exp(draws)))


def reached(trend: Trend, threshold: float) -> Reached:
    """When a line crosses a threshold, or a walk first gets there, from the side of the level.

    trend: of `fit` [1]
    threshold: above 0 [1], in the unit of the values
    returns: [yr]; ValueError for a threshold of 0 or less
    source: first passage of a Brownian motion with drift, inverse Gaussian: Tweedie 1957
    """
    if not threshold > 0:
        raise ValueError(f"threshold = {threshold:g}: give a value above 0")
    # A draw whose level is beyond the threshold has reached it at the last observation.
    side = 1.0 if threshold >= trend.level else -1.0
    gap = side * (log(threshold) - log(trend.level))
    gaps = side * (log(threshold) - log(trend.levels))
    drift, drifts = side * log(trend.growth), side * log(trend.growths)
    central = gap / drift if drift > 0 else inf
    years = np.full(gaps.shape, inf)
    comes = drifts > 0
    if trend.wanders and trend.scale > 0 and gap > 0:
        random = np.random.default_rng([trend.seed, 2])
        variances = (trend.scale * trend.widths) ** 2
        # Against its drift a walk comes with this chance, and if so as soon as with it.
        comes |= random.random(gaps.size) < exp(2 * gaps * drifts / variances)
        paces = np.maximum(np.abs(drifts), EXACT)  # NumPy has no law of a walk without drift
        years = random.wald(gaps / paces, gaps**2 / variances)
    else:
        years[comes] = gaps[comes] / drifts[comes]
    years = np.where(gaps <= 0, 0.0, np.where(comes, years, inf))
    return Reached(trend.reference + (central if gap > 0 else 0.0), trend.reference + years)


def interval(draws: ArrayLike, level: float = 0.9) -> tuple[Floats, Floats]:
    """Ends between which a share of the draws lies, as many beyond either.

    draws: along the last axis [1], or any unit
    level: share of draws inside [1], above 0 and below 1
    returns: low and high [1]
    source: definition, percentile interval
    """
    if not 0 < level < 1:
        raise ValueError(f"level = {level:g}: give a share between 0 and 1")
    low, high = np.quantile(np.asarray(draws), [(1 - level) / 2, (1 + level) / 2], axis=-1)
    return low, high


def _points(years: ArrayLike, values: ArrayLike) -> tuple[Floats, Floats]:
    """Dates in order, and logarithms."""
    when, value = np.asarray(years, np.float64), np.asarray(values, np.float64)
    if when.ndim != 1 or when.shape != value.shape:
        raise ValueError(
            f"years and values have shapes {when.shape} and {value.shape}; give two columns of "
            "one length"
        )
    bad = np.flatnonzero(~(np.isfinite(when) & np.isfinite(value) & (value > 0)))
    if bad.size:
        at = bad[0]
        raise ValueError(
            f"year {when[at]:g}, value {value[at]:g}: give finite years and values above 0"
        )
    dates = np.unique(when).size
    if when.size < POINTS or dates < DATES:
        raise ValueError(
            f"{when.size} observations on {dates} dates do not show a trend; give {POINTS} or "
            f"more on {DATES} or more"
        )
    order = np.lexsort([value, when])
    return when[order], np.asarray(log(value[order]))


@search
def _total(values: Floats) -> float:
    """Sum in order."""
    total = 0.0
    for value in values:
        total += value
    return total


def _walk_likelier(t: Floats, y: Floats) -> bool:
    """Whether the restricted likelihood of a walk is above that of a line.

    Both have a level, a drift and a scale, and both likelihoods are of the same n - 2 contrasts,
    so that neither needs a penalty. A walk has one value at a date.
    """
    steps = np.diff(t)
    if not (steps > 0).all():
        return False
    size, span = t.size, _total(steps)
    moved, logs = t - _total(t) / size, y - _total(y) / size
    square = _total(moved * moved)
    slope = _total(moved * logs) / square
    line = _total((logs - slope * moved) ** 2)
    walk = _total(_walk(t, y)[2] ** 2)
    if line < size * EXACT**2:
        return False
    if walk < size * EXACT**2:
        return True
    volume = _total(log(steps)) + log(span) - log(size * square)
    return bool((size - 2) * log(walk) + volume < (size - 2) * log(line))


def _walk(t: Floats, y: Floats) -> tuple[float, float, Floats]:
    """Last value, drift, and the error of each step over the root of its years.

    The likeliest drift is the whole change over the whole time. Nothing is clipped: what jumps once
    may jump again, and a value that is wrong between the ends cancels out.
    """
    steps, changes = np.diff(t), np.diff(y)
    drift = float((y[-1] - y[0]) / -t[0])
    return float(y[-1]), drift, (changes - drift * steps) / np.sqrt(steps)


def _line(t: Floats, y: Floats) -> tuple[float, float, float]:
    """Level and drift of the lowest Huber loss, and where that turns from squares to lines.

    The loss is convex: its scale is fixed by the errors about Theil and Sen's line.
    """
    first, second = np.triu_indices(t.size, 1)
    apart = t[second] > t[first]
    first, second = first[apart], second[apart]
    drift = float(np.median((y[second] - y[first]) / (t[second] - t[first])))
    start = float(np.median(y - drift * t))
    delta = _delta(y - (start + drift * t))
    every = np.arange(t.size)[None, :]
    ((start, drift),) = _refit(every, t, y, delta, start, drift)
    return float(start), float(drift), delta


def _delta(errors: Floats) -> float:
    return TUNING * max(PER_MAD * float(np.median(np.abs(errors))), EXACT)


def _picks(random: np.random.Generator, t: Floats, draws: int) -> NDArray[np.int64]:
    """Positions of as many observations, drawn with replacement, on three dates or more."""
    dates = np.unique(t, return_inverse=True)[1]
    picks = np.empty((0, t.size), np.int64)
    while len(picks) < draws:
        more = random.integers(0, t.size, (draws, t.size))
        seen = np.sort(dates[more], axis=1)
        picks = np.concatenate([picks, more[(np.diff(seen, axis=1) > 0).sum(axis=1) >= 2]])
    return picks[:draws]


@search
def _refit(
    picks: NDArray[np.int64], t: Floats, y: Floats, delta: float, start: float, drift: float
) -> Floats:
    """Level and drift of the lowest Huber loss of each row of picks, by reweighting."""
    laws = np.empty((picks.shape[0], 2))
    for row in range(picks.shape[0]):
        a, b = start, drift
        for _ in range(STEPS):
            w, wt, wy, wtt, wty = 0.0, 0.0, 0.0, 0.0, 0.0
            for i in picks[row]:
                error = abs(y[i] - (a + b * t[i]))
                weight = 1.0 if error <= delta else delta / error
                w += weight
                wt += weight * t[i]
                wy += weight * y[i]
                wtt += weight * t[i] * t[i]
                wty += weight * t[i] * y[i]
            slope = (w * wty - wt * wy) / (w * wtt - wt * wt)
            level = (wy - slope * wt) / w
            moved = abs(slope - b) + abs(level - a)
            a, b = level, slope
            if moved <= 1e-12 * (abs(a) + abs(b)):
                break
        laws[row, 0], laws[row, 1] = a, b
    return laws
