"""Years of outages a second and what they cost: ours, and a plain NumPy version.

Run with `pytest tests/bench --benchmark-only`; years a second are under `extra_info`. Compilation
is apart: a simulation ran before. 20 suppliers of 10 layers in 4 regions, two outages a year among
them, and 8 firms; NumPy takes a year and a firm after the other.
"""

import numpy as np
import pytest
from plain import losses_plainly, outages_plainly

from stackbook import kernels
from stackbook.kernels import shocks
from stackbook.kernels.shocks import Buyers, Suppliers

LAYER = np.repeat(np.arange(10), 2)
SUPPLIERS = Suppliers(
    layer=LAYER,
    share=np.full(20, 0.5),
    failures_per_year=np.full(20, 0.1),
    outage_years=np.full(20, 0.15),
    sigma=np.full(20, 1.0),
    cut=np.full(20, 0.8),
)
FIRST = np.random.default_rng(1).random((8, 10))
BUYERS = Buyers(
    dependency=np.stack([FIRST, 1 - FIRST], axis=2).reshape(8, 20),
    substitution=np.full((8, 10), 0.3),
    inventory_years=np.full((8, 10), 0.05),
)
REGIONS = shocks.region_correlation(np.arange(20) // 5, 0.5, 0.1)


def ours(scenarios):
    outages = shocks.simulate_outages(SUPPLIERS, REGIONS, scenarios, 1)
    return shocks.losses(outages, SUPPLIERS, BUYERS)


def plain(scenarios):
    rows = outages_plainly(SUPPLIERS, REGIONS, scenarios, 1)
    return losses_plainly(rows, scenarios, SUPPLIERS, BUYERS)


@pytest.mark.parametrize("way", ["ours", "ours, 2 threads", "numpy, 1,000 of them"])
def test_100000_years(benchmark, way):
    benchmark.group = "100,000 years of 20 suppliers and 8 firms"
    run, count = (plain, 1000) if "numpy" in way else (ours, 100_000)
    ours(100)
    with kernels.threads(2 if "2 threads" in way else 1):
        benchmark.pedantic(run, (count,), rounds=1 if run is plain else 5)
    benchmark.extra_info["years a second"] = count / benchmark.stats["min"]
    np.testing.assert_allclose(ours(200), plain(200), rtol=1e-6, atol=1e-9)


def test_risk_of_100000_years(benchmark):
    benchmark.group = "100,000 years of 20 suppliers and 8 firms: tails and contributions"
    outages = shocks.simulate_outages(SUPPLIERS, REGIONS, 100_000, 1)
    found = benchmark(shocks.risk, outages, SUPPLIERS, BUYERS, 0.95)
    np.testing.assert_allclose(found.contributions.sum(axis=1), found.shortfall, rtol=1e-9)
