"""Prices and energy of tokens: published figures, identities and limits."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stackbook.kernels import chips, datacenter, token_prices, training_cost
from stackbook.kernels.token_prices import PriceFactors

usd = st.floats(0.001, 100.0)
shares = st.floats(0.0, 1.0)
DAY = 86_400.0


def test_nodes_of_deepseek_on_a_day():
    """226.75 nodes were counted; their throughput and the day's tokens were told apart."""
    prompts = token_prices.nodes_for_flow(608e9 / DAY, 73_700, 1.0)
    answers = token_prices.nodes_for_flow(168e9 / DAY, 14_800, 1.0)
    assert prompts + answers == pytest.approx(226.75, rel=1e-3)


def test_half_used_nodes_are_twice_as_many():
    half, full = (token_prices.nodes_for_flow(1e6, 1e4, u) for u in (0.5, 1.0))
    assert half == pytest.approx(2 * full)


def test_revenue_of_deepseek_on_a_day():
    price = token_prices.billed_price(
        0.55, 2.19, 0.14, 0.55, 168 / 776, 342 / 608, 0.0, 0.0, 0.0, 0.0
    )
    assert price * 776e3 == pytest.approx(562_027, rel=2e-4)


@given(usd, usd, usd, usd, shares, shares, shares, shares, shares, shares)
def test_a_bill_is_the_sum_of_its_lines(fresh, out, read, write, o, r, w, b, d, f):
    """Plain count of the tokens of each kind, half of the cached ones written at most."""
    r, w = r / 2, w / 2
    price = token_prices.billed_price(fresh, out, read, write, o, r, w, b, d, f)
    prompt = (1 - o) * (fresh * (1 - r - w) + read * r + write * w)
    paid = (1 - f) * ((1 - b) + b * (1 - d))
    assert price == pytest.approx(paid * (prompt + o * out), rel=1e-9, abs=1e-12)
    assert -1e-12 <= price <= max(fresh, out, read, write) * (1 + 1e-12)


def test_a_batch_of_cached_tokens_keeps_both_discounts():
    """Input that a cache gives at a tenth, in a batch at half price: a twentieth."""
    price = token_prices.billed_price(5.0, 25.0, 0.5, 6.25, 0.0, 1.0, 0.0, 1.0, 0.5, 0.0)
    assert price == pytest.approx(0.25)


@pytest.mark.parametrize("at", range(10))
def test_a_share_or_a_price_below_zero_has_no_bill(at, assert_nan):
    args = [1.0, 1.0, 1.0, 1.0, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5]
    args[at] = -0.1
    assert_nan(token_prices.billed_price, args)


def test_more_cached_than_read_has_no_bill(assert_nan):
    assert_nan(token_prices.billed_price, [1.0, 1.0, 1.0, 1.0, 0.5, 0.6, 0.5, 0.0, 0.0, 0.0])


def test_token_price_agrees_with_accelerator_hours():
    hours = training_cost.accelerator_hours(2 * 37e9 * 1e6, 989e12, 0.2, 1.0)
    price = token_prices.token_price(2.0, 989e12, 0.2, 37e9, 0.6)
    assert price == pytest.approx(chips.price(2.0 * hours, 0.6))


factors = st.builds(
    PriceFactors,
    usd_per_hour=st.floats(0.1, 20.0),
    flop_per_s=st.floats(1e14, 1e17),
    mfu=st.floats(1e-4, 1.0),
    params=st.floats(1e8, 1e12),
    margin=st.floats(-2.0, 0.95),
)


@given(factors, factors)
def test_the_parts_of_a_fall_sum_to_the_fall(before, after):
    whole = np.log(token_prices.token_price(*before) / token_prices.token_price(*after))
    fall = before.fall(after)
    assert fall.total == pytest.approx(whole, abs=1e-9)
    assert after.fall(before) == pytest.approx([-part for part in fall])


@given(factors, factors)
def test_a_part_is_what_the_price_falls_if_only_its_factor_changes(before, after):
    fall = before.fall(after)
    for name, part in zip(PriceFactors._fields, fall, strict=True):
        alone = before._replace(**{name: getattr(after, name)})
        ratio = token_prices.token_price(*before) / token_prices.token_price(*alone)
        assert part == pytest.approx(np.log(ratio), abs=1e-9), name


def test_parts_of_arrays():
    before = PriceFactors(np.array([2.0, 4.0]), 1e15, 0.2, 1e11, 0.5)
    fall = before.fall(before._replace(usd_per_hour=2.0))
    np.testing.assert_allclose(fall.total, np.log([1.0, 2.0]))


def test_fall_per_year_compounds_to_the_whole():
    factor = token_prices.fall_per_year(20.0, 0.07, 2.0)
    assert factor**2 == pytest.approx(20 / 0.07)
    assert token_prices.fall_per_year(3.0, 3.0, 0.5) == pytest.approx(1.0)
    assert token_prices.fall_per_year(2.0, 3.0, 1.0) == pytest.approx(2 / 3)


@pytest.mark.parametrize("args", [(0.0, 1.0, 1.0), (1.0, 0.0, 1.0), (1.0, 1.0, 0.0)])
def test_no_fall_without_a_price_or_time(args, assert_nan):
    assert_nan(token_prices.fall_per_year, args)


def test_energy_of_a_prompt_to_gemini():
    """0.14 Wh in accelerators, 0.06 in hosts, 0.02 each in idle machines and overhead."""
    joules = token_prices.served_energy(0.14 * 3600, 0.06 / 0.14, 0.02 / 0.20, 0.24 / 0.22)
    assert joules / 3600 == pytest.approx(0.24)


def test_carbon_of_a_query_is_that_of_its_hours():
    """A kilowatt for an hour, by the carbon of an accelerator-hour without its making."""
    hourly = datacenter.carbon_per_hour(1.0, 1.0, 1.0, 400.0, 0.0, 5.0, 1.0)
    assert token_prices.electricity_carbon(3.6e6, 400.0) == pytest.approx(hourly)


def test_energy_below_zero_has_no_carbon(assert_nan):
    assert_nan(token_prices.electricity_carbon, (-1.0, 400.0))
    assert_nan(token_prices.served_energy, (1.0, 0.1, 0.1, 0.9))
    assert_nan(token_prices.nodes_for_flow, (1.0, 1.0, 0.0))
