"""Operating points a second: the frontier, and one point at a time in plain Python and in NumPy.

Run with `pytest tests/bench --benchmark-only`; points a second are under `extra_info`. Compilation
is apart: a run went before. Plain Python runs the source of the same point; NumPy takes one
operation after the other, each over all points.
"""

from types import FunctionType

import numpy as np
import pytest
from plain import served_point

from stackbook import inputs, kernels
from stackbook.kernels import serving
from stackbook.kernels.serving import Plan, Traffic
from stackbook.validation import serving as validation

SIZES = 0.5625, 2.0, 1.0  # NVFP4, with an 8-bit cache
MODEL = inputs.architecture("DeepSeek V3")
DEEPSEEK, GB200 = inputs.served(MODEL, "GB200", "NVFP4", 1.0)
BLACKWELL = inputs.serving_efficiency("Blackwell", "NVFP4", "TensorRT-LLM")
TRAFFIC = Traffic(8192.0, 1024.0)
PLANS = serving.plans(DEEPSEEK, GB200, 64)
SPEEDS = np.geomspace(5, 300, 50)
FINE = np.unique(np.round(2 ** np.arange(0, 16, 0.02)))  # batches


def plain(name):
    """A function of serving and all that it calls, uncompiled."""
    scope = dict(vars(serving))
    for key, each in list(scope.items()):
        source = getattr(each, "py_func", None) or getattr(
            getattr(each, "_dispatcher", None), "py_func", None
        )
        if source is not None and source.__module__ == serving.__name__:
            scope[key] = FunctionType(source.__code__, scope, key, source.__defaults__)
    return scope[name]


def points():
    """Plans and batches that fit, as the frontier tries them, of a sample of the plans."""
    context = TRAFFIC.input_tokens + TRAFFIC.output_tokens / 2
    for p in PLANS[::4]:
        most = serving.most_requests(DEEPSEEK, GB200, p, context)
        for batch in serving.BATCHES[min(most, serving.MOST * p.dp) >= serving.BATCHES]:
            yield p, float(batch)


def rates_one_by_one(point):
    return np.array(
        [point(DEEPSEEK, GB200, BLACKWELL, p, TRAFFIC, batch).output_per_s for p, batch in points()]
    )


def rates_by_columns():
    chosen, batches = zip(*points(), strict=True)
    p = Plan(*np.array(chosen).T)
    return served_point(MODEL, SIZES, GB200, BLACKWELL, p, TRAFFIC, np.array(batches))[2]


@pytest.mark.parametrize("threads", [1, 2])
def test_frontier(benchmark, threads):
    benchmark.group = "operating points: DeepSeek V3 on up to 64 GB200"
    args = DEEPSEEK, GB200, BLACKWELL, TRAFFIC, SPEEDS, PLANS, np.inf, FINE
    with kernels.threads(threads):
        found = benchmark.pedantic(serving.frontier, args, rounds=10, warmup_rounds=1)
    benchmark.extra_info["points"] = found.tried
    benchmark.extra_info["points a second"] = round(found.tried / benchmark.stats.stats.median)
    assert found.output_per_s[0] > 0


@pytest.mark.parametrize("way", ["one by one, compiled", "one by one, plain Python", "NumPy"])
def test_points(benchmark, way):
    benchmark.group = "operating points: DeepSeek V3 on up to 64 GB200"
    python = plain("point")
    run = {
        "one by one, compiled": lambda: rates_one_by_one(serving.point),
        "one by one, plain Python": lambda: rates_one_by_one(python),
        "NumPy": rates_by_columns,
    }[way]
    rates = benchmark.pedantic(run, rounds=5, warmup_rounds=1)
    benchmark.extra_info["points"] = len(rates)
    benchmark.extra_info["points a second"] = round(len(rates) / benchmark.stats.stats.median)
    np.testing.assert_allclose(rates, rates_one_by_one(serving.point), rtol=1e-9)


def test_measured(benchmark):
    benchmark.group = "table serving_points"
    several = [one for one in validation.published() if one.plan]
    efficiencies = np.array(
        [inputs.serving_efficiency(o.family, o.precision, o.engine) for o in several]
    )
    args = several, [one.plan for one in several], efficiencies
    found = benchmark.pedantic(validation.expected, args, rounds=10, warmup_rounds=1)
    benchmark.extra_info["rows"] = len(found)
    benchmark.extra_info["rows a second"] = round(len(found) / benchmark.stats.stats.median)
    assert np.isfinite(found).all()
