"""How a fleet serves a stream of requests: continuous batching, event by event, and its theory."""

from math import erf, inf, nan, pi, sqrt
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from stackbook.kernels.elementary import exp
from stackbook.kernels.jit import formula, search

ROUTINGS = ("turns", "requests", "tokens", "prefix")
AFFINE = 2  # a request follows its prefix where at least one of so many of its tokens is shared
NAMES = 1000  # earlier requests that are asked for a prefix, each the one that the last one names

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]


class Pace(NamedTuple):
    """What an iteration takes [s]: rows[tokens], and more for what its tokens attend to."""

    rows: Floats
    """By decoded and prompt tokens together, from 0 to the most of an iteration."""
    cached: float
    """For each token in the cache before one that is decoded."""
    sequence: float
    """For each request that decodes."""
    pair: float
    """For each pair of a prompt's token and one before it."""


class Replica(NamedTuple):
    """What fits on a replica at once, and how it orders its work."""

    capacity: int
    """Tokens in its cache."""
    besides: int
    """Tokens of cache whose room a running request takes beyond its own."""
    requests: int
    """Most that run at once."""
    tokens: int
    """Most in an iteration; longer prompts are cut into chunks."""
    together: bool
    """Whether prompts fill up iterations that decode; if not, they go first and decoding waits."""


class Requests(NamedTuple):
    """A stream of requests, in order of arrival."""

    arrival: Floats
    """[s]"""
    input: Ints
    """Tokens of the prompt."""
    output: Ints
    shares_with: Ints
    """An earlier request whose first tokens are the same; -1 for none."""
    shared: Ints
    """How many are the same."""


class Served(NamedTuple):
    """What became of requests: times by request, and totals by replica."""

    first: Floats
    """When the first token is there [s]."""
    finish: Floats
    replica: Ints
    busy: Floats
    """Time in iterations [s]."""
    preemptions: Ints
    hits: Ints
    """Prompt tokens that the prefix cache saved."""
    computed: Ints
    """Prompt tokens that were computed, those of preempted requests again."""


class Pool(NamedTuple):
    """Replicas that are all the same."""

    pace: Pace
    replica: Replica
    replicas: int


class Summary(NamedTuple):
    """Latencies at quantiles, and rates from the first arrival to the last finish."""

    ttft: Floats
    """Time to first token [s]."""
    tpot: Floats
    """Time per output token after the first [s]; of requests with more than one."""
    latency: Floats
    """From arrival to finish [s]."""
    utilization: float
    """Share of time in which a replica is at work."""
    requests_per_s: float
    input_per_s: float
    """Prompt tokens, saved ones too."""
    output_per_s: float
    hit_share: float
    """Prompt tokens that the prefix cache saved over all that were asked for."""
    preemptions: int


class Fleet(NamedTuple):
    """The fewest replicas that keep a promise, and how they do."""

    replicas: int
    summary: Summary


# Columns of a request's row.
_INPUT, _OUTPUT, _NAMED, _SHARED, _REPLICA, _STATE, _EMITTED, _BASE = range(8)
_END, _PARENT, _LIVE, _IDLE, _PIN, _NEED, _BEFORE, _AFTER = range(8, 16)
# States, in this order: from _DECODES on, others may share its tokens; from _KEPT on, it is done.
# A kept request is listed for eviction, unless what is left of it is needed.
_WAITS, _READY, _PROMPT, _GONE, _DECODES, _KEPT, _NEEDED = range(7)
# Columns of a replica's rows of whole numbers and of times.
_QUEUE, _QUEUE_END, _LAST, _OLD, _NEW, _RUNNING, _DECODING, _CONTEXTS, _TURN, _ACTIVE = range(10)
_USED, _PART, _TODO, _CHUNK, _STEPS, _BATCH, _ENDING, _REQUESTS, _TOKENS = range(10, 19)
_PREEMPTIONS, _HITS, _COMPUTED, _BLOCKED = range(19, 23)
_NOW, _THEN, _STEP, _SLOPE, _BUSY = range(5)


def serve(
    requests: Requests,
    pace: Pace,
    replica: Replica,
    replicas: int = 1,
    routing: str = "requests",
) -> Served:
    """Serve a stream of requests with replicas that batch continuously, from event to event.

    requests, pace: requests [1], times of an iteration [s]
    replica, replicas: limits of a replica [1], and how many there are [1]
    routing: "turns", to the fewest "requests" or prompt "tokens", or by "prefix" [1]
    returns: Served [1]; ValueError for bad numbers, or a request that fits on no replica
    source: first come first served as vLLM v1: decoding, then prompts; the latest is preempted
    """
    return _serve(requests, pace, replica, replicas, routing, ready=False)


def serve_apart(
    requests: Requests, prefill: Pool, decode: Pool, transfer: float, routing: str = "requests"
) -> Served:
    """Serve requests with one pool of replicas for prompts and one that decodes.

    requests: arrivals and lengths; prefixes are looked for by the first pool [1]
    prefill, decode: the pools [1], [1]
    transfer: time for the cache of a token from one to the other [s], 0 or more
    routing: into each pool, as for serve [1]
    returns: Served [1]; the replicas of prefill, then those of decode
    source: Zhong et al. 2024 (DistServe), Patel et al. 2024 (Splitwise)
    """
    if not 0 <= transfer < inf:
        raise ValueError(f"transfer = {transfer:g}: give a finite number of 0 or more")
    _check(requests)
    ones = np.ones_like(requests.output)
    one = _serve(requests._replace(output=ones), *prefill, routing, ready=False)
    more = np.flatnonzero(requests.output > 1)
    there = one.first[more] + transfer * requests.input[more]
    order = np.argsort(there, kind="stable")
    went = more[order]
    none, zero = np.full(went.size, -1), np.zeros(went.size, np.int64)
    moved = Requests(there[order], requests.input[went], requests.output[went], none, zero)
    two = _serve(moved, *decode, routing, ready=True)
    finish, where = one.first.copy(), one.replica.copy()
    finish[went], where[went] = two.finish, prefill.replicas + two.replica
    both = (np.concatenate(pair) for pair in zip(one[3:], two[3:], strict=True))
    return Served(one.first, finish, where, *both)


def summary(
    requests: Requests, served: Served, quantiles: tuple[float, ...] = (0.5, 0.9, 0.99)
) -> Summary:
    """Latencies at quantiles and rates of a fleet.

    requests, served: what came [1] and what became of it [1]
    quantiles: shares of requests that are at least as fast [1]
    returns: Summary [1]
    source: usual measures: TTFT, and TPOT = (finish - first) / (output - 1)
    """
    several = requests.output > 1
    after = (served.finish - served.first)[several] / (requests.output[several] - 1)
    span = float(served.finish.max() - requests.arrival[0])
    asked = float(served.hits.sum() + served.computed.sum())
    return Summary(
        ttft=np.quantile(served.first - requests.arrival, quantiles),
        tpot=np.quantile(after, quantiles) if several.any() else np.full(len(quantiles), nan),
        latency=np.quantile(served.finish - requests.arrival, quantiles),
        utilization=float(served.busy.sum() / served.busy.size / span),
        requests_per_s=requests.arrival.size / span,
        input_per_s=float(requests.input.sum() / span),
        output_per_s=float(requests.output.sum() / span),
        hit_share=float(served.hits.sum() / asked),
        preemptions=int(served.preemptions.sum()),
    )


def fleet(
    requests: Requests,
    pace: Pace,
    replica: Replica,
    ttft: float,
    tpot: float,
    quantile: float = 0.99,
    routing: str = "requests",
    most: int = 1024,
) -> Fleet:
    """Fewest replicas that keep a promise of latency for a stream of requests.

    requests, pace, replica, routing: as for serve [1], [s], [1], [1]
    ttft, tpot: promised time to the first token [s], and for each one after it [s]
    quantile: share of requests for which each holds [1]
    most: replicas to try [1]
    returns: Fleet [1]; ValueError where not even the most replicas keep it
    source: bisection over simulations; more replicas are taken to be no slower
    """

    def tried(replicas: int) -> tuple[bool, Summary]:
        found = summary(requests, serve(requests, pace, replica, replicas, routing), (quantile,))
        return bool(found.ttft[0] <= ttft and not found.tpot[0] > tpot), found

    low, high = 0, 1  # low is too few
    kept, found = tried(high)
    while not kept:
        if high >= most:
            raise ValueError(
                f"most = {most}: so many replicas give {found.ttft[0]:.3g} s to the first token "
                f"and {found.tpot[0]:.3g} s for each after it; promise more time"
            )
        low, high = high, min(2 * high, most)
        kept, found = tried(high)
    while high - low > 1:
        middle = (low + high) // 2
        kept, other = tried(middle)
        low, high, found = (low, middle, other) if kept else (middle, high, found)
    return Fleet(high, found)


def settled(
    requests: Requests,
    per_second: float,
    pace: Pace,
    replica: Replica,
    replicas: int = 1,
    quantile: float = 0.99,
    routing: str = "requests",
) -> tuple[float, float]:
    """Both times of a fleet in its stride, for a stream whose arrivals are scaled to a rate.

    requests, pace, replica, replicas, routing: as for serve [1], [s], [1], [1], [1]
    per_second: mean rate [1/s], above 0
    quantile: share of requests that are at least as fast [1]
    returns: to the first token and for each one after it [s]; infinite where the queue only grows
    source: of all but the first fifth, which finds the fleet empty
    """
    _positive(per_second=per_second)
    count = requests.arrival.size
    arrival = requests.arrival * (count / requests.arrival[-1] / per_second)
    scaled = requests._replace(arrival=arrival)
    served = serve(scaled, pace, replica, replicas, routing)
    end = arrival[-1]
    waiting = [int(np.sum((arrival <= at) & (served.first > at))) for at in (end / 2, end)]
    if waiting[1] - waiting[0] > 0.05 * count / 2:
        return inf, inf
    stride = slice(count // 5, None)
    later = requests._replace(arrival=arrival[stride], output=requests.output[stride])
    then = served._replace(first=served.first[stride], finish=served.finish[stride])
    found = summary(later, then, (quantile,))
    return float(found.ttft[0]), float(np.nan_to_num(found.tpot[0]))


def carries(
    requests: Requests,
    pace: Pace,
    replica: Replica,
    ttft: float,
    tpot: float,
    start: float,
    quantile: float = 0.99,
    replicas: int = 1,
    routing: str = "requests",
) -> float:
    """Most requests per second that a fleet carries within a promise of latency, within 1.5%.

    requests, pace, replica, replicas, routing: as for settled [1], [s], [1], [1], [1]
    ttft, tpot: promised time to the first token [s], and for each one after it [s]
    start: rate near which to search [1/s], above 0
    quantile: share of requests for which each holds [1]
    returns: [1/s]; 0 where the promise is not kept at a thirtieth of start
    source: bisection over simulations; fewer requests are taken to be no slower
    """

    def kept(rate: float) -> bool:
        first, after = settled(requests, rate, pace, replica, replicas, quantile, routing)
        return first <= ttft and after <= tpot

    low = high = start
    if kept(start):
        while kept(high := 1.25 * low):
            low = high
    else:
        while not kept(low := high / 1.25):
            high = low
            if low < start / 30:
                return 0.0
    for _ in range(4):
        middle = sqrt(low * high)
        low, high = (middle, high) if kept(middle) else (low, middle)
    return low


def poisson(per_second: float, count: int, seed: int) -> Floats:
    """Arrivals that know nothing of each other.

    per_second: mean rate [1/s], above 0
    count, seed: arrivals [1], and seed of the draws [1]
    returns: [s], from 0 on
    source: Poisson process, exponential times between arrivals
    """
    return bursty(per_second, 1.0, count, seed)


def bursty(per_second: float, variation: float, count: int, seed: int) -> Floats:
    """Arrivals in bursts: independent gamma times between them.

    per_second: mean rate [1/s], above 0
    variation: standard deviation over mean of the times between arrivals [1]; 1 is Poisson
    count, seed: arrivals [1], and seed of the draws [1]
    returns: [s], from 0 on
    source: gamma renewal process, as Wang et al. 2024 (BurstGPT) fit
    """
    _positive(per_second=per_second, variation=variation)
    shape = variation**-2
    gaps = np.random.default_rng(seed).gamma(shape, 1 / shape, count)
    return np.cumsum(gaps) / per_second


def diurnal(
    per_second: float, swing: float, count: int, seed: int, period: float = 86400.0
) -> Floats:
    """Poisson arrivals whose rate goes up and down as a sine, from a mean that rises.

    per_second: mean rate [1/s], above 0
    swing: (peak - mean) / mean [1], 0 up to, but not, 1
    count, seed: arrivals [1], and seed of the draws [1]
    period: from peak to peak [s], above 0
    returns: [s], from 0 on
    source: time change of a Poisson process (Cinlar 1975)
    """
    _positive(per_second=per_second, period=period)
    if not 0 <= swing < 1:
        raise ValueError(f"swing = {swing:g}: give 0 or more, below 1")
    turn = period / (2 * pi)
    wanted = poisson(per_second, count, seed)  # on the clock on which the rate is even
    times = wanted.copy()
    for _ in range(100):  # Newton's steps, held to the turn by which the clocks differ at most
        phase = times / turn
        over = times + swing * turn * (1 - np.cos(phase)) - wanted
        steps = over / (1 + swing * np.sin(phase))
        times = np.clip(times - steps, wanted - 2 * swing * turn, wanted)
        if np.abs(over).max() <= 1e-12 * wanted[-1]:
            break
    return np.maximum.accumulate(times)


def resampled(arrival: Floats, per_second: float, count: int, seed: int) -> Floats:
    """Arrivals whose gaps are drawn from those of a trace, in blocks that keep its bursts.

    arrival: of the trace, in order [s], two or more at different times
    per_second: mean rate [1/s], above 0
    count, seed: arrivals [1], and seed of the draws [1]
    returns: [s], from 0 on
    source: circular block bootstrap (Politis and Romano 1992), scaled to the rate
    """
    _positive(per_second=per_second)
    gaps = np.diff(np.asarray(arrival, float))
    if not (gaps.size and gaps.min() >= 0 and gaps.max() > 0):
        raise ValueError("arrival: give two or more in order, at different times")
    block = max(1, int(sqrt(gaps.size)))
    starts = np.random.default_rng(seed).integers(0, gaps.size, -(-count // block))
    picks = (starts[:, None] + np.arange(block)).ravel()[:count] % gaps.size
    times: Floats = np.cumsum(gaps[picks]) / gaps.mean() / per_second
    return times


def busiest(arrival: Floats, stretch: float) -> float:
    """Arrivals in the busiest stretch of a trace over those of a mean one.

    arrival: in order [s], two or more at different times
    stretch: its length [s], above 0, up to that of the trace
    returns: [1], 1 or more
    source: definition of a peak-to-mean ratio
    """
    span = float(arrival[-1] - arrival[0])
    if not 0 < stretch <= span:
        raise ValueError(f"stretch = {stretch:g}: give a number above 0, up to {span:g}")
    starts = arrival[arrival <= arrival[-1] - stretch]
    most = np.searchsorted(arrival, starts + stretch) - np.arange(starts.size)
    return max(1.0, float(most.max()) / arrival.size * span / stretch)


def drawn(arrival: Floats, trace: Requests, seed: int) -> Requests:
    """Requests whose lengths are drawn from a trace, input and output together; none shares.

    arrival: of the new requests, in order [s]
    trace: requests to draw from [1]
    seed: of the draws [1]
    returns: Requests [1]
    source: bootstrap (Efron 1979)
    """
    picks = np.random.default_rng(seed).integers(0, trace.input.size, arrival.size)
    none, zero = np.full(arrival.size, -1), np.zeros(arrival.size, np.int64)
    return Requests(arrival, trace.input[picks], trace.output[picks], none, zero)


def repeated(arrival: Floats, trace: Requests) -> Requests:
    """The requests of a trace in their order, over and over, with what they share.

    arrival: of the new requests, in order [s]
    trace: requests to repeat [1]
    returns: Requests [1]; a request never shares with an earlier turn of the trace
    source: definition
    """
    turn, at = np.divmod(np.arange(arrival.size), trace.input.size)
    named = trace.shares_with[at]
    named = np.where(named >= 0, named + turn * trace.input.size, -1)
    return Requests(arrival, trace.input[at], trace.output[at], named, trace.shared[at])


def prefixed(requests: Requests, tokens: int) -> Requests:
    """The same requests, all beginning with the same tokens, as with one system prompt.

    requests: what they shared is replaced [1]
    tokens: that all share, of a shorter prompt all but its last [1]
    returns: Requests [1]; each names the latest before it that has all of them
    source: definition
    """
    whole = np.where(requests.input > tokens, np.arange(requests.input.size), -1)
    named = np.concatenate(([-1], np.maximum.accumulate(whole)[:-1]))
    shared = np.where(named >= 0, np.minimum(tokens, requests.input - 1), 0)
    return requests._replace(shares_with=named, shared=shared)


@formula
def erlang_c(offered: float, servers: float) -> float:
    """Probability that a request has to wait for one of many servers.

    offered: arrivals times mean service time [1], 0 up to, but not, servers
    servers: of one request each [1], a whole number up to a million
    returns: [1]
    source: Erlang 1917, formula C of M/M/c
    """
    if not (0 <= offered < servers <= 1e6 and np.floor(servers) == servers):
        return nan
    blocked = 1.0
    for server in range(1, int(servers) + 1):
        blocked *= offered / (server + offered * blocked)
    return blocked / (1 - offered / servers * (1 - blocked))


@formula
def halfin_whitt_delay(slack: float) -> float:
    """Probability that a request has to wait for one of very many servers.

    slack: servers beyond the offered load, over the root of that load [1], 0 or more
    returns: [1]
    source: Halfin and Whitt 1981, 1 / (1 + z Phi(z) / phi(z))
    """
    if not slack >= 0:
        return nan
    below = 0.5 * (1 + erf(slack / sqrt(2.0)))
    return 1 / (1 + slack * below * sqrt(2 * pi) * exp(min(slack * slack / 2, 700.0)))


@formula
def pooled_utilization(offered: float, slack: float) -> float:
    """Share of time at work of a pool with room for the swings of its load: it rises with scale.

    offered: arrivals times mean service time [1], above 0
    slack: servers beyond the offered load, over the root of that load [1], 0 or more
    returns: [1], with servers = offered + slack sqrt(offered)
    source: Halfin and Whitt 1981, square-root staffing
    """
    return 1 / (1 + slack / sqrt(offered)) if offered > 0 and slack >= 0 else nan


@formula
def loaded_latency(base: float, slope: float, per_second: float) -> float:
    """Latency of a replica whose iteration takes longer the more requests it serves at once.

    base: latency of a request alone [s], 0 or more
    slope: latency that each other request at once adds [s], 0 or more
    per_second: rate of arrivals [1/s], 0 up to, but not, 1 / slope
    returns: [s]
    source: Kong et al. 2026, L = C1 / (1 - C2 rate), from Little's law in L = C1 + C2 N
    """
    if not (base >= 0 and slope >= 0 and 0 <= per_second * slope < 1):
        return nan
    return base / (1 - per_second * slope)


def _positive(**named: float) -> None:
    for name, value in named.items():
        if not 0 < value < inf:
            raise ValueError(f"{name} = {value:g}: give a finite number above 0")


def _check(requests: Requests) -> None:
    arrival, given, output, named, shared = requests
    sizes = {field: np.size(column) for field, column in requests._asdict().items()}
    if len(set(sizes.values())) != 1 or not arrival.size:
        raise ValueError(f"requests: give columns of one length above 0, not {sizes}")
    order = np.flatnonzero(~(np.diff(arrival, prepend=0.0) >= 0) | ~np.isfinite(arrival))
    bad = {
        "arrival": (order, "finite times from 0 on, in order"),
        "input": (np.flatnonzero(given < 1), "1 or more"),
        "output": (np.flatnonzero(output < 1), "1 or more"),
        "shares_with": (
            np.flatnonzero((named < -1) | (named >= np.arange(named.size))),
            "an earlier request, or -1",
        ),
        "shared": (np.flatnonzero((shared < 0) | (shared > given)), "0 up to the input"),
    }
    for field, (rows, remedy) in bad.items():
        if rows.size:
            value = getattr(requests, field)[rows[0]]
            raise ValueError(f"{field}[{rows[0]}] = {value}: give {remedy}")


def _serve(
    requests: Requests, pace: Pace, replica: Replica, replicas: int, routing: str, ready: bool
) -> Served:
    _check(requests)
    if routing not in ROUTINGS:
        raise ValueError(f"routing = {routing!r}: give one of {', '.join(ROUTINGS)}")
    if replicas < 1 or not 1 <= replica.requests <= replica.tokens:
        raise ValueError(
            f"{replicas} replicas of {replica.requests} requests in {replica.tokens} tokens: "
            "give 1 or more, and no fewer tokens than requests"
        )
    if len(pace.rows) <= replica.tokens:
        raise ValueError(
            f"rows has {len(pace.rows)} times: give {replica.tokens + 1}, from no token to the most"
        )
    if not (min(pace.rows[1:]) > 0 and min(pace[1:]) >= 0 and replica.besides >= 0):
        raise ValueError("pace and besides: give rows above 0, the others 0 or more")
    takes = requests.input + requests.output - 1 + replica.besides
    if takes.max() > replica.capacity:
        at = int(takes.argmax())
        raise ValueError(
            f"request {at} takes {takes[at]} tokens of cache: "
            f"give a capacity of as many, not {replica.capacity}"
        )
    count = requests.arrival.size
    q = np.zeros((count, 16), np.int64)
    for column, values in enumerate(requests[1:]):
        q[:, column] = values
    q[:, _STATE] = _READY if ready else _WAITS
    q[:, _EMITTED] = ready
    s, f = np.zeros((replicas, 23), np.int64), np.zeros((replicas, 5))
    s[:, [_QUEUE, _QUEUE_END, _LAST, _OLD, _NEW, _PART]] = -1
    most = min(replica.requests, count)
    heap, ending = np.empty((2, replicas, most), np.int64)
    first, finish = np.full((2, count), nan)
    rows = np.ascontiguousarray(pace.rows, float)
    pace = Pace(rows, float(pace.cached), float(pace.sequence), float(pace.pair))
    capacity, besides, running, tokens = map(int, replica[:4])
    replica = Replica(capacity, besides, running, tokens, bool(replica.together))
    arrival = np.ascontiguousarray(requests.arrival, float)
    state = _State(q, s, f, heap, ending, first, finish)
    _run(state, arrival, pace, replica, ROUTINGS.index(routing))
    totals = (s[:, column].copy() for column in (_PREEMPTIONS, _HITS, _COMPUTED))
    return Served(first, finish, q[:, _REPLICA].copy(), f[:, _BUSY].copy(), *totals)


class _State(NamedTuple):
    q: Ints
    """A row a request."""
    s: Ints
    """A row a replica, as for the next three."""
    f: Floats
    heap: Ints
    """Requests that decode, under the turn of the replica in which they end: turn << 32 | request.

    A turn is an iteration that decodes, so that all get one token in each.
    """
    ending: Ints
    """Requests whose prompt ends with the iteration at hand."""
    first: Floats
    finish: Floats


@search
def _run(x: _State, arrival: Floats, pace: Pace, limit: Replica, routing: int) -> None:
    q, s = x.q, x.s
    replicas = s.shape[0]
    for i in range(arrival.size):
        r = i % replicas
        if routing > 0:
            column = _TOKENS if routing == 2 else _REQUESTS
            for other in range(replicas):
                if x.f[other, _THEN] <= arrival[i]:
                    _advance(x, other, arrival[i], pace, limit)
            r = 0
            for other in range(1, replicas):
                if s[other, column] < s[r, column]:
                    r = other
            if routing == 3 and q[i, _NAMED] >= 0 and q[i, _SHARED] * AFFINE >= q[i, _INPUT]:
                r = q[q[i, _NAMED], _REPLICA]
        else:
            _advance(x, r, arrival[i], pace, limit)
        _arrive(x, i, r, arrival[i], limit)
    for r in range(replicas):
        _advance(x, r, inf, pace, limit)


@search
def _arrive(x: _State, i: int, r: int, time: float, limit: Replica) -> None:
    """Put a request into a queue. Iterations that it can join are cut to end when it is there."""
    q, s, f = x.q, x.s, x.f
    q[i, _REPLICA] = r
    q[i, _PARENT] = -1
    q[i, _AFTER] = -1
    s[r, _REQUESTS] += 1
    s[r, _TOKENS] += q[i, _INPUT]
    if s[r, _QUEUE] >= 0:
        q[s[r, _QUEUE_END], _AFTER] = i
        s[r, _QUEUE_END] = i
        return
    s[r, _QUEUE] = s[r, _QUEUE_END] = i
    steps = s[r, _STEPS]
    if s[r, _RUNNING] == 0:
        f[r, _NOW] = time
    elif steps > 1 and s[r, _CHUNK] == 0 and s[r, _RUNNING] < limit.requests:
        # The fewest steps that last until then: a root, then put right for rounding.
        wait = time - f[r, _NOW]
        slope = f[r, _SLOPE]
        linear = f[r, _STEP] - slope / 2
        root = np.ceil(2 * wait / (linear + sqrt(linear * linear + 2 * slope * wait)))
        k = min(max(int(root), 1), steps)
        while k > 1 and f[r, _NOW] + _span(f, r, k - 1) >= time:
            k -= 1
        while k < steps and f[r, _NOW] + _span(f, r, k) < time:
            k += 1
        s[r, _STEPS] = k
        f[r, _THEN] = f[r, _NOW] + _span(f, r, k)


@search
def _span(f: Floats, r: int, k: int) -> float:
    """Time of k iterations, each longer than the one before by the same."""
    span: float = k * f[r, _STEP] + f[r, _SLOPE] * (k * (k - 1) // 2)
    return span


@search
def _advance(x: _State, r: int, until: float, pace: Pace, limit: Replica) -> None:
    """Go on with a replica up to a time; iterations that begin at it are not planned yet."""
    s, f = x.s, x.f
    while True:
        if s[r, _STEPS] > 0:
            if f[r, _THEN] > until:
                return
            _finish(x, r, limit)
        else:
            idle = s[r, _RUNNING] == 0 and s[r, _QUEUE] < 0
            if idle or f[r, _NOW] >= until:
                return
            _plan(x, r, pace, limit)


@search
def _plan(x: _State, r: int, pace: Pace, limit: Replica) -> None:
    """Say what the next iterations do, as many as do the same."""
    q, s, f = x.q, x.s, x.f
    preempted = False
    batch = tokens = 0
    pairs = 0.0
    s[r, _ENDING] = 0
    if limit.together:
        preempted = _make_decodable(x, r, limit)
        batch = s[r, _DECODING]
    left = limit.tokens - batch
    part, chunk = s[r, _PART], 0
    if part >= 0:
        chunk = min(s[r, _TODO], left)
        done = q[part, _END] - s[r, _TODO]
        tokens = chunk
        pairs = chunk * (done + (chunk - 1) / 2)
        if chunk == s[r, _TODO]:
            _note_end(x, r, part)
    while left > tokens and s[r, _PART] < 0 and not preempted and s[r, _QUEUE] >= 0:
        i = s[r, _QUEUE]
        ready = q[i, _STATE] == _READY
        # Without room for the first of the queue, all wait until a request has moved on.
        if s[r, _BLOCKED] or s[r, _RUNNING] == limit.requests or not _admit(x, r, i, ready, limit):
            s[r, _BLOCKED] = 1
            break
        if ready:
            if limit.together:
                batch, left = batch + 1, left - 1
            continue
        todo = q[i, _END] - q[i, _BASE]
        chunk = min(todo, left - tokens)
        tokens += chunk
        pairs += chunk * (q[i, _BASE] + (chunk - 1) / 2)
        s[r, _PART], s[r, _TODO] = i, todo
        if chunk == todo:
            _note_end(x, r, i)
    if not limit.together and tokens == 0:
        preempted = _make_decodable(x, r, limit)
        batch = s[r, _DECODING]
    if batch + tokens == 0:  # all were preempted; next time there is room
        return
    steps = 1
    if s[r, _ENDING] == 0 and not preempted:
        steps = (s[r, _TODO] - 1) // chunk if s[r, _PART] >= 0 else 1 << 62
        if batch > 0:
            ends = (x.heap[r, 0] >> 32) - s[r, _TURN]
            steps = min(steps, ends, 1 + (limit.capacity - s[r, _ACTIVE]) // batch)
        steps = max(steps, 1)
    if s[r, _PART] < 0:
        chunk = 0
    contexts = s[r, _CONTEXTS] if batch > 0 else 0
    s[r, _BATCH], s[r, _CHUNK], s[r, _STEPS] = batch, chunk, steps
    f[r, _STEP] = (
        pace.rows[batch + tokens]
        + pace.sequence * batch
        + pace.cached * contexts
        + pace.pair * pairs
    )
    f[r, _SLOPE] = pace.cached * batch + pace.pair * (float(chunk) * chunk)
    f[r, _THEN] = f[r, _NOW] + _span(f, r, steps)
    s[r, _COMPUTED] += tokens


@search
def _note_end(x: _State, r: int, i: int) -> None:
    """The prompt of a request ends with this iteration."""
    x.ending[r, x.s[r, _ENDING]] = i
    x.s[r, _ENDING] += 1
    x.s[r, _PART] = -1


@search
def _finish(x: _State, r: int, limit: Replica) -> None:
    """Bring a replica to the end of the iterations that were planned."""
    q, s, f = x.q, x.s, x.f
    steps, batch = s[r, _STEPS], s[r, _BATCH]
    f[r, _BUSY] += f[r, _THEN] - f[r, _NOW]
    f[r, _NOW] = f[r, _THEN]
    s[r, _STEPS] = 0
    if s[r, _PART] >= 0:
        s[r, _TODO] -= steps * s[r, _CHUNK]
        s[r, _COMPUTED] += (steps - 1) * s[r, _CHUNK]
    if batch > 0:
        _take(x, r, (steps - 1) * batch, limit)  # the plan took the first
        s[r, _CONTEXTS] += steps * batch
        s[r, _TURN] += steps
        while s[r, _DECODING] > 0 and x.heap[r, 0] >> 32 == s[r, _TURN]:
            i = x.heap[r, 0] & 0xFFFFFFFF
            _drop(x, r, 0)
            s[r, _CONTEXTS] -= q[i, _INPUT] + q[i, _OUTPUT] - 1
            _leave(x, r, i, limit)
    if s[r, _ENDING] > 0:
        s[r, _BLOCKED] = 0
    for at in range(s[r, _ENDING]):
        i = x.ending[r, at]
        if q[i, _EMITTED] == 0:
            x.first[i] = f[r, _NOW]
        q[i, _EMITTED] += 1
        if q[i, _EMITTED] == q[i, _OUTPUT]:
            _leave(x, r, i, limit)
        else:
            _decode(x, r, i)


@search
def _decode(x: _State, r: int, i: int) -> None:
    """Let a request decode from the next turn on."""
    q, s = x.q, x.s
    q[i, _STATE] = _DECODES
    s[r, _CONTEXTS] += q[i, _END]
    key = (s[r, _TURN] + q[i, _OUTPUT] - q[i, _EMITTED]) << 32 | i
    s[r, _DECODING] += 1
    _rise(x.heap[r], s[r, _DECODING] - 1, key)


@search
def _rise(heap: Ints, at: int, key: int) -> None:
    """Put a key into the heap at a free place, or above it."""
    while at > 0 and heap[(at - 1) >> 1] > key:
        heap[at] = heap[(at - 1) >> 1]
        at = (at - 1) >> 1
    heap[at] = key


@search
def _drop(x: _State, r: int, at: int) -> None:
    """Take the key at a place out of the heap."""
    heap = x.heap[r]
    x.s[r, _DECODING] -= 1
    size = x.s[r, _DECODING]
    key = heap[size]
    while 2 * at + 1 < size:
        child = 2 * at + 1
        if child + 1 < size and heap[child + 1] < heap[child]:
            child += 1
        heap[at] = heap[child]
        at = child
    if at < size:
        _rise(heap, at, key)


@search
def _leave(x: _State, r: int, i: int, limit: Replica) -> None:
    """A request has its last token. What it holds stays until room is needed."""
    q, s = x.q, x.s
    x.finish[i] = x.f[r, _NOW]
    s[r, _BLOCKED] = 0
    s[r, _REQUESTS] -= 1
    s[r, _TOKENS] -= q[i, _INPUT]
    _stop(x, r, i)
    q[i, _END] = q[i, _INPUT] + q[i, _OUTPUT] - 1
    s[r, _ACTIVE] -= q[i, _END] - q[i, _BASE] + limit.besides
    s[r, _USED] -= limit.besides
    q[i, _STATE] = _KEPT
    q[i, _BEFORE] = s[r, _NEW]
    q[i, _AFTER] = -1
    if s[r, _NEW] >= 0:
        q[s[r, _NEW], _AFTER] = i
    else:
        s[r, _OLD] = i
    s[r, _NEW] = i
    parent = q[i, _PARENT]
    if q[i, _LIVE] > 0:
        s[r, _ACTIVE] += q[i, _PIN] - q[i, _BASE]
    elif parent >= 0:
        q[parent, _IDLE] += 1
        _rest(x, r, parent)


@search
def _stop(x: _State, r: int, i: int) -> None:
    """Take a request off those that run."""
    q, s = x.q, x.s
    before, after = q[i, _BEFORE], q[i, _AFTER]
    if before >= 0:
        q[before, _AFTER] = after
    if after >= 0:
        q[after, _BEFORE] = before
    else:
        s[r, _LAST] = before
    s[r, _RUNNING] -= 1


@search
def _make_decodable(x: _State, r: int, limit: Replica) -> bool:
    """Take room for a token of each request that decodes; whether that took preemption."""
    s = x.s
    preempted = False
    while s[r, _ACTIVE] + s[r, _DECODING] > limit.capacity:
        _preempt(x, r, limit)
        preempted = True
    _take(x, r, s[r, _DECODING], limit)
    return preempted


@search
def _preempt(x: _State, r: int, limit: Replica) -> None:
    """Send the request that was admitted last back to the head of the queue, with nothing kept."""
    q, s = x.q, x.s
    idle = limit.capacity - s[r, _ACTIVE]
    _take(x, r, idle, limit)  # first, all that is done and not needed is evicted
    s[r, _ACTIVE] -= idle
    s[r, _USED] -= idle
    i = s[r, _LAST]
    held = q[i, _END]
    if q[i, _STATE] == _DECODES:
        at = 0
        while x.heap[r, at] & 0xFFFFFFFF != i:
            at += 1
        q[i, _EMITTED] = q[i, _OUTPUT] - ((x.heap[r, at] >> 32) - s[r, _TURN])
        held = q[i, _INPUT] + q[i, _EMITTED] - 1
        s[r, _CONTEXTS] -= held
        _drop(x, r, at)
    else:
        s[r, _PART] = -1
    _stop(x, r, i)
    freed = held - q[i, _BASE] + limit.besides
    s[r, _ACTIVE] -= freed
    s[r, _USED] -= freed
    s[r, _PREEMPTIONS] += 1
    s[r, _BLOCKED] = 0
    q[i, _STATE] = _WAITS
    q[i, _AFTER] = s[r, _QUEUE]
    if s[r, _QUEUE] < 0:
        s[r, _QUEUE_END] = i
    s[r, _QUEUE] = i
    parent = q[i, _PARENT]
    q[i, _PARENT] = -1
    if parent >= 0:
        _rest(x, r, parent)


@search
def _admit(x: _State, r: int, i: int, ready: bool, limit: Replica) -> bool:
    """Let the head of the queue run, if there is room for what it brings."""
    q, s = x.q, x.s
    total = q[i, _INPUT] + q[i, _EMITTED] - ready
    parent, hit = -1, 0
    if q[i, _NAMED] >= 0 and not ready:
        parent, hit = _held(q, r, i, total - 1)
    more = total - hit + limit.besides
    turn = 1 if ready and limit.together else 0  # it decodes at once
    if s[r, _ACTIVE] + more + turn + _pinning(q, parent, hit) > limit.capacity:
        return False
    s[r, _QUEUE] = q[i, _AFTER]
    q[i, _BASE], q[i, _END], q[i, _PARENT] = hit, total, parent
    q[i, _LIVE] = q[i, _IDLE] = q[i, _PIN] = q[i, _NEED] = 0
    if parent >= 0:
        _wake(x, r, parent, hit)
    _take(x, r, more + turn, limit)
    s[r, _HITS] += hit
    s[r, _RUNNING] += 1
    q[i, _BEFORE], q[i, _AFTER] = s[r, _LAST], -1
    if s[r, _LAST] >= 0:
        q[s[r, _LAST], _AFTER] = i
    s[r, _LAST] = i
    q[i, _STATE] = _PROMPT
    if ready:
        _decode(x, r, i)
    return True


# The prefix cache is a tree: a request holds its tokens from _BASE to _END, and those before are
# its parent's. A parent is pinned as far as children that are live took from it, a child being
# live that runs or has live children itself; it is needed as far as any child took from it.


@search
def _held(q: Ints, r: int, i: int, most: int) -> tuple[int, int]:
    """Which request of a replica holds tokens with which a request begins, and how many."""
    p, shared = q[i, _NAMED], min(q[i, _SHARED], most)
    for _ in range(NAMES):
        if p < 0 or shared == 0:
            break
        if q[p, _REPLICA] == r and q[p, _STATE] >= _DECODES:
            hit = min(shared, q[p, _END])
            while hit <= q[p, _BASE]:
                p = q[p, _PARENT]
            return p, hit
        shared = min(shared, q[p, _SHARED])
        p = q[p, _NAMED]
    return -1, 0


@search
def _pinning(q: Ints, p: Any, hit: Any) -> Any:
    """How many tokens that could be evicted could not, if a request that runs took them."""
    more = 0
    while p >= 0 and q[p, _STATE] >= _KEPT:
        if q[p, _LIVE] > 0:
            return more + max(hit - q[p, _PIN], 0)
        more += hit - q[p, _BASE]
        hit = q[p, _BASE]
        p = q[p, _PARENT]
    return more


@search
def _wake(x: _State, r: int, p: int, hit: int) -> None:
    """A request has a live child more, which took some of its tokens."""
    q = x.q
    while True:
        kept, first = q[p, _STATE] >= _KEPT, q[p, _LIVE] == 0
        if kept:
            x.s[r, _ACTIVE] += hit - q[p, _BASE] if first else max(hit - q[p, _PIN], 0)
        q[p, _LIVE] += 1
        q[p, _PIN] = max(q[p, _PIN], hit)
        q[p, _NEED] = max(q[p, _NEED], hit)
        if q[p, _IDLE] == 0:
            _relist(x, r, p)
        if not (kept and first and q[p, _PARENT] >= 0):
            return
        hit = q[p, _BASE]
        p = q[p, _PARENT]
        q[p, _IDLE] -= 1


@search
def _rest(x: _State, r: int, p: int) -> None:
    """A request has a live child less."""
    q = x.q
    while True:
        q[p, _LIVE] -= 1
        kept, last = q[p, _STATE] >= _KEPT, q[p, _LIVE] == 0
        if last:
            if kept:
                x.s[r, _ACTIVE] -= q[p, _PIN] - q[p, _BASE]
            q[p, _PIN] = 0
        if q[p, _IDLE] == 0:
            _relist(x, r, p)
        if not (kept and last and q[p, _PARENT] >= 0):
            return
        p = q[p, _PARENT]
        q[p, _IDLE] += 1


@search
def _relist(x: _State, r: int, p: int) -> None:
    """Without idle children only what is pinned is needed: the rest goes with the next eviction."""
    q, s = x.q, x.s
    q[p, _NEED] = q[p, _PIN]
    floor = q[p, _PIN] if q[p, _LIVE] > 0 else q[p, _BASE]
    if q[p, _STATE] == _NEEDED and q[p, _END] > floor:
        q[p, _STATE] = _KEPT
        q[p, _AFTER] = s[r, _OLD]
        s[r, _OLD] = p
        if s[r, _NEW] < 0:
            s[r, _NEW] = p


@search
def _take(x: _State, r: int, tokens: int, limit: Replica) -> None:
    """Take room for tokens of running requests; evict from the end of those that are done."""
    q, s = x.q, x.s
    s[r, _ACTIVE] += tokens
    s[r, _USED] += tokens
    while s[r, _USED] > limit.capacity:
        i = s[r, _OLD]
        floor = q[i, _NEED] if q[i, _LIVE] + q[i, _IDLE] > 0 else q[i, _BASE]
        cut = min(q[i, _END] - floor, s[r, _USED] - limit.capacity)
        q[i, _END] -= cut
        s[r, _USED] -= cut
        if q[i, _END] > floor:
            return
        s[r, _OLD] = q[i, _AFTER]
        if s[r, _OLD] < 0:
            s[r, _NEW] = -1
        q[i, _STATE] = _NEEDED
        if q[i, _END] == q[i, _BASE]:
            q[i, _STATE] = _GONE
            parent = q[i, _PARENT]
            if parent >= 0:
                q[parent, _IDLE] -= 1
                if q[parent, _IDLE] == 0:
                    _relist(x, r, parent)
