"""Uncertainty: from a published range to draws."""

from math import nan

from stackbook.kernels.elementary import exp, log1p
from stackbook.kernels.jit import formula

Z95 = 1.6448536269514722  # standard score of the 95th percentile


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
