"""Concentration, margins on margins, bargains, foreclosure and bundles: against the papers."""

from math import inf, sqrt

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize_scalar

from stackbook.kernels import market

positive = st.floats(0.05, 1.0)
share = st.floats(0.0, 1.0)
number = st.sampled_from([1.0, 2.0, 3.0, 7.0, inf])
chains = st.lists(st.tuples(st.floats(0.1, 2.0), number), min_size=1, max_size=3)


def normalized(weights):
    return np.array(weights) / sum(weights)


markets = st.lists(positive, min_size=2, max_size=8).map(normalized)


# --- Concentration ---


@pytest.mark.parametrize(
    ("shares", "points"),
    [
        ([0.3, 0.3, 0.2, 0.2], 2600),  # the example of the US Department of Justice
        ([1.0], 10_000),
        ([0.28, 0.21, 0.14], 1421),  # clouds, the rest not counted
    ],
)
def test_concentration_of_published_markets(shares, points):
    assert market.hhi(shares) == pytest.approx(points)


@given(markets)
def test_invariant_13_concentration_lies_between_equal_firms_and_one(shares):
    points = market.hhi(shares)
    assert 10_000 / shares.size - 1e-6 <= points <= 10_000 + 1e-6
    assert 1 - 1e-9 <= market.effective_firms(points) <= shares.size + 1e-9


@given(markets)
def test_invariant_13_a_merger_adds_twice_the_product(shares):
    merged = np.append(shares[2:], shares[0] + shares[1])
    change = market.merger_change(shares[0], shares[1])
    assert market.hhi(merged) - market.hhi(shares) == pytest.approx(change, abs=1e-7)


@given(markets, st.integers(1, 6), st.integers(0, 2**32 - 1))
def test_bounds_hold_for_any_rest_of_firms_that_are_not_larger(shares, named, seed):
    known = np.sort(shares)[::-1][:named]
    low, high = market.hhi_bounds(known)
    assert low - 1e-6 <= market.hhi(shares) <= high + 1e-6
    rest, parts, draws = 1 - known.sum(), [], np.random.default_rng(seed)
    while rest > 1e-9 and len(parts) < 200:
        parts.append(min(rest, known.min() * draws.random()))
        rest -= parts[-1]
    assert low - 1e-6 <= market.hhi([*known, *parts]) <= high + 1e-6


def test_greatest_concentration_is_reached():
    low, high = market.hhi_bounds([0.40, 0.27, 0.21])
    assert (low, high) == (pytest.approx(2770), pytest.approx(market.hhi([0.4, 0.27, 0.21, 0.12])))
    assert market.hhi_bounds([0.5, 0.2]).high == pytest.approx(market.hhi([0.5, 0.2, 0.2, 0.1]))
    assert market.hhi_bounds([0.25] * 4).high == pytest.approx(2500)


def test_suppliers_behind_three_providers():
    """Three providers of one size look apart; two of them, and half of the third, are one."""
    uses = [[1.0, 0.0], [1.0, 0.0], [0.5, 0.5]]
    behind = market.looked_through([1 / 3, 1 / 3, 1 / 3], uses)
    assert behind == pytest.approx([5 / 6, 1 / 6])
    assert market.effective_firms(market.hhi(behind)) == pytest.approx(36 / 26)
    found = market.common_supplier([1 / 3, 1 / 3, 1 / 3], uses)
    assert found.independent == pytest.approx(26 / 36)
    assert found.fallback == pytest.approx((1 + 0.5 + 0.5) / 3)


@given(markets, st.integers(1, 4), st.integers(0, 2**32 - 1))
def test_common_suppliers_as_drawn_pair_by_pair(shares, suppliers, seed):
    uses = np.random.default_rng(seed).dirichlet(np.ones(suppliers), shares.size)
    found = market.common_supplier(shares, uses)
    behind = market.looked_through(shares, uses)
    assert behind.sum() == pytest.approx(1)
    assert found.independent == pytest.approx(market.hhi(behind) / 10_000)
    pairs = [(m, n) for m in range(shares.size) for n in range(shares.size) if m != n]
    second = sum(shares[m] * shares[n] / (1 - shares[m]) * uses[m] @ uses[n] for m, n in pairs)
    assert found.fallback == pytest.approx(second)


def test_own_suppliers_are_in_common_with_nobody():
    found = market.common_supplier([0.5, 0.3, 0.2], np.eye(3))
    assert found.fallback == 0
    assert market.common_supplier([0.5, 0.3], np.ones((2, 1))).fallback == pytest.approx(
        0.5 * 0.3 / 0.5 + 0.3 * 0.5 / 0.7
    )
    assert np.isnan(market.common_supplier([1.0], [[1.0]]).fallback)


def test_many_draws_at_once():
    draws = np.random.default_rng(1).dirichlet(np.ones(3), 20)
    uses = np.random.default_rng(2).dirichlet(np.ones(2), (20, 3))
    both = market.looked_through(draws, uses), market.common_supplier(draws, uses).fallback
    for at in range(20):
        assert both[0][at] == pytest.approx(market.looked_through(draws[at], uses[at]))
        assert both[1][at] == pytest.approx(market.common_supplier(draws[at], uses[at]).fallback)
    assert market.hhi_bounds(draws).high == pytest.approx(market.hhi(draws))


# --- Margins on margins ---


def test_spengler_two_monopolies_and_one():
    apart = market.successive_linear(10.0, 1.0, [2.0, 0.0], [1, 1])
    assert (apart.price, apart.quantity, apart.profits.sum()) == (8, 2, 12)
    assert apart.wholesale.tolist() == [6, 8]
    joined = market.successive_linear(10.0, 1.0, [2.0, 0.0], [inf, 1])
    assert (joined.price, joined.quantity, joined.profits.sum()) == (6, 4, 16)
    assert (apart.consumer_surplus, joined.consumer_surplus) == (2, 8)  # triangles


@pytest.mark.parametrize("stages", [1, 2, 5])
def test_chain_of_monopolies_halves_the_quantity_at_each(stages):
    found = market.successive_linear(9.0, 0.5, [1.0] + [0.0] * (stages - 1), [1] * stages)
    assert found.quantity == pytest.approx((9 - 1) / (0.5 * 2**stages))
    assert found.price == pytest.approx(9 - (9 - 1) / 2**stages)
    e = market.successive_elastic(3.0, 2.0, 5.0, [1.0] + [0.0] * (stages - 1), [1] * stages)
    assert e.price == pytest.approx(1.5**stages)


def plain(demand, costs, firms, quantity):
    """What each stage charges at a quantity, by marginal revenue of those after it."""

    def before(charge, stage):
        cost, count = stage

        def marginal(q):
            step = 3e-3 * q
            slope = (charge(q + step) - charge(q - step)) / (2 * step)
            return charge(q) + slope * q / count - cost

        return marginal

    stages = list(zip(costs, firms, strict=True))[::-1]
    charged = [demand]
    for stage in stages:
        charged.append(before(charged[-1], stage))
    return [charge(quantity) for charge in charged[::-1]]  # the first is worth 0 to its makers


@given(chains, st.booleans())
@settings(max_examples=60)
def test_marginal_revenue_of_each_stage_is_its_cost(chain, straight):
    costs, firms = (np.array(x) for x in zip(*chain, strict=True))
    if straight:
        found = market.successive_linear(10.0, 0.7, costs, firms)
        charged = plain(lambda q: 10 - 0.7 * q, costs, firms, found.quantity)
    else:
        found = market.successive_elastic(1.8, 2.0, 5.0, costs, firms)
        charged = plain(lambda q: 2 * (q / 5) ** (-1 / 1.8), costs, firms, found.quantity)
    assert charged[1:] == pytest.approx(found.wholesale.tolist(), rel=1e-3)
    assert charged[0] == pytest.approx(0, abs=1e-3 * found.price)


@given(chains, st.data())
def test_invariant_8_integration_of_stages_never_raises_the_price(chain, data):
    costs, firms = (np.array(x) for x in zip(*chain, strict=True))
    at = data.draw(st.integers(0, firms.size - 1))
    inside = firms.copy()
    inside[at] = inf
    for solve, demand in (
        (market.successive_linear, (10.0, 0.7)),
        (market.successive_elastic, (1.8, 2.0, 5.0)),
    ):
        apart, joined = solve(*demand, costs, firms), solve(*demand, costs, inside)
        assert joined.price <= apart.price * (1 + 1e-12)
        assert joined.consumer_surplus >= apart.consumer_surplus * (1 - 1e-12)
        assert joined.total >= apart.total * (1 - 1e-12)
        assert (apart.profits >= -1e-9).all()
        assert apart.profits.sum() == pytest.approx(apart.quantity * (apart.price - costs.sum()))


def test_pass_through_is_what_a_dollar_of_cost_does_to_the_price():
    """A line swallows part of a rise of memory's price; a constant elasticity multiplies it."""
    for solve, demand, through in (
        (market.successive_linear, (10.0, 0.7), 1 / 2 * 3 / 4),
        (market.successive_elastic, (2.0, 2.0, 5.0), 2 * 6 / 5),
    ):
        for at in (0, 1):
            costs = np.array([1.0, 0.5])
            before = solve(*demand, costs, [1, 3])
            costs[at] += 0.01
            after = solve(*demand, costs, [1, 3])
            assert (after.price - before.price) / 0.01 == pytest.approx(through)
            assert before.pass_through == pytest.approx(through)


def test_consumer_surplus_is_the_area_above_the_price():
    found = market.successive_elastic(2.5, 2.0, 5.0, [1.0, 0.5], [2, 1])
    prices = np.geomspace(found.price, 1e4 * found.price, 200_001)
    bought = 5 * (prices / 2) ** -2.5
    assert found.consumer_surplus == pytest.approx(np.trapezoid(bought, prices), rel=1e-4)
    assert market.successive_elastic(0.8, 2.0, 5.0, [1.0], [2]).consumer_surplus == inf


def test_chains_of_many_draws_at_once():
    choke, costs = np.array([8.0, 10.0]), np.array([[1.0, 0.5], [2.0, 0.0]])
    many = market.successive_linear(choke, 1.0, costs, [1, 2])
    for at in (0, 1):
        one = market.successive_linear(choke[at], 1.0, costs[at], [1, 2])
        assert [x[at] for x in many] == [pytest.approx(x) for x in one]
    e = market.successive_elastic(np.array([1.5, 3.0]), 1.0, 1.0, [1.0, 0.5], [1, 2])
    one = market.successive_elastic(3.0, 1.0, 1.0, [1.0, 0.5], [1, 2])
    assert [x[1] for x in e] == [pytest.approx(x) for x in one]


# --- Bargaining ---


@given(share, st.floats(0, 5), st.floats(1e-6, 5), st.floats(0, 5), st.floats(0, 2))
def test_invariant_17_price_lies_between_cost_and_value_and_falls(b, cost, gain, outside, better):
    value = cost + gain + outside + better
    price = market.bargained_price(cost, value, outside, b)
    assert cost - 1e-9 <= price <= value - outside + 1e-9
    given_up = market.concession(cost, value, outside, outside + better, b)
    assert given_up == pytest.approx(b * better, abs=1e-9)
    after = market.bargained_price(cost, value, outside + better, b)
    assert after == pytest.approx(price - given_up, abs=1e-9)
    if gain + better > 1e-3:
        assert market.bargaining_weight(price, cost, value, outside) == pytest.approx(b, abs=1e-6)


def test_price_maximizes_the_weighted_product_of_gains():
    cost, value, outside, b = 1.0, 6.0, 2.0, 0.3
    found = minimize_scalar(
        lambda w: -b * np.log(w - cost) - (1 - b) * np.log(value - w - outside),
        bounds=(cost + 1e-9, value - outside - 1e-9),
        method="bounded",
        options={"xatol": 1e-10},
    )
    assert market.bargained_price(cost, value, outside, b) == pytest.approx(found.x, abs=1e-6)


@pytest.mark.parametrize(
    ("kernel", "args"),
    [
        (market.bargained_price, (3, 4, 2, 0.5)),  # no gain
        (market.bargained_price, (1, 4, 2, 1.5)),
        (market.bargaining_weight, (3, 1, 4, 2)),  # above what the buyer would pay
        (market.bargaining_weight, (1, 1, 3, 2)),  # nothing to share
        (market.concession, (1, 4, 2, 1, 0.5)),  # a worse option
        (market.concession, (1, 4, 2, 3.5, 0.5)),  # walks away
        (market.effective_firms, (0,)),
        (market.merger_change, (0.7, 0.4)),
        (market.cournot_markup, (0.5, 2)),
        (market.guppi, (1.2, 0.5, 1, 1)),
        (market.critical_diversion, (0, 0.5, 1, 0.5, 1)),
        (market.share_elasticity, (0.9, 3, 0.5)),
        (market.vertical_diversion, (0.5, 0.5, 1, 0)),
        (market.vguppi_upstream, (0.5, 0.5, 1, 0)),
        (market.vguppi_rival, (-0.1, 0.5, 1, 1, 0)),
        (market.vguppi_downstream, (0.5, 0.5, 1, 0, 0.5, 1, 0)),
        (market.foreclosure_gain, (0.5, 1.5, 0.5, 1, 0.5, 1)),
    ],
)
def test_outside_the_domain(kernel, args, assert_nan):
    assert_nan(kernel, args)


def test_network_of_one_pair_is_the_bargained_price():
    def profits(links):
        return [-2.0 * links.sum()], [9.0 if links.any() else 4.0]

    found = market.nash_in_nash(profits, [[True]], 0.25)
    assert found.transfers[0, 0] == pytest.approx(market.bargained_price(2.0, 9.0, 4.0, 0.25))
    assert found.sellers[0] == pytest.approx(0.25 * 3)
    assert found.buyers[0] == pytest.approx(4 + 0.75 * 3)


@pytest.mark.parametrize(
    ("value", "transfer"),
    [
        ([0.0, 8.0, 8.0], 0.0),  # either will do: neither seller adds anything
        ([0.0, 4.0, 8.0], 2.0),  # each adds its half
        ([0.0, 0.0, 8.0], 4.0),  # both are needed, and each takes half of all
    ],
)
def test_what_sellers_get_is_what_the_last_one_adds(value, transfer):
    def profits(links):
        return np.zeros(2), [value[links.sum()]]

    found = market.nash_in_nash(profits, np.ones((2, 1)), 0.5)
    assert found.transfers[:, 0] == pytest.approx([transfer, transfer])
    assert found.sellers.sum() + found.buyers.sum() == pytest.approx(value[2])


def test_links_that_are_absent_or_worth_nothing():
    def profits(links):
        return -3.0 * links.sum(axis=1), 2.0 * links.sum(axis=0)

    found = market.nash_in_nash(profits, [[True, False]], 0.5)
    assert np.isnan(found.transfers[0, 0])
    assert found.transfers[0, 1] == 0
    assert found.gains.tolist() == [[-1, 0]]


@pytest.mark.parametrize("b", [0.0, 0.2, 0.5, 1.0])
def test_horn_wolinsky_input_prices_in_closed_form(b):
    """P = 10 - Q, input cost 2: suppliers of one rival each, then one of both, who asks more."""
    own = market.bargained_inputs(10, 1, 1, [0, 0], 2, [0, 1], False, b)
    assert own.input_prices == pytest.approx((10 * b + (4 - 2 * b) * 2) / (4 - b))
    both = market.bargained_inputs(10, 1, 1, [0, 0], 2, [0, 0], False, b)
    assert both.input_prices == pytest.approx(2 + b * (10 - 2) / 2)
    assert both.input_prices.sum() >= own.input_prices.sum() - 1e-9


def quantities(choke, slope, sameness, costs):
    """Best replies to each other, solved as a set of equations."""
    n = len(costs)
    matrix = slope * ((2 - sameness) * np.eye(n) + sameness * np.ones((n, n)))
    return np.linalg.solve(matrix, choke - np.asarray(costs))


def product_of_gains(w, i, found, own, cost, suppliers, inside, weight, demand):
    """Logarithm of what a pair maximizes, all other input prices being given."""

    def supplier(active, q, paid):
        profit = 0.0
        for place, j in enumerate(active):
            if suppliers[j] == suppliers[i]:
                quick = (paid[j] - cost[j]) * q[place]
                profit += demand[1] * q[place] ** 2 if inside[j] else quick
        return profit

    paid = found.copy()
    paid[i] = w
    everyone = list(range(own.size))
    others = [j for j in everyone if j != i]
    q = quantities(*demand, (own + paid))
    gain = supplier(everyone, q, paid)
    if others:
        gain -= supplier(others, quantities(*demand, (own + paid)[others]), paid)
    return weight * np.log(gain) + (1 - weight) * np.log(demand[1] * q[i] ** 2)


@given(
    st.integers(1, 4),
    st.integers(0, 2**32 - 1),
    st.floats(0.1, 0.9),
    st.floats(0.0, 0.9),
    st.booleans(),
)
@settings(max_examples=60)
def test_each_input_price_maximizes_the_product_of_gains(n, seed, b, sameness, joined):
    draws = np.random.default_rng(seed)
    own, cost = draws.uniform(0, 1, n), draws.uniform(0, 1, n)
    suppliers = draws.integers(0, 2, n)
    inside = np.zeros(n, bool)
    inside[0] = joined
    demand = 10.0, 0.7, sameness
    found = market.bargained_inputs(*demand, own, cost, suppliers, inside, b)
    assert found.quantities == pytest.approx(quantities(*demand, own + found.input_prices))
    assume((found.quantities > 1e-6).all())  # nobody shut out
    for i in np.flatnonzero(~inside):
        args = i, found.input_prices, own, cost, suppliers, inside, b, demand
        best = product_of_gains(found.input_prices[i], *args)
        for near in (0.999, 1.001):
            assert product_of_gains(found.input_prices[i] * near, *args) < best
    assert found.prices == pytest.approx(
        own + found.input_prices + 0.7 * found.quantities
    )  # marginal revenue is marginal cost
    assert (found.input_profits >= -1e-9).all()


def test_invariant_8_a_supplier_that_buys_one_rival_lifts_the_price_of_the_other():
    """Its own product becomes cheaper, the rival pays more and sells less."""
    apart = market.bargained_inputs(10, 1, 0.6, [0, 0], 2, [0, 0], [False, False], 0.5)
    joined = market.bargained_inputs(10, 1, 0.6, [0, 0], 2, [0, 0], [True, False], 0.5)
    assert joined.input_prices[0] == 2
    assert joined.input_prices[1] > apart.input_prices[1] * 1.2
    assert joined.prices[0] < apart.prices[0]
    assert joined.quantities[1] < apart.quantities[1]


def test_integration_helps_nobody_where_buyers_had_bargained_the_margin_away():
    """No double margin is left to end, and the rival of the owner still pays more."""
    apart = market.bargained_inputs(10, 1, 0.9, [0, 0], 2, [0, 0], [False, False], 0.0)
    joined = market.bargained_inputs(10, 1, 0.9, [0, 0], 2, [0, 0], [True, False], 0.0)
    assert apart.input_prices == pytest.approx(2)
    assert (joined.prices > apart.prices).all()
    assert joined.consumer_surplus < apart.consumer_surplus


@pytest.mark.parametrize("sameness", [0.0, 0.4, 1.0])
def test_consumer_surplus_is_what_products_are_worth_less_what_they_cost(sameness):
    found = market.bargained_inputs(10, 0.7, sameness, [0, 1], 2, [0, 0], False, 0.5)
    q, r = found.quantities
    worth = 10 * (q + r) - 0.7 / 2 * (q**2 + r**2 + 2 * sameness * q * r)
    assert found.consumer_surplus == pytest.approx(worth - found.prices @ found.quantities)


def test_rival_with_the_same_product_is_shut_out():
    """Selling to an equal rival only shares out a smaller profit."""
    joined = market.bargained_inputs(10, 1, 1.0, [0, 0], 2, [0, 0], [True, False], 0.5)
    assert joined.quantities == pytest.approx([4, 0], abs=1e-9)
    assert joined.prices[0] == pytest.approx(6)


def test_a_firm_that_costs_too_much_is_as_if_it_were_not_there():
    alone = market.bargained_inputs(10, 1, 1, [0], 2, [0], False, 0.5)
    beside = market.bargained_inputs(10, 1, 1, [0, 9], 2, [0, 0], False, 0.5)
    assert beside.quantities == pytest.approx([alone.quantities[0], 0])
    assert beside.input_prices[0] == pytest.approx(alone.input_prices[0])
    assert beside.consumer_surplus == pytest.approx(alone.consumer_surplus)


# --- Foreclosure ---


def test_vertical_pressure_of_a_worked_example():
    """Prices 20, inputs 10, margins one half: 8.9%, 2.0%, then 6.2, -18.8 and -40.6%."""
    response = 0.5 * 10 / 20
    turning = market.share_elasticity(0.5, 1.0, response)
    assert turning == pytest.approx(1.75)
    diversion = market.vertical_diversion(0.4, 0.5, turning, response)
    up = market.vguppi_upstream(diversion, 0.5, 20.0, 10.0)
    assert up == pytest.approx(0.4 / 4.5)
    rival = market.vguppi_rival(up, 0.5, 10.0, 20.0, turning)
    assert rival == pytest.approx(0.4 / 4.5 / 4 * (1 - 0.4 / 4.5 / 2 * 1.75))
    down = [
        market.vguppi_downstream(0.25, 0.5, 10.0, 20.0, margin, 10.0, turns)
        for margin, turns in ((0.0, 0.0), (0.5, 0.0), (0.5, turning))
    ]
    assert down == pytest.approx([0.0625, -0.1875, -0.40625])


def test_vertical_diversion_counts_units():
    """A rise of the input's price by a little: what the rival loses, buys elsewhere, and feeds."""
    margin, response, turning, diverted = 0.4, 0.3, 1.2, 0.35
    rise = 1e-7
    sold = 1 - rise * response / margin  # Lerner: elasticity is 1 / margin
    inputs = sold * (1 - rise * turning)
    gained = diverted * (1 - sold)
    found = market.vertical_diversion(diverted, margin, turning, response)
    assert found == pytest.approx(gained / (1 - inputs), rel=1e-5)
    assert market.vertical_diversion(diverted, margin, 0.0, response) == diverted


@given(share, share, share, st.floats(0.5, 5), st.floats(0.5, 5), st.floats(0, 3))
def test_pressure_rises_with_what_is_diverted_and_falls_with_substitution(d, m, step, p, w, turn):
    more = min(d + step, 1.0)
    assert market.vguppi_upstream(d, m, p, w) <= market.vguppi_upstream(more, m, p, w) + 1e-12
    assert market.vguppi_upstream(d, m, p, w) <= market.vguppi_upstream(d, m, p + step, w) + 1e-12
    assert market.vertical_diversion(d, m, turn, 0.5) <= d + 1e-12
    low, high = market.vguppi_rival(d, 0.5, w, p, 0.0), market.vguppi_rival(more, 0.5, w, p, 0.0)
    assert 0 <= market.vguppi_rival(d, 0.5, w, p, turn) <= low + 1e-12 <= high + 2e-12
    with_edm = market.vguppi_downstream(d, 0.5, w, p, m, w, turn)
    without = market.vguppi_downstream(d, 0.5, w, p, 0.0, w, turn)
    assert with_edm <= without + 1e-12
    assert without <= market.vguppi_downstream(more, 0.5, w, p, 0.0, w, turn) + 1e-12
    assert without >= 0


@given(positive, share, positive, st.floats(0.5, 5), share, st.floats(0.5, 5))
def test_foreclosure_pays_above_the_critical_diversion(lost, diversion, m_d, p, m_u, w):
    critical = market.critical_diversion(lost, m_d, p, m_u, w)
    gain = market.foreclosure_gain(lost, diversion, m_d, p, m_u, w)
    assert gain == pytest.approx(lost * m_d * p * (diversion - critical), abs=1e-9)


def test_horizontal_pressure():
    assert market.guppi(0.2, 0.4, 1.5, 1.0) == pytest.approx(0.12)
    assert market.guppi(0.0, 0.4, 1.5, 1.0) == 0


# --- Bundling ---


def values(count=1000):
    line = (np.arange(count) + 0.5) / count
    return np.meshgrid(line, line, indexing="ij")


@pytest.mark.parametrize(
    "prices",
    [
        (0.5, 0.5, 1.0),
        (2 / 3, 2 / 3, 0.86),
        (inf, inf, 0.8),
        (inf, 0.3, 1.3),
        (0.9, 0.2, 1.0),
        (0.7, 0.6, 2.0),  # the two alone cost less
        (0.9, 1.2, 0.4),  # the bundle costs less than a part of it
        (inf, inf, 1.7),
        (inf, inf, 2.2),  # nobody buys
    ],
)
def test_sales_as_counted_buyer_by_buyer(prices):
    a, b = values()
    bundle = min(prices[2], prices[0] + prices[1])
    kept = np.stack([0 * a, a - prices[0], b - prices[1], a + b - bundle])
    choice = kept.argmax(axis=0)
    found = market.bundle_sales(*prices)
    counted = [(choice == each).mean() for each in (1, 2, 3)]
    assert found[:3] == pytest.approx(counted, abs=2e-3)
    assert found.surplus == pytest.approx(kept.max(axis=0).mean(), abs=1e-5)


def test_nalebuff_prices_of_a_monopoly():
    apart, pure, mixed = (market.bundling(how) for how in ("separate", "pure", "mixed"))
    assert (apart.price_a, apart.price_b, apart.profit) == (0.5, 0.5, 0.5)
    assert pure.price_both == pytest.approx(sqrt(2 / 3), abs=1e-6)
    assert pure.profit == pytest.approx((2 / 3) ** 1.5)
    assert (mixed.price_a, mixed.price_b) == pytest.approx((2 / 3, 2 / 3), abs=1e-6)
    assert mixed.price_both == pytest.approx((4 - sqrt(2)) / 3, abs=1e-6)
    assert mixed.profit == pytest.approx((12 + 2 * sqrt(2)) / 27)


@pytest.mark.parametrize(
    ("prices", "rival_price", "rival_profit", "left"),
    [
        ((0.5, 0.5, 1.0), 0.5, 1 / 4, 1 / 4),  # it undercuts by a little
        ((inf, inf, 1.0), 1 / 3, 4 / 27, 5 / 18),  # the same prices, tied: 41% less
        ((inf, inf, sqrt(2 / 3)), 0.29815, 0.10847, 0.35698),  # the best bundle: 57% less
    ],
)
def test_a_bundle_takes_from_a_rival_that_has_one_good(prices, rival_price, rival_profit, left):
    found = market.rival_reply(*prices)
    assert found.rival_price == pytest.approx(rival_price, abs=1e-5)
    assert found.rival_profit == pytest.approx(rival_profit, abs=1e-5)
    assert found.profit == pytest.approx(left, abs=1e-5)


def test_nalebuff_bundle_that_expects_a_rival():
    """0.68 and 0.374: more than good a alone would bring, so that it needs no commitment."""
    pure, apart = market.bundling_entry("pure"), market.bundling_entry("separate")
    assert pure.price_both == pytest.approx(0.68, abs=0.005)
    assert pure.profit == pytest.approx(0.374, abs=0.0005)
    assert pure.profit > apart.profit == 0.25
    # The rival's first-order condition, 3 p^2 - 2 (1 + P) p + P = 0.
    p, bundle = pure.rival_price, pure.price_both
    assert 3 * p**2 - 2 * (1 + bundle) * p + bundle == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("prices", [(0.6, 0.5, 0.9), (0.4, inf, 1.1), (inf, inf, 1.4)])
@pytest.mark.parametrize("cost", [0.0, 0.2])
def test_no_other_price_is_better_for_the_rival(prices, cost):
    a, b = values(400)
    bundle = min(prices[2], prices[0] + prices[1])
    found = market.rival_reply(*prices, cost)
    most = min(prices[1], 1.0)
    for price in np.linspace(cost, most - 1e-6, 60):
        kept = np.stack(
            [0 * a, a - prices[0], a + b - bundle, b - price, a - prices[0] + b - price]
        )
        bought = np.isin(kept.argmax(axis=0), (3, 4)).mean()
        assert (price - cost) * bought <= found.rival_profit + 3e-3


@given(st.floats(0, 0.6), st.floats(0, 0.6))
@settings(max_examples=15)
def test_mixed_bundles_bring_no_less_and_rivals_take_no_less_than_nothing(cost_a, cost_b):
    apart, pure, mixed = (market.bundling(h, cost_a, cost_b) for h in ("separate", "pure", "mixed"))
    assert mixed.profit >= max(apart.profit, pure.profit) - 1e-9
    for how, alone in (("separate", apart), ("pure", pure)):
        met = market.bundling_entry(how, cost_a, cost_b)
        assert met.profit <= alone.profit + 1e-9
        assert met.rival_profit >= 0
        assert met.sales.surplus >= alone.sales.surplus - 1e-9


@pytest.mark.parametrize("costs", [(0.9, 0.0), (0.0, 0.95), (0.99, 0.2), (0.999, 0.999)])
def test_mixed_bundles_bring_more_than_prices_apart(costs):
    """McAfee, McMillan and Whinston 1989: wherever values are independent, at any cost."""
    apart, mixed = (market.bundling(how, *costs) for how in ("separate", "mixed"))
    assert mixed.profit > apart.profit * (1 + 1e-5)


@pytest.mark.parametrize("costs", [(0.0, 0.0), (0.3, 0.1)])
def test_mixed_bundles_before_a_rival_bring_no_less(costs):
    mixed = market.bundling_entry("mixed", *costs)
    others = [market.bundling_entry(how, *costs).profit for how in ("separate", "pure")]
    assert mixed.profit >= max(others) - 1e-6


# --- Errors ---


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: market.hhi([0.5, -0.1]), "shares = -0.1: give 0 or more"),
        (lambda: market.hhi([0.8, 0.5]), "shares add up to 1.3"),
        (lambda: market.hhi([0.5, np.nan]), "shares = nan"),
        (lambda: market.looked_through([0.5, 0.5], [[1.0]]), "a row for each of the 2 providers"),
        (
            lambda: market.successive_linear(1.0, 1.0, [1.0, 0.5], [1, 1]),
            "choke_usd less costs_usd = -0.5: give 0 or more",
        ),
        (lambda: market.successive_linear(1.0, 0.0, [0.5], [1]), "slope_usd = 0: give more than 0"),
        (lambda: market.successive_linear(1.0, 1.0, [0.5], [0.5]), "firms = 0.5: give 1 or more"),
        (lambda: market.successive_linear(1.0, 1.0, [0.5], [1, 1]), "a number for each stage"),
        (
            lambda: market.successive_elastic(0.4, 1.0, 1.0, [0.5], [2]),
            "elasticity x firms = 0.8: give more than 1",
        ),
        (lambda: market.nash_in_nash(None, [True], 0.5), "a table of sellers by buyers"),
        (lambda: market.nash_in_nash(None, [[True]], 1.5), "weight: give 0 to 1"),
        (
            lambda: market.bargained_inputs(10, 1, 1.5, [0], 2, [0], False, 0.5),
            "sameness = 1.5: give 0 to 1",
        ),
        (
            lambda: market.bargained_inputs(10, 1, 1, [0, 0], 2, [0, 1, 2], False, 0.5),
            r"own_costs_usd of shape \(2,\): give one, or one for each firm",
        ),
        (
            lambda: market.bargained_inputs(np.inf, 1, 1, [0], 2, [0], False, 0.5),
            "choke_usd = inf: give a finite number above 0",
        ),
        (lambda: market.bundle_sales(0.5, -0.5, 1.0), "price_b = -0.5: give 0 or more"),
        (lambda: market.bundling("tied"), "how = 'tied': give separate, pure or mixed"),
        (lambda: market.bundling("pure", 1.0), "cost_a = 1: give 0 to below 1"),
    ],
)
def test_bad_numbers_are_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()


rents_seen = st.lists(st.floats(0.05, 5), min_size=1, max_size=5)


@given(rents_seen, st.floats(0.5, 5), st.floats(0.1, 10), st.floats(0.1, 10))
def test_firms_linear_are_those_that_earn_the_rents_seen(rents, slope, sold, cost):
    firms = market.firms_linear(slope, sold, rents)
    assume((firms >= 1).all())
    costs = np.full(len(rents), cost)
    choke = slope * sold + costs.sum() + sum(rents)  # demand through what is sold and its price
    found = market.successive_linear(choke, slope, costs, firms)
    assert found.quantity == pytest.approx(sold, rel=1e-9)
    assert found.profits == pytest.approx(sold * np.array(rents), rel=1e-6)


@given(rents_seen, st.floats(1.5, 5), st.floats(1, 10))
def test_firms_elastic_are_those_that_earn_the_rents_seen(rents, elasticity, cost):
    costs = np.full(len(rents), cost)
    firms = market.firms_elastic(elasticity, costs, rents)
    assume((firms >= 1).all())
    price = costs.sum() + sum(rents)
    found = market.successive_elastic(elasticity, price, 1.0, costs, firms)
    assert found.price == pytest.approx(price)
    assert found.profits == pytest.approx(rents)


def test_who_earns_nothing_is_one_of_many():
    assert market.firms_linear(1.0, 1.0, [0.0, 0.5]).tolist() == [np.inf, 2.0]
    assert market.firms_elastic(2.0, [1.0, 1.0], [0.0, 0.5])[0] == np.inf
