"""Outages and what they cost: known distributions, limits, Shapley's values, a plain version."""

from math import exp, inf, log

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from plain import blamed_plainly, losses_plainly, outages_plainly
from scipy import integrate, special, stats

from stackbook import kernels
from stackbook.kernels import shocks
from stackbook.kernels.shocks import Buyers, Outages, Suppliers

ONE = Suppliers(
    layer=[0], share=[1.0], failures_per_year=[0.4], outage_years=[0.3], sigma=[0.8], cut=[0.6]
)
ALL = Buyers([[1.0]], 0.0, 0.0)
seeds = st.integers(0, 10**9)


def drawn(seed):
    """Up to six suppliers of up to three layers, and firms that depend on them."""
    stream = np.random.default_rng(seed)
    layers, count, firms = stream.integers([1, 2, 1], [4, 7, 4])
    layer = stream.integers(0, layers, count)
    layers = layer.max() + 1
    sums = np.bincount(layer)[layer]
    suppliers = Suppliers(
        layer=layer,
        share=stream.random(count) / sums,
        failures_per_year=stream.uniform(0, 3, count),
        outage_years=stream.uniform(0.01, 0.5, count),
        sigma=stream.uniform(0, 1, count),
        cut=stream.random(count),
    )
    buyers = Buyers(
        dependency=stream.random((firms, count)) / sums * (stream.random((firms, count)) < 0.8),
        substitution=stream.random((firms, layers)),
        inventory_years=stream.exponential(0.03, (firms, layers)),
    )
    factor = stream.normal(size=(count, count + 1))
    factor /= np.sqrt((factor**2).sum(axis=1))[:, None]
    correlation = factor @ factor.T
    correlation = (correlation + correlation.T) / 2
    np.fill_diagonal(correlation, 1)
    return suppliers, buyers, correlation


def at_once(layer, cut, start, end):
    """One scenario, with an outage of each supplier, who has its layer or an equal part of it."""
    layer = np.array(layer)
    shares = 1 / np.bincount(layer)[layer]
    count = np.arange(layer.size)
    outages = Outages(np.array([0, layer.size]), count, np.array(start), np.array(end))
    return outages, Suppliers(layer, shares, 0.0, 1.0, 0.0, cut), shares[None]


# --- How often, how long and together ---


def test_failures_are_poisson():
    suppliers = Suppliers([0, 1], [1, 1], [0.4, 2.5], 0.1, 1.0, 1.0)
    found = shocks.simulate_outages(suppliers, np.eye(2), 40_000, 7)
    scenario = np.repeat(np.arange(40_000), np.diff(found.first))
    for k, rate in enumerate(suppliers.failures_per_year):
        counts = np.bincount(scenario[found.supplier == k], minlength=40_000)
        seen = np.bincount(counts.clip(max=8), minlength=9)[:9]
        expected = 40_000 * np.append(
            stats.poisson.pmf(np.arange(8), rate), stats.poisson.sf(7, rate)
        )
        few = expected > 5
        assert (
            stats.chisquare(seen[few], expected[few] * seen[few].sum() / expected[few].sum()).pvalue
            > 1e-3
        )
        starts = found.start[found.supplier == k]
        assert stats.kstest(starts, "uniform").pvalue > 1e-3


def test_lengths_are_lognormal():
    found = shocks.simulate_outages(ONE, [[1.0]], 40_000, 3)
    lengths = found.end - found.start
    assert stats.kstest(lengths, stats.lognorm(0.8, scale=0.3).cdf).pvalue > 1e-3


@given(st.floats(1e-3, 10), st.floats(1e-3, 10))
def test_lognormal_of_mean_and_deviation(mean, deviation):
    median, sigma = (f(mean, deviation) for f in (shocks.median_outage, shocks.outage_sigma))
    found = stats.lognorm(sigma, scale=median)
    assert found.mean() == pytest.approx(mean)
    assert found.std() == pytest.approx(deviation)


@pytest.mark.parametrize("freedom", [inf, 4])
def test_correlation_of_the_copula_is_recovered(freedom):
    """Kendall's tau is 2/pi arcsin(rho) for both copulas; that of lengths is always Gaussian."""
    suppliers = Suppliers([0, 1, 2], 1.0, 20.0, 0.1, 1.5, 1.0)
    rho = np.array([[1, 0.6, 0.2], [0.6, 1, -0.3], [0.2, -0.3, 1]])
    found = shocks.simulate_outages(suppliers, rho, 20_000, 5, freedom)
    firsts = found.first[:-1, None] + np.arange(3)
    np.testing.assert_array_equal(found.supplier[firsts], np.tile([0, 1, 2], (20_000, 1)))
    for values in (found.start[firsts], (found.end - found.start)[firsts]):
        for i, j in ((0, 1), (0, 2), (1, 2)):
            tau = stats.kendalltau(values[:, i], values[:, j]).statistic
            assert np.sin(np.pi / 2 * tau) == pytest.approx(rho[i, j], abs=0.025)


@pytest.mark.parametrize(("freedom", "rho"), [(inf, 0.0), (inf, 0.5), (4, 0.0), (4, 0.5)])
def test_both_fail_within_the_year_as_the_copula_says(freedom, rho):
    """By the bivariate distributions: with the t more often, also without correlation."""
    rate, count, matrix = 0.05, 200_000, [[1, rho], [rho, 1]]
    suppliers = Suppliers([0, 1], 1.0, rate, 0.1, 1.0, 1.0)
    found = shocks.simulate_outages(suppliers, matrix, count, 11, freedom)
    scenario = np.repeat(np.arange(count), np.diff(found.first))
    fails = [np.bincount(scenario[found.supplier == k], minlength=count) > 0 for k in (0, 1)]
    chance = -np.expm1(-rate)
    if freedom == inf:
        at, law = stats.norm.ppf(chance), stats.multivariate_normal(cov=matrix)
    else:
        at, law = stats.t.ppf(chance, freedom), stats.multivariate_t(shape=matrix, df=freedom)
    expected = law.cdf([at, at])
    for k in (0, 1):
        assert fails[k].mean() == pytest.approx(chance, abs=4 * np.sqrt(chance / count))
    both = (fails[0] & fails[1]).mean()
    assert both == pytest.approx(expected, abs=4 * np.sqrt(expected / count) + 1e-4)


def test_failures_of_a_pool_are_a_mixture_of_binomials():
    """With one common factor (Vasicek 1987): how often many of 20 fail in one year."""
    chance, rho, count = 0.1, 0.3, 100_000
    pool = Suppliers(np.zeros(20), 0.05, -np.log1p(-chance), 1e-6, 0.0, 1.0)
    matrix = shocks.region_correlation(np.zeros(20), rho, rho)
    found = shocks.simulate_outages(pool, matrix, count, 8)
    scenario = np.repeat(np.arange(count), np.diff(found.first))
    fails = np.bincount(np.unique(20 * scenario + found.supplier) // 20, minlength=count)
    factor = np.linspace(-8, 8, 2001)
    given_it = special.ndtr((special.ndtri(chance) - np.sqrt(rho) * factor) / np.sqrt(1 - rho))
    for many in (1, 5, 10):
        tail = stats.norm.pdf(factor) * stats.binom.sf(many - 1, 20, given_it)
        expected = integrate.trapezoid(tail, factor)
        seen = (fails >= many).mean()
        assert seen == pytest.approx(expected, abs=4 * np.sqrt(expected / count))


def test_suppliers_of_one_fate_fail_as_one():
    """Correlation 1: the same outages of two halves, which cost what those of a whole do."""
    halves = Suppliers([0, 0], 0.5, 0.7, 0.2, 1.0, 0.8)
    found = shocks.simulate_outages(halves, np.ones((2, 2)), 5000, 2)
    np.testing.assert_array_equal(found.supplier, np.tile([0, 1], found.supplier.size // 2))
    np.testing.assert_array_equal(found.start[::2], found.start[1::2])
    np.testing.assert_array_equal(found.end[::2], found.end[1::2])
    lost = shocks.losses(found, halves, Buyers([[0.5, 0.5], [1, 0]], 0.0, 0.01))
    np.testing.assert_allclose(lost[:, 0], lost[:, 1], rtol=1e-12)


def test_region_correlation_is_that_of_its_factors():
    found = shocks.region_correlation(["Taiwan", "Korea", "Taiwan"], 0.5, 0.1)
    np.testing.assert_array_equal(found, [[1, 0.1, 0.5], [0.1, 1, 0.1], [0.5, 0.1, 1]])


@pytest.mark.parametrize("freedom", [inf, 6])
def test_same_outages_and_risk_on_any_number_of_threads(freedom):
    suppliers, buyers, correlation = drawn(4)
    results = []
    for number in (1, 3):
        with kernels.threads(number):
            found = shocks.simulate_outages(suppliers, correlation, 9000, 6, freedom)
            results.append((*found, *shocks.risk(found, suppliers, buyers, 0.9)))
    for one, three in zip(*results, strict=True):
        np.testing.assert_array_equal(one, three)


# --- What it costs ---


def test_expected_loss_of_one_supplier():
    """Poisson starts within the year, each of which covers a moment: P = 1 - exp(-expected)."""
    found = shocks.simulate_outages(ONE, [[1.0]], 200_000, 9)
    lost = shocks.losses(found, ONE, Buyers([[0.7]], 0.0, 0.0))[:, 0]
    lengths = stats.lognorm(0.8, scale=0.3)

    def covered(t):
        lasting = integrate.quad(lengths.sf, max(t - 1, 0), t)[0]
        return -np.expm1(-0.4 * lasting)

    expected = 0.7 * 0.6 * integrate.quad(covered, 0, 30, limit=200)[0]
    assert lost.mean() == pytest.approx(expected, abs=4 * lost.std() / np.sqrt(lost.size))


def test_expected_loss_beyond_an_inventory():
    """Of rare outages: E[max(L - I, 0)] of a lognormal length, as of an option."""
    rare = ONE._replace(failures_per_year=[0.02], cut=[1.0])
    found = shocks.simulate_outages(rare, [[1.0]], 400_000, 10)
    lost = shocks.losses(found, rare, Buyers([[1.0]], 0.0, 0.2))[:, 0]
    mean, d = 0.3 * exp(0.32), (log(0.3 / 0.2) + 0.64) / 0.8
    expected = 0.02 * (mean * special.ndtr(d) - 0.2 * special.ndtr(d - 0.8))
    error = 4 * lost.std() / np.sqrt(lost.size) + 0.01 * expected  # two outages at once
    assert lost.mean() == pytest.approx(expected, abs=error)


def test_value_at_risk_of_short_outages_counts_them():
    """Of equal length and too short to meet: the quantile of a Poisson number of them."""
    short = ONE._replace(failures_per_year=[1.5], outage_years=[1e-7], sigma=[0.0], cut=[1.0])
    found = shocks.simulate_outages(short, [[1.0]], 100_000, 1)
    for level in (0.5, 0.9, 0.99):
        var = shocks.risk(found, short, ALL, level).value_at_risk[0]
        assert var == pytest.approx(1e-7 * stats.poisson.ppf(level, 1.5), rel=1e-3)


def test_layers_that_are_short_at_once_cost_the_scarcest_only():
    outages, suppliers, dependency = at_once([0, 1], [0.2, 0.5], [0.1, 0.2], [0.3, 0.4])
    lost = shocks.losses(outages, suppliers, Buyers(dependency, 0.0, 0.0))
    assert lost[0, 0] == pytest.approx(0.2 * 0.1 + 0.5 * 0.2)


def test_inventory_bridges_until_it_is_used_up():
    """A fifth is missing, so that stock for 0.1 years of use lasts 0.5 of 0.8 years."""
    outages, suppliers, dependency = at_once([0], [0.2], [0.1], [0.9])
    lost = shocks.losses(outages, suppliers, Buyers(dependency, 0.0, 0.1))
    assert lost[0, 0] == pytest.approx(0.2 * 0.3)


def test_rest_of_a_layer_replaces_what_it_can():
    """A firm that buys from one of two halves; the other, while it works, replaces 0.6 of it."""
    outages, suppliers, _ = at_once([0, 0], [1.0, 1.0], [0.1, 0.2], [0.3, 0.4])
    lost = shocks.losses(outages, suppliers, Buyers([[1.0, 0.0]], 0.6, 0.0))
    assert lost[0, 0] == pytest.approx(0.1 * (1 - 0.6 / 2) + 0.1)


def test_published_shares_of_an_airport():
    """Littlechild and Owen: runways of 8, 11, 13 and 18 are paid with 2, 3, 4 and 9."""
    cuts = [0.08, 0.11, 0.13, 0.18]
    outages, suppliers, _ = at_once([0, 1, 2, 3], cuts, [0.5] * 4, [1.5] * 4)
    found = shocks.risk(outages, suppliers, Buyers(np.ones((1, 4)), 0.0, 0.0), 0.0)
    np.testing.assert_allclose(found.contributions[0], [0.02, 0.03, 0.04, 0.09], rtol=1e-12)


@given(seeds, st.sampled_from([inf, 2, 8]))
@settings(max_examples=30)
def test_agrees_with_a_plain_version(seed, freedom):
    suppliers, buyers, correlation = drawn(seed)
    suppliers = suppliers._replace(failures_per_year=suppliers.failures_per_year + 0.1)
    rows = outages_plainly(suppliers, correlation, 40, seed, freedom)
    found = shocks.simulate_outages(suppliers, correlation, 40, seed, freedom)
    np.testing.assert_array_equal(found.first, np.searchsorted(rows[0], np.arange(41)))
    np.testing.assert_array_equal(found.supplier, rows[1])
    np.testing.assert_allclose(found.start, rows[2], rtol=1e-8, atol=1e-10)
    np.testing.assert_allclose(found.end, rows[3], rtol=1e-8)

    lost = shocks.losses(found, suppliers, buyers)
    expected = losses_plainly(rows, 40, suppliers, buyers)
    np.testing.assert_allclose(lost, expected, rtol=1e-6, atol=1e-9)
    blamed = np.zeros(buyers.dependency.shape)
    for scenario in range(40):
        events = [column[rows[0] == scenario] for column in rows[1:]]
        if events[0].size:
            for firm in range(len(blamed)):
                blamed[firm] += blamed_plainly(events, suppliers, buyers, firm) / 40
    found = shocks.risk(found, suppliers, buyers, 0.0)
    np.testing.assert_allclose(found.contributions, blamed, rtol=1e-6, atol=1e-9)


@given(seeds, st.floats(0, 0.999))
def test_contributions_add_up_to_a_shortfall_above_the_value_at_risk(seed, level):
    suppliers, buyers, correlation = drawn(seed)
    outages = shocks.simulate_outages(suppliers, correlation, 300, seed)
    found = shocks.risk(outages, suppliers, buyers, level)
    np.testing.assert_allclose(found.contributions.sum(axis=1), found.shortfall, rtol=1e-9)
    assert (found.contributions >= 0).all()
    assert (found.shortfall >= found.value_at_risk * (1 - 1e-12)).all()
    assert (found.shortfall >= found.mean * (1 - 1e-12)).all()
    lost = np.sort(shocks.losses(outages, suppliers, buyers), axis=0)
    size = max(1, int(np.ceil(300 * (1 - level) - 1e-6)))
    np.testing.assert_array_equal(found.value_at_risk, lost[-size])


@given(seeds)
def test_more_stock_and_more_substitutes_never_cost_output(seed):
    suppliers, buyers, correlation = drawn(seed)
    outages = shocks.simulate_outages(suppliers, correlation, 100, seed)
    lost = shocks.losses(outages, suppliers, buyers)
    for better in (
        buyers._replace(inventory_years=buyers.inventory_years + 0.01),
        buyers._replace(substitution=(buyers.substitution + 1) / 2),
    ):
        assert (shocks.losses(outages, suppliers, better) <= lost + 1e-12).all()


def test_one_supplier_more_lowers_the_risk_of_a_firm_with_one():
    """Two alike that fail apart: never the whole at once, or hardly ever."""
    two = Suppliers([0, 0], 0.5, 0.2, 0.3, 0.5, 1.0)
    alone = Buyers([[1.0, 0.0]], 0.0, 0.0)
    spread = shocks.diversified(two, alone, 1, 0.5)
    np.testing.assert_array_equal(spread.dependency, [[0.5, 0.5]])
    outages = shocks.simulate_outages(two, np.eye(2), 50_000, 3)
    before, after = (shocks.risk(outages, two, each, 0.95) for each in (alone, spread))
    assert after.mean == pytest.approx(before.mean, rel=0.05)
    assert after.value_at_risk < before.value_at_risk
    assert after.shortfall < 0.8 * before.shortfall
    np.testing.assert_allclose(after.contributions[0] / after.shortfall, 0.5, atol=0.05)


def test_shortfall_is_subadditive():
    """Of a firm that depends on both halves, no more than half of each alone."""
    two = Suppliers([0, 1], 1.0, [0.1, 0.3], [1.0, 0.2], 1.0, 1.0)
    outages = shocks.simulate_outages(two, [[1, 0.4], [0.4, 1]], 20_000, 3, 4)
    found = shocks.risk(outages, two, Buyers([[1, 0], [0, 1], [1, 1]], 0.0, 0.0), 0.99).shortfall
    assert max(found[:2]) <= found[2] <= found[0] + found[1]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"cut": [1.2]}, "Suppliers.cut = 1.2: give 0 to 1"),
        ({"failures_per_year": [np.nan]}, "Suppliers.failures_per_year = nan: give a finite"),
        ({"cut": [1, 1], "share": [1, 0, 0]}, r"Suppliers.cut of shape \(2,\): give a number, or"),
        ({"layer": [0.5]}, "Suppliers.layer = .* give whole numbers"),
        ({"layer": [-1]}, "Suppliers.layer = -1: give whole numbers"),
    ],
)
def test_suppliers_out_of_bounds(changes, words):
    with pytest.raises(ValueError, match=words):
        shocks.simulate_outages(ONE._replace(**changes), [[1.0]], 10, 1)


@pytest.mark.parametrize(
    ("correlation", "scenarios", "freedom", "words"),
    [
        ([[0.9]], 1, inf, r"correlation of shape \(1, 1\): give a symmetric"),
        (np.eye(2), 1, inf, r"correlation of shape \(2, 2\)"),
        ([[1.0]], 0, inf, "scenarios = 0: give 1 or more"),
        ([[1.0]], 1, 3, "freedom = 3: give an even number"),
    ],
)
def test_simulation_out_of_bounds(correlation, scenarios, freedom, words):
    with pytest.raises(ValueError, match=words):
        shocks.simulate_outages(ONE, correlation, scenarios, 1, freedom)


def test_correlation_that_cannot_be():
    three = Suppliers([0, 1, 2], 1.0, 0.1, 0.1, 1.0, 1.0)
    with pytest.raises(ValueError, match="positive semidefinite"):
        shocks.simulate_outages(three, [[1, 0.9, 0], [0.9, 1, 0.9], [0, 0.9, 1]], 1, 1)
    with pytest.raises(ValueError, match=r"across = 0.5, within = 0.2"):
        shocks.region_correlation([0, 1], 0.2, 0.5)


@pytest.mark.parametrize(
    ("suppliers", "buyers", "words"),
    [
        (ONE, ALL._replace(dependency=[[1, 0]]), "give a row for each firm and a column"),
        (ONE, ALL._replace(dependency=[1]), r"dependency of shape \(1,\): give a row for each"),
        (ONE, ALL._replace(substitution=np.ones((3, 3))), r"substitution of shape \(3, 3\): give"),
        (ONE, ALL._replace(substitution=1.5), "Buyers.substitution = 1.5: give 0 to 1"),
        (ONE, ALL._replace(inventory_years=-1), "Buyers.inventory_years = -1: give a finite nu"),
        (
            ONE._replace(layer=[0, 0], share=[0.7, 0.7]),
            ALL._replace(dependency=[[1, 0]]),
            "Suppliers.share of layer 0 adds up to 1.4",
        ),
        (
            ONE._replace(layer=[0, 0], share=0.5),
            ALL._replace(dependency=[[0.5, 0.7]]),
            "Buyers.dependency of layer 0 adds up to 1.2",
        ),
    ],
)
def test_buyers_out_of_bounds(suppliers, buyers, words):
    outages = shocks.simulate_outages(ONE, [[1.0]], 10, 1)
    with pytest.raises(ValueError, match=words):
        shocks.losses(outages, suppliers, buyers)


def test_levels_and_shares_out_of_bounds():
    outages = shocks.simulate_outages(ONE, [[1.0]], 10, 1)
    with pytest.raises(ValueError, match="level = 1: give 0 to below 1"):
        shocks.risk(outages, ONE, ALL, 1.0)
    with pytest.raises(ValueError, match="share = 2: give 0 to 1"):
        shocks.diversified(ONE, ALL, 0, 2.0)
    with pytest.raises(ValueError, match="supplier = 1: give a number from 0 to 0"):
        shocks.diversified(ONE, ALL, 1, 0.5)
    more = outages._replace(supplier=np.full_like(outages.supplier, 3))
    with pytest.raises(ValueError, match="there are fewer suppliers"):
        shocks.losses(more, ONE, ALL)
