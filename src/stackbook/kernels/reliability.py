"""How often large systems fail, and what is left of their time."""

from math import nan, sqrt

from stackbook.kernels.binomial import binomial_tail
from stackbook.kernels.elementary import exp, expm1, log1p
from stackbook.kernels.jit import formula


@formula
def mean_time_between_failures(parts: float, failures_per_hour: float) -> float:
    """Mean time until one of many parts fails, where each can stop the work.

    parts: parts that all must work [1], above 0
    failures_per_hour: of one part [1/h], above 0
    returns: [h]
    source: Rausand and Hoyland 2004, series system of exponential lives
    """
    return 1 / (parts * failures_per_hour) if parts > 0 and failures_per_hour > 0 else nan


@formula
def steady_availability(mtbf: float, repair: float) -> float:
    """Share of time in which a part that is repaired works.

    mtbf: mean time from repair to failure [h], above 0
    repair: mean time from failure to repair [h], 0 or more
    returns: [1]
    source: Rausand and Hoyland 2004, steady-state availability
    """
    return mtbf / (mtbf + repair) if mtbf > 0 and repair >= 0 else nan


@formula
def series_availability(parts: float, availability: float) -> float:
    """Share of time in which all of many parts work.

    parts: parts that all must work [1], 0 or more
    availability: share of time in working order [1], above 0 up to 1
    returns: [1]
    source: Rausand and Hoyland 2004, series structure
    """
    if not (parts >= 0 and 0 < availability <= 1):
        return nan
    return exp(-parts * log1p((1 - availability) / availability))


@formula
def k_of_n_availability(needed: float, parts: float, availability: float) -> float:
    """Share of time in which enough of many parts work; the others are spares.

    needed: parts that must work [1], a whole number up to parts
    parts: parts and spares [1], a whole number up to a million
    availability: share of time in working order [1], above 0 up to 1
    returns: [1]
    source: Rausand and Hoyland 2004, k-out-of-n structure, binomial tail
    """
    if not (needed >= 0 and needed % 1 == 0 and 0 < availability <= 1):
        return nan
    return binomial_tail(parts, parts - needed, (1 - availability) / availability)


@formula
def slice_goodput(cubes: float, slice_cubes: float, availability: float) -> float:
    """Expected share of a pod in slices that work, where optical switches join any cubes.

    cubes: cubes in the pod [1], a whole number up to 10,000
    slice_cubes: cubes of a slice [1], a whole number up to cubes
    availability: of a cube, the series_availability of its hosts [1], above 0 up to 1
    returns: [1]; with fixed wiring, the series_availability of the cubes of one slice
    source: Jouppi et al. 2023 (TPU v4), Figure 4
    """
    if not (1 <= slice_cubes <= cubes <= 1e4 and slice_cubes % 1 == 0):
        return nan
    slices = 0.0
    for n in range(1, int(cubes // slice_cubes) + 1):
        slices += k_of_n_availability(n * slice_cubes, cubes, availability)
    return slices * slice_cubes / cubes


@formula
def young_interval(checkpoint: float, mtbf: float) -> float:
    """Work between checkpoints that loses least time, to first order.

    checkpoint: time in which one stops the work [h], 0 or more
    mtbf: mean time between failures [h], above 0
    returns: [h]
    source: Young 1974
    """
    return sqrt(2 * checkpoint * mtbf) if checkpoint >= 0 and mtbf > 0 else nan


@formula
def daly_interval(checkpoint: float, mtbf: float) -> float:
    """Work between checkpoints that loses least time, to higher order.

    checkpoint: time in which one stops the work [h], 0 or more
    mtbf: mean time between failures [h], above 0
    returns: [h]
    source: Daly 2006, higher order estimate
    """
    if not (checkpoint >= 0 and mtbf > 0):
        return nan
    if checkpoint >= 2 * mtbf:
        return mtbf
    x = sqrt(checkpoint / (2 * mtbf))
    return young_interval(checkpoint, mtbf) * (1 + x / 3 + x * x / 9) - checkpoint


@formula
def goodput(interval: float, checkpoint: float, restart: float, mtbf: float) -> float:
    """Share of time that is work which counts, with failures at any moment.

    interval: work between checkpoints [h], above 0
    checkpoint: time in which one stops the work [h], 0 or more
    restart: time from a failure until work goes on [h], 0 or more
    mtbf: mean time between failures [h], above 0
    returns: [1], 0 to 1
    source: Daly 2006, complete model: T = M exp(R / M) (exp((tau + delta) / M) - 1) / tau
    """
    if not (interval > 0 and checkpoint >= 0 and restart >= 0 and mtbf > 0):
        return nan
    # As three shares, none of which can overflow: time not spent on checkpoints, on work that is
    # lost and done again, on restarts.
    at_risk = min(interval / mtbf + checkpoint / mtbf, 1000.0)
    kept = at_risk / expm1(at_risk) if at_risk > 0 else 1.0
    return min(kept * exp(-restart / mtbf) / (1 + checkpoint / interval), 1.0)


@formula
def first_order_goodput(interval: float, checkpoint: float, restart: float, mtbf: float) -> float:
    """Share of time that is work which counts, where failures are rare.

    interval: work between checkpoints [h], above 0
    checkpoint: time in which one stops the work [h], 0 or more
    restart: time from a failure until work goes on [h], 0 or more
    mtbf: mean time between failures [h], well above the others
    returns: [1]; below 0 where failures are not rare
    source: Young 1974, 1 - delta / tau - (tau / 2 + R) / M
    """
    if not (interval > 0 and checkpoint >= 0 and restart >= 0 and mtbf > 0):
        return nan
    return 1 - checkpoint / interval - (interval / 2 + restart) / mtbf
