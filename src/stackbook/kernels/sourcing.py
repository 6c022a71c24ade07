"""Five ways to come by tokens, month by month, while demand, rents and list prices move.

A business buys from one vendor, rents accelerators by the hour, reserves them for terms, owns them,
or keeps several vendors. Each fleet has as many replicas as an hour's tokens need.
"""

from math import inf, sqrt
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from stackbook.kernels.cloud import commitment, present_owned, present_rent
from stackbook.kernels.elementary import exp, log1p
from stackbook.kernels.jit import on_threads, search

Floats = NDArray[np.float64]
WAYS = ("API", "rented", "reserved", "owned", "several vendors")
HOURS_PER_MONTH = 730.0
PERSISTENCE = 1.0  # years in which what sets a vendor's price apart fades to 1/e
_TOGETHER = 500  # scenarios that share a stream of random numbers


class Business(NamedTuple):
    """Who buys: numbers, or arrays of one number a scenario, as in the records below."""

    mtok_per_month: Any  # million tokens, input and output together, at the start
    growth: Any  # of them [1/yr]
    sigma: Any  # volatility of demand about its growth [1/yr^0.5]
    rate: Any  # cost of capital [1/yr]
    outage_usd_per_hour: Any  # lost in an hour without tokens, at the start [USD/h]


class Api(NamedTuple):
    """A vendor of tokens, of which several can be had."""

    usd_per_mtok: Any  # of the mix that is bought [USD]
    growth: Any  # of list prices [1/yr]
    sigma: Any  # volatility of all list prices [1/yr^0.5]
    own_sigma: Any  # standard deviation of the logarithm of one vendor's price about all [1]
    setup_usd: Any  # to build on a vendor [USD]
    usd_per_year: Any  # to keep it ready [USD/yr]
    leaving: Any  # that it withdraws the model or changes terms [1/yr]
    move_usd: Any  # to move to another that was not kept ready [USD]
    outage: Any  # share of time without service [1]
    joint_outage: Any  # share of time in which several are down at once, their joint_outage [1]


class Rental(NamedTuple):
    """A cloud that rents accelerators."""

    usd_per_hour: Any  # on demand [USD/h]
    growth: Any  # of rents [1/yr]
    sigma: Any  # volatility of rents [1/yr^0.5]
    discount: Any  # of a reservation [1]
    outage: Any  # share of time without service [1]


class Fleet(NamedTuple):
    """What a business runs that serves tokens itself."""

    mtok_per_hour: Any  # of a replica within the promised latency, million tokens an hour
    gain: Any  # of it, by better software [1/yr]
    accelerators: Any  # of a replica
    setup_usd: Any  # to build it [USD]
    usd_per_year: Any  # staff who run it [USD/yr]


class Owner(NamedTuple):
    """What a business pays that owns its accelerators; a year's costs are for each of them."""

    capital_usd: Any  # an accelerator with its servers and network [USD]
    resale: Any  # of it at the end of the horizon, at the rents expected today [1]
    site_usd_per_year: Any  # leased or built [USD/yr]
    electricity_usd_per_year: Any
    operation_usd_per_year: Any
    availability: Any  # share of time in working order [1]
    lead_years: Any  # until it works; rented until then [yr]
    outage: Any  # share of time without service [1]


class Lines(NamedTuple):
    """The lines of a bill, as numbers of the last axis of `Sourced.usd`."""

    tokens: Any  # list price of tokens bought
    on_demand: Any  # hours rented by the hour
    reserved: Any  # hours of leases, used or not
    capital: Any  # accelerators bought, less what they are sold for
    site: Any
    electricity: Any
    operation: Any
    people: Any  # to build, and to keep it running
    moves: Any  # to another vendor, after the first withdrew
    outages: Any  # business lost


TOKENS, ON_DEMAND, RESERVED, CAPITAL, SITE, ELECTRICITY, OPERATION, PEOPLE, MOVES, OUTAGES = range(
    len(Lines._fields)
)


class Sourced(NamedTuple):
    """Each scenario's bill, in dollars of today, and what it buys."""

    usd: Floats
    """By scenario, way (`WAYS`) and line (`Lines`)."""
    mtok: Floats
    """Million tokens by scenario, discounted as the bills are: cost over these is a price."""
    last_usd: Floats
    """Cost of the last twelve months by scenario and way, not discounted, without capital."""
    hours: Floats
    """Accelerator-hours by scenario, way, and use: needed, leased or owned, on demand, idle."""

    @property
    def total(self) -> Floats:
        """Bill by scenario and way [USD]."""
        total: Floats = self.usd.sum(axis=2)
        return total


class Plan(NamedTuple):
    """How a business decides at the start; the same in all scenarios."""

    years: float  # horizon, up to whole months
    term_years: float  # of a reservation
    vendors: int  # that are kept ready, where there are several
    profile: tuple[float, ...]  # demand in equal parts of the day over its mean
    least: float = 1.0  # replicas, whatever the demand


def sourced(
    business: Business,
    api: Api,
    rental: Rental,
    fleet: Fleet,
    owner: Owner,
    plan: Plan,
    correlation: ArrayLike,
    seed: int,
) -> Sourced:
    """Simulate what each way to come by tokens costs in each scenario.

    business, api, rental, fleet, owner: what may differ by scenario [1]
    plan: horizon, terms and shape of the day [1]
    correlation: of the monthly changes of demand, rents and list prices [1], 3 by 3
    seed: of the draws, the same on any number of threads [1]
    returns: Sourced [1]; ValueError for bad numbers. Without sigmas it is the plan itself
    source: identities month by month; demand, rents and prices as geometric Brownian motions
    """
    records: tuple[Any, ...] = business, api, rental, fleet, owner
    shapes = (np.shape(field) for record in records for field in record)
    count = int(np.broadcast_shapes((1,), *shapes)[0])
    records = tuple(_columns(record, count) for record in records)
    _check(records, plan)
    months, term = max(1, round(12 * plan.years)), max(1, round(12 * plan.term_years))
    try:
        steps = np.linalg.cholesky(np.asarray(correlation, float))
    except np.linalg.LinAlgError:
        raise ValueError(
            f"correlation = {correlation!r}: give a positive definite matrix"
        ) from None
    profile = np.asarray(plan.profile, float)
    reserve, own = _planned(records, plan, months, term)

    found = Sourced(
        usd=np.zeros((count, len(WAYS), len(Lines._fields))),
        mtok=np.zeros(count),
        last_usd=np.zeros((count, len(WAYS))),
        hours=np.zeros((count, len(WAYS), 4)),
    )
    starts = range(0, count, _TOGETHER)
    streams = map(np.random.default_rng, np.random.SeedSequence(seed).spawn(len(starts)))

    def some(start: int, stream: np.random.Generator) -> None:
        part = slice(start, min(start + _TOGETHER, count))
        size = part.stop - part.start
        shocks = stream.standard_normal((size, months, 3 + plan.vendors))
        events = stream.random((size, months, plan.vendors))
        arguments: list[Any] = [type(r)(*(field[part] for field in r)) for r in records]
        arguments += shocks, events, steps, profile, term, plan.least, reserve, own
        arguments += (array[part] for array in found)
        _run(*arguments)

    on_threads(some, starts, list(streams))
    return found


def _columns(record: Any, count: int) -> Any:
    """The record with one number a scenario in each field."""
    fields = (np.broadcast_to(np.asarray(field, float), (count,)) for field in record)
    return type(record)(*map(np.ascontiguousarray, fields))


def _check(records: tuple[Any, ...], plan: Plan) -> None:
    for record in records:
        for field, column in record._asdict().items():
            low, high, wanted = _BOUNDS.get(field, (0.0, inf, "0 or more"))
            bad = column[~((column >= low) & (column <= high) & (column < inf))]
            if bad.size:
                name = f"{type(record).__name__}.{field}"
                raise ValueError(f"{name} = {bad[0]:g}: give {wanted}")
    for name, value in {"years": plan.years, "term_years": plan.term_years}.items():
        if not 1 / 12 <= value <= 30:
            raise ValueError(f"Plan.{name} = {value:g}: give a month to 30 years")
    if not 1 <= plan.vendors <= 16:
        raise ValueError(f"Plan.vendors = {plan.vendors}: give 1 to 16")
    if not (len(plan.profile) and all(0 <= part < inf for part in plan.profile)):
        raise ValueError(f"Plan.profile = {plan.profile}: give finite numbers of 0 or more")


_SHARE = 0.0, 1.0, "0 to 1"
_CHANGE = -0.999, inf, "a number above -1"
_POSITIVE = 1e-9, inf, "a number above 0"
_BOUNDS = {
    **dict.fromkeys(("outage", "joint_outage", "discount"), _SHARE),
    **dict.fromkeys(("growth", "gain", "rate"), _CHANGE),
    **dict.fromkeys(("mtok_per_hour", "accelerators", "usd_per_hour"), _POSITIVE),
    "availability": (1e-9, 1.0, "a share above 0"),
}


def _planned(records: tuple[Any, ...], plan: Plan, months: int, term: int) -> tuple[float, float]:
    """Load to reserve, and to own, over that of the mean hour when it is decided.

    Each is the quantile of the hours to come that its saving over a rent on demand asks for; who
    owns does so for half of these hours at least. Planned on the medians, without foresight.
    """
    b, _, r, f, o = (type(each)(*map(np.median, each)) for each in records)
    growth = log1p(b.growth) - log1p(f.gain)

    def levels(first: int, last: int) -> Floats:
        grown: Floats = np.exp(growth * np.arange(first, last) / 12)
        return np.outer(grown, plan.profile)

    rents = present_rent(r.usd_per_hour, r.growth, 1.0, b.rate, plan.years) * o.availability
    yearly = o.site_usd_per_year + o.electricity_usd_per_year + o.operation_usd_per_year
    saving = 1 - present_owned(o.capital_usd, o.resale, yearly, b.rate, plan.years) / rents
    lead = min(round(12 * o.lead_years), months - 1)
    reserve = commitment(levels(0, term), float(r.discount))
    return reserve, commitment(levels(lead, months), max(saving, 0.5))


@search
def _run(
    b: Business,
    a: Api,
    r: Rental,
    f: Fleet,
    o: Owner,
    shocks: Floats,
    events: Floats,
    steps: Floats,
    profile: Floats,
    term: int,
    least: float,
    reserve: float,
    own: float,
    usd: Floats,
    mtok: Floats,
    last_usd: Floats,
    hours: Floats,
) -> None:
    """Fill a row a scenario. A month is priced at its middle."""
    count, months, width = shocks.shape
    vendors, part_hours = width - 3, HOURS_PER_MONTH / profile.size
    fade = exp(-1 / (12 * PERSISTENCE))
    logs, apart, month = np.empty(3), np.empty(vendors), np.empty((usd.shape[1], usd.shape[2]))
    for i in range(count):
        growths = log1p(b.growth[i]), log1p(r.growth[i]), log1p(a.growth[i])
        sigmas = b.sigma[i], r.sigma[i], a.sigma[i]
        force, gain, spread = log1p(b.rate[i]), log1p(f.gain[i]), a.own_sigma[i]
        ranks, lead = f.accelerators[i], round(12 * o.lead_years[i])
        gone = 1 - exp(-a.leaving[i] / 12)
        first_load = b.mtok_per_month[i] / (HOURS_PER_MONTH * f.mtok_per_hour[i])
        owned = ranks * max(least, np.ceil(first_load * own - 1e-9))
        leased = lease_usd = 0.0
        logs[:] = 0.0
        bill = usd[i]
        bill[0, PEOPLE], bill[4, PEOPLE] = a.setup_usd[i], vendors * a.setup_usd[i]
        bill[1:4, PEOPLE] = f.setup_usd[i]
        bill[3, CAPITAL] = owned * o.capital_usd[i]
        for m in range(months):
            t, past = (m + 0.5) / 12, 1 / 24 if m == 0 else 1 / 12
            for k in range(
                3
            ):  # the common changes: what is each one's own comes after those before
                change = 0.0
                for n in range(k + 1):
                    change += steps[k, n] * shocks[i, m, n]
                drift = growths[k] - sigmas[k] * sigmas[k] / 2
                logs[k] += drift * past + sigmas[k] * sqrt(past) * change
            grown = exp(logs[0])
            tokens = b.mtok_per_month[i] * grown
            rent = r.usd_per_hour[i] * exp(logs[1])
            price = a.usd_per_mtok[i] * exp(logs[2] - spread * spread / 2)
            month[:] = 0.0

            lowest = inf
            for v in range(vendors):
                fresh = spread * shocks[i, m, 3 + v]
                apart[v] = fresh if m == 0 else fade * apart[v] + sqrt(1 - fade * fade) * fresh
                lowest = min(lowest, apart[v])
                if events[i, m, v] < gone:  # another is built on, beside those that remain
                    month[4, MOVES] += a.setup_usd[i]
            if events[i, m, 0] < gone:
                month[0, MOVES] = a.move_usd[i]
            month[0, TOKENS] = tokens * price * exp(apart[0])
            month[4, TOKENS] = tokens * price * exp(lowest)
            month[0, PEOPLE] = a.usd_per_year[i] / 12
            month[4, PEOPLE] = vendors * a.usd_per_year[i] / 12

            load = tokens / (HOURS_PER_MONTH * f.mtok_per_hour[i]) * exp(-gain * t)
            if m % term == 0:
                leased = ranks * max(least, np.ceil(load * reserve - 1e-9)) if reserve > 0 else 0.0
                lease_usd = rent * (1 - r.discount[i])
            working = owned * o.availability[i] if m >= lead else 0.0
            for part in profile:
                needed = ranks * max(least, np.ceil(load * part - 1e-9)) * part_hours
                for way, held in ((1, 0.0), (2, leased), (3, working)):
                    own_hours = held * part_hours
                    beyond = max(needed - own_hours, 0.0)
                    month[way, ON_DEMAND] += beyond * rent
                    hours[i, way, 0] += needed
                    hours[i, way, 1] += own_hours
                    hours[i, way, 2] += beyond
                    hours[i, way, 3] += max(own_hours - needed, 0.0)
            month[2, RESERVED] = leased * HOURS_PER_MONTH * lease_usd
            if m >= lead:
                month[3, SITE] = owned * o.site_usd_per_year[i] / 12
                month[3, ELECTRICITY] = owned * o.electricity_usd_per_year[i] / 12
                month[3, OPERATION] = owned * o.operation_usd_per_year[i] / 12
            month[1:4, PEOPLE] = f.usd_per_year[i] / 12

            lost = HOURS_PER_MONTH * b.outage_usd_per_hour[i] * grown
            month[0, OUTAGES], month[4, OUTAGES] = lost * a.outage[i], lost * a.joint_outage[i]
            month[1:3, OUTAGES] = lost * r.outage[i]
            month[3, OUTAGES] = lost * o.outage[i]

            today = exp(-force * t)
            mtok[i] += tokens * today
            for way in range(month.shape[0]):
                for line in range(month.shape[1]):
                    bill[way, line] += month[way, line] * today
                    if m >= months - 12:
                        last_usd[i, way] += month[way, line]
        unexpected = exp(logs[1] - growths[1] * (months - 0.5) / 12)  # resale follows rents
        sold = owned * o.capital_usd[i] * o.resale[i] * unexpected
        bill[3, CAPITAL] -= sold * exp(-force * months / 12)
        for m in range(months, -(-months // term) * term):  # the last lease is paid to its end
            bill[2, RESERVED] += leased * HOURS_PER_MONTH * lease_usd * exp(-force * (m + 0.5) / 12)
