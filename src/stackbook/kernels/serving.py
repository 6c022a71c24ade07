"""Serving a transformer: what an iteration takes, and what a token costs at which speed.

An iteration makes a token of each request that decodes, and takes in some tokens of prompts beside.
Physics gives the amounts; `Efficiency` holds the shares of peak and the waiting times that real
engines reach, fitted to measured points.
"""

from collections.abc import Sequence
from itertools import product
from math import ceil, floor, log, sqrt
from typing import Any, NamedTuple

import numpy as np
from numba.np.unsafe import ndarray
from numpy.typing import NDArray

from stackbook.kernels.batching import Pace, Replica
from stackbook.kernels.elementary import expm1, log1p
from stackbook.kernels.jit import on_threads, search
from stackbook.kernels.training import Cluster
from stackbook.kernels.transformer import Transformer, ffn_parameters

Array = NDArray[np.float64]
Whole = NDArray[np.int64]
to_fixed_tuple: Any = ndarray.to_fixed_tuple

STATE_BYTES = 4.0  # of a number of linear attention's state
SERVER = 8  # accelerators that share a server, be it without a fabric of their own
USABLE = 0.9  # of the memory, for weights and cache; engines keep the rest
MOST = 4096.0  # requests that a scheduler takes at once
SPREAD = 1.3  # 99th percentile of the time per output token over its mean
BATCHES = np.unique(np.round(2 ** np.arange(0, 16.01, 0.125)))  # of a replica, tried
ROUNDS = 8  # in which the requests that decode at once are found


class Layout(NamedTuple):
    """A transformer's sizes as serving needs them, as `layout` reads them from its record."""

    layers: float
    width: float
    kv_groups: float  # parts into which tensor parallelism can split the cache
    latent: float  # 1 with latent attention
    attention: float  # parameters of a layer's attention, on average
    kv_numbers: float  # that a token leaves in a layer's cache
    full_layers: float  # in which a token meets all before it
    window_layers: float
    window: float
    state_numbers: float  # of linear attention, in all layers
    decode_pair: float  # FLOP of a token that is decoded, for each one that it meets in a layer
    prompt_pair: float  # the same in a prompt
    dense_layers: float
    ffn: float  # parameters of a dense layer's feed-forward network
    expert_layers: float
    experts: float
    active_experts: float
    expert: float  # parameters of one
    shared: float  # parameters that all tokens of a layer with experts pass
    head: float  # parameters of the output matrix
    routed: float  # parameters of experts that tokens choose from
    other: float  # all other parameters
    routed_bytes: float  # of such a parameter [B]
    other_bytes: float  # of another [B]
    cache_bytes: float  # of a number in the cache [B]


class Efficiency(NamedTuple):
    """What real systems reach; table `serving_efficiency` holds the fitted values."""

    matmul: float  # share of peak in large products [1]
    experts: float  # of that, in the products of experts [1]
    weights: float  # share of memory bandwidth at which weights are read [1]
    cache: float  # the same of keys and values [1]
    attention: float  # share of the 16-bit peak in the scores of a prompt [1]
    layer: float  # time in which a layer's kernels start [s]
    latent_layer: float  # more with latent attention [s]
    expert_layer: float  # more with experts [s]
    host: float  # time in which a host that cannot work ahead starts a layer [s]
    iteration: float  # time between iterations [s]
    request: float  # time that each request takes of an iteration [s]
    latency: float  # of a collective [s]
    up: float  # share of the wire within a domain [1]
    out: float  # share of the wire between domains [1]
    skew: float  # work of the busiest rank of experts over the mean, less 1 [1]
    first: float  # of a prompt's way in and its first token's way out [s]
    burst: float  # share of the other requests whose prompts come before one's own [1]


class Plan(NamedTuple):
    """How a replica is laid out over tp x dp x pp accelerators, and how it works."""

    tp: int = 1  # tensor parallel
    dp: int = 1  # groups of tp that each hold all of attention, with requests of their own
    ep: int = 1  # expert parallel, within tp x dp
    pp: int = 1  # stages of the pipeline
    drafts: int = 0  # tokens that speculation adds to each request of an iteration


class Traffic(NamedTuple):
    """What requests are like."""

    input_tokens: float
    output_tokens: float
    hits: float = 0.0  # share of the input that the prefix cache holds [1]
    chunk: float = 8192.0  # tokens of prompts in an iteration, at most
    acceptance: float = 0.85  # that a drafted token is right, given those before it [1]
    draft_layers: float = 1.0  # layers that a draft passes, as in multi-token prediction


class Point(NamedTuple):
    """An operating point of a replica."""

    tpot: float  # time per output token [s]
    ttft: float  # time to first token [s]
    batch: float  # requests that decode at once [1]
    most: float  # requests whose cache the memory holds [1]
    output_per_s: float  # output tokens of an accelerator [1/s]
    decode: float  # seconds of an iteration without prompts [s]
    prompt: float  # what a prompt adds to iterations [s]


def layout(
    model: Transformer, routed_bytes: float, other_bytes: float, cache_bytes: float
) -> Layout:
    """A transformer's sizes with its weights and its cache in given precisions.

    model: the architecture [1]
    routed_bytes, other_bytes: of a parameter of an expert that tokens choose [B], of another [B]
    cache_bytes: of a number in the cache [B]
    returns: [1]
    source: definition of Layout
    """
    per_head = 2 * model.head_size
    decode_pair = prompt_pair = 2.0 * model.heads * per_head
    kv_numbers, groups = 2 * model.kv_heads * model.head_size, model.kv_heads
    if model.kv_rank:
        kv_numbers, groups = model.kv_rank + model.rope_size, 1
        decode_pair = 2.0 * model.heads * (2 * model.kv_rank + model.rope_size)
        prompt_pair = 2.0 * model.heads * (model.nope_size + model.rope_size + model.v_head_size)
    expert = ffn_parameters(model.width, model.expert_ffn, model.gated)
    sizes = (
        *(model.layers, model.width, groups, model.kv_rank > 0),
        *(model.attention_parameters / model.layers, kv_numbers),
        *(model.layers - model.window_layers - model.linear_layers, model.window_layers),
        *(model.window, model.state_bytes(1.0), decode_pair, prompt_pair),
        model.layers - model.expert_layers,
        ffn_parameters(model.width, model.ffn, model.gated),
        *(model.expert_layers, max(model.experts, 1), max(model.active_experts, 1), expert),
        model.shared_experts * expert + model.width * model.experts,
        *(model.vocabulary * model.width, model.routed_parameters),
        *(model.parameters - model.routed_parameters, routed_bytes, other_bytes, cache_bytes),
    )
    return Layout(*map(float, sizes))


@search
def rows_seconds(
    m: Layout, c: Cluster, e: Efficiency, p: Plan, tokens: float, wanted: float
) -> float:
    """Time of an iteration, but for what its tokens meet in the cache.

    m, c, e, p: layout [1], cluster [1], efficiency [1] and plan [1]
    tokens, wanted: of the iteration [1], of them those whose successor is asked for [1]
    returns: [s]
    source: roofline of each product; Pope et al. 2022
    """
    ranks, stages = float(p.tp * p.dp), float(p.pp)
    rows = max(tokens / stages, min(tokens, 1.0))  # of the slowest stage, which has a whole token
    own = max(rows / p.dp, min(tokens, 1.0))  # of its slowest group
    read = c.memory_bytes_per_s * e.weights
    slow, fast = c.flops_16 * e.matmul, c.flops * e.matmul
    wide = slow if m.other_bytes >= 2 else fast

    reduced = _all_reduce(2 * own * m.width, float(p.tp), c, e)
    started = e.layer + m.latent * e.latent_layer
    layer = _product(own, m.attention / p.tp, m.other_bytes, wide, read) + reduced + started
    seconds = m.layers * layer
    if m.dense_layers > 0:
        ffn = _product(own, m.ffn / p.tp, m.other_bytes, wide, read)
        seconds += m.dense_layers * (ffn + reduced)
    if m.expert_layers > 0:
        # Of a rank's experts, those that some token chose; each may be cut over several ranks.
        held, cut = m.experts / p.ep, m.expert * p.ep / ranks
        chosen = held * -expm1(rows * log1p(-m.active_experts / m.experts))
        if m.active_experts == m.experts:
            chosen = held
        busiest = 1 + e.skew * (1 - 1 / p.ep)
        work = 2 * rows * m.active_experts / p.ep * cut * busiest / (fast * e.experts)
        moved = min(chosen * busiest, held) * cut * m.routed_bytes / read
        layer = sqrt(work * work + moved * moved) + e.expert_layer
        if m.shared > 0:
            layer += _product(own, m.shared / p.tp, m.other_bytes, wide, read)
        if p.dp > 1:
            layer += _exchange((1 + 2) * own / p.tp * m.width, m.active_experts, ranks, c, e)
        else:
            layer += reduced
        seconds += m.expert_layers * layer
    asked = max(wanted / stages / p.dp, min(wanted, 1.0))
    seconds += _product(asked, m.head / p.tp, 2.0, slow, read)
    host = m.layers * e.host
    if host > 0:  # works beside the accelerator; the slower of the two sets the pace
        seconds = sqrt(sqrt(seconds**4 + host**4))
    if p.pp > 1:
        wire = c.up_bytes_per_s * e.up if ranks * stages <= c.domain else c.out_bytes_per_s * e.out
        seconds += stages * (2 * own * m.width / p.tp / wire + e.latency)
    return seconds + e.iteration


@search
def cached_seconds(m: Layout, c: Cluster, e: Efficiency, p: Plan) -> float:
    """Time that each token in the cache adds to an iteration that decodes its request.

    m, c, e, p: layout [1], cluster [1], efficiency [1] and plan [1]
    returns: [s]
    source: roofline of attention; DeepSeek-AI 2024 (DeepSeek-V2) for latent attention
    """
    return m.full_layers * (_met_seconds(m, c, e, p, 1.0) / (p.dp * p.pp))


@search
def sequence_seconds(m: Layout, c: Cluster, e: Efficiency, p: Plan) -> float:
    """Time that each request adds to an iteration that decodes it, however long it is.

    m, c, e, p: layout [1], cluster [1], efficiency [1] and plan [1]
    returns: [s]
    source: full windows and states of linear attention, read once and states written
    """
    window = m.window_layers * m.window * (_met_seconds(m, c, e, p, 1.0) / (p.dp * p.pp))
    read = c.memory_bytes_per_s * e.cache
    state = 2 * STATE_BYTES * m.state_numbers / (p.tp * p.dp * p.pp) / read
    return window + state + e.request / p.dp


@search
def pair_seconds(m: Layout, c: Cluster, e: Efficiency, p: Plan) -> float:
    """Time that a token of a prompt takes for each token before it.

    m, c, e, p: layout [1], cluster [1], efficiency [1] and plan [1]
    returns: [s]
    source: FLOP of the scores of attention over what they reach of the 16-bit peak
    """
    return m.full_layers * m.prompt_pair / (p.tp * p.dp * p.pp) / (c.flops_16 * e.attention)


def pace(m: Layout, c: Cluster, e: Efficiency, p: Plan, tokens: int) -> Pace:
    """What iterations take, but for drafts and what prompts meet in windows, for the simulation.

    m, c, e, p: layout [1], cluster [1], efficiency [1] and plan [1]
    tokens: of an iteration, at most [1]
    returns: a Pace, whose fields have units of their own [1]
    source: the parts of an iteration: products, cache, requests, pairs of a prompt
    """
    counts = np.arange(tokens + 1.0)
    rows = np.array([rows_seconds(m, c, e, p, count, count) for count in counts])
    parts = (each(m, c, e, p) for each in (cached_seconds, sequence_seconds, pair_seconds))
    return Pace(rows, *parts)


def replica(m: Layout, c: Cluster, p: Plan, requests: int, tokens: int) -> Replica:
    """What a replica can hold, for the simulation of its requests.

    m, c, p: layout [1], cluster [1] and plan [1]
    requests: most that run at once [1]
    tokens: of an iteration, at most [1]
    returns: a Replica, in tokens of cache [1]; ValueError where the weights do not fit
    source: as for most_requests
    """
    free = USABLE * c.memory_bytes - weight_bytes(m, p)
    if free <= 0:
        raise ValueError(
            f"weights fill {weight_bytes(m, p):.3g} B of {c.memory_bytes:.3g}; split them"
        )
    layers = m.full_layers or m.window_layers  # without full layers, as if no window were full
    token = layers * m.kv_numbers * m.cache_bytes * p.tp / min(p.tp, m.kv_groups)
    besides = request_bytes(m, p, m.window) - m.window * token
    capacity = free * p.tp * p.dp * p.pp / token
    return Replica(int(capacity), ceil(besides / token), requests, tokens, True)


@search
def weight_bytes(m: Layout, p: Plan) -> float:
    """Weights that an accelerator holds.

    m, p: layout [1] and plan [1]
    returns: [B]
    source: attention whole in each of dp groups, experts over all ranks
    """
    routed = m.routed * m.routed_bytes / (p.tp * p.dp * p.pp)
    return routed + m.other * m.other_bytes / (p.tp * p.pp)


@search
def most_requests(m: Layout, c: Cluster, p: Plan, context: float) -> float:
    """Requests whose keys and values fit beside the weights.

    m, c, p: layout [1], cluster [1] and plan [1]
    context: tokens of a request in the cache, on average [1]
    returns: [1]; 0 where the weights alone do not fit
    source: capacity of memory
    """
    free = USABLE * c.memory_bytes - weight_bytes(m, p)
    if free <= 0:
        return 0.0
    return free * p.tp * p.dp * p.pp / request_bytes(m, p, context)


@search
def request_bytes(m: Layout, p: Plan, context: float) -> float:
    """What a request holds in the memories of its replica.

    m, p: layout [1] and plan [1]
    context: tokens in the cache [1]
    returns: [B]
    source: Ainslie et al. 2023 (GQA); what tensor parallelism cannot split stands in each rank
    """
    copies = p.tp / min(float(p.tp), m.kv_groups)
    met = m.full_layers * context + m.window_layers * min(context, m.window)
    return met * m.kv_numbers * m.cache_bytes * copies + STATE_BYTES * m.state_numbers


@search
def decode_seconds(
    m: Layout, c: Cluster, e: Efficiency, p: Plan, t: Traffic, batch: float
) -> float:
    """Mean time between tokens of a request, while no prompts come.

    m, c, e, p: layout [1], cluster [1], efficiency [1] and plan [1]
    t: traffic [1]
    batch: requests that decode at once [1]
    returns: [s]
    source: Leviathan et al. 2023, expected tokens of a verification; rooflines for its time
    """
    context = t.input_tokens + t.output_tokens / 2
    tokens = batch * (1 + p.drafts)
    seconds = rows_seconds(m, c, e, p, tokens, tokens)
    seconds += max(batch / p.dp, min(batch, 1.0)) * e.request
    read = c.memory_bytes_per_s * e.cache
    each = _met_seconds(m, c, e, p, 1.0 + p.drafts)
    met = m.full_layers * context + m.window_layers * min(context, m.window)
    own = max(batch / (p.dp * p.pp), min(batch, 1.0))
    seconds += own * (met * each + 2 * STATE_BYTES * m.state_numbers / p.tp / read)
    if p.drafts > 0:
        share = t.draft_layers / m.layers
        draft = (rows_seconds(m, c, e, p, batch, 0.0) - e.iteration) * share
        weights = c.memory_bytes_per_s * e.weights
        draft += _product(own, m.head / p.tp, 2.0, c.flops_16 * e.matmul, weights)
        seconds += p.drafts * draft
        seconds /= accepted(t.acceptance, p.drafts)
    return seconds


@search
def accepted(acceptance: float, drafts: int) -> float:
    """Tokens of a request in an iteration that verifies drafts.

    acceptance: that a drafted token is right, given those before it [1]
    drafts: tokens that are drafted [1]
    returns: [1]
    source: Leviathan et al. 2023, equation 1
    """
    found, power = 1.0, 1.0
    for _ in range(drafts):
        power *= acceptance
        found += power
    return found


@search
def point(m: Layout, c: Cluster, e: Efficiency, p: Plan, t: Traffic, batch: float) -> Point:
    """An operating point at which `batch` requests decode at once, and prompts come between.

    m, c, e, p: layout [1], cluster [1], efficiency [1] and plan [1]
    t: traffic [1]
    batch: requests that decode at once [1]
    returns: a Point, whose fields have units of their own [1]
    source: balance of a steady state: each request brings one prompt in its own time of decoding
    """
    decode = decode_seconds(m, c, e, p, t, batch)
    return _with_prompts(m, c, e, p, t, batch, decode)


@search
def output_rates(
    m: Layout, c: Cluster, e: Efficiency, p: Plan, t: Traffic, batch: float, varied: Array
) -> Array:
    """Output of an accelerator at one operating point, as hits and acceptance of drafts vary.

    m, c, e, p, t: layout [1], cluster [1], efficiency [1], plan [1] and traffic [1]
    batch: requests that decode at once [1]
    varied: two rows, Traffic.hits and Traffic.acceptance of each draw [1]
    returns: output tokens of an accelerator by draw [1/s]
    source: point
    """
    found = np.empty(varied.shape[1])
    for i in range(varied.shape[1]):
        drawn = Traffic(
            t.input_tokens, t.output_tokens, varied[0, i], t.chunk, varied[1, i], t.draft_layers
        )
        found[i] = point(m, c, e, p, drawn, batch).output_per_s
    return found


@search
def _fresh(t: Traffic) -> float:
    """Tokens of a prompt that are computed: one at least, whose successor is asked for."""
    return max(t.input_tokens * (1 - t.hits), 1.0)


@search
def _prompt_seconds(
    m: Layout, c: Cluster, e: Efficiency, p: Plan, t: Traffic, batch: float, chunk: float
) -> float:
    """What the products of a prompt add to iterations of `batch` requests and a chunk of prompts.

    Each group of the replica takes in a chunk of its own.
    """
    tokens = chunk * p.dp
    beside = batch * (1 + p.drafts)
    both = rows_seconds(m, c, e, p, beside + tokens, beside + p.dp)
    alone = rows_seconds(m, c, e, p, beside, beside) if batch > 0 else 0.0
    return (both - alone) * _fresh(t) / tokens


@search
def _pairs(m: Layout, c: Cluster, e: Efficiency, p: Plan, t: Traffic) -> float:
    """Seconds of a prompt's attention: all pairs behind what the prefix cache holds."""
    held = t.input_tokens - _fresh(t)
    met = _met_before(t.input_tokens, np.inf) - _met_before(held, np.inf)
    near = _met_before(t.input_tokens, m.window) - _met_before(held, m.window)
    layers = m.full_layers * met + m.window_layers * near
    return layers * m.prompt_pair / (p.tp * p.dp * p.pp) / (c.flops_16 * e.attention)


@search
def _met_before(tokens: float, window: float) -> float:
    """Pairs of a text's first tokens, each with those before it that a window shows."""
    near = min(tokens, window)
    return near * tokens - near * near / 2


@search
def _rate(t: Traffic, p: Plan, batch: float, decode: float, prompt: float) -> float:
    """Output tokens per second of an accelerator that is never idle: the prompt makes the first."""
    cycle = max(t.output_tokens - 1, 0.0) * decode + batch * prompt
    return batch * t.output_tokens / cycle / (p.tp * p.dp * p.pp)


@search
def _with_prompts(
    m: Layout, c: Cluster, e: Efficiency, p: Plan, t: Traffic, batch: float, decode: float
) -> Point:
    fresh, later = _fresh(t), max(t.output_tokens - 1, 1.0)
    room = max(t.chunk - batch / p.dp, t.chunk / 8)
    chunk = min(max(fresh, batch / p.dp * fresh / later), room)  # more than one, if they are short
    products, pairs = _prompt_seconds(m, c, e, p, t, batch, chunk), _pairs(m, c, e, p, t)
    prompt = products + pairs
    others = max(batch - 1, 0.0) * prompt
    tpot = decode + others / later
    iterations = max(1.0, fresh / chunk) * decode * accepted(t.acceptance, p.drafts)
    together = max(1.0, chunk / fresh)  # prompts that end at once
    ttft = e.first + iterations + p.dp * prompt * together + e.burst * others
    most = most_requests(m, c, p, t.input_tokens + t.output_tokens / 2)
    return Point(tpot, ttft, batch, most, _rate(t, p, batch, decode, prompt), decode, prompt)


@search
def loaded(m: Layout, c: Cluster, e: Efficiency, p: Plan, t: Traffic, concurrency: float) -> Point:
    """The operating point of a closed loop: whoever has an answer asks at once again.

    m, c, e, p: layout [1], cluster [1], efficiency [1] and plan [1]
    t: traffic [1]
    concurrency: requests under way or waiting [1]
    returns: a Point, whose fields have units of their own [1]
    source: Little's law over the time of decoding and that to the first token
    """
    most = most_requests(m, c, p, t.input_tokens + t.output_tokens / 2)
    batch = min(concurrency, max(most, 1.0))
    found = point(m, c, e, p, t, batch)
    for _ in range(ROUNDS):
        decoding = max(t.output_tokens - 1, 1.0) * found.tpot
        others = max(concurrency - 1, 0.0) * decoding / (decoding + found.ttft)
        batch = min(1 + others, max(most, 1.0))
        found = point(m, c, e, p, t, batch)
    decoding = max(t.output_tokens - 1, 1.0) * found.tpot
    own = found.ttft + e.burst * (concurrency - batch) * found.prompt
    # For room in the cache, which a request takes from its prompt on.
    waiting = max(0.0, (decoding + found.prompt) * concurrency / batch - decoding - own)
    if batch < most:
        waiting = 0.0
    ttft = own + waiting
    rate = concurrency * t.output_tokens / (ttft + decoding) / (p.tp * p.dp * p.pp)
    return Point(found.tpot, ttft, batch, most, rate, found.decode, found.prompt)


@search
def static(m: Layout, c: Cluster, e: Efficiency, p: Plan, t: Traffic, batch: float) -> Point:
    """A batch that starts and ends together: all prompts first, then all answers.

    m, c, e, p: layout [1], cluster [1], efficiency [1] and plan [1]
    t: traffic [1]
    batch: requests [1]
    returns: a Point, whose fields have units of their own [1]
    source: as for point
    """
    decode = decode_seconds(m, c, e, p, t, batch)
    products = _prompt_seconds(m, c, e, p, t, 0.0, batch * _fresh(t) / p.dp)
    prompt = products + _pairs(m, c, e, p, t)
    ttft = e.first + batch * prompt
    most = most_requests(m, c, p, t.input_tokens + t.output_tokens / 2)
    rate = batch * t.output_tokens / (ttft + (t.output_tokens - 1) * decode)
    return Point(decode, ttft, batch, most, rate / (p.tp * p.dp * p.pp), decode, prompt)


@search
def saturated(
    m: Layout, c: Cluster, e: Efficiency, p: Plan, t: Traffic, tpot: float, ttft: float
) -> Point:
    """The operating point of most throughput that keeps limits of both times.

    m, c, e, p: layout [1], cluster [1], efficiency [1] and plan [1]
    t: traffic [1]
    tpot, ttft: limits that 99 of 100 requests keep [s], [s]; infinite for none
    returns: a Point, whose fields have units of their own [1]; a rate of 0 where none keeps them
    source: 99th percentile of the wait for the prompts before one's own, of M/D/1
    """
    most = min(most_requests(m, c, p, t.input_tokens + t.output_tokens / 2), MOST * p.dp)
    best = point(m, c, e, p, t, 1.0)
    if most < 1 or not _keeps(e, t, best, tpot, ttft):
        return Point(best.tpot, best.ttft, 1.0, most, 0.0, best.decode, best.prompt)
    low, high = 1.0, most
    for turn in range(24):
        batch = most if turn == 0 else (low + high) / 2
        found = point(m, c, e, p, t, batch)
        if _keeps(e, t, found, tpot, ttft):
            low, best = batch, found
            if turn == 0:
                break
        else:
            high = batch
    return best


@search
def _keeps(e: Efficiency, t: Traffic, at: Point, tpot: float, ttft: float) -> bool:
    """Whether 99 of 100 requests of a point keep limits."""
    cycle = max(t.output_tokens - 1, 0.0) * at.decode + at.batch * at.prompt
    busy = at.batch * at.prompt / cycle
    own = at.ttft - e.burst * max(at.batch - 1, 0.0) * at.prompt
    late = np.inf
    if busy < 1:
        late = own + at.prompt * max(0.0, log(100 * busy)) / (2 * (1 - busy))
    return at.tpot * SPREAD <= tpot and late <= ttft


@search
def _product(
    rows: float, parameters: float, number_bytes: float, flops: float, read: float
) -> float:
    """Seconds of a matrix product: the larger of arithmetic and reading, without a corner."""
    work, moved = 2 * rows * parameters / flops, parameters * number_bytes / read
    return sqrt(work * work + moved * moved)


@search
def _met_seconds(m: Layout, c: Cluster, e: Efficiency, p: Plan, tokens: float) -> float:
    """Of tokens of a request that are decoded, for each one that they meet in a layer."""
    split = min(float(p.tp), m.kv_groups)
    moved = m.kv_numbers * m.cache_bytes / split / (c.memory_bytes_per_s * e.cache)
    work = tokens * m.decode_pair / p.tp / (c.flops_16 * e.matmul)
    return max(moved, work)


@search
def _all_reduce(message: float, ranks: float, c: Cluster, e: Efficiency) -> float:
    if ranks <= 1:
        return 0.0
    wire = c.up_bytes_per_s * e.up
    if ranks > c.domain:
        wire = c.out_bytes_per_s * e.out
    return e.latency + 2 * (ranks - 1) / ranks * message / wire


@search
def _exchange(state: float, experts: float, ranks: float, c: Cluster, e: Efficiency) -> float:
    """To a token's experts, in 8 bits, and back, in 16: once to each rank that holds some.

    Another domain gets a token once, and spreads it within.
    """
    inside = min(c.domain, ranks)
    domains = ranks / inside
    near: float = (inside - 1) * (1 - (1 - 1 / ranks) ** experts)
    far: float = (domains - 1) * (1 - (1 - 1 / domains) ** experts)
    within = state * near / (c.up_bytes_per_s * e.up)
    between = state * far / (c.out_bytes_per_s * e.out)
    return 2 * e.latency + max(within, between)


BUSY = 0.9  # share of time in which a pool of prompts computes, at most


class Front(NamedTuple):
    """The most that an accelerator can put out at or above each speed, and how."""

    speed: Array  # tokens per second of a user, at least [1/s]
    output_per_s: Array  # of an accelerator [1/s]; 0 where nothing is as fast
    tpot: Array  # [s]
    ttft: Array  # [s]
    batch: Array  # requests that decode at once [1]
    apart: NDArray[np.bool_]  # whether prompts are computed on accelerators of their own
    plans: tuple[Plan, ...]  # of those that decode
    tried: int  # operating points


def plans(m: Layout, c: Cluster, accelerators: int, drafts: Sequence[int] = (0, 1)) -> list[Plan]:
    """Layouts of replicas of up to so many accelerators whose weights fit.

    m, c: layout [1] and cluster [1]
    accelerators: of a replica, at most [1]
    drafts: tokens that speculation may add [1]
    returns: experts cut with the rest or whole over all ranks; no pipelines, as measured fronts [1]
    source: definition of Plan
    """
    powers = [2**power for power in range(int(accelerators).bit_length())]
    found = []
    for tp, dp in product(powers, powers):
        ranks = tp * dp
        whole = ranks if m.expert_layers and ranks <= m.experts else 1
        if ranks > accelerators or tp > max(c.domain, SERVER) or (dp > 1 and whole == 1):
            continue
        for ep in sorted({1, whole}) if dp == 1 else [whole]:
            plan = Plan(tp, dp, ep)
            if weight_bytes(m, plan) < USABLE * c.memory_bytes:
                found += [plan._replace(drafts=each) for each in drafts]
    return found


def frontier(
    m: Layout,
    c: Cluster,
    e: Efficiency,
    t: Traffic,
    speed: Array,
    options: Sequence[Plan],
    ttft: float = np.inf,
    batches: Array = BATCHES,
    apart: bool = True,
) -> Front:
    """The operating points of most output at or above each speed, of all that there are.

    m, c, e: layout [1], cluster [1] and efficiency [1]
    t: traffic [1]
    speed: tokens per second of a user, rising [1/s]
    options: plans to try, as `plans` makes them [1]
    ttft: limit of the time to first token [s]
    batches: requests of a replica that decode at once [1]
    apart: try prompts on accelerators of their own, too [1]
    returns: a Front, whose fields have units of their own [1]
    source: Erdil 2025, frontier of speed and cost; Zhong et al. 2024 (DistServe) for pools
    """
    speed = np.asarray(speed, float)
    if not (speed.size and speed[0] > 0 and (np.diff(speed) > 0).all()):
        raise ValueError(f"speed {speed.tolist()}: give rising speeds above 0")
    table = np.array(options, np.int64).reshape(-1, len(Plan._fields))
    prompt, first = np.inf, 0.0
    if apart:
        prompt, first = _prompt_pool(m, c, e, t, table, ttft)
    parts = np.array_split(np.arange(len(table)), min(8, max(1, len(table))))
    found = on_threads(
        lambda part: _front(m, c, e, t, speed, table[part], ttft, batches, prompt, first), parts
    )
    best, which = np.zeros((len(speed), 5)), np.full(len(speed), -1)
    for part, (rates, index, _) in zip(parts, found, strict=True):
        better = rates[:, 0] > best[:, 0]
        best[better], which[better] = rates[better], part[index[better]]
    for row in range(len(speed) - 2, -1, -1):  # what is faster will do as well
        if best[row + 1, 0] > best[row, 0]:
            best[row], which[row] = best[row + 1], which[row + 1]
    chosen = tuple(options[index] if index >= 0 else Plan() for index in which)
    tried = sum(count for *_, count in found)
    rate, tpot, late, batch, pools = best.T
    return Front(speed, rate, tpot, late, batch, pools > 0, chosen, tried)


@search
def _front(
    m: Layout,
    c: Cluster,
    e: Efficiency,
    t: Traffic,
    speed: Array,
    table: Whole,
    limit: float,
    batches: Array,
    prompt: float,
    first: float,
) -> tuple[Array, Whole, int]:
    best, which, tried = np.zeros((len(speed), 5)), np.zeros(len(speed), np.int64), 0
    for row in range(len(table)):
        p = Plan(*to_fixed_tuple(table[row], 5))
        ranks = p.tp * p.dp * p.pp
        most = min(most_requests(m, c, p, t.input_tokens + t.output_tokens / 2), MOST * p.dp)
        last = False
        for each in batches:
            if last or most < 1:
                break
            last = each >= most
            batch = min(each, floor(most))  # what memory allows is tried, too
            decode = decode_seconds(m, c, e, p, t, batch)
            if decode * speed[0] > 1:
                break
            at = _with_prompts(m, c, e, p, t, batch, decode)
            tried += 1
            bin = np.searchsorted(speed, 1 / at.tpot, side="right") - 1
            rate = at.output_per_s
            if bin >= 0 and at.ttft <= limit and rate > best[bin, 0]:
                best[bin, 0], best[bin, 1], best[bin, 2] = rate, at.tpot, at.ttft
                best[bin, 3], best[bin, 4] = batch, 0.0
                which[bin] = row
            if prompt < np.inf:
                tried += 1
                bin = np.searchsorted(speed, 1 / decode, side="right") - 1
                used = max(t.output_tokens - 1, 0.0) * ranks * decode / batch + prompt
                rate = t.output_tokens / used  # of accelerators in both pools
                if bin >= 0 and rate > best[bin, 0]:
                    best[bin, 0], best[bin, 1], best[bin, 2] = rate, decode, first
                    best[bin, 3], best[bin, 4] = batch, 1.0
                    which[bin] = row
    return best, which, tried


@search
def _prompt_pool(
    m: Layout, c: Cluster, e: Efficiency, t: Traffic, table: Whole, limit: float
) -> tuple[float, float]:
    """Least accelerator-seconds of a prompt in a pool of its own, and its time to first token."""
    least, first = np.inf, 0.0
    for row in range(len(table)):
        p = Plan(*to_fixed_tuple(table[row], 5))
        ranks = p.tp * p.dp * p.pp
        chunk = max(_fresh(t), t.chunk / 4)  # short ones together
        own = _prompt_seconds(m, c, e, p, t, 0.0, chunk) + _pairs(m, c, e, p, t)
        service = own * p.dp * chunk / _fresh(t)
        moved = request_bytes(m, p, t.input_tokens) / (c.out_bytes_per_s * e.out * p.tp)
        slack = 2 * (limit - e.first - service - moved)
        fits = most_requests(m, c, p, t.input_tokens) >= p.dp
        if fits and slack > 0:  # as busy as the wait allows, of M/D/1
            busy = min(slack / (slack + service), BUSY) if slack < np.inf else BUSY
            if own * ranks / busy < least:
                late = e.first + service + moved + service * busy / (2 * (1 - busy))
                least, first = own * ranks / busy, late
    return least, first


CLOSED, STATIC, MOST_LOAD, DECODE = 0, 1, 2, 3  # how a measured point was driven


@search
def measured(
    layouts: Array,
    clusters: Array,
    efficiencies: Array,
    plans: Whole,
    traffics: Array,
    loads: Array,
) -> Array:
    """Time per output token, time to first token and output rate of each of many points.

    layouts, clusters, efficiencies: of shapes (points, 25), (points, 14) and (points, 17) [1]
    plans, traffics: of shapes (points, 5) and (points, 6) [1]
    loads: of shape (points, 4): drive, as CLOSED; requests; limits of tpot and ttft [s]
    returns: of shape (points, 3): times [s], and rate in tokens a second and accelerator
    source: loaded, static and saturated
    """
    found = np.empty((len(loads), 3))
    for row in range(len(loads)):
        m = Layout(*to_fixed_tuple(layouts[row], 25))
        c = Cluster(*to_fixed_tuple(clusters[row], 14))
        e = Efficiency(*to_fixed_tuple(efficiencies[row], 17))
        p = Plan(*to_fixed_tuple(plans[row], 5))
        t = Traffic(*to_fixed_tuple(traffics[row], 6))
        drive, requests, tpot, ttft = to_fixed_tuple(loads[row], 4)
        if drive == CLOSED:
            at = loaded(m, c, e, p, t, requests)
        elif drive == STATIC:
            at = static(m, c, e, p, t, requests)
        else:
            if drive == DECODE:
                t = Traffic(
                    t.input_tokens, t.output_tokens, 1.0, t.chunk, t.acceptance, t.draft_layers
                )
            at = saturated(m, c, e, p, t, tpot, ttft)
        found[row] = at.tpot, at.ttft, at.output_per_s
    return found
