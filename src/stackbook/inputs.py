"""Inputs: uncertain numbers as kernels take them.

Each is an array: first the central value, then draws of it. A formula maps it element by element,
so that one call gives a result and its distribution, and `finding` states both.
"""

from functools import cache
from math import inf
from statistics import NormalDist
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from stackbook import facts
from stackbook.kernels import uncertainty

DRAWS = 4000


def uncertain(symbol: str, value: float | None = None) -> NDArray[np.float64]:
    """The model input `symbol` of table `parameters` with draws of it.

    A reader's own `value` moves the row's range in proportion; a share's odds, so that every
    draw stays a share. Raises ValueError for a negative value, or a share above 1.
    """
    row = facts.parameter(symbol)
    low, high = (row.central if end is None else end for end in (row.low, row.high))
    value = row.central if value is None else value
    if not 0 <= value <= (1 if row.share else inf):
        most = "1, as it is a share" if row.share else "any number above"
        raise ValueError(f"{symbol}: {value:g} is out of range; give 0 to {most}")
    if not row.share:
        return value / row.central * spread(symbol, low, row.central, high)
    odds = _odds(value) if value < 1 else inf
    draws = odds / _odds(row.central) * spread(symbol, *map(_odds, (low, row.central, high)))
    share = 1 - 1 / (1 + draws)
    share[0] = value
    return np.asarray(share)


def spread(name: str, low: float, central: float, high: float) -> NDArray[np.float64]:
    """`central` with draws whose 5th, 50th and 95th percentiles are `low`, `central`, `high`.

    All positive. The same `name` gives the same draws everywhere, two names independent ones.
    """
    order = np.random.default_rng(crc32(name.encode())).permutation(_scores())
    scores = np.concatenate(([0.0], order))
    return np.asarray(uncertainty.two_piece_lognormal(low, central, high, scores))


def _odds(share: float) -> float:
    return share / (1 - share)


@cache
def _scores() -> NDArray[np.float64]:
    """Standard normal quantiles of even steps: draws without sampling error of their own."""
    normal = NormalDist()
    return np.array([normal.inv_cdf((step + 0.5) / DRAWS) for step in range(DRAWS)])
