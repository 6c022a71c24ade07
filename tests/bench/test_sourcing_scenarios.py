"""Scenarios a second of the five ways to come by tokens: ours, and a plain NumPy version.

Run with `pytest tests/bench --benchmark-only`; scenarios a second are under `extra_info`.
Compilation is apart: a simulation ran before. NumPy takes a scenario after the other, all its
months at once; three years, days of 24 hours, three vendors.
"""

import numpy as np
import pytest
from plain import sourced_plainly

from stackbook import kernels
from stackbook.kernels import sourcing
from stackbook.kernels.sourcing import Api, Business, Fleet, Owner, Plan, Rental

DAY = tuple(1 + 0.9 * np.cos(np.arange(24) / 24 * 2 * np.pi))
PLAN = Plan(years=3.0, term_years=1.0, vendors=3, profile=DAY, least=2.0)
MOVING = np.array([[1, 0.2, 0.2], [0.2, 1, 0.3], [0.2, 0.3, 1]])


def records(count):
    """A business whose fleets are of about seven replicas, with uncertain prices and speed."""
    return (
        Business(100_000.0, 0.3, 0.4, 0.1, 500.0),
        Api(np.linspace(0.2, 2, count), -0.1, 0.3, 0.2, 2e4, 4e4, 0.8, 5e4, 0.004, 3e-4),
        Rental(3.6, -0.15, 0.4, 0.3, 0.001),
        Fleet(np.linspace(20, 40, count), 0.1, 2.0, 3e5, 6e5),
        Owner(4e4, 0.46, 2700.0, 900.0, 1900.0, 0.995, 0.8, 0.001),
    )


@pytest.mark.parametrize("way", ["ours", "ours, 2 threads", "numpy, 500 of them"])
def test_10000_scenarios(benchmark, way):
    benchmark.group = "10,000 scenarios of five ways"
    count = 500 if "numpy" in way else 10_000
    run = sourced_plainly if "numpy" in way else sourcing.sourced
    few = records(500)
    sourcing.sourced(*few, PLAN, MOVING, 1)
    with kernels.threads(2 if "2 threads" in way else 1):
        arguments = *records(count), PLAN, MOVING, 1
        benchmark.pedantic(run, arguments, rounds=1 if "numpy" in way else 5)
    benchmark.extra_info["scenarios a second"] = count / benchmark.stats["min"]
    usd, *_ = sourced_plainly(*few, PLAN, MOVING, 1)
    np.testing.assert_allclose(
        sourcing.sourced(*few, PLAN, MOVING, 1).usd, usd, rtol=1e-9, atol=1e-6
    )
