"""Periods a second of fleets over time: ours on one path and many, and a plain version.

Run with `pytest tests/bench --benchmark-only`; periods a second are under `extra_info`.
Compilation is apart: a path ran before. The plain version goes vintage by vintage.
"""

import numpy as np
import pytest
from plain import fleet_path_plainly

from stackbook import kernels
from stackbook.kernels import fleet
from stackbook.kernels.fleet import Demand, Supply

DEMAND = Demand(wanted=1e6, rent_usd_per_hour=2, elasticity=1.5, growth=0.5, expected_growth=0.8)
SUPPLY = Supply(
    capital_usd=30_000,
    capital_growth=-0.2,
    cost_usd_per_hour=0.4,
    cost_growth=-0.2,
    rent_growth=-0.2,
    availability=0.95,
    rate=0.1,
    life_years=5,
    lead_years=1,
    multiple=1.3,
)


def ours(paths, periods, sigma):
    demand = DEMAND._replace(sigma=sigma)
    return fleet.fleet_path(demand, SUPPLY, [1e5], [0], periods, 12, paths, 1)


@pytest.mark.parametrize("way", ["ours", "plain"])
def test_one_path_of_four_years(benchmark, way):
    benchmark.group = "48 months of one path"
    ours(1, 48, 0.0)
    if way == "ours":
        rents = benchmark(ours, 1, 48, 0.0).usd_per_hour[0]
    else:
        arguments = DEMAND, SUPPLY, [1e5], [0], 48, 12
        rents, _ = benchmark.pedantic(fleet_path_plainly, arguments, rounds=1)
    benchmark.extra_info["periods a second"] = 48 / benchmark.stats["min"]
    np.testing.assert_allclose(rents, ours(1, 48, 0.0).usd_per_hour[0], rtol=1e-8)


@pytest.mark.parametrize("threads", [1, 2])
def test_10000_paths_of_eight_years(benchmark, threads):
    benchmark.group = "96 months of 10,000 paths"
    ours(10, 96, 0.4)
    with kernels.threads(threads):
        found = benchmark.pedantic(ours, (10_000, 96, 0.4), rounds=2)
    benchmark.extra_info["periods a second"] = 960_000 / benchmark.stats["min"]
    assert (found.usd_per_hour > 0).all()
