"""Training a transformer: time, memory and power of a step under a plan, and the search for plans.

A step is taken apart into what an accelerator computes, moves through its memory and sends.
Physics gives the amounts; `Efficiency` holds the shares of peak and wire that real systems reach,
fitted to measured runs. In a pipeline the slowest stage sets the pace.
"""

from collections.abc import Iterable
from itertools import product
from math import ceil, floor, gcd, isqrt, log, sqrt
from typing import Any, NamedTuple

import numpy as np
from numba.np.unsafe import ndarray
from numpy.typing import ArrayLike, NDArray

from stackbook.kernels.fabric import all_gather, nccl_latency
from stackbook.kernels.jit import on_threads, search
from stackbook.kernels.transformer import Transformer, mean_attended

Array = NDArray[np.float64]
Whole = NDArray[np.int64]
to_fixed_tuple: Any = ndarray.to_fixed_tuple

NORMS = 0.25  # norms, dropout and residuals are one fused kernel: a quarter of other passes
WEIGHT, GRADIENT, OPTIMIZER = 2.0, 4.0, 12.0  # bytes a parameter; Adam in mixed precision
CHUNKS = 8  # of a stage, unless they are given: most published runs have no more
BLOCK = 1024  # tokens; attention over shorter ones is slower than `Efficiency.attention` says
ADAM = 30.0  # bytes a parameter that its step reads and writes: 12 and 4 in, 12 and 2 out


class Layout(NamedTuple):
    """A transformer's sizes at a length of sequence, as `layout` reads them from its record."""

    context: float
    layers: float
    width: float
    heads: float
    into: float  # columns of the product that makes queries, keys and values
    out: float  # rows of the product that leaves attention
    keys_values: float  # numbers of a token's keys and values
    scored: float  # numbers of queries and values, in which a token meets another
    attended: float  # tokens that a token meets, on average over layers
    ffn: float
    shared_ffn: float
    gated: float
    expert_layers: float
    experts: float
    active_experts: float
    expert_ffn: float
    vocabulary: float
    parameters: float
    routed: float  # parameters of experts that tokens choose from
    flop: float  # of a training token


class Cluster(NamedTuple):
    """Accelerators of one kind and the networks that join them."""

    flops: float  # peak of matrix products in the precision of training [FLOP/s]
    flops_16: float  # peak in 16 bits [FLOP/s]
    number_bytes: float  # of an operand in that precision [B]
    memory_bytes: float  # [B]
    memory_bytes_per_s: float  # [B/s]
    domain: float  # accelerators of a scale-up domain [1]
    up_bytes_per_s: float  # within a domain, one way [B/s]
    out_bytes_per_s: float  # between domains, one way [B/s]
    host_bytes_per_s: float  # to the memory of the host, one way [B/s]
    base_latency: float  # of a collective [s]
    rank_latency: float  # for a further accelerator in a domain [s]
    doubling_latency: float  # for twice as many domains [s]
    busy_watt: float  # of an accelerator at work [W]
    idle_watt: float  # of one that waits [W]


class Efficiency(NamedTuple):
    """What real systems reach; table `training_efficiency` holds the fitted values."""

    matmul: float  # share of peak in large products [1]
    attention: float  # share of the 16-bit peak in the scores of attention [1]
    edge: float  # traffic of a product's operands over their size [1]
    passes: float  # times that what a layer stores crosses memory in a step [1]
    launch: float  # time in which a layer's kernels start, forward [s]
    up: float  # share of the wire within a domain [1]
    out: float  # share of the wire between domains [1]
    tensor_hidden: float  # share of tensor-parallel traffic that hides, forward [1]
    expert_hidden: float  # share of traffic to and from experts that hides [1]
    data_hidden: float  # share of arithmetic behind which data-parallel traffic hides [1]
    skew: float  # work of the busiest expert over the mean, less 1 [1]
    jitter: float  # what a step takes longer for each doubling of accelerators [1]


class Plan(NamedTuple):
    """How a step is laid out over tp x pp x cp x dp accelerators."""

    tp: int = 1  # tensor parallel
    pp: int = 1  # stages of the pipeline
    vp: int = 1  # chunks of layers of a stage (interleaved schedule)
    cp: int = 1  # context parallel
    ep: int = 1  # expert parallel, within tp x cp x dp
    dp: int = 1  # data parallel
    micro_batch: int = 1  # sequences
    zero: int = 1  # what dp shards: 1 optimizer, 2 and gradients, 3 and weights (FSDP)
    recompute: int = 0  # 1 attention and what is cheap (selective), 2 the whole layer (full)
    sequence: int = 1  # what tp leaves whole is split by sequence
    zero_bubble: int = 0  # gradients of weights fill two thirds of the bubble
    offload: int = 0  # in the host's memory: 1 the optimizer's state, 2 and activations
    fused: int = 1  # the scores of attention stay on the chip (FlashAttention)


class Step(NamedTuple):
    """A step of an accelerator: its time, what that goes to, and what fills the memory."""

    seconds: float  # [s], the sum of the thirteen that follow
    matmul: float  # products of the model's matrices [s]
    attention: float  # scores of attention [s]
    elementwise: float  # what crosses memory, and starts of kernels [s]
    recomputed: float  # forward passes done again [s]
    tensor: float  # traffic that is not hidden: of tensor parallelism [s]
    context: float  # of context parallelism [s]
    expert: float  # to and from experts [s]
    data: float  # of gradients and weights [s]
    pipeline: float  # between stages [s]
    bubble: float  # waiting for other stages [s]
    optimizer: float  # [s]
    host: float  # activations on their way to the host and back [s]
    jitter: float  # waiting for the slowest accelerator [s]
    weight_bytes: float  # [B]
    gradient_bytes: float  # [B]
    optimizer_bytes: float  # [B]
    activation_bytes: float  # [B]
    mfu: float  # FLOP of the model over those of the 16-bit peak [1]
    hfu: float  # with those that are done again [1]
    watt: float  # on average [W]

    @property
    def bytes(self) -> float:
        """What an accelerator holds."""
        return (
            self.weight_bytes + self.gradient_bytes + self.optimizer_bytes + self.activation_bytes
        )


def layout(model: Transformer, context: float) -> Layout:
    """A transformer's sizes at a length of sequence; ValueError where attention is linear.

    model: the architecture [1], all of whose layers have keys and values
    context: tokens of a sequence [1], 1 or more
    returns: [1]
    source: definition of Layout
    """
    if model.linear_layers:
        raise ValueError(
            f"linear_layers: training of {model.linear_layers} layers with linear attention is not "
            "modelled; take a model without"
        )
    if model.kv_rank:
        out = model.heads * model.v_head_size
        into = model.attention_parameters / model.layers / model.width - out
        scored = model.heads * (model.nope_size + model.rope_size + model.v_head_size)
        keys_values = scored
    else:
        out = model.heads * model.head_size
        keys_values = 2 * model.kv_heads * model.head_size
        into, scored = (1 + model.output_gate) * out + keys_values, 2 * out
    full: Any = (model.layers - model.window_layers) * mean_attended(context, context)
    if model.window_layers:
        full += model.window_layers * mean_attended(context, model.window)
    sizes = (
        *(context, model.layers, model.width, model.heads, into, out, keys_values, scored),
        *(full / model.layers, model.ffn, model.shared_experts * model.expert_ffn, model.gated),
        *(model.expert_layers, model.experts, model.active_experts, model.expert_ffn),
        *(model.vocabulary, model.parameters, model.routed_parameters),
        model.training_flop_per_token(context),
    )
    return Layout(*map(float, sizes))


@search
def step(m: Layout, c: Cluster, e: Efficiency, batch: float, p: Plan) -> Step:
    """Time, memory and power of a training step under a plan.

    m, c, e: layout [1], cluster [1] and efficiency [1]
    batch: sequences of a step [1], a multiple of dp x micro_batch
    p: plan [1]
    returns: a Step, whose fields have units of their own [1]
    source: Narayanan et al. 2021; Korthikanti et al. 2022; Rajbhandari et al. 2020 (ZeRO)
    """
    accelerators = float(p.tp * p.pp * p.cp * p.dp)
    tokens = p.micro_batch * m.context / p.cp
    rounds = batch / (p.dp * p.micro_batch)
    h, tp, up = m.width, float(p.tp), 1 + m.gated
    dense, sparse = 1 - m.expert_layers / m.layers, m.expert_layers / m.layers

    # Products of a layer, forward, and numbers that their results leave for the backward pass.
    edge = e.edge * c.flops / c.memory_bytes_per_s * c.number_bytes / 2
    work = _product(tokens, h, m.into / tp, edge) + _product(tokens, m.out / tp, h, edge)
    left, cheap = m.into + m.out, m.out
    if dense > 0:
        work += dense * _ffn(tokens, h, m.ffn / tp, up, edge)
        left += dense * m.ffn * (1 + up)
        cheap += dense * m.ffn
    if sparse > 0:
        rows = tokens / tp * p.ep * m.active_experts / m.experts
        busiest = 1 + e.skew * (1 - 1 / p.ep)
        work += sparse * busiest * m.experts / p.ep * _ffn(rows, h, m.expert_ffn, up, edge)
        left += sparse * m.active_experts * (m.expert_ffn * (1 + up) + h)
        cheap += sparse * m.active_experts * m.expert_ffn
        if m.shared_ffn > 0:
            work += sparse * _ffn(tokens, h, m.shared_ffn / tp, up, edge)
            left += sparse * m.shared_ffn * (1 + up)
    matmul = work / (c.flops * e.matmul)
    edge_16 = e.edge * c.flops_16 / c.memory_bytes_per_s
    head = _product(tokens, h, m.vocabulary / tp, edge_16) / (c.flops_16 * e.matmul)

    # Scores of attention: fused, those that count; else all, as plain products over memory.
    met, scores, reached, back = m.attended, 0.0, e.attention, 2.5  # computes them once more
    if not p.fused:
        met, scores, reached, back = m.context, 5 * tokens * m.context * m.heads / tp, e.matmul, 2.0
    attention = 2 * tokens * met * m.scored / tp / (c.flops_16 * reached)

    # Bytes that a layer keeps: 34 a number of state where tp shards all and dropout has masks.
    # Residual sums move the state once more.
    shards = tp if p.sequence else 1.0
    norms = tokens * h * (8 + (0 if m.gated else 2)) / shards
    kept = 2 * tokens * left / tp
    crossing = e.passes / c.memory_bytes_per_s / 3
    moved = kept + 2 * tokens * h / tp + NORMS * norms + scores
    elementwise = crossing * moved + e.launch * (1 + sparse)

    # Traffic of a layer, forward: states over tp, tokens over experts, keys and values over cp.
    state = 2 * tokens * h
    split = 1 + dense + (sparse if m.shared_ffn > 0 else 0.0)
    tensor = 2 * split * _gather(state, tp, 1.0, c, e)
    # Backward it hides behind the products that make the gradients of weights.
    tensor_back = max(0.0, tensor - matmul)
    tensor *= 1 - e.tensor_hidden
    expert = 0.0
    if sparse > 0 and p.ep > 1:
        sent = state / tp * m.active_experts
        expert = 2 * sparse * _exchange(sent, float(p.ep), c, e) * (1 - e.expert_hidden)
    ring = 0.0
    if p.cp > 1:
        sent = 2 * p.micro_batch * m.context * m.keys_values / tp
        around = _gather(sent, float(p.cp), tp, c, e)
        ring = max(0.0, around - attention) + max(0.0, 3 * around - back * attention)

    # A layer, forward and backward, with what is computed again.
    forward = matmul + attention + elementwise
    backward = 2 * matmul + back * attention + 2 * elementwise
    again, again_tensor, again_expert = 0.0, 0.0, 0.0
    if p.recompute == 2:
        again, again_tensor, again_expert = forward, tensor, expert
    elif p.recompute == 1:
        again = attention + (elementwise if p.fused else crossing * scores)
    held = kept + norms + scores
    if p.recompute == 2:
        held = 2 * tokens * h / shards
    elif p.recompute == 1:
        held -= scores + (norms / 2 + 2 * tokens * cheap / tp if p.fused else 0.0)
    tensor += tensor_back + again_tensor
    expert = 2 * expert + again_expert
    layer = forward + backward + again + tensor + expert + ring
    host = max(0.0, 2 * held / c.host_bytes_per_s - layer) if p.offload == 2 else 0.0
    layer += host

    # Stages of whole layers; the last one has what is left, and the head.
    stage = (m.layers * layer + 3 * head) / p.pp
    deep = ceil(m.layers / p.pp)
    last = (m.layers - deep * (p.pp - 1)) * layer + 3 * head
    slowest = max(deep * layer, last) if p.pp > 1 else stage
    bubble = (p.pp - 1) / p.vp * stage * (1 / 3 if p.zero_bubble else 1.0)
    bubble += rounds * (slowest - stage)
    pipeline = 0.0
    if p.pp > 1:  # each transfer starts; what it moves hides if interleaved, but where stages fill
        wire = c.up_bytes_per_s * e.up if accelerators <= c.domain else c.out_bytes_per_s * e.out
        pipeline = 2 * state / tp / wire * ((rounds if p.vp == 1 else 0.0) + p.pp - 1)
        pipeline += 2 * p.vp * (rounds + p.pp - 1) * c.base_latency

    # Weights and gradients over their copies, of which experts have fewer.
    weights, copies = (m.parameters - m.routed) / (tp * p.pp), float(p.dp * p.cp)
    routed, routed_copies = m.routed / (p.pp * p.ep), copies * tp / p.ep
    gathered = _gather(2 * weights, copies, tp, c, e)
    if routed > 0:
        gathered += _gather(2 * routed, routed_copies, float(p.ep), c, e)
    if p.zero == 3:  # twice gathered and once, in 32 bits, reduced, in each round
        layers = m.layers / p.pp
        gathered += (layers - 1) * _latency(copies, tp, c)
        data = rounds * max(0.0, 4 * gathered - e.data_hidden * stage)
    else:
        data = max(0.0, 3 * gathered - e.data_hidden * stage)
    own = weights / (copies if p.zero else 1.0) + routed / (routed_copies if p.zero else 1.0)
    if p.offload:  # over the link and back, and through the host's memory, which is as slow
        optimizer = (ADAM + GRADIENT + WEIGHT) * own / c.host_bytes_per_s
    else:
        optimizer = ADAM * own / (0.8 * c.memory_bytes_per_s)

    quiet = rounds * stage + bubble + pipeline + data + optimizer
    jitter = quiet * e.jitter * log(accelerators) / log(2.0)
    seconds = quiet + jitter

    all_layers = m.layers / p.pp * rounds
    matmuls = all_layers * 3 * matmul + rounds * 3 * head / p.pp
    attentions = all_layers * (1 + back) * attention
    busy = matmuls + attentions + all_layers * (3 * elementwise + again)
    done = m.flop * batch * m.context / accelerators / seconds / c.flops_16
    again_flop = 0.0
    if p.recompute == 2:
        again_flop = 1 / 3 - 2 * h * m.vocabulary / m.flop
    elif p.recompute == 1:
        again_flop = 2 * m.layers * met * m.scored / m.flop

    # Bytes. Gradients that are summed over rounds are whole until the last.
    weight_bytes = WEIGHT * (weights + routed)
    gradient_bytes = GRADIENT * (weights + routed)
    sharded = weights / copies + routed / routed_copies
    if p.zero == 3:  # and two layers that are gathered, the one at work and the next
        weight_bytes = WEIGHT * (sharded + 2 * (weights + routed) / deep)
    if p.zero == 3 or (p.zero == 2 and rounds == 1):
        gradient_bytes = GRADIENT * sharded
    flight = min(rounds, float(p.pp))
    if p.vp > 1 and rounds >= p.pp:
        flight *= 1 + (p.pp - 1) / (p.pp * p.vp)
    first, final, logits = held * deep * flight, held * deep, 4 * tokens * m.vocabulary / tp
    if p.offload == 2:
        first, final = min(first, 2 * held), min(final, 2 * held)
    activation_bytes = first + logits if p.pp == 1 else max(first, final + logits)
    if p.recompute == 2:
        activation_bytes += kept + norms
    return Step(
        seconds,
        matmuls,
        attentions,
        all_layers * 3 * elementwise,
        all_layers * again,
        all_layers * tensor,
        all_layers * ring,
        all_layers * expert,
        data,
        pipeline,
        bubble,
        optimizer,
        all_layers * host,
        jitter,
        weight_bytes,
        gradient_bytes,
        0.0 if p.offload else OPTIMIZER * own,
        activation_bytes,
        done,
        done * (1 + again_flop),
        c.idle_watt + (c.busy_watt - c.idle_watt) * busy / seconds,
    )


@search
def step_seconds(
    layouts: Array, clusters: Array, efficiencies: Array, batches: Array, plans: Whole
) -> Array:
    """Time of a step of each of many runs, whose records are rows.

    layouts, clusters, efficiencies: of shapes (runs, 20), (runs, 14) and (runs, 12) [1], [1], [1]
    batches: sequences of a step, of shape (runs) [1]
    plans: of shape (runs, 13) [1]
    returns: of shape (runs) [s]
    source: as for step
    """
    seconds = np.empty(len(batches))
    for run in range(len(batches)):
        seconds[run] = step(
            Layout(*to_fixed_tuple(layouts[run], 20)),
            Cluster(*to_fixed_tuple(clusters[run], 14)),
            Efficiency(*to_fixed_tuple(efficiencies[run], 12)),
            batches[run],
            Plan(*to_fixed_tuple(plans[run], 13)),
        ).seconds
    return seconds


@search
def _product(rows: float, inner: float, columns: float, edge: float) -> float:
    """FLOP of a matrix product, or those that it could have done while operands move."""
    done = rows * inner * columns
    moved = edge * (inner * columns + rows * columns + rows * inner)
    return 2 * sqrt(done * done + moved * moved)  # the larger of the two, without a corner


@search
def _ffn(rows: float, width: float, ffn: float, up: float, edge: float) -> float:
    return _product(rows, width, up * ffn, edge) + _product(rows, ffn, width, edge)


@search
def _latency(ranks: float, stride: float, c: Cluster) -> float:
    """Of a collective over `ranks` that are `stride` places apart."""
    if ranks <= 1:
        return 0.0
    outside = ranks / min(max(floor(c.domain / stride), 1.0), ranks)
    return nccl_latency(ranks, outside, c.base_latency, c.rank_latency, c.doubling_latency, 1.0)


@search
def _gather(message: float, ranks: float, stride: float, c: Cluster, e: Efficiency) -> float:
    """Seconds in which ranks gather, or reduce and scatter, a message of all of them."""
    if ranks <= 1:
        return 0.0
    inside = min(max(floor(c.domain / stride), 1.0), ranks)
    within = all_gather(message, inside, 0.0, c.up_bytes_per_s * e.up)
    between = all_gather(message / inside, ranks / inside, 0.0, c.out_bytes_per_s * e.out)
    return within + between + _latency(ranks, stride, c)


@search
def _exchange(message: float, ranks: float, c: Cluster, e: Efficiency) -> float:
    """Seconds of an all-to-all: each rank sends equal parts of its message, over both wires."""
    inside = min(c.domain, ranks)
    within = message * (inside - 1) / ranks / (c.up_bytes_per_s * e.up)
    between = message * (ranks - inside) / ranks / (c.out_bytes_per_s * e.out)
    return max(within, between) + _latency(ranks, 1.0, c)


class Found(NamedTuple):
    """Plans of a search, the fastest first, and how many there were."""

    plans: tuple[Plan, ...]
    seconds: Array  # of a step [s]
    tried: int
    fitting: int  # of them, whose memory fits


CHOICES = {  # of fields that are no divisors
    "zero": (0, 1, 2, 3),
    "recompute": (0, 1, 2),
    "sequence": (0, 1),
    "zero_bubble": (0, 1),
    "offload": (0, 1, 2),
    "fused": (1,),
}


def plans(
    m: Layout,
    c: Cluster,
    e: Efficiency,
    batch: int,
    accelerators: int,
    most: int = 10,
    must_fit: bool = True,
    **given: int,
) -> Found:
    """The fastest plans of a step over a number of accelerators, from all that there are.

    m, c, e: layout [1], cluster [1] and efficiency [1]
    batch: sequences of a step [1]
    accelerators: all of which are used [1]
    most: plans to return [1], 1 or more
    must_fit: whether plans whose memory does not fit are left out [1]
    given: fields of a plan that are fixed [1]; scores are fused unless it says otherwise
    returns: Found [1], empty where nothing fits; ValueError for a field that a plan does not have
    source: exhaustive search, as Isaev et al. 2023 (Calculon)
    """
    unknown = given.keys() - set(Plan._fields)
    if unknown:
        raise ValueError(f"{min(unknown)} is no field of a plan; give {', '.join(Plan._fields)}")
    splits = _splits(m, c, batch, accelerators, given)
    allowed = [(given[name],) if name in given else CHOICES[name] for name in CHOICES]
    options = np.array(list(product(*allowed)), np.int64)
    fixed = given.get("micro_batch", 0), given.get("vp", 0)
    free = not given.keys() & {"cp", "dp", "micro_batch"}
    # A thread costs more than a few splits take.
    parts = [part for part in np.array_split(splits, 1 + len(splits) // 32) if len(part)]
    best = on_threads(
        lambda part: _best(m, c, e, batch, part, options, *fixed, free, must_fit, most), parts
    )
    seconds = np.concatenate([np.empty(0), *(found[0] for found in best)])
    rows = np.concatenate([np.empty((0, 13), np.int64), *(found[1] for found in best)])
    order = np.argsort(seconds, kind="stable")[:most]
    order = order[np.isfinite(seconds[order])]
    return Found(
        tuple(Plan(*map(int, rows[at])) for at in order),
        seconds[order],
        sum(found[2] for found in best),
        sum(found[3] for found in best),
    )


def pareto(seconds: ArrayLike, usd: ArrayLike) -> NDArray[np.intp]:
    """Choices that no other beats in both time and cost, the fastest first.

    seconds, usd: of each choice [s], [USD]
    returns: their positions [1]
    source: definition of the Pareto front
    """
    costs, times = np.asarray(usd, float), np.asarray(seconds, float)
    order = np.lexsort((costs, times))
    costs = costs[order]
    best_before = np.concatenate([[np.inf], np.minimum.accumulate(costs)[:-1]])
    return np.asarray(order[costs < best_before])


def _divisors(number: int) -> list[int]:
    small = [divisor for divisor in range(1, isqrt(number) + 1) if number % divisor == 0]
    return sorted({*small, *(number // divisor for divisor in small)})


def _splits(m: Layout, c: Cluster, batch: int, accelerators: int, given: dict[str, int]) -> Whole:
    """All ways (tp, pp, cp, ep, dp) to split accelerators that divide the model and the batch.

    Tensor parallelism stays within a domain, as in all measured runs, unless it is given.
    """

    def choices(name: str, all_of: Iterable[int]) -> Iterable[int]:
        return (given[name],) if name in given else all_of

    found = []
    for tp in choices("tp", _divisors(accelerators)):
        for pp in choices("pp", _divisors(accelerators // tp)):
            for cp in choices("cp", _divisors(accelerators // (tp * pp))):
                dp = accelerators // (tp * pp * cp)
                if tp * pp * cp * dp != accelerators or given.get("dp", dp) != dp:
                    continue
                unusual = "tp" not in given and (m.heads % tp or tp > c.domain)
                idle = ceil(m.layers / pp) * (pp - 1) >= m.layers  # a stage without layers
                if unusual or idle:
                    continue
                halves = m.context / (2 * cp)  # a rank has an early and a late one, for balance
                odd = halves % 1 or (halves < BLOCK and "cp" not in given)
                if (cp > 1 and odd) or batch % dp:
                    continue
                most = int(m.experts) or 1
                for ep in choices("ep", _divisors(most)):
                    if tp * cp * dp % ep == 0:
                        found.append((tp, pp, cp, ep, dp))
    return np.array(found, np.int64).reshape(-1, 5)


@search
def _best(
    m: Layout,
    c: Cluster,
    e: Efficiency,
    batch: int,
    splits: Whole,
    options: Whole,
    given_micro: int,
    given_vp: int,
    free: bool,
    must_fit: bool,
    most: int,
) -> tuple[Array, Whole, int, int]:
    """The fastest plans over `splits`, in order, with how many were tried and how many fit."""
    seconds, plans = np.full(most, np.inf), np.zeros((most, 13), np.int64)
    tried, fitting = 0, 0
    choose_zero = options[0, 0] != options[-1, 0]
    for split in range(len(splits)):
        tp, pp, cp, ep, dp = splits[split]
        share = batch // dp
        for micro in range(1, share + 1):
            if share % micro or (given_micro and micro != given_micro):
                continue
            if cp > 1 and free and gcd(cp, micro) > 1:
                continue  # a smaller cp with more copies does the same
            deep = ceil(m.layers / pp)
            for vp in range(1, max(given_vp, min(deep, CHUNKS)) + 1):
                if given_vp:
                    if vp != given_vp:
                        continue
                elif vp > 1:
                    if pp == 1 or (share // micro) % pp:
                        break
                    if deep % vp:
                        continue
                for option in range(len(options)):
                    zero, again, sequence, bubble, offload, fused = options[option]
                    if (sequence and tp == 1) or (bubble and (pp == 1 or vp > 1)):
                        continue
                    if choose_zero and ((zero and dp * cp == 1) or (zero == 2 and share > micro)):
                        continue  # the same as without, the same as 1
                    p = Plan(
                        tp, pp, vp, cp, ep, dp, micro, zero, again, sequence, bubble, offload, fused
                    )
                    s = step(m, c, e, batch, p)
                    tried += 1
                    held = s.weight_bytes + s.gradient_bytes
                    held += s.optimizer_bytes + s.activation_bytes
                    if held <= c.memory_bytes:
                        fitting += 1
                    elif must_fit:
                        continue
                    at = most
                    while at > 0 and s.seconds < seconds[at - 1]:
                        at -= 1
                    if at < most:
                        seconds[at + 1 :] = seconds[at:-1].copy()
                        plans[at + 1 :] = plans[at:-1].copy()
                        seconds[at] = s.seconds
                        for field in range(13):
                            plans[at, field] = p[field]
    return seconds, plans, tried, fitting
