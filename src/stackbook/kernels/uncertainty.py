"""Uncertainty: from a published range to draws."""

from math import nan

from stackbook.kernels.elementary import exp, log1p
from stackbook.kernels.jit import formula


@formula
def lognormal(low: float, high: float, z: float) -> float:
    """A positive quantity at standard score z, where 5% lie below `low` and 5% above `high`.

    low: 5th percentile [USD], or any unit
    high: 95th percentile [USD]
    z: standard normal score [1], e.g. of draws
    returns: [USD], NaN unless 0 < low <= high
    source: definition of the lognormal distribution; 1.6449 is its 95% standard score
    """
    if not 0 < low <= high:
        return nan
    spread = log1p(high / low - 1)
    return low * exp(spread * (0.5 + z / (2 * 1.6448536269514722)))
