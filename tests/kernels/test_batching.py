"""Event simulation of serving: against plain Python token by token, theory, and conservation."""

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from plain import simulated_serving

from stackbook import facts
from stackbook.kernels import batching
from stackbook.kernels.batching import Pace, Pool, Replica, Requests

UNIT = 2.0**-12  # sums of whole multiples are exact, in any order


@st.composite
def streams(draw):
    """Up to 25 requests of few tokens, often at the same time, that may share a prefix."""
    count = draw(st.integers(1, 25))
    gaps = draw(st.lists(st.sampled_from([0, 1, 7, 50, 400]), min_size=count, max_size=count))
    lengths = st.lists(st.integers(1, 40), min_size=count, max_size=count)
    outputs = st.lists(st.integers(1, 15), min_size=count, max_size=count)
    given, output = np.array(draw(lengths)), np.array(draw(outputs))
    named = np.array([draw(st.integers(-1, i - 1)) for i in range(count)])
    most = np.where(named < 0, 0, np.minimum(given, (given + output)[named]))
    share = np.array([draw(st.sampled_from([0.0, 0.5, 1.0])) for _ in range(count)])
    return Requests(np.cumsum(gaps) * UNIT, given, output, named, (most * share).astype(int))


@st.composite
def replicas(draw):
    """A pace, and limits that any of the streams' requests just keeps."""
    tokens = draw(st.integers(1, 30))
    rows = np.cumsum([1, *draw(st.lists(st.integers(0, 9), min_size=tokens, max_size=tokens))])
    pace = Pace(rows * UNIT, *(draw(st.integers(0, 3)) * UNIT for _ in range(3)))
    besides = draw(st.integers(0, 3))
    room = 54 + besides + draw(st.integers(0, 150))
    return pace, Replica(room, besides, draw(st.integers(1, tokens)), tokens, draw(st.booleans()))


@settings(max_examples=250)
@given(streams(), replicas(), st.integers(1, 3), st.sampled_from(batching.ROUTINGS), st.booleans())
def test_as_token_by_token(requests, limits, count, routing, ready):
    """The same bits, with chunks, preemption, prefixes, routing, and prompts that come ready."""
    pace, replica = limits
    if ready:  # only what has a token left to decode goes on
        requests = requests._replace(output=np.maximum(requests.output, 2))
    ours = batching._serve(requests, pace, replica, count, routing, ready)
    plain = simulated_serving(requests, pace, replica, count, routing, ready)
    for name, found, expected in zip(ours._fields, ours, plain, strict=True):
        np.testing.assert_array_equal(found, expected, name)


def alike(arrival, given=1, output=1):
    """Requests that share nothing."""
    none, size = np.full(len(arrival), -1), len(arrival)
    lengths = (np.broadcast_to(tokens, size).astype(int) for tokens in (given, output))
    return Requests(np.asarray(arrival, float), *lengths, none, np.zeros(size, int))


def steady(seconds, tokens, **more):
    """A pace at which each iteration takes the same, and more as told."""
    return Pace(np.full(tokens + 1, seconds), **({"cached": 0, "sequence": 0, "pair": 0} | more))


def standard_error(values, batches=50):
    """Of the mean of values that follow each other."""
    return np.std([part.mean() for part in np.array_split(values, batches)]) / batches**0.5


def test_md1_wait():
    """One request at a time, each in one iteration of a second: Pollaczek-Khinchine."""
    load = 0.8
    requests = alike(batching.poisson(load, 500_000, seed=1))
    served = batching.serve(requests, steady(1, 1), Replica(1, 0, 1, 1, True))
    wait = served.first - requests.arrival - 1
    assert abs(wait.mean() - load / 2 / (1 - load)) < 3 * standard_error(wait)
    assert served.busy[0] == pytest.approx(500_000)


@pytest.mark.parametrize(("servers", "offered"), [(2, 1.5), (20, 17), (110, 100)])
def test_mmc_wait(servers, offered):
    """As many at a time as there are servers, for a geometric number of short iterations."""
    mean = 1000  # tokens of an output, an iteration each, so that a wait has grains of 1/1000
    count = 200_000
    output = np.random.default_rng(2).geometric(1 / mean, count)
    requests = alike(batching.poisson(offered, count, seed=3), 1, output)
    replica = Replica(10**9, 0, servers, servers, True)
    served = batching.serve(requests, steady(1 / mean, servers), replica)
    wait = served.first - requests.arrival - 1 / mean
    late = wait > 1.001 / mean  # less is what is left of an iteration
    delay = batching.erlang_c(offered, servers)
    assert abs(late.mean() - delay) < 3 * standard_error(late)
    expected = delay / (servers - offered)
    assert abs(wait.mean() - expected) < 3 * standard_error(wait) + 1 / mean


def test_pooling():
    """Servers in step with the root of the load: busier with scale, at the same delay."""
    offered = np.array([25.0, 100.0, 1e4, 1e6 - 1000])
    servers = offered + np.sqrt(offered)
    used = batching.pooled_utilization(offered, 1)
    np.testing.assert_allclose(used, offered / servers)
    assert (np.diff(used) > 0).all()
    delay = batching.halfin_whitt_delay(1)
    assert delay == pytest.approx(0.2234, abs=1e-4)
    assert batching.erlang_c(1e4, 10_100) == pytest.approx(delay, abs=0.002)
    assert batching.erlang_c(100, 110) == pytest.approx(delay, abs=0.02)
    # Published: 0.67, 0.91 and 0.97 of the time at work at a load of 4, 100 and 1,000.
    published = batching.pooled_utilization(np.array([4.0, 100.0, 1000.0]), 1)
    np.testing.assert_allclose(published, [0.67, 0.91, 0.97], atol=0.005)
    assert batching.halfin_whitt_delay(0) == 1
    assert batching.halfin_whitt_delay(40) == pytest.approx(0, abs=1e-300)


def test_erlang_c_published():
    """Two servers at load 1: 1/3. One server: the load itself."""
    assert batching.erlang_c(1, 2) == pytest.approx(1 / 3)
    assert batching.erlang_c(0.7, 1) == pytest.approx(0.7)
    for bad in [(2, 2), (-1, 2), (1, 2.5)]:
        assert np.isnan(batching.erlang_c(*bad))


@pytest.mark.parametrize("load", [0.3, 0.5, 0.7])
def test_load_law(load):
    """Iterations whose time grows with the batch: latency is C1 / (1 - rate C2)."""
    tokens, alone, each = 2000, 1e-3, 1e-4
    rate = load / (tokens * each)
    requests = alike(batching.poisson(rate, 20_000, seed=4), 1, tokens)
    served = batching.serve(
        requests, steady(alone, 4096, sequence=each), Replica(10**9, 0, 4096, 4096, True)
    )
    latency = (served.finish - requests.arrival)[2000:-2000].mean()
    law = batching.loaded_latency(tokens * (alone + each), tokens * each, rate)
    assert latency == pytest.approx(law, rel=0.02)
    assert batching.loaded_latency(1, 1, 0.5) == 2  # published: twice at half of the limit
    assert np.isnan(batching.loaded_latency(1, 1, 1))


@settings(max_examples=50)
@given(streams(), st.integers(1, 3), st.booleans())
def test_invariant_4_every_token_is_paid_once(requests, count, together):
    """At a second a token, replicas are busy for as many seconds as there is work."""
    pace, replica = Pace(np.arange(31.0) + 1e-300, 0, 0, 0), Replica(5000, 0, 30, 30, together)
    served = batching.serve(requests, pace, replica, count)
    assert served.computed.sum() + served.hits.sum() == requests.input.sum()
    work = served.computed.sum() + (requests.output - 1).sum()
    assert served.busy.sum() == pytest.approx(work)
    assert served.preemptions.sum() == 0
    # A token of context, and a pair in a prompt, are paid once too.
    contexts = requests.output - 1
    contexts = contexts * requests.input + contexts * (contexts - 1) // 2
    alone = requests._replace(shares_with=np.full(len(contexts), -1), shared=0 * contexts)
    served = batching.serve(alone, steady(1e-9, 30, cached=1.0), replica, count)
    assert served.busy.sum() == pytest.approx(contexts.sum(), abs=1e-4)
    served = batching.serve(alone, steady(1e-9, 30, pair=1.0), replica, count)
    pairs = requests.input * (requests.input - 1) // 2
    assert served.busy.sum() == pytest.approx(pairs.sum(), abs=1e-4)


def test_more_replicas_wait_less_and_the_promise_is_kept_with_the_fewest():
    requests = alike(batching.bursty(60, 2, 20_000, seed=5), 300, 100)
    limits = steady(0.02, 512), Replica(20_000, 0, 64, 512, True)
    waits = [
        (batching.serve(requests, *limits, n, "requests").first - requests.arrival).mean()
        for n in range(1, 7)
    ]
    assert (np.diff(waits) < 0).all()
    best = batching.fleet(requests, *limits, ttft=0.2, tpot=0.1)
    enough = batching.summary(requests, batching.serve(requests, *limits, best.replicas), (0.99,))
    assert enough.ttft[0] == best.summary.ttft[0] <= 0.2
    fewer = batching.serve(requests, *limits, best.replicas - 1)
    assert batching.summary(requests, fewer, (0.99,)).ttft[0] > 0.2
    with pytest.raises(ValueError, match="promise more time"):
        batching.fleet(requests, *limits, ttft=0.001, tpot=0.1, most=8)


def test_regular_arrivals_are_carried_up_to_the_rate_of_service():
    """D/D/1: 1 / service at any promise of that time, nothing at less; both for any start."""
    requests = alike(np.arange(1, 1001), 8, 1)
    limits = steady(0.02, 8), Replica(1000, 0, 1, 8, True)
    for start in (5.0, 50.0, 400.0):
        found = batching.carries(requests, *limits, ttft=0.021, tpot=1.0, start=start)
        assert 50 / 1.015 <= found <= 50.1
    assert batching.carries(requests, *limits, ttft=0.019, tpot=1.0, start=50.0) == 0


def test_what_replicas_carry_is_the_edge_of_the_promise_and_pools():
    requests = alike(batching.bursty(1, 2, 4000, seed=5), 300, 100)
    limits = steady(0.02, 512), Replica(20_000, 0, 64, 512, True)
    promise = {"ttft": 0.3, "tpot": 0.03}
    one, four = (
        batching.carries(requests, *limits, **promise, start=10.0 * n, replicas=n) for n in (1, 4)
    )
    assert four > 4 * one
    first, after = batching.settled(requests, one, *limits)
    assert first <= 0.3 and after <= 0.03
    assert batching.settled(requests, 1.03 * one, *limits)[0] > 0.3
    assert batching.settled(requests, 50 * one, *limits) == (np.inf, np.inf)


@pytest.mark.parametrize(("arrival", "first"), [(2.5, 4), (3, 4), (3.5, 5)])
def test_joins_the_next_iteration(arrival, first):
    """Also the one that begins as it arrives."""
    requests = alike([0, arrival], 1, 9)
    served = batching.serve(requests, steady(1, 8), Replica(100, 0, 8, 8, True))
    assert served.first.tolist() == [1, first]


def test_pools_apart():
    """Alone, a request takes its prompt, the transfer, and a token each; nothing waits for it."""
    requests = alike([0.0, 100.0], 1000, [5, 1])
    replica = Replica(10_000, 0, 8, 512, False)
    prefill, decode = Pool(steady(1, 512), replica, 2), Pool(steady(0.25, 512), replica, 1)
    served = batching.serve_apart(requests, prefill, decode, transfer=0.001)
    np.testing.assert_allclose(served.first, [2, 102])
    np.testing.assert_allclose(served.finish, [2 + 1 + 4 * 0.25, 102])
    np.testing.assert_allclose(served.busy, [4, 0, 1])
    assert served.replica.tolist() == [2, 0]


def test_a_prefix_is_found_until_room_is_needed():
    requests = alike([0.0, 10, 20], 100, 2)._replace(
        shares_with=np.array([-1, -1, 0]), shared=np.array([0, 0, 90])
    )
    pace = steady(1, 64)
    served = batching.serve(requests, pace, Replica(300, 0, 8, 64, True))
    assert served.hits.tolist() == [90]
    served = batching.serve(requests, pace, Replica(160, 0, 8, 64, True))
    assert served.hits.tolist() == [59]  # of the first, as much as the second left room for
    apart = batching.serve(requests, pace, Replica(300, 0, 8, 64, True), 2, "turns")
    assert apart.hits.tolist() == [90, 0]
    assert batching.serve(requests, pace, Replica(300, 0, 8, 64, True), 3, "turns").hits.sum() == 0


@pytest.mark.parametrize("variation", [0.5, 1, 3])
def test_bursty(variation):
    gaps = np.diff(batching.bursty(5, variation, 400_000, seed=6))
    assert gaps.mean() == pytest.approx(0.2, rel=0.02)
    assert gaps.std() / gaps.mean() == pytest.approx(variation, rel=0.02)


def test_diurnal():
    """Over days, as many come by each hour as the integral of the rate says."""
    at = batching.diurnal(2, 0.8, 864_000, seed=7, period=1000)
    assert (np.diff(at) >= 0).all()
    phase = 2 * np.pi * (at % 1000) / 1000
    assert np.sin(phase).mean() == pytest.approx(0.4, abs=0.005)  # half of the swing
    assert at[-1] == pytest.approx(432_000, rel=0.01)
    even = batching.diurnal(2, 0, 100, seed=7)
    np.testing.assert_allclose(even, batching.poisson(2, 100, seed=7))
    with pytest.raises(ValueError, match="swing = 1: give"):
        batching.diurnal(2, 1, 10, 1)


def trace(name):
    rows = facts.table("request_traces").filter(pl.col("trace") == name).collect()
    columns = rows["arrival_s"], rows["input_tokens"], rows["output_tokens"]
    named = rows["shares_with"].fill_null(-1), rows["shared_tokens"].fill_null(0)
    return Requests(*(column.to_numpy() for column in (*columns, *named)))


def test_the_busiest_hour_of_a_sine():
    day = batching.diurnal(5, 0.6, 432_000, seed=4)
    expected = 1 + 0.6 * np.sin(np.pi / 24) / (np.pi / 24)  # a sine's mean over its best hour
    assert batching.busiest(day, 3600.0) == pytest.approx(expected, rel=0.02)
    even = np.arange(100.0)
    assert batching.busiest(even, 10.0) == batching.busiest(even, 99.0) == 1
    with pytest.raises(ValueError, match="stretch = 100: give a number above 0, up to 99"):
        batching.busiest(even, 100.0)


def test_resampled_and_drawn():
    chat = trace("azure-chat")
    at = batching.resampled(chat.arrival, 50, 200_000, seed=8)
    assert at[-1] == pytest.approx(4000, rel=0.02)
    gaps, source = np.diff(at), np.diff(chat.arrival)
    variation = source.std() / source.mean()
    assert gaps.std() / gaps.mean() == pytest.approx(variation, rel=0.05)
    requests = batching.drawn(at, chat, seed=9)
    assert requests.input.mean() == pytest.approx(chat.input.mean(), rel=0.01)
    together = np.corrcoef(chat.input, chat.output)[0, 1]
    assert np.corrcoef(requests.input, requests.output)[0, 1] == pytest.approx(together, abs=0.01)


@pytest.mark.parametrize(
    ("name", "count", "given", "output", "shared"),
    [  # medians of Azure as Patel et al. 2024 publish them, 1,500 of code rounded
        ("azure-chat", 19_366, 1020, 129, 0),
        ("azure-code", 5_740, 1500, 13, 0),
        ("kimi-chat", 2_728, 7967, 360, 0.3088),
        ("kimi-mixed", 3_993, 11_587, 69, 0.6512),
    ],
)
def test_traces(name, count, given, output, shared):
    """Medians, and the share of prompt tokens that a prefix cache without limit would save."""
    rows = trace(name)
    assert len(rows.input) == count
    assert np.median(rows.input) == pytest.approx(given, rel=0.03)
    assert np.median(rows.output) == pytest.approx(output, rel=0.01)
    assert rows.shared.sum() / rows.input.sum() == pytest.approx(shared, abs=5e-5)
    assert (rows.shared <= np.where(rows.shared, rows.input[rows.shares_with], 0)).all()


def test_repeated_and_prefixed():
    lengths = np.array([9, 3, 8]), np.array([2, 2, 2])
    trace = Requests(np.arange(3.0), *lengths, np.array([-1, -1, 0]), np.array([0, 0, 5]))
    arrival = np.arange(7.0)
    found = batching.repeated(arrival, trace)
    assert found.input.tolist() == [9, 3, 8, 9, 3, 8, 9]
    assert found.shares_with.tolist() == [-1, -1, 0, -1, -1, 3, -1]
    assert found.shared.tolist() == [0, 0, 5, 0, 0, 5, 0]
    found = batching.prefixed(found, 6)
    assert found.shares_with.tolist() == [-1, 0, 0, 2, 3, 3, 5]
    assert found.shared.tolist() == [0, 2, 6, 6, 2, 6, 6]
    limits = steady(0.01, 8), Replica(100, 0, 4, 8, True)
    assert batching.serve(found, *limits, routing="prefix").hits.sum() == 28


def test_prefix_cache_of_a_trace():
    """With all the room there is, the simulation saves what the trace says, but for overlaps."""
    rows = trace("kimi-mixed")
    limits = steady(1e-6, 200_000), Replica(10**9, 0, 256, 200_000, True)
    whole = batching.summary(rows, batching.serve(rows, *limits)).hit_share
    assert whole == pytest.approx(0.6512, abs=0.001)
    less = [
        batching.summary(rows, batching.serve(rows, *limits, 8, way)).hit_share
        for way in ("turns", "prefix")
    ]
    assert less[0] < less[1] <= whole


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"arrival": [1.0, 0.0]}, r"arrival\[1\] = 0.0: give finite times"),
        ({"input": [1, 0]}, r"input\[1\] = 0: give 1 or more"),
        ({"output": [0, 1]}, r"output\[0\] = 0: give 1 or more"),
        ({"shares_with": [-1, 1]}, r"shares_with\[1\] = 1: give an earlier request"),
        ({"shared": [0, 9]}, r"shared\[1\] = 9: give 0 up to the input"),
        ({"input": [1, 200]}, "request 1 takes 200 tokens of cache: give a capacity of as many"),
        ({"input": [1]}, "give columns of one length"),
    ],
)
def test_bad_requests(change, message):
    requests = alike([0.0, 1.0])._replace(**{k: np.array(v) for k, v in change.items()})
    with pytest.raises(ValueError, match=message):
        batching.serve(requests, steady(1, 8), Replica(100, 0, 8, 8, True))


def test_bad_limits():
    requests, pace, replica = alike([0.0]), steady(1, 8), Replica(100, 0, 8, 8, True)
    with pytest.raises(ValueError, match="no fewer tokens than requests"):
        batching.serve(requests, pace, replica._replace(requests=9))
    with pytest.raises(ValueError, match="rows has 9 times: give 10"):
        batching.serve(requests, pace, replica._replace(tokens=9))
    with pytest.raises(ValueError, match="give one of turns, requests, tokens, prefix"):
        batching.serve(requests, pace, replica, 1, "random")
    with pytest.raises(ValueError, match="rows above 0"):
        batching.serve(requests, steady(0, 8), replica)
    with pytest.raises(ValueError, match="transfer = -1"):
        pool = Pool(pace, replica, 1)
        batching.serve_apart(requests, pool, pool, -1)
    with pytest.raises(ValueError, match="per_second = 0: give"):
        batching.poisson(0, 10, 1)
