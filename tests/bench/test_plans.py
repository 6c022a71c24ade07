"""Plans a second: a search over all plans, and one step at a time in plain Python.

Run with `pytest tests/bench --benchmark-only`; plans a second are under `extra_info`. Compilation
is apart: a search ran before. Plain Python runs the source of the same step, on plans in a sample.
"""

from types import FunctionType

import numpy as np
import pytest

from stackbook import inputs, kernels
from stackbook.kernels import fabric, training
from stackbook.kernels.training import Plan

A100, AMPERE = inputs.cluster("A100 SXM 80GB"), inputs.efficiency("Ampere")
MEGATRON = training.layout(inputs.architecture("Megatron 22B"), 2048)
GPT_3 = training.layout(inputs.architecture("GPT-3"), 2048)
BATCHES = 4, 8, 16, 32, 64, 128, 192, 256  # more plans than the 42,064 of calculon for 8


def plain_step():
    """The step and all that it calls, uncompiled."""
    scope = vars(fabric) | vars(training)
    for name, each in list(scope.items()):
        source = getattr(each, "py_func", None) or getattr(
            getattr(each, "_dispatcher", None), "py_func", None
        )
        if source is not None:
            scope[name] = FunctionType(source.__code__, scope, name, source.__defaults__)
    return scope["step"]


def sample(count):
    """Plans of Megatron 22B on 8 accelerators, with their batches."""
    found = [
        (batch, training.plans(MEGATRON, A100, AMPERE, batch, 8, count, False).plans)
        for batch in BATCHES
    ]
    return [(float(batch), plan) for batch, plans in found for plan in plans]


@pytest.mark.parametrize("way", ["search", "search, 2 threads", "one by one, plain Python"])
def test_megatron_22b_on_8(benchmark, way):
    benchmark.group = "Megatron 22B on 8 A100"
    chosen = sample(400)

    def search():
        found = [training.plans(MEGATRON, A100, AMPERE, batch, 8) for batch in BATCHES]
        return sum(each.tried for each in found)

    step = plain_step()

    def one_by_one():
        seconds = [step(MEGATRON, A100, AMPERE, batch, plan).seconds for batch, plan in chosen]
        return len(seconds)

    with kernels.threads(2 if "2" in way else 1):
        count = benchmark.pedantic(
            one_by_one if "plain" in way else search, rounds=10, warmup_rounds=1
        )
    benchmark.extra_info["plans"] = count
    benchmark.extra_info["plans a second"] = round(count / benchmark.stats.stats.median)
    for batch, plan in chosen[::100]:
        compiled = training.step(MEGATRON, A100, AMPERE, batch, plan)
        assert step(MEGATRON, A100, AMPERE, batch, plan) == pytest.approx(compiled)


@pytest.mark.parametrize("threads", [1, 2])
def test_gpt_3_on_4096(benchmark, threads):
    benchmark.group = "GPT-3 on 4,096 A100, 1,536 sequences"
    with kernels.threads(threads):
        found = benchmark.pedantic(
            lambda: training.plans(GPT_3, A100, AMPERE, 1536, 4096), rounds=10, warmup_rounds=1
        )
    benchmark.extra_info["plans"] = found.tried
    benchmark.extra_info["plans a second"] = round(found.tried / benchmark.stats.stats.median)
    assert np.all(np.diff(found.seconds) >= 0) and isinstance(found.plans[0], Plan)
