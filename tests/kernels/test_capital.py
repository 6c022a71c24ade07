"""Capital: limits, identities, and plain sums as oracles."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stackbook.kernels import capital

rates = st.floats(1e-4, 1.0)
years = st.integers(1, 40)
dollars = st.floats(1.0, 1e12)


def payments(rate, years):
    """Present value of one dollar at each year's end, added up."""
    return np.sum((1.0 + rate) ** -np.arange(1.0, years + 1.0))


@given(rates, years)
def test_annuity_repays_one_dollar(rate, years):
    assert capital.annuity(rate, years) * payments(rate, years) == pytest.approx(1)


@given(st.floats(-0.5, -1e-4), years)
def test_annuity_holds_for_negative_rates(rate, years):
    assert capital.annuity(rate, years) * payments(rate, years) == pytest.approx(1)


@given(st.sampled_from([0.0, 1e-15, -1e-15, 1e-12]), years)
def test_annuity_without_interest_is_straight_line(rate, years):
    assert capital.annuity(rate, years) == pytest.approx(1 / years, rel=1e-9)


@given(st.sampled_from([5e-324, -5e-324, 1e-310, 1e-290]), st.floats(0.3, 40))
def test_annuity_at_rates_next_to_none_is_straight_line(rate, years):
    assert capital.annuity(rate, years) == pytest.approx(1 / years, rel=1e-12)


@given(rates)
def test_annuity_of_endless_life_is_the_rate(rate):
    assert capital.annuity(rate, np.inf) == rate


@given(dollars, st.floats(0, 1), years)
def test_invariant_6_annuity_is_depreciation_and_normal_return(capital_usd, rate, years):
    parts = capital.depreciation(capital_usd, years) + capital.normal_return(
        capital_usd, rate, years
    )
    assert parts == pytest.approx(capital_usd * capital.annuity(rate, years))


def test_endless_life_without_interest_costs_nothing_a_year():
    assert capital.annuity(0, np.inf) == 0
    assert capital.present_value(1, 0, np.inf) == np.inf


@given(dollars, years)
def test_invariant_6_normal_return_vanishes_with_the_rate(capital_usd, years):
    rounding = 1e-15 * capital_usd
    assert capital.normal_return(capital_usd, 0, years) == pytest.approx(0, abs=rounding)
    assert capital.normal_return(capital_usd, 1e-9, years) < 1e-8 * capital_usd


@given(rates, st.floats(0, 0.9), st.floats(-0.3, 0.3))
def test_user_cost_is_the_annuity_of_one_year(rate, decay, growth):
    """Held for a year and then sold, the two models of capital cost are the same."""
    held = capital.annuity_with_residual(rate, 1, 1 - decay + growth)
    assert capital.user_cost(1, rate, decay, growth) == pytest.approx(held, abs=1e-12)


@given(rates, years, st.floats(0, 0.9))
def test_annuity_levels_the_user_cost_of_a_decaying_asset(rate, years, decay):
    """Over any holding period, where the resale value follows the same decay."""
    t = np.arange(1.0, years + 1.0)
    user_costs = capital.user_cost((1 - decay) ** (t - 1), rate, decay, 0.0)
    level = np.sum(user_costs * capital.discount_factor(rate, t)) / payments(rate, years)
    held = capital.annuity_with_residual(rate, years, (1 - decay) ** years)
    assert held == pytest.approx(level)


@given(rates, years)
def test_residual_of_nothing_or_everything(rate, years):
    assert capital.annuity_with_residual(rate, years, 0) == capital.annuity(rate, years)
    assert capital.annuity_with_residual(rate, years, 1) == pytest.approx(rate)


@given(dollars, dollars, rates, years)
def test_net_present_value_is_a_plain_sum(capital_usd, usd_per_year, rate, years):
    flows = np.full(years, usd_per_year)
    expected = np.sum(flows / (1 + rate) ** np.arange(1, years + 1)) - capital_usd
    npv = capital.net_present_value(capital_usd, usd_per_year, rate, years)
    assert npv == pytest.approx(expected, rel=1e-9, abs=1e-9 * capital_usd)


@given(dollars, rates, years)
def test_an_annuity_leaves_no_net_present_value(capital_usd, rate, years):
    payment = capital_usd * capital.annuity(rate, years)
    npv = capital.net_present_value(capital_usd, payment, rate, years)
    assert npv == pytest.approx(0, abs=1e-9 * capital_usd)


def test_cottier_2024_price_performance():
    """0.14 orders of magnitude a year are 32.2% a year, as Cottier et al. 2024 amortise."""
    assert capital.economic_depreciation(0.14) == pytest.approx(0.322, abs=5e-4)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(
    ("kernel", "args"),
    [
        (capital.discount_factor, (-1, 5)),
        (capital.annuity, (-1, 5)),
        (capital.annuity, (0.1, 0)),
        (capital.annuity, (0.0, -1)),
        (capital.annuity_with_residual, (0.1, 0, 0.2)),
        (capital.depreciation, (1.0, 0)),
        (capital.normal_return, (1.0, 0.1, 0)),
        (capital.present_value, (1.0, -2, 5)),
        (capital.net_present_value, (1.0, 1.0, 0.1, -5)),
    ],
)
def test_nan_outside_the_domain(kernel, args, assert_nan):
    assert_nan(kernel, args)


@pytest.mark.parametrize(("rate", "book"), [(0.08, 1.0), (0.1, 4.7), (0.2, 12.0)])
def test_book_life_pays_the_rate_on_book_capital(rate, book):
    life = capital.book_life(rate, book)
    assert life * capital.annuity(rate, life) - 1 == pytest.approx(rate * book)
    assert capital.book_life(1e-6, book) == pytest.approx(2 * book - 1, rel=1e-4)
