"""How often large systems fail, and what is left of their time."""

from math import inf, lgamma, nan, sqrt
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from stackbook.kernels.binomial import binomial_tail
from stackbook.kernels.elementary import exp, expm1, log, log1p
from stackbook.kernels.jit import formula, on_threads, search

TOGETHER = 50  # simulated runs that share a stream of random numbers
MOST = 10_000_000  # failures after which a simulated run counts as one without end


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


@formula
def best_goodput(checkpoint: float, restart: float, mtbf: float) -> float:
    """Share of time that is work which counts, with checkpoints at Daly's interval.

    checkpoint: time in which one stops the work [h], 0 or more
    restart: time from a failure until work goes on [h], 0 or more
    mtbf: mean time between failures [h], above 0
    returns: [1], 0 to 1
    source: Daly 2006, complete model at the higher order estimate
    """
    if checkpoint == 0:  # then the best interval is 0, and only restarts are lost
        return exp(-restart / mtbf) if restart >= 0 and mtbf > 0 else nan
    return goodput(daly_interval(checkpoint, mtbf), checkpoint, restart, mtbf)


@formula
def spare_missing(spares: float, repair: float, mtbf: float) -> float:
    """Probability that a failure finds every spare in repair, so that the run has to wait.

    spares: healthy parts beside those at work, when none is in repair [1], a whole number
    repair: mean time from failure until a part is a spare again [h], 0 or more
    mtbf: mean time between failures of the run [h], above 0
    returns: [1]; with one spare more, the share of time in which the run waits
    source: Erlang 1917, formula B of spares lines and repair / mtbf erlang
    """
    if not (0 <= spares <= 1e6 and np.floor(spares) == spares and repair >= 0 and mtbf > 0):
        return nan
    load, missing = repair / mtbf, 1.0
    for spare in range(1, int(spares) + 1):
        missing *= load / (spare + load * missing)
    return missing


@formula
def spares_needed(probability: float, repair: float, mtbf: float) -> float:
    """Fewest spares with which a failure finds one as often as wanted.

    probability: that a spare is there when a part fails [1], 0 to 1, but not 1
    repair: mean time from failure until a part is a spare again [h], 0 or more
    mtbf: mean time between failures of the run [h], above 0
    returns: [1]; NaN where a million do not do
    source: Erlang 1917, formula B solved for the lines
    """
    if not (0 <= probability < 1 and repair >= 0 and mtbf > 0):
        return nan
    load, missing, spares = repair / mtbf, 1.0, 0.0
    while missing > 1 - probability and spares < 1e6:
        spares += 1
        missing *= load / (spares + load * missing)
    return spares if missing <= 1 - probability else nan


@formula
def goodput_with_spares(
    interval: float, checkpoint: float, restart: float, mtbf: float, spares: float, repair: float
) -> float:
    """Share of time that is work which counts, where a run without a spare waits for a repair.

    interval, checkpoint: work between checkpoints [h], above 0, and stop for one [h], 0 or more
    restart: time from a failure, or the end of a wait, until work goes on [h], 0 or more
    mtbf: mean time between failures of the run, none while it waits [h], above 0
    spares, repair: spares [1], a whole number, and mean time of a repair [h], 0 or more
    returns: [1], 0 to 1
    source: Daly 2006 in the time without waits, whose share is Erlang's formula B
    """
    waiting = spare_missing(spares + 1, repair, mtbf)
    return goodput(interval, checkpoint, restart, mtbf) * (1 - waiting)


class Simulated(NamedTuple):
    """Means over simulated runs: shares of their time, which add up to 1, and failures of one."""

    goodput: float
    error: float
    """Standard error of the goodput."""
    checkpoints: float
    lost: float
    restarts: float
    waiting: float
    failures: float


def simulated_goodput(
    interval: float,
    checkpoint: float,
    restart: float,
    mtbf: float,
    work: float,
    runs: int,
    seed: int,
    spares: float = inf,
    repair: float = 0.0,
    shape: float = 1.0,
) -> Simulated:
    """Where the time of simulated runs goes, event by event.

    interval, checkpoint, restart, mtbf: as for goodput_with_spares [h], [h], [h], [h]
    work: of a run, in whole intervals [h], above 0
    runs, seed: simulated runs [1], 2 or more; of the draws, the same on any number of threads [1]
    spares, repair: infinite for no waits [1]; mean time of a repair, exponential [h]
    shape: of the Weibull time between failures [1]; 1 is exponential, less means bursts
    returns: [1]; ValueError for bad numbers, or where a run hardly ever keeps an interval
    source: discrete-event simulation of Daly's model, with spares
    """
    named = {"interval": interval, "mtbf": mtbf, "work": work, "shape": shape}
    for name, value in named.items():
        if not 0 < value < inf:
            raise ValueError(f"{name} = {value:g}: give a finite number above 0")
    for name, value in {"checkpoint": checkpoint, "restart": restart, "repair": repair}.items():
        if not 0 <= value < inf:
            raise ValueError(f"{name} = {value:g}: give a finite number of 0 or more")
    if not (spares >= 0 and (spares == inf or spares % 1 == 0)):
        raise ValueError(f"spares = {spares:g}: give a whole number of 0 or more, or infinity")
    if runs < 2:
        raise ValueError(f"runs = {runs}: give 2 or more, for a standard error")
    segments = float(np.ceil(work / interval))
    scale = float(mtbf * exp(-lgamma(1 + 1 / shape)))
    lives = scale, float(shape), float(spares), float(repair)
    times = float(interval), float(checkpoint), float(restart)
    starts = range(0, runs, TOGETHER)
    streams = map(np.random.default_rng, np.random.SeedSequence(seed).spawn(len(starts)))

    def some(start: int, stream: np.random.Generator) -> NDArray[np.float64]:
        parts = np.zeros((min(TOGETHER, runs - start), 4))
        _live(parts, stream, segments, *times, *lives)
        return parts

    parts = np.concatenate(on_threads(some, starts, list(streams)))
    if np.isnan(parts).any():
        raise ValueError(
            f"interval = {interval:g} h: no run ends where failures come every {mtbf:g} h; "
            "give a shorter one"
        )
    useful, stops = segments * interval, segments * checkpoint
    more = parts[:, :3].sum(axis=1)  # hours that failures add
    mean = useful + stops + more.mean()
    error = useful / mean * more.std(ddof=1) / mean / sqrt(runs)
    lost, restarts, waiting, failures = parts.mean(axis=0)
    return Simulated(
        goodput=float(useful / mean),
        error=float(error),
        checkpoints=float(stops / mean),
        lost=float(lost / mean),
        restarts=float(restarts / mean),
        waiting=float(waiting / mean),
        failures=float(failures),
    )


@search
def _live(
    parts: NDArray[np.float64],
    stream: np.random.Generator,
    segments: float,
    interval: float,
    checkpoint: float,
    restart: float,
    scale: float,
    shape: float,
    spares: float,
    repair: float,
) -> None:
    """Fill a row a run: hours of lost work, restarts and waits, then failures; NaN without end.

    Whole segments, each of an interval and its checkpoint, are kept; the rest of the time since
    the last one is lost with a failure. A repair has no memory: that it goes on is all to know.
    """
    segment = interval + checkpoint
    for run in range(parts.shape[0]):
        left, in_repair, failures = segments, 0.0, 0
        lost = restarts = waits = 0.0
        ready = 0.0  # what is left of the restart
        while True:
            life = scale * exp(log(-log1p(-stream.random())) / shape)
            done = max(np.floor((life - ready) / segment), 0.0)
            if done >= left:
                break
            left -= done
            restarts += min(life, ready)
            lost += max(life - ready - done * segment, 0.0)
            failures += 1
            if failures == MOST:
                parts[run] = nan
                return
            ready = restart
            if spares < inf and repair > 0:
                in_repair = _still_in_repair(stream, in_repair, life, repair) + 1
                if in_repair > spares:
                    waits -= log1p(-stream.random()) * repair / in_repair
                    in_repair -= 1
        restarts += ready
        parts[run, 0], parts[run, 1], parts[run, 2] = lost, restarts, waits
        parts[run, 3] = failures


@search
def _still_in_repair(
    stream: np.random.Generator, in_repair: float, hours: float, repair: float
) -> float:
    """How many of the parts are still in repair after some hours."""
    while in_repair > 0:
        hours += log1p(-stream.random()) * repair / in_repair
        if hours <= 0:
            break
        in_repair -= 1
    return in_repair
