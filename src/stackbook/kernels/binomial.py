"""How many of many equal parts fail."""

from math import nan

import numpy as np

from stackbook.kernels.elementary import exp, log1p
from stackbook.kernels.jit import formula

FEW = 200  # failures for which exp(-hazard) loses no more than two digits
NOTHING = 1e-18  # of a sum: smaller terms no longer change it


@formula
def binomial_tail(parts: float, spares: float, odds: float) -> float:
    """Probability that no more parts fail than there are spares.

    parts: parts and spares, each of which fails on its own [1], a whole number up to a million
    spares: parts that may fail [1], a whole number up to parts
    odds: probability that a part fails over that it works [1], 0 or more
    returns: [1]
    source: binomial distribution, odds x (n - k) / (k + 1) from k failures to the next
    """
    if not (0 <= spares <= parts <= 1e6 and odds >= 0):
        return nan
    if np.floor(spares) != spares or np.floor(parts) != parts:
        return nan
    if spares == parts:
        return 1.0
    hazard = parts * log1p(odds)  # exp(-hazard) is the probability that no part fails
    if hazard < FEW:
        ways = total = 1.0  # over those of no failure
        # Of more failures the probability is below 1e-18 (Bernstein's inequality).
        for failed in range(int(min(spares, 2 * hazard + 40))):
            ways *= odds * (parts - failed) / (failed + 1)
            total += ways
        return min(exp(-hazard) * total, 1.0)
    likeliest = min(np.floor((parts + 1) / (1 + 1 / odds)), parts)
    inside = outside = 0.0  # over the ways of the likeliest number, from which they fall
    failed, ways = likeliest, 1.0
    while failed <= parts and ways > NOTHING * (inside + outside):
        if failed <= spares:
            inside += ways
        else:
            outside += ways
        ways *= odds * (parts - failed) / (failed + 1)
        failed += 1
    failed, ways = likeliest, 1.0
    while failed > 0 and ways > NOTHING * inside:
        ways *= failed / (parts - failed + 1) / odds
        failed -= 1
        if failed <= spares:
            inside += ways
        else:
            outside += ways
    return inside / (inside + outside)
