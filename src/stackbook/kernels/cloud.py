"""Renting, reserving, owning and switching: margins, commitments, lock-in and options."""

from math import inf, nan, sqrt
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from stackbook.kernels.capital import annuity, discount_factor
from stackbook.kernels.datacenter import HOURS_PER_YEAR, owner_cost
from stackbook.kernels.elementary import exp, expm1, log, log1p
from stackbook.kernels.jit import formula
from stackbook.kernels.shapley import shapley
from stackbook.kernels.uncertainty import normal_cdf

# --- The margin of a rental ---


@formula
def rental_margin(rent_usd_per_hour: float, cost_usd_per_hour: float, utilization: float) -> float:
    """Margin over the rents that come in, where idle hours cost as much as rented ones.

    rent_usd_per_hour: rent of an accelerator [USD/h], above 0
    cost_usd_per_hour: what an available hour costs its owner [USD/h], 0 or more
    utilization: rented over available hours [1], above 0 up to 1
    returns: [1]; below 0 where the owner loses
    source: identity, 1 - cost / (rent x utilization)
    """
    if not (rent_usd_per_hour > 0 and cost_usd_per_hour >= 0 and 0 < utilization <= 1):
        return nan
    return 1 - cost_usd_per_hour / (rent_usd_per_hour * utilization)


@formula
def breakeven_utilization(rent_usd_per_hour: float, cost_usd_per_hour: float) -> float:
    """Share of hours that must be rented for the owner to lose nothing.

    rent_usd_per_hour: rent of an accelerator [USD/h], above 0
    cost_usd_per_hour: what an available hour costs its owner [USD/h], 0 or more
    returns: [1]; above 1 where no utilization is enough
    source: identity, a rental_margin of 0
    """
    if not (rent_usd_per_hour > 0 and cost_usd_per_hour >= 0):
        return nan
    return cost_usd_per_hour / rent_usd_per_hour


# --- How much to commit ---


def commitment(demand: ArrayLike, discount: float) -> float:
    """How much to reserve: as much as demand stays below with the probability of the discount.

    demand: equally likely levels of demand, as hours of a day or draws [1], at least one
    discount: of a reserved unit over one on demand [1], 0 to 1
    returns: [1], the least demand that costs least; 0 where the discount is 0
    source: newsvendor (Arrow, Harris and Marschak 1951), F(q) = (p - c) / p
    """
    if not 0 <= discount <= 1:
        raise ValueError(f"discount = {discount:g}: give 0 to 1")
    levels = np.sort(_levels(demand))
    # The product, rounded up, would count one level too many for a quantile that it meets.
    at = int(np.ceil(discount * levels.size * (1 - 1e-12)))
    return float(levels[at - 1]) if at else 0.0


def commitment_cost(demand: ArrayLike, reserved: ArrayLike, discount: float) -> NDArray[np.float64]:
    """Expected cost of demand where some units are reserved and the rest is bought on demand.

    demand: equally likely levels of demand [1], at least one
    reserved: units that are paid used or not [1], 0 or more, a number or an array
    discount: of a reserved unit over one on demand [1], 0 to 1
    returns: [1], over the price of one unit on demand, of the shape of `reserved`
    source: newsvendor (Arrow, Harris and Marschak 1951): (1 - d) q + E[max(D - q, 0)]
    """
    if not 0 <= discount <= 1:
        raise ValueError(f"discount = {discount:g}: give 0 to 1")
    levels, units = np.sort(_levels(demand)), np.asarray(reserved, float)
    if not (np.isfinite(units) & (units >= 0)).all():
        raise ValueError("reserved: give numbers, each finite and 0 or more")
    above = np.append(np.cumsum(levels[::-1])[::-1], 0.0)  # sum of the levels from each on
    first = np.searchsorted(levels, units, side="right")
    beyond = (above[first] - (levels.size - first) * units) / levels.size
    cost: NDArray[np.float64] = (1 - discount) * units + beyond
    return cost


def _levels(demand: ArrayLike) -> NDArray[np.float64]:
    levels = np.asarray(demand, float).ravel()
    if not (levels.size and np.isfinite(levels).all() and levels.min() >= 0):
        raise ValueError("demand: give one or more levels, each finite and 0 or more")
    return levels


@formula
def spot_cost(
    spot_usd_per_hour: float, interruptions_per_hour: float, interval: float, restart: float
) -> float:
    """Cost of an hour of work that counts on machines which can be taken away.

    spot_usd_per_hour: price of an hour [USD/h], 0 or more
    interruptions_per_hour: how often the machine is taken [1/h], 0 or more
    interval: work between checkpoints [h], 0 or more
    restart: time from an interruption until work goes on [h], 0 or more
    returns: [USD/h]
    source: Young 1974, half an interval and a restart are lost each time
    """
    if not (spot_usd_per_hour >= 0 and interruptions_per_hour >= 0):
        return nan
    if not (interval >= 0 and restart >= 0):
        return nan
    return spot_usd_per_hour * (1 + interruptions_per_hour * (interval / 2 + restart))


# --- Rent, reserve or own ---


@formula
def _flow(growth: float, years: float) -> float:
    """Integral of exp(growth t) from 0 to years."""
    # The least numbers have too few digits to divide by.
    return expm1(growth * years) / growth if abs(growth) > 1e-300 else years


@formula
def present_rent(
    usd_per_hour: float, price_growth: float, utilization: float, rate: float, years: float
) -> float:
    """Value today of renting an accelerator in the hours of use, while rents move.

    usd_per_hour: rent today [USD/h], 0 or more
    price_growth: change of the rent [1/yr], above -1
    utilization: hours rented over all hours [1], 0 to 1
    rate: cost of capital [1/yr], above -1
    years: horizon [yr], 0 or more
    returns: [USD]
    source: identity, integral of p exp((g - r) t), rates compounded continuously
    """
    if not (usd_per_hour >= 0 and price_growth > -1 and 0 <= utilization <= 1):
        return nan
    if not (rate > -1 and years >= 0):
        return nan
    growth = log1p(price_growth) - log1p(rate)
    return usd_per_hour * utilization * HOURS_PER_YEAR * _flow(growth, years)


@formula
def present_reserved(
    usd_per_hour: float,
    discount: float,
    price_growth: float,
    term_years: float,
    rate: float,
    years: float,
) -> float:
    """Value today of leases that follow each other, at a discount on the rent of their first day.

    usd_per_hour: rent on demand today [USD/h], 0 or more
    discount: of the lease over the rent on demand [1], 0 to 1
    price_growth: change of the rent [1/yr], above -1
    term_years: of a lease [yr], above 0; the last is paid to its end
    rate: cost of capital [1/yr], above -1
    years: horizon [yr], 0 or more, up to 10,000 terms
    returns: [USD]
    source: identity, an annuity for each term
    """
    if not (usd_per_hour >= 0 and 0 <= discount <= 1 and price_growth > -1):
        return nan
    if not (term_years > 0 and rate > -1 and 0 <= years <= 1e4 * term_years):
        return nan
    terms: float = np.ceil(years / term_years * (1 - 1e-12))
    growth = (log1p(price_growth) - log1p(rate)) * term_years
    starts = expm1(growth * terms) / expm1(growth) if growth != 0 else terms
    paid = (1 - discount) * usd_per_hour * HOURS_PER_YEAR
    return paid * _flow(-log1p(rate), term_years) * starts


@formula
def present_owned(
    capital_usd: float, resale: float, usd_per_year: float, rate: float, years: float
) -> float:
    """Value today of owning an accelerator: its price, less what it is sold for, and operation.

    capital_usd: paid today [USD], 0 or more
    resale: price at the end of the horizon over capital_usd [1], 0 or more
    usd_per_year: operation, site and electricity [USD/yr]
    rate: cost of capital [1/yr], above -1
    years: horizon [yr], 0 or more
    returns: [USD]
    source: identity, K (1 - f exp(-r H)) plus the integral of operation
    """
    if not (capital_usd >= 0 and resale >= 0 and rate > -1 and years >= 0):
        return nan
    kept = 1 - resale * discount_factor(rate, years)
    return capital_usd * kept + usd_per_year * _flow(-log1p(rate), years)


@formula
def used_value(
    usd_per_hour: float,
    price_growth: float,
    utilization: float,
    usd_per_year: float,
    rate: float,
    years: float,
) -> float:
    """What a used accelerator is worth: rents to come, less operation, as long as these cover it.

    usd_per_hour: rent today [USD/h], 0 or more
    price_growth: change of the rent [1/yr], above -1
    utilization: hours rented over all hours [1], 0 to 1
    usd_per_year: operation, site and electricity [USD/yr], 0 or more
    rate: cost of capital [1/yr], above -1
    years: life that is left [yr], 0 or more
    returns: [USD], 0 where rents never cover operation
    source: Jorgenson 1963, price of an asset as the value of its services
    """
    if not (usd_per_hour >= 0 and price_growth > -1 and 0 <= utilization <= 1):
        return nan
    if not (usd_per_year >= 0 and rate > -1 and years >= 0):
        return nan
    income = usd_per_hour * utilization * HOURS_PER_YEAR
    growth, r = log1p(price_growth), log1p(rate)
    start, end = 0.0, years
    if growth < 0:  # switched off when the rent no longer covers operation
        if usd_per_year > 0:
            end = min(years, max(0.0, log(income / usd_per_year) / -growth)) if income > 0 else 0.0
    elif income < usd_per_year:  # kept off until it does
        paying = log(usd_per_year / income) / growth if growth > 0 and income > 0 else inf
        start = min(years, paying)
    if not start < end:
        return 0.0
    earned = income * (_flow(growth - r, end) - _flow(growth - r, start))
    spent = usd_per_year * (_flow(-r, end) - _flow(-r, start))
    return 0.0 if earned < spent else earned - spent  # below it by rounding only


# --- Switching and lock-in ---


class Switching(NamedTuple):
    """What it takes a customer to leave [USD]: numbers, or arrays of one shape."""

    engineering: Any  # to move code, data and operation
    requalification: Any  # to test models, security and compliance anew
    egress: Any  # for the data that leave
    commitment: Any  # paid, and no longer used
    performance: Any  # of what works less well after the move

    @property
    def total(self) -> Any:
        """All five [USD]."""
        return sum(self)


@formula
def egress_cost(gb: float, free_gb: float, usd_per_gb: float) -> float:
    """What it costs to take data out of a cloud.

    gb: data that leave [GB], 0 or more
    free_gb: of which nothing is charged [GB], 0 or more
    usd_per_gb: price of the others [USD/GB], 0 or more
    returns: [USD]
    source: accounting identity
    """
    if not (gb >= 0 and free_gb >= 0 and usd_per_gb >= 0):
        return nan
    return max(gb - free_gb, 0.0) * usd_per_gb


@formula
def lock_in_premium(
    switching_usd: float, rate: float, years: float, units_per_year: float
) -> float:
    """The most that a vendor can add to a unit before its customer leaves.

    switching_usd: what leaving costs the customer [USD], 0 or more
    rate: cost of capital of the customer [1/yr], above -1
    years: horizon of the customer [yr], above 0
    units_per_year: what it buys, as million tokens or accelerator-hours [1/yr], above 0
    returns: [USD] a unit, over the price of a rival that does as much
    source: Klemperer 1995; Farrell and Klemperer 2007, switching cost as an annuity
    """
    if not (switching_usd >= 0 and units_per_year > 0):
        return nan
    return switching_usd * annuity(rate, years) / units_per_year


@formula
def lock_in_index(switching_usd: float, rate: float, years: float, usd_per_year: float) -> float:
    """Lock-in premium over price: the part of a bill that only the cost of leaving holds up.

    switching_usd: what leaving costs the customer [USD], 0 or more
    rate: cost of capital of the customer [1/yr], above -1
    years: horizon of the customer [yr], above 0
    usd_per_year: what it pays the vendor [USD/yr], above 0
    returns: [1]
    source: lock_in_premium over price, both of a year's use
    """
    if not (switching_usd >= 0 and usd_per_year > 0):
        return nan
    return switching_usd * annuity(rate, years) / usd_per_year


@formula
def highest_price(rival_usd: float, eta: float, premium_usd: float) -> float:
    """The most that a vendor can ask of a customer who would have to switch.

    rival_usd: price of a unit at the rival [USD], 0 or more
    eta: useful output of the rival's unit over the vendor's [1], above 0
    premium_usd: the lock_in_premium of the unit [USD]
    returns: [USD] a unit
    source: Farrell and Klemperer 2007, indifference of the customer
    """
    return rival_usd / eta + premium_usd if rival_usd >= 0 and eta > 0 else nan


@formula
def entry_price(cost_usd: float, premium_usd: float, locked_share: float, discount: float) -> float:
    """First price of vendors that compete for customers whom they can charge more later.

    cost_usd: cost of a unit [USD]
    premium_usd: what is added to it in the second period [USD]
    locked_share: customers who stay then over those won [1], 0 to 1
    discount: value of a dollar of the second period in the first [1], 0 to 1
    returns: [USD] a unit; below cost, or below 0 as credits are
    source: Klemperer 1995, two periods: the rents of the second are competed away in the first
    """
    if not (0 <= locked_share <= 1 and 0 <= discount <= 1):
        return nan
    return cost_usd - discount * locked_share * premium_usd


@formula
def customer_value(
    usd_per_year: float, growth: float, leaving: float, rate: float, years: float
) -> float:
    """What a customer is worth to a vendor, who can pay as much for it in credits.

    usd_per_year: margin on the customer's bill at the start [USD/yr]
    growth: of the bill [1/yr], above -1
    leaving: share of customers who leave [1/yr], 0 up to below 1
    rate: cost of capital of the vendor [1/yr], above -1
    years: horizon [yr], 0 or more
    returns: [USD]
    source: Gupta, Lehmann and Stuart 2004, value of a customer at a constant retention
    """
    if not (growth > -1 and 0 <= leaving < 1 and rate > -1 and years >= 0):
        return nan
    return usd_per_year * _flow(log1p(growth) + log1p(-leaving) - log1p(rate), years)


# --- Several vendors ---


@formula
def expected_lowest(vendors: float, sigma: float, correlation: float) -> float:
    """Expected lowest of several prices over the mean of one: what it is worth to have a choice.

    vendors: prices to choose from [1], 1 or more
    sigma: standard deviation of the logarithm of a price [1], 0 or more
    correlation: of the logarithms of two prices [1], 0 to 1
    returns: [1]
    source: order statistics (David and Nagaraja 2003) of lognormal prices with one common factor
    """
    if not (vendors >= 1 and sigma >= 0 and 0 <= correlation <= 1):
        return nan
    # The common factor moves all prices alike and leaves the ratio as it is.
    own = sigma * sqrt(1 - correlation)
    total = weights = 0.0
    for i in range(-100, 101):  # smooth and gone at both ends: exact to 11 digits for sigma to 3
        z = i / 10
        density = exp(-z * z / 2) * exp((vendors - 1) * log(normal_cdf(-z)))
        total += density * exp(own * z - own * own / 2)
        weights += density
    return total / weights


@formula
def joint_outage(vendors: float, outage: float, common: float) -> float:
    """Share of time in which all of several vendors are down at once.

    vendors: of which one is enough [1], 1 or more
    outage: share of time in which one is down [1], 0 up to below 1
    common: share of a vendor's outage that all have at the same time [1], 0 to 1
    returns: [1]; outage^vendors without a common cause
    source: beta-factor model of common-cause failures (Fleming 1975)
    """
    if not (vendors >= 1 and 0 <= outage < 1 and 0 <= common <= 1):
        return nan
    shared = common * outage
    apart = (outage - shared) / (1 - shared)  # while there is no common outage
    if apart == 0:
        return shared
    return shared + (1 - shared) * exp(vendors * log(apart))


@formula
def multihoming_cost(
    vendors: float,
    usd_per_year: float,
    sigma: float,
    correlation: float,
    vendor_usd_per_year: float,
    outage: float,
    common: float,
    outage_usd_per_hour: float,
) -> float:
    """Expected yearly cost of buying at the lowest of several prices, with what outages lose.

    vendors: that are kept ready [1], 1 or more
    usd_per_year: the bill at the mean price of one [USD/yr], 0 or more
    sigma, correlation: of the logarithms of prices, as in expected_lowest [1]
    vendor_usd_per_year: to keep one ready [USD/yr]
    outage, common: share of time down, and what of it all have at once, as in joint_outage [1]
    outage_usd_per_hour: lost while all are down [USD/h]
    returns: [USD/yr]
    source: identity of the three terms
    """
    if not usd_per_year >= 0:
        return nan
    bill = usd_per_year * expected_lowest(vendors, sigma, correlation)
    lost = HOURS_PER_YEAR * outage_usd_per_hour * joint_outage(vendors, outage, common)
    return bill + vendors * vendor_usd_per_year + lost


# --- Options: to exchange, to wait ---


@formula
def exchange_sigma(sigma_a: float, sigma_b: float, correlation: float) -> float:
    """Volatility of the ratio of two prices.

    sigma_a, sigma_b: volatility of each [1/yr^0.5], 0 or more
    correlation: of their changes [1], -1 to 1
    returns: [1/yr^0.5]
    source: Margrabe 1978, equation 5
    """
    if not (sigma_a >= 0 and sigma_b >= 0 and -1 <= correlation <= 1):
        return nan
    # The square of the difference apart, as it would be lost between two near squares.
    apart = sigma_a - sigma_b
    return sqrt(apart * apart + 2 * (1 - correlation) * sigma_a * sigma_b)


@formula
def exchange_option(
    received_usd: float, given_usd: float, volatility: float, years: float
) -> float:
    """Value today of the right to give one thing and receive another at a later date.

    received_usd, given_usd: what each is worth today [USD], 0 or more
    volatility: of the ratio of the two, their exchange_sigma [1/yr^0.5], 0 or more
    years: until the exchange [yr], 0 or more
    returns: [USD], 0 or more
    source: Margrabe 1978, equation 7, neither pays anything before the date
    """
    if not (received_usd >= 0 and given_usd >= 0 and volatility >= 0 and years >= 0):
        return nan
    spread = volatility * sqrt(years)
    if spread == 0 or received_usd == 0 or given_usd == 0:
        return max(received_usd - given_usd, 0.0)
    d1 = log(received_usd / given_usd) / spread + spread / 2
    value = received_usd * normal_cdf(d1) - given_usd * normal_cdf(d1 - spread)
    return max(value, received_usd - given_usd, 0.0)


@formula
def agility(
    stay_usd_per_year: float,
    move_usd_per_year: float,
    volatility: float,
    rate: float,
    locked_years: float,
    years: float,
) -> float:
    """Value of the right to pay, at each moment, the lesser of two costs, from the end of a lock.

    stay_usd_per_year, move_usd_per_year: the two costs at the prices of today [USD/yr], 0 or more
    volatility: of the ratio of the two [1/yr^0.5], 0 or more
    rate: cost of capital [1/yr], above -1
    locked_years: in which nothing can be changed [yr], 0 or more
    years: horizon [yr], 0 or more
    returns: [USD], what is saved over staying
    source: Margrabe 1978, an exchange_option at each moment
    """
    if not (locked_years >= 0 and years >= 0 and rate > -1):
        return nan
    # In u = sqrt(t), as the value of an option starts with the root of time.
    first, last = sqrt(min(locked_years, years)), sqrt(years)
    half, total = (last - first) / 2, 0.0
    for i in range(len(NODES)):
        u = first + half * (1 + NODES[i])
        value = exchange_option(stay_usd_per_year, move_usd_per_year, volatility, u * u)
        total += WEIGHTS[i] * 2 * u * discount_factor(rate, u * u) * value
    return half * total


_GAUSS = np.polynomial.legendre.leggauss(16)
NODES, WEIGHTS = (tuple(map(float, each)) for each in _GAUSS)


@formula
def option_exponent(rate: float, payout: float, volatility: float) -> float:
    """How the option to invest grows with the value of the project: as this power of it.

    rate: riskless rate [1/yr], 0 or more
    payout: what the project would bring while one waits, over its value [1/yr], above 0
    volatility: of the value of the project [1/yr^0.5], 0 or more
    returns: [1], above 1
    source: Dixit and Pindyck 1994, equation 5.15 of chapter 5
    """
    if not (rate >= 0 and payout > 0 and volatility >= 0):
        return nan
    variance = volatility * volatility
    drift = rate - payout - variance / 2
    root = sqrt(drift * drift + 2 * rate * variance)
    # Of two forms of the root that without a difference of near numbers.
    if drift > 0:
        return 2 * rate / (drift + root)
    return (root - drift) / variance if variance > 0 else inf


@formula
def waiting_multiple(rate: float, payout: float, volatility: float) -> float:
    """Value over cost from which it is better to invest than to wait.

    rate: riskless rate [1/yr], 0 or more
    payout: what the project would bring while one waits, over its value [1/yr], above 0
    volatility: of the value of the project [1/yr^0.5], 0 or more
    returns: [1], 1 or more
    source: Dixit and Pindyck 1994, equation 5.14 of chapter 5, beta / (beta - 1)
    """
    return 1 / (1 - 1 / option_exponent(rate, payout, volatility))


@formula
def waiting_value(
    project_usd: float, capital_usd: float, rate: float, payout: float, volatility: float
) -> float:
    """Value of the right to invest at any time, whether it is used now or later.

    project_usd: what the project is worth today [USD], 0 or more
    capital_usd: what it takes, at any time [USD], above 0
    rate: riskless rate [1/yr], 0 or more
    payout: what the project would bring while one waits, over its value [1/yr], above 0
    volatility: of the value of the project [1/yr^0.5], 0 or more
    returns: [USD]
    source: Dixit and Pindyck 1994, equations 5.11 to 5.16 of chapter 5
    """
    if not (project_usd >= 0 and capital_usd > 0):
        return nan
    beta = option_exponent(rate, payout, volatility)
    threshold = capital_usd * waiting_multiple(rate, payout, volatility)
    if not project_usd < threshold:
        return project_usd - capital_usd if project_usd >= threshold else nan
    if project_usd == 0:
        return 0.0
    return (threshold - capital_usd) * exp(beta * log(project_usd / threshold))


# --- The gap of a startup ---


class Footing(NamedTuple):
    """On what terms a firm makes tokens: numbers, or arrays of one shape."""

    it_usd: Any  # list price of servers and network for each accelerator [USD]
    site_usd: Any  # building and power plant for each accelerator [USD]
    kw: Any  # rated power for each accelerator [kW]
    eta: Any  # useful output of an accelerator over that of a common one [1]
    discount: Any  # on it_usd [1]
    rate: Any  # cost of capital [1/yr]
    margin: Any  # of a cloud between the owner and the firm, over the rent [1]
    utilization: Any  # hours in use over hours paid [1]
    machine_time: Any  # for the same tokens, over that without a cache [1]


class Common(NamedTuple):
    """What owners of accelerators have in common."""

    it_years: Any  # life of servers and network [yr]
    site_years: Any  # life of the site [yr]
    om_share: Any  # yearly operation over the price of servers and network [1/yr]
    availability: Any  # share of time in working order [1]
    load: Any  # mean draw over rated power [1]
    pue: Any  # facility over IT energy [1]
    usd_per_kwh: Any  # price of electricity [USD/kWh]


class Gap(NamedTuple):
    """Logarithms of the factors between the costs of two firms; their sum is that of the ratio."""

    utilization: Any
    capital: Any
    discount: Any
    margin: Any
    cache: Any
    silicon: Any

    @property
    def total(self) -> Any:
        """Logarithm of one cost over the other [1]."""
        return sum(self)


_STEPS = Gap(  # what changes together
    utilization=("utilization",),
    capital=("rate",),
    discount=("discount",),
    margin=("margin",),
    cache=("machine_time",),
    silicon=("it_usd", "site_usd", "kw", "eta"),
)


def token_cost(footing: Footing, common: Common) -> Any:
    """Cost of the tokens that one accelerator of common make gives in an hour, without a cache.

    footing: terms of the firm [1]
    common: what all owners share [1]
    returns: [USD/h]
    source: identity, owner_cost / (1 - margin) x machine time / (utilization x eta)
    """
    f, c = footing, common
    it_usd = f.it_usd * (1 - f.discount)
    hour = owner_cost(
        *(it_usd, f.rate, c.it_years, f.site_usd, f.rate, c.site_years, c.om_share),
        *(c.availability, f.kw, c.load, c.pue, c.usd_per_kwh),
    )
    return _cost_in_use(hour, f.margin, f.machine_time, f.utilization, f.eta)


@formula
def _cost_in_use(
    hour_usd: float, margin: float, machine_time: float, utilization: float, eta: float
) -> float:
    """What the tokens of an hour cost who rents it."""
    if not (hour_usd > 0 and margin < 1 and machine_time > 0):
        return nan
    if not (0 < utilization <= 1 and eta > 0):
        return nan
    return hour_usd / (1 - margin) * machine_time / (utilization * eta)


def gap(firm: Footing, rival: Footing, common: Common) -> Gap:
    """What makes the tokens of one firm dearer than those of another, factor by factor.

    firm, rival: their terms [1]
    common: what both share [1]
    returns: Gap [1], exact, and the same in whatever order the terms are changed
    source: Shapley 1953, the mean over all orders, of the logarithm of token_cost
    """

    def cost(chosen: tuple[str, ...]) -> Any:
        fields = [field for step in chosen for field in getattr(_STEPS, step)]
        mixed = rival._replace(**{field: getattr(firm, field) for field in fields})
        return np.log(token_cost(mixed, common))

    return Gap(*shapley(Gap._fields, cost))


# --- Channels and royalties ---


@formula
def net_price(price_usd: float, royalty: float) -> float:
    """What is left of a price after a share of revenue is paid to a channel or an owner.

    price_usd: price that the customer pays [USD]
    royalty: share of revenue that is passed on [1], 0 to 1
    returns: [USD]
    source: accounting identity
    """
    return price_usd * (1 - royalty) if 0 <= royalty <= 1 else nan


@formula
def wedge(margin: float, royalty: float) -> float:
    """Price over cost where a supplier takes a margin and a channel a share of revenue.

    margin: of the supplier over its price [1], below 1
    royalty: share of revenue that is passed on [1], 0 up to below 1
    returns: [1]
    source: identity, 1 / ((1 - margin) (1 - royalty)): a royalty stacks as a margin does
    """
    return 1 / ((1 - margin) * (1 - royalty)) if margin < 1 and 0 <= royalty < 1 else nan
