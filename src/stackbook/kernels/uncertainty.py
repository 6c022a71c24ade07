"""Uncertainty: from a published range to draws, and the normal distribution behind both."""

from functools import lru_cache
from math import nan, sqrt

import numpy as np
from numpy.typing import ArrayLike, NDArray

from stackbook.kernels.elementary import exp, log, log1p
from stackbook.kernels.jit import fma, formula, search

Floats = NDArray[np.float64]

Z95 = 1.6448536269514722  # standard score of the 95th percentile
SQRT_TAU = 2.5066282746310002  # root of 2 pi

_END, _STEP = 8.0, 1 / 64  # scores up to which SciPy has a beta quantile, and the grid of them
_NARROW = 1e-5  # deviation of log odds below which a beta is normal, to 1e-10


@formula
def lognormal(low: float, high: float, z: float) -> float:
    """A positive quantity at standard score z, where 5% lie below `low` and 5% above `high`.

    low: 5th percentile [USD], or any unit
    high: 95th percentile [USD]
    z: standard normal score [1], e.g. of draws
    returns: [USD], NaN unless 0 < low <= high
    source: definition of the lognormal distribution
    """
    if not 0 < low <= high:
        return nan
    spread = log1p(high / low - 1)
    return low * exp(spread * (0.5 + z / (2 * Z95)))


@formula
def two_piece_lognormal(low: float, central: float, high: float, z: float) -> float:
    """A positive quantity at standard score z, with three percentiles given: 5th, 50th, 95th.

    low: 5th percentile [USD], or any unit
    central: median [USD]
    high: 95th percentile [USD]
    z: standard normal score [1]
    returns: [USD], NaN unless 0 < low <= central <= high
    source: definition, lognormal on each side of the median
    """
    if not 0 < low <= central <= high:
        return nan
    ratio = central / low if z < 0 else high / central
    return central * exp(log1p(ratio - 1) * z / Z95)


@formula
def normal_cdf(z: float) -> float:
    """Probability that a standard normal quantity is below z, within 6 ulp, also far out.

    z: standard score [1]
    returns: [1]
    source: definition, exp(-z^2 / 2) / (1 + |z|) times a polynomial on the tail below -|z|
    """
    x = abs(z)
    t = (x - 5) / (x + 5) if x < 40 else 1.0
    q = fma(-2.884794724105449e-10, t, 2.2027448318350712e-09)
    q = fma(q, t, 3.661836535863277e-09)
    q = fma(q, t, -2.5444050458032668e-08)
    q = fma(q, t, -2.636797167357404e-08)
    q = fma(q, t, 1.8841037002080884e-07)
    q = fma(q, t, 1.2798783282871204e-07)
    q = fma(q, t, -1.3003901927413688e-06)
    q = fma(q, t, -7.04376663890156e-08)
    q = fma(q, t, 9.055694907386791e-06)
    q = fma(q, t, -9.896049006398792e-06)
    q = fma(q, t, -5.360599672837992e-05)
    q = fma(q, t, 0.0001823341283884788)
    q = fma(q, t, 7.791206884373869e-06)
    q = fma(q, t, -0.0016760723409777719)
    q = fma(q, t, 0.006522000726622294)
    q = fma(q, t, -0.015170415402960762)
    q = fma(q, t, 0.02453696323875023)
    q = fma(q, t, -0.02640104296627982)
    q = fma(q, t, 0.010002352385420084)
    q = fma(q, t, 0.031030368425963)
    q = fma(q, t, -0.09155228183401128)
    q = fma(q, t, 0.4615158298500378)
    x = x if x < 40 else 40.0  # nothing is left of the tail there
    square = x * x
    lost = fma(x, x, -square)  # exp(-square / 2) would otherwise lose digits in a far tail
    tail = exp(-square / 2) * (1 - lost / 2) * q / (1 + x)
    tail = 1 - tail if z > 0 else tail
    return tail if z == z else nan


@formula
def normal_quantile(probability: float) -> float:
    """Standard score below which a normal quantity lies with a probability.

    probability: [1], above 0 and below 1
    returns: [1]
    source: Abramowitz and Stegun 1964, 26.2.23, then two steps of Halley's method
    """
    if not 0 < probability < 1:
        return nan
    low = min(probability, 1 - probability)
    u = sqrt(-2 * log(low))
    above = 2.515517 + u * (0.802853 + u * 0.010328)
    z = above / (1 + u * (1.432788 + u * (0.189269 + u * 0.001308))) - u
    for _ in range(2):
        step = (normal_cdf(z) / low - 1) * low / (exp(-z * z / 2) / SQRT_TAU)
        z -= step / (1 + step * z / 2)
    return z if probability < 0.5 else -z


def beta(p05: float, p95: float, z: ArrayLike) -> Floats:
    """A fraction at standard score z, beta-distributed, where two percentiles are given.

    p05: 5th percentile [1], above 0
    p95: 95th percentile [1], below 1
    z: standard normal score [1]; beyond 8 as there
    returns: of the shape of z [1], to 1e-8
    source: definition of the beta distribution; its log odds interpolated by cubics
    """
    scores = np.asarray(z, float)
    if not 0 < p05 <= p95 < 1:
        raise ValueError(f"p05 = {p05:g}, p95 = {p95:g}: give 0 < p05 <= p95 < 1")
    odds = _interpolated(np.ravel(scores), *_beta_odds(float(p05), float(p95)))
    return np.asarray(1 / (1 + exp(-odds))).reshape(scores.shape)


@lru_cache(maxsize=1024)
def _beta_odds(p05: float, p95: float) -> tuple[Floats, Floats]:
    """Log odds of a beta-distributed fraction at each score of the grid, and their slopes."""
    from scipy import optimize, special  # slow to import

    def miss(logs: Floats) -> Floats:
        a, b = np.exp(logs)
        low, above = special.betaincinv(a, b, 0.05), special.betaincinv(b, a, 0.05)
        return np.array([special.logit(low) - at[0], -special.logit(above) - at[1]])

    at, z = special.logit([p05, p95]), np.linspace(-_END, _END, int(2 * _END / _STEP) + 1)
    slope = (at[1] - at[0]) / (2 * Z95)
    if slope < _NARROW:
        return at.mean() + slope * z, np.full(z.size, slope)
    mean, deviation = (p05 + p95) / 2, (p95 - p05) / (2 * Z95)
    size = max(mean * (1 - mean) / deviation / deviation - 1, 0.5)
    start = np.log([mean * size, (1 - mean) * size])
    found = optimize.root(miss, start, tol=1e-13)
    a, b = np.exp(found.x)
    tail = np.asarray(normal_cdf(-np.abs(z)))
    lower, upper = special.betaincinv(a, b, tail), special.betaincinv(b, a, tail)
    log_x = np.where(z < 0, np.log(lower), np.log1p(-upper))
    log_y = np.where(z < 0, np.log1p(-lower), np.log(upper))
    slope = np.exp(special.betaln(a, b) - a * log_x - b * log_y - z * z / 2) / SQRT_TAU
    odds = log_x - log_y
    if not (np.abs(miss(found.x)).max() < 1e-9 and np.isfinite([odds, slope]).all()):
        raise ValueError(
            f"p05 = {p05:g}, p95 = {p95:g}: no beta distribution can be computed for these; "
            "bring them nearer to each other or to 1/2"
        )
    return odds, slope


@search
def _interpolated(z: Floats, value: Floats, slope: Floats) -> Floats:
    """Cubics between points of the grid of scores, with the value and slope of each."""
    result = np.empty(z.size)
    for n in range(z.size):
        place = (min(max(z[n], -_END), _END) + _END) / _STEP
        i = min(int(place), value.size - 2) if place == place else 0
        t = place - i
        rise = value[i + 1] - value[i]
        left, right = slope[i] * _STEP - rise, rise - slope[i + 1] * _STEP
        result[n] = value[i] + t * rise + t * (1 - t) * (left * (1 - t) + right * t)
    return result
