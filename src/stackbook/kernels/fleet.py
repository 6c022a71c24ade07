"""Demand for tokens and accelerator-hours, the fleet that meets it, and what scarcity is worth."""

from math import inf, nan, sqrt
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from stackbook.kernels.cloud import present_owned, present_rent, used_value
from stackbook.kernels.datacenter import available_hours
from stackbook.kernels.elementary import exp, expm1, log
from stackbook.kernels.jit import formula, on_threads, search

Floats = NDArray[np.float64]
_TOGETHER = 100  # simulated paths that share a stream of random numbers

# --- Which model, from which cloud, and how much of all ---


class Buyers(NamedTuple):
    """Who buys tokens: a nested logit over products, inside an iso-elastic total."""

    noise_usd: float  # how far tastes set products apart, over a unit [USD]
    nest_correlation: float  # of tastes for products of one nest, 0 up to below 1
    elasticity: float  # of the units in all, to the index of all prices
    index_usd: float  # index at which they buy `units` [USD]
    units: float


class Choices(NamedTuple):
    """What is bought."""

    shares: Floats
    """Of the units, by product."""
    within: Floats
    """Of the units of its nest, by product."""
    index_usd: float
    """Composite price: its slope by a price is that product's share, and an entrant lowers it."""
    units: float


@formula
def generalized_price(
    price_usd: float, latency: float, usd_per_second: float, premium_usd: float, quality_usd: float
) -> float:
    """What a unit costs its user, with waiting, the cost of switching, and what it does better.

    price_usd: price of the unit [USD]
    latency, usd_per_second: time the unit takes [s], 0 or more; what a second is worth [USD/s]
    premium_usd: of all but the incumbent, the cloud.lock_in_premium of leaving it [USD]
    quality_usd: what the unit is worth over that of a common product [USD]
    returns: [USD]; below 0 where quality is worth more than all else
    source: McFadden 1974, utility linear in price and attributes, in dollars
    """
    return price_usd + latency * usd_per_second + premium_usd - quality_usd if latency >= 0 else nan


def choices(generalized_usd: ArrayLike, nests: ArrayLike, buyers: Buyers) -> Choices:
    """Shares of products, price index and total of what is bought.

    generalized_usd: generalized_price of each product [USD]
    nests: label of each product's nest, as of its model, which several clouds sell [1]
    buyers: as Buyers, each above 0 but for nest_correlation [1]
    returns: Choices [1]; ValueError where the index is not above 0, as tastes outweigh prices
    source: McFadden 1978; Berry 1994; the index is Williams's 1977 composite cost
    """
    _check_buyers(buyers)
    prices, member = _nested(generalized_usd, nests)
    rest = 1 - buyers.nest_correlation
    # From the cheapest of each nest, and of all, so that no sum of exponentials vanishes.
    cheapest = np.where(member, prices, inf).min(axis=1)
    parts = member * np.exp((cheapest @ member - prices) / (buyers.noise_usd * rest))
    sums = parts.sum(axis=1)
    nest_parts = np.exp((prices.min() - cheapest) / buyers.noise_usd + rest * np.log(sums))
    within = (parts / sums[:, None]).sum(axis=0)
    shares = within * (nest_parts / nest_parts.sum() @ member)
    index = float(prices.min() - buyers.noise_usd * np.log(nest_parts.sum()))
    if not index > 0:
        raise ValueError(
            f"index of prices = {index:g} USD: give dearer products, less quality or a lesser "
            "noise_usd, as an iso-elastic total asks for one above 0"
        )
    units = buyers.units * (index / buyers.index_usd) ** -buyers.elasticity
    return Choices(shares, within, index, units)


def demand_slopes(generalized_usd: ArrayLike, nests: ArrayLike, buyers: Buyers) -> Floats:
    """How the units of each product change with the price of each.

    generalized_usd: generalized_price of each product [USD]
    nests, buyers: as in choices [1]
    returns: [1/USD], a row for each product, a column for each price; symmetric
    source: Berry 1994, nested logit; with the change of the total, of which shares are slopes
    """
    found, relative = _relative_slopes(generalized_usd, nests, buyers)
    slopes: Floats = found.units * found.shares[:, None] * relative
    return slopes


def _relative_slopes(
    generalized_usd: ArrayLike, nests: ArrayLike, buyers: Buyers
) -> tuple[Choices, Floats]:
    """Slopes over the product's own units, which no small share and no near one spoils."""
    found = choices(generalized_usd, nests, buyers)
    _, member = _nested(generalized_usd, nests)
    same = member.T.astype(float) @ member
    odds = buyers.nest_correlation / (1 - buyers.nest_correlation)
    won = (odds * same * found.within + found.shares) / buyers.noise_usd
    np.fill_diagonal(won, 0.0)
    np.fill_diagonal(won, -won.sum(axis=1))  # of a fixed total, one wins what another loses
    return found, won - buyers.elasticity / found.index_usd * found.shares


def elasticities(
    generalized_usd: ArrayLike, paid_usd: ArrayLike, nests: ArrayLike, buyers: Buyers
) -> Floats:
    """Own and cross elasticities: change of each product's units over that of each price.

    generalized_usd, paid_usd: generalized_price [USD], of which price_usd [USD]
    nests, buyers: as in choices [1]
    returns: [1], a row for each product, a column for each price
    source: Berry 1994, demand_slopes times price over units
    """
    _, relative = _relative_slopes(generalized_usd, nests, buyers)
    result: Floats = relative * np.asarray(paid_usd, float)
    return result


def diversion(generalized_usd: ArrayLike, nests: ArrayLike, buyers: Buyers) -> Floats:
    """Diversion ratios: what each product wins of the units that one loses when it gets dearer.

    generalized_usd: generalized_price of each product [USD]
    nests, buyers: as in choices [1]
    returns: [1], a row for each that gets dearer; 1 less its sum is bought no more, NaN for 0 / 0
    source: Shapiro 1996, slopes of the others over the own one
    """
    _, slopes = _relative_slopes(generalized_usd, nests, buyers)  # of two products, symmetric
    with np.errstate(all="ignore"):
        ratios: Floats = slopes / -np.diag(slopes)[:, None]
    np.fill_diagonal(ratios, 0.0)
    return ratios


def implied_prices(shares: ArrayLike, nests: ArrayLike, buyers: Buyers) -> Floats:
    """Generalized prices at which products have the shares that are seen.

    shares: of the units, above 0, with a sum of 1 [1]
    nests, buyers: as in choices [1]
    returns: [USD], at the index of buyers; price_usd less these is quality, waiting included
    source: Berry 1994, inversion of shares
    """
    _check_buyers(buyers)
    seen, member = _nested(shares, nests)
    if not ((seen > 0).all() and abs(seen.sum() - 1) < 1e-9):
        raise ValueError(f"shares: give numbers above 0 with a sum of 1, not {seen.sum():g}")
    within = seen / (member @ seen @ member)
    logs = np.log(seen) - buyers.nest_correlation * np.log(within)
    prices: Floats = buyers.index_usd - buyers.noise_usd * logs
    return prices


@formula
def surplus_gain(before_usd: float, after_usd: float, units: float, elasticity: float) -> float:
    """What buyers gain when the index of prices falls: the area under their demand.

    before_usd, after_usd: index of prices [USD], above 0
    units: bought before [1], 0 or more
    elasticity: of the units to the index [1], 0 or more; at 0, that of the log-sum
    returns: [USD], below 0 where prices rise
    source: Small and Rosen 1981, integral of the demand between the two
    """
    if not (before_usd > 0 and after_usd > 0 and units >= 0 and elasticity >= 0):
        return nan
    change, power = log(after_usd / before_usd), 1 - elasticity
    area = expm1(power * change) / power if abs(power) > 1e-300 else change
    return -units * before_usd * area


def _nested(values: ArrayLike, nests: ArrayLike) -> tuple[Floats, NDArray[np.bool_]]:
    """The values, and which nest (row) holds which product (column)."""
    column, labels = np.asarray(values, float), np.asarray(nests)
    if not (column.ndim == 1 and column.size and np.isfinite(column).all()):
        raise ValueError("products: give a finite number for each of one or more")
    if labels.shape != column.shape:
        raise ValueError(f"nests: give a label for each of {column.size} products")
    return column, np.unique(labels)[:, None] == labels


def _check_buyers(buyers: Buyers) -> None:
    if not 0 <= buyers.nest_correlation < 1:
        raise ValueError(
            f"Buyers.nest_correlation = {buyers.nest_correlation:g}: give 0 up to below 1"
        )
    for name in ("noise_usd", "index_usd", "units"):
        if not 0 < getattr(buyers, name) < inf:
            raise ValueError(
                f"Buyers.{name} = {getattr(buyers, name):g}: give a finite number above 0"
            )
    if not 0 <= buyers.elasticity < inf:
        raise ValueError(f"Buyers.elasticity = {buyers.elasticity:g}: give a number of 0 or more")


# --- A fleet and the rent at which its hours are all used ---


@formula
def clearing_rent(
    accelerators: float,
    wanted: float,
    rent_usd_per_hour: float,
    elasticity: float,
    cost_usd_per_hour: float,
) -> float:
    """Rent of a fixed fleet: what clears the market, or energy and operation where it is idle.

    accelerators: that there are [1], above 0
    wanted: at rent_usd_per_hour [1], above 0, with as many hours a year
    rent_usd_per_hour: at which demand is known [USD/h], above 0
    elasticity: of hours wanted to the rent [1], above 0
    cost_usd_per_hour: saved when an hour is not used [USD/h], 0 or more
    returns: [USD/h]; over cost_usd_per_hour, the scarcity rent, multiplier of the fleet
    source: Boiteux 1949, peak-load pricing: the price of a fixed capacity
    """
    if not (accelerators > 0 and wanted > 0 and rent_usd_per_hour > 0):
        return nan
    if not (elasticity > 0 and cost_usd_per_hour >= 0):
        return nan
    clears = rent_usd_per_hour * exp(log(wanted / accelerators) / elasticity)
    return max(clears, cost_usd_per_hour)


@formula
def implied_demand(
    accelerators: float, usd_per_hour: float, rent_usd_per_hour: float, elasticity: float
) -> float:
    """Accelerators that would be wanted at one rent, seen from a fleet that is used at another.

    accelerators: in use [1], 0 or more
    usd_per_hour: rent at which they are [USD/h], above 0
    rent_usd_per_hour: at which demand is asked for [USD/h], above 0
    elasticity: of hours wanted to the rent [1], 0 or more
    returns: [1]
    source: clearing_rent solved for the demand
    """
    if not (accelerators >= 0 and usd_per_hour > 0 and rent_usd_per_hour > 0 and elasticity >= 0):
        return nan
    return accelerators * exp(elasticity * log(usd_per_hour / rent_usd_per_hour))


class Uses(NamedTuple):
    """Who wants accelerator-hours, as training, research and serving: an element for each."""

    hours: ArrayLike  # of the newest accelerator wanted at the reference rent [h/yr]
    elasticity: ArrayLike  # of them to the rent


class Generations(NamedTuple):
    """Accelerators that there are, an element for each generation."""

    accelerators: ArrayLike
    eta: ArrayLike  # output of an hour over that of the newest
    cost_usd_per_hour: ArrayLike  # energy and operation of an hour in use [USD/h]


class Cleared(NamedTuple):
    """Rents at which the hours in use are as many as those wanted."""

    usd_per_hour: float
    """Rent of the newest."""
    rents: Floats
    """By generation; what an idle one could have asked [USD/h]."""
    scarcity: Floats
    """Rent over energy and operation by generation, 0 where one is off or in part idle [USD/h]."""
    utilization: Floats
    """Hours used over available ones, by generation."""
    hours: Floats
    """Hours of the newest by use [h/yr]."""


def cleared(
    uses: Uses, generations: Generations, rent_usd_per_hour: float, availability: float
) -> Cleared:
    """Rents, use and idleness of generations that serve several uses; the dearest stand still.

    uses, generations: as Uses and Generations, above 0; accelerators 0 or more [1]
    rent_usd_per_hour: of the newest, at which hours wanted are known [USD/h], above 0
    availability: share of time in working order [1], above 0 up to 1
    returns: Cleared [1]; hours of all uses are at most available_hours times fleet
    source: Boiteux 1949; merit order: an old hour of output eta is worth eta of a new one
    """
    hours, elasticity = (np.asarray(field, float).ravel() for field in uses)
    count, eta, cost = (np.asarray(field, float).ravel() for field in generations)
    _positive(hours=hours, elasticity=elasticity, eta=eta, cost_usd_per_hour=cost)
    if not (hours.size and hours.size == elasticity.size):
        raise ValueError("Uses: give hours and elasticity for each of one or more")
    if not (count.size == eta.size == cost.size and (count >= 0).all() and 0 < count.sum() < inf):
        raise ValueError("Generations: give each three numbers; accelerators, 0 or more, not all 0")
    _positive(rent_usd_per_hour=rent_usd_per_hour, availability=available_hours(availability))
    capacity = count * eta * available_hours(availability)
    order = np.argsort(cost / eta, kind="stable")
    used = np.zeros(count.size)
    merit = capacity[order], (cost / eta)[order]
    rent = _clear(np.log(hours), elasticity, float(rent_usd_per_hour), *merit, count.size, used)
    utilization = np.zeros(count.size)
    utilization[order[used > 0]] = used[used > 0] / merit[0][used > 0]
    rents = rent * eta
    return Cleared(
        usd_per_hour=rent,
        rents=rents,
        scarcity=np.maximum(rents - cost, 0.0),
        utilization=utilization,
        hours=hours * (rent / rent_usd_per_hour) ** -elasticity,
    )


def _positive(**named: Any) -> None:
    for name, value in named.items():
        if not ((np.asarray(value) > 0) & (np.asarray(value) < inf)).all():
            raise ValueError(f"{name} = {value}: give finite numbers above 0")


@search
def _wanted(logs: Floats, elasticity: Floats, log_rent: float) -> tuple[float, float]:
    """Logarithm of what all uses want at a rent over the reference, and its slope."""
    top = -inf
    for u in range(logs.size):
        top = max(top, logs[u] - elasticity[u] * log_rent)
    total = slope = 0.0
    for u in range(logs.size):
        part = exp(logs[u] - elasticity[u] * log_rent - top)
        total += part
        slope -= elasticity[u] * part
    return top + log(total), slope / total


@search
def _clear(
    logs: Floats,
    elasticity: Floats,
    reference: float,
    capacity: Floats,
    floors: Floats,
    count: int,
    used: Floats,
) -> float:
    """Rent that clears; floors, at which each starts to run, rise. Fills what is used of each."""
    total = 0.0
    for g in range(count):
        total += capacity[g]
        used[g] = total  # for now, what there is up to this one
    first, end = 0, count  # to be the first that is not used in full at its floor
    while first < end:
        middle = (first + end) // 2
        log_demand, _ = _wanted(logs, elasticity, log(floors[middle] / reference))
        if exp(log_demand) < used[middle]:
            end = middle
        else:
            first = middle + 1
    total = used[first - 1] if first > 0 else 0.0
    for g in range(count):
        used[g] = capacity[g] if g < first else 0.0
    if first < count:
        floor: float = floors[first]
        log_demand, _ = _wanted(logs, elasticity, log(floor / reference))
        if exp(log_demand) > total:
            used[first] = exp(log_demand) - total
            return floor
    if total == 0:
        return inf
    # Newton in logarithms: demand is convex there, so that after one step none goes too far.
    log_rent, target = 0.0, log(total)
    for _ in range(200):
        log_demand, slope = _wanted(logs, elasticity, log_rent)
        step = (target - log_demand) / slope
        log_rent += step
        if abs(step) <= 1e-15 * max(1.0, abs(log_rent)):
            break
    return reference * exp(log_rent)


# --- Over time: demand grows, fleets age, owners order and wait ---


class Demand(NamedTuple):
    """Who wants accelerator-hours over time; accelerators are those of the first period."""

    wanted: float  # accelerators in the first period at the reference rent
    rent_usd_per_hour: float  # reference rent [USD/h]
    elasticity: float  # of what is wanted to the rent
    growth: ArrayLike  # of what is wanted, from each period to the next, or always [1/yr]
    expected_growth: ArrayLike  # as who orders expects it; `growth` for foresight [1/yr]
    sigma: float = 0.0  # volatility about the growth, a surprise to all [1/yr^0.5]


class Supply(NamedTuple):
    """Who owns accelerators, and what new ones cost; all for the output of one of the start."""

    capital_usd: float  # accelerator with servers, network and site, in the first period [USD]
    capital_growth: float  # of it [1/yr]
    cost_usd_per_hour: float  # energy and operation of an hour, of the first period's [USD/h]
    cost_growth: float  # of it by date of making, 0 or less [1/yr]
    rent_growth: float  # as who orders expects it [1/yr]
    availability: float
    rate: float  # cost of capital [1/yr]
    life_years: float
    lead_years: float  # from order to work
    multiple: float  # value over cost from which they order, as cloud.waiting_multiple; 1
    most_per_year: ArrayLike = inf  # that can be added, by date of work or always [1/yr]


class Path(NamedTuple):
    """A row for each path, a column for each period; accelerators in units of the start's."""

    wanted: Floats
    """Accelerators at the reference rent."""
    usd_per_hour: Floats
    """Rent of the output of an accelerator of the start."""
    utilization: Floats
    """Share of the fleet that is used."""
    accelerators: Floats
    additions: Floats
    value_usd: Floats
    """Of a new accelerator: used_value at the rent of the period."""
    first_value_usd: Floats
    """Of one that was new at the start; 0 at the end of its life."""
    long_run_usd_per_hour: Floats
    """Rent that pays a new one, by period."""
    entry_usd_per_hour: Floats
    """Rent that makes an owner order, by period of work."""
    short_run_usd_per_hour: Floats
    """Energy and operation of a new one, by period."""


def fleet_path(
    demand: Demand,
    supply: Supply,
    fleet: ArrayLike,
    ordered: ArrayLike,
    periods: int,
    per_year: int,
    paths: int,
    seed: int,
) -> Path:
    """Rents, additions and idleness over time, where booms and gluts come of lead times.

    demand, supply: as Demand and Supply [1]
    fleet, ordered: accelerators at the start by age, and on order by period of work [1]
    periods, per_year: periods in all, and in a year, as 12 or 4 [1]
    paths, seed: simulated, 1 without sigma; of the draws, the same on any number of threads [1]
    returns: Path [1]; ValueError for bad numbers
    source: Dixit and Pindyck 1994, chapters 5 and 8: entry at a multiple of cost; identities
    """
    d, s = demand, supply
    ages, coming = (np.atleast_1d(np.asarray(each, float)) for each in (fleet, ordered))
    _check_path(d, s, ages, coming, periods, per_year, paths)
    years = np.arange(-(ages.size - 1), periods) / per_year
    capital = s.capital_usd * (1 + s.capital_growth) ** years
    cost = s.cost_usd_per_hour * (1 + s.cost_growth) ** years
    life, lead = round(s.life_years * per_year), round(s.lead_years * per_year)
    per_hour = present_rent(1.0, s.rent_growth, s.availability, s.rate, s.life_years)
    yearly = cost * available_hours(s.availability)

    def pays(multiple: float) -> Floats:
        owned = present_owned(multiple * capital, 0.0, yearly, s.rate, s.life_years)
        rent: Floats = owned[ages.size - 1 :] / per_hour
        return rent

    growth = _by_period("Demand.growth", d.growth, periods)
    expected = _by_period("Demand.expected_growth", d.expected_growth, periods)
    most = _by_period("Supply.most_per_year", s.most_per_year, periods)
    steps = np.log1p(growth) / per_year
    hoped = np.concatenate([[0.0], np.cumsum(np.log1p(expected) / per_year)])
    ends = np.minimum(np.arange(periods) + lead, periods)
    known = hoped[ends] - hoped[:-1], pays(s.multiple), most
    numbers = float(d.wanted), float(d.rent_usd_per_hour), float(d.elasticity)
    shape = (paths, periods)
    wanted, rent, used, count, added = (np.zeros(shape) for _ in range(5))
    coming = coming[:periods]
    added[:, : coming.size] = coming
    starts = range(0, paths, _TOGETHER)
    streams = map(np.random.default_rng, np.random.SeedSequence(seed).spawn(len(starts)))
    spread = d.sigma / sqrt(per_year)

    def some(start: int, stream: np.random.Generator) -> None:
        part = slice(start, min(start + _TOGETHER, paths))
        logs = wanted[part]
        shocks = stream.standard_normal((len(logs), periods - 1))
        logs[:, 1:] = np.cumsum(steps[:-1] - spread**2 / 2 + spread * shocks, axis=1)
        made = np.ascontiguousarray(ages[::-1])
        filled = (array[part] for array in (rent, used, count, added))
        _run(*numbers, *known, cost, made, life, lead, per_year, logs, *filled)

    on_threads(some, starts, list(streams))
    new = yearly[ages.size - 1 :]
    left = np.maximum(s.life_years - np.arange(periods) / per_year, 0.0)
    each = s.rent_growth, s.availability
    return Path(
        wanted=wanted,
        usd_per_hour=rent,
        utilization=used / np.where(count > 0, count, 1.0),
        accelerators=count,
        additions=added,
        value_usd=used_value(rent, *each, new, s.rate, s.life_years),
        first_value_usd=used_value(rent, *each, new[0], s.rate, left),
        long_run_usd_per_hour=pays(1.0),
        entry_usd_per_hour=known[1],
        short_run_usd_per_hour=cost[ages.size - 1 :],
    )


def _by_period(name: str, value: ArrayLike, periods: int) -> Floats:
    column = np.asarray(value, float)
    if column.shape not in ((), (periods,)):
        raise ValueError(f"{name} of shape {column.shape}: give one number, or {periods}")
    return np.ascontiguousarray(np.broadcast_to(column, (periods,)))


def _check_path(
    demand: Demand,
    supply: Supply,
    ages: Floats,
    coming: Floats,
    periods: int,
    per_year: int,
    paths: int,
) -> None:
    for name, number in {"periods": periods, "per_year": per_year, "paths": paths}.items():
        if number < 1:
            raise ValueError(f"{name} = {number}: give 1 or more")
    for name, column in {"fleet": ages, "ordered": coming}.items():
        if column.ndim != 1 or not ((column >= 0) & (column < inf)).all():
            raise ValueError(f"{name}: give finite numbers of 0 or more, in a row")
    if not ages.size:
        raise ValueError("fleet: give accelerators of one age or more")
    for record in (demand, supply):
        for field, value in record._asdict().items():
            low, high, words = _BOUNDS.get(field, _POSITIVE)
            column = np.asarray(value, float)
            if not ((column >= low) & (column <= high)).all():
                raise ValueError(f"{type(record).__name__}.{field} = {value}: give {words}")
    if round(supply.life_years * per_year) < ages.size:
        raise ValueError(
            f"Supply.life_years = {supply.life_years:g}: give as many as the fleet's {ages.size} "
            "ages span, and a period at least"
        )


_POSITIVE = 1e-300, 1e300, "a finite number above 0"
_CHANGE = -0.999, 1e300, "a finite number above -1"
_BOUNDS = {
    **dict.fromkeys(("growth", "expected_growth", "capital_growth", "rent_growth"), _CHANGE),
    "rate": _CHANGE,
    "sigma": (0.0, 1e300, "a finite number of 0 or more"),
    "lead_years": (0.0, 1e300, "a finite number of 0 or more"),
    "most_per_year": (0.0, inf, "0 or more"),
    "multiple": (1.0, 1e300, "a finite number of 1 or more"),
    "availability": (1e-9, 1.0, "a share above 0"),
    "cost_growth": (-0.999, 0.0, "a number above -1 and up to 0: the newest runs first"),
}


@search
def _run(
    first: float,
    reference: float,
    elasticity: float,
    hoped: Floats,
    entry: Floats,
    most: Floats,
    cost: Floats,
    made: Floats,
    life: int,
    lead: int,
    per_year: int,
    wanted: Floats,
    rent: Floats,
    used: Floats,
    count: Floats,
    added: Floats,
) -> None:
    """Fill a row a path; `wanted` comes as the logarithm of demand over the first period's."""
    before = made.size - 1  # vintages older than the first period's
    periods = wanted.shape[1]
    logs, one = np.empty(1), np.full(1, elasticity)
    capacity, floors, parts = (np.empty(life), np.empty(life), np.empty(life))
    built = np.empty(before + periods)
    for i in range(wanted.shape[0]):
        built[:] = 0.0
        built[: made.size] = made
        built[before:] += added[i]  # on order at the start
        for t in range(periods):
            logs[0] = log(first) + wanted[i, t]
            wanted[i, t] = exp(logs[0])
            at = t + lead
            if at < periods:
                now = before + at
                stock = 0.0
                for v in range(max(0, now - life + 1), now + 1):
                    stock += built[v] if cost[v] <= entry[at] else 0.0
                needed = exp(logs[0] + hoped[t] - elasticity * log(entry[at] / reference))
                order = min(max(needed - stock, 0.0), most[at] / per_year)
                built[now] += order
                added[i, at] += order
            now = before + t
            alive = 0
            for v in range(now, max(-1, now - life), -1):  # the newest run first
                capacity[alive], floors[alive], parts[alive] = built[v], cost[v], 0.0
                count[i, t] += built[v]
                alive += 1
            rent[i, t] = _clear(logs, one, reference, capacity, floors, alive, parts)
            for v in range(alive):
                used[i, t] += parts[v]
