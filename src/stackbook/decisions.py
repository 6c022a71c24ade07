"""Who decides what on AI compute, and what it is worth to know an item of watch before one does.

Each decision has a few actions, whose worth is computed in every draw of an outlook. Draws are by
name, so that those behind an item can be known together.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from stackbook import facts, inputs, outlook, profiles, series
from stackbook.inputs import spread, uncertain
from stackbook.kernels import (
    capital,
    cloud,
    datacenter,
    fleet,
    market,
    sensitivity,
    sourcing,
    token_prices,
    uncertainty,
)
from stackbook.kernels.datacenter import HOURS_PER_YEAR
from stackbook.outlook import Outlook, h100e
from stackbook.token_cost import growths
from stackbook.watch import AT, CHIP, NOW, Floats, pace, seen_rent, served

REPLICA = 8.0  # accelerators that serve a model together
# As decide/build-rent-api has them: vendors kept ready, the busiest hour of a day over its mean,
# what an hour without tokens costs [USD/h], and the volatility of own demand [1/yr^0.5].
VENDORS, PEAK, OUTAGE, DEMAND_SIGMA = 3, 2.0, 500.0, 0.4
TERM = 3  # years of a contract
KNOWN = outlook.YEARS[-1] - NOW  # years for which a trend is taken to go on
STARTUP_RATE, BUSINESS_RATE = 0.25, 0.1  # what their money costs, as in those chapters [1/yr]
_GROWN = "what the money becomes"
LEAST = 0.05  # of a dollar put in that is left in the worst case


# --- Markets as who decides sees them ---


def picked(name: str, chance: float) -> NDArray[np.int64]:
    """By draw, which scenario comes: that of `name`, or with a chance another, all alike."""
    order = list(outlook.scenarios())
    parts = [1 - chance if each == name else chance / (len(order) - 1) for each in order]
    uniform = uncertainty.normal_cdf(inputs.scores("scenario"))
    picks = np.searchsorted(np.cumsum(parts)[:-1], uniform, side="right")
    picks[0] = order.index(name)
    return np.asarray(picks)


def mixed(name: str, chance: float) -> Outlook:
    """The outlook of a scenario, but in some draws that of another, as `picked` has them."""
    worlds = [outlook.outlook(levers) for levers in outlook.scenarios().values()]
    picks, first_of = picked(name, chance), list(outlook.scenarios()).index(name)

    def rows(fields: list[Any]) -> Any:
        first = fields[first_of]
        if not isinstance(first, np.ndarray) or first.shape[:1] != picks.shape:
            return first
        found = np.empty_like(first)
        for at, field in enumerate(fields):
            found[picks == at] = field[picks == at]
        return found

    def joined(records: list[Any]) -> Any:
        if not hasattr(records[0], "_fields"):
            return rows(records)
        return type(records[0])(*(joined(list(each)) for each in zip(*records, strict=True)))

    return joined(worlds)  # type: ignore[no-any-return]


def offered(model: str, input_tokens: float, output_tokens: float) -> Floats:
    """List prices of a million tokens of this mix: the median of vendors, and how they differ."""
    offers = facts.table("token_offers").filter(transformer=model, variant="standard").collect()
    fresh, out = offers["input_usd_per_mtok"], offers["output_usd_per_mtok"]
    read = offers["cache_read_usd_per_mtok"].fill_null(fresh)
    prices = (each.to_numpy() for each in (fresh, out, read))
    share = output_tokens / (input_tokens + output_tokens)
    hits = facts.central("h_c")
    bills = token_prices.billed_price(*prices, 0.0, share, hits, 0.0, 0.0, 0.0, 0.0)
    bills = bills[bills > 0]
    low, middle, high = np.quantile(bills, [0.1, 0.5, 0.9])
    return spread("list price", float(low), float(middle), float(high))


def rents(world: Outlook) -> Floats:
    """Rents of an H100 on demand, a column for each year from now on, seven beyond the outlook.

    Today's differ from the outlook's. Which share of that is left after a year we do not know, and
    take to be anything between none and all. Beyond the outlook they fall as hardware gets better.
    """
    known = world.run.rent_usd_per_hour[:, AT[NOW] :]
    gap = seen_rent() / known[:, 0]
    kept = uncertainty.normal_cdf(inputs.scores("today's rents last"))
    left = kept[:, None] ** np.arange(known.shape[1])
    known = known * gap[:, None] ** left
    cheaper = 10 ** -uncertain("g_pp")
    return np.concatenate([known, known[:, -1:] * cheaper[:, None] ** np.arange(1, 8)], axis=1)


# --- Decisions ---


class Decision(NamedTuple):
    """What an actor can do, and what that is worth by draw, over the stake [1]."""

    actions: tuple[str, ...]
    worth: Floats
    """A row an action; draws without the central value."""
    stake: str
    items: tuple[str, ...]
    """Of `FACTORS`: what it depends on."""

    @property
    def best(self) -> int:
        """The action of the highest mean."""
        return int(np.argmax(self.worth.mean(axis=1)))


FACTORS = {  # names of the draws behind what is watched
    "which scenario": ("scenario",),
    "demand for compute": ("g_W", "k_slow", "eps"),
    "rents": ("rent seen today", "today's rents last", "w_H100_25"),
    "power": ("K_GW26", "g_GW", "g_watt"),
    "memory": ("K_HBM", "g_HBM", "g_GB"),
    "HBM price": ("HBM price",),
    "price-performance": ("g_pp", "g_eff"),
    "price of systems": ("C_rack_IT", "n_IT"),
    "hours let": ("u_let",),
    "quotes for tokens": ("list price",),
    "fall of token prices": ("fall of token prices",),
    "output of machines": ("rate", "h_c", "a_sd"),
    "own demand": ("own demand",),
    "vendors' terms": ("p_dep", "S_llm", "q_api", "rho_out"),
    "engineers": ("FTE_inf", "w_FTE"),
    "cost of leases": ("lease discount",),
    "HHI, cloud": ("HHI, cloud", "growth of HHI, cloud"),
    "what access changes": ("work eased", "cost of access"),
}


def information(
    decision: Decision,
    together: tuple[str, ...] = (),
    picks: NDArray[np.int64] | None = None,
) -> sensitivity.Information:
    """What it is worth to know each item before one decides, over the stake.

    Items `together` get known at once, and are one group of that name, which is a tuple. `picks`
    are the scenarios of `picked`, of which each has a row: they are in no order.
    """
    named = [
        (item, scores)
        for item in decision.items
        for name in FACTORS[item]
        for scores in _rows(name, picks)
    ]
    labels = [together if item in together else item for item, _ in named]
    z = np.array([scores for _, scores in named])
    return sensitivity.value_of_information(decision.worth, z, labels)


def _rows(name: str, picks: NDArray[np.int64] | None) -> list[Floats]:
    """Scores of a name; of the scenario, whether each comes, with mean 0 and variance 1."""
    if name != "scenario" or picks is None or np.ptp(picks[1:]) == 0:
        return [inputs.scores(name)[1:]]
    comes = [np.asarray(picks[1:] == each, float) for each in np.unique(picks[1:])]
    return [np.asarray((each - each.mean()) / each.std()) for each in comes]


def _bills(
    world: Outlook,
    actions: Mapping[str, str],
    mtok_per_month: float,
    growth: float,
    rate: float,
    years: float,
    term_years: float,
) -> Decision:
    """Ways to come by tokens, those of `kernels.sourcing`, over the bill of the best.

    Who buys or serves tokens follows the cheapest model of one quality, so that software does as
    much for both. A fleet pays rents, which need not fall as hardware gets better.
    """
    model, taken, made = "DeepSeek V3", 8192.0, 1024.0
    hours = served(model, taken, made).hours * made / (taken + made)
    path = np.log(rents(world))
    at = min(int(years), path.shape[1] - 2)
    later = path[:, at] + (years - at) * (path[:, at + 1] - path[:, at])
    falls = inputs.drawn(facts.parameter("g_stay"), "fall of token prices")
    demand = np.exp(DEMAND_SIGMA / np.sqrt(years) * inputs.scores("own demand"))
    upkeep, wages = uncertain("f_vendor"), uncertain("FTE_inf") * uncertain("w_FTE")
    down, common = uncertain("q_api") / HOURS_PER_YEAR, uncertain("rho_out")
    discount = _lease()
    kw, it_usd = uncertain(f"kW_{CHIP}"), uncertain("C_rack_IT") / outlook.RACK
    power = datacenter.energy_cost(kw, uncertain("u_P"), 1.0, uncertain("p_e25"))
    records = (
        sourcing.Business(mtok_per_month, (1 + growth) * demand - 1, 0.0, rate, OUTAGE),
        sourcing.Api(
            usd_per_mtok=offered(model, taken, made),
            growth=1 / falls - 1,
            sigma=0.0,
            own_sigma=0.0,
            setup_usd=upkeep / 2,  # half a year's work
            usd_per_year=upkeep,
            leaving=-np.log1p(-uncertain("p_dep")),
            move_usd=uncertain("S_llm"),
            outage=down,
            joint_outage=cloud.joint_outage(float(VENDORS), down, common),
        ),
        sourcing.Rental(
            seen_rent() * h100e(CHIP),
            np.expm1((later - path[:, 0]) / years),
            0.0,
            discount,
            uncertain("q_cloud") / HOURS_PER_YEAR,
        ),
        sourcing.Fleet(
            REPLICA / hours,
            np.maximum(falls / 10 ** uncertain("g_pp"), 1.0) - 1,
            REPLICA,
            wages / 2,
            wages,
        ),
        sourcing.Owner(
            it_usd,
            uncertain("f_res3"),
            HOURS_PER_YEAR * datacenter.colocation_cost(uncertain("p_colo_25"), kw),
            HOURS_PER_YEAR * power,
            uncertain("om_IT") * it_usd,
            facts.central("A_host"),
            uncertain("tau_own") / 12,
            uncertain("q_cloud") / HOURS_PER_YEAR,
        ),
    )
    plan = sourcing.Plan(years, term_years, VENDORS, sourcing.day(PEAK), least=2.0)
    usd = sourcing.planned(*records, plan)[0].sum(axis=2)[1:].T
    ways = [sourcing.WAYS.index(way) for way in actions.values()]
    bills = usd[ways]
    items = (
        *_MARKET,
        *(
            "rents",
            "quotes for tokens",
            "fall of token prices",
            "output of machines",
            "own demand",
            "vendors' terms",
            "engineers",
            "cost of leases",
        ),
    )
    return Decision(
        tuple(actions), -bills / bills.mean(axis=1).min(), "the bill of the cheapest way", items
    )


def startup(world: Outlook, mtok_per_month: float, growth: float) -> Decision:
    """For three years: an API, machines by the hour, or a lease of three years."""
    actions = {
        "buy from an API": "API",
        "rent by the hour": "rented",
        "lease for 3 years": "reserved",
    }
    return _bills(world, actions, mtok_per_month, growth, STARTUP_RATE, 3.0, 3.0)


def business(world: Outlook, mtok_per_month: float, growth: float, years: float) -> Decision:
    """One API, several, own weights on machines leased by the year, or own machines."""
    actions = {
        "one API": "API",
        "several APIs": "several vendors",
        "lease by the year": "reserved",
        "own machines": "owned",
    }
    return _bills(world, actions, mtok_per_month, growth, BUSINESS_RATE, years, 1.0)


class Asset(NamedTuple):
    """A dollar of new systems, bought at the end of a year and let: present values over it [1]."""

    hourly: Floats
    leased: Floats
    """On contracts of three years, let in all hours, and by the hour thereafter."""


def systems(world: Outlook, year: int) -> Asset:
    """Systems that a neocloud buys in `year`, at that year's price, on a leased site."""
    start, at = world.world, AT[year]
    share = np.reshape(start.chip_share, (-1, 1))
    price = world.parts_price + share * (world.chip_price - world.parts_price)
    it_usd = start.it_usd * price[:, at]
    kw = start.kw[:, -1] * world.power_use[:, at]
    hours = datacenter.available_hours(start.availability)
    site = 12 * uncertain("p_colo_25") * kw
    site = site + start.om_share * it_usd
    burnt = datacenter.energy_cost(kw, start.load, 1.0, start.usd_per_kwh * world.power_price[at])
    path = rents(world)[:, year - NOW :]
    rate = uncertain("r_NC")
    waits = uncertain("tau_own") / 12
    discount = _lease()
    hourly, leased = -it_usd, -it_usd
    for k in range(int(np.ceil(start.years.max()))):
        if k + 1 >= path.shape[1]:
            break
        works = np.clip(start.years - k, 0.0, 1.0) * np.clip(k + 1 - waits, 0.0, 1.0)
        now = np.sqrt(path[:, k] * path[:, k + 1])
        off = works * capital.discount_factor(rate, k + 0.5)
        by_hour = (now - burnt) * hours * start.let - site
        hourly = hourly + off * by_hour
        fixed = (path[:, 0] * (1 - discount) - burnt) * hours - site
        leased = leased + off * (fixed if k < TERM else by_hour)
    return Asset(hourly / it_usd, leased / it_usd)


def vendor(world: Outlook) -> Decision:
    """A neocloud with a dollar: expand and let by the hour, or on contracts, or wait, or never."""
    now, then = systems(world, NOW), systems(world, NOW + 1)
    pays = rents(world)[:, 1] >= world.run.entry_usd_per_hour[:, AT[NOW + 1]]
    later = np.where(pays, _let(then), 0.0) * capital.discount_factor(uncertain("r_NC"), 1.0)
    worth = _grown([now.hourly, now.leased, later, np.zeros_like(later)])
    actions = "expand, let by the hour", "expand, on contracts", "wait a year", "never"
    return Decision(actions, worth, _GROWN, (*_PHYSICAL, "hours let", "cost of leases"))


def investor(world: Outlook, fab_years: float) -> Decision:
    """A dollar of systems, of power for sites, of plant for memory, a third of each, or none."""
    each = [_let(systems(world, NOW)), _sites(world), _memory(world, fab_years)]
    worth = _grown([*each, np.mean(each, axis=0), np.zeros_like(each[0])])
    actions = "systems to let", "powered sites", "plant for memory", "a third of each", "none of it"
    items = (*_PHYSICAL, "hours let", "cost of leases", "HBM price")
    return Decision(actions, worth, _GROWN, items)


def _let(asset: Asset) -> Floats:
    """By the hour or on contracts, as is better unknowing."""
    ways = [asset.hourly, asset.leased]
    return ways[int(np.argmax(_grown(ways).mean(axis=1)))]


def _grown(values: list[Floats]) -> Floats:
    """Logarithms of what a dollar becomes, by which who must not be ruined decides: Kelly 1956."""
    return np.log(np.maximum(1 + np.array(values)[:, 1:], LEAST))


def _sites(world: Outlook) -> Floats:
    """A site with power takes what is left of the rent where power binds, else its normal lease.

    It stands empty, and loses its capital cost, in a year in which nothing is added.
    """
    start, path = world.world, rents(world)
    ready, rate = NOW + uncertain("T_onsite"), uncertain("r_HS")
    cost = start.site_usd * capital.annuity(start.site_rate, start.site_years)
    gain = np.zeros(path.shape[0])
    for year in range(NOW + 1, outlook.YEARS[-1] + 1):
        at = AT[year]
        left = np.maximum(path[:, year - NOW] - world.run.long_run_usd_per_hour[:, at], 0.0)
        kw = start.kw[:, -1] * world.power_use[:, at]
        left = left * datacenter.available_hours(start.availability) * start.let / kw
        scarce = world.run.binding[:, at] == outlook.LIMITS.index("power")
        idle = world.run.additions[:, at] <= 0
        earned = np.where(scarce, left, np.where(idle, -cost, 0.0))
        stands = np.clip(year - ready, 0.0, 1.0)
        gain = gain + stands * earned * capital.discount_factor(rate, float(year - NOW))
    return np.asarray(gain / start.site_usd)


def _memory(world: Outlook, fab_years: float) -> Floats:
    """A plant earns what accounts of memory's makers say, at prices that move with HBM's."""
    told = profiles.accounts("memory")
    cash = 1 - told.operating_income - told.depreciation
    years = told.capital / told.depreciation  # that the capital in the books has left
    grown = inputs.drawn(growths()["memory"].row, "HBM price")
    rate, gain = uncertain("r_chain"), np.zeros(grown.size)
    levers = world.memory_price / world.parts_price
    for k in range(int(np.ceil(years))):
        after = fab_years + k + 0.5
        price = (
            grown ** min(after, KNOWN) * levers[:, min(AT[NOW] + round(after), levers.shape[1] - 1)]
        )
        part = min(years - k, 1.0) * capital.discount_factor(rate, after)
        gain = gain + part * np.maximum(price - cash, 0.0)
    return np.asarray(gain / told.capital - 1)


def regulator(world: Outlook, work_eased: float, cost_share: float) -> Decision:
    """Open access to clouds now, in two years if it then pays, or never; over a year's rents.

    Firms are as many as the HHI says, and sell in quantities. Access takes a share of the markup.
    While power, memory or chips limit what there is, no more is sold, and nobody gains.
    """
    eased = np.minimum(work_eased * spread("work eased", 0.5, 1.0, 2.0), 1.0)
    cost = cost_share * spread("cost of access", 0.5, 1.0, 2.0)
    seen = series.item("HHI, cloud").today
    points = spread("HHI, cloud", seen["low"], seen["value"], seen["high"])
    growth = pace("HHI, cloud")
    elasticity = uncertain("eps")
    years = range(NOW + 1, outlook.YEARS[-1] + 1)
    net = []
    for year in years:
        firms = market.effective_firms(np.minimum(points * growth ** (year - NOW), 1e4))
        markup = market.cournot_markup(np.maximum(elasticity, 1.01 / firms), firms)
        after = 1 - eased * (1 - 1 / markup)
        gain = fleet.surplus_gain(1.0, after, 1.0, elasticity)
        free = world.run.binding[:, AT[year]] == outlook.BINDING.index("demand")
        net.append(np.where(free, gain, 0.0) - cost)
    rows = np.array(net)
    seen_to_pay = rows[1] > 0
    late = np.where(seen_to_pay, rows[2:].sum(axis=0), 0.0) / len(years)
    now = rows.sum(axis=0) / len(years)
    actions = "open access now", "decide in two years", "leave it"
    items = (*_MARKET, "HHI, cloud", "what access changes")
    return Decision(actions, np.array([now, late, 0 * now])[:, 1:], "a year's rents", items)


def _lease() -> Floats:
    """Discount of a neocloud's contract of three years on rents by the hour.

    As one of them is told to give; at most as contracts of early 2026 lie below rents of today.
    """
    rows = facts.table("commitments").filter(provider="CoreWeave", term_months=36)
    row = rows.filter(kind="accelerators").collect().row(0, named=True)
    most = 1 - facts.central("p_r3_H100") / facts.central("p_od_H100")
    ends = row["low"], row["discount"], max(row["high"], most)
    name = "Discount of a contract of three years"
    told = facts.Uncertain(
        "lease discount", name, "1", True, *ends, row["as_of"], row["source"], row["confidence"]
    )
    return inputs.drawn(told, "lease discount")


_MARKET = "which scenario", "demand for compute", "power", "memory", "price-performance"
_PHYSICAL = (*_MARKET, "rents", "price of systems")
