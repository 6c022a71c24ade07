"""Five ways to come by tokens, month by month, while demand, rents and list prices move.

A business buys from one vendor, rents accelerators by the hour, reserves them for terms, owns them,
or keeps several vendors. Each fleet has as many replicas as an hour's tokens need.
"""

from math import inf, sqrt
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from stackbook.kernels.capital import annuity, discount_factor
from stackbook.kernels.cloud import (
    agility,
    commitment,
    expected_lowest,
    present_owned,
    present_rent,
    present_reserved,
)
from stackbook.kernels.datacenter import HOURS_PER_YEAR
from stackbook.kernels.elementary import exp, log1p
from stackbook.kernels.jit import on_threads, search
from stackbook.kernels.token_prices import nodes_for_flow

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
    lead_years: Any  # until it is delivered, paid and works; rented until then [yr]
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

    @property
    def over_budget(self) -> Floats:
        """Bill over what the scenario's tokens cost at the way's mean price [USD].

        Demand that pays for itself is no loss; idle machines and dear tokens are.
        """
        total = self.total
        over: Floats = total - np.outer(self.mtok, total.mean(axis=0) / self.mtok.mean())
        return over

    @property
    def worst(self) -> Floats:
        """Mean of the worst twentieth over budget by way, its expected shortfall [USD]."""
        tail = max(1, self.mtok.size // 20)
        worst: Floats = np.sort(self.over_budget, axis=0)[-tail:].mean(axis=0)
        return worst


class Plan(NamedTuple):
    """How a business decides at the start; the same in all scenarios."""

    years: float  # horizon, up to whole months
    term_years: float  # of a reservation
    vendors: int  # that are kept ready, where there are several
    profile: tuple[float, ...]  # demand in equal parts of the day over its mean
    least: float = 1.0  # replicas, whatever the demand

    @property
    def months(self) -> int:
        """Horizon in whole months, one or more."""
        return max(1, round(12 * self.years))

    @property
    def term_months(self) -> int:
        """Term of a reservation in whole months, one or more."""
        return max(1, round(12 * self.term_years))


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
    months, term = plan.months, plan.term_months
    steps = _steps(correlation)
    profile = np.asarray(plan.profile, float)
    reserve, own = _planned(records, plan)

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


def planned(
    business: Business, api: Api, rental: Rental, fleet: Fleet, owner: Owner, plan: Plan
) -> tuple[Floats, Floats]:
    """What each way costs without surprises: nothing moves but as expected.

    business, api, rental, fleet, owner: as in `sourced`, sigmas but for own_sigma unused [1]
    plan: horizon, terms and shape of the day [1]
    returns: bills as `Sourced.usd` and million tokens as `Sourced.mtok` [1]
    source: `sourced` without sigmas; moves and the lowest of several prices as expected
    """
    calm = business._replace(sigma=0.0), api._replace(sigma=0.0, own_sigma=0.0, leaving=0.0)
    found = sourced(*calm, rental._replace(sigma=0.0), fleet, owner, plan, np.eye(3), 0)
    count, vendors = found.mtok.size, float(plan.vendors)
    a, rate = _columns(api, count), np.broadcast_to(np.asarray(business.rate, float), (count,))
    times = (np.arange(plan.months) + 0.5) / 12
    moves = -np.expm1(-a.leaving / 12) * np.exp(np.outer(-np.log1p(rate), times)).sum(axis=1)
    found.usd[:, 4, TOKENS] *= expected_lowest(vendors, a.own_sigma, 0.0)
    found.usd[:, 0, MOVES] = moves * a.move_usd
    found.usd[:, 4, MOVES] = moves * vendors * a.setup_usd
    return found.usd, found.mtok


def by_flows(
    business: Business, api: Api, rental: Rental, fleet: Fleet, owner: Owner, plan: Plan
) -> Floats:
    """What `planned` finds, from the layers' kernels of flows, leases and purchases.

    business, api, rental, fleet, owner: as in `planned`, numbers only [1]
    plan: horizon, terms and shape of the day [1]
    returns: [USD] by way and line
    source: present values of `cloud`, replicas of `token_prices`; no simulation
    """
    b, a, r, f, o = business, api, rental, fleet, owner
    months, term = plan.months, plan.term_months
    horizon, lead = months / 12, round(12 * o.lead_years)
    reserve, own = _planned((b, a, r, f, o), plan)

    def flow(usd_per_year: Any, growth: float, first: Any, last: Any) -> Any:
        each = usd_per_year / HOURS_PER_YEAR, growth, 1.0, b.rate
        return present_rent(*each, last) - present_rent(*each, first)

    def fleet_of(load: Any) -> Any:
        return f.accelerators * np.maximum(plan.least, np.ceil(load - 1e-9))

    month = np.arange(months)
    middle = (month + 0.5) / 12
    mtok_per_hour = b.mtok_per_month * (1 + b.growth) ** middle / HOURS_PER_MONTH
    loads = nodes_for_flow(mtok_per_hour, f.mtok_per_hour, 1.0) / (1 + f.gain) ** middle
    needed = fleet_of(np.outer(loads, plan.profile))
    rents = flow(HOURS_PER_YEAR * r.usd_per_hour, r.growth, month / 12, (month + 1) / 12)

    def on_demand(held: Any) -> float:
        return float((np.maximum(needed - held, 0).mean(axis=1) * rents).sum())

    signed = month[::term]
    leased = fleet_of(loads[signed] * reserve) if reserve > 0 else 0.0 * signed
    lease = present_reserved(r.usd_per_hour, r.discount, 0.0, term / 12, b.rate, term / 12)
    leases = lease * (1 + r.growth) ** middle[signed] * discount_factor(b.rate, signed / 12)
    held = np.repeat(leased, term)[:months, None]

    first_load = nodes_for_flow(b.mtok_per_month / HOURS_PER_MONTH, f.mtok_per_hour, 1.0)
    owned = float(fleet_of(first_load * own)) if lead < months else 0.0
    working = (owned * o.availability * (month >= lead))[:, None]
    bought = owned * discount_factor(b.rate, lead / 12)
    used = max(horizon - lead / 12, 0.0)
    capital = bought * present_owned(o.capital_usd, o.resale, 0.0, b.rate, used)
    yearly = o.site_usd_per_year, o.electricity_usd_per_year, o.operation_usd_per_year
    since = min(lead / 12, horizon)
    site, electricity, operation = (flow(owned * each, 0.0, since, horizon) for each in yearly)

    vendors, price = float(plan.vendors), 12 * b.mtok_per_month * a.usd_per_mtok
    tokens = flow(price, (1 + b.growth) * (1 + a.growth) - 1, 0.0, horizon)
    lowest = expected_lowest(vendors, a.own_sigma, 0.0)
    staff = f.setup_usd + flow(f.usd_per_year, 0.0, 0.0, horizon)
    kept = a.setup_usd + flow(a.usd_per_year, 0.0, 0.0, horizon)
    moves = flow(-12 * np.expm1(-a.leaving / 12), 0.0, 0.0, horizon)
    hours = flow(HOURS_PER_YEAR * b.outage_usd_per_hour, b.growth, 0.0, horizon)
    none = Lines(*(0.0,) * len(Lines._fields))
    run = none._replace(people=staff, outages=hours * r.outage)
    bills = (
        none._replace(
            tokens=tokens, people=kept, moves=moves * a.move_usd, outages=hours * a.outage
        ),
        run._replace(on_demand=on_demand(0.0)),
        run._replace(on_demand=on_demand(held), reserved=float(np.dot(leased, leases))),
        none._replace(
            on_demand=on_demand(working),
            capital=capital,
            site=site,
            electricity=electricity,
            operation=operation,
            people=staff,
            outages=hours * o.outage,
        ),
        none._replace(
            tokens=tokens * lowest,
            people=vendors * kept,
            moves=moves * vendors * a.setup_usd,
            outages=hours * a.joint_outage,
        ),
    )
    return np.array(bills, float)


def leaving_value(
    found: Sourced, bills_usd: ArrayLike, plan: Plan, rate: float, move_usd: float
) -> Floats:
    """What the freedom to leave each way is worth, over what is cheaper today already.

    found: scenarios in which only markets move, as doubt about inputs is no option [1]
    bills_usd: of each way over the horizon [USD]
    plan: whose term locks a reservation, and whose horizon an owner [1]
    rate: cost of capital [1/yr]
    move_usd: to move to another way, once [USD]
    returns: [USD] by way, an upper bound, as one may move back and forth at each moment
    source: `cloud.agility` (Margrabe 1978), to the way for which it is worth most
    """
    years = plan.months / 12
    yearly = float(annuity(rate, years))
    bills = np.asarray(bills_usd, float)
    last = found.last_usd.copy()  # without capital, of which a level part is added
    last[:, 3] += found.usd[:, 3, CAPITAL] * yearly
    logs = np.log(np.maximum(last, 1.0))
    value = np.zeros(len(WAYS))
    for way, locked in enumerate((0.0, 0.0, min(plan.term_years, years), years, 0.0)):
        others = [each for each in range(len(WAYS)) if each != way]
        sigmas = (logs[:, [way]] - logs[:, others]).std(axis=0) / sqrt(years)
        both = bills[way] * yearly, (bills[others] + move_usd) * yearly
        now = agility(*both, 0.0, rate, locked, years).max()
        value[way] = max(float(agility(*both, sigmas, rate, locked, years).max() - now), 0.0)
    return value


def day(peak_to_mean: float) -> tuple[float, ...]:
    """Demand in the 24 hours of a day over its mean, as a `Plan` takes it.

    peak_to_mean: busiest hour over the mean [1], 1 to 23
    returns: [1], from the busiest hour on
    source: von Mises density, as sharp as the peak asks for
    """
    if not 1 <= peak_to_mean <= 23:
        raise ValueError(f"peak_to_mean = {peak_to_mean:g}: give 1 to 23")
    hours = np.cos(2 * np.pi * np.arange(24) / 24) - 1
    low, high = 0.0, 200.0
    for _ in range(60):
        sharp = (low + high) / 2
        if 1 / np.exp(sharp * hours).mean() < peak_to_mean:
            low = sharp
        else:
            high = sharp
    shape = np.exp(low * hours)
    return tuple(map(float, shape / shape.mean()))


def crossing(volumes: Floats, cheaper: Floats, dearer: Floats) -> float:
    """Volume from which one way costs less than another, for good.

    volumes: tried, in order, above 0 [1]
    cheaper, dearer: what both cost at each [USD], above 0
    returns: [1], of the volumes; 0 where it always does, infinite where it does not at the last
    source: straight lines between logarithms
    """
    ahead = np.log(dearer / cheaper)
    if not ahead[-1] > 0:
        return inf
    if (ahead > 0).all():
        return 0.0
    at = int(np.flatnonzero(ahead <= 0)[-1])
    part = -ahead[at] / (ahead[at + 1] - ahead[at])
    return float(volumes[at] * (volumes[at + 1] / volumes[at]) ** part)


def _columns(record: Any, count: int) -> Any:
    """The record with one number a scenario in each field."""
    fields = (np.broadcast_to(np.asarray(field, float), (count,)) for field in record)
    return type(record)(*map(np.ascontiguousarray, fields))


def _steps(correlation: ArrayLike) -> Floats:
    """What makes correlated draws of independent ones."""
    matrix = np.asarray(correlation, float)
    if matrix.shape == (3, 3) and (matrix == matrix.T).all() and (np.diag(matrix) == 1).all():
        try:
            return np.linalg.cholesky(matrix)
        except np.linalg.LinAlgError:
            pass
    raise ValueError(
        f"correlation = {matrix.tolist()}: give a symmetric, positive definite matrix, 3 by 3, "
        "with ones on its diagonal"
    )


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


def _planned(records: tuple[Any, ...], plan: Plan) -> tuple[float, float]:
    """Load to reserve, and to own, over that of the mean hour when it is decided.

    Each is the quantile of the hours to come that its saving over a rent on demand asks for; who
    owns does so for half of these hours at least. Planned on the medians, without foresight.
    """
    b, _, r, f, o = (type(each)(*map(np.median, each)) for each in records)
    growth = log1p(b.growth) - log1p(f.gain)

    def levels(first: int, last: int) -> Floats:
        grown: Floats = np.exp(growth * np.arange(first, last) / 12)
        return np.outer(grown, plan.profile)

    lead = min(round(12 * o.lead_years), plan.months - 1)
    wait, years = lead / 12, (plan.months - lead) / 12  # of use, after delivery
    rents = present_rent(r.usd_per_hour * (1 + r.growth) ** wait, r.growth, 1.0, b.rate, years)
    yearly = o.site_usd_per_year + o.electricity_usd_per_year + o.operation_usd_per_year
    owned = present_owned(o.capital_usd, o.resale, yearly, b.rate, years)
    saving = 1 - owned / (rents * o.availability)
    reserve = commitment(levels(0, plan.term_months), float(r.discount))
    return reserve, commitment(levels(lead, plan.months), max(saving, 0.5))


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
        owned = ranks * max(least, np.ceil(first_load * own - 1e-9)) if lead < months else 0.0
        leased = lease_usd = 0.0
        logs[:] = 0.0
        bill = usd[i]
        bill[0, PEOPLE], bill[4, PEOPLE] = a.setup_usd[i], vendors * a.setup_usd[i]
        bill[1:4, PEOPLE] = f.setup_usd[i]
        bill[3, CAPITAL] = owned * o.capital_usd[i] * exp(-force * lead / 12)
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
