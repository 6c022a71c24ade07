"""Holdings, circles of money and clearing: published examples, conservation, plain versions."""

from itertools import permutations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import linprog

from stackbook.kernels import ownership
from stackbook.kernels.ownership import Circle

HALF = [[0, 0.5], [0.5, 0]]  # two firms that hold half of each other
seeds = st.integers(0, 10**9)


def drawn_holdings(seed):
    """Up to eight firms; most hold some of most others, and someone outside some of each."""
    stream = np.random.default_rng(seed)
    size = stream.integers(1, 9)
    held = stream.random((size, size)) * (stream.random((size, size)) < 0.6)
    return held / held.sum(axis=0).clip(1) * stream.uniform(0.1, 0.999, size)


def drawn_debts(seed):
    """Up to seven firms, each of which has something; some owe nothing."""
    stream = np.random.default_rng(seed)
    size = stream.integers(2, 8)
    owed = stream.exponential(1, (size, size)) * (stream.random((size, size)) < 0.5)
    np.fill_diagonal(owed, 0)
    return owed, stream.exponential(0.5, size) + 1e-3


# --- Holdings looked through ---


def test_two_firms_that_hold_half_of_each_other():
    """Elliott, Golub and Jackson 2014: of a dollar of its own, two thirds stay with a firm."""
    expected = np.array([[2, 1], [1, 2]]) / 3
    np.testing.assert_allclose(ownership.outside_shares(HALF), expected, rtol=1e-15)


def test_a_chain_of_holdings_is_their_product():
    chain = [[0, 0.3, 0], [0, 0, 0.4], [0, 0, 0]]
    reached = ownership.integrated_holdings(chain)
    np.testing.assert_allclose(reached, [[0, 0.3, 0.12], [0, 0, 0.4], [0, 0, 0]], atol=1e-15)
    shares = ownership.outside_shares(chain)
    np.testing.assert_allclose(shares[:, 2], [0.12, 0.28, 0.6], rtol=1e-15)


def test_a_dollar_that_comes_back_counts_once():
    np.testing.assert_allclose(ownership.integrated_holdings(HALF), [[0.25, 0.5], [0.5, 0.25]])


@given(seeds)
def test_income_ends_with_outside_holders_to_the_last_cent(seed):
    held = drawn_holdings(seed)
    shares = ownership.outside_shares(held)
    assert (shares >= -1e-15).all()
    np.testing.assert_allclose(shares.sum(axis=0), 1, rtol=1e-12)
    income = np.random.default_rng(seed).normal(0, 100, (len(held), 3))  # losses as well
    found = ownership.outside_income(held, income)
    np.testing.assert_allclose(found.sum(axis=0), income.sum(axis=0), rtol=1e-12, atol=1e-10)


@given(seeds)
def test_look_through_is_what_dividends_do_when_they_are_paid_on(seed):
    """Round by round: each firm keeps its outsiders' share and pays the others to its holders."""
    held, income = drawn_holdings(seed), np.random.default_rng(seed).random(8)
    passing, kept = income[: len(held)].copy(), np.zeros(len(held))
    outside = 1 - held.sum(axis=0)
    for _ in range(100_000):
        kept, passing = kept + outside * passing, held @ passing
        if passing.sum() < 1e-15:
            break
    found = ownership.outside_income(held, income[: len(held)])
    np.testing.assert_allclose(found, kept, rtol=1e-9, atol=1e-12)


@given(seeds)
def test_integrated_holdings_are_the_chance_to_pass_a_firm(seed):
    """It comes at once, or from where the first step leads; at the firm itself its way ends."""
    held = drawn_holdings(seed)
    found = ownership.integrated_holdings(held)
    for firm in range(len(held)):
        stops = held.copy()
        stops[firm] = 0
        reach = np.linalg.solve(np.eye(len(held)) - stops.T, held[firm])
        np.testing.assert_allclose(found[firm], reach, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize(
    ("holdings", "words"),
    [
        ([[0, 0.6], [0, 0.5]], r"holdings\[:, 1\] add up to 1.1: give at most 1"),
        ([[0, 1], [1, 0]], r"holdings\[:, 0\] end in a circle"),
        ([[1, 0], [0, 0]], r"holdings\[:, 0\] end in a circle"),
        ([[0, 0, 0.5], [0, 1, 0.5], [0, 0, 0]], r"holdings\[:, 1\] end in a circle"),
        ([[0, -0.1], [0, 0]], "holdings = -0.1: give finite numbers"),
        ([[0, 0.1]], r"holdings of shape \(1, 2\): give a square matrix"),
    ],
)
def test_holdings_that_leave_income_nowhere(holdings, words):
    with pytest.raises(ValueError, match=words):
        ownership.outside_shares(holdings)


def test_a_firm_held_through_a_circle_that_others_hold_in_part_is_fine():
    shares = ownership.outside_shares([[0, 1, 0], [0.9, 0, 0], [0, 0, 0]])
    np.testing.assert_allclose(shares[:, 1], [1, 0, 0], rtol=1e-12, atol=1e-12)


def test_incomes_of_other_firms():
    with pytest.raises(ValueError, match="give one for each of 2"):
        ownership.outside_income(HALF, [1, 2, 3])


# --- Circular finance ---


def test_roundtrip_ratio_of_matrices():
    """A seller puts 30 into a buyer of 20 and of 120, and gets nothing of a third."""
    equity = np.array([[0.0, 30, 30, 0], *np.zeros((3, 4))])
    purchases = np.zeros((4, 4))
    purchases[1:3, 0] = 20, 120
    ratio = ownership.roundtrip_ratio(equity, purchases.T)
    np.testing.assert_array_equal(ratio[0], [np.nan, 1, 0.25, np.nan])


@given(*[st.floats(0, 1e12)] * 2, st.floats(1e-3, 1e12))
def test_roundtrip_ratio_rises_with_equity(less, more, purchases):
    less, more = sorted((less, more))
    lower, upper = (ownership.roundtrip_ratio(each, purchases) for each in (less, more))
    assert 0 <= lower <= upper <= 1


def test_revenue_at_risk():
    """A buyer that pays half of its outlays itself, one that pays all, one with losses."""
    purchases = [[10, 2], [5, 0], [0, 3]]
    shares = ownership.refinanced_share(np.array([5.0, 30, -4]), np.array([10.0, 20, 8]))
    np.testing.assert_array_equal(shares, [0.5, 0, 1])
    at_risk = ownership.revenue_at_risk(purchases, [5, 30, -4], [10, 20, 8])
    np.testing.assert_array_equal(at_risk, [5, 4])


@pytest.mark.parametrize(
    ("purchases", "profits", "outlays", "words"),
    [
        ([[1.0]], [1], [0], "outlays_usd of buyer 0"),
        ([[1.0]], [1, 2], [1, 2], "give a row for each buyer"),
        ([[-1.0]], [1], [1], "purchases_usd = -1"),
    ],
)
def test_revenue_at_risk_names_what_is_wrong(purchases, profits, outlays, words):
    with pytest.raises(ValueError, match=words):
        ownership.revenue_at_risk(purchases, profits, outlays)


def test_money_that_comes_back_by_a_third():
    """A chip maker funds a lab, which rents from a cloud, which buys the chips; and directly."""
    equity, purchases = np.zeros((2, 3, 3))
    equity[0, 1] = 30
    purchases[1, 2], purchases[2, 0], purchases[1, 0] = 60, 50, 20
    assert ownership.circles(equity, purchases) == [
        Circle((0, 1, 2), (True, False, False), 30),
        Circle((0, 1), (True, False), 20),
    ]
    assert [circle.firms for circle in ownership.circles(equity, purchases, 2)] == [(0, 1)]


@given(seeds)
def test_circles_are_all_that_there_are(seed):
    stream = np.random.default_rng(seed)
    size = stream.integers(2, 6)
    kinds = stream.integers(0, 3, (2, size, size)) * (stream.random((2, size, size)) < 0.4)
    expected = set()
    for count in range(2, 5):
        for path in permutations(range(size), count):
            for choice in range(1, 2**count - 1):
                chosen = tuple(bool(choice >> i & 1) for i in range(count))
                pays = zip(path, (*path[1:], path[0]), chosen, strict=True)
                usd = min(kinds[int(kind), payer, payee] for payer, payee, kind in pays)
                if usd > 0 and path[0] == min(path):
                    expected.add((path, chosen, usd))
    found = ownership.circles(kinds[1], kinds[0])
    assert len(found) == len(expected)
    assert {tuple(circle) for circle in found} == expected
    assert [circle.usd for circle in found] == sorted((c.usd for c in found), reverse=True)


# --- Clearing ---


def published_debts():
    """Three firms of the manual of CRAN's systemicrisk, with their creditors outside."""
    owed = np.full((4, 4), 0.5)
    np.fill_diagonal(owed, 0)
    owed[0, 3], owed[3] = 1.5, 0
    return owed, [0.5, 0.625, 0.75, 0]


def test_published_clearing_without_costs():
    """Gandy and Veraart, `default_clearing`: 1.473214, 1.419643, 1.5, with two defaults."""
    found = ownership.cleared(*published_debts())
    np.testing.assert_allclose(found.payments[:3], [1.473214, 1.419643, 1.5], atol=5e-7)
    assert found.rounds.tolist() == [1, 2, 0, 0]


def test_published_clearing_with_costs_of_default():
    """The same with alpha = 0.5 and beta = 0.7: 0.5020200, 0.5147049, 0.5653806, all in default."""
    found = ownership.cleared(*published_debts(), 0.5, 0.7)
    np.testing.assert_allclose(found.payments[:3], [0.50202, 0.5147049, 0.5653806], atol=5e-8)
    assert found.rounds.tolist() == [1, 2, 2, 0]


def plain_cleared(owed, assets, asset_recovery=1.0, claim_recovery=1.0, start=None):
    """Fixed point by iteration, from full payment down unless told otherwise."""
    debts = owed.sum(axis=1)
    parts = np.divide(owed, debts[:, None], out=np.zeros_like(owed), where=debts[:, None] > 0)
    paid = debts if start is None else start
    for _ in range(100_000):
        claims = parts.T @ paid
        able = assets + claims >= debts * (1 - 1e-12)
        after = np.where(able, debts, asset_recovery * assets + claim_recovery * claims)
        if np.abs(after - paid).max() < 1e-15:
            break
        paid = after
    return paid


@given(seeds)
def test_clearing_is_the_linear_program_and_unique(seed):
    """The most that can be paid; from nothing up one comes to the same, as each has assets."""
    owed, assets = drawn_debts(seed)
    found, debts = ownership.cleared(owed, assets), owed.sum(axis=1)
    parts = owed / np.where(debts > 0, debts, 1)[:, None]
    least = np.eye(len(owed)) - parts.T
    bounds = list(zip(np.zeros_like(debts), debts, strict=True))
    program = linprog(-np.ones_like(debts), A_ub=least, b_ub=assets, bounds=bounds)
    np.testing.assert_allclose(found.payments, program.x, rtol=1e-7, atol=1e-7)
    for start in (None, np.zeros_like(debts)):
        expected = plain_cleared(owed, assets, start=start)
        np.testing.assert_allclose(found.payments, expected, rtol=1e-9, atol=1e-9)


@given(seeds, st.floats(0, 1), st.floats(0, 1))
def test_clearing_with_costs_is_the_greatest_fixed_point(seed, asset_recovery, claim_recovery):
    owed, assets = drawn_debts(seed)
    found = ownership.cleared(owed, assets, asset_recovery, claim_recovery)
    expected = plain_cleared(owed, assets, asset_recovery, claim_recovery)
    np.testing.assert_allclose(found.payments, expected, rtol=1e-9, atol=1e-9)


@given(seeds)
def test_invariant_18_clearing_keeps_all_money_and_pays_no_more_than_is_owed(seed):
    owed, assets = drawn_debts(seed)
    found, debts = ownership.cleared(owed, assets), owed.sum(axis=1)
    assert (found.payments <= debts).all()
    assert found.equity.sum() == pytest.approx(assets.sum(), rel=1e-9)
    np.testing.assert_allclose(found.losses.sum(axis=1), debts - found.payments, atol=1e-9)
    assert ((found.rounds > 0) == (found.payments < debts * (1 - 1e-12))).all()
    first = assets + owed.sum(axis=0) < debts * (1 - 1e-12)
    np.testing.assert_array_equal(found.rounds == 1, first)
    assert found.rounds.max() <= len(debts)


@given(seeds, st.floats(0, 1))
def test_costs_and_poorer_firms_never_help_a_creditor(seed, share):
    owed, assets = drawn_debts(seed)
    free = ownership.cleared(owed, assets).payments
    assert (ownership.cleared(owed, assets, share, share).payments <= free + 1e-9).all()
    poorer = assets - share * np.eye(len(assets))[0] * assets[0]
    fewer = ownership.cleared(owed, poorer).payments
    assert (fewer <= free + 1e-9).all()


def test_debts_in_a_circle_need_no_money():
    """All pay with what they get, where fixed points are many: the greatest is meant."""
    circle = np.roll(np.eye(3), 1, axis=1) * 5
    found = ownership.cleared(circle, np.zeros(3))
    np.testing.assert_array_equal(found.payments, 5)
    assert not found.rounds.any()


def test_everyone_pays_everything_with_enough_assets():
    owed, _ = drawn_debts(1)
    found = ownership.cleared(owed, owed.sum(axis=1), 0, 0)
    np.testing.assert_array_equal(found.payments, owed.sum(axis=1))
    np.testing.assert_allclose(found.losses, 0, atol=1e-15)


@pytest.mark.parametrize(
    ("owed", "assets", "recovery", "words"),
    [
        ([[1, 0], [0, 0]], [1, 1], 1, r"liabilities_usd\[0, 0\] = 1: give 0"),
        ([[0, 1], [0, 0]], [1], 1, "give one for each of 2"),
        ([[0, 1], [0, 0]], [1, -1], 1, "assets_usd = -1"),
        ([[0, np.nan], [0, 0]], [1, 1], 1, "liabilities_usd = nan"),
        ([[0, 1], [0, 0]], [1, 1], 1.5, "asset_recovery = 1.5: give 0 to 1"),
    ],
)
def test_clearing_names_what_is_wrong(owed, assets, recovery, words):
    with pytest.raises(ValueError, match=words):
        ownership.cleared(owed, assets, recovery)
