"""Training steps: published memory, identities, limits, and the papers' formulas as an oracle."""

from itertools import product
from math import inf, isfinite, log2

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stackbook import inputs, kernels
from stackbook.kernels import training
from stackbook.kernels.training import Efficiency, Plan, Step
from stackbook.kernels.transformer import transformer

PARTS = Step._fields[1 : Step._fields.index("jitter") + 1]
TRAFFIC = ("tensor", "context", "expert", "data", "pipeline")
A100 = inputs.cluster("A100 SXM 80GB")
AMPERE = inputs.efficiency("Ampere")
# All of the peak and of the wires, and nothing that the papers' formulas leave out.
IDEAL = Efficiency(*[1.0] * len(Efficiency._fields))._replace(
    **dict.fromkeys(("edge", "passes", "launch", "skew", "jitter"), 0.0),
    **dict.fromkeys(("tensor_hidden", "expert_hidden", "data_hidden"), 0.0),
)
EVEN = AMPERE._replace(edge=0.0, jitter=0.0)
FREE_WIRES = A100._replace(
    **dict.fromkeys(("up_bytes_per_s", "out_bytes_per_s", "host_bytes_per_s"), inf),
    **dict.fromkeys(("base_latency", "rank_latency", "doubling_latency"), 0.0),
)
TINY = {"layers": 8, "width": 512, "heads": 8, "kv_heads": 8, "head_size": 64, "ffn": 2048}
TINY |= {"gated": False, "vocabulary": 1000, "tied": True}
GPT_3 = training.layout(inputs.architecture("GPT-3"), 2048)
DEEPSEEK = training.layout(inputs.architecture("DeepSeek V3"), 4096)
LAYOUTS = [
    GPT_3,
    DEEPSEEK,
    training.layout(inputs.architecture("Llama 3.1 70B"), 8192),
    training.layout(inputs.architecture("Mixtral 8x7B"), 4096),
    training.layout(inputs.architecture("Gemma 3 27B"), 4096),
]


def tiny(context=256, **changes):
    return training.layout(transformer(**TINY | changes), context)


def step(model, batch, plan, cluster=A100, efficiency=AMPERE):
    return training.step(model, cluster, efficiency, float(batch), plan)


def gpt_3(**plan):
    """With 1,536 sequences, as far as those divide."""
    return step(GPT_3, 1536, Plan(**{"tp": 8, "pp": 8, "dp": 8} | plan))


powers = st.sampled_from([1, 2, 4, 8])


@st.composite
def plans(draw, layout):
    """A plan that can be, and a batch for it."""
    tp, cp, dp = (draw(powers) for _ in range(3))
    pp = draw(st.sampled_from([n for n in (1, 2, 4, 8) if layout.layers % n == 0]))
    eps = [n for n in (1, 2, 4, 8) if layout.experts % n == 0 == tp * cp * dp % n]
    ep = draw(st.sampled_from(eps)) if layout.experts else 1
    micro = draw(st.integers(1, 4))
    vp = draw(st.sampled_from([1, 2])) if pp > 1 and layout.layers % (2 * pp) == 0 else 1
    rounds = draw(st.integers(1, 8)) * (pp if vp > 1 else 1)
    plan = Plan(
        *(tp, pp, vp, cp, ep, dp, micro, draw(st.integers(0, 3)), draw(st.integers(0, 2))),
        *(draw(st.integers(0, 1)), int(vp == 1 and draw(st.booleans())), draw(st.integers(0, 2))),
        draw(st.integers(0, 1)),
    )
    return plan, rounds * dp * micro


cases = st.sampled_from(LAYOUTS).flatmap(lambda m: st.tuples(st.just(m), plans(m)))


# Published: memory of four models on A100, Korthikanti et al. 2022, figures 1 and 7.

FIGURES = {  # plan; GiB of weights and their states, of activations; shares without and with both
    "Megatron 22B": (Plan(8, 1, 1, micro_batch=4), 4, 45.5625, 59.25, 0.6684, 0.4942, 0.1618),
    "GPT-3": (Plan(8, 8, 3), 64, 45.5625, 66.84375, 0.6204, 0.5653, 0.1849),
    "MT-NLG 530B": (Plan(8, 35, 3), 280, 31.640625, 114.0234375, 0.5831, 0.6204, 0.2027),
    "Megatron 1T": (Plan(8, 64, 1), 512, 32.958984375, 131.25, 0.5831, 0.6204, 0.2027),
}


def held(name, **changes):
    plan, batch, *_ = FIGURES[name]
    model = training.layout(inputs.architecture(name), 2048)
    return step(model, batch, plan._replace(**{"zero": 0, "sequence": 0, "fused": 0} | changes))


@pytest.mark.parametrize("name", FIGURES)
def test_published_bytes_of_weights_and_their_states(name):
    """18 bytes a parameter; the paper's 22B has no output matrix beside 22e9."""
    found = held(name)
    states = found.weight_bytes + found.gradient_bytes + found.optimizer_bytes
    assert states / 2**30 == pytest.approx(FIGURES[name][2], rel=0.015)
    assert states == pytest.approx(18 / 16 * (states - found.weight_bytes))


@pytest.mark.parametrize("name", FIGURES)
def test_published_bytes_of_activations(name):
    *_, bytes_, sequence, selective, both = FIGURES[name]
    found = held(name).activation_bytes
    assert found / 2**30 == pytest.approx(bytes_, rel=0.015)
    for share, changes in [
        (sequence, {"sequence": 1}),
        (selective, {"recompute": 1}),
        (both, {"sequence": 1, "recompute": 1}),
    ]:
        assert held(name, **changes).activation_bytes / found == pytest.approx(share, abs=0.012)


@given(powers, st.integers(1, 4), st.sampled_from([128, 2048]), st.booleans(), powers)
def test_bytes_of_a_layer_are_those_of_the_paper(tp, micro, context, sequence, heads):
    """s b h (10 + 24/t + 5 a s / (h t)), with the 10 over t too where sequences are split."""
    # The same model with a layer more: what it adds is a layer's.
    plan = Plan(tp=tp, pp=1, micro_batch=micro, sequence=int(sequence), fused=0)
    thin, thick = (
        step(tiny(context, layers=n, heads=heads, kv_heads=heads, head_size=512 // heads), 8, plan)
        for n in (8, 9)
    )
    whole = 10 / tp if sequence else 10
    paper = micro * context * 512 * (whole + 24 / tp + 5 * heads * context / 512 / tp)
    assert thick.activation_bytes - thin.activation_bytes == pytest.approx(paper)


@given(plans(GPT_3))
def test_full_recomputation_keeps_the_inputs_of_layers_and_the_layer_at_work(case):
    plan, batch = case
    plan = plan._replace(recompute=2, vp=1, offload=0)
    model = GPT_3._replace(vocabulary=0.0)
    first, second = (step(model._replace(layers=n), batch, plan) for n in (96.0, 192.0))
    tokens = plan.micro_batch * 2048 / plan.cp
    flight = min(batch / plan.dp / plan.micro_batch, plan.pp)
    shards = plan.tp if plan.sequence else 1
    inputs_of = 2 * tokens * 12288 * 96 / plan.pp * flight / shards
    assert second.activation_bytes - first.activation_bytes == pytest.approx(inputs_of)
    at_work = tokens * 12288 * (24 / plan.tp + 10 / shards)
    if plan.fused:
        assert first.activation_bytes == pytest.approx(inputs_of + at_work)


@given(powers, st.integers(0, 1))
def test_selective_recomputation_keeps_inputs_of_matrices_and_of_norms(tp, sequence):
    """Where scores stay on the chip it drops what is cheap to make again: norms of 4 bytes and a
    half of masks, the activation's 8 h and attention's 2 h."""
    none, selective = (
        step(GPT_3, 8, Plan(tp=tp, sequence=sequence, recompute=r)).activation_bytes for r in (0, 1)
    )
    dropped = 10 / tp + 5 / (tp if sequence else 1)
    assert none - selective == pytest.approx(96 * 2048 * 12288 * dropped)


# Identities and limits.


@given(cases)
def test_parts_sum_to_the_seconds(case):
    model, (plan, batch) = case
    found = step(model, batch, plan)
    parts = [getattr(found, name) for name in PARTS]
    assert min(parts) >= 0
    assert sum(parts) == pytest.approx(found.seconds)
    held = found.weight_bytes, found.gradient_bytes, found.optimizer_bytes, found.activation_bytes
    assert found.bytes == sum(held) and min(held) >= 0


@given(cases)
def test_a_step_is_finite_and_no_better_than_the_peak(case):
    model, (plan, batch) = case
    found = step(model, batch, plan)
    assert all(map(isfinite, found))
    assert 0 < found.mfu <= found.hfu <= 1
    assert A100.idle_watt <= found.watt <= A100.busy_watt


@pytest.mark.parametrize("model", LAYOUTS)
def test_one_accelerator_waits_for_no_other(model):
    alone = step(model, 4, Plan(zero=0, micro_batch=2))
    assert [getattr(alone, name) for name in (*TRAFFIC, "bubble", "jitter")] == [0] * 7


@given(cases)
def test_free_wires_leave_no_traffic(case):
    model, (plan, batch) = case
    found = step(model, batch, plan, FREE_WIRES)
    assert [getattr(found, name) for name in TRAFFIC] == [0] * 5


@given(plans(GPT_3))
def test_twice_the_peak_halves_products(case):
    plan, batch = case
    twice = A100._replace(flops=2 * A100.flops, flops_16=2 * A100.flops_16)
    slow, fast = (step(GPT_3, batch, plan, c) for c in (A100, twice))
    assert slow.matmul / 2 < fast.matmul < slow.matmul  # operands still have to move
    assert fast.attention == pytest.approx(slow.attention / 2)
    slow, fast = (step(GPT_3, batch, plan, c, IDEAL) for c in (A100, twice))
    assert fast.matmul == pytest.approx(slow.matmul / 2)


@given(st.sampled_from([2, 4, 8, 16]), st.sampled_from([1, 2, 3]), st.integers(1, 6))
def test_bubble_is_its_share_of_the_work(pp, vp, waves):
    """(p - 1) / (v m) of the rest, where stages are equal, as without an output matrix."""
    headless = GPT_3._replace(vocabulary=0.0)
    rounds = waves * pp
    plan = Plan(pp=pp, vp=vp, zero=0)
    found = step(headless, rounds, plan, FREE_WIRES, EVEN)
    work = found.seconds - found.bubble - found.optimizer
    assert found.bubble / work == pytest.approx((pp - 1) / (vp * rounds))
    third = step(headless, rounds, plan._replace(zero_bubble=1), FREE_WIRES, EVEN)
    assert third.bubble == pytest.approx(found.bubble / 3)


def one_forward_one_backward(forward, backward, rounds):
    """Seconds of the schedule by events, each stage in its fixed order; forwards of 1F1B first."""
    stages = len(forward)
    order = []
    for stage in range(stages):
        warm = min(stages - stage, rounds)
        turns = [("f", i) for i in range(warm)]
        for i in range(rounds):
            turns += [("b", i)] + ([("f", warm + i)] if warm + i < rounds else [])
        order.append(turns)
    done, free, at = {}, [0.0] * stages, [0] * stages
    while any(at[s] < len(order[s]) for s in range(stages)):
        for s in range(stages):
            while at[s] < len(order[s]):
                kind, i = order[s][at[s]]
                needs = [(s - 1, "f", i)] if kind == "f" and s > 0 else []
                if kind == "b":
                    needs = [(s + 1, "b", i)] if s + 1 < stages else [(s, "f", i)]
                if any(need not in done for need in needs):
                    break
                begin = max([free[s], *(done[need] for need in needs)])
                free[s] = begin + (forward[s] if kind == "f" else backward[s])
                done[s, kind, i] = free[s]
                at[s] += 1
    return max(free)


@pytest.mark.parametrize(("pp", "rounds"), [(2, 2), (4, 4), (4, 16), (8, 8), (8, 32)])
def test_pipeline_step_by_step(pp, rounds):
    """Layers of equal time, then the output matrix on the last stage, which sets the pace."""
    plan = Plan(pp=pp, zero=0)
    for vocabulary, allowed in [(0.0, 1e-9), (51_200.0, 0.01)]:
        model = GPT_3._replace(vocabulary=vocabulary)
        found = step(model, rounds, plan, FREE_WIRES, EVEN)
        layers = step(model._replace(vocabulary=0.0), 1, Plan(zero=0), FREE_WIRES, EVEN)
        all_of = step(model, 1, Plan(zero=0), FREE_WIRES, EVEN)
        parts = ("matmul", "attention", "elementwise")
        layer, whole = (sum(getattr(s, part) for part in parts) for s in (layers, all_of))
        times = np.full(pp, layer / pp)
        times[-1] += whole - layer
        by_events = one_forward_one_backward(times / 3, 2 * times / 3, rounds)
        assert found.seconds - found.optimizer == pytest.approx(by_events, rel=allowed)


@given(plans(GPT_3))
def test_full_recomputation_adds_one_forward_pass(case):
    plan, batch = case
    plan = plan._replace(fused=0)  # whose backward pass of attention is two forward ones
    less, full = (step(GPT_3, batch, plan._replace(recompute=r), A100, EVEN) for r in (0, 2))
    headless = step(GPT_3._replace(vocabulary=0.0), batch, plan, A100, EVEN)
    forward = (headless.matmul + headless.attention + headless.elementwise) / 3
    assert less.recomputed == 0
    assert full.recomputed == pytest.approx(forward)
    for part in ("matmul", "attention", "elementwise", "optimizer", "context", "pipeline"):
        assert getattr(full, part) == getattr(less, part)
    assert full.tensor >= less.tensor


def test_selective_recomputation_spares_scores_and_costs_less_than_full():
    none, selective, full = (gpt_3(fused=0, recompute=r) for r in range(3))
    assert none.activation_bytes > selective.activation_bytes > full.activation_bytes
    assert none.seconds < selective.seconds < full.seconds


def test_scores_that_stay_on_the_chip_spare_time_and_memory():
    crossing, fused = gpt_3(fused=0), gpt_3()
    assert fused.activation_bytes < crossing.activation_bytes
    assert fused.seconds < crossing.seconds
    tokens = GPT_3.context
    scores = 5 * tokens * tokens * GPT_3.heads / 8 * GPT_3.layers / 8 * 8
    assert crossing.activation_bytes - fused.activation_bytes == pytest.approx(scores)


@given(cases)
def test_memory_grows_with_the_micro_batch_and_falls_with_what_is_sharded(case):
    model, (plan, batch) = case
    larger = step(model, 2 * batch, plan._replace(micro_batch=2 * plan.micro_batch))
    assert larger.activation_bytes > step(model, batch, plan).activation_bytes
    plan = plan._replace(dp=64 * plan.dp)  # so that shards are worth what is gathered
    held = [step(model, 64 * batch, plan._replace(zero=z)).bytes for z in range(4)]
    assert sorted(held, reverse=True) == held


@pytest.mark.parametrize("model", [GPT_3, DEEPSEEK])
def test_zero_shards_the_states_of_each_parameter_over_its_copies(model):
    """Rajbhandari et al. 2020; experts have 1/ep of the copies, and there is one of each part.
    Of sharded weights, two layers are whole at a time."""
    ep = 8 if model.experts else 1
    plan = Plan(tp=2, cp=2, dp=16, ep=ep, micro_batch=1)
    zeros = [step(model, 16, plan._replace(zero=z)) for z in range(4)]
    accelerators = 64
    for field, by_zero in [
        ("optimizer_bytes", [False, True, True, True]),
        ("gradient_bytes", [False, False, True, True]),
        ("weight_bytes", [False, False, False, True]),
    ]:
        bytes_ = {"optimizer_bytes": 12, "gradient_bytes": 4, "weight_bytes": 2}[field]
        rest = model.parameters - model.routed
        whole = bytes_ * (rest / 2 + model.routed / ep)
        shard = bytes_ * model.parameters / accelerators
        gathered = 2 * whole / model.layers if field == "weight_bytes" else 0
        for found, sharded in zip(zeros, by_zero, strict=True):
            assert getattr(found, field) == pytest.approx(shard + gathered if sharded else whole)


def test_offload_takes_states_from_the_memory_over_the_host_link():
    here, there = gpt_3(), gpt_3(offload=1)
    assert there.optimizer_bytes == 0
    own = here.optimizer_bytes / 12
    moved = 4 + 2 + 30  # gradients there, weights back, and what the host's memory sees
    assert there.optimizer == pytest.approx(moved * own / A100.host_bytes_per_s)


@given(plans(GPT_3))
def test_hardware_flop_are_those_of_the_model_and_what_is_done_again(case):
    plan, batch = case
    none, selective, full = (step(GPT_3, batch, plan._replace(recompute=r)) for r in range(3))
    assert none.hfu == none.mfu
    assert selective.hfu >= selective.mfu
    assert 1.3 < full.hfu / full.mfu <= 4 / 3 * (1 + 1e-12)


@pytest.mark.parametrize("tp", [1, 4])
def test_logits_are_held_by_who_has_all_layers(tp):
    """In 4 bytes."""
    with_, without = (
        step(GPT_3._replace(vocabulary=v), 8, Plan(tp=tp, micro_batch=2)).activation_bytes
        for v in (50_000.0, 0.0)
    )
    assert with_ - without == pytest.approx(4 * 2 * 2048 * 50_000 / tp)


@pytest.mark.parametrize("hidden", [0.0, 0.25, 1.0])
def test_traffic_hides_as_far_as_told(hidden):
    plan = Plan(tp=4, ep=8, dp=4)
    shares = dict.fromkeys(("tensor_hidden", "expert_hidden", "data_hidden"), hidden)
    bare, hiding = (step(DEEPSEEK, 8, plan, A100, IDEAL._replace(**s)) for s in ({}, shares))
    assert hiding.expert == pytest.approx((1 - hidden) * bare.expert)
    forward = 2 * 61 * 4 * collective(2 * 4096 * 7168, 4, 1, A100)
    assert bare.tensor - hiding.tensor == pytest.approx(hidden * forward)
    work = bare.matmul + bare.attention + hiding.tensor + hiding.expert
    behind = max(0, bare.data - hidden * work / 2)  # of one round of two
    assert hiding.data == pytest.approx(behind)


def test_a_busy_expert_is_waited_for():
    """By no more than its share of the work, and only where another accelerator has others."""
    skewed = IDEAL._replace(skew=0.5)
    for ep, least, most in [(1, 0.0, 0.0), (8, 0.3, 0.5), (64, 0.4, 0.5)]:
        even, busy = (
            step(DEEPSEEK, 64, Plan(dp=64, ep=ep), A100, e).matmul for e in (IDEAL, skewed)
        )
        routed = 6 * 58 * 8 * 3 * 7168 * 2048 * 4096 / A100.flops
        assert least * routed * (1 - 1e-9) <= busy - even <= most * routed * (1 + 1e-9)


def test_activations_that_move_to_the_host_leave_two_layers():
    here, there = (step(GPT_3, 8, Plan(tp=8, offload=o)) for o in (1, 2))
    logits = 4 * 2048 * GPT_3.vocabulary / 8
    share = (there.activation_bytes - logits) / (here.activation_bytes - logits)
    assert share == pytest.approx(2 / 96)
    assert there.host == 0  # behind the work of a layer
    slow = A100._replace(host_bytes_per_s=A100.host_bytes_per_s / 10)
    assert step(GPT_3, 8, Plan(tp=8, offload=2), slow).host > 0


def test_jitter_grows_with_each_doubling():
    for dp in (1, 2, 16):
        found = step(GPT_3, 1536, Plan(tp=8, dp=dp))
        share = found.jitter / (found.seconds - found.jitter)
        assert share == pytest.approx(AMPERE.jitter * log2(8 * dp))


@pytest.mark.parametrize("name", ["GPT-3", "DeepSeek V3", "Llama 3.1 70B", "Gemma 3 27B"])
def test_layout_keeps_parameters_and_flop(name):
    """Columns and rows of its products are the model's weights."""
    model = inputs.architecture(name)
    m = training.layout(model, 4096)
    dense, up = m.layers - m.expert_layers, 2 + m.gated
    attention = m.layers * m.width * (m.into + m.out)
    ffn = dense * up * m.width * m.ffn
    experts = m.expert_layers * up * m.width * (m.active_experts * m.expert_ffn + m.shared_ffn)
    router = m.expert_layers * m.width * m.experts
    head = m.width * m.vocabulary
    assert attention + ffn + experts + router + head == pytest.approx(model.matmul_parameters)
    scores = 2 * m.layers * m.scored * m.attended
    assert m.flop == pytest.approx(3 * (2 * model.matmul_parameters + scores))


# The papers' formulas, read anew: a dense model at the peak of everything, nothing hidden.


def collective(message, ranks, stride, c):
    """A ring in each domain and a ring over domains; latency of NCCL's tree of domains."""
    if ranks == 1:
        return 0.0
    inside = min(ranks, max(1, c.domain // stride))
    outside = ranks / inside
    up = (inside - 1) / inside * message / c.up_bytes_per_s
    out = (outside - 1) / outside * message / inside / c.out_bytes_per_s
    latency = c.base_latency + (inside - 1) * c.rank_latency
    return up + out + latency + log2(outside) * c.doubling_latency


def kept_bytes(model, context, p):
    """Of a layer, Korthikanti et al. 2022; without dropout where there is a gate."""
    tokens, shards = p.micro_batch * context / p.cp, p.tp if p.sequence else 1
    if p.recompute == 2:
        return 2 * tokens * model.width / shards
    queries, keys_values = (n * model.head_size for n in (model.heads, 2 * model.kv_heads))
    norms = tokens * model.width * (8 if model.gated else 10) / shards
    rest = 2 * tokens * (2 * queries + keys_values + (2 + model.gated) * model.ffn) / p.tp
    if p.recompute == 0:
        return norms + rest + (0 if p.fused else 5 * tokens * context * model.heads / p.tp)
    return norms / 2 + rest - 2 * tokens * (queries + model.ffn) / p.tp if p.fused else norms + rest


def papers(model, context, c, batch, p):
    """Seconds by part, at 6 FLOP a parameter and token and 2 bytes a number."""
    n = p.tp * p.pp * p.cp * p.dp
    rounds = batch / p.dp / p.micro_batch
    tokens = batch * context
    head = model.vocabulary * model.width
    layers = model.matmul_parameters - head
    queries = model.heads * model.head_size
    met = (context + 1) / 2 if p.fused else context
    scores = 4 * model.layers * queries * met  # forward
    back = 2.5 if p.fused else 2  # FlashAttention computes the scores once more

    def busy(flop):
        return flop / n / c.flops

    found = {
        "matmul": busy(6 * tokens * (layers + head)),
        "attention": busy((1 + back) * tokens * scores),
        "recomputed": busy(
            tokens * {0: 0, 1: scores, 2: scores + 2 * layers}[p.recompute],
        ),
    }
    # Narayanan et al. 2021: two all-reduces of b s h a layer and pass, each two ring collectives.
    each = model.layers / p.pp * rounds
    state = 2 * p.micro_batch * context / p.cp * model.width
    forward = 4 * collective(state, p.tp, 1, c)
    hides = 2 * layers / model.layers * p.micro_batch * context / p.cp / p.tp / c.flops
    passes = 2 if p.recompute == 2 else 1
    found["tensor"] = each * (passes * forward + max(0, forward - hides))
    # Keys and values go around while attention to those that are there is computed; backward
    # with their gradients, of twice the bytes.
    ring = collective(
        2 * 2 * p.micro_batch * context * model.kv_heads * model.head_size / p.tp, p.cp, p.tp, c
    )
    own = scores / model.layers * p.micro_batch * context / p.cp / p.tp / c.flops
    found["context"] = each * (max(0, ring - own) + max(0, 3 * ring - back * own))
    # Rajbhandari et al. 2020: gradients of 4 bytes reduced, weights of 2 gathered; or for each
    # round twice gathered and once reduced.
    copies, share = p.dp * p.cp, model.parameters / p.tp / p.pp
    gather = collective(2 * share, copies, p.tp, c)
    latency = collective(0, copies, p.tp, c)
    if p.zero == 3:
        found["data"] = rounds * 4 * (gather + (model.layers / p.pp - 1) * latency)
    else:
        found["data"] = 3 * gather
    wire = c.up_bytes_per_s if n <= c.domain else c.out_bytes_per_s
    sends = p.pp - 1 + (rounds if p.pp > 1 and p.vp == 1 else 0)
    starts = 2 * p.vp * (rounds + p.pp - 1) * c.base_latency if p.pp > 1 else 0.0
    found["pipeline"] = 2 * sends * state / p.tp / wire + starts
    work = sum(found[k] for k in ("matmul", "attention", "recomputed", "tensor", "context"))
    # What layers keep goes to the host and back while they work.
    in_layers = work - busy(6 * tokens * head)
    moving = 2 * each * kept_bytes(model, context, p) / c.host_bytes_per_s
    found["host"] = max(0, moving - in_layers) if p.offload == 2 else 0
    found["elementwise"] = found["expert"] = found["jitter"] = 0
    work += found["host"]
    stage = work / rounds
    extra = busy(6 * tokens * head) / rounds * (p.pp - 1)  # the last stage has all of the head
    left = 1 / 3 if p.zero_bubble else 1
    found["bubble"] = left * (p.pp - 1) / p.vp * stage + rounds * extra
    # Adam reads 16 bytes of a parameter and writes 14, at 0.8 of the memory's speed.
    own = share / copies if p.zero else share
    found["optimizer"] = 30 * own / 0.8 / c.memory_bytes_per_s
    if p.offload:
        found["optimizer"] = 36 * own / c.host_bytes_per_s
    return found


@settings(max_examples=300)
@given(st.data())
def test_papers_formulas(data):
    row = TINY | {
        "layers": data.draw(st.sampled_from([8, 16, 64])),
        "width": data.draw(st.sampled_from([512, 4096])),
        "ffn": data.draw(st.sampled_from([1024, 16384])),
        "kv_heads": data.draw(st.sampled_from([1, 2, 8])),
        "gated": data.draw(st.booleans()),
        "vocabulary": data.draw(st.sampled_from([1000, 128_000])),
    }
    model, context = transformer(**row), data.draw(st.sampled_from([256, 8192]))
    layout = training.layout(model, context)
    plan, batch = data.draw(plans(layout))
    found = step(layout, batch, plan, A100, IDEAL)
    expected = papers(model, context, A100, batch, plan)
    assert {name: getattr(found, name) for name in PARTS} == pytest.approx(
        expected, rel=1e-9, abs=1e-12 * found.seconds
    )


@given(st.sampled_from(["DeepSeek V3", "Mixtral 8x7B", "Qwen3 30B A3B"]), st.data())
def test_products_with_experts_are_those_of_active_parameters(name, data):
    """At 6 FLOP each, all but the router's."""
    model = inputs.architecture(name)
    layout = training.layout(model, 4096)
    plan, batch = data.draw(plans(layout))
    router = model.expert_layers * model.experts * model.width
    flop = 6 * (model.matmul_parameters - router) * batch * 4096
    accelerators = plan.tp * plan.pp * plan.cp * plan.dp
    found = step(layout, batch, plan, A100, IDEAL)
    assert found.matmul == pytest.approx(flop / accelerators / A100.flops)


@given(plans(DEEPSEEK))
def test_traffic_to_experts(case):
    """A token's state goes to each of its experts and back: 4 k b s h bytes a pass and layer."""
    plan, batch = case
    plan = plan._replace(recompute=0 if plan.recompute == 1 else plan.recompute)
    flat = A100._replace(up_bytes_per_s=A100.out_bytes_per_s, base_latency=0, rank_latency=0)
    flat = flat._replace(doubling_latency=0, domain=1e9)
    found = step(DEEPSEEK, batch, plan, flat, IDEAL)
    layers = 58 / plan.pp * batch / plan.dp / plan.micro_batch
    sent = 4 * 8 * plan.micro_batch * 4096 * 7168 / plan.cp / plan.tp
    away = (plan.ep - 1) / plan.ep
    passes = 3 if plan.recompute == 2 else 2
    assert found.expert == pytest.approx(passes * layers * sent * away / flat.out_bytes_per_s)


# More of anything never costs time.


@settings(max_examples=300)
@given(
    cases,
    st.sampled_from(
        ["flops", "flops_16", "memory_bytes_per_s", "up_bytes_per_s", "out_bytes_per_s"]
    ),
    st.floats(1, 10),
)
def test_a_better_accelerator_is_no_slower(case, field, times):
    model, (plan, batch) = case
    better = A100._replace(**{field: times * getattr(A100, field)})
    seconds = step(model, batch, plan, A100).seconds
    assert step(model, batch, plan, better).seconds <= seconds * (1 + 1e-12)


@given(cases, st.integers(0, 6))
def test_a_larger_domain_is_no_slower(case, doublings):
    model, (plan, batch) = case
    small, large = (A100._replace(domain=2.0**d) for d in (doublings, doublings + 1))
    faster = step(model, batch, plan, large).seconds
    assert faster <= step(model, batch, plan, small).seconds * (1 + 1e-12)


@given(cases)
def test_a_larger_batch_takes_longer_but_no_longer_a_token(case):
    model, (plan, batch) = case
    small, large = (step(model, n * batch, plan).seconds for n in (1, 2))
    assert small < large <= 2 * small * (1 + 1e-12)


@given(st.lists(cases, min_size=1, max_size=4))
def test_steps_of_many_runs_are_those_of_each(runs):
    layouts, schedules = zip(*runs, strict=True)
    chosen, batches = zip(*schedules, strict=True)
    rows = np.array(layouts), np.array([A100] * len(runs)), np.array([AMPERE] * len(runs))
    found = training.step_seconds(*rows, np.array(batches, float), np.array(chosen))
    assert found.tolist() == [step(m, batch, plan).seconds for m, (plan, batch) in runs]


# The search.


def by_loops(model, batch, accelerators, must_fit=True):
    """All plans in plain loops: every split that divides, every option that can matter."""
    found = []

    def divisors(n):
        return [d for d in range(1, n + 1) if n % d == 0]

    for tp, pp, cp, dp in product(divisors(accelerators), repeat=4):
        if tp * pp * cp * dp != accelerators or model.heads % tp or batch % dp:
            continue
        deep = -(-int(model.layers) // pp)
        if (cp > 1 and model.context / cp < 2048) or deep * (pp - 1) >= model.layers:
            continue
        eps = [e for e in divisors(max(1, int(model.experts))) if tp * cp * dp % e == 0]
        for ep, micro, vp in product(eps, divisors(batch // dp), divisors(deep)):
            if vp > 1 and (pp == 1 or batch // dp // micro % pp):
                continue
            options = product(range(4), range(3), (0, 1), (0, 1), range(3))
            for zero, again, sequence, bubble, offload in options:
                if (sequence and tp == 1) or (bubble and (pp == 1 or vp > 1)):
                    continue
                plan = Plan(
                    *(tp, pp, vp, cp, ep, dp, micro, zero, again, sequence, bubble, offload),
                )
                each = step(model, batch, plan)
                if each.bytes <= A100.memory_bytes or not must_fit:
                    found.append((each.seconds, plan))
    return sorted(found)


SPARSE = {"expert_layers": 8, "experts": 4, "active_experts": 2, "expert_ffn": 1024, "ffn": 0}


@pytest.mark.parametrize(
    "changes", [{}, SPARSE, {"width": 16_384, "ffn": 65_536}, {"context": 8192}]
)
@pytest.mark.parametrize("must_fit", [True, False])
def test_search_finds_the_best_of_plain_loops(changes, must_fit):
    model = tiny(**changes)
    found = training.plans(model, A100, AMPERE, 8, 4, 1, must_fit)
    expected = by_loops(model, 8, 4, must_fit)
    assert found.seconds[0] == pytest.approx(expected[0][0], rel=1e-12)
    assert step(model, 8, found.plans[0]).seconds == pytest.approx(found.seconds[0])
    assert found.plans[0] in [plan for s, plan in expected if s <= found.seconds[0] * (1 + 1e-12)]


@settings(max_examples=50)
@given(st.data())
def test_no_plan_is_faster_than_the_first(data):
    model = data.draw(st.sampled_from(LAYOUTS))
    plan, batch = data.draw(plans(model))
    plan = plan._replace(vp=1, fused=1)
    accelerators = plan.tp * plan.pp * plan.cp * plan.dp
    best = training.plans(model, A100, AMPERE, batch, accelerators, 1, False, cp=plan.cp)
    assert best.seconds[0] <= step(model, batch, plan).seconds * (1 + 1e-12)


def test_plans_are_sorted_different_and_fit():
    found = training.plans(GPT_3, A100, AMPERE, 64, 64, 20)
    steps = [step(GPT_3, 64, plan) for plan in found.plans]
    assert [s.seconds for s in steps] == found.seconds.tolist() == sorted(found.seconds)
    assert len(set(found.plans)) == 20
    assert all(s.bytes <= A100.memory_bytes for s in steps)
    assert 20 < found.fitting < found.tried
    everything = training.plans(GPT_3, A100, AMPERE, 64, 64, 20, must_fit=False)
    assert everything.seconds[0] <= found.seconds[0]
    assert everything.tried == found.tried


def test_nothing_fits_where_there_is_too_little_memory():
    found = training.plans(GPT_3, A100, AMPERE, 8, 8)
    assert found.plans == () and found.seconds.size == 0
    assert found.fitting == 0 < found.tried


@pytest.mark.parametrize(
    "fixed",
    [
        {"tp": 4},
        {"pp": 8, "vp": 3},
        {"cp": 2, "dp": 4},
        {"micro_batch": 2, "zero": 2},
        {"recompute": 2, "sequence": 0, "fused": 0},
        {"offload": 1, "zero_bubble": 0},
    ],
)
def test_what_is_given_is_kept(fixed):
    found = training.plans(GPT_3, A100, AMPERE, 64, 64, 5, **fixed)
    assert found.plans
    for plan in found.plans:
        assert {name: getattr(plan, name) for name in fixed} == fixed
        assert plan.tp * plan.pp * plan.cp * plan.dp == 64


def test_experts_are_split_as_told():
    found = training.plans(DEEPSEEK, A100, AMPERE, 1024, 512, 3, ep=64)
    assert {plan.ep for plan in found.plans} == {64}


def test_an_unknown_field_is_named():
    with pytest.raises(ValueError, match="tensor is no field of a plan; give tp, pp, vp"):
        training.plans(GPT_3, A100, AMPERE, 64, 64, tensor=8)


def test_threads_find_the_same():
    with kernels.threads(2):
        two = training.plans(DEEPSEEK, A100, AMPERE, 256, 256, 20)
    one = training.plans(DEEPSEEK, A100, AMPERE, 256, 256, 20)
    assert one.plans == two.plans
    assert one[2:] == two[2:]
    np.testing.assert_array_equal(one.seconds, two.seconds)


@given(st.lists(st.tuples(st.integers(1, 9), st.integers(1, 9)), max_size=30))
def test_pareto_is_what_no_other_beats(points):
    """At equal time and cost the first stands for all."""
    seconds, usd = np.array(points, float).reshape(-1, 2).T
    found = training.pareto(seconds, usd)
    beaten = [
        any(a <= s and b <= u and (a, b) != (s, u) for a, b in points)
        or (s, u) in points[:position]
        for position, (s, u) in enumerate(points)
    ]
    assert sorted(found) == np.flatnonzero(~np.array(beaten, bool)).tolist()
    assert sorted(seconds[found]) == seconds[found].tolist()
