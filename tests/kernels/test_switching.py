"""Customers who pay to leave: published values, limits, oracles, invariants."""

from math import inf

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import special

from stackbook.kernels import switching
from stackbook.kernels.capital import annuity
from stackbook.kernels.cloud import entry_price
from stackbook.kernels.fleet import Buyers, choices
from stackbook.kernels.switching import Customers

WORTH, COST, SHARES = np.array([2000.0] * 3), np.array([1000.0] * 3), np.array([0.5, 0.3, 0.2])
CUSTOMERS = Customers(switching_usd=200, noise_usd=100, years=1, rate=0, arriving=0.1)
costs = st.floats(0, 3000)
rates = st.just(0.0) | st.floats(1e-6, 0.3)  # an annuity has no digits for the least numbers


@st.composite
def markets(draw):
    """Worth and bills of two to five vendors, shares and customers."""
    size = draw(st.integers(2, 5))
    lists = [st.lists(st.floats(*b), min_size=size, max_size=size) for b in [(500, 3000)] * 2]
    worth, bills = (np.array(draw(each)) for each in lists)
    parts = np.array(draw(st.lists(st.floats(0.05, 1), min_size=size + 1, max_size=size + 1)))
    customers = Customers(
        switching_usd=draw(costs),
        noise_usd=draw(st.floats(50, 1000)),
        years=draw(st.floats(0.5, 5)),
        rate=draw(rates),
        arriving=draw(st.floats(0.01, 0.9)),
    )
    return parts[:-1] / parts.sum(), worth, bills, customers


# --- Implied costs ---


def test_shy_2002_equal_vendors_ask_twice_the_switching_cost():
    assert switching.undercut_proof_price(10, 0.5, 0.5) == pytest.approx(20)


@given(st.floats(1, 1e4), st.floats(0.05, 20), st.floats(0.05, 20))
def test_shy_2002_prices_and_costs_are_inverse_and_the_small_one_asks_more(cost, one, two):
    """Undercutting takes all customers at a price that makes good for their cost to leave."""
    first = switching.undercut_proof_price(cost, one, two)
    second = switching.undercut_proof_price(cost, two, one)
    assert first * one == pytest.approx((second - cost) * (one + two))
    assert second * two == pytest.approx((first - cost) * (one + two))
    assert switching.undercut_proof_cost(first, second, one, two) == pytest.approx(cost)
    assert switching.undercut_proof_cost(second, first, two, one) == pytest.approx(cost)
    assert (first - second) * (two - one) >= -1e-9 * cost


def test_shy_2002_with_several_vendors_all_fear_the_smallest_which_fears_the_largest():
    found = switching.undercut_proof_costs([30, 35, 40], [0.5, 0.3, 0.2])
    expected = [30 - 40 * 2 / 7, 35 - 40 * 2 / 5, 40 - 30 * 5 / 7]
    np.testing.assert_allclose(found, expected)
    np.testing.assert_allclose(switching.undercut_proof_costs([20] * 3, [1 / 3] * 3), 10)


@given(st.floats(0.001, 0.4), st.floats(2, 6), st.floats(1, 8), rates, st.floats(0.5, 5))
def test_implied_cost_makes_as_many_leave_as_are_seen_to(leaving, vendors, elasticity, rate, years):
    market = vendors, elasticity, rate, years
    cost = switching.implied_switching(leaving, *market)
    assert switching.implied_leaving(cost, *market) == pytest.approx(leaving)
    assert switching.implied_leaving(0, *market) == pytest.approx(1 - 1 / vendors)


@pytest.mark.parametrize("leaving", [0.008, 0.11])
def test_implied_cost_is_that_of_the_customers_and_its_elasticity_theirs(leaving):
    """Shares of a market written out: 3 vendors whose new customers react with elasticity 3."""
    bill, years, rate = 1000.0, 3.0, 0.1
    cost = bill * switching.implied_switching(leaving, 3, 3, rate, years)
    noise = (1 - 1 / 3) * bill / 3 / annuity(rate, years)
    customers = Customers(cost, noise, years, rate, 0)
    worth = np.full(3, 1e5)  # none does without
    table = switching.transitions(worth, np.full(3, bill), customers)
    assert 1 - table[0, 0] == pytest.approx(leaving)
    new, dearer = table[-1, 0], switching.transitions(worth, [bill + 1e-3, bill, bill], customers)
    assert (dearer[-1, 0] / new - 1) / 1e-6 == pytest.approx(-3, rel=1e-4)


def test_clouds_that_1_percent_leave_cost_twice_what_model_vendors_do_that_11_percent_leave():
    """G08: less than 1% a year of UK cloud customers and 11% of teams change vendor."""
    cloud, model = (switching.implied_switching(x, 3, 3, 0.1, 3) for x in (0.008, 0.11))
    assert cloud == pytest.approx(3.05, abs=0.01)
    assert model == pytest.approx(1.54, abs=0.01)


# --- Shares over time ---


@given(markets())
def test_transitions_are_the_logit_written_out(market):
    _, worth, bills, c = market
    table = switching.transitions(worth, bills, c)
    gains = np.append((worth - bills) / annuity(c.rate, c.years), 0)
    for start in range(len(table)):
        paid = [
            c.switching_usd * (start != end and start < len(worth) and end < len(worth))
            for end in range(len(table))
        ]
        expected = special.softmax((gains - paid) / c.noise_usd)
        np.testing.assert_allclose(table[start], expected, rtol=1e-9, atol=1e-300)
    np.testing.assert_allclose(table.sum(axis=1), 1)


def test_customers_who_leave_for_nothing_choose_anew_each_year():
    """As a logit of `fleet.choices` does, where none goes without."""
    bills, worth = np.array([1000.0, 1050, 1200]), np.full(3, 1e5)
    history = switching.over_time(SHARES, worth, bills, CUSTOMERS._replace(switching_usd=0))
    logit = choices(bills, ["a", "b", "c"], Buyers(100, 0, 0, 1, 1))
    np.testing.assert_allclose(history.shares[1], logit.shares)
    np.testing.assert_allclose(history.surplus_usd, 1e5 - logit.index_usd)


def test_none_moves_where_leaving_has_no_price():
    locked = CUSTOMERS._replace(switching_usd=inf, arriving=0)
    worth = np.full(3, 1e5)
    history = switching.over_time(SHARES, worth, [[500.0, 1000, 2000]] * 3, locked)
    np.testing.assert_allclose(history.shares, [SHARES] * 4)
    np.testing.assert_allclose(history.switched, 0, atol=1e-15)


@given(markets())
def test_shares_stay_shares_and_come_to_rest(market):
    shares, worth, bills, customers = market
    history = switching.over_time(shares, worth, np.tile(bills, (40, 1)), customers)
    assert (history.shares >= 0).all()
    assert (history.shares.sum(axis=1) <= 1 + 1e-12).all()
    assert ((history.switched >= 0) & (history.switched <= 1)).all()
    assert history.shares.shape == (41, len(worth))
    steady = switching.steady_shares(worth, bills, customers)
    again = switching.over_time(steady, worth, bills, customers).shares
    np.testing.assert_allclose(again[0], again[1], atol=1e-12)
    distance = np.abs(history.shares - steady).sum(axis=1)
    assert distance[-1] <= distance[0] + 1e-12


@given(markets(), costs)
def test_a_higher_cost_moves_fewer_and_leaves_all_worse_off(market, more):
    shares, worth, bills, customers = market
    dearer = customers._replace(switching_usd=customers.switching_usd + more)
    one, two = (switching.over_time(shares, worth, bills, c) for c in (customers, dearer))
    assert two.switched[0] <= one.switched[0] + 1e-12
    assert two.surplus_usd[0] <= one.surplus_usd[0] + 1e-9


def test_simulated_customers_choose_as_the_shares_say():
    stream = np.random.default_rng(5)
    bills = np.array([1900.0, 1850, 2000])  # some go without
    count = 400_000
    has = stream.choice(4, count, p=[0.4, 0.25, 0.15, 0.2])
    gains = np.append(WORTH - bills, 0) + stream.gumbel(scale=100, size=(count, 4))
    gains -= np.where(
        (np.arange(4) != has[:, None]) & (np.arange(4) < 3) & (has[:, None] < 3), 200, 0
    )
    goes = gains.argmax(axis=1)
    history = switching.over_time([0.4, 0.25, 0.15], WORTH, bills, CUSTOMERS._replace(arriving=0))
    np.testing.assert_allclose(np.bincount(goes)[:3] / count, history.shares[1], atol=4e-3)
    moved = ((goes != has) & (goes < 3))[has < 3].mean()
    assert moved == pytest.approx(history.switched[0], abs=4e-3)
    mean = gains.max(axis=1).mean() - 100 * np.euler_gamma
    assert mean == pytest.approx(history.surplus_usd[0], abs=2)


# --- Prices ---


def profits(shares, prices, customers, vendor):
    sold = switching.over_time(shares, WORTH, prices, customers).shares[1]
    return (prices[vendor] - COST[vendor]) * sold[vendor]


@pytest.mark.parametrize("cost", [0, 100, 300, 1000, inf])
def test_no_vendor_gains_from_any_other_price(cost):
    customers = CUSTOMERS._replace(switching_usd=cost)
    prices = switching.harvest_prices(SHARES, WORTH, COST, customers)
    for vendor in range(3):
        best = profits(SHARES, prices, customers, vendor)
        for price in np.linspace(900, 2500, 801):
            other = prices.copy()
            other[vendor] = price
            assert profits(SHARES, other, customers, vendor) <= best * (1 + 1e-9)


def test_without_a_cost_prices_are_those_of_a_logit_whatever_the_shares():
    free = CUSTOMERS._replace(switching_usd=0)
    prices = switching.harvest_prices(SHARES, WORTH, COST, free)
    sold = switching.transitions(WORTH, prices, free)[-1, :3]
    np.testing.assert_allclose(prices, 1000 + 100 / (1 - sold))


def test_locked_customers_pay_what_a_monopolist_asks():
    """Its markup over a choice between one vendor and none solves m = 1 + w, w exp(w) = v."""
    locked = CUSTOMERS._replace(switching_usd=inf, arriving=0)
    prices = switching.harvest_prices([1 / 3] * 3, WORTH, COST, locked)
    markup = 1 + special.lambertw(np.exp((2000 - 1000) / 100 - 1)).real
    np.testing.assert_allclose(prices, 1000 + 100 * markup)


def test_larger_vendors_ask_more_and_end_of_charges_lowers_prices_and_lifts_surplus():
    before = switching.harvest_prices(SHARES, WORTH, COST, CUSTOMERS)
    free = CUSTOMERS._replace(switching_usd=0)
    after = switching.harvest_prices(SHARES, WORTH, COST, free)
    assert before[0] > before[1] > before[2] > after.max()
    old = switching.over_time(SHARES, WORTH, before, CUSTOMERS)
    new = switching.over_time(SHARES, WORTH, after, free)
    assert new.surplus_usd[0] > old.surplus_usd[0]
    assert new.switched[0] > old.switched[0]
    # What falls away of prices is a transfer; the gain of customers is more than that.
    assert new.surplus_usd[0] - old.surplus_usd[0] > (before - after).min()


def test_klemperer_1995_rents_of_the_second_period_are_competed_away_in_the_first():
    """Locked for good, a customer is worth the margin of all who stay: `cloud.entry_price`."""
    locked = CUSTOMERS._replace(switching_usd=inf, arriving=0)
    found = switching.two_periods(3, 2000, 1000, locked, 0.9)
    won = switching.transitions(WORTH, [found.first_usd] * 3, locked)[-1, 0]
    stay = switching.transitions(WORTH, [found.second_usd] * 3, locked)[0, 0]
    market = 1000 + 100 / (1 - won)
    expected = entry_price(market, found.second_usd - 1000, stay, 0.9)
    assert found.first_usd == pytest.approx(expected, rel=1e-6)
    assert found.first_usd < 1000 < found.free_usd < found.second_usd


def test_the_dearer_to_leave_the_lower_the_first_price_and_the_higher_the_second():
    found = [
        switching.two_periods(3, 2000, 1000, CUSTOMERS._replace(switching_usd=s), 0.9)
        for s in (0, 50, 100, 200, 300)
    ]
    assert (np.diff([f.first_usd for f in found]) < 0).all()
    assert (np.diff([f.second_usd for f in found]) > 0).all()
    assert found[0].first_usd == pytest.approx(found[0].free_usd, rel=1e-6)
    assert found[0].second_usd == pytest.approx(found[0].free_usd, rel=1e-6)
    impatient = switching.two_periods(3, 2000, 1000, CUSTOMERS, 0)
    assert impatient.first_usd == pytest.approx(impatient.free_usd)


# --- Errors ---


def test_prices_that_do_not_hold_are_refused():
    leaping = CUSTOMERS._replace(switching_usd=1000, arriving=0.3)
    with pytest.raises(ValueError, match="no prices that hold"):
        switching.harvest_prices(SHARES, WORTH, COST, leaping)


@pytest.mark.parametrize(
    ("customers", "message"),
    [
        (CUSTOMERS._replace(switching_usd=-1), "switching_usd"),
        (CUSTOMERS._replace(noise_usd=0), "noise_usd"),
        (CUSTOMERS._replace(arriving=1.1), "arriving"),
        (CUSTOMERS._replace(switching_usd=inf, arriving=0), "any shares"),
    ],
)
def test_bad_customers_are_named(customers, message):
    with pytest.raises(ValueError, match=message):
        switching.steady_shares(np.full(3, 1e9), COST, customers)


def test_bad_shares_are_named():
    with pytest.raises(ValueError, match="shares"):
        switching.over_time([0.7, 0.5, 0.1], WORTH, COST, CUSTOMERS)
    with pytest.raises(ValueError, match="two or more"):
        switching.undercut_proof_costs([1], [1])
    with pytest.raises(ValueError, match="vendors"):
        switching.two_periods(1, 2000, 1000, CUSTOMERS, 0.9)
    with pytest.raises(ValueError, match=r"bills_usd of shape \(1, 3\): give one for each of 2"):
        switching.over_time([0.7, 0.1], WORTH, COST, CUSTOMERS)
    with pytest.raises(ValueError, match=r"worth .* nan"):
        switching.transitions([1.0, np.nan], [1.0, 1.0], CUSTOMERS)


def test_formulas_are_nan_outside_their_domain(assert_nan):
    assert_nan(switching.undercut_proof_cost, (1, 1, 0, 1))
    assert_nan(switching.undercut_proof_price, (-1, 1, 1))
    assert_nan(switching.implied_switching, (0, 3, 3, 0.1, 3))
    assert_nan(switching.implied_switching, (0.7, 3, 3, 0.1, 3))  # more than two of three
    assert_nan(switching.implied_leaving, (-1, 3, 3, 0.1, 3))
    assert_nan(switching.implied_leaving, (1, 1, 3, 0.1, 3))
