"""Chips: published costs and prices, yield models against their definitions."""

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import integrate, stats

from stackbook import facts
from stackbook.kernels import chips
from stackbook.kernels.uncertainty import lognormal

areas = st.floats(1.0, 2000.0)
densities = st.floats(0.0, 2.0)
shares = st.floats(0.0, 1.0)


def drawn(low, high, seed=1):
    """Draws whose 90% interval is (low, high)."""
    return lognormal(low, high, np.random.default_rng(seed).standard_normal(400_000))


def bill(*parts):
    """Cost of a list of parts, as published bills give it: losses are a part of their own."""
    silicon, hbm, packaging, test, *aux = parts
    return chips.unit_cost(silicon, 1, hbm, packaging, 1, test, sum(aux))


def tpu_price(quantile):
    prices = chips.price(drawn(4600, 5500, seed=1), drawn(0.50, 0.65, seed=2))
    return np.quantile(prices, quantile)


def price_deflation():
    """The ratio of expected prices, which is not the price at the ratio of mean margins."""
    now, before = (np.mean(chips.price(1.0, drawn(*r))) for r in [(0.50, 0.65), (0.55, 0.70)])
    return now / before


CASES = {
    ("A01", "manufacturing_cost"): lambda: bill(300, 1350, 750, 920),
    ("A02", "gross_margin"): lambda: chips.margin(28_000, 3320),
    ("A03", "manufacturing_cost"): lambda: bill(900, 2900, 1100, 0, 1000, 500),
    ("A04", "cost_increase"): lambda: (
        bill(900, 2900 * 1.2, 1100, 0, 1000, 500) - bill(900, 2900, 1100, 0, 1000, 500)
    ),
    ("A05", "price_median"): lambda: tpu_price(0.50),
    ("A05", "price_p05"): lambda: tpu_price(0.05),
    ("A05", "price_p95"): lambda: tpu_price(0.95),
    ("A06", "price_ratio"): price_deflation,
    ("A07", "factor_at_discount_05"): lambda: chips.discount_advantage(0.5, 0.05),
    ("A07", "factor_at_discount_10"): lambda: chips.discount_advantage(0.5, 0.10),
    ("A08", "yield_poisson"): lambda: chips.poisson_yield(814, 0.1),
    ("A08", "yield_murphy"): lambda: chips.murphy_yield(814, 0.1),
    ("A08", "yield_negative_binomial"): lambda: chips.negative_binomial_yield(814, 0.1, 3),
    ("A09", "gross_dies"): lambda: chips.gross_dies(300, 0, 814),
    ("A10", "share_of_capex_saved"): lambda: 0.39 * (1 - chips.price(1 - 0.74, 0.50)),
}


@pytest.mark.parametrize("key", CASES, ids="-".join)
def test_case(key, published):
    assert published[key] == CASES[key]()


def test_every_published_chip_result_is_checked(published):
    assert set(CASES) == {key for key in published if key[0].startswith("A")}


def central(symbol):
    return facts.parameter(symbol).central


def test_case_A01_logic_bottom_up():  # noqa: N802
    """From wafer price, die area, defect density and harvest, within 10% of the published die."""
    accelerators = facts.table("accelerators").collect()
    die_mm2 = accelerators.row(by_predicate=pl.col("name") == "H100 SXM", named=True)["die_mm2"]
    sold, made = 132, 144  # streaming multiprocessors
    cost = chips.die_cost(
        central("W_N5"),
        chips.gross_dies(central("d_w"), central("e_w"), die_mm2),
        chips.harvested_yield(die_mm2, central("D0_N5"), central("rho_red"), made, made - sold),
    )
    assert cost == pytest.approx(central("c_logic_H100"), rel=0.10)


def test_case_A03_interval(published):  # noqa: N802
    """The 90% interval of the sum lies within the published range, give or take 10%."""
    names = ["c_logic_B200", "c_hbm_B200", "c_pkg_B200", "c_loss_B200", "c_oth_B200"]
    ranges = [facts.parameter(name) for name in names]
    logic, hbm, packaging, loss, other = (
        drawn(r.low, r.high, seed=i) for i, r in enumerate(ranges)
    )
    low, high = np.quantile(bill(logic, hbm, packaging, 0.0, loss, other), [0.05, 0.95])
    row = published["A03", "manufacturing_cost"].row
    assert 0.9 * row["low"] <= low < high <= 1.1 * row["high"]


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
def test_yield_models_are_ordered(die_mm2, density):
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
def test_all_yields_become_one_without_defects(die_mm2, density):
    for value in (
        chips.poisson_yield(die_mm2, density),
        chips.murphy_yield(die_mm2, density),
        chips.seeds_yield(die_mm2, density),
        chips.negative_binomial_yield(die_mm2, density, 3),
        chips.harvested_yield(die_mm2, density, 0.75, 144, 12),
    ):
        assert value == pytest.approx(1, abs=1e-9)


@given(areas, densities, shares, st.integers(1, 200), st.data())
def test_harvested_yield_is_a_binomial_sum(die_mm2, density, redundant, blocks, data):
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
    ],
)
def test_nan_outside_the_domain(kernel, args):
    assert np.isnan(kernel(*args))
    assert np.isnan(kernel(*(np.full(9, arg, float) for arg in args))).all()
