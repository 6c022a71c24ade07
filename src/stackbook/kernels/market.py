"""Who holds a market, what margins on margins cost, who gives way, and whom one can shut out."""

from collections.abc import Callable, Sequence
from itertools import pairwise, product
from math import inf, nan, sqrt
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from stackbook.kernels.jit import formula

Floats = NDArray[np.float64]
Links = NDArray[np.bool_]

WHOLE = 10_000.0  # points of a market of one firm
TOLERANCE = 1e-9  # by which shares may add up to more than one
SWEEPS = 10_000

# --- Concentration ---


def hhi(shares: ArrayLike) -> Floats:
    """Concentration of a market, Herfindahl and Hirschman's index, of the named firms alone.

    shares: of the firms [1], 0 or more, up to 1 in sum; firms on the last axis
    returns: [1], points from 0 to 10,000
    source: US DoJ and FTC 2023, Merger Guidelines, section 2.1: sum of squared shares
    """
    squares: Floats = WHOLE * (_shares(shares) ** 2).sum(axis=-1)
    return squares


class Bounds(NamedTuple):
    """Least and greatest concentration that the named shares allow [1], in points."""

    low: Floats
    """Where the rest is countless small firms."""
    high: Floats
    """Where the rest is as few firms as can be, none larger than the smallest that is named."""


def hhi_bounds(shares: ArrayLike) -> Bounds:
    """Concentration where only the largest firms are named.

    shares: of the largest firms [1], 0 or more, up to 1 in sum; firms on the last axis
    returns: [1], points
    source: US DoJ and FTC 2023, section 2.1; a sum of squares is greatest at its corner
    """
    named = _shares(shares)
    low, most = hhi(named), named.min(axis=-1)
    rest = np.maximum(1 - named.sum(axis=-1), 0.0)
    whole = np.floor(np.divide(rest, most, out=np.zeros_like(rest), where=most > 0) + TOLERANCE)
    last = np.where(most > 0, np.maximum(rest - whole * most, 0.0), 0.0)
    return Bounds(low, low + WHOLE * (whole * most**2 + last**2))


@formula
def effective_firms(points: float) -> float:
    """How many firms of one size are as concentrated.

    points: Herfindahl-Hirschman index [1], above 0 up to 10,000
    returns: [1], 1 or more
    source: Adelman 1969, numbers equivalent
    """
    return 10_000 / points if 0 < points <= 10_000 else nan


@formula
def merger_change(share: float, other_share: float) -> float:
    """By how much a merger raises the Herfindahl-Hirschman index.

    share, other_share: of the two that merge [1], 0 or more, up to 1 in sum
    returns: [1], points
    source: US DoJ and FTC 2023, section 2.1: 2 s_i s_j
    """
    if not (share >= 0 and other_share >= 0 and share + other_share <= 1 + 1e-9):
        return nan
    return 20_000 * share * other_share


def looked_through(shares: ArrayLike, dependencies: ArrayLike) -> Floats:
    """Shares of the suppliers that stand behind the providers among which buyers choose.

    shares: of the providers, in buyers' choices [1], 0 or more, up to 1 in sum
    dependencies: of each provider, a row, on each supplier of a layer [1], as shares
    returns: [1], by supplier; `hhi` of it is that of the layer behind the choice
    source: identity, s_k = sum over m of s_m D_mk
    """
    choices, uses = _choices(shares, dependencies)
    behind: Floats = np.einsum("...m,...mk->...k", choices, uses)
    return behind


class Common(NamedTuple):
    """Probability that two providers hang on one supplier; what is not named counts as apart."""

    independent: Floats
    """Two choices of two buyers, or of one, which may fall on the same provider."""
    fallback: Floats
    """A buyer's first provider and another one; NaN where there is no other."""


def common_supplier(shares: ArrayLike, dependencies: ArrayLike) -> Common:
    """How often two choices of a provider end at the same supplier.

    shares: of the providers, in buyers' choices [1], 0 or more, up to 1 in sum
    dependencies: of each provider, a row, on each supplier of a layer [1], as shares
    returns: [1]; independent is `hhi` of `looked_through` over 10,000
    source: identities, sum of s_k^2 and of s_m s_n / (1 - s_m) D_mk D_nk over n other than m
    """
    choices, uses = _choices(shares, dependencies)
    shared = np.einsum("...mk,...nk->...mn", uses, uses)
    independent = np.einsum("...m,...n,...mn->...", choices, choices, shared)
    others = shared * (1 - np.eye(choices.shape[-1]))
    rest = 1 - choices
    alone = rest <= TOLERANCE
    first = np.where(alone, nan, choices / np.where(alone, 1.0, rest))
    return Common(independent, np.einsum("...m,...n,...mn->...", first, choices, others))


def _shares(shares: ArrayLike) -> Floats:
    found = np.asarray(shares, float)
    if found.ndim == 0 or found.size == 0:
        raise ValueError("shares: give at least one, firms on the last axis")
    if not (found >= 0).all():
        raise ValueError(f"shares = {found[~(found >= 0)][0]:g}: give 0 or more")
    if (total := float(found.sum(axis=-1).max())) > 1 + TOLERANCE:
        raise ValueError(f"shares add up to {total:g}: give shares of one market, up to 1")
    return found


def _choices(shares: ArrayLike, dependencies: ArrayLike) -> tuple[Floats, Floats]:
    choices, uses = _shares(shares), np.asarray(dependencies, float)
    if uses.ndim < 2 or uses.shape[-2] != choices.shape[-1]:
        raise ValueError(
            f"dependencies: give a row for each of the {choices.shape[-1]} providers, "
            f"not a table of {uses.shape}"
        )
    return choices, _shares(uses)


# --- Margins on margins ---


class Succession(NamedTuple):
    """A chain of stages in equilibrium, from upstream to downstream on the last axis."""

    price: Floats
    """What the last stage charges [USD]."""
    quantity: Floats
    wholesale: Floats
    """What each stage charges the next; the last is the price [USD]."""
    profits: Floats
    """Of all firms of each stage [USD]."""
    consumer_surplus: Floats
    total: Floats
    """Profits and consumer surplus [USD]."""
    pass_through: Floats
    """Dollars of price for a dollar of cost, at whatever stage [1]."""


@formula
def cournot_markup(elasticity: float, firms: float) -> float:
    """Price over marginal cost of a stage where firms compete in quantities.

    elasticity: of demand, positive [1], above 1 / firms
    firms: that sell alike [1], 1 or more; infinite for perfect competition
    returns: [1], 1 or more
    source: Cournot 1838: e / (e - 1 / n); Lerner 1934 for one firm
    """
    if not (firms >= 1 and elasticity * firms > 1):
        return nan
    return elasticity / (elasticity - 1 / firms)


def successive_linear(
    choke_usd: ArrayLike, slope_usd: ArrayLike, costs_usd: ArrayLike, firms: ArrayLike
) -> Succession:
    """Stages that each add a margin, where demand is a straight line.

    choke_usd: price at which nothing is sold [USD], costs in sum or more
    slope_usd: by which the price falls for a unit more [USD], above 0
    costs_usd: of each stage, without what it buys from the one before [USD], 0 or more
    firms: of each stage [1], 1 or more; infinite where it sells at cost, as inside a firm
    returns: [USD], prices and profits
    source: Spengler 1950 for one firm each; Greenhut and Ohta 1979 for several, by Cournot
    """
    choke, slope = np.asarray(choke_usd, float), np.asarray(slope_usd, float)
    costs, count = _stages(costs_usd, firms)
    total = costs.sum(axis=-1)
    _at_least("choke_usd less costs_usd", choke - total, 0.0)
    _above("slope_usd", slope, 0.0)
    falls = 1 + 1 / count  # steeper for each stage, as each counts on what it does to the price
    quantity = (choke - total) / (slope * falls.prod(axis=-1))
    # What the stage before can charge: demand less the margins and the costs of those after it.
    steeper = _after(falls, np.multiply)
    later = _after(costs, np.add)
    wholesale = choke[..., None] - later - (slope * quantity)[..., None] * steeper
    surplus = slope * quantity**2 / 2
    return _succession(quantity, wholesale, costs, surplus, 1 / falls.prod(axis=-1))


def successive_elastic(
    elasticity: ArrayLike,
    price_usd: ArrayLike,
    sold: ArrayLike,
    costs_usd: ArrayLike,
    firms: ArrayLike,
) -> Succession:
    """Stages that each multiply by a markup, where the elasticity of demand is constant.

    elasticity: of demand, positive [1], above 1 / firms at each stage
    price_usd, sold: any point of demand [USD], [1], both above 0
    costs_usd: of each stage, without what it buys from the one before [USD], 0 or more
    firms: of each stage [1], 1 or more; infinite where it sells at cost, as inside a firm
    returns: [USD], prices and profits; consumer surplus is infinite up to an elasticity of 1
    source: Greenhut and Ohta 1979 with P = k Q^(-1/e); a `cournot_markup` at each stage
    """
    e, at, amount = (np.asarray(x, float) for x in (elasticity, price_usd, sold))
    costs, count = _stages(costs_usd, firms)
    _above("price_usd", at, 0.0)
    _above("sold", amount, 0.0)
    _above("costs_usd in sum", costs.sum(axis=-1), 0.0)
    _above("elasticity x firms", e[..., None] * count, 1.0)
    markups = np.asarray(cournot_markup(e[..., None], count), float)
    price = costs.sum(axis=-1) * markups.prod(axis=-1)
    quantity = amount * (price / at) ** -e
    wholesale = price[..., None] / _after(markups, np.multiply) - _after(costs, np.add)
    finite = e > 1
    surplus = np.where(finite, price * quantity / np.where(finite, e - 1, 1.0), inf)
    return _succession(quantity, wholesale, costs, surplus, markups.prod(axis=-1))


def firms_linear(slope_usd: ArrayLike, sold: ArrayLike, rents_usd: ArrayLike) -> Floats:
    """Equal firms of each stage that would earn what is seen, where demand is a straight line.

    slope_usd, sold: by which the price falls for a unit more [USD], and units [1], above 0
    rents_usd: of each stage on a unit, above its costs and what it buys [USD], 0 or more
    returns: [1] by stage; infinite where nothing is earned
    source: Greenhut and Ohta 1979, `successive_linear` solved for the number of firms
    """
    rents = _rents(rents_usd)
    fall = np.asarray(slope_usd, float) * np.asarray(sold, float)
    _above("slope_usd x sold", fall, 0.0)
    found = np.empty(np.broadcast_shapes((*fall.shape, 1), rents.shape))
    steeper = fall
    for stage in reversed(range(rents.shape[-1])):
        earned = rents[..., stage]
        found[..., stage] = steeper / np.where(earned > 0, earned, nan)
        found[..., stage] = np.where(earned > 0, found[..., stage], inf)
        steeper = steeper * (1 + 1 / found[..., stage])
    return found


def firms_elastic(elasticity: ArrayLike, costs_usd: ArrayLike, rents_usd: ArrayLike) -> Floats:
    """Equal firms of each stage that would earn what is seen, where the elasticity is constant.

    elasticity: of demand, positive [1]
    costs_usd: of each stage on a unit, without what it buys from the one before [USD], 0 or more
    rents_usd: of each stage on a unit, above its costs and what it buys [USD], 0 or more
    returns: [1] by stage; infinite where nothing is earned
    source: Cournot 1838, `successive_elastic` solved for the number of firms
    """
    rents, e = _rents(rents_usd), np.asarray(elasticity, float)
    _above("elasticity", e, 0.0)
    price = np.asarray(costs_usd, float).sum(axis=-1)[..., None] + np.cumsum(rents, axis=-1)
    kept = e[..., None] * rents
    return np.where(kept > 0, price / np.where(kept > 0, kept, 1.0), inf)


def _rents(rents_usd: ArrayLike) -> Floats:
    rents = np.asarray(rents_usd, float)
    if not rents.ndim:
        raise ValueError("rents_usd: give a number for each stage, on the last axis")
    _at_least("rents_usd", rents, 0.0)
    return rents


def _stages(costs_usd: ArrayLike, firms: ArrayLike) -> tuple[Floats, Floats]:
    costs, count = np.asarray(costs_usd, float), np.asarray(firms, float)
    if not (costs.ndim and count.ndim and costs.shape[-1] == count.shape[-1] > 0):
        raise ValueError("costs_usd, firms: give a number for each stage, on the last axis")
    _at_least("costs_usd", costs, 0.0)
    _at_least("firms", count, 1.0)
    costs, count = np.broadcast_arrays(costs, count)
    return costs, count


def _after(x: Floats, combine: np.ufunc) -> Floats:
    """The sum, or product, over the stages after each one."""
    from_here = combine.accumulate(x[..., ::-1], axis=-1)[..., ::-1]
    last = np.full_like(x[..., :1], combine.identity)
    return np.concatenate([from_here[..., 1:], last], axis=-1)


def _succession(
    quantity: Floats, wholesale: Floats, costs: Floats, surplus: Floats, pass_through: Floats
) -> Succession:
    bought = np.concatenate([np.zeros_like(wholesale[..., :1]), wholesale[..., :-1]], axis=-1)
    profits = (wholesale - bought - costs) * quantity[..., None]
    total = surplus + profits.sum(axis=-1)
    price = wholesale[..., -1]
    return Succession(price, quantity, wholesale, profits, surplus, total, pass_through)


def _at_least(name: str, x: Floats, bound: float) -> None:
    if (bad := np.extract(~(x >= bound), x)).size:
        raise ValueError(f"{name} = {bad[0]:g}: give {bound:g} or more")


def _above(name: str, x: Floats, bound: float) -> None:
    if (bad := np.extract(~(x > bound), x)).size:
        raise ValueError(f"{name} = {bad[0]:g}: give more than {bound:g}")


# --- Bargaining ---


@formula
def bargained_price(cost_usd: float, value_usd: float, outside_usd: float, weight: float) -> float:
    """Price on which a seller and a buyer agree who can each walk away.

    cost_usd: of the seller, with what else it could earn [USD], 0 or more
    value_usd: to the buyer [USD], 0 or more
    outside_usd: what the buyer keeps without this deal [USD], 0 or more
    weight: bargaining weight of the seller [1], 0 to 1
    returns: [USD]; NaN where both gain nothing from a deal
    source: Nash 1950 with weights: (1 - b) c + b (v - d)
    """
    most = value_usd - outside_usd
    if not (0 <= weight <= 1 and cost_usd >= 0 and outside_usd >= 0 and most >= cost_usd):
        return nan
    return (1 - weight) * cost_usd + weight * most


@formula
def bargaining_weight(
    price_usd: float, cost_usd: float, value_usd: float, outside_usd: float
) -> float:
    """The seller's weight that an observed price shows: its share of what both gain.

    price_usd: on which they agreed [USD], between cost and value less outside option
    cost_usd, value_usd, outside_usd: as for bargained_price [USD], 0 or more
    returns: [1], 0 to 1
    source: Nash 1950, solved for the weight: (w - c) / (v - d - c)
    """
    most = value_usd - outside_usd
    if not (cost_usd >= 0 and outside_usd >= 0 and cost_usd <= price_usd <= most):
        return nan
    return (price_usd - cost_usd) / (most - cost_usd) if most > cost_usd else nan


@formula
def concession(
    cost_usd: float, value_usd: float, outside_usd: float, better_usd: float, weight: float
) -> float:
    """What a better outside option takes off the price, also if it is never used.

    cost_usd, value_usd, outside_usd: as for bargained_price [USD], 0 or more
    better_usd: what the buyer would now keep without this deal [USD], outside_usd or more
    weight: bargaining weight of the seller [1], 0 to 1
    returns: [USD], b times the improvement; NaN where there is no deal any more
    source: Nash 1950, difference of two bargained prices
    """
    after = bargained_price(cost_usd, value_usd, better_usd, weight)
    if not better_usd >= outside_usd:
        return nan
    return bargained_price(cost_usd, value_usd, outside_usd, weight) - after


class Network(NamedTuple):
    """What buyers pay sellers, and what both have then."""

    transfers: Floats
    """From buyer to seller, sellers by buyers; 0 without a link, NaN where one is worth none."""
    gains: Floats
    """What both of a link gain from it, given all others."""
    sellers: Floats
    buyers: Floats


def nash_in_nash(
    profits: Callable[[Links], tuple[ArrayLike, ArrayLike]], links: ArrayLike, weight: ArrayLike
) -> Network:
    """Transfers of a network where each pair bargains, given the deals of all other pairs.

    profits: of sellers, and of buyers, under a table of links, without transfers [USD]
    links: which sellers, rows, supply which buyers, columns [1]
    weight: bargaining weight of the seller, one or a table [1], 0 to 1
    returns: [USD]
    source: Crawford and Yurukoglu 2012; Collard-Wexler, Gowrisankaran and Lee 2019
    """
    linked = np.array(links, bool)
    if linked.ndim != 2:
        raise ValueError(f"links: give a table of sellers by buyers, not {linked.shape}")
    share = np.broadcast_to(np.asarray(weight, float), linked.shape)
    if not ((share >= 0) & (share <= 1)).all():
        raise ValueError("weight: give 0 to 1")
    sellers, buyers = (np.asarray(x, float) for x in profits(linked.copy()))
    transfers, gains = np.zeros(linked.shape), np.zeros(linked.shape)
    for i, j in np.argwhere(linked):
        fewer = linked.copy()
        fewer[i, j] = False
        without = profits(fewer)
        seller = sellers[i] - np.asarray(without[0], float)[i]
        buyer = buyers[j] - np.asarray(without[1], float)[j]
        gains[i, j] = seller + buyer
        agreed = gains[i, j] >= 0
        transfers[i, j] = share[i, j] * gains[i, j] - seller if agreed else nan
    return Network(
        transfers, gains, sellers + transfers.sum(axis=1), buyers - transfers.sum(axis=0)
    )


class InputMarket(NamedTuple):
    """Firms that buy an input and compete in quantities, one each."""

    input_prices: Floats
    """Of a firm that is shut out, the one at which it sells nothing [USD]."""
    quantities: Floats
    prices: Floats
    input_profits: Floats
    """Of the suppliers on the sales to each firm; 0 inside a firm [USD]."""
    profits: Floats
    """Of the firms, downstream [USD]."""
    consumer_surplus: float


def bargained_inputs(
    choke_usd: float,
    slope_usd: float,
    sameness: float,
    own_costs_usd: ArrayLike,
    input_costs_usd: ArrayLike,
    suppliers: ArrayLike,
    integrated: ArrayLike,
    weight: ArrayLike,
) -> InputMarket:
    """Input prices per unit, each bargained given all others, by rivals that feel them.

    choke_usd, slope_usd: of the demand for each firm [USD], [USD], both above 0
    sameness: 1 where products are the same to buyers, 0 where they do not compete [1]
    own_costs_usd, input_costs_usd: of each firm, and of its supplier [USD], 0 or more
    suppliers, integrated: number of each firm's supplier, and whether they are one firm [1]
    weight: bargaining weight of the suppliers, one or by firm [1], 0 to 1
    returns: [USD]
    source: Horn and Wolinsky 1988, P_i = a - b (q_i + d sum of q_j), Cournot
    """
    by_firm = {
        "own_costs_usd": np.asarray(own_costs_usd, float),
        "input_costs_usd": input_costs_usd,
        "suppliers": suppliers,
        "integrated": integrated,
        "weight": weight,
    }
    number = max(map(np.size, by_firm.values()))
    for name, column in by_firm.items():
        if (shape := np.shape(column)) not in ((), (1,), (number,)) or shape == (0,):
            raise ValueError(f"{name} of shape {shape}: give one, or one for each firm")
    own, cost, supplier, inside, share = (
        np.broadcast_to(column, number) for column in by_firm.values()
    )
    for name, value in {"choke_usd": choke_usd, "slope_usd": slope_usd}.items():
        if not 0 < value < inf:
            raise ValueError(f"{name} = {value:g}: give a finite number above 0")
    _at_least("own_costs_usd", own, 0.0)
    _at_least("input_costs_usd", cost, 0.0)
    if not 0 <= sameness <= 1:
        raise ValueError(f"sameness = {sameness:g}: give 0 to 1")
    if not ((share >= 0) & (share <= 1)).all():
        raise ValueError("weight: give 0 to 1")
    inside = inside.astype(bool)
    paid, quantities = cost.astype(float), np.zeros(own.size)
    firms = np.arange(own.size)  # that sell; one that would sell less than nothing leaves
    while firms.size:
        terms = own[firms], cost[firms], supplier[firms], inside[firms], share[firms]
        settled = _settled(*terms, choke_usd, slope_usd, sameness)
        sold = _cournot(choke_usd - own[firms] - settled, slope_usd, sameness)
        if sold.min() >= -1e-9 * choke_usd / slope_usd:
            paid[firms], quantities[firms] = settled, np.maximum(sold, 0.0)
            break
        firms = np.delete(firms, sold.argmin())
    others = quantities.sum() - quantities
    felt = quantities + sameness * others
    return InputMarket(
        input_prices=paid,
        quantities=quantities,
        prices=choke_usd - slope_usd * felt,
        input_profits=(paid - cost) * quantities,
        profits=slope_usd * quantities**2,
        consumer_surplus=float(slope_usd / 2 * (quantities * felt).sum()),
    )


def _cournot(margins: Floats, slope: float, sameness: float) -> Floats:
    """Quantities, where `margins` are the choke price less marginal costs."""
    apart = 2 - sameness
    total = margins.sum() / (apart + sameness * margins.size)
    quantities: Floats = (margins - sameness * total) / (slope * apart)
    return quantities


def _settled(
    own: Floats,
    cost: Floats,
    supplier: NDArray[np.int64],
    inside: Links,
    weight: Floats,
    choke: float,
    slope: float,
    sameness: float,
) -> Floats:
    """Input prices, each agreed on given all others; cost inside a firm."""
    paid, firms = cost.astype(float), np.arange(own.size)
    for _ in range(SWEEPS):
        before = paid.copy()
        for i in firms[~inside]:
            mates = firms[(supplier == supplier[i]) & (firms != i)]
            paid[i] = _agreed(i, mates, paid, own, cost, inside, weight[i], choke, slope, sameness)
        if np.abs(paid - before).max() <= 1e-13 * choke:
            return paid
    raise ValueError(f"weight: input prices have not settled in {SWEEPS} rounds")


def _agreed(
    i: int,
    mates: NDArray[np.int64],
    paid: Floats,
    own: Floats,
    cost: Floats,
    inside: Links,
    weight: float,
    choke: float,
    slope: float,
    sameness: float,
) -> float:
    """Input price of firm i that splits the gains, the prices of the others being given.

    Quantities are straight lines in it, so what the supplier gains is a parabola. It is 0 at the
    price that shuts the firm out, and at `least`, where sales to i only make up for what they take
    from the others. The weighted product is greatest at half the weight between the two.
    """
    margins = choke - own - paid
    margins[i] = choke - own[i]  # at an input price of 0
    level = _cournot(margins, slope, sameness)
    unit = np.zeros(own.size)
    unit[i] = -1.0
    rise = _cournot(unit, slope, sameness)
    two, one = rise[i], level[i] - cost[i] * rise[i]
    for j in mates:
        if inside[j]:
            two += slope * rise[j] ** 2
            one += 2 * slope * rise[j] * level[j]
        else:
            one += (paid[j] - cost[j]) * rise[j]
    shut_out = -level[i] / rise[i]
    least = -one / two - shut_out
    if least >= shut_out:
        return float(max(shut_out, cost[i]))
    return float(least + weight * (shut_out - least) / 2)


# --- Foreclosure ---


@formula
def foreclosure_gain(
    lost: float,
    diversion: float,
    downstream_margin: float,
    downstream_usd: float,
    upstream_margin: float,
    upstream_usd: float,
) -> float:
    """What a supplier with an own product gains by not selling a unit of input to a rival.

    lost: sales that the rival then loses, over units withheld [1], 0 to 1
    diversion: of these, what the own product gains [1], 0 to 1
    downstream_margin, downstream_usd: of the own product [1], and its price [USD]
    upstream_margin, upstream_usd: of the input [1], and its price [USD]
    returns: [USD]; below 0 where it does not pay
    source: Salop and Culley 2016, vertical arithmetic
    """
    if not (0 <= lost <= 1 and 0 <= diversion <= 1 and downstream_usd >= 0 and upstream_usd >= 0):
        return nan
    if not (0 <= downstream_margin <= 1 and 0 <= upstream_margin <= 1):
        return nan
    return lost * diversion * downstream_margin * downstream_usd - upstream_margin * upstream_usd


@formula
def critical_diversion(
    lost: float,
    downstream_margin: float,
    downstream_usd: float,
    upstream_margin: float,
    upstream_usd: float,
) -> float:
    """Diversion above which foreclosure pays.

    lost: sales that the rival loses, over units of input withheld [1], above 0 up to 1
    downstream_margin, downstream_usd: of the own product [1], and its price [USD], above 0
    upstream_margin, upstream_usd: of the input [1], and its price [USD]
    returns: [1]; above 1 where it never pays
    source: Salop and Culley 2016, vertical arithmetic at a gain of 0
    """
    if not (0 < lost <= 1 and 0 < downstream_margin <= 1 and downstream_usd > 0):
        return nan
    if not (0 <= upstream_margin <= 1 and upstream_usd >= 0):
        return nan
    return upstream_margin * upstream_usd / (lost * downstream_margin * downstream_usd)


@formula
def guppi(diversion: float, other_margin: float, other_usd: float, own_usd: float) -> float:
    """Pressure on a product's price when its seller buys that of a rival.

    diversion: of the units lost by a rise of the price, what the other gains [1], 0 to 1
    other_margin, other_usd: of the other product [1], and its price [USD]
    own_usd: price of the product [USD], above 0
    returns: [1], as if the product's marginal cost rose by this share of its price
    source: Salop and Moresi 2009: DR_12 M_2 P_2 / P_1
    """
    if not (0 <= diversion <= 1 and 0 <= other_margin <= 1 and other_usd >= 0 and own_usd > 0):
        return nan
    return diversion * other_margin * other_usd / own_usd


@formula
def share_elasticity(upstream_margin: float, elasticity: float, price_response: float) -> float:
    """How readily a buyer turns to other suppliers of an input, from the supplier's margin.

    upstream_margin: of the supplier on sales to the buyer [1], above 0 up to 1
    elasticity: of the demand for the buyer's product, positive [1]
    price_response: elasticity of the product's price to that of the input [1]
    returns: [1]; NaN where the margin asks for less than nothing
    source: Moresi and Salop 2013, E_S = 1 / M - E E_P, from Lerner 1934
    """
    if not (0 < upstream_margin <= 1 and elasticity >= 0 and price_response >= 0):
        return nan
    found = 1 / upstream_margin - elasticity * price_response
    return found if found >= 0 else nan


@formula
def vertical_diversion(
    diversion: float, rival_margin: float, substitution: float, price_response: float
) -> float:
    """Units that the own product gains for each that the supplier loses by a dearer input.

    diversion: of the units that the rival loses, what the own product gains [1], 0 to 1
    rival_margin: of the rival's product [1], 0 to 1
    substitution: share_elasticity of the rival [1], 0 or more
    price_response: elasticity of the rival's price to that of the input [1], above 0
    returns: [1], at most diversion
    source: Moresi and Salop 2013, DR_UD = DR_RD / (1 + M_R E_SR / E_P)
    """
    if not (0 <= diversion <= 1 and 0 <= rival_margin <= 1):
        return nan
    if not (substitution >= 0 and price_response > 0):
        return nan
    return diversion / (1 + rival_margin * substitution / price_response)


@formula
def vguppi_upstream(
    diversion: float, downstream_margin: float, downstream_usd: float, upstream_usd: float
) -> float:
    """Pressure on the input's price to a rival when its supplier buys the rival's rival.

    diversion: vertical_diversion from the input to the own product [1], 0 to 1
    downstream_margin, downstream_usd: of the own product [1], and its price [USD]
    upstream_usd: price of the input to the rival [USD], above 0
    returns: [1], as if the input's marginal cost rose by this share of its price
    source: Moresi and Salop 2013, vGUPPIu = DR_UD M_D P_D / W_R
    """
    if not (0 <= diversion <= 1 and 0 <= downstream_margin <= 1):
        return nan
    if not (downstream_usd >= 0 and upstream_usd > 0):
        return nan
    return diversion * downstream_margin * downstream_usd / upstream_usd


@formula
def vguppi_rival(
    pressure: float,
    pass_through: float,
    upstream_usd: float,
    rival_usd: float,
    substitution: float,
) -> float:
    """Pressure on the rival's price, whose input becomes dearer.

    pressure: vguppi_upstream [1], 0 or more
    pass_through: of the supplier, price for cost [1], 0 or more
    upstream_usd, rival_usd: what the rival pays for an input, and asks [USD], above 0
    substitution: share_elasticity of the rival [1], 0 where it cannot turn elsewhere
    returns: [1], as if the rival's marginal cost rose by this share of its price
    source: Moresi and Salop 2013, vGUPPIr = vGUPPIu PTR_U W_R / P_R (1 - vGUPPIu PTR_U E_SR)
    """
    if not (pressure >= 0 and pass_through >= 0 and upstream_usd > 0 and rival_usd > 0):
        return nan
    if not substitution >= 0:
        return nan
    dearer = pressure * pass_through
    return dearer * upstream_usd / rival_usd * max(1 - dearer * substitution, 0.0)


@formula
def vguppi_downstream(
    diversion: float,
    upstream_margin: float,
    upstream_usd: float,
    downstream_usd: float,
    own_margin: float,
    own_input_usd: float,
    substitution: float,
) -> float:
    """Pressure on the price of the own product, whose lost sales feed the supplier's others.

    diversion: input sold to rivals for each unit that the own product loses [1], 0 to 1
    upstream_margin, upstream_usd: on the input to rivals [1], and its price [USD]
    downstream_usd: price of the own product [USD], above 0
    own_margin, own_input_usd: on the own input before [1], 0 if it stays, and its price [USD]
    substitution: share_elasticity of the own product [1], 0 where it buys no more than before
    returns: [1]; below 0 where an end of the double margin weighs more
    source: Moresi and Salop 2013, (DR_DU M_U W_U - M_UD W_D - E_SD M_UD^2 W_D) / P_D
    """
    if not (0 <= diversion <= 1 and 0 <= upstream_margin <= 1 and 0 <= own_margin <= 1):
        return nan
    if not (upstream_usd >= 0 and downstream_usd > 0 and own_input_usd >= 0):
        return nan
    if not substitution >= 0:
        return nan
    saved = own_margin * own_input_usd * (1 + substitution * own_margin)
    return (diversion * upstream_margin * upstream_usd - saved) / downstream_usd


# --- Bundling ---


class Sales(NamedTuple):
    """Who buys what of two goods, as shares of all buyers, and what they keep on average."""

    only_a: float
    only_b: float
    both: float
    surplus: float


class Offer(NamedTuple):
    """Prices over the highest value that a buyer has for a good, and what they bring."""

    price_a: float
    """Infinite where the good is not sold alone."""
    price_b: float
    price_both: float
    profit: float
    rival_price: float
    """Of good b; NaN without a rival."""
    rival_profit: float
    """The fixed cost of entry that it deters."""
    sales: Sales
    """Of both sellers."""


def bundle_sales(price_a: float, price_b: float, price_both: float) -> Sales:
    """What is bought where each buyer's values of two goods are drawn from 0 to 1, apart.

    price_a, price_b: of each good alone [1], 0 or more; infinite where it is not sold alone
    price_both: of the two together [1], 0 or more; the two alone if they cost less
    returns: [1]
    source: Adams and Yellen 1976, areas of the unit square
    """
    for name, price in {"price_a": price_a, "price_b": price_b, "price_both": price_both}.items():
        if not price >= 0:
            raise ValueError(f"{name} = {price:g}: give 0 or more")
    bundle = min(price_both, price_a + price_b)
    a, b = min(price_a, bundle), min(price_b, bundle)  # who buys the bundle may leave a part
    only_a = max(1 - a, 0.0) * _length(bundle - a)
    only_b = max(1 - b, 0.0) * _length(bundle - b)
    buying = 1 - _refusing(a, b, bundle)
    # The surplus is what all would pay for the right to buy: the sum of those who buy at each fee.
    # Between the fees at which somebody falls away it is a parabola, which two points sum exactly.
    ends = sorted({0.0, *(max(end, 0.0) for end in (1 - a, 1 - b, 1 - bundle, 2 - bundle))})
    surplus = 0.0
    for low, high in pairwise(ends):
        for part in (0.5 - sqrt(1 / 12), 0.5 + sqrt(1 / 12)):
            fee = low + (high - low) * part
            surplus += (high - low) / 2 * (1 - _refusing(a + fee, b + fee, bundle + fee))
    return Sales(only_a, only_b, max(buying - only_a - only_b, 0.0), surplus)


def bundling(how: str, cost_a: float = 0.0, cost_b: float = 0.0) -> Offer:
    """Best prices of one who sells two goods, with nobody else.

    how: separate, pure (the bundle alone) or mixed (the bundle, and each good) [1]
    cost_a, cost_b: of a unit over the highest value that a buyer has for it [1], 0 to 1
    returns: [1]
    source: McAfee, McMillan and Whinston 1989; Nalebuff 2004 for pure bundles without cost
    """
    _check(how, cost_a, cost_b)
    start = (1 + cost_a) / 2, (1 + cost_b) / 2
    cost = cost_a + cost_b
    if how == "separate":
        return _offer(*start, sum(start), cost_a, cost_b)

    def tied(price: float) -> Offer:
        return _offer(inf, inf, price, cost_a, cost_b)

    if how == "pure":
        return tied(_best(lambda price: -tied(price).profit, cost, 2.0))

    def priced(parts: Sequence[float]) -> Offer:
        """At prices so far on the way from cost to the highest value."""
        a, b, both = (max(part, 0.0) for part in parts)
        prices = cost_a + a * (1 - cost_a), cost_b + b * (1 - cost_b), cost + both * (2 - cost)
        return _offer(*prices, cost_a, cost_b)

    # Where one good has little left over its cost, prices apart are the best near by, though not
    # of all, so that we look everywhere before we look closely.
    grid = product(*(np.linspace(0, 1, count).tolist() for count in (9, 9, 17)))
    first = max(grid, key=lambda parts: priced(parts).profit)
    return priced(_near(lambda parts: -priced(parts.tolist()).profit, first, 1e-10).tolist())


def rival_reply(price_a: float, price_b: float, price_both: float, cost_b: float = 0.0) -> Offer:
    """Best price of one who sells good b alone, against prices that stand.

    price_a, price_b, price_both: of the other, as for bundle_sales [1]
    cost_b: of both sellers of good b, over the highest value [1], 0 to 1
    returns: [1]; profit of the other is before its cost of good a
    source: Nalebuff 2004
    """
    _check("mixed", 0.0, cost_b)
    rival, profit = _reply(price_a, price_b, price_both, cost_b)
    return _contested(price_a, price_b, price_both, rival, profit, 0.0, cost_b)


def bundling_entry(how: str, cost_a: float = 0.0, cost_b: float = 0.0) -> Offer:
    """Best prices of one who sells two goods and knows that a rival will answer in good b.

    how: separate, pure (the bundle alone) or mixed (the bundle, and good a) [1]
    cost_a, cost_b: of a unit, the rival's too, over the highest value [1], 0 to 1
    returns: [1]; sold apart, good b ends at its cost
    source: Nalebuff 2004; where pure brings less than separate, Whinston 1990 on commitment
    """
    _check(how, cost_a, cost_b)
    alone, cost = (1 + cost_a) / 2, cost_a + cost_b
    if how == "separate":
        return _contested(alone, cost_b, alone + cost_b, cost_b, 0.0, cost_a, cost_b)

    def answered(price_a: float, price_both: float) -> Offer:
        reply = _reply(price_a, inf, price_both, cost_b)
        return _contested(price_a, inf, price_both, *reply, cost_a, cost_b)

    pure = answered(inf, _best(lambda price: -answered(inf, price).profit, cost, 2.0))
    if how == "pure":
        return pure
    # The rival's answer jumps from undercutting the bundle to living beside it, so we look
    # everywhere before we look closely.
    singles, bundles = np.linspace(cost_a, 1, 17).tolist(), np.linspace(cost, 2, 33).tolist()
    grid = [(a, both) for a in singles for both in bundles if both >= a]
    first = max(grid, key=lambda each: answered(*each).profit)

    def priced(prices: Floats) -> Offer:
        a, both = np.maximum(prices, 0.0).tolist()
        return answered(a, both)

    mixed = priced(_near(lambda prices: -priced(prices).profit, first, 1e-7))
    return max(mixed, pure, key=lambda offer: offer.profit)


def _length(x: float) -> float:
    return min(max(x, 0.0), 1.0)


def _refusing(a: float, b: float, bundle: float) -> float:
    """Buyers to whom neither good nor both are worth their price; bundle at most a + b."""
    x, y = min(a, 1.0), min(b, 1.0)
    corners = bundle, bundle - x, bundle - y, bundle - x - y
    whole, right, top, beyond = (max(each, 0.0) ** 2 / 2 for each in corners)
    return whole - right - top + beyond


def _offer(a: float, b: float, both: float, cost_a: float, cost_b: float) -> Offer:
    sales = bundle_sales(a, b, both)
    bundle = min(both, a + b)
    profit = sales.both * (bundle - cost_a - cost_b)
    # A good that nobody buys alone may have no price.
    profit += sales.only_a * (min(a, bundle) - cost_a) + sales.only_b * (min(b, bundle) - cost_b)
    return Offer(a, b, both, profit, nan, nan, sales)


def _reply(a: float, b: float, both: float, cost_b: float) -> tuple[float, float]:
    """The rival's best price, and its profit; at the other's price it gets all of these buyers."""

    def loss(price: float) -> float:
        sales = bundle_sales(a, price, both)
        mixed = sales.both if a + price <= both else 0.0
        return -(price - cost_b) * (sales.only_b + mixed)

    most = max(min(b, both, 1.0), cost_b)
    apart = min(max(both - a, cost_b), most)  # up to here a buyer of both takes them apart
    price = min((apart, most, _best(loss, cost_b, most)), key=loss)
    return price, -loss(price)


def _contested(
    a: float, b: float, both: float, rival: float, profit: float, cost_a: float, cost_b: float
) -> Offer:
    sales = bundle_sales(a, min(b, rival), both)
    apart = a + rival <= both
    own = (sales.only_a + (sales.both if apart else 0.0)) * ((a if a < inf else 0.0) - cost_a)
    if not apart:
        own += sales.both * (both - cost_a - cost_b)
    return Offer(a, b, both, own, rival, profit, sales)


def _best(loss: Callable[[float], float], low: float, high: float) -> float:
    from scipy.optimize import minimize_scalar  # slow to import

    if high - low < 1e-12:
        return low
    found = minimize_scalar(loss, bounds=(low, high), method="bounded", options={"xatol": 1e-12})
    return float(found.x)


def _near(loss: Callable[[Floats], float], first: Sequence[float], exact: float) -> Floats:
    from scipy.optimize import minimize

    options = {"xatol": exact, "fatol": exact**1.5, "maxiter": 1000}
    found: Floats = minimize(loss, first, method="Nelder-Mead", options=options).x
    return found


def _check(how: str, cost_a: float, cost_b: float) -> None:
    if how not in ("separate", "pure", "mixed"):
        raise ValueError(f"how = {how!r}: give separate, pure or mixed")
    for name, cost in {"cost_a": cost_a, "cost_b": cost_b}.items():
        if not 0 <= cost < 1:
            raise ValueError(f"{name} = {cost:g}: give 0 to below 1")
