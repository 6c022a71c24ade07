"""Chips: yield models against their definitions, identities and limits of cost and supply."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import integrate, optimize, stats

from stackbook.kernels import chips

areas = st.floats(1.0, 2000.0)
densities = st.floats(0.0, 2.0)
shares = st.floats(0.0, 1.0)


@pytest.mark.parametrize("die_mm2", [25, 100, 400])
def test_gross_dies_counts_squares_on_a_disc(die_mm2):
    """Against the mean count of whole squares over many offsets of the grid."""
    side = np.sqrt(die_mm2)
    edges = np.arange(-np.ceil(160 / side), np.ceil(160 / side)) * side

    def count(x, y):
        far_x = np.maximum(np.abs(edges + x), np.abs(edges + x + side))
        far_y = np.maximum(np.abs(edges + y), np.abs(edges + y + side))
        return np.sum(far_x[:, None] ** 2 + far_y**2 <= 147**2)

    offsets = np.linspace(0, side, 12, endpoint=False)
    counted = np.mean([count(x, y) for x in offsets for y in offsets])
    assert chips.gross_dies(300, 3, die_mm2) == pytest.approx(counted, rel=0.04)


@given(areas, densities)
def test_poisson_yield_is_no_event(die_mm2, density):
    expected = stats.poisson.pmf(0, die_mm2 / 100 * density)
    assert chips.poisson_yield(die_mm2, density) == pytest.approx(expected, rel=1e-9)


@given(areas, densities, st.floats(0.1, 50))
def test_negative_binomial_yield_is_no_event(die_mm2, density, clustering):
    p = clustering / (clustering + die_mm2 / 100 * density)
    expected = stats.nbinom.pmf(0, clustering, p)
    value = chips.negative_binomial_yield(die_mm2, density, clustering)
    assert value == pytest.approx(expected, rel=1e-8)


@pytest.mark.parametrize(("die_mm2", "density"), [(814, 0.1), (100, 0.05), (600, 0.3)])
def test_murphy_and_seeds_mix_poisson_over_density(die_mm2, density):
    area = die_mm2 / 100
    triangle = stats.triang(0.5, scale=2 * density).pdf
    mixed = integrate.quad(
        lambda d: np.exp(-area * d) * triangle(d), 0, 2 * density, points=[density]
    )[0]
    assert chips.murphy_yield(die_mm2, density) == pytest.approx(mixed, rel=1e-8)
    exponential = stats.expon(scale=density).pdf
    mixed = integrate.quad(lambda d: np.exp(-area * d) * exponential(d), 0, np.inf)[0]
    assert chips.seeds_yield(die_mm2, density) == pytest.approx(mixed, rel=1e-6)


@given(areas, densities)
def test_invariant_11_yield_models_are_ordered(die_mm2, density):
    poisson, murphy, seeds = (
        model(die_mm2, density)
        for model in (chips.poisson_yield, chips.murphy_yield, chips.seeds_yield)
    )
    assert 0 <= poisson <= murphy * (1 + 1e-12)
    assert murphy <= seeds * (1 + 1e-12) <= 1 + 1e-12


@given(areas, st.floats(0.0, 0.5))
def test_negative_binomial_limits(die_mm2, density):
    seeds = chips.negative_binomial_yield(die_mm2, density, 1)
    assert seeds == pytest.approx(chips.seeds_yield(die_mm2, density))
    poisson = chips.negative_binomial_yield(die_mm2, density, 1e9)
    assert poisson == pytest.approx(chips.poisson_yield(die_mm2, density), rel=1e-6)


@given(areas, st.sampled_from([0.0, 1e-12]))
def test_invariant_11_all_yields_become_one_without_defects(die_mm2, density):
    for value in (
        chips.poisson_yield(die_mm2, density),
        chips.murphy_yield(die_mm2, density),
        chips.seeds_yield(die_mm2, density),
        chips.negative_binomial_yield(die_mm2, density, 3),
        chips.harvested_yield(die_mm2, density, 0.75, 144, 12),
    ):
        assert value == pytest.approx(1, abs=1e-9)


@given(areas, densities, shares, st.integers(1, 200), st.data())
def test_invariant_11_harvested_yield_is_a_binomial_sum_above_the_perfect_one(
    die_mm2, density, redundant, blocks, data
):
    spares = data.draw(st.integers(0, blocks))
    x = die_mm2 / 100 * density
    block_fails = -np.expm1(-redundant * x / blocks)
    expected = np.exp(-(1 - redundant) * x) * stats.binom.cdf(spares, blocks, block_fails)
    harvested = chips.harvested_yield(die_mm2, density, redundant, blocks, spares)
    assert harvested == pytest.approx(expected, rel=1e-6, abs=1e-12)
    assert chips.poisson_yield(die_mm2, density) <= harvested * (1 + 1e-12) <= 1 + 1e-12


@given(st.floats(1, 1e5), st.floats(-1, 0.99))
def test_margin_is_the_inverse_of_price(cost_usd, margin):
    assert chips.margin(chips.price(cost_usd, margin), cost_usd) == pytest.approx(margin, abs=1e-9)


@given(st.floats(0.01, 1))
def test_package_yield_loses_dies_and_memory(package_yield):
    assert chips.unit_cost(300, 80, 15, 700, package_yield, 50, 20) == pytest.approx(
        (300 + 80 * 15 + 700) / package_yield + 70
    )


def test_full_cost_falls_to_unit_cost_with_volume():
    assert chips.full_cost(5000, 1e9, 1e5) == 15_000
    assert chips.full_cost(5000, 1e9, np.inf) == 5000


@given(st.floats(1e6, 1e10), st.floats(0, 1e9), st.floats(0.3, 1.5))
def test_own_silicon_breaks_even(programme, flexibility, output):
    """At the break-even volume both fleets cost the same; where nothing is saved, never."""
    volume = chips.break_even_volume(programme, flexibility, 30_000, 15_000, 6000, 9000, output)
    merchant = volume * (30_000 + 15_000)
    own = volume / output * (6000 + 9000) + programme + flexibility
    if np.isinf(volume):
        assert 15_000 / output >= 45_000
    else:
        assert merchant == pytest.approx(own)


def test_own_silicon_that_saves_nothing_never_breaks_even():
    assert chips.break_even_volume(1e9, 0, 10_000, 5000, 10_000, 5000, 1.0) == np.inf
    assert chips.break_even_volume(1e9, 0, 10_000, 5000, 10_000, 5000, 0.5) == np.inf


def test_old_chip_loses_an_order_of_magnitude():
    assert chips.old_chip_value(30_000, 0.14, 1 / 0.14) == pytest.approx(3000)
    assert chips.old_chip_value(30_000, 0.14, 0) == 30_000


capacities = st.lists(st.floats(1.0, 1e6), min_size=3, max_size=3)


@given(capacities, st.lists(st.floats(0.01, 100), min_size=3, max_size=3))
def test_supply_is_a_linear_program(capacity, per_chip):
    """Chips are the optimum of the program, the scarcity rent its dual price."""
    price, cost = 30_000.0, 6_000.0
    solved = optimize.linprog([cost - price], A_ub=np.c_[per_chip], b_ub=capacity, method="highs")
    limits = chips.supply_limit(np.array(capacity), np.array(per_chip))
    assert min(limits) == pytest.approx(solved.x[0], rel=1e-6)
    scarce = np.argmin(limits)
    if np.sort(limits)[1] > 1.001 * min(limits):  # one input alone is scarce
        rent = chips.scarcity_rent(price, cost, per_chip[scarce])
        assert rent == pytest.approx(-solved.ineqlin.marginals[scarce], rel=1e-6)


def test_nothing_is_scarce_where_a_chip_earns_nothing():
    assert chips.scarcity_rent(6_000, 6_000, 0.02) == 0
    assert chips.scarcity_rent(5_000, 6_000, 0.02) == 0
    assert chips.supply_limit(1000, 0) == np.inf


@given(st.floats(0, 1e7), st.floats(0, 1), st.floats(0, 1e7), st.integers(1, 30))
def test_installed_stock_is_what_was_shipped_and_not_retired(stock, retired, shipped, years):
    """Against the sum of vintages, each thinned by its age."""
    grown = stock
    for _ in range(years):
        grown = chips.installed(grown, retired, shipped)
    kept = 1 - retired
    vintages = stock * kept**years + shipped * sum(kept**age for age in range(years))
    assert grown == pytest.approx(vintages, rel=1e-9, abs=1e-9)


def test_memory_maker_is_indifferent_where_a_wafer_earns_the_same():
    """Three wafers of ordinary memory make the GB of one wafer of stacked memory, less stacking."""
    gb_of_a_wafer, ordinary, stacking = 3000, 4.0, 2.5
    stacked = chips.memory_indifference(ordinary, 3, stacking)
    assert gb_of_a_wafer / 3 * (stacked - stacking) == pytest.approx(gb_of_a_wafer * ordinary)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(
    ("kernel", "args"),
    [
        (chips.gross_dies, (300, -1, 814)),
        (chips.gross_dies, (300, 150, 814)),
        (chips.gross_dies, (300, 0, 0)),
        (chips.gross_dies, (300, 0, 70_000)),
        (chips.defects_per_die, (-1, 0.1)),
        (chips.poisson_yield, (814, -0.1)),
        (chips.murphy_yield, (814, -0.1)),
        (chips.seeds_yield, (814, -0.1)),
        (chips.negative_binomial_yield, (814, 0.1, 0)),
        (chips.harvested_yield, (814, 0.1, 1.1, 144, 12)),
        (chips.harvested_yield, (814, 0.1, 0.75, 144, 145)),
        (chips.harvested_yield, (814, 0.1, 0.75, 144, 1.5)),
        (chips.harvested_yield, (814, 0.1, 0.75, 0, 0)),
        (chips.die_cost, (16_500, 60, 0)),
        (chips.unit_cost, (300, 80, 15, 700, 1.1, 50, 20)),
        (chips.full_cost, (5000, 1e9, 0)),
        (chips.price, (3320, 1)),
        (chips.margin, (0, 3320)),
        (chips.discount_advantage, (0.5, 1)),
        (chips.break_even_volume, (1e9, 0, 30_000, 0, 6000, 0, 0)),
        (chips.supply_limit, (-1, 1)),
        (chips.scarcity_rent, (30_000, 6000, 0)),
        (chips.installed, (1e6, 1.1, 1e5)),
        (chips.memory_indifference, (4.0, 0, 2.5)),
    ],
)
def test_nan_outside_the_domain(kernel, args, assert_nan):
    assert_nan(kernel, args)
