"""Customers over time who pay to leave a vendor, and the prices that vendors ask of them."""

from math import inf, nan
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from stackbook.kernels.capital import annuity
from stackbook.kernels.elementary import exp, log
from stackbook.kernels.jit import formula, search

Floats = NDArray[np.float64]
_TRIED = 400  # prices among which a vendor looks for its best
_FAR = 40.0  # noises above what a vendor is worth, where none buys

# --- Switching costs that prices and shares imply ---


@formula
def undercut_proof_cost(
    price_usd: float, rival_usd: float, share: float, rival_share: float
) -> float:
    """Switching cost of a vendor's customers, where its rival has no gain from undercutting it.

    price_usd, rival_usd: prices over cost of the vendor and of the rival that it fears [USD]
    share, rival_share: their customers, or shares of them [1], above 0
    returns: [USD] a customer; below 0 where the rule does not hold
    source: Shy 2002: S_A = p_A - p_B N_B / (N_A + N_B)
    """
    if not (share > 0 and rival_share > 0):
        return nan
    return price_usd - rival_usd * rival_share / (share + rival_share)


@formula
def undercut_proof_price(switching_usd: float, share: float, rival_share: float) -> float:
    """Highest price over cost at which neither of two vendors gains from undercutting the other.

    switching_usd: what leaving costs each customer [USD], 0 or more
    share, rival_share: customers of the vendor and of its rival, or shares of them [1], above 0
    returns: [USD] of the vendor; the one with fewer customers asks more
    source: Shy 2002: p_A = S (N_A + N_B) (N_A + 2 N_B) / (N_A^2 + N_A N_B + N_B^2)
    """
    if not (switching_usd >= 0 and share > 0 and rival_share > 0):
        return nan
    a, b = share / (share + rival_share), rival_share / (share + rival_share)
    return switching_usd * (a + 2 * b) / (a * a + a * b + b * b)


def undercut_proof_costs(prices_usd: ArrayLike, shares: ArrayLike) -> Floats:
    """Switching cost of each vendor's customers: all fear the smallest, which fears the largest.

    prices_usd: over cost, by vendor [USD]
    shares: of customers, above 0, by vendor [1]
    returns: [USD] by vendor
    source: Shy 2002, several firms: undercut_proof_cost against the smallest, or the largest
    """
    prices, sizes = np.asarray(prices_usd, float), np.asarray(shares, float)
    if not (prices.ndim == 1 and prices.size > 1 and prices.shape == sizes.shape):
        raise ValueError("undercut_proof_costs: give a price and a share for each of two or more")
    feared = np.full(sizes.size, sizes.argmin())
    feared[sizes.argmin()] = sizes.argmax()
    if feared[sizes.argmin()] == sizes.argmin():  # all alike
        feared[0] = 1
    costs: Floats = undercut_proof_cost(prices, prices[feared], sizes, sizes[feared])
    return costs


@formula
def implied_switching(
    leaving: float, vendors: float, elasticity: float, rate: float, years: float
) -> float:
    """Switching cost over a year's bill that keeps as many customers as are seen to stay.

    leaving: share of customers who change vendor [1/yr], above 0
    vendors: equally good, at equal prices [1], above 1
    elasticity: of a vendor's new customers to its price [1], above 0; 1 / margin without a lock
    rate: cost of capital of the customer [1/yr], above -1
    years: over which it counts the gain from a change [yr], above 0
    returns: [1]; NaN where more leave than would without a cost
    source: logit of a cost that is paid once, solved for it; Farrell and Klemperer 2007
    """
    if not (leaving > 0 and vendors > 1 and elasticity > 0):
        return nan
    odds = (vendors - 1) * (1 - leaving) / leaving
    return _noise(vendors, elasticity, rate, years) * log(odds) if odds >= 1 else nan


@formula
def implied_leaving(
    bill_share: float, vendors: float, elasticity: float, rate: float, years: float
) -> float:
    """Share of customers who change vendor, by what that costs.

    bill_share: switching cost over a year's bill [1], 0 or more
    vendors, elasticity, rate, years: as in implied_switching [1], [1], [1/yr], [yr]
    returns: [1/yr]
    source: logit, (n - 1) exp(-S / noise) over 1 + the same
    """
    if not (bill_share >= 0 and vendors > 1 and elasticity > 0):
        return nan
    others = (vendors - 1) * exp(-bill_share / _noise(vendors, elasticity, rate, years))
    return others / (1 + others)


@formula
def _noise(vendors: float, elasticity: float, rate: float, years: float) -> float:
    """Noise of the gain from a change over a year's bill, of the elasticity of new customers."""
    return (1 - 1 / vendors) / (elasticity * annuity(rate, years))


# --- Shares of vendors over time ---


class Customers(NamedTuple):
    """Who buys from one vendor at a time, for a year, and may leave it then."""

    switching_usd: float  # what leaving costs, once [USD]
    noise_usd: float  # spread of what sets vendors apart for one customer, over `years` [USD]
    years: float  # over which the gain from a change counts
    rate: float  # cost of capital [1/yr]
    arriving: float  # new ones, who take the place of as many, of all in a year


class History(NamedTuple):
    """Customers over years, the first of which is the start."""

    shares: Floats
    """Of all customers, by year and vendor; the rest buy from none."""
    switched: Floats
    """Who changed to another vendor, of those who had one and stayed in the market, by year."""
    surplus_usd: Floats
    """Gain over buying from none, less switching costs, mean of customers, by year [USD].

    Each year it is seen anew over all years to come, so that years do not add up.
    """


def transitions(worth_usd: ArrayLike, bills_usd: ArrayLike, customers: Customers) -> Floats:
    """Where the customers of each vendor go within a year.

    worth_usd, bills_usd: what a year of each vendor is worth over none, and its price [USD]
    customers: as Customers [1]
    returns: [1], from (row) and to (column) each vendor, then none; rows have a sum of 1
    source: Farrell and Klemperer 2007, costs paid once; logit (McFadden 1974)
    """
    parts, _ = _parts(worth_usd, bills_usd, customers)
    probabilities: Floats = parts / parts.sum(axis=1, keepdims=True)
    return probabilities


def over_time(
    shares: ArrayLike, worth_usd: ArrayLike, bills_usd: ArrayLike, customers: Customers
) -> History:
    """Shares, switching and surplus from a start, where prices are given year by year.

    shares: of each vendor at the start, with a sum of at most 1 [1]
    worth_usd, bills_usd: as in transitions; bills with a row for each year [USD]
    customers: as Customers [1]
    returns: History [1], with a row more than years for the shares
    source: transitions, and newcomers who choose without a switching cost
    """
    now, bills = _shares(shares), np.atleast_2d(np.asarray(bills_usd, float))
    if bills.shape[1:] != (now.size - 1,):
        raise ValueError(
            f"bills_usd of shape {bills.shape}: give one for each of {now.size - 1} vendors, and "
            "a row for each year"
        )
    rows, switched, surplus = [now], [], []
    for bill in bills:
        parts, best = _parts(worth_usd, bill, customers)
        table = parts / parts.sum(axis=1, keepdims=True)
        gains = best + customers.noise_usd * np.log(parts.sum(axis=1))
        held = now.sum() - now[-1]
        moved = now[:-1] @ (table[:-1, :-1].sum(axis=1) - np.diag(table)[:-1])
        switched.append(moved / held if held > 0 else 0.0)
        before = (1 - customers.arriving) * now
        before[-1] += customers.arriving
        surplus.append(before @ gains)
        now = before @ table
        rows.append(now)
    return History(np.array(rows)[:, :-1], np.array(switched), np.array(surplus))


def steady_shares(worth_usd: ArrayLike, bills_usd: ArrayLike, customers: Customers) -> Floats:
    """Shares that no longer change.

    worth_usd, bills_usd: as in transitions [USD]
    customers: as Customers; some arrive, or switching_usd is finite [1]
    returns: [1] by vendor
    source: stationary distribution of transitions with newcomers
    """
    table = transitions(worth_usd, bills_usd, customers)
    step = (1 - customers.arriving) * table + customers.arriving * table[-1]
    size = len(step)
    system = np.vstack([step.T - np.eye(size), np.ones(size)])
    found, _, rank, _ = np.linalg.lstsq(system, np.append(np.zeros(size), 1.0), rcond=1e-14)
    if rank < size:
        raise ValueError(
            "Customers: none arrive and none leave, so that any shares stay as they are"
        )
    steady: Floats = np.maximum(found[:-1], 0.0)  # below it by rounding only
    return steady


def _parts(
    worth_usd: ArrayLike, bills_usd: ArrayLike, customers: Customers
) -> tuple[Floats, float]:
    """Weights of each choice (column) for the customers of each vendor and of none (row).

    They are over that of the best, whose gain is the second result.
    """
    c = customers
    worth, bills = np.asarray(worth_usd, float), np.asarray(bills_usd, float)
    if not (worth.ndim == 1 and worth.size and worth.shape == bills.shape):
        raise ValueError("vendors: give a worth and a bill for each of one or more")
    if not (c.switching_usd >= 0 and 0 < c.noise_usd < inf):
        raise ValueError(
            f"Customers.switching_usd, noise_usd = {c.switching_usd:g}, {c.noise_usd:g}: "
            "give 0 or more, and a finite number above 0"
        )
    if not (0 <= c.arriving <= 1 and c.years > 0 and c.rate > -1):
        raise ValueError(
            f"Customers.arriving, years, rate = {c.arriving:g}, {c.years:g}, {c.rate:g}: "
            "give 0 to 1, above 0, above -1"
        )
    gains = np.append((worth - bills) / annuity(c.rate, c.years), 0.0)
    if not (gains < inf).all():
        raise ValueError(f"vendors: worth {worth} less bills {bills}: give numbers, none infinite")
    leaves = np.full((gains.size, gains.size), c.switching_usd)
    np.fill_diagonal(leaves, 0.0)
    leaves[-1, :] = leaves[:, -1] = 0.0  # to buy from none costs nothing, nor to begin
    best = float(gains.max())
    return np.exp((gains - leaves - best) / c.noise_usd), best


def _shares(shares: ArrayLike) -> Floats:
    """With the share of those who buy from none at the end."""
    column = np.asarray(shares, float)
    if not (column.ndim == 1 and (column >= 0).all() and column.sum() <= 1 + 1e-12):
        raise ValueError("shares: give numbers of 0 or more, with a sum of at most 1")
    return np.append(column, max(1 - column.sum(), 0.0))


# --- Prices: harvest those who are locked in, or invest in those who are not ---


class TwoPeriods(NamedTuple):
    """What equal vendors ask of a new market, and later of customers whom they have."""

    first_usd: float
    second_usd: float
    free_usd: float
    """What they would ask in either if leaving cost nothing."""
    reward_usd: float
    """What one more customer of the first period is worth then: so much prices are below."""


def harvest_prices(
    shares: ArrayLike, worth_usd: ArrayLike, cost_usd: ArrayLike, customers: Customers
) -> Floats:
    """Prices of vendors who look no further than this year, of old and new customers alike.

    shares: of each vendor's old customers, with a sum of at most 1 [1]
    worth_usd, cost_usd: of a year of service, by vendor [USD]
    customers: as Customers [1]
    returns: [USD]; ValueError where no prices hold, as a vendor gains from a leap to another
    source: Klemperer 1995, last period: Nash equilibrium in prices, with logit demand
    """
    old, costs = _shares(shares), np.asarray(cost_usd, float)
    worth = np.asarray(worth_usd, float)
    if costs.shape != worth.shape or old.size != worth.size + 1:
        raise ValueError("vendors: give each a share, a worth and a cost")
    transitions(worth, costs, customers)  # which checks
    weights = (1 - customers.arriving) * old
    weights[-1] += customers.arriving
    scale = customers.noise_usd * float(annuity(customers.rate, customers.years))
    prices = (costs + scale) / scale
    stay = float(np.exp(-customers.switching_usd / customers.noise_usd))
    if not _nash(weights, worth / scale, costs / scale, stay, prices):
        raise ValueError(
            f"Customers.switching_usd = {customers.switching_usd:g}: found no prices that hold, as "
            "a vendor gains from a leap to others; give less, or fewer or more customers who arrive"
        )
    return prices * scale


@search
def _nash(weights: Floats, worth: Floats, costs: Floats, stay: float, prices: Floats) -> bool:
    """Best replies in turn, all in noises, until none moves: whether that comes to pass.

    `stay` is what the weight of a vendor falls to for the customers of another.
    """
    vendors = prices.size
    rivals, own = np.empty(vendors + 1), np.empty(vendors + 1)
    for _ in range(1000):
        moved = 0.0
        for i in range(vendors):
            best = 0.0
            for k in range(vendors):
                best = max(best, worth[k] - prices[k]) if k != i else best
            for j in range(vendors + 1):  # the last are customers of none
                own[j] = 1.0 if j in (i, vendors) else stay
                rivals[j] = exp(-best)
                for k in range(vendors):
                    if k != i:
                        weight = exp(worth[k] - prices[k] - best)
                        rivals[j] += weight if j in (k, vendors) else stay * weight
            step = (max(worth[i], costs[i]) + _FAR - costs[i]) / _TRIED
            most, at = -1.0, 0
            for n in range(_TRIED + 1):
                price = costs[i] + n * step
                sold, _ = _sold(weights, own, rivals, worth[i] - price - best)
                if sold * n > most:
                    most, at = sold * n, n
            low, high = costs[i] + max(at - 1, 0) * step, costs[i] + (at + 1) * step
            for _ in range(60):
                price = (low + high) / 2
                sold, slope = _sold(weights, own, rivals, worth[i] - price - best)
                if sold > (price - costs[i]) * slope:
                    low = price
                else:
                    high = price
            moved = max(moved, abs(price - prices[i]))
            prices[i] += (price - prices[i]) / 2
        if moved <= 1e-12 * (1 + np.abs(prices).max()):
            return True
    return False


@search
def _sold(weights: Floats, own: Floats, rivals: Floats, gain: float) -> tuple[float, float]:
    """Share of customers who buy, and how fast it falls with the price."""
    weight, sold, slope = exp(gain), 0.0, 0.0
    for j in range(weights.size):
        share = 1 / (1 + rivals[j] / (own[j] * weight))
        sold += weights[j] * share
        slope += weights[j] * share * (1 - share)
    return sold, slope


def two_periods(
    vendors: int, worth_usd: float, cost_usd: float, customers: Customers, discount: float
) -> TwoPeriods:
    """Prices of equal vendors in a new market, and in the year after with customers locked in.

    vendors: equally good [1], 2 or more
    worth_usd, cost_usd: of a year of service [USD]
    customers: as Customers; they do not foresee the second price [1]
    discount: value of a dollar of the second period in the first [1], 0 to 1
    returns: TwoPeriods [1]; ValueError where no prices hold
    source: Klemperer 1995, two periods: symmetric Nash equilibrium, backwards
    """
    if vendors < 2 or not 0 <= discount <= 1:
        raise ValueError(f"vendors, discount = {vendors}, {discount:g}: give 2 or more, and 0 to 1")
    worth, costs = np.full(vendors, float(worth_usd)), np.full(vendors, float(cost_usd))
    scale = customers.noise_usd * float(annuity(customers.rate, customers.years))
    free = customers._replace(switching_usd=0.0)

    def later(shares: Floats) -> tuple[float, float]:
        """Price and profit of the first vendor in the second period."""
        prices = harvest_prices(shares, worth, costs, customers)
        sold = over_time(shares, worth, prices, customers).shares[1]
        return float(prices[0]), float((prices - costs)[0] * sold[0])

    first = free_usd = float(harvest_prices(np.zeros(vendors), worth, costs, free)[0])
    for _ in range(200):
        won = transitions(worth, np.full(vendors, first), free)[-1, :-1]
        change = -won * won[0]
        change[0] += won[0]  # of shares with the first vendor's gain, over noise
        step = 1e-4
        more, less = later(won + step * change), later(won - step * change)
        reward = discount * (more[1] - less[1]) / float(2 * step * change[0])
        asked = float(cost_usd + scale / (1 - won[0])) - reward
        done = abs(asked - first) <= 1e-9 * scale
        first = asked
        if done:
            break
    return TwoPeriods(first, later(won)[0], free_usd, reward)
