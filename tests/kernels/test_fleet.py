"""Demand, fleet and rents over time: published values, limits, oracles, invariants."""

import numpy as np
import polars as pl
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from plain import fleet_path_plainly
from scipy import integrate, optimize

from stackbook import facts
from stackbook.kernels import fleet
from stackbook.kernels.cloud import waiting_multiple
from stackbook.kernels.datacenter import HOURS_PER_YEAR, available_hours
from stackbook.kernels.fleet import Buyers, Demand, Generations, Supply, Uses
from stackbook.kernels.jit import threads

BUYERS = Buyers(noise_usd=0.5, nest_correlation=0.4, elasticity=1.5, index_usd=3, units=100)
PRICES, NESTS = np.array([3.0, 3.2, 4.0, 2.9]), ["a", "a", "b", "c"]
DEMAND = Demand(wanted=1e6, rent_usd_per_hour=2, elasticity=1.5, growth=0.5, expected_growth=0.5)
SUPPLY = Supply(
    capital_usd=30_000,
    capital_growth=-0.2,
    cost_usd_per_hour=0.4,
    cost_growth=-0.2,
    rent_growth=-0.2,
    availability=0.95,
    rate=0.1,
    life_years=5,
    lead_years=0,
    multiple=1,
)


@st.composite
def markets(draw):
    """Prices, nests and buyers of two to six products."""
    size = draw(st.integers(2, 6))
    prices = draw(st.lists(st.floats(2, 6), min_size=size, max_size=size))
    nests = draw(st.lists(st.sampled_from("abc"), min_size=size, max_size=size))
    buyers = Buyers(
        noise_usd=draw(st.floats(0.1, 1)),
        nest_correlation=draw(st.floats(0, 0.8)),
        elasticity=draw(st.floats(0, 3)),
        index_usd=3,
        units=100,
    )
    return np.array(prices), np.array(nests), buyers


# --- Choices ---


def test_mcfadden_1974_red_and_blue_buses():
    """A bus of another colour takes from the bus alone, but in a logit from the car as well."""
    same, nests = [3.0, 3.0, 3.0], ["car", "bus", "bus"]
    logit = fleet.choices(same, nests, BUYERS._replace(nest_correlation=0))
    nested = fleet.choices(same, nests, BUYERS._replace(nest_correlation=1 - 1e-9))
    np.testing.assert_allclose(logit.shares, 1 / 3)
    np.testing.assert_allclose(nested.shares, [1 / 2, 1 / 4, 1 / 4], rtol=1e-8)


@given(markets())
def test_shares_are_those_of_the_formula_written_out(market):
    prices, nests, buyers = market
    rest = 1 - buyers.nest_correlation
    sums = {n: np.exp(-prices[nests == n] / buyers.noise_usd / rest).sum() for n in set(nests)}
    total = sum(each**rest for each in sums.values())
    index = -buyers.noise_usd * np.log(total)
    assume(index > 0.01)
    found = fleet.choices(prices, nests, buyers)
    within = [
        np.exp(-p / buyers.noise_usd / rest) / sums[n] for p, n in zip(prices, nests, strict=True)
    ]
    np.testing.assert_allclose(found.within, within)
    np.testing.assert_allclose(
        found.shares, [w * sums[n] ** rest / total for w, n in zip(within, nests, strict=True)]
    )
    assert found.shares.sum() == pytest.approx(1, rel=1e-12)
    assert found.index_usd == pytest.approx(index)
    assert found.units == pytest.approx(100 * (index / 3) ** -buyers.elasticity)


def test_a_price_out_of_reach_leaves_the_others_as_if_alone():
    found = fleet.choices([3.0, 1e6], ["a", "b"], BUYERS)
    np.testing.assert_allclose(found.shares, [1, 0])
    assert found.index_usd == pytest.approx(3)
    assert found.units == pytest.approx(100)


@given(markets())
def test_elasticities_are_those_of_small_changes(market):
    prices, nests, buyers = market

    def bought(logs):
        found = fleet.choices(prices + np.expm1(logs) * 2, nests, buyers)
        return np.log(found.units * found.shares)

    step = 1e-6
    try:
        numeric = [(bought(h) - bought(-h)) / (2 * step) for h in step * np.eye(prices.size)]
    except ValueError:
        assume(False)
    # A part of the generalized price is paid, here 2 USD of each.
    ours = fleet.elasticities(prices, np.full(prices.size, 2.0), nests, buyers)
    np.testing.assert_allclose(ours, np.transpose(numeric), rtol=1e-5, atol=1e-6)
    assert (np.diag(ours) < 0).all()


@given(markets())
def test_what_a_dearer_product_loses_goes_to_the_others_or_is_bought_no_more(market):
    prices, nests, buyers = market
    try:
        slopes = fleet.demand_slopes(prices, nests, buyers)
    except ValueError:
        assume(False)
    np.testing.assert_allclose(slopes, slopes.T, rtol=1e-9)
    ratios = fleet.diversion(prices, nests, buyers)
    assert (np.diag(ratios) == 0).all()
    np.testing.assert_allclose(
        -ratios * np.diag(slopes)[:, None], np.tril(slopes, -1) + np.triu(slopes, 1)
    )
    found = fleet.choices(prices, nests, buyers)
    all_lost = -buyers.elasticity / found.index_usd * found.units * found.shares
    np.testing.assert_allclose((1 - ratios.sum(axis=1)) * np.diag(slopes), all_lost, atol=1e-9)
    fixed = fleet.diversion(prices, nests, buyers._replace(elasticity=0))
    np.testing.assert_allclose(fixed.sum(axis=1), 1)


def test_diversion_of_a_logit_is_by_shares_and_nests_divert_more_inside():
    logit = BUYERS._replace(nest_correlation=0, elasticity=0)
    shares = fleet.choices(PRICES, NESTS, logit).shares
    np.testing.assert_allclose(
        fleet.diversion(PRICES, NESTS, logit)[0, 1:], shares[1:] / (1 - shares[0])
    )
    nested = fleet.diversion(PRICES, NESTS, BUYERS)
    assert nested[0, 1] > fleet.diversion(PRICES, NESTS, logit)[0, 1]


@given(markets())
def test_implied_prices_give_the_shares_and_the_index(market):
    prices, nests, buyers = market
    shares = np.exp(-prices) / np.exp(-prices).sum()
    found = fleet.choices(fleet.implied_prices(shares, nests, buyers), nests, buyers)
    np.testing.assert_allclose(found.shares, shares, rtol=1e-9)
    assert found.index_usd == pytest.approx(3, rel=1e-9)
    assert found.units == pytest.approx(100, rel=1e-9)


@given(st.floats(0.5, 5), st.floats(0.5, 5), st.floats(0, 3))
def test_surplus_is_the_area_under_demand(before, after, elasticity):
    area, _ = integrate.quad(lambda p: 100 * (p / before) ** -elasticity, after, before)
    gain = fleet.surplus_gain(before, after, 100, elasticity)
    assert gain == pytest.approx(area, rel=1e-9, abs=1e-9)


def test_surplus_of_a_fixed_total_is_the_log_sum_and_a_cent_costs_a_cent_a_unit():
    fixed = BUYERS._replace(elasticity=0)
    before, after = (fleet.choices(p, NESTS, fixed).index_usd for p in (PRICES, PRICES - 0.5))
    assert fleet.surplus_gain(before, after, 100, 0) == pytest.approx(50)
    found = fleet.choices(PRICES, NESTS, BUYERS)
    dearer = fleet.choices(PRICES + np.array([1e-6, 0, 0, 0]), NESTS, BUYERS).index_usd
    loss = fleet.surplus_gain(found.index_usd, dearer, found.units, BUYERS.elasticity)
    assert loss == pytest.approx(-1e-6 * found.units * found.shares[0], rel=1e-5)


def test_generalized_price_counts_waiting_leaving_and_quality():
    assert fleet.generalized_price(3, 20, 0.01, 0.5, 1.2) == pytest.approx(3 + 0.2 + 0.5 - 1.2)


# --- Rents of a fleet ---


@given(st.floats(0.1, 10), st.floats(0.1, 10), st.floats(0.3, 5), st.floats(0, 3))
def test_rent_clears_or_is_what_energy_and_operation_cost(count, wanted, elasticity, cost):
    rent = fleet.clearing_rent(count, wanted, 2, elasticity, cost)
    demand = wanted * (rent / 2) ** -elasticity
    assert rent >= cost
    assert demand <= count * (1 + 1e-9)
    if rent > cost:
        assert demand == pytest.approx(count)
        assert fleet.implied_demand(count, rent, 2, elasticity) == pytest.approx(wanted)


def test_scarcity_rent_is_what_one_hour_more_is_worth():
    """The multiplier: gain of users and owners together, over the hours that are added."""
    hours, more, cost, elasticity = 1.0, 1e-6, 0.4, 1.5
    old, new = (fleet.clearing_rent(h, 2, 2, elasticity, cost) for h in (hours, hours + more))
    users = fleet.surplus_gain(old, new, hours, elasticity)
    owners = (new - cost) * (hours + more) - (old - cost) * hours
    assert (users + owners) / more == pytest.approx(old - cost, rel=1e-5)


def test_one_use_and_one_generation_clear_as_the_formula_says():
    found = fleet.cleared(Uses(3e4, 1.5), Generations(2, 1, 0.4), 2, 0.9)
    wanted = 3e4 / available_hours(0.9)
    assert found.usd_per_hour == pytest.approx(fleet.clearing_rent(2, wanted, 2, 1.5, 0.4))
    assert found.utilization == pytest.approx(1)


@given(
    st.lists(st.tuples(st.floats(0.01, 100), st.floats(0.2, 4)), min_size=1, max_size=4),
    st.lists(
        st.tuples(st.sampled_from([0.0, 0.1, 1.0, 7.0]), st.floats(0.1, 1), st.floats(0.05, 3)),
        min_size=1,
        max_size=5,
    ),
)
def test_hours_used_are_hours_wanted_and_only_dear_ones_stand_still(uses, generations):
    assume(sum(g[0] for g in generations) > 0.1)
    hours, elasticity = np.transpose(uses) * [[HOURS_PER_YEAR], [1]]
    count, eta, cost = np.transpose(generations)
    found = fleet.cleared(Uses(hours, elasticity), Generations(count, eta, cost), 2, 0.9)
    rent, capacity = found.usd_per_hour, count * eta * available_hours(0.9)
    np.testing.assert_allclose(found.hours, hours * (rent / 2) ** -elasticity)
    assert found.hours.sum() == pytest.approx((capacity * found.utilization).sum(), rel=1e-9)
    assert ((found.utilization >= 0) & (found.utilization <= 1)).all()
    np.testing.assert_allclose(found.rents, rent * eta)
    off = found.rents < cost * (1 - 1e-9)
    assert (found.utilization[off] == 0).all()
    idle = (found.utilization < 1) & (count > 0)
    assert found.scarcity[idle] == pytest.approx(0, abs=1e-9)

    def excess(log_rent):
        wanted = (hours * np.exp(-elasticity * log_rent)).sum()
        return wanted - capacity[2 * np.exp(log_rent) * eta > cost].sum()

    oracle = optimize.bisect(excess, -60, 60, xtol=1e-13)
    assert rent == pytest.approx(2 * np.exp(oracle), rel=1e-9)


@pytest.mark.parametrize(
    ("uses", "generations", "message"),
    [
        (Uses(0, 1.5), Generations(2, 1, 0.4), "hours"),
        (Uses(3e4, 1.5), Generations(0, 1, 0.4), "accelerators"),
        (Uses(3e4, 1.5), Generations(2, 1, 0), "cost_usd_per_hour"),
        (Uses([3e4, 2], 1.5), Generations(2, 1, 0.4), "elasticity for each"),
    ],
)
def test_bad_fleets_are_named(uses, generations, message):
    with pytest.raises(ValueError, match=message):
        fleet.cleared(uses, generations, 2, 0.9)


# --- Over time ---


@pytest.mark.parametrize(
    ("demand", "supply"),
    [
        (DEMAND, SUPPLY),
        (DEMAND, SUPPLY._replace(lead_years=1, multiple=1.7)),
        (DEMAND._replace(growth=[2] * 8 + [-0.6] * 12), SUPPLY._replace(lead_years=0.75)),
        (DEMAND._replace(expected_growth=1.5), SUPPLY._replace(most_per_year=4e5, lead_years=0.5)),
    ],
)
def test_path_is_as_a_plain_loop_finds(demand, supply):
    supply = supply._replace(life_years=3)
    ages, ordered = [1e5, 2e5, 0, 5e4], [3e4, 5e4, 1e5]
    found = fleet.fleet_path(demand, supply, ages, ordered, 20, 4, 1, 0)
    rents, additions = fleet_path_plainly(demand, supply, ages, ordered, 20, 4)
    np.testing.assert_allclose(found.usd_per_hour[0], rents, rtol=1e-8)
    np.testing.assert_allclose(found.additions[0], additions, rtol=1e-8, atol=1e-6)
    made = np.zeros(3 + 20)
    made[:4] = ages[::-1]
    made[3:] += found.additions[0]
    alive = [made[max(0, t + 4 - 12) : t + 4].sum() for t in range(20)]
    np.testing.assert_allclose(found.accelerators[0], alive)


def test_without_lag_and_surprise_the_rent_is_the_long_run_cost_and_pays_for_the_chip():
    found = fleet.fleet_path(DEMAND, SUPPLY, 1e5, 0, 121, 24, 1, 0)
    np.testing.assert_allclose(found.usd_per_hour[0], found.long_run_usd_per_hour, rtol=1e-9)
    np.testing.assert_allclose(found.value_usd[0, 0], SUPPLY.capital_usd, rtol=1e-9)
    np.testing.assert_allclose(found.utilization, 1)
    years = np.arange(121) / 24
    flow = (found.usd_per_hour[0] - 0.4) * available_hours(0.95) * 1.1**-years
    assert integrate.trapezoid(flow, years) == pytest.approx(30_000, rel=1e-3)
    assert found.first_value_usd[0, -1] == pytest.approx(0, abs=1)


def test_foresight_makes_a_lead_time_harmless_once_first_orders_have_come():
    growth = np.linspace(1, 0.2, 40)
    demand = DEMAND._replace(growth=growth, expected_growth=growth)
    found = fleet.fleet_path(demand, SUPPLY._replace(lead_years=1), 1e5, 0, 40, 4, 1, 0)
    np.testing.assert_allclose(found.usd_per_hour[0, 4:], found.long_run_usd_per_hour[4:])
    assert (found.usd_per_hour[0, :4] > found.long_run_usd_per_hour[:4]).all()


def test_boom_then_glut_where_demand_falls_short_of_what_was_ordered_for():
    growth = np.array([2.0] * 8 + [-0.9] * 12)
    demand = DEMAND._replace(growth=growth, expected_growth=2.0)
    found = fleet.fleet_path(demand, SUPPLY._replace(lead_years=1.5), 1e5, 0, 20, 4, 1, 0)
    rent, oldest = found.usd_per_hour[0], SUPPLY.cost_usd_per_hour
    assert rent[5] > 1.5 * found.long_run_usd_per_hour[5]
    glut = found.utilization[0] < 1
    assert glut[-1]
    assert not glut[:8].any()
    # Then the rent is energy and operation of a chip that runs in part.
    assert (rent[glut] <= oldest * (1 + 1e-9)).all()
    assert (rent[glut] >= found.short_run_usd_per_hour[-1] * (1 - 1e-9)).all()
    assert found.value_usd[0, -1] < SUPPLY.capital_usd / 10


def test_a_cap_on_additions_keeps_rents_above_entry_and_waiting_raises_them():
    free = fleet.fleet_path(DEMAND, SUPPLY, 1e5, 0, 20, 4, 1, 0)
    capped = fleet.fleet_path(DEMAND, SUPPLY._replace(most_per_year=1e5), 1e5, 0, 20, 4, 1, 0)
    np.testing.assert_allclose(capped.additions, 2.5e4)
    assert (capped.usd_per_hour[0] > capped.entry_usd_per_hour).all()
    multiple = waiting_multiple(0.04, 0.1, 0.4)
    waits = fleet.fleet_path(DEMAND, SUPPLY._replace(multiple=multiple), 1e5, 0, 20, 4, 1, 0)
    np.testing.assert_allclose(waits.usd_per_hour[0], waits.entry_usd_per_hour)
    assert (waits.entry_usd_per_hour > free.entry_usd_per_hour).all()
    np.testing.assert_allclose(waits.value_usd[0, 0], multiple * 30_000)


def test_simulated_demand_has_its_mean_and_the_same_bits_on_any_number_of_threads():
    demand = DEMAND._replace(sigma=0.4)
    arguments = demand, SUPPLY._replace(lead_years=1), 1e5, 0, 13, 4, 4000, 7
    one = fleet.fleet_path(*arguments)
    error = one.wanted.std(axis=0) / np.sqrt(4000)
    expected = 1e6 * 1.5 ** (np.arange(13) / 4)
    assert (np.abs(one.wanted.mean(axis=0) - expected) <= 4 * error + 1e-6).all()
    assert np.log(one.wanted[:, 4]).std() == pytest.approx(0.4, rel=0.05)
    with threads(2):
        two = fleet.fleet_path(*arguments)
    for ours, theirs in zip(one, two, strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_rents_of_2023_to_2026_have_the_signs_that_were_seen():
    """Fleet of 2023 of table `compute_owned`; demand alone drives, and it grows all the time.

    Owners expect 150% a year, and 100% in 2026; it slows to 80% in 2025 and grows sixfold in 2026.
    Rents fall as the fleet outgrows demand, and rise where demand leaps ahead of lead times.
    """
    owned = facts.table("compute_owned").filter(pl.col("owner") == "All")
    by_quarter = owned.group_by("quarter_end").agg(pl.sum("h100e")).sort("quarter_end")
    stock = by_quarter.collect()["h100e"].to_numpy()
    year_2023 = stock[4:8]  # at the end of each quarter
    growth = np.repeat([1.5, 1.5, 0.8, 5.0], 4)
    demand = Demand(
        wanted=fleet.implied_demand(year_2023[0], 4.4, 2, 1.5),
        rent_usd_per_hour=2,
        elasticity=1.5,
        growth=growth,
        expected_growth=np.repeat([1.5, 1.5, 1.5, 1.0], 4),
    )
    supply = SUPPLY._replace(capital_usd=50_000, cost_usd_per_hour=0.35, lead_years=1, multiple=1.3)
    ordered = np.diff(year_2023, prepend=year_2023[0])
    found = fleet.fleet_path(demand, supply, year_2023[0], ordered, 16, 4, 1, 0)
    rent = found.usd_per_hour[0]
    assert rent[0] > rent[4] > rent[8] > rent[12]
    assert (np.diff(rent[12:]) > 0).all()
    assert (np.diff(found.wanted[0]) > 0).all()
    # A chip of 2023 loses most of its value by the end of 2025, and is worth more a year later.
    value = found.first_value_usd[0]
    assert value[12] < value[0] / 2
    assert value[15] > value[12]
    # The fleet at the end of 2025 is within a third of the one there was.
    assert found.accelerators[0, 11] == pytest.approx(stock[15], rel=1 / 3)


@pytest.mark.parametrize(
    ("demand", "supply", "message"),
    [
        (DEMAND._replace(growth=-1), SUPPLY, "Demand.growth = -1"),
        (DEMAND._replace(growth=[0.1, 0.2]), SUPPLY, "Demand.growth of shape .* or 20"),
        (DEMAND, SUPPLY._replace(cost_growth=0.1), "Supply.cost_growth"),
        (DEMAND, SUPPLY._replace(multiple=0.9), "Supply.multiple"),
        (DEMAND, SUPPLY._replace(life_years=0.1), "Supply.life_years"),
        (DEMAND, SUPPLY._replace(most_per_year=np.nan), "Supply.most_per_year"),
    ],
)
def test_bad_paths_are_named(demand, supply, message):
    with pytest.raises(ValueError, match=message):
        fleet.fleet_path(demand, supply, 1e5, 0, 20, 4, 1, 0)


@pytest.mark.parametrize("ages", [[], [[1.0, 2.0]]])
def test_a_fleet_has_ages(ages):
    with pytest.raises(ValueError, match=r"^fleet: give"):
        fleet.fleet_path(DEMAND, SUPPLY, ages, 0, 20, 4, 1, 0)


def test_formulas_are_nan_outside_their_domain(assert_nan):
    for args in [(0, 1, 2, 1.5, 0.4), (1, 0, 2, 1.5, 0.4), (1, 1, 0, 1.5, 0.4), (1, 1, 2, 0, 0.4)]:
        assert_nan(fleet.clearing_rent, args)
    assert_nan(fleet.clearing_rent, (1, 1, 2, 1.5, -1))
    assert_nan(fleet.surplus_gain, (0, 1, 1, 1))
    assert_nan(fleet.implied_demand, (1, 0, 2, 1.5))
    assert_nan(fleet.generalized_price, (1, -1, 1, 1, 1))
