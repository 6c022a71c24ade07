"""Requests a second of the event simulation: Azure's conversations on 8 replicas, one thread.

Run with `pytest tests/bench --benchmark-only`; requests a second are under `extra_info`.
Compilation is apart: a simulation ran before. Plain Python goes token by token.
"""

import numpy as np
import polars as pl
import pytest
from plain import simulated_serving

from stackbook import facts
from stackbook.kernels import batching
from stackbook.kernels.batching import Pace, Replica, Requests

# About Llama 70B on 8 H100: weights, then arithmetic; 0.16 MB of cache a token.
PACE = Pace(0.01 + 2e-5 * np.arange(2049), cached=2e-8, sequence=1e-5, pair=1e-10)
REPLICA = Replica(capacity=400_000, besides=0, requests=256, tokens=2048, together=True)


def conversations(count, per_second):
    rows = facts.table("request_traces").filter(pl.col("trace") == "azure-chat")
    columns = rows.collect().select("arrival_s", "input_tokens", "output_tokens")
    none = np.full(columns.height, -1)
    trace = Requests(*(c.to_numpy() for c in columns), none, np.zeros_like(none))
    return batching.drawn(batching.poisson(per_second, count, seed=1), trace, seed=2)


@pytest.mark.parametrize("load", ["40% of the most", "80% of the most", "over the most"])
@pytest.mark.parametrize("routing", ["turns", "requests"])
def test_a_million_requests(benchmark, load, routing):
    benchmark.group = "1,000,000 requests on 8 replicas"
    per_second = {"40% of the most": 75, "80% of the most": 150, "over the most": 200}[load]
    requests = conversations(1_000_000, per_second)
    batching.serve(conversations(100, 1), PACE, REPLICA, 8, routing)
    served = benchmark.pedantic(
        batching.serve, (requests, PACE, REPLICA, 8, routing), rounds=2, warmup_rounds=0
    )
    benchmark.extra_info["requests a second"] = 1e6 / benchmark.stats["min"]
    assert np.isfinite(served.finish).all()


@pytest.mark.parametrize("way", ["ours", "token by token, plain Python"])
def test_a_few_requests(benchmark, way):
    benchmark.group = "300 requests on 8 replicas"
    requests = conversations(300, 150)
    run = {"ours": batching.serve}.get(way, simulated_serving)
    run(conversations(3, 150), PACE, REPLICA, 8, "requests")
    found = benchmark.pedantic(run, (requests, PACE, REPLICA, 8, "requests"), rounds=1)
    benchmark.extra_info["requests a second"] = 300 / benchmark.stats["min"]
    ours = batching.serve(requests, PACE, REPLICA, 8, "requests")
    for mine, theirs in zip(ours, found, strict=True):
        np.testing.assert_allclose(theirs, mine, rtol=1e-9)
