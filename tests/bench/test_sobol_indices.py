"""Indices of 40 quantities from 2^16 base rows: ours, and SALib's on the same outputs.

Run with `pytest tests/bench --benchmark-only`. The light model shows what the design itself costs:
scores, swaps and estimates; the other is what a million tokens cost through the whole chain.
SALib's analyzer makes as many resamples; of 2^16 rows it takes a minute.
"""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from stackbook.kernels.sampling import scores
from stackbook.kernels.sensitivity import estimate, sobol, value_of_information
from stackbook.token_cost import TokenCost

CHAIN = TokenCost(integrated="Enterprise through an API")
DIMENSIONS, COUNT = 40, 2**16


def light(z):
    """A sum and a product, so that there are interactions."""
    return z.sum(axis=0) + z[0] * z[1]


@pytest.mark.parametrize("model", [light, CHAIN], ids=["light", "whole chain"])
@pytest.mark.parametrize("threads", [1, 2])
def test_analysis_of_40_quantities(benchmark, model, threads):
    benchmark.group = "Sobol analysis of 40 quantities, 2^16 rows"
    assert len(CHAIN.inputs) == DIMENSIONS
    sobol(model, DIMENSIONS, 64, 1)  # compiles
    with ThreadPoolExecutor(threads) as pool:
        benchmark.pedantic(sobol, (model, DIMENSIONS, COUNT, 1), {"map": pool.map}, rounds=3)
    runs = COUNT * (DIMENSIONS + 2)
    benchmark.extra_info["runs a second"] = round(runs / benchmark.stats["min"])


def outputs_of(count):
    """At A, B and each AB."""
    both = scores(count, 2 * DIMENSIONS, 1)
    a, b = both[:DIMENSIONS], both[DIMENSIONS:]
    each = np.arange(DIMENSIONS)[:, None]
    return np.array([light(a), light(b), *(light(np.where(each == i, b, a)) for i in each)])


def salib_estimate(problem, ordered):
    from SALib.analyze import sobol as salib

    return salib.analyze(problem, ordered, False, num_resamples=200, conf_level=0.9, seed=1)


@pytest.mark.parametrize("way", ["ours", "ours, 2^12 rows", "SALib, 2^12 rows"])
def test_estimates_and_intervals(benchmark, way):
    benchmark.group = "indices and intervals from outputs, 40 quantities, 2^16 rows or 2^12"
    runs = outputs_of(2**12 if "2^12" in way else COUNT)
    estimate(runs, 1)
    if "ours" in way:
        benchmark.pedantic(estimate, (runs, 1), rounds=5)
        return
    names = [f"x{i}" for i in range(DIMENSIONS)]
    problem = {"num_vars": DIMENSIONS, "names": names, "bounds": [[0, 1]] * DIMENSIONS}
    ordered = np.concatenate([runs[:1], runs[2:], runs[1:2]]).T.ravel()
    theirs = benchmark.pedantic(salib_estimate, (problem, ordered), rounds=1)
    np.testing.assert_allclose(estimate(runs, 1).total, theirs["ST"], rtol=1e-9)


def test_value_of_information(benchmark):
    benchmark.group = "value of information of 40 quantities, 2^16 draws, three actions"
    z = scores(COUNT, DIMENSIONS, 1)
    worth = np.array([np.zeros(COUNT), light(z), 0.1 * light(z) + z[2]])
    benchmark.pedantic(value_of_information, (worth, z), rounds=2)
