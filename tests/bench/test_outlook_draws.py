"""Years a second of outlooks to 2030: thousands of draws at once, on one thread and two.

Run with `pytest tests/bench --benchmark-only`; years of draws a second are under `extra_info`.
Compilation is apart: a run was before. A scenario with its inputs read and drawn is beside them.
"""

import numpy as np
import pytest

from stackbook import kernels, outlook
from stackbook.inputs import uncertain
from stackbook.kernels import outlook as kernel

DRAWS = 4000


@pytest.mark.parametrize("threads", [1, 2])
def test_five_years_of_4000_draws(benchmark, threads):
    benchmark.group = "five years of 4,000 draws"
    world = outlook.start(uncertain, DRAWS)
    kernel.run(world, kernel.Levers(), len(outlook.YEARS))
    with kernels.threads(threads):
        found = benchmark(kernel.run, world, kernel.Levers(), len(outlook.YEARS))
    years = (DRAWS + 1) * len(outlook.YEARS)
    benchmark.extra_info["years of draws a second"] = years / benchmark.stats["min"]
    assert np.isfinite(found.rent_usd_per_hour).all()


def test_a_scenario_with_its_inputs(benchmark):
    benchmark.group = "a scenario with its inputs"
    levers = outlook.scenarios()["glut"]
    outlook.outlook(levers)
    found = benchmark(outlook.outlook, levers)
    assert found.run.stock.shape == (DRAWS + 1, len(outlook.YEARS))
