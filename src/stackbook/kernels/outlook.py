"""Compute to be added year by year: who wants it, what limits it, and what an hour of it rents for.

Many draws at once. Compute is counted in H100-equivalents, a year by its end. A year's additions
are what pays, as owners see it a year before, up to the least of four limits. New machines have the
power that is energised and what old ones leave.
"""

from math import inf, nan
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from stackbook.kernels.capital import annuity
from stackbook.kernels.cloud import present_owned, present_rent, waiting_multiple
from stackbook.kernels.datacenter import HOURS_PER_YEAR, available_hours
from stackbook.kernels.elementary import exp, log
from stackbook.kernels.fleet import _clear
from stackbook.kernels.jit import formula, on_threads, search

Floats = NDArray[np.float64]
LIMITS = ("wafers", "packaging", "memory", "power")
BINDING = (*LIMITS, "demand", "growth")  # what decides a year's additions, by Run.binding
RUN_LIMITS = ("power", "chips", "data", "latency")
_POWER, _DEMAND, _GROWTH = 3, 4, 5
_TOGETHER = 512  # draws that a thread takes at a time


class World(NamedTuple):
    """The start, the end of a year, and how things change from there: numbers, or draws of them."""

    made: Any  # compute by year of make, the last that of the start [H100e]; draws are rows
    kw: Any  # with all that it needs, for each of an H100e, by year of make [kW]
    rent_usd_per_hour: Any  # on demand, at the start [USD/h]
    growth: Any  # of compute wanted while its cost falls by `progress`, factor of the first year
    slowing: Any  # growth in logarithms over that of the year before
    elasticity: Any  # of what is wanted to the rent
    progress: Any  # cost of the same compute over that a year later
    it_usd: Any  # servers and network for an H100e, at the start [USD]
    chip_share: Any  # of it
    memory_share: Any  # of it
    site_usd: Any  # building and power plant [USD/kW]
    kw_progress: Any  # power of the same compute over that of what is made a year later
    load: Any  # mean draw over rated power
    usd_per_kwh: Any
    om_share: Any  # operation over it_usd [1/yr]
    availability: Any
    let: Any  # hours let over hours available
    rate: Any  # cost of capital of servers [1/yr]
    years: Any  # life of them [yr]
    site_rate: Any
    site_years: Any
    riskless: Any  # rate [1/yr]
    sigma: Any  # volatility of rents [1/yr^0.5]
    limits: Any  # added in the first year, by LIMITS, on new power [H100e/yr]; draws are rows
    limit_growth: Any  # of each, factor a year


class Levers(NamedTuple):
    """What a scenario changes: each a number for all years, or one a year; as here, the trend."""

    growth: ArrayLike = 1.0  # share of the trend's growth of what is wanted; below 0 it falls
    chips: ArrayLike = 1.0  # factor of leading wafers and of packaging
    memory: ArrayLike = 1.0  # factor of memory made
    power: ArrayLike = 1.0  # factor of power energised
    chip_usd: ArrayLike = 1.0  # factor of a chip's price
    memory_usd: ArrayLike = 1.0  # factor of memory's price
    kwh_usd: ArrayLike = 1.0  # factor of the price of electricity
    stock_growth: ArrayLike = nan  # of all compute, in place of limits and of what pays; NaN: none


class Run(NamedTuple):
    """A row for each draw, a column for each year, by its end."""

    wanted: Floats
    """Compute at the rent of the start [H100e]."""
    rent_usd_per_hour: Floats
    """Of the compute of an H100."""
    long_run_usd_per_hour: Floats
    """Rent that pays what is added, hours that are not let included."""
    entry_usd_per_hour: Floats
    """Rent from which owners add, who wait for the long-run cost with waiting_multiple."""
    short_run_usd_per_hour: Floats
    """Energy and operation of the newest."""
    utilization: Floats
    """Of what there is, by merit order; 1 where nothing stands still."""
    stock: Floats
    additions: Floats
    ordered: Floats
    """What pays, before limits."""
    limits: Floats
    """Columns are years, then LIMITS, on power that old machines leave too [H100e/yr]."""
    binding: NDArray[np.int64]
    """Index of BINDING."""
    power_gw: Floats
    """Rated, with all that it needs."""
    electricity_twh: Floats
    """At the year's last rate, of what is in use [TWh/yr]."""
    chip_usd: Floats
    """Price of a chip of equal compute, over that of the start."""
    alive: Floats
    """Stock by vintage on the last axis, oldest first."""


class LargestRun(NamedTuple):
    """How large a training run can be, and why."""

    flop: Floats
    binding: NDArray[np.int64]
    """Index of RUN_LIMITS."""


def run(world: World, levers: Levers, years: int) -> Run:
    """Compute, rents and power by year, of many draws at once.

    world, levers: as World and Levers [1]
    years: how many to run [yr], 1 or more
    returns: Run [1], the same bits on any number of threads; ValueError for bad numbers
    source: Dixit and Pindyck 1994, chapter 5, entry; Boiteux 1949, rents; identities
    """
    w, moves = _checked(world, years), _by_year(levers, years)
    draws, before = w.made.shape
    time = np.arange(1, years + 1)
    # Cost of what is made in each year, old vintages at the price that they had.
    ages = np.arange(1 - before, years + 1)
    it_usd = w.it_usd * w.progress**-ages
    dearer = w.chip_share * (moves.chip_usd - 1) + w.memory_share * (moves.memory_usd - 1)
    it_usd[:, before:] *= 1 + dearer
    kw = np.concatenate([w.kw, w.kw[:, -1:] * w.kw_progress**-time], axis=1)
    energy = kw * w.load * w.usd_per_kwh
    operation = w.om_share * it_usd / available_hours(w.availability)
    hours = w.availability * w.let
    new_it, new_kw = it_usd[:, before:], kw[:, before:]
    yearly = new_kw * w.site_usd * annuity(w.site_rate, w.site_years) + w.om_share * new_it
    yearly = yearly + energy[:, before:] * moves.kwh_usd * HOURS_PER_YEAR * hours
    falling = 1 / w.progress - 1
    per_hour = present_rent(1.0, falling, hours, w.rate, w.years)
    payout = np.log1p(w.rate) + np.log(w.progress)
    multiple = waiting_multiple(w.riskless, payout, w.sigma)

    def pays(times: Any) -> Floats:
        owned: Floats = present_owned(times * new_it, 0.0, yearly, w.rate, w.years) / per_hour
        return owned

    entry = pays(multiple)
    trend = w.growth ** (w.slowing ** (time - 1))
    falls = w.elasticity * np.log(w.progress)
    seen = np.concatenate([[1.0], moves.growth[:-1]])  # owners take the last year for the next
    if not all((share * (trend - 1) > -1).all() for share in (moves.growth, seen)):
        raise ValueError(f"Levers.growth = {levers.growth}: give more, as nothing would be wanted")
    grown, hoped = (np.log1p(share * (trend - 1)) - falls for share in (moves.growth, seen))
    factors = np.stack([moves.chips, moves.chips, moves.memory, moves.power], axis=-1)
    limits = w.limits[:, None] * w.limit_growth[:, None] ** (time - 1)[:, None] * factors
    survival = np.clip(w.years - np.arange(before + years), 0.0, 1.0)

    shape = draws, years
    wanted, rent, used, added, ordered, electricity = (np.zeros(shape) for _ in range(6))
    binding, alive = np.zeros(shape, np.int64), np.zeros((*shape, before + years))
    given = (w.made, w.rent_usd_per_hour[:, 0], w.elasticity[:, 0], grown, hoped, entry)
    costs = energy, operation, kw, w.load[:, 0], survival
    filled = (limits, wanted, rent, used, added, ordered, electricity, binding, alive)
    starts = range(0, draws, _TOGETHER)

    def some(start: int) -> None:
        part = slice(start, min(start + _TOGETHER, draws))
        rows: list[Any] = [np.ascontiguousarray(each[part]) for each in (*given, *costs)]
        rows += [moves.kwh_usd, moves.stock_growth, *(each[part] for each in filled)]
        _years(*rows)

    on_threads(some, starts)
    stock = _sum(alive)
    return Run(
        wanted=wanted,
        rent_usd_per_hour=rent,
        long_run_usd_per_hour=pays(1.0),
        entry_usd_per_hour=entry,
        short_run_usd_per_hour=energy[:, before:] * moves.kwh_usd + operation[:, before:],
        utilization=used / np.where(stock > 0, stock, 1.0),
        stock=stock,
        additions=added,
        ordered=ordered,
        limits=limits,
        binding=binding,
        power_gw=_sum(alive * kw[:, None]) / 1e6,
        electricity_twh=electricity * HOURS_PER_YEAR / 1e9,
        chip_usd=w.progress**-time * (1 + dearer / w.chip_share),
        alive=alive,
    )


def holdings(alive: ArrayLike, shares: ArrayLike) -> Floats:
    """Who holds what there is: each vintage as it was bought.

    alive: Run.alive, vintages on the last axis [1]
    shares: of those who buy, a row for each vintage, each with a sum of 1; by draw if in doubt [1]
    returns: [1], as alive, with holders on the last axis
    source: accounting identity
    """
    stock, part = np.asarray(alive, float), np.asarray(shares, float)
    if part.ndim not in (2, stock.ndim) or part.shape[-2] != stock.shape[-1]:
        raise ValueError(f"shares of shape {part.shape}: give a row for each of {stock.shape[-1]}")
    if not ((part >= 0).all() and np.allclose(part.sum(axis=-1), 1, rtol=0, atol=1e-9)):
        raise ValueError("shares: give numbers of 0 or more, with a sum of 1 in each vintage")
    held = np.zeros((*stock.shape[:-1], part.shape[-1]))
    for vintage in range(stock.shape[-1]):
        row = part[..., vintage, :]
        held += stock[..., vintage, None] * (row if part.ndim == 2 else row[:, None])
    return held


@formula
def data_limited_flop(tokens: float, tokens_per_param: float) -> float:
    """Largest run that tokens allow, where parameters and tokens grow together.

    tokens: of equal worth, each seen once [1], 0 or more
    tokens_per_param: of a run [1], above 0; 20
    returns: [1]
    source: Hoffmann et al. 2022, 6 N D with N = D / 20; Sevilla et al. 2024, data
    """
    return 6 * tokens * tokens / tokens_per_param if tokens >= 0 and tokens_per_param > 0 else nan


def largest_run(limits: ArrayLike) -> LargestRun:
    """The least of what power, chips, data and latency allow.

    limits: FLOP by RUN_LIMITS, on the first axis, above 0 [1]
    returns: LargestRun [1]
    source: Sevilla et al. 2024
    """
    flop = np.asarray(limits, float)
    if not (len(flop) == len(RUN_LIMITS) and (flop > 0).all()):
        raise ValueError(f"limits: give FLOP above 0 for each of {', '.join(RUN_LIMITS)}")
    return LargestRun(flop.min(axis=0), flop.argmin(axis=0))


def _sum(values: Floats) -> Floats:
    """Over the last axis, one after the other."""
    total = np.zeros(values.shape[:-1])
    for at in range(values.shape[-1]):
        total += values[..., at]
    return total


def _checked(world: World, years: int) -> World:
    """Columns of one length: by draw, and by vintage or limit where there are some."""
    if years < 1:
        raise ValueError(f"years = {years}: give 1 or more")
    columns = {name: np.asarray(value, float) for name, value in world._asdict().items()}
    rows = {"made", "kw", "limits", "limit_growth"}
    draws = max(
        each.shape[0] if each.ndim == (2 if name in rows else 1) else 1
        for name, each in columns.items()
    )
    for name, each in columns.items():
        low, high, words = _BOUNDS.get(name, _POSITIVE)
        if not ((each >= low) & (each <= high)).all():
            raise ValueError(f"World.{name} = {_first_outside(each, low, high):g}: give {words}")
        wide = each if name in rows else each[..., None]
        if wide.ndim not in (1, 2) or (wide.ndim == 2 and len(wide) not in (1, draws)):
            raise ValueError(f"World.{name} of shape {each.shape}: give {draws} draws, or one")
        columns[name] = np.array(np.broadcast_to(wide, (draws, wide.shape[-1])))
    vintages = columns["made"].shape[1]
    for name, width in (("kw", vintages), ("limits", len(LIMITS)), ("limit_growth", len(LIMITS))):
        if columns[name].shape[1] != width:
            raise ValueError(f"World.{name}: give {width} columns, not {columns[name].shape[1]}")
    return World(**columns)


def _first_outside(column: Floats, low: float, high: float) -> float:
    return float(column[~((column >= low) & (column <= high))][0])


def _by_year(levers: Levers, years: int) -> Any:
    columns = {}
    for name, value in levers._asdict().items():
        each = np.asarray(value, float)
        if each.shape not in ((), (years,)):
            raise ValueError(f"Levers.{name} of shape {each.shape}: give one number, or {years}")
        known = each[~np.isnan(each)] if name == "stock_growth" else each
        least = -inf if name == "growth" else 0.0
        if not ((known >= least) & np.isfinite(known)).all():
            raise ValueError(f"Levers.{name} = {value}: give finite numbers of 0 or more")
        columns[name] = np.ascontiguousarray(np.broadcast_to(each, (years,)))
    return Levers(**columns)


_POSITIVE = 1e-300, 1e300, "a finite number above 0"
_SHARE = 0.0, 1.0, "a share, 0 to 1"
_FREE = 0.0, 1e300, "a finite number of 0 or more"
_BOUNDS = {
    **dict.fromkeys(("made", "site_usd", "usd_per_kwh", "om_share", "slowing"), _FREE),
    **dict.fromkeys(("riskless", "sigma"), _FREE),
    **dict.fromkeys(("memory_share", "load"), _SHARE),
    **dict.fromkeys(("chip_share", "availability", "let"), (1e-9, 1.0, "a share above 0")),
    **dict.fromkeys(("growth", "progress", "kw_progress"), (1.0, 1e300, "1 or more")),
    "limits": (0.0, inf, "0 or more"),
    "rate": (1e-300, 1e300, "a finite number above 0"),
    "site_rate": _FREE,
    "years": (1.0, 100.0, "1 to 100"),
}


@search
def _years(
    made: Floats,
    reference: Floats,
    elasticity: Floats,
    grown: Floats,
    hoped: Floats,
    entry: Floats,
    energy: Floats,
    operation: Floats,
    kw: Floats,
    load: Floats,
    survival: Floats,
    kwh_usd: Floats,
    stock_growth: Floats,
    limits: Floats,
    wanted: Floats,
    rent: Floats,
    used: Floats,
    added: Floats,
    ordered: Floats,
    electricity: Floats,
    binding: NDArray[np.int64],
    alive: Floats,
) -> None:
    """Fill a row a draw; vintages, oldest first, are those of the start and one a year."""
    before, years = made.shape[1], grown.shape[1]
    vintages = before + years
    built, capacity, floors = np.empty(vintages), np.empty(vintages), np.empty(vintages)
    parts, order = np.empty(vintages), np.empty(vintages, np.int64)
    logs, one = np.empty(1), np.empty(1)
    for i in range(made.shape[0]):
        built[:] = 0.0
        built[:before] = made[i]
        one[0] = elasticity[i]
        stock = 0.0
        for v in range(before):
            stock += made[i, v] * survival[i, before - 1 - v]
        # All that there is at the start is used, at its rent.
        log_wanted = log(stock)
        for t in range(years):
            now = before + t
            left = worth = freed = 0.0
            for v in range(now):
                there = built[v] * survival[i, now - v]
                left += there
                freed += (built[v] * survival[i, now - 1 - v] - there) * kw[i, v]
                floor = energy[i, v] * kwh_usd[t] + operation[i, v]
                worth += there if floor <= entry[i, t] else 0.0
            needed = exp(log_wanted + hoped[i, t] - one[0] * log(entry[i, t] / reference[i]))
            ordered[i, t] = max(needed - worth, 0.0)
            limits[i, t, _POWER] += freed / kw[i, now]
            most, which = inf, 0
            for k in range(limits.shape[2]):
                if limits[i, t, k] < most:
                    most, which = limits[i, t, k], k
            if stock_growth[t] >= 0:
                added[i, t], binding[i, t] = max(stock * stock_growth[t] - left, 0.0), _GROWTH
            elif ordered[i, t] > most:
                added[i, t], binding[i, t] = most, which
            else:
                added[i, t], binding[i, t] = ordered[i, t], _DEMAND
            built[now] = added[i, t]
            log_wanted += grown[i, t]
            logs[0] = log_wanted
            wanted[i, t] = exp(log_wanted)
            # By merit: the cheapest to run first.
            count = 0
            stock = 0.0
            for v in range(now + 1):
                alive[i, t, v] = built[v] * survival[i, now - v]
                stock += alive[i, t, v]
                floor = energy[i, v] * kwh_usd[t] + operation[i, v]
                at = count
                while at > 0 and floors[at - 1] > floor:
                    floors[at], order[at] = floors[at - 1], order[at - 1]
                    at -= 1
                floors[at], order[at] = floor, v
                count += 1
            for g in range(count):
                capacity[g] = alive[i, t, order[g]]
            rent[i, t] = _clear(logs, one, reference[i], capacity, floors, count, parts)
            for g in range(count):
                used[i, t] += parts[g]
                electricity[i, t] += parts[g] * kw[i, order[g]] * load[i]
