"""Kernels over many rows against plain NumPy, a polars expression or scipy.

Run with `pytest tests/bench --benchmark-only`; a group is one kernel, ratios are its result.
NumPy and kernels run on one thread unless they say two, polars on all that it finds.
"""

import numpy as np
import polars as pl
import pytest
from plain import commitment_cost, exchange_option
from scipy import special, stats

from stackbook import kernels
from stackbook.kernels import (
    capital,
    chips,
    cloud,
    datacenter,
    fabric,
    reliability,
    scaling,
    uncertainty,
)

MILLION = 1_000_000


def numpy_annuity(rate, years):
    return rate / (1 - (1 + rate) ** -years)


def numpy_murphy(die_mm2, defects_per_cm2):
    x = die_mm2 / 100 * defects_per_cm2
    return ((1 - np.exp(-x)) / x) ** 2


def numpy_negative_binomial(die_mm2, defects_per_cm2, clustering):
    return (1 + die_mm2 / 100 * defects_per_cm2 / clustering) ** -clustering


def numpy_owner_cost(
    it_usd, it_rate, it_years, site_usd, site_rate, site_years, om, availability, kw, load, pue, usd
):
    capital_usd = it_usd * numpy_annuity(it_rate, it_years)
    capital_usd = capital_usd + site_usd * numpy_annuity(site_rate, site_years)
    return (capital_usd + om * it_usd) / (8760 * availability) + kw * load * pue * usd


def numpy_all_reduce(message, ranks, latency, bandwidth, reduction):
    share = (ranks - 1) / ranks * message
    ring = 2 * (ranks - 1) * latency + share * (2 / bandwidth + reduction)
    tree = 2 * np.ceil(np.log2(ranks)) * latency + message * (2 / bandwidth + reduction)
    return np.minimum(ring, tree)


def scipy_harvested(die_mm2, defects_per_cm2, redundant, blocks, spares):
    x = die_mm2 / 100 * defects_per_cm2
    fails = -np.expm1(-redundant * x / blocks)
    return np.exp((redundant - 1) * x) * stats.binom.cdf(spares, blocks, fails)


def scipy_k_of_n(needed, parts, availability):
    return stats.binom.sf(needed - 1, parts, availability)


def polars_murphy(die_mm2, defects_per_cm2):
    x = die_mm2 / 100 * defects_per_cm2
    return ((1 - (-x).exp()) / x) ** 2


def polars_all_reduce(message, ranks, latency, bandwidth, reduction):
    share = (ranks - 1) / ranks * message
    ring = 2 * (ranks - 1) * latency + share * (2 / bandwidth + reduction)
    tree = 2 * ranks.log(2).ceil() * latency + message * (2 / bandwidth + reduction)
    return pl.min_horizontal(ring, tree)


RATE, YEARS = (0.03, 0.20), (3, 20)
CAPITAL = [(2e4, 6e4), RATE, YEARS, (1e4, 4e4), RATE, YEARS]
RUNNING = [(0.03, 0.08), (0.9, 1), (1, 3), (0.5, 1), (1, 1.5), (0.03, 0.15)]
DIE, DENSITY = (50, 850), (0.02, 0.3)
MESSAGE, NETWORK = [(1e3, 1e10), (2, 1024)], [(1e-6, 1e-5), (5e10, 9e11), (0, 1e-12)]
# Kernel, the same in NumPy, the same in polars, and the range of each argument.
PLAIN = [
    (capital.annuity, numpy_annuity, numpy_annuity, [RATE, YEARS]),
    (chips.murphy_yield, numpy_murphy, polars_murphy, [DIE, DENSITY]),
    (
        chips.negative_binomial_yield,
        numpy_negative_binomial,
        numpy_negative_binomial,
        [DIE, DENSITY, (1, 10)],
    ),
    (datacenter.owner_cost, numpy_owner_cost, numpy_owner_cost, CAPITAL + RUNNING),
    (fabric.all_reduce, numpy_all_reduce, polars_all_reduce, MESSAGE + NETWORK),
]
each_kernel = pytest.mark.parametrize("plain", PLAIN, ids=lambda plain: plain[0].__name__)


def columns(ranges, rows=MILLION):
    random = np.random.default_rng(1)
    return [random.uniform(low, high, rows) for low, high in ranges]


@each_kernel
@pytest.mark.parametrize("way", ["kernel", "numpy", "kernel in polars", "polars"])
def test_a_million_rows(benchmark, plain, way):
    measure(benchmark, plain, way, MILLION)


@pytest.mark.parametrize(
    "way", ["kernel", "kernel, 2 threads", "numpy", "kernel in polars", "polars"]
)
def test_ten_million_owner_costs(benchmark, way):
    (plain,) = (plain for plain in PLAIN if plain[0] is datacenter.owner_cost)
    measure(benchmark, plain, way, 10 * MILLION)


def measure(benchmark, plain, way, rows):
    kernel, with_numpy, with_polars, ranges = plain
    benchmark.group = f"{kernel.__name__}, {rows:,} rows"
    arrays = columns(ranges, rows)
    names = [f"column_{i}" for i in range(len(arrays))]
    frame = pl.DataFrame(dict(zip(names, arrays, strict=True))).lazy()
    run = {
        "kernel": lambda: kernel(*arrays),
        "kernel, 2 threads": lambda: kernel(*arrays),
        "numpy": lambda: with_numpy(*arrays),
        "kernel in polars": lambda: frame.select(x=kernel(*map(pl.col, names))).collect()["x"],
        "polars": lambda: frame.select(x=with_polars(*map(pl.col, names))).collect()["x"],
    }[way]
    with kernels.threads(2 if "2 threads" in way else 1):
        result = benchmark.pedantic(run, rounds=7, warmup_rounds=1)
    np.testing.assert_allclose(result, with_numpy(*arrays), rtol=1e-9)


@pytest.mark.parametrize("way", ["kernel", "scipy"])
@pytest.mark.parametrize(
    ("kernel", "with_scipy", "ranges"),
    [
        (chips.harvested_yield, scipy_harvested, [DIE, DENSITY, 0.75, 144, 12]),
        (chips.harvested_yield, scipy_harvested, [46_225, DENSITY, 0.75, 970_000, 70_000]),
        (reliability.k_of_n_availability, scipy_k_of_n, [60, 64, (0.8, 0.999)]),
        (reliability.k_of_n_availability, scipy_k_of_n, [900, 1000, (0.8, 0.999)]),
    ],
)
def test_a_hundred_thousand_binomial_tails(benchmark, kernel, with_scipy, ranges, way):
    benchmark.group = f"{kernel.__name__}, {ranges}"
    drawn = iter(columns([r for r in ranges if isinstance(r, tuple)], 100_000))
    args = [next(drawn) if isinstance(r, tuple) else r for r in ranges]
    run = {"kernel": lambda: kernel(*args), "scipy": lambda: with_scipy(*args)}[way]
    result = benchmark.pedantic(run, rounds=5, warmup_rounds=1)
    np.testing.assert_allclose(result, with_scipy(*args), rtol=1e-9)


@pytest.mark.parametrize("way", ["kernel", "kernel, 2 threads", "scipy"])
@pytest.mark.parametrize(
    ("kernel", "with_scipy", "ranges"),
    [
        (uncertainty.normal_cdf, special.ndtr, [(-6, 6)]),
        (uncertainty.normal_quantile, special.ndtri, [(0, 1)]),
        (cloud.exchange_option, exchange_option, [(0.5, 2), (0.5, 2), (0.1, 1), (0.1, 5)]),
    ],
)
def test_a_million_normal_probabilities(benchmark, kernel, with_scipy, ranges, way):
    benchmark.group = f"{kernel.__name__}, 1,000,000 rows"
    arrays = columns(ranges)
    run = with_scipy if way == "scipy" else kernel
    with kernels.threads(2 if "2 threads" in way else 1):
        result = benchmark.pedantic(run, arrays, rounds=7, warmup_rounds=1)
    np.testing.assert_allclose(result, with_scipy(*arrays), rtol=1e-9, atol=1e-15)


@pytest.mark.parametrize("way", ["sorted once", "level by level"])
def test_a_hundred_commitments_against_a_year_of_hours(benchmark, way):
    benchmark.group = "commitment_cost, 100 quantities, 8,760 levels"
    demand, reserved = columns([(0, 1)], 8760)[0], np.linspace(0, 1, 100)
    run = cloud.commitment_cost if way == "sorted once" else commitment_cost
    result = benchmark.pedantic(run, (demand, reserved, 0.4), rounds=5, warmup_rounds=1)
    np.testing.assert_allclose(result, commitment_cost(demand, reserved, 0.4), rtol=1e-12)


def test_one_number(benchmark):
    """What a call with floats costs, beside the arithmetic."""
    benchmark.group = "one float"
    assert benchmark(capital.annuity, 0.1, 5.0) > 0


@pytest.mark.parametrize("way", ["kernel", "numpy"])
def test_a_million_losses_of_one_law(benchmark, way):
    """Where the constants are numbers beside arrays."""
    benchmark.group = "hoffmann_loss, 1,000,000 rows, one law"
    params, tokens = (10**exponent for exponent in columns([(7, 12), (9, 14)]))
    a, b, e, alpha, beta = law = 482.0, 2085.0, 1.82, 0.348, 0.366
    run = {
        "kernel": lambda: scaling.hoffmann_loss(params, tokens, *law),
        "numpy": lambda: e + a * params**-alpha + b * tokens**-beta,
    }
    result = benchmark.pedantic(run[way], rounds=7, warmup_rounds=1)
    np.testing.assert_allclose(result, run["numpy"](), rtol=1e-12)
